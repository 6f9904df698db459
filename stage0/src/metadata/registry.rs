//! What the service knows, and what it answers: requests in, responses out, no
//! sockets.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use manifests::appc::{Annotation, ImageManifest, PodManifest};
use sha2::Sha512;
use uuid::Uuid;

use super::http::{self, Request, Response};

/// Everything below a pod's URL.
const VERSION: &str = "acMetadata/v1";

/// Length of the key of the signatures: a block of SHA-512.
pub(super) const KEY: usize = 128;

/// The registered pods.
pub(super) struct Registry {
    /// By token.
    pods: HashMap<String, Entry>,
    key: [u8; KEY],
    /// Where apps reach the service, for those who register.
    port: u16,
}

struct Entry {
    uuid: Uuid,
    manifest: PodManifest,
    /// By the app's name.
    images: HashMap<String, ImageManifest>,
}

impl Registry {
    pub(super) fn new(key: [u8; KEY], port: u16) -> Self {
        Self {
            pods: HashMap::new(),
            key,
            port,
        }
    }

    /// A request from the unix socket: from us.
    pub(super) fn administer(&mut self, request: &Request) -> Response {
        let path: Vec<&str> = request.path.split('/').skip(1).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["port"]) => Response::text(self.port.to_string()),
            ("PUT", ["pods", uuid]) => self.add_pod(uuid, request).unwrap_or(BAD),
            ("PUT", ["pods", uuid, app]) => self.add_app(uuid, app, request),
            ("DELETE", ["pods", uuid]) => self.remove(uuid),
            _ => Response::status(404),
        }
    }

    fn add_pod(&mut self, uuid: &str, request: &Request) -> Option<Response> {
        let uuid = Uuid::try_parse(uuid).ok()?;
        let token = http::field(&request.query, "token").filter(|token| !token.is_empty())?;
        let manifest = PodManifest::from_slice(&request.body).ok()?;
        self.pods.retain(|_, entry| entry.uuid != uuid);
        let images = HashMap::new();
        self.pods.insert(
            token,
            Entry {
                uuid,
                manifest,
                images,
            },
        );
        Some(Response::status(200))
    }

    fn add_app(&mut self, uuid: &str, app: &str, request: &Request) -> Response {
        let Some(entry) = self.of_uuid(uuid) else {
            return Response::status(404);
        };
        let Ok(image) = ImageManifest::from_slice(&request.body) else {
            return BAD;
        };
        if !entry.manifest.apps.iter().any(|known| known.name == *app) {
            return Response::status(404);
        }
        entry.images.insert(app.to_owned(), image);
        Response::status(200)
    }

    fn remove(&mut self, uuid: &str) -> Response {
        let before = self.pods.len();
        self.pods.retain(|_, entry| entry.uuid.to_string() != uuid);
        Response::status(if self.pods.len() < before { 200 } else { 404 })
    }

    fn of_uuid(&mut self, uuid: &str) -> Option<&mut Entry> {
        self.pods
            .values_mut()
            .find(|entry| entry.uuid.to_string() == uuid)
    }

    /// A request from the network: from an app, or anybody.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let path = request.path.strip_prefix('/').unwrap_or("");
        let (token, rest) = path.split_once('/').unwrap_or((path, ""));
        let Some(entry) = self.pods.get(token) else {
            return Response::status(401);
        };
        let Some(rest) = rest
            .strip_prefix(VERSION)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return Response::status(404);
        };
        let form = String::from_utf8_lossy(&request.body);
        let answer = match (request.method.as_str(), rest) {
            ("GET", rest) => entry.get(rest),
            ("POST", "pod/hmac/sign") => match http::field(&form, "content") {
                Some(content) => Some(Response::text(self.sign(entry.uuid, &content))),
                None => Some(BAD),
            },
            ("POST", "pod/hmac/verify") => Some(self.verify(&form)),
            _ => Some(Response::status(405)),
        };
        answer.unwrap_or(Response::status(404))
    }

    fn sign(&self, uuid: Uuid, content: &str) -> String {
        STANDARD.encode(self.mac(uuid, content).finalize().into_bytes())
    }

    /// Any registered pod may ask about any pod's signature.
    fn verify(&self, form: &str) -> Response {
        let field = |name| http::field(form, name);
        let given = || {
            let uuid = Uuid::try_parse(&field("uuid")?).ok()?;
            let signature = STANDARD.decode(field("signature")?).ok()?;
            Some((uuid, field("content")?, signature))
        };
        let Some((uuid, content, signature)) = given() else {
            return BAD;
        };
        let right = self.mac(uuid, &content).verify_slice(&signature).is_ok();
        Response::status(if right { 200 } else { 403 })
    }

    fn mac(&self, uuid: Uuid, content: &str) -> Hmac<Sha512> {
        // A key as long as a block is used as it is, so this is the same as
        // `new_from_slice`, which could fail.
        let mut mac = <Hmac<Sha512> as hmac::digest::KeyInit>::new(&self.key.into());
        mac.update(uuid.as_bytes());
        mac.update(content.as_bytes());
        mac
    }
}

