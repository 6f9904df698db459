//! What one thing costs when there is ten and a hundred times as much around
//! it, or in it: pods, images, layers, files, networks.
//!
//! The sizes of one curve stand side by side and are measured in turn, so that
//! a slow minute of the machine bends no curve.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use tests::host::find_binary;
use tests::{Aci, Cmd, Host, OciImage, Rootfs};

use crate::document::{Curve, Should};
use crate::images;
use crate::report::curve;

/// Of things that are around.
const MANY: [usize; 3] = [10, 100, 1000];
/// Of things that cost more to have.
const SOME: [usize; 3] = [1, 10, 100];

/// An image that ends at once.
const TRUE: &str = "example.com/true";
/// One that does not.
const IDLE: &str = "example.com/idle";

/// Every curve; none where rkt is not built.
pub(crate) fn run(rounds: usize) -> Vec<Curve> {
    if let Err(why) = find_binary("rkt") {
        eprintln!("bench: no curves: {why}");
        return Vec::new();
    }
    let mut curves = exited(rounds);
    curves.extend(running(rounds));
    curves.extend(stored(rounds));
    curves.extend(layers(rounds));
    curves.extend(files(rounds));
    // Threads that it starts are in its network too.
    let networks = std::thread::spawn(move || networks(rounds));
    curves.extend(networks.join().unwrap());
    curves
}

/// A host for each size.
type Worlds = Vec<(usize, Host)>;

fn worlds(sizes: [usize; 3], fill: impl Fn(&Host, usize)) -> Worlds {
    let world = |size| {
        let host = Host::new();
        fill(&host, size);
        (size, host)
    };
    sizes.map(world).into()
}

/// What a curve is called: what it measures, and what there is more of.
#[derive(Clone, Copy)]
struct Name(&'static str, &'static str, Should);

/// Takes a sample of each size per round, after one that does not count.
fn measure(
    name: Name,
    worlds: &Worlds,
    rounds: usize,
    mut sample: impl FnMut(&Host, usize) -> f64,
) -> Curve {
    let Name(title, grows, should) = name;
    eprintln!("bench: {title}, by {grows}");
    let mut samples: Vec<(usize, Vec<f64>)> =
        worlds.iter().map(|(size, _)| (*size, Vec::new())).collect();
    for round in 0..=rounds {
        for ((size, host), (_, taken)) in worlds.iter().zip(&mut samples) {
            let milliseconds = sample(host, *size);
            if round > 0 {
                taken.push(milliseconds);
            }
        }
    }
    curve(title, grows, should, samples)
}

/// From before the fork to after the wait, in milliseconds.
fn time(host: &Host, words: &[&str]) -> f64 {
    let mut command = host.plain_rkt(words).into_command();
    time_of(&mut command)
}

fn time_of(command: &mut Command) -> f64 {
    let errors = tempfile::tempfile().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().unwrap());
    let start = Instant::now();
    let status = command.status().unwrap();
    let took = start.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        let mut errors = errors;
        let mut said = String::new();
        std::io::Seek::rewind(&mut errors).unwrap();
        std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
        panic!("{command:?}: {status}: {said}");
    }
    took
}

const RUN: [&str; 3] = ["run", "--net=none", TRUE];
const GC: [&str; 2] = ["gc", "--grace-period=0s"];
const ANYTHING: &str = "--insecure-options=image";

fn fetch_true(host: &Host) {
    host.fetch_aci(&Aci::busybox(TRUE, &["/bin/true"]));
}

