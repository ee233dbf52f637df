//! The crate as a whole: hostile archives, round trips, and agreement with other programs.

use crate::{Entry, Error, Kind, Options, Packer, Reader, Stats, Time, Tree, pack_tree, settle, unpack};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use sys::root::Root;
use tempfile::TempDir;

/// A directory with a root to unpack into and a file beside it that nothing may touch.
pub(crate) struct Jail {
    dir: TempDir,
}

impl Jail {
    pub(crate) fn new() -> Jail {
        Jail::below(tempfile::tempdir().unwrap())
    }

    /// In memory, for those who make thousands.
    pub(crate) fn fleeting() -> Jail {
        Jail::below(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn below(dir: TempDir) -> Jail {
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/canary"), "alive").unwrap();
        Jail { dir }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("root").join(below)
    }

    pub(crate) fn root(&self) -> Root {
        Root::open(self.path("")).unwrap()
    }

    /// Unpacks; the first layer in a jail also as an image, which has to be the same.
    pub(crate) fn unpack(&self, archive: &[u8], options: &Options) -> Result<Stats, Error> {
        let is_first = fs::read_dir(self.path("")).unwrap().next().is_none();
        let unpacked = unpack(archive, &self.root(), options);
        let (limits, usual) = (options.limits, crate::Limits::default());
        let is_layer = options.semantics == crate::Semantics::Layer && options.owner.is_none();
        let limited =
            (limits.bytes, limits.entries, limits.memory) != (usual.bytes, usual.entries, usual.memory);
        if is_first && is_layer && !limited {
            crate::erofs::tests::compare(archive, &self.root(), &unpacked);
        }
        unpacked
    }

    fn pack(&self, layer: bool) -> Vec<u8> {
        let root = self.root();
        let mut packer = Packer::new(Vec::new());
        let tree = Tree { root: &root, path: Path::new(""), name: Path::new(""), layer };
        pack_tree(&mut packer, tree).unwrap();
        packer.finish().unwrap()
    }

    /// Nothing but the canary is outside, and it is as it was.
    pub(crate) fn assert_confined(&self, case: &str) {
        let outside = self.dir.path().join("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"], "{case}");
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive", "{case}");
        assert_eq!(fs::metadata(outside.join("canary")).unwrap().nlink(), 1, "{case}");
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2, "{case}");
    }
}

