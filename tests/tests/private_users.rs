//! `--private-users`: a pod with users of its own, who are nobody on the host.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tests::cmd::eventually;
use tests::pty::Pty;
use tests::shell::{host, image};
use tests::{Aci, Cmd, Host, Rootfs};

/// What the host gives to containers where nobody says otherwise.
const RANGES: std::ops::Range<u32> = 0x2000_0000..0x7000_0000;

fn pod(host: &Host, flags: &[&str], app: &[&str], script: &str) -> Cmd {
    let mut words = vec!["run", "--net=none", "--private-users"];
    words.extend(flags);
    words.push("example.com/sh");
    words.extend(app);
    words.extend(["--", script]);
    host.rkt(words)
}

/// What a pod prints.
#[track_caller]
fn says(host: &Host, flags: &[&str], app: &[&str], script: &str) -> String {
    pod(host, flags, app, script).run().ok().text().to_owned()
}

/// A pod that runs until it is stopped, and its UUID.
#[track_caller]
fn detached(host: &Host, flags: &[&str], app: &[&str], script: &str) -> String {
    let flags = [&["--detach"], flags].concat();
    says(host, &flags, app, script)
}

fn stop(host: &Host, uuid: &str) {
    host.rkt(["stop", uuid]).run().ok();
    eventually("the pod is over", || host.state(uuid) == "exited");
}

/// The first id on the host of the pod of a process with this number.
fn first_id(map: &str) -> u32 {
    let fields: Vec<u32> = map
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap())
        .collect();
    assert_eq!((fields[0], fields[2]), (0, 65536), "{map}");
    fields[1]
}

/// The register's file of a range.
fn claim(first: u32) -> PathBuf {
    Path::new("/run/rkt/users").join(first.to_string())
}

