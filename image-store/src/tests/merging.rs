//! Layers on each other: whiteouts, opaque directories, links, appc's rules.
//!
//! Each case is a pile of archives and the listing that must come out; both
//! backends build on the same tree, so the table is checked on that, and the
//! backends' own tests see that they show it.

use std::sync::Arc;

use super::archive::{Archive, Header};
use crate::LayerKind;
use crate::record::Stack;
use crate::rootfs::{LayerBuilder, LayerError, LayerTree, Node, Source, Tree, render};
use crate::tar::{EndMarker, Scanner};

fn layer(kind: LayerKind, archive: Archive) -> Arc<LayerTree> {
    let mut scanner = Scanner::new();
    let mut builder = LayerBuilder::new(kind);
    scanner.feed(&archive.finish(), &mut builder).unwrap();
    scanner.finish(EndMarker::Required).unwrap();
    Arc::new(builder.finish().unwrap().tree)
}

fn oci(archives: Vec<Archive>) -> Result<Tree, LayerError> {
    let sources = archives
        .into_iter()
        .enumerate()
        .map(|(number, archive)| Source {
            layer: layer(LayerKind::Oci, archive),
            number: number as u32,
        });
    render(&Stack::flat(sources.collect()))
}

/// `path mode` for directories, `path=layer*links` for files, `path>target`.
fn listing(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    let mut pending = vec![(String::new(), 0)];
    while let Some((path, ino)) = pending.pop() {
        let inode = &tree.inodes[ino as usize];
        match &inode.node {
            Node::Directory(children) => {
                if !path.is_empty() {
                    out.push(format!("{path} {:o}", inode.meta.mode));
                }
                for (name, &child) in children {
                    let name = String::from_utf8_lossy(name);
                    let slash = if path.is_empty() { "" } else { "/" };
                    pending.push((format!("{path}{slash}{name}"), child));
                }
            }
            Node::Regular { source, .. } => {
                out.push(format!("{path}={source}*{}", inode.links));
            }
            Node::Symlink(target) => {
                out.push(format!("{path}>{}", String::from_utf8_lossy(target)));
            }
            _ => out.push(format!("{path}?")),
        }
    }
    out.sort();
    out
}