/// Pods that have exited and that nobody has collected.
fn exited(rounds: usize) -> Vec<Curve> {
    let fill = |host: &Host, size: usize| {
        host.rkt(RUN).run().ok();
        // Copies of one are as good as others, and there at once.
        let one = host.data().join("pods/run").join(host.last_uuid());
        for n in 1..size {
            let copy = one.with_file_name(format!("00000000-0000-4000-8000-{n:012}"));
            Cmd::new("cp").arg("-a").arg(&one).arg(copy).run().ok();
        }
    };
    let worlds = worlds(MANY, |host, size| {
        fetch_true(host);
        fill(host, size);
    });
    let grows = "exited pods";
    let list = Name("rkt list", grows, Should::Grow);
    let start = Name("rkt run --net=none", grows, Should::Stay);
    let gc = Name("rkt gc", grows, Should::Grow);
    vec![
        measure(list, &worlds, rounds, |host, _| time(host, &["list"])),
        measure(start, &worlds, rounds, |host, _| time(host, &RUN)),
        measure(gc, &worlds, rounds.min(3), |host, size| {
            host.plain_rkt(GC).run().ok();
            fill(host, size);
            time(host, &GC)
        }),
    ]
}

/// Pods that idle.
fn running(rounds: usize) -> Vec<Curve> {
    let worlds = worlds(SOME, |host, size| {
        fetch_true(host);
        host.fetch_aci(&Aci::busybox(IDLE, &["/bin/sleep", "100000"]));
        for _ in 0..size {
            let words = ["run", "--detach", "--net=none", IDLE];
            host.plain_rkt(words).run().ok();
        }
    });
    let grows = "running pods";
    let list = Name("rkt list", grows, Should::Grow);
    let start = Name("rkt run --net=none", grows, Should::Stay);
    let curves = vec![
        measure(list, &worlds, rounds, |host, _| time(host, &["list"])),
        measure(start, &worlds, rounds, |host, _| time(host, &RUN)),
    ];
    for (_, host) in &worlds {
        stop_all(host);
    }
    curves
}

fn stop_all(host: &Host) {
    let pods = host.rkt(["list", "--format=json"]).run().ok().json();
    let running: Vec<&str> = pods
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["state"] == "running")
        .filter_map(|pod| pod["name"].as_str())
        .collect();
    for uuids in running.chunks(50) {
        host.rkt(["stop", "--force"]).args(uuids).run().ok();
    }
}

/// Images with a layer of their own each.
fn stored(rounds: usize) -> Vec<Curve> {
    let worlds = worlds(MANY, |host, size| {
        images::fill(host, size);
        fetch_true(host);
    });
    let one = |host: &Host, n: usize| {
        let layout = host.images().join(format!("i{n}"));
        format!("oci:{}:1", layout.display())
    };
    let grows = "images in the store";
    let list = Name("rkt image list", grows, Should::Grow);
    let start = Name("rkt run --net=none", grows, Should::Stay);
    let again = Name("rkt fetch, nothing new", grows, Should::Stay);
    let new = Name("rkt fetch, one small image", grows, Should::Stay);
    // It asks each image whether it needs what goes.
    let gone = Name("rkt image rm, one small image", grows, Should::Grow);
    let curves = vec![
        measure(list, &worlds, rounds, |host, _| {
            time(host, &["image", "list"])
        }),
        measure(start, &worlds, rounds, |host, _| time(host, &RUN)),
        measure(again, &worlds, rounds, |host, _| {
            time(host, &[ANYTHING, "fetch", &one(host, 1)])
        }),
        measure(new, &worlds, rounds, |host, _| {
            host.plain_rkt(["image", "rm", "i2"]).run().ok();
            time(host, &[ANYTHING, "fetch", &one(host, 2)])
        }),
        measure(gone, &worlds, rounds, |host, _| {
            host.plain_rkt([ANYTHING, "fetch", &one(host, 2)])
                .run()
                .ok();
            time(host, &["image", "rm", "i2"])
        }),
    ];
    curves
}

/// Layers of one image.
fn layers(rounds: usize) -> Vec<Curve> {
    let worlds = worlds(SOME, |host, size| {
        let mut layers = vec![Rootfs::busybox().tar("")];
        let more = |n| Rootfs::new().file(&format!("layer-{n}"), 0o644, b"one more");
        layers.extend((1..size).map(|n| more(n).tar("")));
        host.fetch_oci(&OciImage::new(layers, &["/bin/true"]), "grown");
    });
    image_curves("layers of the image", &worlds, rounds)
}