fn main_process(host: &Host, uuid: &str) -> i32 {
    let file = host
        .data()
        .join("pods/run")
        .join(uuid)
        .join("apps/sh/status");
    let status: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn root_in_the_pod_is_nobody_on_the_host() {
    let host = host();
    let uuid = detached(&host, &[], &[], "sleep 1000");
    let pid = main_process(&host, &uuid);
    let proc = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let first = first_id(&proc("uid_map"));
    assert_eq!(proc("uid_map"), proc("gid_map"));
    assert!(
        RANGES.contains(&first) && first.is_multiple_of(65536),
        "{first}"
    );
    let status = proc("status");
    let ids = format!("{first}\t{first}\t{first}\t{first}");
    assert!(status.contains(&format!("Uid:\t{ids}\n")), "{status}");
    assert!(status.contains(&format!("Gid:\t{ids}\n")), "{status}");
    assert!(!status.contains("Groups:\t0"), "{status}");
    // Every namespace of the pod's is its users' own.
    for kind in ["user", "pid", "ipc", "uts", "mnt", "cgroup", "net"] {
        let at = |of: &str| fs::read_link(format!("/proc/{of}/ns/{kind}")).unwrap();
        assert_ne!(at(&pid.to_string()), at("self"), "{kind}");
    }
    stop(&host, &uuid);
}

#[test]
fn a_pod_sees_what_any_pod_sees() {
    let host = host();
    // All but /dev's owners, which are the host's.
    let script = "id; stat -c '%u %g %a %n' / /bin /etc /etc/hosts /tmp /dev /dev/shm /dev/pts \
                  /bin/busybox; ls /dev | tr '\\n' ' '; grep Cap /proc/self/status; \
                  head -c4 /dev/urandom | wc -c; echo x >/dev/null && echo written; \
                  stat -c %t:%T /dev/zero; mount | cut -d' ' -f3,5 | grep -v /dev/";
    let ours = says(&host, &[], &[], script);
    let plain = host
        .rkt(["run", "--net=none", "example.com/sh", "--", script])
        .run()
        .ok();
    let sorted = |text: &str| -> Vec<String> {
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("/proc/") || !line.ends_with("devtmpfs"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(plain.text()));
    // /dev/stdout and its like can be opened, as logs are by many images.
    let out = pod(
        &host,
        &[],
        &["--user=1000"],
        "echo a >/dev/stdout; echo b >/dev/stderr",
    )
    .run()
    .ok();
    assert_eq!((out.text(), out.stderr.trim()), ("a", "b"), "{out}");
}

#[test]
fn no_file_changes_its_owner_and_what_is_written_has_the_images_ids() {
    let host = host();
    let script = "touch /new && chown 1000:1001 /new && echo more >>/etc/passwd && \
                  chown 7:8 /bin/busybox && stat -c '%u:%g' /new /etc/passwd /bin/busybox";
    let out = says(&host, &[], &[], script);
    assert_eq!(out, "1000:1001\n0:0\n7:8");
    let uuid = host.last_uuid();
    let upper = host
        .data()
        .join("pods/run")
        .join(&uuid)
        .join("apps/sh/upper");
    for (file, owner) in [
        ("new", (1000, 1001)),
        ("etc/passwd", (0, 0)),
        ("bin/busybox", (7, 8)),
    ] {
        let stat = fs::metadata(upper.join(file)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), owner, "{file}");
    }
    let file = host.path().join("out.aci");
    host.rkt(["export", &uuid]).arg(&file).run().ok();
    let listed = Cmd::new("tar")
        .args(["--numeric-owner", "-tzvf"])
        .arg(&file)
        .run()
        .ok();
    let owner = |name: &str| {
        let mut lines = listed.stdout.lines();
        let line = lines.find(|line| line.split_whitespace().nth(5) == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {listed}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(owner("rootfs/new"), "1000/1001");
    assert_eq!(owner("rootfs/bin/busybox"), "7/8");
    assert_eq!(
        owner("rootfs/bin/sh"),
        owner("rootfs/etc/passwd"),
        "{listed}"
    );
}

#[test]
fn an_unpacked_image_needs_no_change_of_owner_either() {
    let host = host();
    let script = "stat -c '%u:%g' / /bin/busybox; touch /new; chown 5:6 /new; stat -c %u:%g /new";
    let out = pod(&host, &["--no-overlay"], &[], script).run().ok();
    assert_eq!(out.text(), "0:0\n0:0\n5:6");
    assert!(!out.stderr.contains("owners"), "{out}");
    let uuid = host.last_uuid();
    let file = format!("pods/run/{uuid}/apps/sh/rootfs/new");
    assert_eq!(fs::metadata(host.data().join(file)).unwrap().uid(), 5);
}

#[test]
fn volumes_keep_their_numbers() {
    let host = host();
    let dir = host.path().join("volume");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine"), "x").unwrap();
    std::os::unix::fs::chown(dir.join("mine"), Some(1000), Some(1000)).unwrap();
    let source = format!("--volume=data,kind=host,source={}", dir.display());
    let script = "stat -c '%u:%g' /data /data/mine /cache; stat -c %a /cache; \
                  touch /data/new /cache/x && chown 7:8 /data/new";
    let out = says(
        &host,
        &[&source, "--volume=cache,kind=empty,uid=5,gid=6,mode=0750"],
        &[
            "--mount=volume=data,target=/data",
            "--mount=volume=cache,target=/cache",
        ],
        script,
    );
    assert_eq!(out, "0:0\n1000:1000\n5:6\n750");
    let stat = fs::metadata(dir.join("new")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (7, 8));
    // An owner that the pod does not know is nobody, and stays who it is.
    std::os::unix::fs::chown(dir.join("mine"), Some(70_000), Some(70_000)).unwrap();
    let script = "stat -c '%u:%g' /data/mine; echo y >/data/mine; chown 0:0 /data/mine; true";
    let mount = ["--mount=volume=data,target=/data"];
    assert_eq!(says(&host, &[&source], &mount, script), "65534:65534");
    assert_eq!(fs::read_to_string(dir.join("mine")).unwrap(), "x");
    assert_eq!(fs::metadata(dir.join("mine")).unwrap().uid(), 70_000);
    // A file system that cannot do it is told of.
    let source = "--volume=data,kind=host,source=/sys/kernel";
    let out = pod(&host, &[source], &mount, "stat -c %u /data").run().ok();
    assert_eq!(out.text(), "65534");
    assert!(out.stderr.contains("cannot map owners"), "{out}");
}

#[test]
fn who_enters_is_the_pods_user() {
    let host = host();
    let uuid = detached(
        &host,
        &[],
        &["--oom-score-adj=400", "--memory=64Mi"],
        "sleep 1000",
    );
    let script = "id -u; cat /proc/self/uid_map; cat /proc/self/oom_score_adj; \
                  touch /made && stat -c %u /made; echo err >/dev/stderr; \
                  readlink /proc/self/ns/user; grep CapEff /proc/self/status";
    let out = host
        .rkt(["enter", &uuid, "/bin/sh", "-c", script])
        .run()
        .ok();
    let lines: Vec<_> = out.stdout.lines().collect();
    let pid = main_process(&host, &uuid);
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(first_id(lines[1]), first_id(&map));
    assert_eq!((lines[0], lines[2], lines[3]), ("0", "400", "0"), "{out}");
    let namespace = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(Path::new(lines[4]), namespace);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(lines[5]), "{out}");
    // The app itself got what only the host's root may give.
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "400");
    // With a terminal too.
    let mut pty = Pty::spawn(host.rkt(["enter", &uuid, "/bin/sh"]));
    pty.type_in("tty; stat -c %u $(tty); exit 7\n");
    pty.wait_for("/dev/pts/");
    assert_eq!(pty.wait(), Some(7), "{}", pty.screen());
    stop(&host, &uuid);
}

#[test]
fn apps_come_and_go() {
    let host = host();
    let sandbox = [
        "app",
        "sandbox",
        "--net=none",
        "--private-users",
        "--detach",
    ];
    let uuid = host.rkt(sandbox).run().ok().text().to_owned();
    for name in ["one", "two"] {
        let name = format!("--name={name}");
        let script = "cat /proc/self/uid_map; mount -t proc proc /tmp 2>/dev/null; sleep 1000";
        let add = ["app", "add", &uuid, "example.com/sh", &name, "--", script];
        host.rkt(add).run().ok();
    }
    for app in ["--app=one", "--app=two"] {
        host.rkt(["app", "start", &uuid, app]).run().ok();
    }
    let exec = |app: &str, script: &str| {
        let words = ["app", "exec", app, &uuid, "/bin/sh", "-c", script];
        host.rkt(words).run().ok().text().to_owned()
    };
    let map = exec("--app=one", "cat /proc/self/uid_map");
    assert_eq!(map, exec("--app=two", "cat /proc/self/uid_map"));
    assert!(claim(first_id(&map)).exists());
    // They share memory, as the apps of a pod do.
    exec("--app=one", "echo hi >/dev/shm/x");
    assert_eq!(
        exec("--app=two", "cat /dev/shm/x; stat -c %u /dev/shm/x"),
        "hi\n0"
    );
    host.rkt(["app", "stop", &uuid, "--app=one"]).run().ok();
    host.rkt(["app", "start", &uuid, "--app=one"]).run().ok();
    assert_eq!(exec("--app=one", "id -u"), "0");
    host.rkt(["app", "rm", &uuid, "--app=two"]).run().ok();
    stop(&host, &uuid);
}

#[test]
fn no_two_pods_have_an_id_in_common() {
    let host = host();
    let pods: Vec<_> = (0..4)
        .map(|_| pod(&host, &["--detach"], &[], "sleep 1000").spawn())
        .collect();
    let uuids: Vec<String> = pods
        .into_iter()
        .map(|pod| pod.wait().ok().text().to_owned())
        .collect();
    let mut firsts: Vec<u32> = uuids
        .iter()
        .map(|uuid| {
            let pid = main_process(&host, uuid);
            first_id(&fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap())
        })
        .collect();
    firsts.sort_unstable();
    for pair in firsts.windows(2) {
        assert!(pair[1] - pair[0] >= 65536, "{firsts:?}");
    }
    for (uuid, first) in uuids.iter().zip(&firsts) {
        assert!(claim(*first).exists());
        stop(&host, uuid);
    }
    // Ids are a pod's for as long as its files are there.
    assert!(claim(firsts[0]).exists());
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    for first in &firsts {
        assert!(!claim(*first).exists(), "{first} is taken still");
    }
}

#[test]
fn ids_of_a_pod_that_is_gone_without_a_word_are_free() {
    let host = host();
    let words = ["prepare", "--quiet", "--private-users", "example.com/sh"];
    let prepare = |host: &Host| host.rkt(words).args(["--", "id -u"]).run().ok();
    let uuid = prepare(&host).text().to_owned();
    let directory = host.data().join("pods/prepared").join(&uuid);
    let record = fs::read_to_string(directory.join("private-users")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let first = u32::try_from(record["first"].as_u64().unwrap()).unwrap();
    assert!(claim(first).exists());
    // Somebody else has them after the host was started anew.
    fs::write(claim(first), r#"{"uuid":"x","pods":"/proc"}"#).unwrap();
    let run = ["run-prepared", "--net=none", &uuid];
    assert_eq!(host.rkt(run).run().ok().text(), "0");
    assert!(claim(first).exists(), "it is not ours to free");
    fs::remove_file(claim(first)).unwrap();
    // By hand, as nobody should.
    let uuid = prepare(&host).text().to_owned();
    let directory = host.data().join("pods/prepared").join(&uuid);
    let record = fs::read_to_string(directory.join("private-users")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let first = u32::try_from(record["first"].as_u64().unwrap()).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    host.rkt(["gc"]).run().ok();
    assert!(!claim(first).exists());
}

#[test]
fn ids_outside_the_pods_are_nobodys_or_refused() {
    let rootfs = Rootfs::busybox()
        .file("etc/far", 0o644, "data")
        .owned("etc/far", 70_000, 70_000);
    let host = Host::new();
    host.fetch_aci(&Aci::new("example.com/sh", &["/bin/sh", "-c"], rootfs));
    // A mount has no number for it: everybody may read it, nobody change it.
    let script = "stat -c '%u:%g' /etc/far; cat /etc/far; echo; echo y >>/etc/far; chown 0 /etc/far; \
                  stat -c '%u:%g' /etc/far";
    let out = says(&host, &[], &[], script);
    assert_eq!(out, "65534:65534\ndata\n65534:65534");
    for (flags, words) in [
        (
            ["--user=70000", "--group=0"],
            ["app \"sh\"", "70000 is outside the pod's 65536 ids"],
        ),
        (
            ["--group=65536", "--user=0"],
            ["app \"sh\"", "65536 is outside the pod's 65536 ids"],
        ),
    ] {
        pod(&host, &[], &flags, "true")
            .run()
            .fails(254, "run", &words);
    }
    pod(
        &host,
        &["--volume=v,kind=empty,uid=70000"],
        &["--mount=volume=v,target=/v"],
        "true",
    )
    .run()
    .fails(254, "run", &["volume \"v\"", "70000 is outside"]);
    // Only the one pod that ran is left.
    assert_eq!(host.pod_directories().len(), 1);
}

#[test]
fn where_mounts_cannot_map_owners_files_are_given_away_and_that_is_told() {
    let host = Host::new();
    let at = |name: &str| host.path().join(name);
    for dir in ["lower", "upper", "work", "data"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    // overlayfs maps no owners.
    Cmd::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(at("data"))
        .run()
        .ok();
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _gone = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(at("data"));
    host.fetch_aci(&image());
    let script = "stat -c '%u:%g' / /bin/busybox /v; touch /new; chown 5:6 /new";
    let out = pod(
        &host,
        &["--volume=v,kind=empty,uid=9,gid=10"],
        &["--mount=volume=v,target=/v"],
        script,
    )
    .run()
    .ok();
    assert_eq!(out.text(), "0:0\n0:0\n9:10");
    assert!(
        out.stderr.contains("files changed their owners in"),
        "{out}"
    );
    let run = at("data").join("pods/run");
    let pod = fs::read_dir(run).unwrap().next().unwrap().unwrap().path();
    let stat = fs::metadata(pod.join("apps/sh/rootfs/new")).unwrap();
    assert!(RANGES.contains(&stat.uid()), "{}", stat.uid());
    // It is exported as if it had never been.
    let uuid = pod.file_name().unwrap().to_str().unwrap();
    let file = at("out.aci");
    host.rkt(["export", uuid]).arg(&file).run().ok();
    let listed = Cmd::new("tar")
        .args(["--numeric-owner", "-tzvf"])
        .arg(&file)
        .run()
        .ok();
    assert!(!listed.stdout.contains(&stat.uid().to_string()), "{listed}");
    assert!(listed.stdout.contains(" 5/6 "), "{listed}");
    host.rkt(["rm", uuid]).run().ok();
    assert!(!claim(stat.uid() - 5).exists());
}

#[test]
fn the_hosts_namespaces_can_be_shared_but_not_ruled() {
    let host = host();
    let words = ["run", "--private-users", "--net=host", "--ipc=parent"];
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ls /sys/class/net | sort | tr '\\n' ' '; \
                  ip link add dummy0 type dummy 2>&1; touch /dev/shm/../mqueue/x 2>/dev/null; true";
    let out = host
        .rkt(words)
        .arg("example.com/sh")
        .args(["--caps-retain=CAP_NET_ADMIN,CAP_SYS_ADMIN", "--", script])
        .run()
        .ok();
    let ours = |kind: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        link.to_str().unwrap().to_owned()
    };
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(lines[..2], [ours("net"), ours("ipc")]);
    assert!(lines[2].contains("lo"), "{out}");
    assert!(out.stdout.contains("not permitted"), "{out}");
}

#[test]
fn an_app_reads_its_units_credentials_and_nobody_else_does() {
    let host = host();
    let unit = tempfile::tempdir().unwrap();
    fs::write(unit.path().join("token"), "secret").unwrap();
    let script = "cd $CREDENTIALS_DIRECTORY && cat token && stat -c ' %u %a' . token";
    let said = pod(&host, &[], &["--user=33", "--group=33"], script)
        .env("CREDENTIALS_DIRECTORY", unit.path())
        .run()
        .ok();
    assert_eq!(said.text(), "secret 33 500\n 33 400");
}
