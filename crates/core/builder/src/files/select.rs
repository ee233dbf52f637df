//! What the sources of a `COPY` mean: paths and patterns to entries of a tree.

use super::walk::{Item, Tree, base_name};
use super::{Error, io, real};
use dockerfile::glob::{Dialect, Glob};
use dockerfile::ignore::Ignore;
use rustix::fs::FileType;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// One thing that a source matched.
#[derive(Debug, Clone)]
pub struct Match {
    /// Its name as the source has it: what a file is called at the destination.
    pub name: OsString,
    /// Its path as the source has it, without links resolved: `--parents` keeps it.
    pub path: PathBuf,
    /// A directory: its content is copied, not itself.
    pub is_dir: bool,
    /// It and, for a directory, everything below.
    pub items: Vec<Item>,
}

/// Finds what `source` matches. A path that is not there is an error, a pattern may match nothing.
pub fn select(tree: &Tree<'_>, source: &str, exclude: &Ignore) -> Result<Vec<Match>, Error> {
    let cleaned = oci::path::clean(&format!("/{source}"));
    let cleaned = cleaned.trim_start_matches('/');
    let mut paths = Vec::new();
    if cleaned.contains(['*', '?', '[', '\\']) {
        let elements: Vec<&str> = cleaned.split('/').collect();
        for element in &elements {
            Glob::new(element, Dialect::Path).map_err(|_| Error::Pattern { pattern: source.to_string() })?;
        }
        expand(tree, PathBuf::new(), &elements, 0, &mut paths)?;
        paths.sort();
        paths.dedup();
    } else {
        paths.push(PathBuf::from(cleaned));
    }
    let is_pattern = cleaned.contains(['*', '?', '[', '\\']);
    let mut matches = Vec::with_capacity(paths.len());
    for path in paths {
        match one(tree, &path, exclude) {
            Ok(found) => matches.extend(found),
            Err(Error::NotFound { .. }) if is_pattern => {}
            Err(Error::NotFound { ignored, .. }) => {
                return Err(Error::NotFound { path: format!("/{cleaned}"), ignored });
            }
            Err(e) => return Err(e),
        }
    }
    Ok(matches)
}

/// The entries of one path.
fn one(tree: &Tree<'_>, path: &Path, exclude: &Ignore) -> Result<Option<Match>, Error> {
    let missing = |ignored| Error::NotFound { path: format!("/{}", path.display()), ignored };
    let real = real::path(tree.root, path)?;
    match tree.root.lstat(&real) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Err(missing(None));
        }
        Err(e) => return Err(io("stat", &real)(e)),
    }
    let mut items = tree.walk(&real)?;
    if items.is_empty() {
        return Err(missing(tree.ignored(&real).1));
    }
    let is_dir = items[0].kind == FileType::Directory;
    if !exclude.is_empty() {
        keep(&mut items, path, is_dir, exclude);
        if items.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(Match { name: base_name(path).to_os_string(), path: path.to_path_buf(), is_dir, items }))
}

/// Takes out what `--exclude` names: relative to the source, or to the root that the source is in.
fn keep(items: &mut Vec<Item>, path: &Path, is_dir: bool, exclude: &Ignore) {
    let hidden = |relative: &Path| {
        let inside = if is_dir { relative.to_path_buf() } else { base_name(path).into() };
        if inside.as_os_str().is_empty() {
            return false;
        }
        let full = path.join(relative);
        exclude.is_ignored(&inside.to_string_lossy()) || exclude.is_ignored(&full.to_string_lossy())
    };
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !hidden(item.relative()) {
            kept.push(item);
        }
    }
    *items = kept;
}

