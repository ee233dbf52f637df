//! The real path of a name: symbolic links resolved inside a root, as text.
//!
//! The kernel resolves links by itself whenever a path is used; this is for where the *name* matters: whether the ignore
//! file covers it, which directories have to be made. What changes between the look and the use stays inside the root
//! all the same.

use super::{Error, io};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use sys::root::Root;

/// Links followed for one path, as Linux has it.
const MAX_LINKS: usize = 40;

/// `path` below `root` without links, `.` and `..`; relative. From the first component on that does not exist the rest
/// is taken as it is, so that this also works for what is to be made.
pub fn path(root: &Root, path: &Path) -> Result<PathBuf, Error> {
    through(root, path, |_| {})
}

/// The same, telling the real path of each link on the way.
pub fn through(root: &Root, path: &Path, mut link: impl FnMut(&Path)) -> Result<PathBuf, Error> {
    let mut todo: VecDeque<OsString> = names(path).collect();
    let mut real = PathBuf::new();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        match root.readlink(&next) {
            Ok(target) => {
                link(&next);
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::Links { path: path.to_path_buf() });
                }
                if target.is_absolute() {
                    real = PathBuf::new();
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(name);
                }
            }
            // EINVAL: no link. ENOENT, ENOTDIR: nothing there to be followed.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::NotADirectory
                ) =>
            {
                real = next;
            }
            Err(e) => return Err(io("resolve", path)(e)),
        }
    }
    Ok(real)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("/a", dir.path().join("abs")).unwrap();
        symlink("../../../../a/b", dir.path().join("a/up")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink("missing/x", dir.path().join("dangling")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for (name, want) in [
            ("abs/b", "a/b"),
            ("/a/up", "a/b"),
            ("a/../../../a", "a"),
            ("a/new/deep", "a/new/deep"),
            ("dangling", "missing/x"),
            ("", ""),
            ("/", ""),
        ] {
            assert_eq!(path(&root, Path::new(name)).unwrap(), Path::new(want), "{name}");
        }
        assert!(matches!(path(&root, Path::new("loop")), Err(Error::Links { .. })));
    }
}
