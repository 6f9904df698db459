//! What a process takes along from whoever started it.

use tests::pty::Pty;
use tests::{Cmd, Host, probe};

use crate::walls::{answers, held_by, run, run_image, says};

/// `security.capability` of version 2: inheritable CAP_NET_RAW, made effective
/// at once (capabilities(7), "File capability extended attribute versioning").
const INHERITS_NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A user's program gains what is inheritable on both sides.
#[test]
fn cve_2022_29162_inheritable_capabilities() {
    held_by(&["Inheritable"], |host| {
        let mut image = probe::image("example.com/heir");
        image.rootfs = image.rootfs.file("heir", 0o755, probe::PROGRAM).xattr(
            "heir",
            "security.capability",
            &INHERITS_NET_RAW,
        );
        let flags = ["--user=1000", "--seccomp=mode=retain,@appc.io/all"];
        let question = "as /heir status CapEff";
        let answers = answers(run_image(host, image, &[], &flags, &[question])).unwrap();
        let got = answers[question].as_str().unwrap().to_owned();
        assert!(
            ["0000000000000000", "0000000000002000"].contains(&got.as_str()),
            "{got}"
        );
        got == "0000000000002000"
    });
}

/// A descriptor of the engine's as the working directory: here that of its own
/// procfs, of which nothing is masked or read-only.
#[test]
fn cve_2024_21626_the_working_directory_is_a_descriptor() {
    held_by(&["WorkingDirectory"], |host| {
        (3..20).any(|number| {
            let flag = format!("--working-dir=/proc/self/fd/{number}");
            let question = "rewrite sys/kernel/core_pattern";
            says(
                run(host, &[], &[&flag, "--oom-score-adj=1"], &[question]),
                "ok",
            )
        })
    });
}

/// A set-user-ID program of an image, whose owner is none of the pod's users,
/// makes nobody that owner.
#[test]
fn image_files_owned_by_ids_outside_the_map() {
    let attack = |host: &Host, flags: &[&str]| {
        let mut image = probe::image("example.com/stranger");
        image.rootfs = image
            .rootfs
            .file("stranger", 0o4755, probe::PROGRAM)
            .owned("stranger", 70_000, 70_000);
        let question = "as /stranger status Uid";
        let answers = answers(run_image(host, image, flags, &[], &[question])).unwrap();
        let got = answers[question].as_str().unwrap().to_owned();
        assert!(
            ["0 0 0 0", "0 70000 70000 70000"].contains(&got.as_str()),
            "{got}"
        );
        got != "0 0 0 0"
    };
    let host = Host::new();
    assert!(!attack(&host, &["--private-users"]));
    assert!(attack(&host, &[]), "shows nothing");
}

/// An app that may trace writes into the memory of the pod's PID 1, and does
/// with its privileges what it likes.
#[test]
fn the_privileges_of_the_pods_init() {
    held_by(&["IdleInit"], |host| {
        let questions = ["open /proc/1/mem rw", "privileges 1"];
        let flags = ["--caps-retain=CAP_SYS_PTRACE"];
        let answers = answers(run(host, &[], &flags, &questions)).unwrap();
        assert_eq!(answers[questions[0]], "ok", "{answers:?}");
        // CAP_KILL, of what it has and of what it could have.
        answers[questions[1]] != "0000000000000020 0000000000000020"
    });
}

/// And it reads there what rkt was started with.
#[test]
fn the_environment_of_the_caller() {
    held_by(&["Environment"], |host| {
        let question = "read /proc/1/environ";
        let flags = ["--caps-retain=CAP_SYS_PTRACE"];
        let pod = run(host, &[], &flags, &[question]).env("A_PASSWORD", "of the caller");
        let answers = answers(pod).unwrap();
        let got = answers[question].as_str().unwrap();
        assert_ne!(got, "EACCES");
        got.contains("A_PASSWORD")
    });
}

/// Keys in the session keyring of whoever started the pod.
#[test]
fn keys_of_the_caller() {
    held_by(&["Keyring"], |host| {
        let question = "call keyctl 10 -3 user probe-secret 0";
        let pod = run(host, &["--insecure-options=seccomp"], &[], &[question]);
        let program = host.path().join("carrier");
        tests::cmd::write_program(&program, probe::PROGRAM);
        let inner = pod.into_command();
        let mut carried = Cmd::new(&program).arg("carry").arg(inner.get_program());
        for word in inner.get_args() {
            carried = carried.arg(word);
        }
        for (name, value) in inner.get_envs() {
            carried = carried.env(name, value.unwrap_or_default());
        }
        says(carried, "ok")
    });
}

/// Characters typed into the caller's terminal are commands for its shell
/// (TIOCSTI).
#[test]
fn typing_into_the_callers_terminal() {
    held_by(&["Terminal"], |host: &Host| {
        let cmd = run(host, &["--insecure-options=all-run"], &[], &["type 1 x"]);
        let mut pty = Pty::spawn(cmd);
        assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
        pty.wait_for("}");
        let screen = pty.screen();
        assert!(
            screen.contains("\"ok\"") || screen.contains("\"ENOTTY\""),
            "{screen}"
        );
        screen.contains("\"ok\"")
    });
}
