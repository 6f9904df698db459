//! Files, layers and what is printed of them.

use std::error::Error;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn layer(files: &[(Directory, Value)]) -> Result<Config, String> {
    let mut layer = Config::default();
    for (directory, content) in files {
        let bytes = serde_json::to_vec(content).unwrap();
        layer
            .add_file(*directory, "f.json", &bytes)
            .map_err(|e| match e.source() {
                Some(cause) => format!("{e}: {cause}"),
                None => e.to_string(),
            })?;
    }
    Ok(layer)
}

fn auth(domains: Value, kind: &str, credentials: Value) -> (Directory, Value) {
    let file = json!({
        "rktKind": "auth", "rktVersion": "v1",
        "domains": domains, "type": kind, "credentials": credentials,
    });
    (Directory::Auth, file)
}

fn docker(registries: Value, credentials: Value) -> (Directory, Value) {
    let file = json!({
        "rktKind": "dockerAuth", "rktVersion": "v1",
        "registries": registries, "credentials": credentials,
    });
    (Directory::Auth, file)
}

fn paths(members: Value) -> (Directory, Value) {
    with_header("paths", Directory::Paths, members)
}

fn stage1(members: Value) -> (Directory, Value) {
    with_header("stage1", Directory::Stage1, members)
}

fn with_header(kind: &str, directory: Directory, mut members: Value) -> (Directory, Value) {
    members["rktKind"] = json!(kind);
    members["rktVersion"] = json!("v1");
    (directory, members)
}

fn user(user: &str) -> Value {
    json!({"user": user, "password": "p"})
}

#[test]
fn every_mistake_has_its_message() {
    let one = || json!(["d"]);
    for (file, message) in [
        (auth(json!([]), "basic", user("u")), "no domains specified"),
        (auth(one(), "", user("u")), "no auth type specified"),
        (auth(one(), "x", user("u")), "unknown auth type: \"x\""),
        (
            auth(one(), "basic", json!(null)),
            "no credentials specified",
        ),
        (auth(one(), "basic", user("")), "user not specified"),
        (
            auth(one(), "basic", json!({"user": "u"})),
            "password not specified",
        ),
        (
            auth(one(), "oauth", json!({})),
            "no oauth bearer token specified",
        ),
        (
            auth(one(), "aws", json!({})),
            "no AWS Access Key ID specified",
        ),
        (
            auth(one(), "aws", json!({"accessKeyID": "k"})),
            "no AWS Secret Access Key specified",
        ),
        (
            auth(json!(["d", "d"]), "basic", user("u")),
            "auth for domain \"d\" is already specified",
        ),
        (docker(json!([]), user("u")), "no registries specified"),
        (docker(one(), user("")), "user not specified"),
        (
            paths(json!({"data": "x"})),
            "data directory must be an absolute path",
        ),
        (
            paths(json!({"stage1-images": "x"})),
            "stage1 images directory must be an absolute path",
        ),
        (
            stage1(json!({"version": "1"})),
            "invalid stage1 configuration: default stage1 image version specified, but name is missing",
        ),
        (
            stage1(json!({"name": "n"})),
            "invalid stage1 configuration: default stage1 image name specified, but version is missing",
        ),
        (
            stage1(json!({"location": "a/b"})),
            "invalid stage1 configuration: default stage1 image location is either a relative path or a URL without scheme",
        ),
        (
            stage1(json!({"location": "ftp://a"})),
            "invalid stage1 configuration: default stage1 image location URL has invalid scheme \"ftp\", allowed schemes are \"docker\", \"file\", \"http\", \"https\"",
        ),
    ] {
        let expected = format!("failed to parse \"f.json\": {message}");
        assert_eq!(layer(&[file]), Err(expected));
    }
    let headless = |value| layer(&[(Directory::Auth, value)]).unwrap_err();
    assert_eq!(
        headless(json!({"rktVersion": "v1"})),
        "no rktKind specified in \"f.json\""
    );
    assert_eq!(
        headless(json!({"rktKind": "auth"})),
        "no rktVersion specified in \"f.json\""
    );
    assert_eq!(
        headless(json!({"rktKind": "paths", "rktVersion": "v1"})),
        "the configuration directory \"auth.d\" expects to have configuration files of kinds \"auth, dockerAuth\", but \"f.json\" has kind of \"paths\""
    );
    assert_eq!(
        headless(json!({"rktKind": "auth", "rktVersion": "v2"})),
        "no parser available for configuration of kind \"auth\" and version \"v2\""
    );
    assert!(headless(json!([])).starts_with("failed to parse \"f.json\": "));
}

