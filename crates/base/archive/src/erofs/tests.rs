//! Images against directories: of the same archive both must have the same tree, or refuse it.

use super::unpack_image;
use crate::tests::{Jail, Member, archive, dir, extended, file, hard, link, node, raw};
use crate::{Entry, Error, Kind, Limits, Options, Packer, Stats, Time, settle};
use rustix::fs::FileType;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use sys::root::Root;
use tempfile::TempDir;

/// An image in a directory that goes with it; on a disk, as the kernel mounts no file in memory.
struct Image {
    dir: TempDir,
}

impl Image {
    fn of(archive: &[u8], lower: Option<&[Root]>) -> Result<(Image, Stats), Error> {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = Image { dir };
        let file = File::create_new(image.path()).unwrap();
        let mut draft = unpack_image(&mut &archive[..], file, Limits::default())?;
        if let Some(lower) = lower {
            draft.settle(lower)?;
        }
        let stats = draft.stats.clone();
        draft.finish([7; 16])?;
        Ok((image, stats))
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("image.erofs")
    }

    fn root(&self) -> Root {
        sys::mount::layer_root(&self.path()).unwrap()
    }
}

/// Makes an image of an archive that was unpacked below `root`, with or without success, and compares.
pub(crate) fn compare(archive: &[u8], root: &Root, unpacked: &Result<Stats, Error>) {
    match (Image::of(archive, None), unpacked) {
        (Ok((image, stats)), Ok(unpacked)) => {
            assert_eq!(&stats, unpacked);
            assert_same(&image.root(), root);
        }
        (Err(Error::Refused { path, .. } | Error::Entry { path, .. }), Err(unpacked)) => match unpacked {
            Error::Refused { path: other, .. } | Error::Entry { path: other, .. } => assert_eq!(&path, other),
            other => panic!("{path:?} is refused, and with directories {other:?}"),
        },
        (Err(image), Err(unpacked)) => assert_eq!(image.to_string(), unpacked.to_string()),
        (Ok(_), Err(unpacked)) => panic!("an image of what is refused: {unpacked:?}"),
        (Err(image), Ok(_)) => panic!("no image: {image:?}"),
    }
}

/// What can be said about an object.
#[derive(Debug, PartialEq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size: i64,
    links: u64,
    mtime: (i64, i64),
    /// The first name of the same object.
    same_as: PathBuf,
    target: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Option<Vec<u8>>>,
    content: Vec<u8>,
}

fn assert_same(image: &Root, directory: &Root) {
    let (image, directory) = (see(image), see(directory));
    let names = |seen: &BTreeMap<PathBuf, Seen>| seen.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&image), names(&directory));
    for (path, seen) in &image {
        assert!(*seen == directory[path], "{path:?}: {} and {}", text(seen), text(&directory[path]));
    }
}

fn text(seen: &Seen) -> String {
    let text = format!("{seen:?}");
    text.chars().take(700).collect()
}

fn see(root: &Root) -> BTreeMap<PathBuf, Seen> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut all = BTreeMap::new();
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    let mut paths = vec![PathBuf::new()];
    while let Some(path) = paths.pop() {
        let stat = root.lstat(&path).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_directory = kind == FileType::Directory;
        if is_directory {
            let mut names: Vec<_> =
                root.read_dir(&path).unwrap().into_iter().map(|entry| entry.name).collect();
            names.sort();
            paths.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
        // Now is when a directory was made that no entry speaks about, and the mark of something that is gone.
        let fresh = is_directory && stat.st_mtime > now - 3600;
        let mark = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        let mtime = if fresh || mark { (0, 0) } else { (stat.st_mtime, stat.st_mtime_nsec as i64) };
        let mut content = Vec::new();
        if kind == FileType::RegularFile {
            root.open_file(&path).unwrap().read_to_end(&mut content).unwrap();
        }
        let xattrs = root.xattr_names(&path).unwrap().into_iter();
        let seen = Seen {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            device: stat.st_rdev,
            size: if is_directory { 0 } else { stat.st_size },
            links: stat.st_nlink,
            mtime,
            same_as: if is_directory {
                path.clone()
            } else {
                first.entry(stat.st_ino).or_insert(path.clone()).clone()
            },
            target: (kind == FileType::Symlink).then(|| root.readlink(&path).unwrap()),
            xattrs: xattrs.map(|name| (name.clone(), root.xattr(&path, &name).unwrap())).collect(),
            content,
        };
        all.insert(path, seen);
    }
    all
}

/// An entry with content of so many bytes.
fn sized(packer: &mut Packer<Vec<u8>>, path: &str, size: usize) {
    let bytes: Vec<u8> = (0..size).map(|at| (at / 7 + size) as u8).collect();
    packer.append_bytes(&Entry::file(path, 0o640, 0), &bytes).unwrap();
}