/// An entry and its content.
pub(crate) type Member = (Entry, &'static str);

pub(crate) fn archive(entries: &[Member]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    for (entry, content) in entries {
        match entry.kind {
            Kind::File => packer.append_bytes(entry, content.as_bytes()).unwrap(),
            _ => packer.append(entry).unwrap(),
        }
    }
    packer.finish().unwrap()
}

pub(crate) fn file(path: &str) -> Member {
    (Entry::file(path, 0o644, 0), "content")
}

pub(crate) fn dir(path: &str) -> Member {
    (Entry::directory(path, 0o755), "")
}

pub(crate) fn link(path: &str, target: &str) -> Member {
    (Entry::symlink(path, target), "")
}

pub(crate) fn hard(path: &str, target: &str) -> Member {
    (Entry { link: target.into(), ..Entry::new(path, Kind::HardLink, 0o644) }, "")
}

pub(crate) fn node(path: &str, kind: Kind, device: (u32, u32)) -> Member {
    (Entry { device, ..Entry::new(path, kind, 0o666) }, "")
}

#[test]
fn nothing_leaves_the_root() {
    let deep = "d/".repeat(600) + "f";
    let cases: Vec<(&str, Vec<Member>, bool)> = vec![
        ("parent", vec![file("../outside/x")], false),
        ("parent inside", vec![dir("a"), file("a/../../outside/x")], false),
        ("parent that stays", vec![file("a/../b")], true),
        ("absolute", vec![file("/outside/x")], true),
        ("many slashes", vec![file("//a///b/./c")], true),
        ("file through absolute link", vec![link("l", "/"), file("l/outside/x")], true),
        ("file through relative link", vec![link("l", "../outside"), file("l/x")], false),
        ("file through long link", vec![link("l", "../../../../../.."), file("l/tmp/x")], true),
        ("overwrite through link", vec![link("canary", "../outside/canary"), file("canary")], true),
        ("directory over link", vec![link("l", "../outside"), dir("l"), file("l/x")], true),
        (
            "directory mode through link",
            vec![link("l", "../outside"), (Entry::directory("l/", 0o777), "")],
            true,
        ),
        ("link loop", vec![link("a", "b"), link("b", "a"), file("a/x")], false),
        ("dangling link", vec![link("a", "nowhere"), file("a/x")], false),
        ("hard link outside", vec![hard("h", "../outside/canary")], false),
        ("hard link absolute", vec![hard("h", "/outside/canary")], false),
        ("hard link to link", vec![link("l", "../outside/canary"), hard("h", "l"), file("h")], true),
        ("hard link through link", vec![link("l", "../outside"), hard("h", "l/canary")], false),
        ("hard link to itself", vec![file("f"), hard("f", "f")], true),
        ("hard link to a directory", vec![dir("d"), hard("h", "d")], false),
        ("hard link to nothing", vec![hard("h", "missing")], false),
        ("the root as a file", vec![file(".")], false),
        ("the root as a link", vec![link("./", "../outside")], false),
        ("the root as itself", vec![dir("./"), file("./x")], true),
        ("file below a file", vec![file("f"), file("f/x")], false),
        ("fifo below a fifo", vec![node("p", Kind::Fifo, (0, 0)), file("p/x")], false),
        ("device", vec![node("null", Kind::Char, (1, 3)), node("null", Kind::Char, (1, 3))], true),
        ("empty link", vec![link("l", "")], false),
        ("very deep", vec![file(&deep)], true),
        ("too deep", vec![file(&"d/".repeat(3000))], false),
        ("long name", vec![file(&"n".repeat(256))], false),
        ("longest name", vec![file(&"n".repeat(255))], true),
    ];
    for (case, entries, fits) in cases {
        for options in [Options::layer(), Options::plain()] {
            let jail = Jail::new();
            let result = jail.unpack(&archive(&entries), &options);
            jail.assert_confined(case);
            assert_eq!(result.is_ok(), fits, "{case}: {result:?}");
            if let Err(Error::Refused { path, .. } | Error::Entry { path, .. }) = result {
                assert!(entries.iter().any(|(entry, _)| entry.path == path), "{case}: names {path:?}");
            }
        }
    }
}

/// A block with any bytes in it, and the right sum.
pub(crate) fn raw(change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block: [u8; 512] = archive(&[file("f")])[..512].try_into().unwrap();
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

/// An extended header with these records.
pub(crate) fn extended(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        crate::pax::push(&mut bytes, key.as_bytes(), value);
    }
    let mut out = crate::header::encode_extended(bytes.len()).to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    out.extend(bytes);
    out
}

#[test]
fn damaged_archives_are_errors() {
    let good = archive(&[file("f")]);
    let f = &good[..1024];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"this is no archive at all".repeat(50)),
        ("half a block", vec![1; 100]),
        ("cut data", good[..515].to_vec()),
        ("wrong sum", [&good[..10], b"x", &good[11..]].concat()),
        ("half an end mark", [f, &[0; 512][..], f].concat()),
        ("size is text", raw(|block| block[124..136].copy_from_slice(b"hello world\0"))),
        ("size is negative", raw(|block| block[124..136].fill(0xff))),
        (
            "size is huge",
            raw(|block| {
                block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255])
            }),
        ),
        ("uid is minus one", raw(|block| block[108..116].fill(0xff))),
        ("uid of 33 bits", raw(|block| block[108..116].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0]))),
        ("pax uid of 33 bits", [extended(&[("uid", b"4294967296")]), f.to_vec()].concat()),
        ("pax uid that means no change", [extended(&[("uid", b"4294967295")]), f.to_vec()].concat()),
        ("pax gid below zero", [extended(&[("gid", b"-1")]), f.to_vec()].concat()),
        ("pax size below zero", [extended(&[("size", b"-7")]), f.to_vec()].concat()),
        ("pax size that lies", [extended(&[("size", b"100000")]), f.to_vec()].concat()),
        ("pax path with NUL", [extended(&[("path", b"a\0b")]), f.to_vec()].concat()),
        ("pax link with NUL", [extended(&[("linkpath", b"a\0b")]), f.to_vec()].concat()),
        ("pax path that escapes", [extended(&[("path", b"../outside/x")]), f.to_vec()].concat()),
        ("pax time", [extended(&[("mtime", b"soon")]), f.to_vec()].concat()),
        ("pax alone", extended(&[("path", b"x")])),
        (
            "pax of two megabytes",
            raw(|block| {
                block[156] = b'x';
                block[124..136].copy_from_slice(b"00010000000\0");
            }),
        ),
        ("unknown kind", raw(|block| block[156] = b'Z')),
        (
            "sparse without a map",
            [
                extended(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.realsize", b"9"),
                ]),
                f.to_vec(),
            ]
            .concat(),
        ),
        (
            "sparse map beyond its file",
            [extended(&[("GNU.sparse.map", b"100,7"), ("GNU.sparse.size", b"9")]), f.to_vec()].concat(),
        ),
        (
            "sparse map that overlaps",
            [extended(&[("GNU.sparse.map", b"4,4,0,3"), ("GNU.sparse.size", b"9")]), f.to_vec()].concat(),
        ),
        (
            "sparse map of nonsense",
            [extended(&[("GNU.sparse.map", b"x"), ("GNU.sparse.size", b"9")]), f.to_vec()].concat(),
        ),
        (
            "sparse of 8 EiB",
            [
                extended(&[("GNU.sparse.map", b"0,7"), ("GNU.sparse.size", b"9223372036854775807")]),
                f.to_vec(),
            ]
            .concat(),
        ),
    ];
    for (case, bytes) in cases {
        let jail = Jail::new();
        let result = jail.unpack(&bytes, &Options::layer());
        jail.assert_confined(case);
        assert!(result.is_err(), "{case}: {result:?}");
    }
}

