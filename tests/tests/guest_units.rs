//! A pod is a unit: declared in a file, started, limited, watched and stopped
//! by a real systemd.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use tests::guest::{Debian, Guest, Kernel, Output};
use tests::{Aci, Compression};

/// A guest with rkt as generator, and `example.com/sh` in its store, whose
/// exec is `/bin/sh -c`.
fn with_pods(guest: Option<Guest>) -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let file = aci.write(dir.path(), "sh", Compression::Plain);
    let bytes = std::fs::read(file).unwrap();
    Some(
        guest?
            .rkt()?
            .bytes("/in/sh.aci", 0o644, bytes)
            .text("/etc/rkt/pods/web.pod", 0o644, WEB)
            .text("/etc/rkt/pods/bad.pod", 0o644, "[Pod]\nPrt=80\n")
            .text("/etc/rkt/pods/once@.pod", 0o644, ONCE),
    )
}

const WEB: &str = "
[Unit]
Description=A web server
[Pod]
Network=none
InsecureOptions=image
[App web]
Image=example.com/sh
Arguments='echo serving; cat /proc/self/cgroup >&2; trap \"exit 0\" TERM; while :; do sleep 0.1; done'
[Service]
MemoryMax=96M
TasksMax=33
[Install]
WantedBy=multi-user.target
";

const ONCE: &str = "
[Pod]
Network=none
InsecureOptions=image
[App once]
Image=example.com/sh
Arguments='exit %i'
";

const PREPARE: &str = "
    set -e
    mkdir -p /usr/lib/systemd/system-generators
    ln -s /usr/bin/rkt /usr/lib/systemd/system-generators/rkt-generator
    rkt --insecure-options=image fetch --full /in/sh.aci >id
    systemctl daemon-reload
";

fn run(guest: &Guest, script: &str) -> Output {
    guest.run(&format!("{PREPARE}{script}"))
}

/// Both systemd versions, on this machine's kernel.
fn containers() -> impl Iterator<Item = Option<Guest>> {
    Debian::ALL.into_iter().map(Guest::nspawn)
}

/// A kernel of its own, with all controllers on cgroup v2.
fn machine() -> impl Iterator<Item = Option<Guest>> {
    std::iter::once_with(|| Guest::qemu(Kernel::V6_12))
}

#[test]
fn a_declared_pod_is_started_limited_and_stopped_as_a_unit() {
    for guest in containers().chain(machine()).filter_map(with_pods) {
        let out = run(
            &guest,
            "
            echo wanted=$(readlink /run/systemd/generator/multi-user.target.wants/web.service)
            systemctl start web.service
            echo active=$(systemctl is-active web.service)
            echo text=$(systemctl show --value -p StatusText web.service)
            main=$(systemctl show --value -p MainPID web.service)
            echo main=$(cat /proc/$main/comm)
            unit=/sys/fs/cgroup$(systemctl show --value -p ControlGroup web.service)
            echo unit=$unit
            echo below=$(cd $unit && find . -type d | sort | sed -E 's/[0-9a-f-]{36}/UUID/' | tr '\\n' ' ')
            echo memory=$(cat $unit/memory.max 2>/dev/null)
            systemctl daemon-reload
            echo after_reload=$(cat $unit/memory.max 2>/dev/null)
            rkt pod show web | tail -n 2
            systemctl stop web.service
            echo result=$(systemctl show --value -p Result web.service)
            echo left=$(rkt list --no-legend | wc -l)
            [ -e $unit ] || echo cgroup=gone
            ",
        );
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("wanted"), "../web.service", "{out}");
        assert_eq!(out.value("active"), "active", "{out}");
        assert_eq!(out.value("text"), "1 app running", "{out}");
        assert_eq!(out.value("main"), "rkt-stage1", "{out}");
        assert!(out.value("unit").ends_with("/web.service"), "{out}");
        let below = out.value("below");
        assert!(below.contains("./UUID/web"), "{out}");
        let limited = out.value("memory");
        assert_eq!(limited, out.value("after_reload"), "{out}");
        if !limited.is_empty() {
            assert_eq!(limited, (96 << 20).to_string(), "{out}");
            assert!(below.contains("./supervisor"), "{out}");
        }
        assert_eq!(out.value("result"), "success", "{out}");
        assert_eq!(out.value("left"), "0", "{out}");
        assert_eq!(out.value("cgroup"), "gone", "{out}");
    }
}

#[test]
fn a_template_runs_with_its_instance_and_its_status_is_the_apps() {
    for guest in containers().filter_map(with_pods) {
        let out = run(
            &guest,
            "
            systemctl start once@0.service
            systemctl start once@7.service || true
            for n in 0 7; do
                while systemctl is-active -q once@$n.service; do sleep 0.1; done
                echo status$n=$(systemctl show --value -p ExecMainStatus once@$n.service)
                echo result$n=$(systemctl show --value -p Result once@$n.service)
            done
            ",
        );
        assert_eq!(out.value("status0"), "0", "{out}");
        assert_eq!(out.value("result0"), "success", "{out}");
        assert_eq!(out.value("status7"), "7", "{out}");
        assert_eq!(out.value("result7"), "exit-code", "{out}");
    }
}

