//! What a path that is not there was meant for: a slip in a name, or its case.

use super::walk::Tree;
use super::{Error, real};
use dockerfile::likely;
use rustix::fs::FileType;
use std::path::{Path, PathBuf};

/// Names of one path that are put right at most: each means that a directory is listed.
const SLIPS: usize = 2;

/// The path of the tree that `wanted` is nearest to; none where that would be a guess. What is ignored is none.
pub fn path(tree: &Tree<'_>, wanted: &Path) -> Option<String> {
    let (mut at, mut slips) = (PathBuf::new(), 0);
    for name in wanted {
        let next = at.join(name);
        at = match tree.root.stat(&next) {
            Ok(_) => next,
            Err(_) if slips < SLIPS => {
                slips += 1;
                at.join(like(tree, &at, name.to_str()?)?)
            }
            Err(_) => return None,
        };
    }
    (slips > 0).then(|| at.to_str().map(str::to_owned)).flatten()
}

/// The error of a source that is not there, with the path that it may have been meant for.
pub fn told(tree: &Tree<'_>, wanted: &Path, error: Error) -> Error {
    match error {
        Error::NotFound { path, ignored, near: None } => {
            Error::NotFound { path, ignored, near: self::path(tree, wanted) }
        }
        other => other,
    }
}

/// The name in a directory that this one is like.
fn like(tree: &Tree<'_>, directory: &Path, name: &str) -> Option<String> {
    let directory = real::path(tree.root, directory).ok()?;
    let entries = tree.root.read_dir(&directory).ok()?;
    // Layers that lie on nothing have such files for what they take away.
    let there = entries.into_iter().filter(|entry| entry.file_type != FileType::CharacterDevice);
    let mut names: Vec<String> = there.filter_map(|entry| entry.name.into_string().ok()).collect();
    names.retain(|name| tree.ignored(&directory.join(name)).is_none());
    names.sort_unstable();
    likely(name, names.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockerfile::ignore::Ignore;
    use sys::root::Root;

    #[test]
    fn slips_are_put_right() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["package.json", "README.md", "app/src/Main.java", "secret.txt", "x"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("/app", dir.path().join("link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let ignore = Ignore::parse("secret*").unwrap();
        let tree = Tree { root: &root, ignore: Some(&ignore), is_context: true, cancelled: &|| false };
        for (wanted, near) in [
            ("packge.json", Some("package.json")),
            ("readme.md", Some("README.md")),
            ("ap/src/Main.java", Some("app/src/Main.java")),
            ("app/scr/main.java", Some("app/src/Main.java")),
            ("link/scr", Some("link/src")),
            ("ap/sr/main.java", None),
            ("ap/nothing", None),
            ("secrets.txt", None),
            ("y", None),
            ("package.json", None),
            ("package.json/x", None),
        ] {
            assert_eq!(path(&tree, Path::new(wanted)).as_deref(), near, "{wanted}");
        }
    }
}
