//! Both backends against GNU tar: the same archives, every path, mode, owner,
//! time, attribute, link and byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::archive::{Archive, Header};
use super::snapshot::{Content, assert_same, snapshot};
use super::{TestStore, device_of, file_of, gnu_tar_unpacks, is_root, run, skipped};
use crate::BackendChoice;

const BOTH: [BackendChoice; 2] = [BackendChoice::Auto, BackendChoice::Tree];

/// Commits the archives as layers and compares both backends with GNU tar.
pub(super) fn compare(archives: &[Vec<u8>]) {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let mut paths = Vec::new();
    for (number, archive) in archives.iter().enumerate() {
        let path = test.scratch(&format!("layer-{number}.tar"));
        fs::write(&path, archive).unwrap();
        paths.push(path);
    }
    let paths: Vec<&Path> = paths.iter().map(|p| &**p).collect();
    let unpacked = test.scratch("unpacked");
    gnu_tar_unpacks(&paths, &unpacked);
    let mut theirs = snapshot(&unpacked);
    let layers: Vec<&[u8]> = archives.iter().map(|a| &**a).collect();
    let image = test.commit(&layers).unwrap();
    for backend in BOTH {
        let Some(mounted) = test.mount(&image, backend) else {
            continue;
        };
        let ours = snapshot(&mounted.path);
        // No entry describes the root here, and GNU tar used what was there.
        if let (Some(a), Some(b)) = (ours.get(Path::new("")), theirs.get_mut(Path::new(""))) {
            b.mtime = a.mtime;
            b.mode = a.mode;
        }
        assert_same(&ours, &theirs, &format!("{backend:?}"));
    }
}

/// A tree with everything, made by real tools.
fn make_everything(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let sh = r#"
        set -e
        umask 022
        mkdir -p usr/bin etc/very/deep/tree empty 'name with spaces'
        printf 'hello' > usr/bin/hello; chmod 4755 usr/bin/hello; chown 1:2 usr/bin/hello
        : > empty/file
        head -c 511 /dev/urandom > 511; head -c 512 /dev/urandom > 512
        head -c 513 /dev/urandom > 513; head -c 3000000 /dev/urandom > big
        ln usr/bin/hello usr/bin/again; ln big usr/bin/big2; ln big etc/big3
        ln -s hello usr/bin/link; ln -s /etc/absolute abs; ln -s ../../.. up
        ln -s "$(printf 'x%.0s' $(seq 1 400))" mid; ln -s "$(printf 'y%.0s' $(seq 1 4000))" long
        ln abs abs2
        mknod null c 1 3; mknod disk b 259 70000; mkfifo pipe; chmod 600 pipe disk
        mkdir sticky; chmod 1777 sticky; mkdir setgid; chmod 2755 setgid; chown 70000:80000 setgid
        touch -d @0 epoch; touch -d @-100000 old; touch -d @4400000000 future; touch -d @1234567890 etc
        long=$(printf 'n%.0s' $(seq 1 255)); mkdir "$long"; echo deep > "$long/$long"
        printf 'utf' > "$(printf 'gr\303\274n')"; printf 'raw' > "$(printf 'b\377d')"
        mkdir many; (cd many && seq -f 'file-%.0f' 1 600 | xargs touch -d @77)
        truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=2097152 conv=notrunc status=none
        printf end | dd of=sparse bs=1 seek=5242877 conv=notrunc status=none
        truncate -s 5000 hole
        for i in $(seq 1 60); do
            printf $i | dd of=many-holes bs=1 seek=$((i * 131072)) conv=notrunc status=none
        done
    "#;
    run("sh", &["-c", sh], dir);
    let attributes = r#"
        set -e
        setfattr -n user.mime -v text/plain usr/bin/hello
        setfattr -n user.empty -v '' usr/bin/hello
        setfattr -n user.dir -v 1 etc
        setfattr -n trusted.t -v 2 null
        setfattr -n trusted.t -v 3 -h usr/bin/link
        setfattr -n user.long -v "$(head -c 3000 /dev/zero | tr '\0' v)" 513
        setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 512
        setfacl -m u:1000:rwx,g:2000:r-x etc/very
        setfacl -d -m u:1000:rw- etc/very
        setfacl -m u:7:r 511
    "#;
    run("sh", &["-c", attributes], dir);
}

