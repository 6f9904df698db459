//! Whole containers against files, and single rules one by one.
//!
//! A container that changed on purpose is written again with
//! `UPDATE_SNAPSHOTS=1 cargo test -p stage0 spec`; the change is then seen in
//! review.

use std::path::Path;

use manifests::appc::{App, Isolator};
use serde_json::{Value, json};

use super::*;
use crate::resolved::{DeviceNumber, Identity, ResolvedMount};

fn app(uid: u32, isolators: Value) -> ResolvedApp {
    let mut app = App::new(vec!["/bin/app".to_owned(), "-v".to_owned()], "0", "0");
    app.isolators = serde_json::from_value(isolators).unwrap();
    ResolvedApp {
        name: "web".to_owned(),
        app,
        identity: Identity {
            uid,
            gid: uid,
            groups: Vec::new(),
        },
        environment: vec![("PATH".to_owned(), "/bin".to_owned())],
        mounts: Vec::new(),
        read_only_rootfs: false,
        terminal: false,
        dispensable: Vec::new(),
        behaviour: crate::behaviour::Behaviour::default(),
        share: crate::given::Share::default(),
    }
}

fn pod() -> PodFacts<'static> {
    PodFacts {
        hostname: "rkt-test",
        network: &Network::None,
        ipc: Ipc::Private,
        users: None,
        isolators: &[],
        insecure: InsecureOptions::default(),
        host: HostFacts {
            selinux: true,
            apparmor: true,
            block_devices: vec![(8, 0), (259, 1)],
        },
    }
}

fn volume(target: &str) -> ResolvedMount {
    ResolvedMount {
        source: Path::new("/srv").join(target.trim_start_matches('/')),
        target: target.into(),
        read_only: false,
        recursive: true,
        mapped: false,
        device: None,
    }
}

/// The specification as JSON, sets in one order.
fn to_json(spec: &Spec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap();
    let sets = value["process"]["capabilities"].as_object_mut().unwrap();
    for set in sets.values_mut() {
        set.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    value
}

fn assert_snapshot(name: &str, spec: &Spec) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec/snapshots");
    let file = directory.join(format!("{name}.json"));
    let got = serde_json::to_string_pretty(&to_json(spec)).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &got).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(got == expected, "{name} is not {}:\n{got}", file.display());
}

// Architectures and clone's arguments differ; one processor shows the rest.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_plain_root_app() {
    let built = build(&app(0, json!([])), &pod()).unwrap();
    assert_eq!(built.warnings, [] as [&str; 0]);
    assert_snapshot("plain", &built.spec);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_app_that_says_everything() {
    let mut app = app(
        1000,
        json!([
            {"name": "resource/cpu", "value": {"request": "150m", "limit": "1.5"}},
            {"name": "resource/memory", "value": {"request": "96Mi", "limit": "256Mi"}},
            {"name": "resource/block-bandwidth", "value": {"default": true, "limit": "8M"}},
            {"name": "resource/block-iops", "value": {"default": true, "limit": "600"}},
            {"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_MKNOD", "CAP_NET_RAW"]}},
            {"name": "os/linux/seccomp-remove-set", "value": {"errno": "EPERM", "set": ["mount", "umount2"]}},
            {"name": "os/linux/selinux-context", "value":
                {"user": "system_u", "role": "system_r", "type": "web_t", "level": "s0:c1,c2"}},
            {"name": "os/linux/apparmor-profile", "value": {"profile": "web"}},
            {"name": "os/linux/oom-score-adj", "value": -200},
        ]),
    );
    app.app.working_directory = Some("/var/lib/web".to_owned());
    app.identity.groups = vec![4, 190];
    app.read_only_rootfs = true;
    app.terminal = true;
    app.mounts = vec![
        ResolvedMount {
            recursive: false,
            read_only: true,
            ..volume("/data/keys")
        },
        volume("/data"),
        ResolvedMount {
            source: "/dev/fuse".into(),
            recursive: false,
            device: Some(DeviceNumber {
                block: false,
                major: 10,
                minor: 229,
            }),
            ..volume("/dev/fuse")
        },
    ];
    let sysctl: Vec<Isolator> = serde_json::from_value(json!([
        {"name": "os/unix/sysctl", "value": {"net.core.somaxconn": "512"}},
    ]))
    .unwrap();
    let pod = PodFacts {
        isolators: &sysctl,
        ..pod()
    };
    let built = build(&app, &pod).unwrap();
    assert_eq!(built.warnings, [] as [&str; 0]);
    assert_snapshot("everything", &built.spec);
}