#[test]
fn a_wrong_file_is_a_unit_that_fails_and_says_why() {
    for guest in containers().filter_map(with_pods) {
        let out = run(
            &guest,
            "
            rkt pod check 2>&1 || echo check=$?
            systemctl start bad.service || echo start=failed
            journalctl --no-pager -o cat -u bad.service
            sed -i s/Prt=80/Hostname=x/ /etc/rkt/pods/bad.pod
            printf '[App a]\\nImage=example.com/sh\\n' >>/etc/rkt/pods/bad.pod
            rkt pod check /etc/rkt/pods/bad.pod 2>&1 || echo again=$?
            sed -i s/Hostname=/HostName=/ /etc/rkt/pods/bad.pod
            rkt pod check /etc/rkt/pods/bad.pod && echo right=yes
            ",
        );
        assert_eq!(out.value("check"), "254", "{out}");
        assert_eq!(out.value("start"), "failed", "{out}");
        let line = "/etc/rkt/pods/bad.pod:2: unknown key Prt= in [Pod]; did you mean Port=?";
        assert!(out.stdout.matches(line).count() >= 2, "{out}");
        assert_eq!(out.value("again"), "254", "{out}");
        assert!(out.stdout.contains("did you mean HostName=?"), "{out}");
        assert_eq!(out.value("right"), "yes", "{out}");
    }
}

/// A pod whose apps come and go, in a unit that somebody wrote.
const BOX: &str = "
[Service]
Type=notify
Delegate=yes
KillMode=mixed
ExecStart=/usr/bin/rkt --insecure-options=image app sandbox --net=none --uuid-file-save=/run/box
";