fn gnu_tar_packs(dir: &Path, archive: &Path, options: &[&str]) -> Vec<u8> {
    let mut args = vec![
        "-cf",
        archive.to_str().unwrap(),
        "--numeric-owner",
        "--sort=name",
    ];
    args.extend(options);
    args.push(".");
    run("tar", &args, dir);
    file_of(archive)
}

#[test]
fn everything_in_every_format() {
    if !is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    make_everything(&source);
    // GNU tar packs access control lists like this, but does not unpack them.
    let xattrs = [
        "--format=pax",
        "--xattrs",
        "--xattrs-include=*",
        "--xattrs-exclude=system.posix_acl_*",
    ];
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &xattrs,
    ] {
        eprintln!("{options:?}");
        let archive = gnu_tar_packs(&source, &scratch.path().join("a.tar"), options);
        compare(&[archive]);
    }
}

/// GNU tar does not restore access control lists that were written as plain
/// attributes, as containers' tools do; so these are compared with the values.
#[test]
fn access_control_lists_and_capabilities() {
    if !is_root() {
        return;
    }
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut value = vec![2, 0, 0, 0];
        for (tag, perm, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(perm.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    };
    let nobody = u32::MAX;
    let entries = [
        (1, 6, nobody),
        (2, 7, 1000),
        (4, 4, nobody),
        (16, 7, nobody),
        (32, 4, nobody),
    ];
    let value = acl(&entries);
    let caps = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let archive = Archive::new()
        .pax(b'x', &[("SCHILY.xattr.system.posix_acl_access", &value)])
        .member(Header::new(b'0', "file").mode(0o674), b"")
        .pax(
            b'x',
            &[
                ("SCHILY.xattr.system.posix_acl_default", &value),
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
                ("SCHILY.xattr.com.apple.provenance", b"x"),
            ],
        )
        .dir("dir")
        .pax(b'x', &[("SCHILY.xattr.security.capability", caps)])
        .file("ping", b"x")
        .finish();
    let test = TestStore::new();
    let image = test.commit(&[&archive]).unwrap();
    for backend in BOTH {
        let Some(mounted) = test.mount(&image, backend) else {
            continue;
        };
        let seen = snapshot(&mounted.path);
        let xattrs = |path: &str| seen[Path::new(path)].xattrs.clone();
        let one = |name: &str, value: &[u8]| [(name.to_owned(), value.to_vec())].into();
        assert_eq!(xattrs("file"), one("system.posix_acl_access", &value));
        assert_eq!(xattrs("dir"), one("system.posix_acl_default", &value));
        assert_eq!(xattrs("ping"), one("security.capability", caps));
        let listed = run("getfacl", &["-cn", "file"], &mounted.path);
        assert!(listed.contains("user:1000:rwx"), "{listed}");
    }
}

#[test]
fn times_are_whole_seconds_and_owners_have_32_bits() {
    let archive = Archive::new()
        .pax(
            b'x',
            &[
                ("mtime", b"1700000000.987654321"),
                ("uid", b"4000000000"),
                ("gid", b"4294967294"),
            ],
        )
        .file("a", b"1")
        .pax(b'x', &[("mtime", b"-1.5")])
        .file("b", b"2")
        .finish();
    let test = TestStore::new();
    if !is_root() {
        return;
    }
    let image = test.commit(&[&archive]).unwrap();
    for backend in BOTH {
        let Some(mounted) = test.mount(&image, backend) else {
            continue;
        };
        let seen = snapshot(&mounted.path);
        let a = &seen[Path::new("a")];
        assert_eq!(a.mtime, 1_700_000_000);
        assert_eq!(a.owner, (4_000_000_000, 4_294_967_294));
        assert_eq!(seen[Path::new("b")].mtime, -2);
    }
}

/// More than 4 GiB in one file, and more than 1 TiB of holes, without storing
/// them: the archive itself is sparse.
#[test]
fn files_beyond_four_gigabytes() {
    const SIZE: u64 = (4 << 30) + 1234;
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let huge = 3_u64 << 40;
    let mut sparse = Header::new(b'S', "sparse").size(512);
    sparse.put(386, format!("{:011o}\0{:011o}\0", 0, 512).as_bytes());
    sparse.put(257, b"ustar  \0");
    sparse.put(483, &[0x80, 0, 0, 0]);
    sparse.put(487, &huge.to_be_bytes());
    // 512 bytes and 3 TiB of hole: a map of 2^32 entries would be needed.
    let archive = Archive::new().member(sparse, &[7; 512]).finish();
    let refused = test.commit(&[&archive]).unwrap_err().to_string();
    assert!(refused.contains("sparse"), "{refused}");

    let path = test.scratch("big.tar");
    let header = Header::new(b'0', "big").size(SIZE).sealed();
    let mut file = File::create(&path).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(512 + SIZE.next_multiple_of(512) + 1024)
        .unwrap();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(512 + SIZE - 4)).unwrap();
    file.write_all(b"last").unwrap();
    // Nothing is sealed that somebody may still write to.
    drop(file);

    // Put in place by hand: hashing 4 GiB would only test the disk.
    let digest: manifests::digest::Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let staging = test.store.stage().unwrap();
    let object = test.store.dirs.object(&digest);
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::rename(&path, &object).unwrap();
    let layer = staging
        .stored_layer(&digest, crate::LayerKind::Oci)
        .unwrap();
    let id = manifests::image_id::ImageId::new(digest);
    let image = staging
        .commit(super::draft(
            id,
            crate::Stack::flat(vec![layer]),
            Vec::new(),
        ))
        .unwrap();
    if let Some(mounted) = test.mount(&image, BackendChoice::Auto) {
        use std::os::unix::fs::FileExt;
        let big = File::open(mounted.path.join("big")).unwrap();
        assert_eq!(big.metadata().unwrap().len(), SIZE);
        let mut end = [0; 8];
        assert_eq!(big.read_at(&mut end, SIZE - 8).unwrap(), 8);
        assert_eq!(&end, b"\0\0\0\0last");
    }
}

