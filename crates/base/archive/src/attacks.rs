//! Attacks that have worked on others: each tries to touch what lies outside of the root, to hide entries, or to cost more
//! than it should.
//!
//! CVE-2014-6407, CVE-2014-9356, CVE-2014-9358, CVE-2018-15664, CVE-2025-62518 and the like.

use crate::tests::{Jail, Member, archive, dir, extended, file, hard, link, node, raw};
use crate::{
    Compression, Entry, Error, Guard, Kind, Limits, Options, Packer, Semantics, compress, decompress, unpack,
};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

/// Path, inode, mode, links, time of change (seconds and nanoseconds), size, content.
type Seen = (String, u64, u32, u64, i64, i64, u64, Vec<u8>);

/// Everything about what is outside that an archive could change.
fn outside(jail: &Jail) -> Vec<Seen> {
    let top = jail.path("..");
    let mut found = Vec::new();
    for folder in ["", "outside"] {
        for entry in fs::read_dir(top.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            // What is inside may change the times of the root.
            let is_root = path.ends_with("root");
            let (mtime, nanoseconds) = if is_root { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
            let nlink = if is_root { 0 } else { meta.nlink() };
            let (mode, size) = if is_root { (0, 0) } else { (meta.mode(), meta.size()) };
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.push((
                path.display().to_string(),
                meta.ino(),
                mode,
                nlink,
                mtime,
                nanoseconds,
                size,
                content,
            ));
        }
    }
    found.sort();
    found
}

/// What is made first, at `p`: ways to the outside, and things that are no way at all.
fn first(jail: &Jail) -> Vec<(&'static str, Vec<Member>)> {
    let absolute = fs::canonicalize(jail.path("../outside")).unwrap();
    let absolute = absolute.to_str().unwrap();
    vec![
        ("nothing", vec![]),
        ("directory", vec![dir("p")]),
        ("file", vec![file("p")]),
        ("pipe", vec![node("p", Kind::Fifo, (0, 0))]),
        ("device", vec![node("p", Kind::Char, (1, 3))]),
        ("link to the root", vec![link("p", "/")]),
        ("link up", vec![link("p", "..")]),
        ("link to the outside", vec![link("p", "../outside")]),
        ("absolute link to the outside", vec![link("p", absolute)]),
        ("link far up", vec![link("p", &format!("{}{absolute}", "../".repeat(40)))]),
        ("link to a file outside", vec![link("p", &format!("{absolute}/canary"))]),
        ("link to itself", vec![link("p", "p")]),
        ("links in a circle", vec![link("p", "q"), link("q", "p")]),
        ("dangling link", vec![link("p", "nowhere")]),
        (
            "link to a process's root",
            vec![link("p", &format!("/proc/{}/root{absolute}", std::process::id()))],
        ),
        ("link to a descriptor", vec![link("p", "/proc/self/fd/3")]),
        ("link through a link", vec![link("q", ".."), link("p", "q/outside")]),
        ("link in a link's place", vec![dir("p"), link("p", "../outside")]),
        ("hard link to a link", vec![link("q", "../outside"), hard("p", "q")]),
        ("hard link to the outside", vec![hard("p", "../outside/canary")]),
        ("hard link, absolute", vec![hard("p", &format!("{absolute}/canary"))]),
        ("hard link through a link", vec![link("q", "../outside"), hard("p", "q/canary")]),
        ("whiteout", vec![file(".wh.p")]),
        ("opaque root", vec![file(".wh..wh..opq")]),
    ]
}

/// What is made then, through `p` or in its place.
fn second() -> Vec<Vec<Member>> {
    let mut all = Vec::new();
    let paths = [
        "p",
        "p/",
        "./p",
        "/p",
        "//p//.",
        "a/../p",
        "p/canary",
        "p/new",
        "p/./new",
        "p/../outside/new",
        "p/outside/new",
        "p/../new",
        "../outside/new",
        "../../outside/canary",
        "p/../../outside/canary",
        "p/.wh.canary",
        "p/.wh..wh..opq",
        "p/.wh.",
        "p/.wh..",
        "p/.wh...",
        ".wh..wh..opq",
        ".wh.p",
        ".wh.p/x",
        "p/.wh.x/../../canary",
    ];
    for path in paths {
        all.push(vec![file(path)]);
        all.push(vec![(
            Entry {
                uid: 5,
                mtime: crate::Time { seconds: 7, nanoseconds: 0 },
                ..Entry::directory(path, 0o777)
            },
            "",
        )]);
        all.push(vec![link(path, "../outside/canary"), file(path)]);
        all.push(vec![hard("h", path), file("h")]);
        all.push(vec![hard(path, "p"), file(path)]);
    }
    for path in ["p", "p/new", "p/canary", "../outside/new"] {
        all.push(vec![node(path, Kind::Fifo, (0, 0))]);
        all.push(vec![node(path, Kind::Char, (0, 0)), dir(path)]);
    }
    all
}

#[test]
fn cve_2014_6407_no_pair_of_entries_reaches_the_outside() {
    let template = Jail::fleeting();
    let count = first(&template).len();
    let mut refused = 0;
    for at in 0..count {
        for options in [Options::layer(), Options::plain()] {
            for then in second() {
                let jail = Jail::fleeting();
                fs::set_permissions(jail.path("../outside/canary"), fs::Permissions::from_mode(0o4640))
                    .unwrap();
                let before = outside(&jail);
                let (name, mut entries) = first(&jail).swap_remove(at);
                entries.extend(then);
                let outcome = jail.unpack(&archive(&entries), &options);
                let case =
                    format!("{name}, then {:?}", entries.last().map(|(entry, _)| (&entry.path, entry.kind)));
                assert_eq!(outside(&jail), before, "{case}");
                match outcome {
                    Ok(_) => {}
                    Err(Error::Refused { path, .. } | Error::Entry { path, .. }) => {
                        refused += 1;
                        assert!(
                            entries.iter().any(|(entry, _)| entry.path == path),
                            "{case}: names {path:?}"
                        );
                    }
                    Err(other) => panic!("{case}: {other:?}"),
                }
            }
        }
    }
    assert!(refused > 1000, "only {refused} refused: the attacks are no attacks");
}

/// The header of an empty file under this name, as it is.
fn header(name: &[u8]) -> Vec<u8> {
    raw(|block| {
        block[..100].fill(0);
        block[..name.len()].copy_from_slice(name);
        block[124..136].copy_from_slice(b"00000000000\0");
    })
}

/// GNU's header for a long name (`L`) or target (`K`).
fn long(flag: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = raw(|block| {
        block[156] = flag;
        block[124..136].copy_from_slice(format!("{:011o}\0", text.len()).as_bytes());
    });
    bytes.extend(text);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn names_that_are_said_twice_escape_in_neither_way() {
    let evil: &[&[u8]] =
        &[b"../outside/canary", b"/../outside/canary", b"a/../../outside/canary", b"..", b"a/../.."];
    for name in evil {
        let text = std::str::from_utf8(name).unwrap();
        let variants = [
            [extended(&[("path", name)]), header(b"good")].concat(),
            [extended(&[("path", b"good"), ("path", name)]), header(b"good")].concat(),
            [extended(&[("path", name)]), long(b'L', b"good"), header(b"good")].concat(),
            [long(b'L', b"good"), extended(&[("path", name)]), header(b"good")].concat(),
            [long(b'L', name), header(b"good")].concat(),
            [long(b'L', &[name, &b"\0good"[..]].concat()), header(b"good")].concat(),
            [
                extended(&[("GNU.sparse.name", name), ("GNU.sparse.map", b""), ("GNU.sparse.size", b"0")]),
                header(b"good"),
            ]
            .concat(),
            header(name),
            archive(&[hard("good", text)]),
            [extended(&[("linkpath", name)]), archive(&[hard("good", "x")])].concat(),
            [long(b'K', name), archive(&[hard("good", "x")])].concat(),
        ];
        for (number, bytes) in variants.iter().enumerate() {
            for options in [Options::layer(), Options::plain()] {
                let jail = Jail::new();
                let before = outside(&jail);
                let outcome = jail.unpack(bytes, &options);
                assert_eq!(outside(&jail), before, "{text}: variant {number}");
                assert!(outcome.is_err(), "{text}: variant {number}: {outcome:?}");
            }
        }
    }
}

#[test]
fn cve_2025_62518_a_directory_written_as_a_file_hides_no_entries() {
    let inner = archive(&[file("smuggled")]);
    for (flag, is_file) in [(0, false), (b'0', true), (b'7', true)] {
        let mut bytes = raw(|block| {
            block[..2].copy_from_slice(b"d/");
            block[124..136].copy_from_slice(b"00000002000\0");
            block[156] = flag;
        });
        bytes.extend(&inner[..1024]);
        bytes.extend([0; 1024]);
        let jail = Jail::new();
        let stats = jail.unpack(&bytes, &Options::layer()).unwrap();
        assert!(!jail.path("smuggled").exists());
        assert_eq!(stats.entries, 1);
        let made = fs::metadata(jail.path("d")).unwrap();
        assert_eq!((made.is_file(), made.is_dir()), (is_file, !is_file), "{flag}");
        if is_file {
            assert_eq!(fs::read(jail.path("d")).unwrap(), &inner[..1024]);
        }
    }
}

#[test]
fn names_of_any_bytes_are_made_as_they_are_or_refused() {
    let deep = "d/".repeat(2100);
    let cases: &[(&[u8], bool)] = &[
        (b"new\nline", true),
        (b"\xff\xfe", true),
        (b"\x1b[31mred", true),
        (b" ", true),
        (b"-rf", true),
        (b"...", true),
        (b".. ", true),
        (b"a\\..\\b", true),
        (&[b'n'; 255], true),
        (&[b'n'; 256], false),
        (&[b'n'; 4096], false),
        (deep.as_bytes(), false),
        (b"a\0b", false),
        (b"\0", false),
        (b"", false),
        (b".", false),
    ];
    for (name, fits) in cases {
        let jail = Jail::new();
        let bytes = [extended(&[("path", name)]), header(b"x")].concat();
        let outcome = jail.unpack(&bytes, &Options::layer());
        assert_eq!(outcome.is_ok(), *fits, "{:?}: {outcome:?}", String::from_utf8_lossy(name));
        if *fits {
            let path = jail.path("").join(std::ffi::OsStr::from_bytes(name));
            assert!(fs::symlink_metadata(path).is_ok(), "{:?}", String::from_utf8_lossy(name));
        }
        jail.assert_confined("a name");
    }
}

#[test]
fn whiteouts_mean_their_own_layer_and_no_other_place() {
    // Through a link: nothing is marked where the link leads outside, and inside only in this layer.
    let jail = Jail::new();
    let before = outside(&jail);
    let bytes = archive(&[dir("d"), file("d/kept"), link("l", "/d"), file("l/.wh.kept"), file("l/.wh.gone")]);
    jail.unpack(&bytes, &Options::layer()).unwrap();
    assert_eq!(fs::read_to_string(jail.path("d/kept")).unwrap(), "content");
    assert!(fs::symlink_metadata(jail.path("d/gone")).unwrap().file_type().is_char_device());
    assert_eq!(outside(&jail), before);
    // A device 0:0 that the archive brings is a mark as well, and nothing that anybody could open.
    let jail = Jail::new();
    jail.unpack(&archive(&[node("x", Kind::Char, (0, 0)), dir("x"), file("x/f")]), &Options::layer())
        .unwrap();
    assert!(jail.path("x/f").exists());
    jail.unpack(&archive(&[node("y", Kind::Char, (0, 0))]), &Options::layer()).unwrap();
    assert!(fs::File::open(jail.path("y")).is_err());
    // `.wh.` of what is above or of nothing.
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh...", ".wh./x", "a/.wh.b/c", ".wh.../x"] {
        let jail = Jail::new();
        let before = outside(&jail);
        let outcome = jail.unpack(&archive(&[dir("a"), file(name)]), &Options::layer());
        assert!(matches!(outcome, Err(Error::Refused { .. })), "{name}: {outcome:?}");
        assert_eq!(outside(&jail), before, "{name}");
    }
}

#[test]
fn devices_are_refused_where_they_have_no_place() {
    for (kind, device) in [(Kind::Char, (1, 1)), (Kind::Block, (8, 0))] {
        let jail = Jail::new();
        let options = Options { devices: false, ..Options::plain() };
        let error = jail.unpack(&archive(&[node("disk", kind, device)]), &options).unwrap_err();
        assert_eq!(error.to_string(), "entry \"disk\": is a device, which has no place in this archive");
        assert!(!jail.path("disk").exists());
    }
}

#[test]
fn the_latest_of_many_names_counts_and_costs_nothing() {
    let jail = Jail::new();
    let mut packer = Packer::new(Vec::new());
    for number in 0..2000 {
        let mut entry = Entry::directory("same", 0o700 + number % 8);
        entry.xattrs = vec![("user.large".into(), vec![7; 3000])];
        packer.append(&entry).unwrap();
        packer.append_bytes(&Entry::file("f", 0o600, 0), number.to_string().as_bytes()).unwrap();
    }
    // Kept in mind once, not two thousand times.
    let limits = Limits { memory: 4096, ..Limits::default() };
    jail.unpack(&packer.finish().unwrap(), &Options { limits, ..Options::layer() }).unwrap();
    assert_eq!(fs::metadata(jail.path("same")).unwrap().mode() & 0o777, 0o707);
    assert_eq!(fs::read_to_string(jail.path("f")).unwrap(), "1999");

    let jail = Jail::new();
    let many: Vec<Member> = (0..100).map(|number| dir(&format!("d{number}"))).collect();
    let error = jail.unpack(&archive(&many), &Options { limits, ..Options::layer() }).unwrap_err();
    assert!(error.to_string().starts_with("remember \"d"), "{error}");
}

#[test]
fn sizes_that_lie_are_errors() {
    let huge = u64::MAX.to_string();
    let records: &[&[(&str, &[u8])]] = &[
        &[("size", b"9223372036854775807")],
        &[("size", huge.as_bytes())],
        &[("size", b"99999999999999999999999")],
        &[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"9223372036854775807")],
        &[("GNU.sparse.map", b"9223372036854775807,0"), ("GNU.sparse.size", b"9223372036854775807")],
        &[("GNU.sparse.map", b"18446744073709551615,1"), ("GNU.sparse.size", b"18446744073709551615")],
        &[("GNU.sparse.offset", b"0"), ("GNU.sparse.offset", b"0"), ("GNU.sparse.size", b"1")],
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"99999999")],
        &[("uid", b"4294967296")],
        &[("gid", b"18446744073709551616")],
    ];
    for records in records {
        let jail = Jail::new();
        let outcome = jail.unpack(&[extended(records), header(b"f")].concat(), &Options::layer());
        assert!(outcome.is_err(), "{records:?}: {outcome:?}");
    }
}