#[test]
fn every_cut_and_every_flipped_byte_is_survived() {
    let mut entry =
        Entry { mtime: Time { seconds: -5, nanoseconds: 7 }, ..Entry::file("x".repeat(120), 0o644, 0) };
    entry.xattrs.push(("user.a".into(), b"b".to_vec()));
    let bytes = archive(&[dir("d"), file("d/f"), (entry, "long"), link("l", "d"), hard("h", "d/f")]);
    for cut in (0..bytes.len()).step_by(13) {
        let mut reader = Reader::new(&bytes[..cut]);
        while let Ok(Some(_)) = reader.next_entry() {}
    }
    for position in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x81;
        let mut reader = Reader::new(&bytes[..]);
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}

#[test]
fn the_pax_size_is_the_size() {
    // Whoever believes the header's size (7) instead takes the file's content for the next entry.
    let inner = archive(&[file("smuggled")]);
    let mut bytes = extended(&[("size", b"1024")]);
    bytes.extend(&archive(&[file("f")])[..512]);
    bytes.extend(&inner[..1024]);
    bytes.extend([0; 1024]);
    let jail = Jail::new();
    jail.unpack(&bytes, &Options::layer()).unwrap();
    assert_eq!(fs::metadata(jail.path("f")).unwrap().len(), 1024);
    assert!(!jail.path("smuggled").exists());
}