#[test]
fn layers_share_a_mount_and_gc_takes_it_back() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let layers: Vec<Vec<u8>> = (0..200)
        .map(|n| {
            let body = format!("{n}");
            Archive::new()
                .file("same", body.as_bytes())
                .file(&format!("own-{n}"), body.as_bytes())
                .finish()
        })
        .collect();
    let layers: Vec<&[u8]> = layers.iter().map(|l| &**l).collect();
    let image = test.commit(&layers).unwrap();
    assert_eq!(image.index.devices.len(), 200);
    let Some(first) = test.mount(&image, BackendChoice::Auto) else {
        return;
    };
    assert_eq!(file_of(&first.path.join("same")), b"199");
    assert_eq!(file_of(&first.path.join("own-7")), b"7");
    let second = test.mount(&image, BackendChoice::Auto).unwrap();
    assert_eq!(device_of(&first.root), device_of(&second.root));

    drop(first);
    let busy = test.store.gc(&crate::Keep::default()).unwrap();
    assert_eq!(busy.unmounted, 0);
    assert!(busy.left[0].contains("in use"), "{:?}", busy.left);
    let path = second.path.clone();
    drop(second);
    let keep = crate::Keep {
        pods: [image.id.clone()].into(),
    };
    assert_eq!(test.store.gc(&keep).unwrap().unmounted, 0);
    assert_eq!(test.store.gc(&crate::Keep::default()).unwrap().unmounted, 1);
    assert!(!path.exists());
}

/// `fsconfig` takes strings of 256 bytes.
#[test]
fn a_store_path_with_a_long_name_can_be_mounted() {
    if !is_root() {
        return;
    }
    let mut test = TestStore::new();
    let long = test.scratch(&format!("{}/{}", "d".repeat(200), "e".repeat(200)));
    std::fs::create_dir_all(&long).unwrap();
    test.store = crate::Store::open(&long);
    let image = test
        .commit(&[&Archive::new().file("f", b"1").finish()])
        .unwrap();
    if let Some(mounted) = test.mount(&image, BackendChoice::Auto) {
        assert!(mounted.path.join("f").exists());
    }
}