/// Files in the one layer of an image.
fn files(rounds: usize) -> Vec<Curve> {
    let worlds = worlds([100, 1000, 10_000], |host, size| {
        let mut layer = Rootfs::busybox();
        for n in 0..size {
            if n % 100 == 0 {
                layer = layer.dir(&format!("files-{}", n / 100), 0o755);
            }
            let path = format!("files-{}/{n}", n / 100);
            layer = layer.file(&path, 0o644, path.as_bytes());
        }
        host.fetch_oci(&OciImage::new(vec![layer.tar("")], &["/bin/true"]), "grown");
    });
    image_curves("files in a layer", &worlds, rounds)
}

/// What is done with an image `grown`, of which each world has one of another
/// size.
fn image_curves(grows: &'static str, worlds: &Worlds, rounds: usize) -> Vec<Curve> {
    let run = ["run", "--net=none", "grown"];
    let start = Name("rkt run, of an image in use", grows, Should::Stay);
    let first = Name("rkt run, the first since boot", grows, Should::Grow);
    let fetch = Name("rkt fetch", grows, Should::Grow);
    let gone = Name("rkt image rm", grows, Should::Grow);
    let layout = |host: &Host| format!("oci:{}:grown", host.images().join("grown").display());
    vec![
        measure(start, worlds, rounds, |host, _| time(host, &run)),
        measure(first, worlds, rounds, |host, _| {
            // Which unmounts what no pod uses.
            host.plain_rkt(GC).run().ok();
            time(host, &run)
        }),
        measure(fetch, worlds, rounds.min(5), |host, _| {
            let empty = Host::new();
            let took = time(&empty, &[ANYTHING, "fetch", &layout(host)]);
            drop(empty);
            took
        }),
        measure(gone, worlds, rounds.min(5), |host, _| {
            host.plain_rkt(GC).run().ok();
            let took = time(host, &["image", "rm", "grown"]);
            host.plain_rkt([ANYTHING, "fetch", &layout(host)])
                .run()
                .ok();
            took
        }),
    ]
}

/// Configured networks, and pods on a bridge.
fn networks(rounds: usize) -> Vec<Curve> {
    // Its network is that of the thread, and so of all these hosts.
    let _network = Host::with_own_network();
    let lan = |number: usize| {
        serde_json::json!({
            "cniVersion": "1.0.0", "name": format!("lan{number}"), "type": "bridge",
            "bridge": format!("rkt-lan{number}"), "isDefaultGateway": true,
            "ipam": {"type": "host-local", "subnet": format!("10.{}.0.0/16", number)},
        })
    };
    let write = |host: &Host, number: usize| {
        let directory = host.config().join("net.d");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{number:03}.conf"));
        fs::write(file, lan(number).to_string()).unwrap();
    };
    let configured = worlds(SOME, |host, size| {
        fetch_true(host);
        (0..size).for_each(|number| write(host, number));
    });
    let name = Name("rkt run --net=lan", "configured networks", Should::Stay);
    let words = ["run", "--net=lan0", TRUE];
    let mut curves = vec![measure(name, &configured, rounds, |host, _| {
        time(host, &words)
    })];
    drop(configured);
    // Each size has a bridge of its own.
    let connected = worlds(SOME, |host, size| {
        fetch_true(host);
        host.fetch_aci(&Aci::busybox(IDLE, &["/bin/sleep", "100000"]));
        write(host, size);
        let net = format!("--net=lan{size}");
        for _ in 0..size {
            host.plain_rkt(["run", "--detach", &net, IDLE]).run().ok();
        }
    });
    let name = Name("rkt run --net=lan", "pods on the bridge", Should::Stay);
    curves.push(measure(name, &connected, rounds, |host, size| {
        time(host, &["run", &format!("--net=lan{size}"), TRUE])
    }));
    for (_, host) in &connected {
        stop_all(host);
    }
    curves
}
