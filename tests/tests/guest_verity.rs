//! fs-verity, which the host need not have: the kernel checks what an app reads.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use tests::guest::{Disk, Guest, Kernel};
use tests::{Aci, Compression, Rootfs};

/// Flips one bit in the middle of each occurrence of `text` on the disk below
/// the file system; gives how many there were.
fn damage(disk: &Path, text: &[u8]) -> usize {
    const CHUNK: usize = 1 << 20;
    let file = File::options().read(true).write(true).open(disk).unwrap();
    let size = file.metadata().unwrap().len();
    let mut found = 0;
    let mut chunk = vec![0; CHUNK + text.len()];
    for at in (0..size).step_by(CHUNK) {
        let read = file.read_at(&mut chunk, at).unwrap();
        let hits = chunk[..read].windows(text.len()).enumerate();
        for (hit, _) in hits.filter(|(hit, window)| *hit < CHUNK && *window == text) {
            let middle = hit + text.len() / 2;
            file.write_all_at(&[chunk[middle] ^ 1], at + middle as u64)
                .unwrap();
            found += 1;
        }
    }
    found
}

/// The file system is sound, the file's size and time are as they were, and
/// nobody but the kernel's own check could tell.
#[test]
fn a_bit_that_flipped_on_the_disk_is_named_and_never_read() {
    let text = b"a byte of this sentence is about to change on the disk";
    let rootfs = Rootfs::busybox()
        .file("treasure", 0o644, *text)
        // Whole blocks of 4 KiB are checked: nothing else shall be in that one.
        .file("filler", 0o644, [0; 8192])
        .file("other", 0o644, "unharmed\n");
    let aci = Aci::new("example.com/sealed", &["/bin/cat"], rootfs);
    let dir = tempfile::tempdir().unwrap();
    let file = aci.write(dir.path(), "sealed", Compression::Gzip);
    let disk = Disk::new(256);
    let Some(guest) = Guest::qemu(Kernel::V6_12).and_then(Guest::rkt) else {
        return;
    };
    let guest = guest.disk(&disk).file("/in/sealed.aci", &file);
    let cat = "rkt run --net=none example.com/sealed --";
    let out = guest
        .run(&format!(
            "set -e
             rkt --insecure-options=image fetch /in/sealed.aci >id
             for object in $(find /var/lib/rkt/store/objects -type f -size +64k); do
                 fsverity measure $object
             done
             {cat} /treasure"
        ))
        .ok();
    assert!(out.stdout.contains("sha256:"), "nothing is sealed: {out}");
    assert!(out.stdout.as_bytes().ends_with(text), "{out}");

    assert_eq!(damage(&disk.path(), text), 1, "the layer is stored once");
    disk.assert_sound();
    let out = guest.run(&format!(
        "{cat} /other
         {cat} /treasure && echo was read
         rkt image verify example.com/sealed >&2 || echo verify=$?"
    ));
    assert!(out.stdout.contains("unharmed\n"), "{out}");
    assert!(!out.stdout.contains("sentence"), "{out}");
    assert!(!out.stdout.contains("was read"), "{out}");
    assert_eq!(out.value("verify"), "254", "{out}");
    assert!(out.stderr.contains("sha512"), "the object is named: {out}");
}

/// The store's own tests where files are sealed: of the seals, and those that
/// damage what is stored.
#[test]
fn the_stores_own_tests_pass_where_files_are_sealed() {
    let disk = Disk::new(12 << 10);
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let which = "seals damage_is_named a_damaged what_is_damaged tar_that_was_cut";
    let guest = guest.disk(&disk).deadline(Duration::from_secs(120));
    if let Some(out) = guest.passes_suite("image_store", which) {
        let sealed = "tests::seals::what_is_sealed_stays_as_it_was ... ok";
        assert!(out.stdout.contains(sealed), "{out}");
        assert!(!out.stderr.contains("no fs-verity here"), "{out}");
    }
}

/// Nobody holds a large layer open when it is sealed. Hashing 4 GiB takes a
/// guest some minutes:
/// `cargo nextest run --profile=long -p tests --test guest_verity --run-ignored=only`
#[test]
#[ignore = "takes minutes"]
fn a_layer_beyond_four_gigabytes_is_sealed() {
    let disk = Disk::new(12 << 10);
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    guest
        .disk(&disk)
        .deadline(Duration::from_secs(1200))
        .passes_suite("image_store", "beyond_four_gigabytes");
}