#[test]
fn one_layer_says_nothing_twice() {
    for (pair, message) in [
        (
            [
                auth(json!(["d"]), "basic", user("u")),
                auth(json!(["e", "d"]), "basic", user("v")),
            ],
            "auth for domain \"d\" is already specified",
        ),
        (
            [
                docker(json!(["r"]), user("u")),
                docker(json!(["r"]), user("u")),
            ],
            "credentials for docker registry \"r\" are already specified",
        ),
        (
            [paths(json!({"data": "/a"})), paths(json!({"data": "/a"}))],
            "data directory is already specified",
        ),
        (
            [
                stage1(json!({"name": "n", "version": "1"})),
                stage1(json!({"name": "m", "version": "1"})),
            ],
            "name and version of a default stage1 image are already specified",
        ),
        (
            [
                stage1(json!({"location": "/a"})),
                stage1(json!({"location": "docker://a"})),
            ],
            "location of a default stage1 image is already specified",
        ),
    ] {
        let error = layer(&pair).unwrap_err();
        assert_eq!(error, format!("failed to parse \"f.json\": {message}"));
    }
}

#[test]
fn a_refused_file_leaves_the_layer_as_it_was() {
    let mut layer = layer(&[auth(json!(["d"]), "basic", user("u"))]).unwrap();
    let before = layer.clone();
    let (_, second) = auth(json!(["new", "d"]), "basic", user("v"));
    let bytes = serde_json::to_vec(&second).unwrap();
    layer
        .add_file(Directory::Auth, "g.json", &bytes)
        .unwrap_err();
    assert_eq!(layer, before);
}

#[test]
fn a_higher_layer_replaces_item_by_item() {
    let mut config = Config::default();
    config.apply(
        layer(&[
            auth(json!(["a", "b"]), "basic", user("system")),
            docker(json!(["r"]), user("system")),
            paths(json!({"data": "/system", "stage1-images": "/images"})),
            stage1(json!({"name": "n", "version": "1", "location": "/system.aci"})),
        ])
        .unwrap(),
    );
    config.apply(
        layer(&[
            auth(json!(["b"]), "oauth", json!({"token": "t"})),
            docker(json!(["s"]), user("local")),
            paths(json!({"data": "/local"})),
            stage1(json!({"location": "https://example.com/stage1.aci"})),
        ])
        .unwrap(),
    );
    assert!(matches!(&config.auth["a"], Credentials::Basic(basic) if basic.user == "system"));
    assert!(matches!(&config.auth["b"], Credentials::OAuth(token) if token.reveal() == "t"));
    assert_eq!(config.docker_auth.len(), 2);
    assert_eq!(config.paths.data, Some(PathBuf::from("/local")));
    assert_eq!(config.paths.stage1_images, Some(PathBuf::from("/images")));
    assert_eq!(config.stage1.image, Some(("n".to_owned(), "1".to_owned())));
    assert_eq!(
        config.stage1.location.as_deref(),
        Some("https://example.com/stage1.aci")
    );
}

