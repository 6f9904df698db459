//! Who the process is, and what it may do.

use serde_json::json;

use crate::table::{Row, row};

/// The capabilities of every app that says nothing.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

const RETAIN: &str = "os/linux/capabilities-retain-set";
const REMOVE: &str = "os/linux/capabilities-remove-set";

/// Nothing is passed on by inheritance, whoever the app is.
fn sets(row: Row, bounding: &str, held: &str) -> Row {
    row.sees("status CapBnd", bounding)
        .sees("status CapPrm", held)
        .sees("status CapEff", held)
        .sees("status CapInh", NONE)
        .sees("status CapAmb", NONE)
}

/// What this process can have, and so the most that it can give.
fn ours() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:"));
    line.unwrap().trim().to_owned()
}

fn identity(row: Row, uid: &str, gid: &str, groups: &str) -> Row {
    let four = |id: &str| [id; 4].join(" ");
    row.sees("status Uid", four(uid))
        .sees("status Gid", four(gid))
        .sees("status Groups", groups)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = capabilities();
    rows.extend(users());
    rows.extend([
        row("no-new-privileges")
            .isolator("os/linux/no-new-privileges", json!(true))
            .sees("status NoNewPrivs", "1"),
        row("new-privileges-for-root").sees("status NoNewPrivs", "0"),
        // A filter must be no means against what a user executes.
        row("no-new-privileges-for-users")
            .with("--user=1000")
            .sees("status NoNewPrivs", "1"),
        row("oom-score-adj")
            .flag("--oom-score-adj=321")
            .isolator("os/linux/oom-score-adj", json!(321))
            .sees("read /proc/self/oom_score_adj", "321"),
        row("oom-score-adj-too-much")
            .flag("--oom-score-adj=1001")
            .refused(&["--oom-score-adj", "1001"]),
    ]);
    rows
}

fn capabilities() -> Vec<Row> {
    vec![
        sets(row("caps-default"), DEFAULT, DEFAULT).sees("call chown /owned 7 7", "ok"),
        sets(
            row("caps-retain")
                .flag("--caps-retain=CAP_KILL,CAP_SYS_TIME")
                .isolator(RETAIN, json!({"set": ["CAP_KILL", "CAP_SYS_TIME"]})),
            "0000000002000020",
            "0000000002000020",
        )
        .sees("call chown /owned 7 7", "EPERM"),
        sets(
            row("caps-remove")
                .flag("--caps-remove=CAP_MKNOD,CAP_CHOWN")
                .isolator(REMOVE, json!({"set": ["CAP_MKNOD", "CAP_CHOWN"]})),
            "00000000a00425fa",
            "00000000a00425fa",
        )
        .sees("call chown /owned 7 7", "EPERM"),
        sets(
            row("caps-retain-of-a-user")
                .with("--user=1000")
                .flag("--caps-retain=CAP_CHOWN")
                .isolator(RETAIN, json!({"set": ["CAP_CHOWN"]})),
            "0000000000000001",
            NONE,
        )
        .sees("call chown /owned 7 7", "EPERM"),
        sets(
            row("caps-remove-of-a-user")
                .with("--user=1000")
                .flag("--caps-remove=CAP_MKNOD")
                .isolator(REMOVE, json!({"set": ["CAP_MKNOD"]})),
            "00000000a00425fb",
            NONE,
        ),
        sets(
            row("caps-of-a-user").with("--user=app").with("--group=app"),
            DEFAULT,
            NONE,
        ),
        row("caps-both")
            .flag("--caps-retain=CAP_KILL")
            .flag("--caps-remove=CAP_MKNOD")
            .refused(&["--caps-retain", "--caps-remove"]),
        row("caps-unknown")
            .flag("--caps-retain=CAP_NOSUCH")
            .refused(&["CAP_NOSUCH"]),
        row("caps-left-alone")
            .with_pod("--insecure-options=capabilities")
            .sees("status CapInh", NONE)
            .sees("status CapAmb", NONE)
            .sees("status CapBnd", ours()),
    ]
}

fn users() -> Vec<Row> {
    vec![
        identity(row("user-root"), "0", "0", ""),
        identity(
            row("user-number")
                .flag("--user=4242")
                .flag("--group=4343")
                .image("user", json!("4242"))
                .image("group", json!("4343")),
            "4242",
            "4343",
            "",
        ),
        identity(
            row("user-name")
                .flag("--user=app")
                .flag("--group=extra")
                .image("user", json!("app"))
                .image("group", json!("extra")),
            "1000",
            "2000",
            "",
        ),
        identity(
            row("user-path")
                .flag("--user=/owned")
                .flag("--group=/owned")
                .image("user", json!("/owned"))
                .image("group", json!("/owned")),
            "1234",
            "5678",
            "",
        ),
        identity(
            row("user-groups")
                .with("--user=1000")
                .flag("--supplementary-gids=7,4000000000")
                .image("supplementaryGIDs", json!([7, 4_000_000_000_u32])),
            "1000",
            "0",
            "7 4000000000",
        ),
        row("user-unknown")
            .flag("--user=nobody-knows")
            .image("user", json!("nobody-knows"))
            .refused(&["probe", "nobody-knows"]),
        row("group-unknown")
            .flag("--group=nobody-knows")
            .image("group", json!("nobody-knows"))
            .refused(&["probe", "nobody-knows"]),
    ]
}