#[test]
fn limits_hold() {
    let bytes = archive(&[file("a"), file("b"), file("c")]);
    for (limits, fits) in [((21, 3), true), ((20, 3), false), ((21, 2), false)] {
        let limits = crate::Limits { bytes: limits.0, entries: limits.1, ..crate::Limits::default() };
        let result = Jail::new().unpack(&bytes, &Options { limits, ..Options::plain() });
        assert_eq!(result.is_ok(), fits, "{result:?}");
    }
    let sparse =
        [extended(&[("GNU.sparse.map", b"0,7"), ("GNU.sparse.size", b"1099511627776")]), bytes].concat();
    let limits = crate::Limits { bytes: 1 << 30, entries: 10, ..crate::Limits::default() };
    let result = Jail::new().unpack(&sparse, &Options { limits, ..Options::plain() });
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let jail = Jail::new();
    let old = (Entry::file("f", 0o600, 0), "old");
    let bytes = archive(&[
        old,
        file("f"),
        dir("d"),
        file("d/inside"),
        link("d", "f"),
        file("x"),
        dir("x"),
        file("x/inside"),
        (Entry::directory("x", 0o700), ""),
    ]);
    jail.unpack(&bytes, &Options::plain()).unwrap();
    assert_eq!(fs::read_to_string(jail.path("f")).unwrap(), "content");
    assert_eq!(fs::metadata(jail.path("f")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::read_link(jail.path("d")).unwrap(), Path::new("f"));
    assert!(jail.path("x/inside").exists(), "a directory over a directory keeps what is in it");
    assert_eq!(fs::metadata(jail.path("x")).unwrap().mode() & 0o7777, 0o700);

    let keep = Options { semantics: crate::Semantics::Plain { replace_kind: false }, ..Options::plain() };
    let error = jail.unpack(&archive(&[file("x")]), &keep).unwrap_err();
    assert_eq!(error.to_string(), "entry \"x\": cannot overwrite a directory with what is none");
    assert!(jail.unpack(&archive(&[dir("f")]), &keep).is_err());
    assert!(jail.unpack(&archive(&[file("f"), dir("x")]), &keep).is_ok());
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(jail: &Jail, path: &str) -> bool {
    jail.root().xattr(path, "trusted.overlay.opaque".as_ref()).unwrap().as_deref() == Some(b"y")
}

#[test]
fn whiteouts_become_overlayfs_own() {
    let jail = Jail::new();
    let bytes = archive(&[
        file("a/.wh.gone"),
        dir("b"),
        file("b/.wh..wh..opq"),
        file("b/new"),
        // In any order with what the layer has itself: it stays, and hides what is below.
        file(".wh.c"),
        dir("c"),
        dir("d"),
        file("d/x"),
        file(".wh.d"),
        file("e"),
        file(".wh.e"),
        file(".wh.f"),
        file("f/implied"),
        file(".wh..wh.plnk/1"),
    ]);
    jail.unpack(&bytes, &Options::layer()).unwrap();
    assert!(is_whiteout(&jail.path("a/gone")));
    for path in ["b", "c", "d", "f"] {
        assert!(is_opaque(&jail, path), "{path}");
    }
    assert!(!is_opaque(&jail, "a"));
    assert!(jail.path("d/x").exists() && jail.path("f/implied").exists());
    assert_eq!(fs::read_to_string(jail.path("e")).unwrap(), "content");
    assert!(!jail.path(".wh..wh.plnk").exists());

    let again = Jail::new();
    again.unpack(&jail.pack(true), &Options::layer()).unwrap();
    assert_eq!(again.pack(true), jail.pack(true));
    assert!(is_whiteout(&again.path("a/gone")) && is_opaque(&again, "b"));

    for name in [".wh.", "a/.wh..", ".wh...", ".wh.x/y"] {
        let result = Jail::new().unpack(&archive(&[file(name)]), &Options::layer());
        assert!(matches!(result, Err(Error::Refused { .. })), "{name}: {result:?}");
    }
    let plain = Jail::new();
    plain.unpack(&archive(&[file(".wh.x")]), &Options::plain()).unwrap();
    assert!(plain.path(".wh.x").is_file());
}

#[test]
fn hard_links_into_what_aufs_kept_for_itself_are_names_of_that_file() {
    let jail = Jail::new();
    let mut kept = file(".wh..wh.plnk/1.2");
    (kept.0.mode, kept.0.uid, kept.0.mtime.seconds) = (0o4750, 7, 1_400_000_000);
    let bytes = archive(&[
        dir(".wh..wh.plnk"),
        kept,
        link(".wh..wh.plnk/l", "1.2"),
        dir("d"),
        hard("d/h", ".wh..wh.plnk/1.2"),
        hard("e/again", "/.wh..wh.plnk/1.2"),
        // A name that is replaced, and a file without any.
        hard("gone", "./.wh..wh.plnk/3.4x/../1.2"),
        file(".wh..wh.plnk/3.4"),
        dir("gone"),
    ]);
    jail.unpack(&bytes, &Options::layer()).unwrap();
    let (made, again) =
        (fs::metadata(jail.path("d/h")).unwrap(), fs::metadata(jail.path("e/again")).unwrap());
    assert_eq!(fs::read_to_string(jail.path("d/h")).unwrap(), "content");
    assert_eq!((made.mode() & 0o7777, made.uid(), made.mtime()), (0o4750, 7, 1_400_000_000));
    assert_eq!((made.ino(), made.nlink()), (again.ino(), 2));
    assert!(jail.path("gone").is_dir());
    assert_eq!(fs::read_dir(jail.path("")).unwrap().count(), 3, "{:?}", jail.path(""));

    // What isn't there, isn't a file or isn't aufs' is no target, and nobody reaches it by another way.
    for entries in [
        vec![hard("h", ".wh..wh.plnk/1")],
        vec![node(".wh..wh.plnk/1", Kind::Fifo, (0, 0)), hard("h", ".wh..wh.plnk/1")],
        vec![file(".wh..wh.plnk/d/1"), hard("h", ".wh..wh.plnk/d/1")],
        vec![file(".wh..wh.orph/1"), hard("h", ".wh..wh.orph/1")],
    ] {
        let result = Jail::new().unpack(&archive(&entries), &Options::layer());
        assert!(matches!(result, Err(Error::Refused { .. })), "{entries:?}: {result:?}");
    }
    let jail = Jail::new();
    let through = [file(".wh..wh.plnk/1"), link("l", ".wh..wh.plnk"), file("l/x"), hard("x", "l/1")];
    jail.unpack(&archive(&through), &Options::layer()).unwrap();
    assert!(jail.path("x").is_file() && !jail.path(".wh..wh.plnk").exists());
    jail.assert_confined("links to what is set aside");
    let plain = Jail::new();
    plain.unpack(&archive(&[file(".wh..wh.plnk/1")]), &Options::plain()).unwrap();
    assert!(plain.path(".wh..wh.plnk/1").is_file());
}

#[test]
fn layers_below_decide_about_what_the_archive_leaves_out() {
    let below = Jail::new();
    fs::create_dir_all(below.path("var/lib/x")).unwrap();
    fs::set_permissions(below.path("var/lib"), fs::Permissions::from_mode(0o1770)).unwrap();
    std::os::unix::fs::chown(below.path("var/lib"), Some(12), Some(34)).unwrap();

    let jail = Jail::new();
    let stats = jail.unpack(&archive(&[file("var/lib/f")]), &Options::layer()).unwrap();
    settle(&jail.root(), &stats.unsettled, &[below.root()]).unwrap();
    let made = fs::metadata(jail.path("var/lib")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o1770, 12, 34));
    assert_eq!(made.mtime(), fs::metadata(below.path("var/lib")).unwrap().mtime());

    let jail = Jail::new();
    let stats = jail.unpack(&archive(&[file(".wh..wh..opq"), file("f")]), &Options::layer()).unwrap();
    settle(&jail.root(), &stats.unsettled, &[below.root()]).unwrap();
    assert!(is_whiteout(&jail.path("var")) && jail.path("f").exists());
}

#[test]
fn what_belongs_to_overlayfs_is_not_taken_from_an_archive() {
    let jail = Jail::new();
    let mut entry = Entry::directory("d", 0o755);
    entry.xattrs = vec![
        ("trusted.overlay.redirect".into(), b"/etc".to_vec()),
        ("trusted.overlay.opaque".into(), b"y".to_vec()),
        ("user.kept".into(), b"yes".to_vec()),
    ];
    jail.unpack(&archive(&[(entry, "")]), &Options::layer()).unwrap();
    assert!(!is_opaque(&jail, "d"));
    assert_eq!(jail.root().xattr("d", "user.kept".as_ref()).unwrap().as_deref(), Some(&b"yes"[..]));
    assert_eq!(jail.root().xattr("d", "trusted.overlay.redirect".as_ref()).unwrap(), None);
}

/// A tree with one of everything.
fn zoo(jail: &Jail) {
    let root = jail.root();
    fs::create_dir(jail.path("dir")).unwrap();
    fs::write(jail.path("dir/file"), "text").unwrap();
    fs::hard_link(jail.path("dir/file"), jail.path("hard")).unwrap();
    symlink("/no/where", jail.path("dir/link")).unwrap();
    fs::write(jail.path("suid"), "x").unwrap();
    std::os::unix::fs::chown(jail.path("suid"), Some(3_000_000_000), Some(7)).unwrap();
    fs::set_permissions(jail.path("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    // VFS_CAP_REVISION_2 with cap_net_raw permitted and effective.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(jail.path("ping"), "x").unwrap();
    root.set_xattr("ping", "security.capability".as_ref(), &capability).unwrap();
    root.set_xattr("dir", "user.note".as_ref(), b"hello").unwrap();
    fs::write(jail.path("n".repeat(200).as_str()), "").unwrap();
    let long = "l".repeat(90);
    fs::create_dir_all(jail.path(&format!("{long}/{long}/{long}"))).unwrap();
    fs::write(jail.path(&format!("{long}/{long}/{long}/{long}")), "deep").unwrap();
    fs::write(self::name(jail, b"not-utf8-\xff\xfe"), "").unwrap();
    fs::write(jail.path("large"), vec![7; 3_000_000]).unwrap();
    root.mknod("fifo", rustix::fs::FileType::Fifo, 0o644, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    root.mknod("null", rustix::fs::FileType::CharacterDevice, 0o666, null).unwrap();
    fs::set_permissions(jail.path("dir"), fs::Permissions::from_mode(0o2555)).unwrap();
    for (path, seconds) in [("dir", -86_400), ("dir/file", 1_000_000_000), ("suid", 10_000_000_000)] {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        root.utimes(path, &times).unwrap();
    }
}

fn name(jail: &Jail, bytes: &[u8]) -> PathBuf {
    jail.path("").join(std::ffi::OsStr::from_bytes(bytes))
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (from, to) = (Jail::new(), Jail::new());
    zoo(&from);
    let bytes = from.pack(false);
    to.unpack(&bytes, &Options::layer()).unwrap();
    assert!(to.pack(false) == bytes, "packing what was unpacked gives the same bytes");
    let root = to.root();
    assert_eq!(root.lstat("dir").unwrap().st_mtime, -86_400);
    assert_eq!(root.lstat("suid").unwrap().st_mtime, 10_000_000_000);
    let suid = fs::metadata(to.path("suid")).unwrap();
    assert_eq!((suid.uid(), suid.mode() & 0o7777), (3_000_000_000, 0o4755));
    assert!(root.xattr("ping", "security.capability".as_ref()).unwrap().is_some());
    assert_eq!(fs::metadata(to.path("hard")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(to.path("dir")).unwrap().mode() & 0o7777, 0o2555);
    assert!(name(&to, b"not-utf8-\xff\xfe").exists());
}

#[test]
fn packing_does_not_depend_on_the_order_of_creation() {
    let (one, two) = (Jail::new(), Jail::new());
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    for name in &names {
        fs::write(one.path(name), name).unwrap();
    }
    for name in names.iter().rev() {
        fs::write(two.path(name), name).unwrap();
    }
    for jail in [&one, &two] {
        for name in &names {
            let time = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 999 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            jail.root().utimes(name, &times).unwrap();
        }
    }
    assert!(one.pack(true) == two.pack(true));
}

#[test]
fn one_file_or_one_renamed_directory_can_be_packed() {
    let jail = Jail::new();
    zoo(&jail);
    let root = jail.root();
    for (path, name, first) in [("dir", "other", "other/"), ("dir/file", "f", "f"), ("dir/link", "l", "l")] {
        let mut packer = Packer::new(Vec::new());
        pack_tree(&mut packer, Tree { root: &root, path: path.as_ref(), name: name.as_ref(), layer: false })
            .unwrap();
        let bytes = packer.finish().unwrap();
        let entry = Reader::new(&bytes[..]).next_entry().unwrap().unwrap();
        assert_eq!(entry.path.as_os_str(), first);
    }
}

#[test]
fn gnu_tar_reads_what_we_write() {
    let (from, to) = (Jail::new(), Jail::new());
    zoo(&from);
    let arguments =
        ["--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-C"];
    let mut tar = Command::new("tar").args(arguments).arg(to.path("")).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&from.pack(false)).unwrap();
    assert!(tar.wait().unwrap().success());
    assert!(to.pack(false) == from.pack(false));
}

#[test]
fn we_read_what_gnu_tar_writes() {
    let from = Jail::new();
    zoo(&from);
    // Two holes, so that the formats have a map to write.
    let sparse = fs::File::create(from.path("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (10 << 20) - 3).unwrap();
    let formats: [&[&str]; 6] = [
        &["--format=gnu"],
        &["--format=pax", "--xattrs", "--xattrs-include=*"],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ];
    for format in formats {
        let to = Jail::new();
        let output =
            Command::new("tar").args(format).args(["-c", "-C"]).arg(from.path("")).arg(".").output().unwrap();
        assert!(output.status.success(), "{format:?}");
        to.unpack(&output.stdout, &Options::layer()).unwrap_or_else(|error| panic!("{format:?}: {error:?}"));
        let mut compare = Command::new("diff");
        let diff =
            compare.args(["-r", "--no-dereference"]).args([from.path(""), to.path("")]).output().unwrap();
        // diff says nothing about special files but that they are there.
        let text = String::from_utf8_lossy(&diff.stdout).into_owned();
        let real: Vec<_> =
            text.lines().filter(|line| !line.contains("fifo") && !line.contains("character")).collect();
        assert!(real.is_empty(), "{format:?}: {real:?}");
        let (a, b) = (from.root().lstat("sparse").unwrap(), to.root().lstat("sparse").unwrap());
        assert_eq!(a.st_size, b.st_size, "{format:?}");
        assert_eq!(from.root().lstat("suid").unwrap().st_uid, to.root().lstat("suid").unwrap().st_uid);
        if format.contains(&"--sparse") {
            assert!(b.st_blocks < 1000, "{format:?}: holes stay holes");
        }
    }
}

#[test]
fn the_tar_crate_reads_and_writes_the_same() {
    let from = Jail::new();
    zoo(&from);
    let bytes = from.pack(false);
    let mut theirs = tar::Archive::new(&bytes[..]);
    let theirs: Vec<(PathBuf, u64)> = theirs
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().into_owned(), entry.size())
        })
        .collect();
    let mut reader = Reader::new(&bytes[..]);
    let mut ours = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        ours.push((entry.path, entry.size));
    }
    assert_eq!(ours, theirs);

    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_path_with_name(from.path("hard"), "a/file").unwrap();
    let long = format!("{}/{}", "x".repeat(150), "y".repeat(150));
    builder.append_path_with_name(from.path("dir/link"), &long).unwrap();
    let jail = Jail::new();
    jail.unpack(&builder.into_inner().unwrap(), &Options::plain()).unwrap();
    assert_eq!(fs::read_link(jail.path(&long)).unwrap(), Path::new("/no/where"));
    assert_eq!(fs::read_to_string(jail.path("a/file")).unwrap(), "text");
}

#[test]
fn an_owner_can_be_forced() {
    let jail = Jail::new();
    let options = Options { owner: Some((5, 6)), ..Options::plain() };
    jail.unpack(&archive(&[file("a/b"), dir("c"), link("l", "x")]), &options).unwrap();
    for path in ["a", "a/b", "c", "l"] {
        let stat = jail.root().lstat(path).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (5, 6), "{path}");
    }
}
