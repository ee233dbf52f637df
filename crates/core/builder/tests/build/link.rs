//! `COPY --link`: a layer that depends on nothing below it.

use crate::fixture::{Fixture, text};
use builder::Built;

fn top(f: &Fixture, built: &Built) -> store::Layer {
    let store = f.store();
    let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
    store.layer(&image.chain().unwrap()).unwrap().unwrap()
}

#[test]
fn another_base_takes_the_same_layer() {
    let f = Fixture::new();
    f.file("a", "1").file("b/c", "2");
    let file =
        |n: u32| format!("FROM base\nRUN echo {n} > /n\nCOPY --link a b /app/\nADD --link a /added/\n");
    let first = f.build(&file(1)).ok().clone();
    let second = f.build(&file(2));
    assert_eq!((second.ok().ran, second.ok().cached), (1, 2), "{:?}", second.reasons());
    let is_note = |event: &&builder::Event| matches!(event, builder::Event::StepNote { .. });
    assert_eq!(second.events.iter().filter(is_note).count(), 2, "both are put on another base");
    let root = f.rootfs(second.ok());
    assert_eq!(
        (text(&root, "/n"), text(&root, "/app/a"), text(&root, "/app/c")),
        ("2\n".into(), "1".into(), "2".into())
    );
    assert_eq!(text(&root, "/added/a"), "1");
    let layers = |built: &Built| f.config(built).rootfs.diff_ids.clone();
    let (one, two) = (layers(&first), layers(second.ok()));
    assert_ne!(one[1], two[1]);
    assert_eq!(one[2..], two[2..], "the same layers on another one");
    assert_eq!(top(&f, second.ok()).own_size(), 0, "its files are not copied");
    assert_eq!(f.store().check(false).unwrap(), []);
    // Without the builds' records the files stay with the images.
    let env = f.env();
    builder::prune(&env, &builder::Prune { all: true, ..Default::default() }).unwrap();
    env.store.gc().unwrap();
    assert_eq!(text(&f.rootfs(second.ok()), "/app/c"), "2");
    assert_eq!(env.store.check(false).unwrap(), []);
    // A change of what is copied is a miss with a reason.
    f.build(&file(2)).ok();
    f.file("b/c", "3");
    assert_eq!(f.build(&file(2)).reasons(), ["file /b/c changed"]);
}

#[test]
fn links_below_are_not_followed() {
    let f = Fixture::new();
    f.file("a", "1");
    let file = |flag: &str| {
        format!(
            "FROM base\nRUN mkdir /real && ln -s real /to && mkdir -m 700 /own\nCOPY {flag} a /to/\nCOPY {flag} a /own/\n"
        )
    };
    let followed = f.rootfs(f.build(&file("")).ok());
    assert_eq!(text(&followed, "/real/a"), "1");
    assert_eq!(followed.lstat("own").unwrap().st_mode & 0o7777, 0o700);
    let linked = f.rootfs(f.build(&file("--link")).ok());
    assert!(linked.lstat("real/a").is_err());
    assert_eq!(text(&linked, "/to/a"), "1");
    assert!(linked.readlink("to").is_err(), "a directory stands in the link's place");
    // The directories that it makes are its own, with the mode of new ones.
    assert_eq!(linked.lstat("own").unwrap().st_mode & 0o7777, 0o755);
}

#[test]
fn owners_are_numbers_whatever_they_are_called_below() {
    let f = Fixture::new();
    f.file("a", "1");
    let file = |n: u32, uid: u32| {
        format!(
            "FROM base\nRUN echo {n} > /n && echo new:x:{uid}:7::/:/bin/sh >> /etc/passwd\nCOPY --link --chown=new:staff a /x/a\nCOPY --link --chown=12:13 a /y/a\n"
        )
    };
    let owner = |built: &Built, path: &str| {
        let stat = f.rootfs(built).lstat(path).unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
    };
    let first = f.build(&file(1, 500)).ok().clone();
    assert_eq!((owner(&first, "x/a"), owner(&first, "y/a")), ((500, 50, 0o644), (12, 13, 0o644)));
    assert_eq!(owner(&first, "x"), (500, 50, 0o755));
    let same = f.build(&file(2, 500));
    assert_eq!((same.ok().ran, same.ok().cached), (1, 2));
    let other = f.build(&file(2, 501));
    assert_eq!((other.ok().ran, other.ok().cached), (2, 1), "{:?}", other.reasons());
    assert!(other.reasons().contains(&"numbers of the owner changed"), "{:?}", other.reasons());
    assert_eq!(owner(other.ok(), "x/a"), (501, 50, 0o644));
    let unknown = f.build("FROM base\nCOPY --link --chown=nobody-here a /\n");
    assert!(unknown.err().chain().contains("nobody-here"), "{}", unknown.err().chain());
}

#[test]
fn from_a_stage_it_depends_on_that_stage_alone() {
    let f = Fixture::new();
    let file = |n: u32, out: &str| {
        format!(
            "FROM base AS made\nRUN mkdir /out && echo {out} > /out/x && ln -s x /out/y\nFROM base\nRUN echo {n} > /n\nCOPY --link --from=made /out /opt/out\nRUN cat /opt/out/y > /seen\n"
        )
    };
    f.build(&file(1, "one")).ok();
    let rebased = f.build(&file(2, "one"));
    assert_eq!(
        (rebased.ok().ran, rebased.ok().cached),
        (2, 2),
        "both RUN of the last stage: {:?}",
        rebased.reasons()
    );
    let changed = f.build(&file(2, "two"));
    assert_eq!((changed.ok().ran, changed.ok().cached), (3, 1), "{:?}", changed.reasons());
    let root = f.rootfs(changed.ok());
    assert_eq!((text(&root, "/seen"), text(&root, "/opt/out/x")), ("two\n".into(), "two\n".into()));
    assert_eq!(f.store().check(false).unwrap(), []);
}

#[test]
fn on_nothing_it_is_the_layer_itself() {
    let f = Fixture::new();
    f.file("a", "1");
    let built = f.build("FROM scratch\nCOPY --link a /\n").ok().clone();
    assert_eq!(top(&f, &built).over, None);
    assert_eq!(text(&f.rootfs(&built), "/a"), "1");
}