/// A stream that is never at its end: the same bytes again and again.
struct Endless {
    piece: Vec<u8>,
    at: usize,
}

impl Endless {
    fn new(piece: Vec<u8>) -> Endless {
        Endless { piece, at: 0 }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at = (self.at + count) % self.piece.len();
        Ok(count)
    }
}

#[test]
fn endless_archives_end() {
    let limits = Limits { bytes: 1 << 20, entries: 2000, ..Limits::default() };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("entries", archive(&[file("f")])[..1024].to_vec()),
        ("headers about the next entry", extended(&[("comment", b"x")])),
        ("headers about all entries", {
            let mut bytes = extended(&[("comment", b"x")]);
            let sealed = raw(|block| {
                block.copy_from_slice(&bytes[..512]);
                block[156] = b'g';
            });
            bytes[..512].copy_from_slice(&sealed);
            bytes
        }),
        (
            "labels",
            raw(|block| {
                block[156] = b'V';
                block[124..136].copy_from_slice(b"00000000000\0");
            }),
        ),
        ("long names", long(b'L', b"x")),
        ("links", archive(&[link("l", "x")])[..512].to_vec()),
        ("whiteouts", archive(&[file(".wh.x")])[..1024].to_vec()),
    ];
    for (case, piece) in cases {
        for semantics in [Semantics::Layer, Semantics::Plain { replace_kind: true }] {
            let jail = Jail::new();
            let options = Options { semantics, limits, ..Options::plain() };
            let outcome = unpack(Endless::new(piece.clone()), &jail.root(), &options);
            assert!(outcome.is_err(), "{case}: {outcome:?}");
        }
    }
}

