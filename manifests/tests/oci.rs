//! OCI documents and their conversion, against the worked example and against
//! documents that are wrong in one place.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use manifests::appc::{App, ImageManifest, MountPoint};
use manifests::digest::Digest;
use manifests::oci::{
    Compression, Config, Document, DocumentError, Index, InverseError, MAX_DOCUMENT_SIZE, Manifest,
    Source, from_appc, to_appc,
};
use manifests::platform::Platform;
use serde_json::{Value, json};

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

fn convert(config: &Value, tag: Option<&str>) -> (ImageManifest, Vec<String>) {
    let config = Config::from_slice(&bytes(config)).unwrap();
    let digest: Digest = digest('c').parse().unwrap();
    let source = Source {
        original_name: "registry.example.com/team/app:1.0",
        registry: Some("registry.example.com"),
        repository: "team/app",
        tag,
        manifest_digest: &digest,
        config_digest: &digest,
    };
    let converted = to_appc(&config, &source).unwrap();
    converted.manifest.validate().unwrap();
    (converted.manifest, converted.warnings)
}

fn config_with(run: Value) -> Value {
    json!({
        "os": "linux", "architecture": "amd64", "config": run,
        "rootfs": {"type": "layers", "diff_ids": []},
    })
}

#[test]
fn the_worked_example_comes_out() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/docker-oci-conversion.json"
    );
    let example: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (manifest, warnings) = convert(&example["config"], Some("1.0"));
    assert_eq!(warnings, [] as [&str; 0]);

    // The historical result with the advised members changed.
    let mut expected = example["expectedHistorical"].clone();
    let advised = &example["expectedAdvised"];
    expected["app"]["userLabels"] = advised["app.userLabels"].clone();
    let annotations = expected["annotations"].as_array_mut().unwrap();
    annotations.retain(|a| a["name"] != "author");
    for name in ["authors", "appc.io/docker/tag", "appc.io/docker/imageid"] {
        annotations.retain(|a| a["name"] != name);
        annotations.push(json!({"name": name, "value": advised[format!("annotations.{name}")]}));
    }
    let by_name = |list: &mut Value| {
        let list = list.as_array_mut().unwrap();
        list.sort_by_key(|e| e["name"].to_string());
    };
    let mut got = serde_json::to_value(&manifest).unwrap();
    by_name(&mut expected["annotations"]);
    by_name(&mut got["annotations"]);
    assert_eq!(got, expected);
}

#[test]
fn the_inverse_gives_the_configuration_back() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/docker-oci-conversion.json"
    );
    let example: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (manifest, _) = convert(&example["config"], Some("1.0"));
    let layer: Digest = digest('1').parse().unwrap();
    let inverse = from_appc(&manifest, std::slice::from_ref(&layer)).unwrap();
    let got = serde_json::to_value(&inverse.config).unwrap();
    let mut expected = example["config"].clone();
    expected["rootfs"]["diff_ids"] = json!([layer]);
    let run = expected["config"].as_object_mut().unwrap();
    run.remove("StopSignal");
    run["Env"] = json!(["PATH=/usr/bin:/bin", "MODE=prod"]);
    assert_eq!(got, expected);
    assert_eq!(
        inverse.annotations["org.opencontainers.image.version"],
        "1.0"
    );
}

