//! Processes that are killed between any two steps of a pod's life: nothing is
//! lost, nothing reads wrong, and gc leaves nothing.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stage0::pods::{Collector, Event, OwnedPod, Place, Pods, State};

const EAGER: Collector = Collector {
    grace: Duration::ZERO,
    expire_prepared: Duration::ZERO,
    mark_only: false,
};

const DATA: &str = "STAGE0_TEST_DATA";
const ROLE: &str = "STAGE0_TEST_ROLE";

/// This test program once more, as one that is going to be killed.
fn spawn(data: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--include-ignored"])
        .env(DATA, data)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test: what [`spawn`] runs.
#[test]
#[ignore = "a helper process of the other tests"]
fn child() {
    let data = PathBuf::from(std::env::var_os(DATA).unwrap());
    let pods = Pods::new(&data);
    match std::env::var(ROLE).unwrap().as_str() {
        "live" => loop {
            live(&pods);
        },
        "collect" => loop {
            EAGER.run(&pods, &mut |_| ()).unwrap();
        },
        way => {
            let mut pod = OwnedPod::create(&pods).unwrap();
            for place in Place::ALL {
                if way.split(',').any(|name| name == place.dir_name()) {
                    pod.move_to(place).unwrap();
                }
            }
            // The test harness prints too, on lines of its own.
            println!("\npod {}", pod.uuid());
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

/// A whole life, as fast as it goes.
fn live(pods: &Pods) {
    let mut pod = OwnedPod::create(pods).unwrap();
    pod.move_to(Place::Prepare).unwrap();
    std::fs::create_dir_all(pod.path().join("apps/a/upper/etc")).unwrap();
    std::fs::write(pod.path().join("pod"), "{}").unwrap();
    pod.move_to(Place::Run).unwrap();
    drop(pod.into_lock());
}

fn uuid_of(child: &mut Child) -> uuid::Uuid {
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines = out.lines().map(Result::unwrap);
    let mut uuids = lines.filter_map(|line| line.strip_prefix("pod ")?.parse().ok());
    uuids.next().unwrap()
}

#[test]
fn a_pod_whose_owner_was_killed_reads_as_what_it_is() {
    for (way, alive, dead) in [
        ("", State::Embryo, State::Embryo),
        ("prepare", State::Preparing, State::AbortedPrepare),
        ("prepare,prepared", State::Prepared, State::Prepared),
        ("prepare,run", State::Running, State::Exited),
        ("prepare,prepared,run", State::Running, State::Exited),
        (
            "prepare,run,exited-garbage",
            State::ExitedDeleting,
            State::ExitedGarbage,
        ),
        (
            "prepare,run,exited-garbage,garbage",
            State::Deleting,
            State::Garbage,
        ),
    ] {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        let mut owner = spawn(tmp.path(), way);
        let uuid = uuid_of(&mut owner);
        assert_eq!(pods.sample(uuid).unwrap().state(), alive, "{way:?}");
        // While it lives, nobody takes it away.
        EAGER.run(&pods, &mut |_| ()).unwrap();
        assert_eq!(pods.sample(uuid).unwrap().state(), alive, "{way:?}");
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert_eq!(pods.sample(uuid).unwrap().state(), dead, "{way:?}");
        EAGER.run(&pods, &mut |_| ()).unwrap();
        assert!(pods.sample(uuid).is_err(), "{way:?}");
    }
}

/// Makers and collectors side by side, killed at random moments for a while.
#[test]
fn kills_at_random_moments_leave_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let pods = Pods::new(tmp.path());
    let end = Instant::now() + Duration::from_secs(3);
    let mut delay = 1;
    let mut kills = 0;
    while Instant::now() < end {
        let mut children: Vec<Child> = ["live", "collect", "live", "collect"]
            .map(|role| spawn(tmp.path(), role))
            .into();
        // Not a multiple of anything the children do.
        delay = (delay * 7 + 3) % 61;
        std::thread::sleep(Duration::from_millis(20 + delay));
        for listed in pods.list().unwrap() {
            let state = listed.pod.unwrap().state();
            assert!(
                !matches!(state, State::Embryo | State::Deleting | State::Garbage),
                "{state} is listed"
            );
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
    }
    assert!(kills > 20, "the machine is too slow for this test: {kills}");
    let mut failed = Vec::new();
    EAGER
        .run(&pods, &mut |event| {
            if let Event::Failed(_, e) = event {
                failed.push(e.to_string());
            }
        })
        .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    for place in Place::ALL {
        assert!(pods.uuids(place).unwrap().is_empty(), "{place:?}");
    }
}
