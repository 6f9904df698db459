//! Listing a thousand images, finding one by its name, and removing a large one.

use std::path::Path;
use std::time::Instant;

use tests::host::find_binary;
use tests::{Cmd, Host, OciImage, Registry, Rootfs};

use crate::contender::{Arena, Contender, interleave};
use crate::image::{CACHE, Packing, publish};
use crate::report::{Report, Row};

const IMAGES: usize = 1000;

/// Both tables.
pub(crate) fn run(rounds: usize) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut many = Report::new("a store of 1,000 images", "ms", "");
    if let Err(why) = find_binary("rkt") {
        many.missing.push(("rkt image list".into(), why));
        return vec![many];
    }
    let host = Host::new();
    fill(&host, IMAGES);
    let contender = |name: &str, words: &[&str]| {
        let command = host.plain_rkt(words).into_command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Contender::new(name, words.map(ToOwned::to_owned).collect::<Vec<_>>())
    };
    let contenders = vec![
        contender("rkt image list", &["image", "list"]),
        contender(
            "rkt image list --format=json",
            &["image", "list", "--format=json"],
        ),
        contender(
            "rkt image cat-manifest NAME",
            &["image", "cat-manifest", "i500"],
        ),
    ];
    interleave(&Arena::new(), &mut many, contenders, rounds.max(10), || {});
    reports.push(many);
    let mut one = Report::new("removal of the 0.94 GB image", "ms", "rkt image rm");
    removal(&mut one, rounds);
    reports.push(one);
    reports.push(damage(rounds));
    reports
}

/// Images `i0`, `i1`, … with a layer of their own each; their layouts stay in the
/// directories of these names.
pub(crate) fn fill(host: &Host, images: usize) {
    eprintln!("bench: fetching {images} small images");
    let mut references = Vec::new();
    for n in 0..images {
        let name = format!("i{n}");
        let layer = Rootfs::new().file("name", 0o644, name.as_bytes());
        let image = OciImage::new(vec![layer.tar("")], &["/bin/true"]);
        let layout = image.write(&host.images().join(&name), "1");
        references.push(layout.reference());
    }
    for some in references.chunks(100) {
        let words = ["--insecure-options=image", "fetch"].map(str::to_owned);
        let cmd = host.plain_rkt(words.iter().chain(some));
        cmd.deadline(std::time::Duration::from_secs(300)).run().ok();
    }
}

fn removal(report: &mut Report, rounds: usize) {
    let registry = Registry::start_in(Path::new(CACHE));
    let reference = registry.reference(Packing::Gzip.tag());
    publish(&reference, Packing::Gzip);
    let plain = reference.trim_start_matches("docker://");
    let (mut ours, mut podmans) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let host = Host::new();
        let id = host.fetch(&reference);
        nix::unistd::sync();
        let start = Instant::now();
        host.plain_rkt(["image", "rm", &id]).run().ok();
        ours.push(start.elapsed().as_secs_f64() * 1e3);

        let dirs = ["into", "run"].map(|dir| host.path().join(dir).display().to_string());
        let podman = |words: &[&str]| {
            let base = ["--root", &dirs[0], "--runroot", &dirs[1]];
            let cmd = Cmd::new("podman").args(base).args(words);
            cmd.deadline(std::time::Duration::from_secs(300)).run()
        };
        let pulled = podman(&["pull", "--quiet", "--tls-verify=false", plain]);
        if pulled.code() == Some(0) {
            nix::unistd::sync();
            let start = Instant::now();
            podman(&["rmi", plain]).ok();
            podmans.push(start.elapsed().as_secs_f64() * 1e3);
        }
        podman(&["system", "reset", "--force"]);
    }
    let row = |name: &str, samples| Row {
        name: name.into(),
        samples,
        note: String::new(),
    };
    report.rows.push(row("rkt image rm", ours));
    match podmans.is_empty() {
        true => report
            .missing
            .push(("podman rmi".into(), "it cannot pull here".into())),
        false => report.rows.push(row("podman rmi", podmans)),
    }
}

/// One byte of a stored layer is not what it was.
fn damage(rounds: usize) -> Report {
    let title = "finding the one byte that is wrong in a stored layer, and mending it";
    let mut report = Report::new(title, "ms", "");
    let host = Host::new();
    let id = host.fetch_oci(&OciImage::busybox(&["/bin/true"]), "damaged");
    let verify = "rkt image verify";
    let mend = "rkt image verify --repair";
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds.max(5) {
        let layer = flip(&host);
        let began = Instant::now();
        let found = host.plain_rkt(["image", "verify", &id]).run();
        samples[0].push(began.elapsed().as_secs_f64() * 1e3);
        let said = format!("{}{}", found.stdout, found.stderr);
        if found.code() == Some(0) || !said.contains(&layer) {
            let why = format!("it did not name sha256-{layer}: {said}");
            report.missing.push((verify.into(), why));
            return report;
        }
        let began = Instant::now();
        let words = [
            "--insecure-options=image",
            "image",
            "verify",
            "--repair",
            &id,
        ];
        let mended = host.plain_rkt(words).run();
        samples[1].push(began.elapsed().as_secs_f64() * 1e3);
        if mended.code() != Some(0) {
            report.missing.push((mend.into(), mended.stderr));
            return report;
        }
    }
    let notes = ["names the layer", "fetches it alone"];
    for ((name, samples), note) in [verify, mend].into_iter().zip(samples).zip(notes) {
        report.rows.push(Row {
            name: name.into(),
            samples,
            note: note.into(),
        });
    }
    report
}

/// Changes one byte of the largest object, which is the layer; gives its digest.
fn flip(host: &Host) -> String {
    let layer = tests::leaks::files(&host.data().join("store/objects"))
        .into_iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let permissions = layer.metadata().unwrap().permissions();
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In its place: the object stays the file that it is.
    let mut writable = permissions.clone();
    std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o600);
    std::fs::set_permissions(&layer, writable).unwrap();
    std::fs::write(&layer, bytes).unwrap();
    std::fs::set_permissions(&layer, permissions).unwrap();
    layer.file_name().unwrap().to_string_lossy().into_owned()
}