#[test]
fn what_oci_cannot_say_is_kept_beside_it_or_refused() {
    let full = include_bytes!("vectors/image-full-valid.json");
    let mut manifest = ImageManifest::from_slice(full).unwrap();
    assert!(matches!(
        from_appc(&manifest, &[]),
        Err(InverseError::OwnerOfFile { field: "group", .. })
    ));
    manifest.app.as_mut().unwrap().group = "shipper".to_owned();
    let inverse = from_appc(&manifest, &[]).unwrap();
    assert_eq!(inverse.config.architecture().to_string(), "arm64");
    assert!(inverse.annotations["io.appc.isolators"].contains("resource/memory"));
    assert!(inverse.annotations["io.appc.event-handlers"].contains("pre-start"));
    assert_eq!(inverse.annotations["io.appc.supplementary-gids"], "[4,190]");
    assert_eq!(
        inverse.annotations["io.appc.socket-activated"],
        "[\"intake\"]"
    );
    let ports = inverse
        .config
        .config()
        .as_ref()
        .unwrap()
        .exposed_ports()
        .as_ref()
        .unwrap();
    assert_eq!(ports.len(), 251);
    manifest.labels.retain(|l| l.name != "arch");
    assert!(matches!(
        from_appc(&manifest, &[]),
        Err(InverseError::NoLabel("arch"))
    ));
}

#[test]
fn users_and_groups() {
    for (given, user, group) in [
        ("", "0", "0"),
        ("app", "app", "app"),
        ("app:users", "app", "users"),
        ("app:", "app", "app"),
        ("7:8:9", "7", "8"),
        (":8", "0", "8"),
    ] {
        let (manifest, _) = convert(&config_with(json!({"User": given})), None);
        let app = manifest.app.unwrap();
        assert_eq!(
            (app.user.as_str(), app.group.as_str()),
            (user, group),
            "{given:?}"
        );
    }
}

#[test]
fn clashing_volumes_are_numbered_in_the_order_of_their_paths() {
    let volumes = json!({"/var/tmp": {}, "/var-tmp": {}, "/var_tmp": {}, "data": {}, "/": {}});
    let (manifest, _) = convert(&config_with(json!({"Volumes": volumes})), None);
    let points: Vec<_> = manifest
        .app
        .unwrap()
        .mount_points
        .into_iter()
        .map(|MountPoint { name, path, .. }| (name.to_string(), path))
        .collect();
    let expected = [
        ("volume", "/"),
        ("volume-data", "/data"),
        ("volume-var-tmp", "/var-tmp"),
        ("volume-var-tmp-1", "/var/tmp"),
        ("volume-var-tmp-2", "/var_tmp"),
    ];
    assert_eq!(points, expected.map(|(n, p)| (n.to_owned(), p.to_owned())));
}

#[test]
fn ports_ranges_and_what_is_neither() {
    let ports = json!({"80-90/tcp": {}, "53/UDP": {}, "7": {}, "x/tcp": {}, "9-8": {}, "0/tcp": {}, "70000": {}});
    let (manifest, warnings) = convert(&config_with(json!({"ExposedPorts": ports})), None);
    let ports: Vec<_> = manifest
        .app
        .unwrap()
        .ports
        .into_iter()
        .map(|p| (p.name.to_string(), p.protocol, p.port, p.count))
        .collect();
    let expected = [
        ("53-udp", "udp", 53, 1),
        ("7", "tcp", 7, 1),
        ("80-90-tcp", "tcp", 80, 11),
    ];
    assert_eq!(
        ports,
        expected.map(|(n, p, f, c)| (n.to_owned(), p.to_owned(), f, c))
    );
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}

#[test]
fn what_cannot_be_kept_is_left_out_with_a_warning() {
    let mut config = config_with(json!({"Env": ["1BAD=x", "OK=1"], "WorkingDir": "srv"}));
    config["architecture"] = json!("riscv64");
    config["created"] = json!("yesterday");
    let (manifest, warnings) = convert(&config, None);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(manifest.labels.is_empty());
    assert_eq!(manifest.annotation("created"), None);
    let app = manifest.app.unwrap();
    assert_eq!(app.environment.len(), 1);
    assert_eq!(app.working_directory.as_deref(), Some("/srv"));
}

#[test]
fn an_image_without_a_config_has_no_app() {
    let config = json!({
        "os": "linux", "architecture": "arm", "variant": "v7",
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let (manifest, _) = convert(&config, None);
    assert_eq!(manifest.app, None::<App>);
    assert_eq!(manifest.label("arch"), Some("armv7l"));
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest('c'), "size": 7},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": digest('1'), "size": 8},
            {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest('2'), "size": 9},
        ],
    })
}

