use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A root with a neighbour that must stay empty.
struct Place {
    _dir: tempfile::TempDir,
    root: std::path::PathBuf,
    fd: OwnedFd,
}

impl Place {
    fn new(links: &[(&str, &str)]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("outer/root");
        std::fs::create_dir_all(&root).unwrap();
        for (name, target) in links {
            let name = root.join(name);
            std::fs::create_dir_all(name.parent().unwrap()).unwrap();
            symlink(target, name).unwrap();
        }
        let fd = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Place { _dir: dir, root, fd }
    }

    fn make(&self, path: &str, want: Want) -> Result<OwnedFd, Errno> {
        make_path(self.fd.as_fd(), path.as_bytes(), want, Mode::from_raw_mode(0o755), true)
    }

    /// Makes `path`, and sees that it is what the kernel finds there, at `real`.
    #[track_caller]
    fn leads(&self, path: &str, want: Want, real: &str) {
        let made = rustix::fs::fstat(self.make(path, want).unwrap()).unwrap();
        let found = rustix::fs::lstat(self.root.join(real)).unwrap();
        assert_eq!((made.st_dev, made.st_ino), (found.st_dev, found.st_ino), "{path}");
        let kind = FileType::from_raw_mode(found.st_mode);
        assert_eq!(kind == FileType::Directory, want == Want::Directory, "{path}");
        self.is_tight();
    }

    /// Nothing came into being beside the root.
    #[track_caller]
    fn is_tight(&self) {
        for dir in [self.root.parent().unwrap(), self.root.parent().unwrap().parent().unwrap()] {
            assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1, "{}", dir.display());
        }
    }
}

#[test]
fn a_dangling_link_leads_to_where_its_target_is_made() {
    let place = Place::new(&[
        ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("data", "/nosuch/dir"),
        ("var/run", "/run2"),
        ("chain", "link/./second"),
        ("link", "data/../third"),
    ]);
    place.leads("/etc/resolv.conf", Want::File, "run/systemd/resolve/stub-resolv.conf");
    place.leads("data/x/y", Want::Directory, "nosuch/dir/x/y");
    place.leads("/var/run/lock", Want::Directory, "run2/lock");
    place.leads("/chain/file", Want::File, "nosuch/third/second/file");
    place.leads("chain", Want::Directory, "nosuch/third/second");
    place.leads("//plain/./file", Want::File, "plain/file");
    assert_eq!(place.make("plain/file/x", Want::Directory).unwrap_err(), Errno::NOTDIR);
    assert_eq!(place.make("plain/file", Want::Directory).unwrap_err(), Errno::NOTDIR);
}

#[test]
fn no_target_leads_out() {
    let place = Place::new(&[
        ("up", "../../../../up-there"),
        ("deep/er/up", "../../../../../../../up-there/../out"),
        ("absolute", "/../../outside"),
        ("only", "../.."),
    ]);
    place.leads("up/file", Want::File, "up-there/file");
    place.leads("deep/er/up", Want::Directory, "out");
    place.leads("absolute", Want::File, "outside");
    place.leads("only/../made", Want::Directory, "made");
}

#[test]
fn loops_and_endless_chains_end() {
    let place = Place::new(&[("self", "self"), ("a", "b"), ("b", "/a"), ("grows", "x/../grows/x")]);
    for path in ["self", "a", "a/x", "grows"] {
        assert_eq!(place.make(path, Want::File).unwrap_err(), Errno::LOOP, "{path}");
    }
    for at in 0..=LINKS_MAX {
        symlink(format!("l{}", at + 1), place.root.join(format!("l{at}"))).unwrap();
    }
    assert_eq!(place.make("l0", Want::File).unwrap_err(), Errno::LOOP);
    place.leads("l1", Want::File, &format!("l{}", LINKS_MAX + 1));
}

#[test]
fn long_names_and_targets_are_errors() {
    let name = "n".repeat(NAME_MAX);
    let deep = |depth: usize| format!("{}/", "d".repeat(199)).repeat(depth);
    let place = Place::new(&[("long", &deep(20)), ("name", &format!("{name}x"))]);
    place.leads(&name, Want::Directory, &name);
    assert_eq!(place.make(&format!("{name}x"), Want::Directory).unwrap_err(), Errno::NAMETOOLONG);
    assert_eq!(place.make("name", Want::File).unwrap_err(), Errno::NAMETOOLONG);
    let twice = format!("long/{}{}", "../".repeat(20), deep(19));
    assert!(place.make(&twice, Want::Directory).is_ok(), "what is walked back counts no more");
    assert_eq!(place.make(&format!("{}y", "x/../".repeat(500)), Want::File).unwrap_err(), Errno::LOOP);
    assert_eq!(place.make(&deep(21), Want::Directory).unwrap_err(), Errno::NAMETOOLONG);
    assert_eq!(place.make(&deep(100), Want::Directory).unwrap_err(), Errno::NAMETOOLONG);
    assert_eq!(place.make("a\0b", Want::Directory).unwrap_err(), Errno::INVAL);
    place.is_tight();
}

#[test]
fn links_of_a_procfs_are_not_followed() {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let make = |path: &Path| {
        make_path(root.as_fd(), path.as_os_str().as_bytes(), Want::File, Mode::RWXU, true).unwrap_err()
    };
    for path in ["/proc/self/cwd/x", "/proc/thread-self/root/x", "/proc/1/root/x", "/proc/1/exe"] {
        assert_eq!(make(Path::new(path)), Errno::LOOP, "{path}");
    }
}

#[test]
fn without_links_a_link_is_an_error() {
    let place = Place::new(&[("link", "dir")]);
    let make = |path: &str| make_path(place.fd.as_fd(), path.as_bytes(), Want::File, Mode::RWXU, false);
    assert_eq!(make("link/x").unwrap_err(), Errno::LOOP);
    assert!(make("dir/x").is_ok());
    assert_eq!(make("link/x").unwrap_err(), Errno::LOOP);
}

/// Somebody swaps a directory for links that lead out, all the time, while paths are made below it.
#[test]
fn a_race_leads_nowhere() {
    let place = Place::new(&[("out", "../../../../out")]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::remove_dir_all(place.root.join("dir"));
                let _ = symlink("/../../..", place.root.join("dir"));
                let _ = std::fs::remove_file(place.root.join("dir"));
            }
        });
        for round in 0..500 {
            let _ = place.make(&format!("dir/a/../b{round}/file"), Want::File);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    place.is_tight();
}
