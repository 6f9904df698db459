//! A large image from a registry on loopback, into an empty store each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::host::find_binary;
use tests::{Cmd, Host, OciImage, Registry, Rootfs};

use crate::contender::{Arena, Contender};
use crate::report::{Report, Row};

/// Where the image and the registry stay between runs.
const CACHE: &str = "/var/tmp/rkt-bench";

/// Files per layer, bottom to top: 36,700 in all.
const LAYERS: [usize; 4] = [14_700, 11_000, 7_300, 3_700];

/// Bytes of an average file; sizes run from nothing to ten times this.
const AVERAGE: usize = 25_600;

/// Measures everybody.
pub(crate) fn run(rounds: usize) -> Report {
    let arena = Arena::new();
    let registry = Registry::start_in(Path::new(CACHE));
    let reference = registry.reference("large:1");
    publish(&reference);
    let mut report = Report {
        title: "fetch of a 4-layer gzip image, 0.94 GB in 36,700 files, from loopback".into(),
        unit: "s",
        base: RKT,
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let names = [RKT, "podman pull", "skopeo copy to oci:"];
    let mut samples: Vec<Result<Vec<f64>, String>> = vec![Ok(Vec::new()); names.len()];
    for _ in 0..rounds {
        for (i, name) in names.iter().enumerate() {
            let Ok(times) = &mut samples[i] else { continue };
            match once(&arena, name, &reference) {
                Ok(took) => times.push(took.as_secs_f64()),
                Err(why) => samples[i] = Err(why),
            }
        }
    }
    for (name, samples) in names.iter().zip(samples) {
        match samples {
            Ok(samples) => report.rows.push(Row {
                name: (*name).into(),
                samples,
                note: match *name {
                    RKT => "verified, stored, indexed: ready to run",
                    "podman pull" => "verified, unpacked: ready to run",
                    _ => "verified, stored as it came: not unpacked",
                }
                .into(),
            }),
            Err(why) => report.missing.push(((*name).into(), why)),
        }
    }
    report
}

const RKT: &str = "rkt fetch";

/// One fetch into a new directory, which goes afterwards, untimed.
fn once(arena: &Arena, name: &str, reference: &str) -> Result<Duration, String> {
    let host = Host::new();
    let into = host.path().join("into");
    let contender = match name {
        RKT => {
            find_binary("rkt")?;
            let cmd = host.plain_rkt(["--insecure-options=image", "fetch", reference]);
            let command = cmd.into_command();
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            Contender::new(name, words.map(ToOwned::to_owned).collect::<Vec<_>>())
        }
        "podman pull" => {
            let root = into.to_string_lossy().into_owned();
            let run = host.path().join("run").to_string_lossy().into_owned();
            let words = [
                "podman",
                "--root",
                &root,
                "--runroot",
                &run,
                "pull",
                "--quiet",
            ];
            let plain = reference.trim_start_matches("docker://");
            Contender::new(name, words.into_iter().chain(["--tls-verify=false", plain]))
        }
        _ => {
            let to = format!("oci:{}:1", into.display());
            let words = [
                "skopeo",
                "--insecure-policy",
                "copy",
                "--quiet",
                "--src-tls-verify=false",
            ];
            Contender::new(name, words.into_iter().chain([reference, &to]))
        }
    };
    // What the last contender wrote shall not be written back in this one's time.
    nix::unistd::sync();
    let took = arena.time(&contender);
    if name == "podman pull" {
        let root = into.to_string_lossy().into_owned();
        Cmd::new("podman")
            .args(["--root", &root, "system", "reset", "--force"])
            .run();
    }
    took
}

/// Makes the image and pushes it, unless an earlier run did.
fn publish(reference: &str) {
    let done = PathBuf::from(CACHE).join("published");
    if done.exists() {
        return;
    }
    eprintln!("bench: making the image once, below {CACHE}; this takes a minute or two");
    let layout = PathBuf::from(CACHE).join("layout");
    let layers = LAYERS
        .iter()
        .enumerate()
        .map(|(n, files)| layer(n, *files).tar(""));
    let image = OciImage::new(layers.collect(), &["/bin/true"]).write(&layout, "1");
    Cmd::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
        ])
        .args([&image.reference(), reference])
        .deadline(Duration::from_secs(600))
        .run()
        .ok();
    fs::remove_dir_all(&layout).unwrap();
    fs::write(done, "").unwrap();
}

/// A layer of pseudo-random files, the same on every machine, that gzip packs
/// to about 40 %, as it does a distribution's files.
fn layer(number: usize, files: usize) -> Rootfs {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number as u64);
    let mut rootfs = Rootfs::new().dir("usr", 0o755);
    for file in 0..files {
        if file % 100 == 0 {
            rootfs = rootfs.dir(&format!("usr/{number}-{}", file / 100), 0o755);
        }
        let scale = random.next() % 100;
        let size = match scale {
            0..=59 => random.below(AVERAGE / 4),
            60..=94 => random.below(AVERAGE * 2),
            _ => random.below(AVERAGE * 23),
        };
        let path = format!("usr/{number}-{}/file-{file}", file / 100);
        rootfs = rootfs.file(&path, 0o644, random.text(size));
    }
    rootfs
}

/// xorshift64*: no more than a source of bytes that are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit.max(1)
    }

    /// Words of a small vocabulary with bytes of noise between them.
    fn text(&mut self, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size + 32);
        while out.len() < size {
            let next = self.next();
            // One of 512 sixteen-byte words, then four bytes that do not repeat.
            let word = (next & 0x1ff) + 1;
            out.extend(word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            out.extend(word.wrapping_mul(0xd1b5_4a32_d192_ed03).to_le_bytes());
            out.extend(&(next >> 32).to_le_bytes()[..4]);
        }
        out.truncate(size);
        out
    }
}
