//! Images that are let in as they were seen first.

use super::*;

fn pinned() -> (Host, PathBuf) {
    let host = Host::new();
    policy(&host, &json!([{"prefix": "", "level": "pinned"}]));
    let layout = host.images().join("app");
    (host, layout)
}

#[test]
fn a_change_is_refused_until_it_is_accepted() {
    let (host, dir) = pinned();
    let one = OciImage::busybox(&["/bin/echo", "one"]).write(&dir, "1");
    fetch(&host, &one.reference())
        .ok()
        .prints(&format!("{}\n", one.id()));
    assert_eq!(verification(&host)["by"], "pinned");
    fetch(&host, &one.reference()).ok();

    fs::remove_dir_all(&dir).unwrap();
    let two = OciImage::busybox(&["/bin/echo", "two"]).write(&dir, "1");
    for option in ["none", "image"] {
        host.rkt(["--insecure-options", option, "fetch", &two.reference()])
            .run()
            .fails(
                254,
                "fetch",
                &["not the image that is pinned", "rkt trust accept"],
            );
    }
    // The refusal tells the very command that helps.
    let refusal = fetch(&host, &two.reference()).stderr;
    let (_, command) = refusal.split_once("`rkt ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    host.rkt(command.split(' ')).run().ok();
    fetch(&host, &two.reference()).ok();
    let pins = host
        .rkt(["trust", "list", "--format=json"])
        .run()
        .ok()
        .json();
    assert_eq!(pins["pins"][0]["id"], *two.id());
    // What was pinned is refused in its turn.
    fs::remove_dir_all(&dir).unwrap();
    OciImage::busybox(&["/bin/echo", "one"]).write(&dir, "1");
    fetch(&host, &one.reference()).fails(254, "fetch", &["not the image that is pinned"]);
}

#[test]
fn acis_and_docker_archives_are_pinned_alike() {
    let (host, dir) = pinned();
    let file = aci(&host, "example.com/app", "one");
    fetch(&host, &file.to_string_lossy()).ok();
    aci(&host, "example.com/app", "two");
    fetch(&host, &file.to_string_lossy()).fails(254, "fetch", &["pinned"]);

    let archive = host.images().join("saved.tar");
    let reference = format!("docker-archive:{}", archive.display());
    let save = |says: &str| {
        let _ = fs::remove_file(&archive);
        let _ = fs::remove_dir_all(&dir);
        let image = OciImage::busybox(&["/bin/echo", says]).write(&dir, "1");
        image.copy_to(&format!("{reference}:example.com/saved:1"));
    };
    save("one");
    fetch(&host, &reference).ok();
    save("two");
    fetch(&host, &reference).fails(254, "fetch", &["pinned"]);
}

#[test]
fn of_many_fetches_at_once_one_image_is_pinned() {
    let (host, dir) = pinned();
    let layouts: Vec<String> = (0..4)
        .map(|n| {
            let dir = dir.join(n.to_string()).join("app");
            let image = OciImage::busybox(&["/bin/echo", &n.to_string()]);
            image.write(&dir, "1").reference()
        })
        .collect();
    let running: Vec<_> = layouts
        .iter()
        .map(|layout| host.rkt(["fetch", layout]).spawn())
        .collect();
    let codes: Vec<_> = running.into_iter().map(|r| r.wait().code()).collect();
    let good = codes.iter().filter(|c| **c == Some(0)).count();
    assert_eq!(good, 1, "{codes:?}");
    verification(&host);
}

#[test]
fn accept_wants_a_whole_id() {
    let (host, _) = pinned();
    host.rkt(["trust", "accept", "example.com/app", "sha256-12"])
        .run()
        .fails(254, "accept", &["whole ID"]);
}