/// Sizes around every border.
fn everything() -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    for size in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 300_000, 3_000_000] {
        sized(&mut packer, &format!("sizes/{size}"), size);
    }
    for number in 0..2000 {
        sized(&mut packer, &format!("many/{:x}", number * 7919), number % 50);
        packer.append(&Entry::directory(format!("folders/{number}/"), 0o700 + number as u32 % 8)).unwrap();
    }
    for length in [1, 60, 2047, 2048, 2049, 4000, 4095] {
        packer.append(&Entry::symlink(format!("links/{length}"), "t".repeat(length))).unwrap();
    }
    for length in 1..=255 {
        packer.append(&Entry::file(format!("names/{}", "n".repeat(length)), 0o600, 0)).unwrap();
        // Names that come before `.` and between it and `..`.
        packer.append(&Entry::file(format!("names/-{}", "n".repeat(length - 1)), 0o600, 0)).unwrap();
        if length < 254 {
            packer.append(&Entry::file(format!("names/.{}x", "-".repeat(length)), 0o600, 0)).unwrap();
        }
    }
    for number in 0..40 {
        let mut entry = Entry::file(format!("attributes/{number}"), 0o600, 0);
        entry.xattrs = (0..number).map(|n| (format!("user.{n}").into(), vec![n as u8; n * 3])).collect();
        packer.append_bytes(&entry, &vec![1; number * 60]).unwrap();
    }
    packer.append(&Entry { device: (8, 17), ..Entry::new("block", Kind::Block, 0o660) }).unwrap();
    packer.append(&Entry { device: (4095, 1_048_575), ..Entry::new("char", Kind::Char, 0o4666) }).unwrap();
    packer.append(&Entry::new("pipe", Kind::Fifo, 0o600)).unwrap();
    for number in 0..100 {
        let name = Entry::new(format!("again/{number}"), Kind::HardLink, 0);
        packer.append(&Entry { link: "sizes/300000".into(), ..name }).unwrap();
    }
    let root = Entry { uid: 4_000_000_000, gid: 70_000, ..Entry::directory("./", 0o2751) };
    packer.append(&Entry { mtime: Time { seconds: 1 << 33, nanoseconds: 999_999_999 }, ..root }).unwrap();
    packer.finish().unwrap()
}

#[test]
fn an_image_has_the_tree_that_unpacking_gives() {
    // Compares both.
    Jail::new().unpack(&everything(), &Options::layer()).unwrap();
}

#[test]
fn the_same_archive_gives_the_same_image() {
    let bytes = |archive: &[u8]| fs::read(Image::of(archive, None).unwrap().0.path()).unwrap();
    assert!(bytes(&everything()) == bytes(&everything()));
    // Nothing at all is an image as well.
    assert_eq!(bytes(&archive(&[])).len(), 8192);
}

/// An access list: tag, permissions, id.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn attributes_are_taken_as_the_kernel_takes_them() {
    const ALL: u32 = u32::MAX;
    let plain = list(&[(1, 7, ALL), (4, 5, ALL), (32, 1, ALL)]);
    let named = list(&[(1, 6, ALL), (2, 7, 1000), (4, 4, ALL), (8, 1, 5), (16, 5, ALL), (32, 0, ALL)]);
    let masked = list(&[(1, 6, ALL), (4, 7, ALL), (16, 3, ALL), (32, 0, ALL)]);
    let wrong: Vec<Vec<u8>> = vec![
        list(&[(1, 6, ALL), (2, 7, 1000), (4, 4, ALL), (32, 0, ALL)]),
        list(&[(4, 4, ALL), (1, 6, ALL), (32, 0, ALL)]),
        list(&[(1, 6, ALL), (4, 4, ALL)]),
        list(&[(1, 8, ALL), (4, 4, ALL), (32, 0, ALL)]),
        list(&[(1, 6, ALL), (64, 4, ALL), (32, 0, ALL)]),
        list(&[(1, 6, ALL), (2, 7, ALL), (4, 4, ALL), (16, 7, ALL), (32, 0, ALL)]),
        plain[..plain.len() - 1].to_vec(),
        vec![2, 0],
        vec![3, 0, 0, 0],
        vec![2, 0, 0, 0],
        vec![],
    ];
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut values: Vec<(&str, Vec<u8>)> = vec![
        ("user.a", b"b".to_vec()),
        ("user.empty", vec![]),
        ("user.", b"b".to_vec()),
        ("trusted.x", b"y".to_vec()),
        ("trusted.overlay.opaque", b"y".to_vec()),
        ("security.x", b"y".to_vec()),
        ("security.capability", capability.to_vec()),
        ("security.capability", b"short".to_vec()),
        ("system.nothing", b"y".to_vec()),
        ("nothing", b"y".to_vec()),
        ("other.name", b"y".to_vec()),
        ("user.long", vec![1; 1500]),
    ];
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        values.extend([&plain, &named, &masked].map(|value| (name, value.clone())));
        values.extend(wrong.iter().map(|value| (name, value.clone())));
    }
    values.push(("user.name", vec![0; 65_537]));
    let long = format!("user.{}", "n".repeat(251));
    values.push((&long, vec![1]));
    let mut taken = 0;
    for (name, value) in &values {
        for (mut entry, content) in [file("o"), dir("o"), link("o", "t"), node("o", Kind::Fifo, (0, 0))] {
            entry.mode = 0o2640;
            entry.xattrs = vec![((*name).into(), value.clone()), ("user.second".into(), b"2".to_vec())];
            let again = (Entry { mode: 0o750, xattrs: Vec::new(), ..entry.clone() }, content);
            for entries in
                [vec![(entry.clone(), content)], vec![(entry.clone(), content), again, file("o/x")]]
            {
                // Compares both.
                taken += u32::from(Jail::fleeting().unpack(&archive(&entries), &Options::layer()).is_ok());
            }
        }
    }
    assert!(taken > 60, "only {taken} were taken");
}