const BAD: Response = Response {
    status: 400,
    kind: "text/plain; charset=us-ascii",
    body: Vec::new(),
};

impl Entry {
    fn get(&self, path: &str) -> Option<Response> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["pod", "uuid"] => Some(Response::text(self.uuid.to_string())),
            ["pod", "manifest"] => json(&self.manifest),
            ["pod", "annotations", name @ ..] => annotations(&self.manifest.annotations, name),
            ["apps", app, "annotations", name @ ..] => {
                annotations(&self.annotations_of(app)?, name)
            }
            ["apps", app, "image", "manifest"] => json(self.images.get(*app)?),
            ["apps", app, "image", "id"] => {
                let app = self
                    .manifest
                    .apps
                    .iter()
                    .find(|known| known.name == **app)?;
                Some(Response::text(app.image.id.to_string()))
            }
            _ => None,
        }
    }

    /// Those of the image, with the pod's for the app over them.
    fn annotations_of(&self, app: &str) -> Option<Vec<Annotation>> {
        let app = self.manifest.apps.iter().find(|known| known.name == *app)?;
        let image = self.images.get(app.name.as_str());
        let mut all = image
            .map(|image| image.annotations.clone())
            .unwrap_or_default();
        all.retain(|of_image| !app.annotations.iter().any(|own| own.name == of_image.name));
        all.extend(app.annotations.iter().cloned());
        Some(all)
    }
}

/// All of them, or the value of the one whose name (it may have slashes) is
/// the rest of the path.
fn annotations(all: &[Annotation], name: &[&str]) -> Option<Response> {
    if name.is_empty() {
        return json(&all);
    }
    let name = http::decode(&name.join("/"))?;
    let found = all.iter().find(|annotation| annotation.name == *name)?;
    Some(Response::text(found.value.clone()))
}