#[test]
fn it_is_printed_as_files() {
    let mut config = Config::default();
    config.apply(
        layer(&[
            auth(
                json!(["a", "b"]),
                "aws",
                json!({"accessKeyID": "k", "secretAccessKey": "s"}),
            ),
            docker(json!(["r"]), user("u")),
        ])
        .unwrap(),
    );
    let aws = json!({"accessKeyID": "k", "secretAccessKey": "s", "awsRegion": ""});
    let entry = |domain| json!({"rktVersion": "v1", "rktKind": "auth", "domains": [domain], "type": "aws", "credentials": aws});
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        json!({"stage0": [
            entry("a"),
            entry("b"),
            {"rktVersion": "v1", "rktKind": "dockerAuth", "registries": ["r"], "credentials": {"user": "u", "password": "p"}},
            {"rktVersion": "v1", "rktKind": "paths", "data": "", "stage1-images": ""},
            {"rktVersion": "v1", "rktKind": "stage1", "name": "", "version": "", "location": ""},
        ]})
    );
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.starts_with(r#"{"stage0":[{"rktVersion":"v1","rktKind":"auth","domains":["a"],"type":"aws","credentials":{"accessKeyID"#));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let layer = layer(&[docker(
        json!(["r"]),
        json!({"user": "u", "password": "hunter2"}),
    )])
    .unwrap();
    assert!(!format!("{layer:?}").contains("hunter2"));
}

#[test]
fn the_use_of_fs_verity_is_one_of_three() {
    let file = |level: &str| {
        let text = format!(r#"{{"rktKind": "store", "rktVersion": "v1", "verity": "{level}"}}"#);
        let mut config = Config::default();
        config
            .add_file(Directory::Store, "x.json", text.as_bytes())
            .map(|()| config.store.verity)
    };
    for level in ["off", "best-effort", "required"] {
        assert_eq!(file(level).unwrap(), Some(level.parse().unwrap()));
    }
    let error = file("sometimes").unwrap_err().to_string();
    assert!(error.contains("x.json"), "{error}");
    let mut low = Config::default();
    let mut high = Config::default();
    low.store.verity = Some(Verity::Off);
    high.apply(low.clone());
    assert_eq!(high.store.verity, Some(Verity::Off));
    low.apply(Config::default());
    assert_eq!(low.store.verity, Some(Verity::Off));
}

#[test]
fn hosts_are_read_and_printed() {
    let host = |members| with_header("host", Directory::Hosts, members);
    let default = |members| with_header("defaultRegistry", Directory::Hosts, members);
    let file = json!({
        "hosts": ["registry.example.com:5000"], "mirrors": ["mirror.example.com/hub"],
        "ca": "/ca.pem", "certificate": "/c.pem", "key": "/c.key", "insecure": ["tls", "http"],
    });
    let config = layer(&[
        host(file.clone()),
        default(json!({"registry": "registry.example.com:5000"})),
    ])
    .unwrap();
    let read = &config.hosts["registry.example.com:5000"];
    assert!(read.spares(Insecure::Tls) && read.spares(Insecure::Http) && read.has_own_tls());
    let printed = serde_json::to_value(&config).unwrap();
    let printed = &printed["stage0"][0];
    assert_eq!(printed["rktKind"], "host");
    for (key, value) in file.as_object().unwrap() {
        assert_eq!(&printed[key], value, "{key}");
    }
    let mut lower = layer(&[default(json!({"registry": "a"}))]).unwrap();
    lower.apply(Config::default());
    assert_eq!(lower.default_registry.as_deref(), Some("a"));
    lower.apply(config);
    assert_eq!(
        lower.default_registry.as_deref(),
        Some("registry.example.com:5000")
    );

    let error = |file| layer(&[file]).unwrap_err();
    assert!(error(host(json!({}))).contains("no hosts specified"));
    assert!(error(host(json!({"hosts": ["a"], "ca": "x"}))).contains("ca must be an absolute"));
    assert!(error(host(json!({"hosts": ["a"], "key": "/x"}))).contains("need each other"));
    assert!(error(host(json!({"hosts": ["a", "a"]}))).contains("\"a\" is already specified"));
    assert!(error(host(json!({"hosts": ["a"], "insecure": ["x"]}))).contains("failed to parse"));
    assert!(error(default(json!({}))).contains("no registry specified"));
}
