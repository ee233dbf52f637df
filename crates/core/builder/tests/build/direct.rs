//! `COPY` writes its layer directly where it can; `ADD` of the same files always goes through a mount of the layers below.
//! Both must give the same layer.

use crate::fixture::Fixture;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// What lies in the base image of [`both`].
const BELOW: &str = "FROM base AS below
RUN mkdir -p /srv/app/kept/deep /srv/other && touch /srv/app/file /srv/app/kept/deep/f && ln -s other /srv/link
RUN chmod 2750 /srv/app/kept && mkdir /srv/app/note
";

/// Path to type, mode, owner and content, of every file of the topmost layer.
fn layer(f: &Fixture, built: &builder::Built) -> BTreeMap<String, String> {
    let store = f.store();
    let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
    let top = store.layer_dirs(&image.chain().unwrap()).unwrap().remove(0);
    let describe = |path: &String| {
        let full = top.join(path);
        let status = std::fs::symlink_metadata(&full).unwrap();
        let content = match status.file_type() {
            kind if kind.is_symlink() => std::fs::read_link(&full).unwrap().display().to_string(),
            kind if kind.is_file() => std::fs::read_to_string(&full).unwrap(),
            _ => String::new(),
        };
        let place = Path::new(path);
        // What a step touches has the time of the step: only others can be compared.
        let time = if status.is_file() { status.mtime() } else { 0 };
        let text = format!(
            "{:o} {}:{} {} {time} {content}",
            status.mode(),
            status.uid(),
            status.gid(),
            status.nlink().min(2)
        );
        (place.display().to_string(), if status.is_dir() { text.replacen(" 2 ", " ", 1) } else { text })
    };
    f.top_layer(built).iter().map(describe).collect()
}

/// Builds the line with `COPY` and with `ADD`.
fn both(f: &Fixture, line: &str) -> [Result<BTreeMap<String, String>, String>; 2] {
    ["COPY", "ADD"].map(|verb| {
        let outcome = f.build(&format!("{BELOW}FROM below\n{verb} {line}\n"));
        match &outcome.built {
            Ok(built) => Ok(layer(f, built)),
            Err(error) => Err(error.chain()),
        }
    })
}

#[test]
fn with_and_without_a_mount_the_layer_is_the_same() {
    let f = Fixture::new();
    f.file("tree/file", "new")
        .file("tree/kept/deep/f", "new")
        .file("tree/kept/new", "n")
        .file("tree/x/y/z", "z");
    f.file("clash/kept", "a file").file("clash2/file/x", "a directory").file("one", "1").file("two", "2");
    f.file("tree/note/n", "n");
    let context = f.context();
    symlink("x", context.join("tree/to-x")).unwrap();
    std::fs::hard_link(context.join("tree/file"), context.join("tree/x/again")).unwrap();
    std::fs::set_permissions(context.join("tree/x/y"), PermissionsExt::from_mode(0o3711)).unwrap();
    std::fs::set_permissions(context.join("tree/kept/new"), PermissionsExt::from_mode(0o4755)).unwrap();
    let mut failed = 0;
    for line in [
        "tree /srv/app",
        "tree /srv/app/",
        "tree /srv/new/deeper",
        "tree /srv/link",
        "tree /srv/link/below",
        "--chown=app:staff --chmod=0751 tree /srv/app",
        "one two /srv/app/",
        "one two /srv/fresh/",
        "one /srv/app/file",
        "one /srv/app",
        "one /srv/app/file/",
        "one two /srv/app/file",
        "clash /srv/app",
        "clash2 /srv/app",
        "tree /srv/app/file",
        "tree tree/x /",
        "one /",
    ] {
        let [copied, added] = both(&f, line);
        assert_eq!(copied, added, "{line}");
        failed += usize::from(copied.is_err());
    }
    assert_eq!(failed, 4, "what can't be is an error either way");
}

#[test]
fn directories_that_are_passed_keep_their_time() {
    let f = Fixture::new();
    f.file("one", "1");
    let dockerfile = "FROM base\nRUN mkdir -p /a/b && touch -d @1000000000 /a/b /a\nCOPY one /a/b/c/\n";
    let outcome = f.build(dockerfile);
    let root = f.rootfs(outcome.ok());
    assert_eq!(root.lstat("a").unwrap().st_mtime, 1_000_000_000);
    assert_ne!(root.lstat("a/b").unwrap().st_mtime, 1_000_000_000);
}

#[test]
fn what_was_copied_afresh_is_known_the_next_time() {
    let f = Fixture::new();
    for number in 0..300 {
        f.file(&format!("d{}/f{number}", number % 7), &format!("{number}"));
    }
    let dockerfile = "FROM base\nCOPY . /all\nCOPY d1 /one\n";
    assert_eq!(f.build(dockerfile).ok().ran, 2);
    assert_eq!(f.build(dockerfile).ok().ran, 0);
    // The same content from elsewhere in the file is the same step.
    assert_eq!(f.build("FROM base AS other\nCOPY . /all\n").ok().ran, 1, "the Dockerfile is in it");
    assert_eq!(f.build("FROM base AS other\nCOPY . /all\n").ok().ran, 0);
    f.file("d3/f3", "other");
    let outcome = f.build("FROM base AS other\nCOPY . /all\n");
    assert_eq!(outcome.reasons(), ["file /d3/f3 changed"]);
    assert_eq!(f.build_with(dockerfile, |r| r.no_cache = true).ok().ran, 2);
    assert_eq!(f.build(dockerfile).ok().ran, 0, "what was made without the cache is kept for the next");
}