/// The kernel does not mount files of a tmpfs, as an old one does not mount any
/// file: the image is unpacked, and the reason told.
#[test]
fn what_the_kernel_cannot_mount_is_unpacked() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let disk = test.scratch("tmpfs");
    fs::create_dir(&disk).unwrap();
    let target = disk.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", target], Path::new("/"));
    let other = TestStore {
        store: crate::Store::open(&disk),
        dir: tempfile::tempdir().unwrap(),
    };
    let archive = Archive::new().file("f", b"unpacked").finish();
    let image = other.commit(&[&archive]).unwrap();
    let mounted = other.store.mount(&image, BackendChoice::Auto).unwrap();
    let reason = mounted
        .fallback
        .as_deref()
        .expect("a tmpfs has no files to mount");
    assert!(
        reason.contains("unpacked") && reason.contains("6.12"),
        "{reason}"
    );
    assert_eq!(reason.lines().count(), 1, "{reason}");
    assert_eq!(file_of(&mounted.path.join("f")), b"unpacked");
    drop((mounted, other));
    run("umount", &[target], Path::new("/"));
}

#[test]
fn many_that_mount_at_once_share_one_mount() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let image = test
        .commit(&[&Archive::new().file("f", b"1").finish()])
        .unwrap();
    let barrier = std::sync::Barrier::new(8);
    let held: Vec<_> = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            test.mount(&image, BackendChoice::Auto)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let Some(devices): Option<Vec<_>> = held
        .iter()
        .map(|m| m.as_ref().map(|m| device_of(&m.root)))
        .collect()
    else {
        return;
    };
    assert!(devices.windows(2).all(|d| d[0] == d[1]), "{devices:?}");
    drop(held);
    // One is all there is to unmount.
    assert_eq!(test.store.gc(&crate::Keep::default()).unwrap().unmounted, 1);
    assert_eq!(test.store.gc(&crate::Keep::default()).unwrap().unmounted, 0);
}

#[test]
fn mounts_of_a_deleted_data_directory_are_swept_by_others() {
    if !is_root() {
        return;
    }
    let (gone, other) = (TestStore::new(), TestStore::new());
    let image = gone
        .commit(&[&Archive::new().file("f", b"1").finish()])
        .unwrap();
    let Some(mounted) = gone.mount(&image, BackendChoice::Auto) else {
        return;
    };
    let path = mounted.path.clone();
    fs::remove_dir_all(gone.scratch("data")).unwrap();
    other.store.gc(&crate::Keep::default()).unwrap();
    assert_eq!(file_of(&path.join("f")), b"1", "in use, so left alone");
    drop(mounted);
    // Another test's sweep may be the one that does it.
    other.store.gc(&crate::Keep::default()).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_directory_of_thirty_thousand() {
    if !is_root() {
        return;
    }
    const MANY: usize = 30_000;
    let name = |n: usize| format!("{n:x}-{}", "n".repeat(n % 50));
    let archive = (0..MANY).fold(Archive::new(), |a, n| {
        a.file(&format!("d/{}", name(n)), b"")
    });
    let test = TestStore::new();
    let image = test.commit(&[&archive.finish()]).unwrap();
    let Some(mounted) = test.mount(&image, BackendChoice::Auto) else {
        return;
    };
    let dir = mounted.path.join("d");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), MANY);
    for n in (0..MANY).step_by(7) {
        assert!(dir.join(name(n)).is_file(), "{n}");
    }
    assert!(!dir.join(name(MANY)).exists());
}