fn json(value: &impl serde::Serialize) -> Option<Response> {
    serde_json::to_vec(value).ok().map(Response::json)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UUID: &str = "aa000000-0000-4000-8000-000000000001";

    fn request(method: &str, target: &str, body: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            body: body.into(),
        }
    }

    fn registry() -> Registry {
        let mut registry = Registry::new([7; KEY], 1);
        let id = format!("sha512-{}", "0a".repeat(64));
        let pod = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "apps": [{"name": "web", "image": {"id": id},
                      "annotations": [{"name": "both", "value": "pod"}]}],
            "annotations": [{"name": "example.com/a", "value": "1"}],
        });
        let image = json!({
            "acVersion": "0.8.11", "acKind": "ImageManifest", "name": "example.com/web",
            "annotations": [{"name": "both", "value": "image"}, {"name": "image", "value": "2"}],
        });
        let mut put = |target: &str, body: Value| {
            registry
                .administer(&request("PUT", target, &body.to_string()))
                .status
        };
        assert_eq!(put(&format!("/pods/{UUID}/web"), image.clone()), 404);
        assert_eq!(put(&format!("/pods/{UUID}"), pod.clone()), 400, "no token");
        assert_eq!(put(&format!("/pods/{UUID}?token=T"), json!({})), 400);
        assert_eq!(put(&format!("/pods/{UUID}?token=T"), pod), 200);
        assert_eq!(put(&format!("/pods/{UUID}/nosuch"), image.clone()), 404);
        assert_eq!(put(&format!("/pods/{UUID}/web"), json!({})), 400);
        assert_eq!(put(&format!("/pods/{UUID}/web"), image), 200);
        registry
    }

    fn get(registry: &Registry, path: &str) -> (u16, String) {
        let answer = registry.answer(&request("GET", &format!("/T/acMetadata/v1/{path}"), ""));
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn an_app_learns_who_it_is() {
        let registry = registry();
        assert_eq!(get(&registry, "pod/uuid"), (200, UUID.into()));
        let annotations = r#"[{"name":"example.com/a","value":"1"}]"#;
        assert_eq!(get(&registry, "pod/annotations"), (200, annotations.into()));
        assert_eq!(get(&registry, "pod/annotations/example.com/a").1, "1");
        assert_eq!(get(&registry, "apps/web/annotations/both").1, "pod");
        assert_eq!(get(&registry, "apps/web/annotations/image").1, "2");
        let manifest: Value = serde_json::from_str(&get(&registry, "pod/manifest").1).unwrap();
        assert_eq!(manifest["acKind"], "PodManifest");
        let manifest = get(&registry, "apps/web/image/manifest").1;
        assert!(manifest.contains("example.com/web"));
        assert!(
            get(&registry, "apps/web/image/id")
                .1
                .starts_with("sha512-0a0a")
        );
    }

    #[test]
    fn what_is_not_there_is_not_found_and_strangers_are_refused() {
        let mut registry = registry();
        for path in [
            "",
            "pod",
            "pod/x",
            "apps/other/image/id",
            "pod/annotations/x",
            "apps",
        ] {
            assert_eq!(get(&registry, path).0, 404, "{path}");
        }
        for path in [
            "/",
            "/X/acMetadata/v1/pod/uuid",
            "/acMetadata/v1/pod/uuid",
            "",
        ] {
            assert_eq!(
                registry.answer(&request("GET", path, "")).status,
                401,
                "{path}"
            );
        }
        let put = request("PUT", "/T/acMetadata/v1/pod/uuid", "");
        assert_eq!(registry.answer(&put).status, 405);
        let delete = request("DELETE", &format!("/pods/{UUID}"), "");
        assert_eq!(registry.administer(&delete).status, 200);
        assert_eq!(registry.administer(&delete).status, 404);
        assert_eq!(get(&registry, "pod/uuid").0, 401);
    }

    #[test]
    fn signatures_hold_for_their_pod_and_content_only() {
        let registry = registry();
        let post = |path: &str, form: &str| {
            let path = format!("/T/acMetadata/v1/pod/hmac/{path}");
            registry.answer(&request("POST", &path, form))
        };
        let signature = String::from_utf8(post("sign", "content=a+b").body).unwrap();
        assert_eq!(STANDARD.decode(&signature).unwrap().len(), 64);
        let encoded = signature
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let verify = |uuid: &str, content: &str| {
            post(
                "verify",
                &format!("content={content}&uuid={uuid}&signature={encoded}"),
            )
            .status
        };
        assert_eq!(verify(UUID, "a%20b"), 200);
        assert_eq!(verify(UUID, "a+c"), 403);
        assert_eq!(verify("bb000000-0000-4000-8000-000000000001", "a+b"), 403);
        assert_eq!(verify("x", "a+b"), 400);
        assert_eq!(post("sign", "").status, 400);
    }

    /// RFC 4231, test case 2, with the key filled up to a block.
    #[test]
    fn the_mac_is_hmac_sha512() {
        let mut mac = <Hmac<Sha512> as Mac>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let mut key = [0; KEY];
        key[..4].copy_from_slice(b"Jefe");
        let mut ours = <Hmac<Sha512> as hmac::digest::KeyInit>::new(&key.into());
        ours.update(b"what do ya want for nothing?");
        let expected = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554";
        let hex: String = ours
            .finalize()
            .into_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert!(hex.starts_with(expected), "{hex}");
        assert_eq!(mac.finalize().into_bytes()[..4], [0x16, 0x4b, 0x7a, 0x7b]);
    }
}
