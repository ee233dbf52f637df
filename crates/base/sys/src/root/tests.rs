use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn links_and_dots_stay_inside() {
    let (dir, root) = root();
    std::fs::write(dir.path().join("secret"), "inside").unwrap();
    root.symlink("/secret", "absolute").unwrap();
    root.symlink("../../../../secret", "dots").unwrap();
    for path in ["absolute", "dots", "/../../secret", "//secret", "./secret"] {
        assert_eq!(root.read_file(path, 100).unwrap(), b"inside", "{path}");
    }
    root.symlink("/etc/passwd", "outside").unwrap();
    assert_eq!(root.read_file("outside", 100).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn magic_links_are_refused() {
    let root = Root::open("/").unwrap();
    let error = root.open_file("/proc/self/exe").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

#[test]
fn mkdir_p_follows_links_inside_also_dangling_ones() {
    let (dir, root) = root();
    root.mkdir_p("/a/b/c", 0o755).unwrap();
    root.symlink("/a/b", "link").unwrap();
    root.mkdir_p("link/d/e", 0o700).unwrap();
    assert!(dir.path().join("a/b/d/e").is_dir());
    root.symlink("/nowhere", "dangling").unwrap();
    root.mkdir_p("dangling/x", 0o755).unwrap();
    assert!(dir.path().join("nowhere/x").is_dir());
    root.mkdir_p("", 0o755).unwrap();
    root.create_file("file", 0o644).unwrap();
    assert_eq!(root.mkdir_p("file/x", 0o755).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn names_are_not_followed() {
    let (dir, root) = root();
    root.symlink("target", "link").unwrap();
    assert_eq!(root.create_file("link", 0o644).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(root.readlink("link").unwrap(), Path::new("target"));
    root.chown("link", 5, 6).unwrap();
    let stat = root.lstat("link").unwrap();
    assert_eq!((stat.st_uid, stat.st_gid), (5, 6));
    root.hardlink("link", "second").unwrap();
    assert_eq!(root.readlink("second").unwrap(), Path::new("target"));
    root.set_xattr("link", OsStr::new("trusted.x"), b"1").unwrap();
    assert_eq!(root.xattr("link", OsStr::new("trusted.x")).unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(root.xattr_names("link").unwrap(), [OsString::from("trusted.x")]);
    assert!(root.chmod("link", 0o600).is_err());
    root.unlink("link").unwrap();
    assert!(!dir.path().join("target").exists());
}

#[test]
fn bad_names_are_refused() {
    let (_dir, root) = root();
    for path in ["", "/", "..", "a/..", "/."] {
        assert!(root.mkdir(path, 0o755).is_err(), "{path:?}");
        assert!(root.remove_all(path).is_err(), "{path:?}");
    }
}

#[test]
fn files_of_wrong_kind_or_size_are_not_read() {
    let (dir, root) = root();
    std::fs::write(dir.path().join("big"), [0; 11]).unwrap();
    assert!(root.read_file("big", 10).is_err());
    assert_eq!(root.read_file("big", 11).unwrap().len(), 11);
    root.mknod("fifo", FileType::Fifo, 0o600, 0).unwrap();
    assert!(root.read_file("fifo", 10).is_err());
}

#[test]
fn a_tree_of_any_depth_is_removed_and_links_are_spared() {
    let (dir, root) = root();
    root.mkdir_p("keep", 0o755).unwrap();
    root.create_file("keep/file", 0o600).unwrap();
    let mut fd = root.mkdir_p("tree/side", 0o755).unwrap();
    for _ in 0..1000 {
        rustix::fs::mkdirat(&fd, "deeper", Mode::RWXU).unwrap();
        rustix::fs::symlinkat("/keep", &fd, "link").unwrap();
        fd = rustix::fs::openat(&fd, "deeper", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    }
    root.symlink(dir.path().join("keep"), "tree/out").unwrap();
    root.remove_all("tree").unwrap();
    root.remove_all("tree").unwrap();
    root.remove_all("absent/child").unwrap();
    assert!(root.lstat("tree").is_err());
    assert!(dir.path().join("keep/file").exists());
    root.remove_contents("keep").unwrap();
    assert_eq!(root.read_dir("/").unwrap().len(), 1);
}