#[test]
fn insecure_options_take_their_part_away() {
    let insecure = PodFacts {
        insecure: "all-run".parse().unwrap(),
        network: &Network::Host,
        ipc: Ipc::Parent,
        ..pod()
    };
    let spec = to_json(&build(&app(7, json!([])), &insecure).unwrap().spec);
    let linux = &spec["linux"];
    for absent in ["maskedPaths", "readonlyPaths", "seccomp"] {
        assert_eq!(linux[absent], Value::Null, "{absent}");
    }
    assert_eq!(linux["resources"]["devices"], Value::Null);
    assert_eq!(
        spec["process"]["capabilities"]["bounding"]
            .as_array()
            .unwrap()
            .len(),
        41
    );
    assert_eq!(spec["process"]["noNewPrivileges"], json!(false));
    let kinds = linux["namespaces"].as_array().unwrap();
    let kinds: Vec<_> = kinds.iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["pid", "mount", "uts", "cgroup"]);
    let mounts = spec["mounts"].as_array().unwrap();
    let at = |path: &str| mounts.iter().find(|m| m["destination"] == path).unwrap();
    assert_eq!(at("/sys")["options"][0], "rw");
    assert_eq!(at("/dev/shm")["source"], "/dev/shm");
}

#[test]
fn only_root_holds_what_it_can_have() {
    for (uid, held) in [(0, 14), (1, 0)] {
        let spec = to_json(&build(&app(uid, json!([])), &pod()).unwrap().spec);
        let sets = &spec["process"]["capabilities"];
        let len = |set: &str| sets[set].as_array().unwrap().len();
        assert_eq!(len("bounding"), 14);
        assert_eq!((len("effective"), len("permitted")), (held, held));
        assert_eq!((len("inheritable"), len("ambient")), (0, 0));
    }
}