#[test]
fn the_index_does_not_depend_on_the_day() {
    let archive = Archive::new().dir("d").file("d/f", b"x").finish();
    let (a, b) = (TestStore::new(), TestStore::new());
    let first = a.commit(&[&archive]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(first.index, b.commit(&[&archive]).unwrap().index);
}

/// erofs-utils 1.5 (Debian 12) knows no blocks of 512 bytes and no devices, so
/// it can check nothing of ours; 1.8 (Debian 13) can.
#[test]
fn fsck_of_erofs_utils_agrees() {
    let output = match std::process::Command::new("fsck.erofs").arg("-V").output() {
        Ok(output) => output,
        Err(e) => return skipped(&format!("fsck.erofs: {e}")),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let first_line = stdout.lines().next().unwrap_or_default();
    let version = first_line.rsplit(' ').next().unwrap_or_default();
    let mut parts = version.split('.').map(|p| p.parse().unwrap_or(0));
    if (parts.next(), parts.next()) < (Some(1), Some(7)) {
        return skipped(&format!("fsck.erofs {version} knows no 512-byte blocks"));
    }
    if !is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    make_everything(&source);
    let options = ["--format=pax", "--sparse", "--xattrs", "--xattrs-include=*"];
    let archive = gnu_tar_packs(&source, &scratch.path().join("a.tar"), &options);
    let test = TestStore::new();
    let image = test.commit(&[&archive]).unwrap();
    let index = test.store.dirs.object(&image.index.digest);
    let tar = test.store.dirs.object(&image.index.devices[0]);
    let device = format!("--device={}", tar.display());
    let extract = format!("--extract={}", test.scratch("out").display());
    let index = index.to_str().unwrap();
    run("fsck.erofs", &[&device, &extract, index], scratch.path());
    let dump = run("dump.erofs", &[&device, "-s", index], scratch.path());
    assert!(dump.contains("512"), "{dump}");
    if let Some(mounted) = test.mount(&image, BackendChoice::Auto) {
        let mut ours = snapshot(&mounted.path);
        let mut theirs = snapshot(&test.scratch("out"));
        // Version 1.8 extracts no empty attributes, and a file that is one
        // hole as an empty one.
        ours.values_mut().for_each(|seen| seen.xattrs.clear());
        for seen in [&mut ours, &mut theirs] {
            assert!(seen.remove(Path::new("hole")).is_some());
        }
        assert_same(&ours, &theirs, "fsck.erofs");
    }
}

/// `RKT_BENCH_TAR=debian.tar cargo test --release -- --ignored --nocapture measure`
#[test]
#[ignore = "measures; needs RKT_BENCH_TAR"]
fn measure() {
    let tar = std::env::var_os("RKT_BENCH_TAR").expect("RKT_BENCH_TAR names a tar");
    let bytes = file_of(Path::new(&tar));
    let test = TestStore::new();
    let timed = |what: &str, started: Instant| {
        eprintln!(
            "{what:<28} {:>9.3} ms",
            started.elapsed().as_secs_f64() * 1e3
        );
    };
    let staging = test.store.stage().unwrap();
    let started = Instant::now();
    let mut writer = staging
        .layer(manifests::digest::Algorithm::Sha256, crate::LayerKind::Oci)
        .unwrap();
    for chunk in bytes.chunks(128 << 10) {
        writer.write_all(chunk).unwrap();
    }
    let layer = writer.finish(None).unwrap();
    timed("write, hash and scan", started);
    let digest = layer.object.digest.clone();
    let id = manifests::image_id::ImageId::new(digest.clone());
    let stack = crate::Stack::flat(vec![layer]);
    let started = Instant::now();
    let index = staging.index(&id, &stack).unwrap();
    timed("merge and write index", started);
    eprintln!("{:<28} {:>9} bytes", "index", index.size);
    let started = Instant::now();
    let image = staging.commit(super::draft(id, stack, Vec::new())).unwrap();
    timed("commit (index, fsync)", started);
    let started = Instant::now();
    let layer = test
        .store
        .scan_layer(&digest, crate::LayerKind::Oci)
        .unwrap();
    timed("scan a stored layer", started);
    drop(layer);
    for what in ["first mount", "mount, already there"] {
        let started = Instant::now();
        let mounted = test.mount(&image, BackendChoice::Auto).unwrap();
        timed(what, started);
        drop(mounted);
    }
    let mounted = test.mount(&image, BackendChoice::Auto).unwrap();
    let started = Instant::now();
    let files = snapshot(&mounted.path);
    timed("read everything", started);
    let bytes: u64 = files
        .values()
        .map(|f| match f.content {
            Content::File(size, _) => size,
            _ => 0,
        })
        .sum();
    eprintln!("{:<28} {:>9} paths, {bytes} bytes", "", files.len());
    drop(mounted);
    let started = Instant::now();
    test.store.gc(&crate::Keep::default()).unwrap();
    timed("gc with unmount", started);
    let started = Instant::now();
    drop(test.mount(&image, BackendChoice::Tree));
    timed("unpack (tree backend)", started);
    let started = Instant::now();
    test.store
        .remove(&image.id, &crate::Keep::default())
        .unwrap();
    timed("remove", started);
}
