use super::*;
use crate::root::Root;

fn dirs(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = names.iter().map(|n| dir.path().join(n)).collect();
    for path in &paths {
        std::fs::create_dir_all(path).unwrap();
    }
    (dir, paths)
}

#[test]
fn layers_are_stacked_topmost_first_and_writes_go_to_the_upper_one() {
    let (_dir, paths) = dirs(&["top", "bottom", "upper", "work"]);
    std::fs::write(paths[0].join("file"), "top").unwrap();
    std::fs::write(paths[1].join("file"), "bottom").unwrap();
    std::fs::write(paths[1].join("gone"), "").unwrap();
    let overlay = Overlay {
        lower: paths[..2].to_vec(),
        upper: Some(paths[2].clone()),
        work: Some(paths[3].clone()),
        volatile: true,
    };
    let root = Root::from_fd(overlay.mount().unwrap()).unwrap();
    assert_eq!(root.read_file("/file", 10).unwrap(), b"top");
    root.unlink("gone").unwrap();
    root.create_file("new", 0o600).unwrap();
    assert!(paths[2].join("new").exists());
    assert!(paths[1].join("gone").exists());
    assert!(root.lstat("gone").is_err());
}

#[test]
fn many_layers_with_long_or_awkward_names_mount() {
    let long = format!("{}/{}", "x".repeat(150), "y".repeat(150));
    let mut names: Vec<String> = (0..130).map(|n| format!("layer{n}")).collect();
    names.extend([long, "a:b,c".to_owned()]);
    let (_dir, paths) = dirs(&names.iter().map(String::as_str).collect::<Vec<_>>());
    std::fs::write(paths[130].join("long"), "").unwrap();
    std::fs::write(paths[131].join("awkward"), "").unwrap();
    let overlay = Overlay { lower: paths, ..Overlay::default() };
    let root = Root::from_fd(overlay.mount().unwrap()).unwrap();
    root.lstat("long").unwrap();
    root.lstat("awkward").unwrap();
    assert!(root.create_file("new", 0o600).is_err());
}

#[test]
fn a_single_directory_needs_no_overlay() {
    let (_dir, paths) = dirs(&["one"]);
    let lower = Overlay { lower: paths.clone(), ..Overlay::default() };
    let error = Root::from_fd(lower.mount().unwrap()).unwrap().create_file("x", 0o600).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    let upper = Overlay { upper: Some(paths[0].clone()), ..Overlay::default() };
    Root::from_fd(upper.mount().unwrap()).unwrap().create_file("x", 0o600).unwrap();
    assert!(paths[0].join("x").exists());
    assert!(matches!(Overlay::default().mount(), Err(Error::NoLayers)));
}

#[test]
fn a_refusal_says_what_and_why() {
    let mut fs = Context::open("tmpfs").unwrap();
    let error = fs.set("size", "much").unwrap_err();
    assert!(error.to_string().starts_with("set size=much of tmpfs (tmpfs: Bad value for 'size'"), "{error}");
    assert!(matches!(Context::open("nosuchfs"), Err(Error::Type { .. })));
}

#[test]
fn older_kernels_stack_many_layers_too() {
    let names: Vec<String> =
        (0..60).map(|n| format!("layer{n}")).chain(["upper".into(), "work".into()]).collect();
    let (_dir, paths) = dirs(&names.iter().map(String::as_str).collect::<Vec<_>>());
    std::fs::write(paths[0].join("file"), "top").unwrap();
    std::fs::write(paths[59].join("file"), "bottom").unwrap();
    std::fs::write(paths[59].join("deep"), "deep").unwrap();
    let overlay = Overlay {
        lower: paths[..60].to_vec(),
        upper: Some(paths[60].clone()),
        work: Some(paths[61].clone()),
        volatile: false,
    };
    let root = Root::from_fd(page::mount(&overlay).unwrap()).unwrap();
    assert_eq!(root.read_file("/file", 10).unwrap(), b"top");
    assert_eq!(root.read_file("/deep", 10).unwrap(), b"deep");
    root.create_file("new", 0o600).unwrap();
    assert!(paths[60].join("new").exists());
    // The machine's own mount table never saw it.
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(paths[0].to_str().unwrap()));
}

#[test]
fn a_volatile_overlay_can_be_mounted_again() {
    let (_dir, paths) = dirs(&["lower", "upper", "work"]);
    let overlay = Overlay {
        lower: paths[..1].to_vec(),
        upper: Some(paths[1].clone()),
        work: Some(paths[2].clone()),
        volatile: true,
    };
    drop(overlay.mount().unwrap());
    assert!(paths[2].join("work/incompat/volatile").exists());
    // Without asking for it again what may be lost must not be taken for whole.
    assert!(Overlay { volatile: false, ..overlay.clone() }.mount().is_err());
    overlay.mount().unwrap();
}