#[test]
fn layers_below_decide_the_same_for_both() {
    let below = Jail::new();
    fs::create_dir_all(below.path("var/lib/x")).unwrap();
    fs::write(below.path("etc"), "").unwrap();
    std::os::unix::fs::chown(below.path("var/lib"), Some(12), Some(34)).unwrap();
    let cases: [&[Member]; 4] = [
        &[file("var/lib/f"), file("etc/x"), file("new/f")],
        &[file(".wh..wh..opq"), file("f")],
        &[file("var/f"), dir("var"), link("etc", "var")],
        &[file("a/b/c"), file("a/b"), file(".wh.a"), link("v", "var"), file("v/lib/y")],
    ];
    for entries in cases {
        let bytes = archive(entries);
        let jail = Jail::fleeting();
        let stats = jail.unpack(&bytes, &Options::layer());
        let lower = [below.root()];
        let image = Image::of(&bytes, Some(&lower));
        match (stats, image) {
            (Ok(stats), Ok((image, _))) => {
                settle(&jail.root(), &stats.unsettled, &lower).unwrap();
                assert_same(&image.root(), &jail.root());
            }
            (stats, image) => assert!(stats.is_err() && image.is_err()),
        }
    }
}

#[test]
fn what_is_replaced_takes_no_room() {
    let mut packer = Packer::new(Vec::new());
    for _ in 0..50 {
        sized(&mut packer, "f", 1 << 20);
    }
    let (image, _) = Image::of(&packer.finish().unwrap(), None).unwrap();
    let meta = fs::metadata(image.path()).unwrap();
    assert!(meta.blocks() * 512 < 2 << 20, "{} bytes", meta.blocks() * 512);
    assert_eq!(image.root().lstat("f").unwrap().st_size, 1 << 20);
}

#[test]
fn holes_stay_holes() {
    let head = extended(&[("GNU.sparse.map", b"5000,7"), ("GNU.sparse.size", b"1073741824")]);
    let bytes = [head, archive(&[file("f")])].concat();
    let (image, _) = Image::of(&bytes, None).unwrap();
    assert!(fs::metadata(image.path()).unwrap().blocks() < 200);
    let root = image.root();
    let mut content = vec![0; 6000];
    root.open_file("f").unwrap().read_exact(&mut content).unwrap();
    assert!(content[..5000].iter().all(|byte| *byte == 0) && content.get(5000..5007) == Some(b"content"));
    assert_eq!(root.lstat("f").unwrap().st_size, 1 << 30);
}

#[test]
fn what_is_kept_in_mind_has_a_limit() {
    let limits = Limits { memory: 4096, ..Limits::default() };
    let many: Vec<Member> = (0..500).map(|number| file(&format!("f{number}"))).collect();
    let bytes = archive(&many);
    let error = unpack_image(&mut &bytes[..], tempfile::tempfile().unwrap(), limits).unwrap_err();
    assert!(error.to_string().starts_with("remember \"f"), "{error}");
    // The latest of many names counts, and costs nothing.
    let same: Vec<Member> =
        (0..500).flat_map(|_| [dir("d"), hard("d/f", "g"), link("g", "d"), dir("x")]).collect();
    let same = [vec![file("g")], same].concat();
    unpack_image(&mut &archive(&same)[..], tempfile::tempfile().unwrap(), limits).unwrap();
    let endless = raw(|block| block[124..136].copy_from_slice(b"77777777777\0"));
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let outcome = unpack_image(&mut &endless[..], tempfile::tempfile().unwrap(), limits);
    assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
}

#[test]
fn paths_beside_the_test_are_never_touched() {
    // There is nothing to be confined: an image has no way to the machine's files. The unpacker's attacks run on both.
    let bytes = archive(&[link("l", "/"), file("l/etc/made-in-the-image"), file("l/../x")]);
    let (image, _) = Image::of(&bytes, None).unwrap();
    assert!(!Path::new("/etc/made-in-the-image").exists());
    assert!(image.root().lstat("etc/made-in-the-image").is_ok());
}