#[test]
fn a_bomb_in_every_format_stops_at_its_limit() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2] {
        let mut sink = compress(compression, None, Vec::new()).unwrap();
        let zeros = vec![0; 1 << 20];
        let head = raw(|block| block[124..136].copy_from_slice(b"77777777777\0"));
        sink.write_all(&head).unwrap();
        for _ in 0..16 {
            sink.write_all(&zeros).unwrap();
        }
        let bomb = sink.finish().unwrap();
        assert!(bomb.len() < 64 << 10, "{compression:?}: {} bytes", bomb.len());
        let jail = Jail::new();
        let limits = Limits { bytes: 1 << 20, ..Limits::default() };
        let stream = decompress(&bomb[..]).unwrap();
        let error = unpack(stream, &jail.root(), &Options { limits, ..Options::layer() }).unwrap_err();
        assert_eq!(error.to_string(), "archive has more than 1048576 bytes", "{compression:?}");
        // What follows the end mark is part of the stream and counts as well.
        let tail = Guard::new(decompress(&bomb[..]).unwrap(), 1 << 20, || false);
        let read = crate::read_ahead(tail, crate::drain);
        assert!(read.is_err(), "{compression:?}");
    }
}

#[test]
fn work_that_nobody_waits_for_ends_at_once() {
    let started = Instant::now();
    let over = || started.elapsed() > Duration::from_millis(200);
    let piece = archive(&[file("f")])[..1024].to_vec();
    let jail = Jail::new();
    let outcome = unpack(Guard::new(Endless::new(piece), u64::MAX, over), &jail.root(), &Options::layer());
    assert!(outcome.is_err());
}

