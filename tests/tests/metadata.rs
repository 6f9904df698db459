//! The appc metadata service: who an app is, and that nobody else can say so.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use nix::sys::signal::Signal;
use tests::{Aci, Host, Running};

fn host() -> Host {
    let host = Host::with_own_network();
    let mut aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    aci.manifest["annotations"] = serde_json::json!([{"name": "homepage", "value": "http://x"}]);
    host.fetch_aci(&aci);
    host
}

fn service(host: &Host) -> Running {
    let mut service = host.rkt(["metadata-service", "--listen-port=0"]).spawn();
    tests::cmd::eventually("the service", || {
        service.stderr().contains("running on port")
    });
    service
}

fn run(host: &Host, net: &str, script: &str) -> tests::Output {
    let words = ["run", net, "--mds-register", "example.com/sh", "--", script];
    host.rkt(words).run()
}

const ASK: &str = "u=$AC_METADATA_URL/acMetadata/v1; wget -qO- $u";

#[test]
fn an_app_learns_who_it_is_and_signs() {
    let host = host();
    let mut service = service(&host);
    let out = run(&host, "--net=host", &format!("{ASK}/pod/uuid")).ok();
    assert_eq!(out.text(), host.last_uuid());
    run(
        &host,
        "--net=host",
        &format!("{ASK}/apps/$AC_APP_NAME/annotations/homepage"),
    )
    .ok()
    .prints("http://x");
    let out = run(&host, "--net=host", &format!("{ASK}/pod/manifest")).ok();
    assert_eq!(out.json()["apps"][0]["name"], "sh");
    let script = "u=$AC_METADATA_URL/acMetadata/v1/pod
        id=$(wget -qO- $u/uuid)
        s=$(wget -qO- --post-data='content=hello' $u/hmac/sign | sed 's/+/%2B/g; s/=/%3D/g; s,/,%2F,g')
        wget -qO- --post-data=\"content=hello&uuid=$id&signature=$s\" $u/hmac/verify && echo right
        wget -qO- --post-data=\"content=other&uuid=$id&signature=$s\" $u/hmac/verify || echo wrong
        wget -qO- ${AC_METADATA_URL}0/acMetadata/v1/pod/uuid || echo stranger";
    let out = run(&host, "--net=host", script).ok();
    assert_eq!(out.stdout, "right\nwrong\nstranger\n", "{out}");
    let said = service.stderr();
    for line in [
        "GET /…/acMetadata/v1/pod/uuid - 200",
        "hmac/verify - 403",
        "PUT /pods/",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("token="), "{said}");
    let uuid = host.last_uuid();
    host.rkt(["rm", &uuid]).run().ok();
    assert!(
        service
            .stderr()
            .contains(&format!("DELETE /pods/{uuid} - 200"))
    );
    service.signal(Signal::SIGTERM);
    let end = service.wait().ok();
    assert!(end.stderr.contains("exiting"), "{end}");
}

#[test]
fn through_a_network_of_the_pods_own() {
    let host = host();
    let _service = service(&host);
    let out = run(&host, "--net=default", &format!("{ASK}/pod/uuid")).ok();
    assert_eq!(out.text(), host.last_uuid());
}

#[test]
fn an_app_that_is_added_learns_it_too() {
    let host = host();
    let service = service(&host);
    let file = host.path().join("uuid");
    let mut sandbox = host
        .rkt(["app", "sandbox", "--net=host", "--mds-register"])
        .arg(format!("--uuid-file-save={}", file.display()))
        .spawn();
    tests::cmd::eventually("the UUID", || {
        std::fs::read(&file).is_ok_and(|b| b.len() == 36)
    });
    let uuid = std::fs::read_to_string(&file).unwrap();
    host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
    let add = |name: &str| {
        let script = format!(
            "{ASK}/pod/uuid; echo; wget -qO- $u/apps/first/annotations/homepage && \
             wget -qO- $u/pod/manifest | grep -q '\"second\"' && echo both; echo end; \
             exec sleep 1000"
        );
        let name = format!("--name={name}");
        let words = ["app", "add", &uuid, "example.com/sh", &name, "--"];
        host.rkt(words).arg(script).run()
    };
    add("first").ok();
    add("second").ok();
    host.rkt(["app", "start", &uuid, "--app=second"]).run().ok();
    sandbox.wait_for("[second] end");
    let said = sandbox.stdout();
    assert!(said.contains(&format!("[second] {uuid}\n")), "{said}");
    assert!(said.contains("both\n"), "{said}");
    host.rkt(["app", "rm", &uuid, "--app=first"]).run().ok();
    // A service that went away is no reason to refuse an app.
    drop(service);
    let out = add("third").ok();
    assert!(
        out.stderr.contains("warning: the metadata service"),
        "{out}"
    );
    host.rkt(["stop", &uuid]).run().ok();
    sandbox.wait().ok();
}

#[test]
fn nothing_is_registered_unless_asked_and_failures_are_told() {
    let host = host();
    run(&host, "--net=host", "true").fails(254, "run", &["metadata service is not running"]);
    let service = service(&host);
    run(&host, "--net=none", "true").fails(254, "run", &["--mds-register needs a network"]);
    host.rkt([
        "run",
        "--net=host",
        "example.com/sh",
        "--",
        "echo -$AC_METADATA_URL-",
    ])
    .run()
    .ok()
    .prints("--\n");
    host.rkt(["metadata-service", "--listen-port=0"])
        .run()
        .code_is(254);
    drop(service);
    // A service that was killed leaves its socket; the next one takes its place.
    let killed = self::service(&host);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    let again = self::service(&host);
    run(&host, "--net=host", "true").ok();
    drop(again);
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    host.assert_no_pods();
}
