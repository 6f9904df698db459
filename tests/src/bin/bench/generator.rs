//! What declared pods add to every boot and `daemon-reload`: the time of the
//! generator that makes units of them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use tests::host::find_binary;

use crate::contender::{Arena, Contender, interleave};
use crate::report::Report;

const PODS: usize = 200;

/// podman's generator; it makes units of `.container` files.
const PODMANS: &str = "/usr/lib/systemd/system-generators/podman-system-generator";

/// Measures it, each time into an empty directory.
pub(crate) fn run(rounds: usize) -> Report {
    let mut report = Report::new(
        format!("units of {PODS} declared pods"),
        "ms",
        "rkt generator, pod files",
    );
    let program = match find_binary("rkt") {
        Ok(program) => program,
        Err(why) => {
            report.missing.push(("rkt generator".into(), why));
            return report;
        }
    };
    // A tmpfs, as where systemd has its generators write.
    let dir = tempfile::tempdir_in("/dev/shm").expect("a temporary directory can be made");
    let outs = ["pod", "yaml", "container"].map(|kind| dir.path().join(format!("of-{kind}")));
    let declare = |kind: &str, text: fn(usize) -> String| {
        let declared = dir.path().join(kind);
        fs::create_dir(&declared).expect("the directory is ours");
        for n in 0..PODS {
            let file = declared.join(format!("web{n}.{kind}"));
            fs::write(file, text(n)).expect("the directory is ours");
        }
        declared
    };
    let ours = |name: &str, declared: &Path, out: &Path| {
        let words = [
            program.clone().into_os_string(),
            "generator".into(),
            format!("--pods={}", declared.display()).into(),
            out.into(),
        ];
        Contender::new(name, words)
    };
    let podmans = Contender::new(
        "podman's generator, .container files",
        [PODMANS.into(), outs[2].clone().into_os_string()],
    )
    .env("QUADLET_UNIT_DIRS", declare("container", container));
    let contenders = vec![
        ours("rkt generator, pod files", &declare("pod", pod), &outs[0]),
        ours(
            "rkt generator, Kubernetes Pods",
            &declare("yaml", yaml),
            &outs[1],
        ),
        podmans,
    ];
    let empty = || {
        for out in &outs {
            if out.exists() {
                fs::remove_dir_all(out).expect("the directory is ours");
            }
            fs::create_dir(out).expect("the directory is ours");
        }
    };
    empty();
    interleave(&Arena::new(), &mut report, contenders, rounds, empty);
    report
}

fn pod(n: usize) -> String {
    format!(
        "[Unit]\nAfter=postgresql.service\n[Pod]\nPort=http:{}\n\
         [App web]\nImage=docker://registry.example.com/web:1.0\nUser=33\nArguments=--listen 80\n\
         [Service]\nMemoryMax=512M\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n",
        8000 + n
    )
}

fn container(n: usize) -> String {
    format!(
        "[Unit]\nAfter=postgresql.service\n[Container]\nPublishPort={}:80\n\
         Image=registry.example.com/web:1.0\nUser=33\nExec=--listen 80\n\
         [Service]\nMemoryMax=512M\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n",
        8000 + n
    )
}

fn yaml(n: usize) -> String {
    let mut text = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web{n}\nspec:\n");
    writeln!(
        text,
        "  containers:\n  - name: web\n    image: registry.example.com/web:1.0\n    \
         args: [--listen, \"80\"]\n    securityContext:\n      runAsUser: 33\n    \
         ports:\n    - containerPort: 80\n      hostPort: {}\n    \
         resources:\n      limits:\n        memory: 512Mi",
        8000 + n
    )
    .expect("writing to a string cannot fail");
    text
}