/// Where the cgroups are what a unit delegates, what is added to the pod, or
/// enters it, is in them.
#[test]
fn a_pod_in_a_delegated_unit_is_changed_entered_and_attached_to() {
    for guest in containers().chain(machine()).filter_map(with_pods) {
        let out = guest
            .text("/etc/systemd/system/box.service", 0o644, BOX)
            .run(&format!(
                "{PREPARE}
                systemctl start box.service
                uuid=$(cat /run/box)
                unit=$(systemctl show --value -p ControlGroup box.service)
                streams='--stdin=stream --stdout=stream --restart=on-failure:3'
                # A container may have been left no controllers.
                memory=$(grep -q memory /sys/fs/cgroup/cgroup.controllers && echo --memory=48Mi || true)
                rkt app add $uuid example.com/sh --name=a $memory $streams -- \\
                    'echo x >>/count; read l; echo said $l; test $l = bye || sleep 1000; exit 3'
                rkt app start $uuid --app=a
                echo state=$(rkt app list --no-legend $uuid | tr '\\t' ' ')
                rkt enter --app=a $uuid sleep 1000 &
                for _ in $(seq 100); do
                    entered=$(for p in $(pgrep -x sleep); do
                        grep -q $uuid/a /proc/$p/cgroup && echo $p; done | head -n 1)
                    test -n \"$entered\" && break
                    sleep 0.1
                done
                app=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' /var/lib/rkt/pods/run/$uuid/apps/a/status)
                cmp /proc/$app/cgroup /proc/$entered/cgroup && echo same=cgroups
                grep -q $unit/$uuid/a /proc/$app/cgroup && echo below=unit
                limit=$(find /sys/fs/cgroup -path *$uuid/a/memory.max -o -path *$uuid/a/memory.limit_in_bytes)
                echo limit=$(test -z \"$memory\" || cat $limit)
                test -z \"$memory\" || rkt enter --app=a $uuid sh -c 'exec dd if=/dev/zero of=/dev/null bs=200M count=1' 2>/dev/null || echo eaten=$?
                rkt app exec --app=a $uuid sh -c 'exit 9' || echo exec=$?
                (echo bye; sleep 2) | timeout 4 rkt attach --app=a --mode=stdin,stdout $uuid | sed 's/^/heard=/'
                for _ in $(seq 100); do
                    rkt app status --app=a $uuid | grep -q restarts=1 && break
                    sleep 0.1
                done
                echo count=$(rkt enter --app=a $uuid cat /count | wc -l)
                rkt app status --app=a $uuid >&2; journalctl --no-pager -o cat -u box >&2
                rkt app stop $uuid --app=a && rkt app rm $uuid --app=a
                echo left=$(find /sys/fs/cgroup -path *$uuid/a | wc -l)
                systemctl stop box.service
                echo result=$(systemctl show --value -p Result box.service)
                echo pods=$(find /sys/fs/cgroup -path *$uuid | wc -l)"
            ));
        assert_eq!(out.value("state"), "a running", "{out}");
        assert_eq!(out.value("same"), "cgroups", "{out}");
        assert_eq!(out.value("below"), "unit", "{out}");
        if !out.value("limit").is_empty() {
            assert_eq!(out.value("limit"), "50331648", "{out}");
            assert_eq!(out.value("eaten"), "137", "{out}");
        }
        assert_eq!(out.value("exec"), "9", "{out}");
        assert_eq!(out.value("heard"), "said bye", "{out}");
        assert_eq!(out.value("count"), "2", "{out}");
        assert_eq!(out.value("left"), "0", "{out}");
        assert_eq!(out.value("result"), "success", "{out}");
        assert_eq!(out.value("pods"), "0", "{out}");
    }
}

#[test]
fn a_pod_manifest_and_a_pod_of_kubernetes_declare_pods_too() {
    let kube = "
apiVersion: v1
kind: Pod
metadata:
  name: kube
  labels: {tier: web}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 2
  volumes: [{name: out, hostPath: {path: /out-of-pod, type: Directory}}]
  containers:
  - name: one
    image: localhost/sh:1
    imagePullPolicy: Never
    args: ['-c', 'echo \"$(WHO) $(id -u) $(hostname) 100%\" >/out/said; trap \"exit 0\" TERM; while :; do sleep 0.1; done']
    env: [{name: WHO, value: me}]
    securityContext: {runAsUser: 33, allowPrivilegeEscalation: false}
    resources: {limits: {memory: 64Mi}}
    volumeMounts: [{name: out, mountPath: /out}]
    livenessProbe: {httpGet: {path: /}}
";
    let dir = tempfile::tempdir().unwrap();
    // What is behind the entry point is replaced by `args`.
    let oci = tests::OciImage::new(vec![tests::Rootfs::busybox().tar("")], &["/bin/sh"]);
    let layout = dir.path().join("layout");
    oci.write(&layout, "1");
    for guest in containers().filter_map(with_pods) {
        let guest = guest
            .tree("/in/layout", &layout)
            .text("/etc/rkt/pods/kube.yaml", 0o644, kube)
            .text(
                "/etc/rkt/pods/kube.yaml.d/trust.conf",
                0o644,
                "[Pod]\nNetwork=none\nInsecureOptions=image\n",
            );
        let out = run(
            &guest,
            "
            mkdir -p /out-of-pod && chmod 777 /out-of-pod
            systemctl start kube 2>/dev/null || echo strict=failed
            rkt pod check /etc/rkt/pods/kube.yaml 2>&1 | sed 's/^/why=/'
            rkt pod check --lenient /etc/rkt/pods/kube.yaml 2>&1 | sed 's/^/warned=/'
            printf 'Lenient=yes\\n' >>/etc/rkt/pods/kube.yaml.d/trust.conf
            rkt pod show kube >&2
            echo \"{\\\"acVersion\\\":\\\"0.8.11\\\",\\\"acKind\\\":\\\"PodManifest\\\",\\\"apps\\\":[{\\\"name\\\":\\\"job\\\",\\\"image\\\":{\\\"id\\\":\\\"$(cat id)\\\"},\\\"app\\\":{\\\"exec\\\":[\\\"/bin/sh\\\",\\\"-c\\\",\\\"exit 5\\\"],\\\"user\\\":\\\"0\\\",\\\"group\\\":\\\"0\\\"}}]}\" >/etc/rkt/pods/manifest.json
            mkdir -p /etc/rkt/pods/manifest.json.d
            printf '[Pod]\\nNetwork=none\\n[Install]\\n' >/etc/rkt/pods/manifest.json.d/x.conf
            rkt pod check && echo checked=yes || rkt pod check /etc/rkt/pods/manifest.json >&2
            systemctl daemon-reload
            echo wanted=$(readlink /run/systemd/generator/multi-user.target.wants/kube.service) \
                 $(readlink /run/systemd/generator/multi-user.target.wants/manifest.service)
            systemctl start manifest || true
            while systemctl is-active -q manifest; do sleep 0.1; done
            echo status=$(systemctl show --value -p ExecMainStatus manifest)
            ",
        );
        assert_eq!(out.value("strict"), "failed", "{out}");
        let probe = "/etc/rkt/pods/kube.yaml: spec.containers[0].livenessProbe: ";
        assert!(out.value("why").starts_with(probe), "{out}");
        assert!(
            out.value("warned")
                .starts_with(&format!("warning: {probe}")),
            "{out}"
        );
        assert_eq!(out.value("wanted"), "../kube.service", "{out}");
        assert_eq!(out.value("status"), "5", "{out}");
        for line in [
            "--replace-arguments",
            "--memory=64Mi",
            "NoNewPrivileges=yes",
            "--user=33",
        ] {
            assert!(out.stderr.contains(line), "{line}: {out}");
        }
    }
}