#[test]
fn oci_layers() {
    let a = Archive::new;
    let wh = |path: &str| Archive::new().file(path, b"");
    let usr = || {
        a().dir("usr")
            .dir("usr/lib")
            .symlink("lib", "usr/lib")
            .file("usr/lib/a", b"1")
    };
    let table: Vec<(&str, Vec<Archive>, &[&str])> = vec![
        ("nothing at all", vec![], &[]),
        ("an empty layer", vec![a()], &[]),
        (
            "implied parents",
            vec![a().file("a/b/c", b"1")],
            &["a 755", "a/b 755", "a/b/c=0*1"],
        ),
        (
            "the later layer wins",
            vec![a().file("f", b"1"), a().file("f", b"2")],
            &["f=1*1"],
        ),
        (
            "the later entry wins",
            vec![a().dir("f").file("f/x", b"").file("f", b"2")],
            &["f=0*1"],
        ),
        (
            "a directory described late keeps its content",
            vec![a().file("d/f", b"1").dir_mode("d", 0o700)],
            &["d 700", "d/f=0*1"],
        ),
        (
            "metadata of the topmost description, not of an implied one",
            vec![
                a().dir_mode("d", 0o700),
                a().dir_mode("d", 0o711).file("d/x", b""),
                a().file("d/y", b""),
            ],
            &["d 711", "d/x=1*1", "d/y=2*1"],
        ),
        (
            "whiteout",
            vec![a().file("d/a", b"").file("d/b", b""), wh("d/.wh.a")],
            &["d 755", "d/b=0*1"],
        ),
        (
            "whiteout of a tree",
            vec![a().file("d/e/f", b""), wh(".wh.d")],
            &[],
        ),
        (
            "whiteout of nothing",
            vec![a().file("a", b""), wh(".wh.b")],
            &["a=0*1"],
        ),
        (
            "a whiteout spares its own layer, whatever the order",
            vec![
                a().file("a", b"0").file("b", b"0"),
                a().file("a", b"1")
                    .file(".wh.a", b"")
                    .file(".wh.b", b"")
                    .file("b", b"1"),
            ],
            &["a=1*1", "b=1*1"],
        ),
        (
            "whiteout, and a new directory of that name",
            vec![
                a().file("d/old", b""),
                a().file(".wh.d", b"").file("d/new", b""),
            ],
            &["d 755", "d/new=1*1"],
        ),
        (
            "opaque",
            vec![
                a().dir_mode("d", 0o700)
                    .file("d/old", b"")
                    .file("d/sub/old", b""),
                a().file("d/new", b"").file("d/.wh..wh..opq", b""),
            ],
            &["d 700", "d/new=1*1"],
        ),
        (
            "opaque root",
            vec![
                a().file("old", b""),
                a().file(".wh..wh..opq", b"").file("new", b""),
            ],
            &["new=1*1"],
        ),
        (
            "opaque for what lies below only",
            vec![
                a().file("d/0", b""),
                wh("d/.wh..wh..opq"),
                a().file("d/2", b""),
            ],
            &["d 755", "d/2=2*1"],
        ),
        (
            "bookkeeping of AUFS, with its links",
            vec![
                a().dir(".wh..wh.plnk")
                    .file(".wh..wh.plnk/1.2", b"data")
                    .hard_link("x", ".wh..wh.plnk/1.2")
                    .hard_link("y", ".wh..wh.plnk/1.2")
                    .file(".wh..wh.aufs", b""),
            ],
            &["x=0*2", "y=0*2"],
        ),
        (
            "file over directory",
            vec![a().file("d/f", b""), a().file("d", b"")],
            &["d=1*1"],
        ),
        (
            "directory over file",
            vec![a().file("d", b""), a().dir("d").file("d/f", b"")],
            &["d 755", "d/f=1*1"],
        ),
        (
            "directory over symlink",
            vec![usr(), a().dir("lib")],
            &["lib 755", "usr 755", "usr/lib 755", "usr/lib/a=0*1"],
        ),
        (
            "an entry below a lower symlink goes where it leads",
            vec![usr(), a().file("lib/b", b"")],
            &[
                "lib>usr/lib",
                "usr 755",
                "usr/lib 755",
                "usr/lib/a=0*1",
                "usr/lib/b=1*1",
            ],
        ),
        (
            "and so does a whiteout",
            vec![usr(), wh("lib/.wh.a")],
            &["lib>usr/lib", "usr 755", "usr/lib 755"],
        ),
        (
            "a symlink of a lower layer never leads out",
            vec![
                a().symlink("up", "../../../etc")
                    .symlink("abs", "/etc")
                    .dir("etc"),
                a().file("up/a", b"").file("abs/b", b""),
            ],
            &[
                "abs>/etc",
                "etc 755",
                "etc/a=1*1",
                "etc/b=1*1",
                "up>../../../etc",
            ],
        ),
        (
            "links survive the whiteout of one name",
            vec![a().file("a", b"1").hard_link("b", "a"), wh(".wh.a")],
            &["b=0*1"],
        ),
        (
            "a link to a lower file, hidden by the same layer",
            vec![
                a().file("a", b"1"),
                a().file(".wh.a", b"").hard_link("b", "a"),
            ],
            &["b=0*1"],
        ),
        (
            "a link to a lower file that stays",
            vec![
                a().file("d/a", b"1"),
                a().hard_link("b", "d/a").hard_link("c", "b"),
            ],
            &["b=0*3", "c=0*3", "d 755", "d/a=0*3"],
        ),
        (
            "a link keeps the file that its target was",
            vec![
                a().file("a", b"1")
                    .hard_link("b", "a")
                    .file("a", b"2")
                    .symlink("a", "x"),
            ],
            &["a>x", "b=0*1"],
        ),
        (
            "a link may name a symlink",
            vec![a().symlink("s", "nowhere").hard_link("t", "s")],
            &["s>nowhere", "t>nowhere"],
        ),
    ];
    for (what, archives, expected) in table {
        let tree = oci(archives).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(listing(&tree), expected, "{what}");
    }
}