#[test]
fn a_filtered_user_gains_no_privileges() {
    let all = json!([{"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}}]);
    let asked = json!([{"name": "os/linux/no-new-privileges", "value": true},
                       {"name": "os/linux/no-new-privileges", "value": false}]);
    for (uid, isolators, expected) in [
        (0, json!([]), false),
        (1, json!([]), true),
        (1, all, false),
        (0, asked, true),
    ] {
        let spec = build(&app(uid, isolators.clone()), &pod()).unwrap().spec;
        let got = spec.process().as_ref().unwrap().no_new_privileges();
        assert_eq!(got, Some(expected), "uid {uid}, {isolators}");
    }
}

fn seccomp_of(isolators: Value) -> Value {
    let spec = build(&app(0, isolators), &pod()).unwrap().spec;
    to_json(&spec)["linux"]["seccomp"].clone()
}

#[test]
fn the_default_filter_kills_or_pretends() {
    let section = seccomp_of(json!([]));
    assert_eq!(section["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(section["defaultErrnoRet"], json!(38));
    let rules = section["syscalls"].as_array().unwrap();
    assert_eq!(rules[1]["names"], json!(["clone"]));
    assert_eq!(rules[1]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
    assert_eq!(rules[2]["action"], "SCMP_ACT_KILL_PROCESS");
    let names = rules[0]["names"].as_array().unwrap();
    assert!(!names.contains(&json!("clone3")) && names.contains(&json!("openat")));

    let admin =
        json!([{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_SYS_ADMIN"]}}]);
    let rules = seccomp_of(admin)["syscalls"].as_array().unwrap().clone();
    assert!(
        rules[0]["names"]
            .as_array()
            .unwrap()
            .contains(&json!("clone3"))
    );
}

#[test]
fn errors_stand_for_death_where_they_are_asked_for() {
    let set = |name: &str, items: &[&str], errno: &str| json!([{"name": name, "value": {"set": items, "errno": errno}}]);
    let section = seccomp_of(set("os/linux/seccomp-retain-set", &["read"], "EACCES"));
    assert_eq!(
        (&section["defaultAction"], &section["defaultErrnoRet"]),
        (&json!("SCMP_ACT_ERRNO"), &json!(13))
    );
    let section = seccomp_of(set("os/linux/seccomp-retain-set", &["read"], ""));
    assert_eq!(section["defaultAction"], "SCMP_ACT_KILL_PROCESS");
    let section = seccomp_of(set("os/linux/seccomp-remove-set", &["mount"], ""));
    assert_eq!(section["defaultAction"], "SCMP_ACT_ALLOW");
    assert_eq!(section["syscalls"][0]["action"], "SCMP_ACT_KILL_PROCESS");
    let unknown = set("os/linux/seccomp-remove-set", &["mount"], "EPONIES");
    assert!(matches!(
        build(&app(0, unknown), &pod()),
        Err(SpecError::UnknownErrno { .. })
    ));
}

fn destinations(app: &ResolvedApp) -> Vec<String> {
    let spec = build(app, &pod()).unwrap().spec;
    let mounts = spec.mounts().as_ref().unwrap();
    mounts
        .iter()
        .map(|m| m.destination().display().to_string())
        .collect()
}

#[test]
fn the_users_mounts_come_last_and_parents_first() {
    let mut app = app(0, json!([]));
    app.mounts = ["/a/b/c", "/a", "/dev/shm", "/sys/fs/cgroup", "/a/b"]
        .map(volume)
        .to_vec();
    assert_eq!(
        destinations(&app),
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/a",
            "/dev/shm",
            "/a/b",
            "/a/b/c",
            "/sys/fs/cgroup"
        ]
    );
    let spec = build(&app, &pod()).unwrap().spec;
    let hidden = spec
        .linux()
        .as_ref()
        .unwrap()
        .masked_paths()
        .clone()
        .unwrap();
    assert!(!hidden.contains(&"/sys/fs".to_owned()));
    assert!(hidden.contains(&"/sys/firmware".to_owned()));
}

#[test]
fn targets_must_name_one_place_each() {
    let with = |targets: &[&str]| {
        let mut app = app(0, json!([]));
        app.mounts = targets.iter().map(|t| volume(t)).collect();
        build(&app, &pod())
    };
    for bad in ["relative", "/a/../etc", "/", ""] {
        assert!(
            matches!(with(&[bad]), Err(SpecError::Target { .. })),
            "{bad:?}"
        );
    }
    assert!(matches!(
        with(&["/a", "/b", "/a/"]),
        Err(SpecError::SameTarget { .. })
    ));
}

#[test]
fn limits_stay_within_what_the_kernel_takes() {
    let cpu = |limit: &str| {
        let isolators = json!([{"name": "resource/cpu", "value": {"limit": limit}}]);
        build(&app(0, isolators), &pod())
    };
    let quota = |limit| {
        let built = cpu(limit).unwrap();
        let resources = built
            .spec
            .linux()
            .as_ref()
            .unwrap()
            .resources()
            .clone()
            .unwrap();
        (
            resources.cpu().as_ref().unwrap().quota(),
            built.warnings.len(),
        )
    };
    assert_eq!(quota("500m"), (Some(50_000), 0));
    assert_eq!(quota("2"), (Some(200_000), 0));
    assert_eq!(quota("1m"), (Some(1_000), 1));
    assert!(matches!(cpu("9E"), Err(SpecError::CpuLimit { .. })));
}

#[test]
fn the_last_of_repeated_limits_counts_and_a_request_alone_is_a_request() {
    let isolators = json!([
        {"name": "resource/memory", "value": {"limit": "1G"}},
        {"name": "resource/memory", "value": {"request": "16M", "limit": "16M"}},
        {"name": "resource/cpu", "value": {"request": "2"}},
    ]);
    let spec = to_json(&build(&app(0, isolators), &pod()).unwrap().spec);
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 16_000_000}));
    assert_eq!(resources["cpu"], json!({"shares": 2048}));
}

#[test]
fn what_has_no_effect_is_told() {
    let mut pod = pod();
    pod.host = HostFacts::default();
    let isolators = json!([
        {"name": "example.com/unknown", "value": 1},
        {"name": "resource/network-bandwidth", "value": {"default": true, "limit": "1M"}},
        {"name": "resource/block-iops", "value": {"default": true, "limit": "1"}},
        {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount", "@x/y"]}},
    ]);
    let built = build(&app(0, isolators), &pod).unwrap();
    assert_eq!(built.warnings.len(), 4, "{:?}", built.warnings);
}

#[test]
fn a_label_that_nobody_would_apply_is_refused() {
    let profile = json!([{"name": "os/linux/apparmor-profile", "value": {"profile": "web"}}]);
    let isolators: Vec<Isolator> = serde_json::from_value(profile.clone()).unwrap();
    let mut pod = pod();
    pod.host.apparmor = false;
    let wanted = "app \"web\": isolator os/linux/apparmor-profile asks for \"web\", but this host \
                  does not use AppArmor; boot it with AppArmor, or take the isolator away";
    assert_eq!(
        build(&app(0, profile), &pod).unwrap_err().to_string(),
        wanted
    );
    pod.isolators = &isolators;
    assert_eq!(
        build(&app(0, json!([])), &pod).unwrap_err().to_string(),
        wanted
    );
    pod.host.apparmor = true;
    let built = build(&app(0, json!([])), &pod).unwrap();
    let process = built.spec.process().as_ref().unwrap();
    assert_eq!(process.apparmor_profile().as_deref(), Some("web"));
}

#[test]
fn a_shared_namespace_is_not_changed() {
    let sysctl = |key: &str| -> Vec<Isolator> {
        serde_json::from_value(json!([{"name": "os/unix/sysctl", "value": {key: "1"}}])).unwrap()
    };
    let verdict = |key, network, ipc| {
        let isolators = sysctl(key);
        let pod = PodFacts {
            isolators: &isolators,
            network,
            ipc,
            ..pod()
        };
        build(&app(0, json!([])), &pod).is_ok()
    };
    assert!(verdict("net.core.somaxconn", &Network::None, Ipc::Parent));
    assert!(!verdict("net.core.somaxconn", &Network::Host, Ipc::Private));
    assert!(!verdict("kernel.shmmax", &Network::None, Ipc::Parent));
    assert!(verdict("kernel.shmmax", &Network::Host, Ipc::Private));
}

#[test]
fn an_app_needs_a_program() {
    let mut app = app(0, json!([]));
    app.app.exec.clear();
    let error = build(&app, &pod()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app \"web\" has an empty \"exec\" (try --exec=BINARY)"
    );
}