fn read(value: &Value) -> Result<Document, DocumentError> {
    Document::from_slice(&bytes(value), None)
}

#[test]
fn a_manifest_is_read() {
    let Document::Manifest(Manifest { config, layers, .. }) = read(&manifest()).unwrap() else {
        panic!("not a manifest");
    };
    assert_eq!((config.size, config.digest.to_string()), (7, digest('c')));
    let compressions: Vec<_> = layers.iter().map(|l| l.compression).collect();
    assert_eq!(compressions, [Compression::Zstd, Compression::Gzip]);

    // Docker's schema 2 often comes without telling what it is.
    let mut untyped = manifest();
    untyped.as_object_mut().unwrap().remove("mediaType");
    assert!(matches!(read(&untyped), Ok(Document::Manifest(_))));
}

#[test]
fn wrong_manifests_are_told_apart() {
    let broken = |change: fn(&mut Value)| {
        let mut value = manifest();
        change(&mut value);
        read(&value).unwrap_err()
    };
    assert!(matches!(
        broken(|m| m["schemaVersion"] = json!(1)),
        DocumentError::SchemaVersion { version: 1, .. }
    ));
    assert!(matches!(
        broken(|m| m["mediaType"] = json!("application/json")),
        DocumentError::UnknownType(_)
    ));
    assert!(matches!(
        broken(|m| m["config"]["mediaType"] = json!("application/vnd.example.chart")),
        DocumentError::NotAnImage(_)
    ));
    assert!(matches!(
        broken(|m| m["layers"][0]["mediaType"] = json!("application/zip")),
        DocumentError::UnknownLayer { .. }
    ));
    assert!(matches!(
        broken(|m| m["layers"][0]["digest"] = json!(format!("sha384:{}", "0".repeat(96)))),
        DocumentError::Digest { .. }
    ));
    assert!(matches!(
        broken(|m| m["layers"][0]["digest"] = json!("sha256:../../x")),
        DocumentError::Malformed { .. } | DocumentError::Digest { .. }
    ));
    assert!(matches!(
        broken(|m| m["layers"][0]["size"] = json!(-1)),
        DocumentError::Malformed { .. }
    ));
    assert!(matches!(
        broken(|m| m["manifests"] = json!([])),
        DocumentError::Ambiguous(_)
    ));
    let sent = "application/vnd.oci.image.index.v1+json";
    assert!(matches!(
        Document::from_slice(&bytes(&manifest()), Some(sent)),
        Err(DocumentError::Ambiguous(_))
    ));
    let huge = vec![b' '; usize::try_from(MAX_DOCUMENT_SIZE).unwrap() + 1];
    assert!(matches!(
        Document::from_slice(&huge, None),
        Err(DocumentError::TooLarge { .. })
    ));
    assert!(matches!(
        Document::from_slice(b"<html>", None),
        Err(DocumentError::Malformed { .. })
    ));
}

fn index(platforms: &[(&str, &str, Option<&str>)]) -> Index {
    let entry = |(n, (os, architecture, variant)): (usize, &(&str, &str, Option<&str>))| {
        let mut platform = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            platform["variant"] = json!(variant);
        }
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(char::from_digit(u32::try_from(n).unwrap(), 10).unwrap()),
            "size": 1, "platform": platform,
            "annotations": {"org.opencontainers.image.ref.name": format!("tag{n}")},
        })
    };
    let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
    let value = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    match read(&value).unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("not an index"),
    }
}

fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
    Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.map(str::to_owned),
    }
}