#[test]
fn a_disk_is_never_filled() {
    // A small file system of its own, which goes with its descriptor.
    let mut small = sys::mount::Context::open("tmpfs").unwrap();
    small.set("size", "8m").unwrap();
    small.create().unwrap();
    let small = small.mount(rustix::mount::MountAttrFlags::empty()).unwrap();
    let root = sys::root::Root::from_fd(small).unwrap();
    let head = raw(|block| block[124..136].copy_from_slice(b"00777777777\0"));
    let stream = (&head[..]).chain(io::repeat(7));
    let error = unpack(stream, &root, &Options::layer()).unwrap_err();
    let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(chain.contains("no space left"), "{chain}");
}

/// Somebody with hands in the root swaps directories for links that lead out, all the time, while layers are unpacked, also
/// two at once: what is written is inside, whichever of the two a name means at that moment.
#[test]
fn cve_2025_47290_directories_that_turn_into_links_meanwhile_lead_nowhere() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let jail = Jail::fleeting();
    let before = outside(&jail);
    let mut entries = Vec::new();
    for at in 0..40 {
        entries.extend([
            dir("d"),
            dir("d/e"),
            file(&format!("d/e/file{at}")),
            file(&format!("d/.wh.gone{at}")),
        ]);
        entries.push(hard(&format!("d/hard{at}"), "d/e/file0"));
        entries.push(link(&format!("d/link{at}"), "canary"));
    }
    entries.extend([file("d/canary"), file("d/e/canary"), file("d/.wh.canary")]);
    let layer = archive(&entries);
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let way =
                    ["../outside", "/../outside", "../../outside"][swaps.fetch_add(1, Ordering::Relaxed) % 3];
                // Whatever fails here comes again.
                let _ = fs::rename(jail.path("d"), jail.path("aside"));
                let _ = std::os::unix::fs::symlink(way, jail.path("d"));
                let _ = fs::remove_file(jail.path("d"));
                let _ = fs::rename(jail.path("aside"), jail.path("d"));
                let _ = fs::remove_dir_all(jail.path("aside"));
            }
        });
        let unpacking = [Options::layer(), Options::plain()].map(|options| {
            let (jail, layer) = (&jail, &layer);
            scope.spawn(move || {
                (0..40).filter(|_| unpack(&layer[..], &jail.root(), &options).is_err()).count()
            })
        });
        // Some fail: that is what the swapping is for. None reaches the outside.
        let failed: usize = unpacking.into_iter().map(|thread| thread.join().unwrap()).sum();
        stop.store(true, Ordering::Relaxed);
        assert!(failed > 0 && swaps.load(Ordering::Relaxed) > 10, "nothing was swapped: {failed}");
    });
    assert_eq!(outside(&jail), before);
}
