//! The limits that nobody but the image asks for.
//!
//! A host may lack the cgroup controller of a limit. What a user asks for is
//! refused then; what only the image asks for is told and done without, or
//! else the image could not run there at all.

use manifests::appc::{App, Isolator, Resource, RuntimeApp};
use manifests::engine::Limit;

use crate::prepare::manifest::LIMITS;

/// What the app can do without: limits that its image has with the same value,
/// unless the app's annotations say that they were asked for.
pub(crate) fn dispensable(app: &RuntimeApp, section: &App, image: Option<&App>) -> Vec<Limit> {
    let asked = app.annotations.iter().find(|a| a.name == *LIMITS);
    let asked: Vec<&str> = asked.map_or_else(Vec::new, |a| a.value.split(',').collect());
    let of_image = image.map_or(&[][..], |image| &image.isolators);
    let mut limits: Vec<Limit> = Vec::new();
    let mut wanted: Vec<&str> = asked;
    for isolator in &section.isolators {
        let Some((controller, what)) = describe(isolator) else {
            continue;
        };
        if !of_image.contains(isolator) {
            wanted.push(controller);
        }
        match limits.iter_mut().find(|l| l.controller == controller) {
            Some(limit) => limit.what = format!("{}, {what}", limit.what),
            None => limits.push(Limit {
                controller: controller.to_owned(),
                what: format!("its image's {what}"),
            }),
        }
    }
    limits.retain(|limit| !wanted.contains(&limit.controller.as_str()));
    limits
}

/// The controller (by its name on v1) that an isolator needs, and the limit
/// for people.
fn describe(isolator: &Isolator) -> Option<(&'static str, String)> {
    let resource = |name: &str, resource: &Resource| {
        let value = resource.limit.or(resource.request);
        value.map_or_else(|| name.to_owned(), |value| format!("{name} {value}"))
    };
    Some(match isolator {
        Isolator::Memory(memory) => ("memory", resource("memory limit", memory)),
        Isolator::Cpu(cpu) => ("cpu", resource("cpu limit", cpu)),
        Isolator::CpuShares(shares) => ("cpu", format!("cpu shares {shares}")),
        Isolator::BlockBandwidth(_) => ("blkio", "block bandwidth".to_owned()),
        Isolator::BlockIops(_) => ("blkio", "block operations".to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use manifests::appc::PodManifest;
    use serde_json::json;

    use super::*;

    fn app(limit: &str, annotations: serde_json::Value) -> RuntimeApp {
        let text = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "apps": [{
                "name": "web",
                "image": {"id": format!("sha512-{}", "0".repeat(128))},
                "annotations": annotations,
                "app": {
                    "exec": ["/x"], "user": "0", "group": "0",
                    "isolators": [
                        {"name": "resource/memory", "value": {"limit": limit}},
                        {"name": "resource/cpu", "value": {"limit": "500m"}},
                        {"name": "os/linux/cpu-shares", "value": 100},
                    ],
                },
            }],
        });
        let pod = PodManifest::from_slice(text.to_string().as_bytes()).unwrap();
        pod.apps.into_iter().next().unwrap()
    }

    #[test]
    fn what_only_the_image_asks_for() {
        let told = |app: &RuntimeApp, image: Option<&RuntimeApp>| -> Vec<String> {
            let image = image.and_then(|image| image.app.as_ref());
            let limits = dispensable(app, app.app.as_ref().unwrap(), image);
            let limits = limits.into_iter();
            limits
                .map(|l| format!("{}: {}", l.controller, l.what))
                .collect()
        };
        let image = app("64M", json!([]));
        let cpu = "cpu: its image's cpu limit 500m, cpu shares 100";
        let memory = "memory: its image's memory limit 64M";
        assert_eq!(told(&image, Some(&image)), [memory, cpu]);
        assert_eq!(told(&app("32M", json!([])), Some(&image)), [cpu]);
        let asked = json!([{"name": LIMITS, "value": "memory"}]);
        assert_eq!(told(&app("64M", asked), Some(&image)), [cpu]);
        assert!(told(&image, None).is_empty());
    }
}