#[test]
fn the_best_image_of_an_index_is_chosen() {
    let index = index(&[
        ("linux", "amd64", None),
        ("linux", "arm", Some("v6")),
        ("linux", "arm", Some("v7")),
        ("linux", "amd64", None),
        ("unknown", "unknown", None),
    ]);
    assert_eq!(index.entries.len(), 4, "attestations are no images");
    let chosen = |os, architecture, variant| {
        let host = platform(os, architecture, variant);
        index.choose(&host).map(|e| e.descriptor.digest.to_string())
    };
    assert_eq!(chosen("linux", "amd64", None).unwrap(), digest('0'));
    assert_eq!(chosen("linux", "arm", Some("v7")).unwrap(), digest('2'));
    assert_eq!(chosen("linux", "arm", Some("v6")).unwrap(), digest('1'));
    let error = chosen("linux", "s390x", None).unwrap_err().to_string();
    assert_eq!(
        error,
        "no image for linux/s390x in the index (it has linux/amd64, linux/arm/v6, linux/arm/v7, linux/amd64)"
    );
    assert_eq!(index.named("tag1").count(), 1);
    assert_eq!(index.named("tag9").count(), 0);
}

#[test]
fn a_lone_image_without_a_platform_is_taken() {
    let entry = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest('1'), "size": 1,
    });
    let read = |manifests| {
        let value = json!({"schemaVersion": 2, "manifests": manifests});
        match Document::from_slice(&bytes(&value), None).unwrap() {
            Document::Index(index) => index,
            Document::Manifest(_) => panic!("not an index"),
        }
    };
    let host = platform("linux", "amd64", None);
    assert!(read(json!([entry])).choose(&host).is_ok());
    assert!(matches!(
        read(json!([entry, entry])).choose(&host),
        Err(DocumentError::NoChoice(2))
    ));
}

#[test]
fn a_configuration_must_have_a_digest_for_every_layer() {
    let mut value = config_with(json!({}));
    value["rootfs"]["diff_ids"] = json!([digest('1')]);
    let config = Config::from_slice(&bytes(&value)).unwrap();
    let Document::Manifest(manifest) = read(&manifest()).unwrap() else {
        panic!("not a manifest");
    };
    assert!(matches!(
        config.check_layers(&manifest),
        Err(DocumentError::LayerCount {
            layers: 2,
            diff_ids: 1
        })
    ));
    value["rootfs"]["diff_ids"] = json!(["md5:00"]);
    assert!(matches!(
        Config::from_slice(&bytes(&value)),
        Err(DocumentError::Digest { .. })
    ));
}

#[test]
fn a_hostile_configuration_costs_no_more_than_its_size() {
    let many = 20_000;
    let volumes: serde_json::Map<_, _> = (0..many)
        .map(|n| {
            (
                format!("/{}", "_".repeat(n % 7 + 1) + &n.to_string()),
                json!({}),
            )
        })
        .collect();
    let environment: Vec<String> = (0..many).map(|n| format!("E{n}=")).collect();
    let started = std::time::Instant::now();
    let (manifest, _) = convert(
        &config_with(json!({"Volumes": volumes, "Env": environment})),
        None,
    );
    let app = manifest.app.unwrap();
    assert_eq!(
        (app.mount_points.len(), app.environment.len()),
        (many, many)
    );
    // Quadratic work would take a minute.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Docker writes `null` for what is empty, and members that OCI dropped.
#[test]
fn a_configuration_as_docker_writes_it_is_read() {
    let run = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "Tty": false,
        "Env": null, "Cmd": ["sh"], "Image": "", "Volumes": null, "WorkingDir": "",
        "Entrypoint": null, "OnBuild": null, "Labels": null, "ExposedPorts": null,
    });
    let mut config = config_with(run.clone());
    config["container"] = json!("c");
    config["container_config"] = run;
    config["docker_version"] = json!("20.10");
    config["history"] = json!([{"created_by": "/bin/sh", "empty_layer": true}]);
    let (manifest, warnings) = convert(&config, None);
    let app = manifest.app.unwrap();
    assert_eq!(
        (app.exec, app.user, app.group),
        (vec!["sh".to_owned()], "0".to_owned(), "0".to_owned())
    );
    assert_eq!(warnings, [] as [&str; 0]);
}