/// Matches the pattern element by element; `**` stands for any number of directories.
fn expand(
    tree: &Tree<'_>,
    at: PathBuf,
    elements: &[&str],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let Some((element, rest)) = elements.split_first() else {
        found.push(at);
        return Ok(());
    };
    if depth > 256 || (tree.cancelled)() {
        return Err(Error::Cancelled);
    }
    let deep = *element == "**";
    if deep {
        expand(tree, at.clone(), rest, depth + 1, found)?;
    } else if !element.contains(['*', '?', '[', '\\']) {
        return expand(tree, at.join(element), rest, depth + 1, found);
    }
    let glob =
        Glob::new(element, Dialect::Path).map_err(|_| Error::Pattern { pattern: element.to_string() })?;
    let real = real::path(tree.root, &at)?;
    let entries = match tree.root.read_dir(&real) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(e) => return Err(io("list", &real)(e)),
    };
    for entry in entries {
        let next = at.join(&entry.name);
        if deep {
            if entry.file_type == FileType::Directory {
                expand(tree, next, elements, depth + 1, found)?;
            } else if rest.is_empty() {
                found.push(next);
            }
        } else if glob.matches(&entry.name.to_string_lossy()) {
            expand(tree, next, rest, depth + 1, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use sys::root::Root;

    fn setup() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["a.txt", "b.txt", "c.md", "src/x.rs", "src/y/z.rs", "out/o", "docs/keep.md", "docs/no.md"]
        {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        symlink("src", dir.path().join("link")).unwrap();
        symlink("/etc/passwd", dir.path().join("escape")).unwrap();
        symlink("../../../../../../../../etc", dir.path().join("up")).unwrap();
        dir
    }

    fn found(dir: &Path, ignore: &str, source: &str, exclude: &[&str]) -> Result<Vec<String>, String> {
        let root = Root::open(dir).unwrap();
        let ignore = Ignore::parse(ignore).unwrap();
        let tree = Tree { root: &root, ignore: Some(&ignore), is_context: true, cancelled: &|| false };
        let exclude = Ignore::from_patterns(exclude.iter().copied()).unwrap();
        let matches = select(&tree, source, &exclude).map_err(|e| e.to_string())?;
        let shown = |m: &Match| {
            let items: Vec<_> = m.items.iter().map(|i| i.relative().display().to_string()).collect();
            format!("{}{{{}}}", m.name.to_string_lossy(), items.join(","))
        };
        Ok(matches.iter().map(shown).collect())
    }

    #[test]
    fn paths_and_patterns() {
        let dir = setup();
        let all = |source: &str| found(dir.path(), "", source, &[]).unwrap();
        assert_eq!(all("a.txt"), ["a.txt{}"]);
        assert_eq!(all("*.txt"), ["a.txt{}", "b.txt{}"]);
        assert_eq!(all("/src/"), ["src{,x.rs,y,y/z.rs}"]);
        assert_eq!(all("s?c/*.rs"), ["x.rs{}"]);
        assert_eq!(all("**/*.rs"), ["x.rs{}", "z.rs{}"]);
        assert_eq!(all("*.nope"), Vec::<String>::new());
        assert_eq!(all("../a.txt"), ["a.txt{}"]);
        assert_eq!(all("link"), ["link{,x.rs,y,y/z.rs}"]);
        assert_eq!(found(dir.path(), "", "nope", &[]).unwrap_err(), "\"/nope\": not found");
        assert_eq!(found(dir.path(), "", "[", &[]).unwrap_err(), "\"[\": syntax error in pattern");
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let dir = setup();
        assert_eq!(found(dir.path(), "", "escape", &[]).unwrap_err(), "\"/escape\": not found");
        assert_eq!(found(dir.path(), "", "up/passwd", &[]).unwrap_err(), "\"/up/passwd\": not found");
    }

    #[test]
    fn ignored_files_do_not_exist() {
        let dir = setup();
        let ignore = "*.txt\n!b.txt\ndocs\n!docs/keep.md\nout\n";
        let all = |source: &str| found(dir.path(), ignore, source, &[]);
        assert_eq!(all("*.txt").unwrap(), ["b.txt{}"]);
        assert_eq!(all("docs").unwrap(), ["docs{,keep.md}"]);
        assert_eq!(all("a.txt").unwrap_err(), "\"/a.txt\": not found");
        assert!(all("out").is_err());
        let everything = all(".").unwrap();
        assert!(everything[0].contains("docs/keep.md") && !everything[0].contains("docs/no.md"));
        assert!(!everything[0].contains("out"));
    }

    #[test]
    fn exclude_is_relative_to_the_source_or_the_root() {
        let dir = setup();
        assert_eq!(found(dir.path(), "", "src", &["*.rs"]).unwrap(), ["src{,y,y/z.rs}"]);
        assert_eq!(found(dir.path(), "", "src", &["src/y"]).unwrap(), ["src{,x.rs}"]);
        assert_eq!(found(dir.path(), "", "*.txt", &["a.*"]).unwrap(), ["b.txt{}"]);
    }
}