#[test]
fn layers_that_do_not_fit() {
    let a = Archive::new;
    let table: Vec<(&str, Vec<Archive>, &str)> = vec![
        (
            "link to nothing",
            vec![a().file("x", b""), a().hard_link("l", "y")],
            "\"y\", which",
        ),
        (
            "link to a directory",
            vec![a().dir("d"), a().hard_link("l", "d")],
            "directory \"d\"",
        ),
        (
            "through a symlink to nowhere",
            vec![a().symlink("s", "nowhere"), a().file("s/f", b"")],
            "\"s\": the entry would go through a symlink",
        ),
        (
            "through symlinks in a circle",
            vec![
                a().symlink("s", "t").symlink("t", "s"),
                a().file("s/f", b""),
            ],
            "symlink that leads to no directory",
        ),
        (
            "through a symlink to a file",
            vec![a().symlink("s", "f").file("f", b""), a().file("s/f", b"")],
            "symlink that leads to no directory",
        ),
    ];
    for (what, archives, expected) in table {
        let error = oci(archives).expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

/// An ACI of one letter with these entries below rootfs: `name/` is a directory
/// of mode 0700, anything else a file.
fn aci(number: u32, entries: &[&str]) -> Source {
    let mut archive = Archive::new().file("manifest", b"{}").dir("rootfs");
    for entry in entries {
        archive = match entry.split_once('>') {
            Some((name, target)) => archive.symlink(&format!("rootfs/{name}"), target),
            None if entry.ends_with('/') => archive.member(
                Header::new(b'5', &format!("rootfs/{entry}")).mode(0o700),
                b"",
            ),
            None => archive.file(&format!("rootfs/{entry}"), b"x"),
        };
    }
    Source {
        layer: layer(LayerKind::Aci, archive),
        number,
    }
}

fn stack(own: Source, whitelist: &[&str], dependencies: Vec<Stack<Source>>) -> Stack<Source> {
    Stack {
        dependencies,
        layers: vec![own],
        path_whitelist: whitelist.iter().map(|&p| p.to_owned()).collect(),
    }
}

/// The worked results of appc's rendering rules.
#[test]
fn appc_dependencies_and_whitelists() {
    let b = || aci(1, &["a/", "a/f1", "a/f2", "c/", "c/f1"]);
    let table: Vec<(&str, Stack<Source>, &[&str])> = vec![
        (
            "a dependency's list is its own",
            stack(
                aci(0, &["c/f2"]),
                &[],
                vec![stack(b(), &["/a/f1", "/c/"], vec![])],
            ),
            &["a 755", "a/f1=1*1", "c 700", "c/f2=0*1"],
        ),
        (
            "the image's list holds for its dependencies",
            stack(
                aci(0, &["a/f1", "c/f2"]),
                &["/a/f1", "c/f2", "/d/"],
                vec![stack(
                    aci(1, &["a/", "a/f1", "a/f2", "c/", "c/f1", "d/", "d/f1"]),
                    &[],
                    vec![],
                )],
            ),
            &["a 755", "a/f1=0*1", "c 755", "c/f2=0*1", "d 700"],
        ),
        (
            "lists of all ancestors hold, those of siblings do not",
            stack(
                aci(0, &[]),
                &[],
                vec![
                    stack(aci(1, &["b1", "b2"]), &[], vec![]),
                    stack(
                        aci(2, &["c1"]),
                        &["c1", "d1"],
                        vec![stack(aci(3, &["d1", "d2"]), &[], vec![])],
                    ),
                ],
            ),
            &["b1=1*1", "b2=1*1", "c1=2*1", "d1=3*1"],
        ),
        (
            "a diamond is rendered twice, later over earlier",
            stack(
                aci(0, &[]),
                &[],
                vec![
                    stack(
                        aci(1, &["x"]),
                        &[],
                        vec![stack(aci(3, &["x", "d"]), &[], vec![])],
                    ),
                    stack(
                        aci(2, &[]),
                        &[],
                        vec![stack(aci(3, &["x", "d"]), &[], vec![])],
                    ),
                ],
            ),
            &["d=3*1", "x=3*1"],
        ),
        (
            "a symlink of a dependency is replaced, not followed",
            stack(
                aci(0, &["lib/", "lib/f", "etc/f"]),
                &[],
                vec![stack(
                    aci(1, &["lib>usr", "etc>usr", "usr/", "usr/g"]),
                    &[],
                    vec![],
                )],
            ),
            &[
                "etc 755",
                "etc/f=0*1",
                "lib 700",
                "lib/f=0*1",
                "usr 700",
                "usr/g=1*1",
            ],
        ),
    ];
    for (what, stack, expected) in table {
        let tree = render(&stack).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(listing(&tree), expected, "{what}");
    }
}

#[test]
fn two_thousand_layers() {
    let mut layers: Vec<Archive> = vec![Archive::new().dir("d").file("d/base", b"")];
    for n in 0..2000 {
        layers.push(
            Archive::new()
                .file(&format!("d/{n}"), b"")
                .file(&format!("d/.wh.{}", n - 1), b""),
        );
    }
    assert_eq!(
        listing(&oci(layers).unwrap()),
        ["d 755", "d/1999=2000*1", "d/base=0*1"]
    );
}
