//! What the sources of a `COPY` mean: paths and patterns to entries of a tree.

use super::walk::{Item, Tree, base_name};
use super::{Error, io, near, real};
use dockerfile::glob::{Dialect, Glob};
use dockerfile::ignore::Ignore;
use rustix::fs::FileType;
use std::collections::HashSet;
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

/// Finds what `source` matches. A path that is not there is an error; a pattern may match nothing, but only in a directory that is
/// there: one that is misspelt would give an image that silently lacks its files.
pub fn select(tree: &Tree<'_>, source: &str, exclude: &Ignore) -> Result<Vec<Match>, Error> {
    find(tree, source, exclude, How::Content)
}

/// The same as `--parents` has it: a link that is matched stays one, for a pattern may match it and where it leads; `**` is any number
/// of directories; and what is excluded is named from the pivot, behind so many components of the path, on.
pub fn select_parents(
    tree: &Tree<'_>,
    source: &str,
    pivot: usize,
    exclude: &Ignore,
) -> Result<Vec<Match>, Error> {
    find(tree, source, exclude, How::Parents { pivot })
}

/// How what is matched is taken. Links on the way to it are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Content,
    Parents { pivot: usize },
}

fn find(tree: &Tree<'_>, source: &str, exclude: &Ignore, how: How) -> Result<Vec<Match>, Error> {
    let cleaned = oci::path::clean(&format!("/{source}"));
    let cleaned = cleaned.trim_start_matches('/');
    let is_pattern = self::is_pattern(cleaned);
    let steps = cleaned.split('/').map(|element| Step::new(element, how)).collect::<Option<Vec<_>>>();
    let steps = steps.ok_or_else(|| Error::Pattern { pattern: source.to_string() })?;
    let paths = match is_pattern {
        true => Expansion::new(tree, &steps).run()?,
        false => vec![PathBuf::from(cleaned)],
    };
    let mut matches = Vec::with_capacity(paths.len());
    for path in paths {
        match one(tree, &path, exclude, how) {
            Ok(found) => matches.extend(found),
            Err(Error::NotFound { .. }) if is_pattern => {}
            Err(Error::NotFound { ignored, .. }) => {
                let near = near::path(tree, Path::new(cleaned));
                return Err(Error::NotFound { path: format!("/{cleaned}"), ignored, near });
            }
            Err(e) => return Err(e),
        }
    }
    if matches.is_empty() && is_pattern {
        let most = if let How::Parents { pivot } = how { pivot } else { steps.len() };
        let directory = names(&steps).take(most).collect::<PathBuf>();
        is_directory(tree, &directory).map_err(|error| near::told(tree, &directory, error))?;
    }
    Ok(matches)
}

/// Fails unless a directory is there that has, or could have, something in it that is not ignored.
fn is_directory(tree: &Tree<'_>, path: &Path) -> Result<(), Error> {
    let is_one = |found: Option<Match>| found.is_some_and(|found| found.is_dir);
    match path.as_os_str().is_empty() || is_one(one(tree, path, &Ignore::default(), How::Content)?) {
        true => Ok(()),
        false => Err(Error::not_found(format!("/{}/", path.display()), None)),
    }
}

/// The entries of what is at this very path, which is no pattern.
pub fn path(tree: &Tree<'_>, source: &str) -> Result<Vec<Item>, Error> {
    let cleaned = oci::path::clean(&format!("/{source}"));
    let path = Path::new(cleaned.trim_start_matches('/'));
    let found = one(tree, path, &Ignore::default(), How::Content).map_err(|e| near::told(tree, path, e))?;
    found.map(|found| found.items).ok_or_else(|| Error::not_found(cleaned.clone(), None))
}

/// Leaves of directories what `include` fits, named from the directory on, and the directories on the way to it.
pub fn only(matches: &mut [Match], include: &Ignore) {
    for found in matches.iter_mut().filter(|found| found.is_dir) {
        let fits: Vec<bool> = found.items.iter().map(|item| fits(include, item)).collect();
        let mut wanted: HashSet<&Path> = HashSet::new();
        for (item, _) in found.items.iter().zip(&fits).filter(|(_, fits)| **fits) {
            // Whoever is wanted already came with those above.
            let _ = item.path.ancestors().take_while(|above| wanted.insert(above)).count();
        }
        let is_wanted = |item: &Item| item.is_start() || wanted.contains(&*item.path);
        let marks: Vec<(bool, bool)> = found.items.iter().map(is_wanted).zip(fits.iter().copied()).collect();
        let mut marks = marks.into_iter();
        found.items.retain_mut(|item| {
            let (is_wanted, fits) = marks.next().unwrap_or_default();
            item.is_way = !fits;
            is_wanted
        });
    }
}

fn fits(include: &Ignore, item: &Item) -> bool {
    !item.is_start() && include.is_ignored(&item.relative().to_string_lossy())
}

/// Whether something at or below a path is among what was found.
pub fn has(matches: &[Match], path: &str) -> bool {
    let path = oci::path::clean(&format!("/{path}"));
    let wanted = Path::new(path.trim_start_matches('/'));
    let mut items = matches.iter().flat_map(|found| found.items.iter().map(move |item| (found, item)));
    items.any(|(found, item)| !item.is_way && found.path.join(item.relative()).starts_with(wanted))
}

/// The entries of one path.
fn one(tree: &Tree<'_>, path: &Path, exclude: &Ignore, how: How) -> Result<Option<Match>, Error> {
    let missing = |ignored| Error::not_found(format!("/{}", path.display()), ignored);
    // A link that is ignored leads nowhere, as where a context is sent without it.
    let mut hidden = None;
    let (way, last) = match (how, path.parent(), path.file_name()) {
        (How::Parents { .. }, Some(parent), Some(name)) => (parent, Path::new(name)),
        _ => (path, Path::new("")),
    };
    let mut real = real::through(tree.root, way, |link| {
        hidden = hidden.or(tree.ignored(link));
    })?;
    real.extend(last);
    if hidden.is_some() {
        return Err(missing(hidden));
    }
    match tree.root.lstat(&real) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            // Where a context was sent without it, this is all that is known of it.
            return Err(missing(tree.ignored(&real)));
        }
        Err(e) => return Err(io("stat", &real)(e)),
    }
    let mut items = tree.walk(&real)?;
    if !tree.is_context {
        // A layer that lies on nothing takes names away that are not there.
        items.retain(|item| item.kind != FileType::CharacterDevice || item.stat.rdev != 0);
    }
    if items.is_empty() {
        return Err(missing(tree.ignored(&real)));
    }
    let is_dir = items[0].kind == FileType::Directory;
    if !exclude.is_empty() {
        keep(&mut items, path, is_dir, exclude, how);
        if items.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(Match { name: base_name(path).to_os_string(), path: path.to_path_buf(), is_dir, items }))
}

/// Takes out what `--exclude` names: relative to the source, a file by its name; with `--parents`, relative to the pivot.
fn keep(items: &mut Vec<Item>, path: &Path, is_dir: bool, exclude: &Ignore, how: How) {
    let hidden = |relative: &Path| {
        if let How::Parents { pivot } = how {
            let behind: PathBuf = path.join(relative).components().skip(pivot).collect();
            return !behind.as_os_str().is_empty() && exclude.is_ignored(&behind.to_string_lossy());
        }
        let inside = if is_dir { relative.to_path_buf() } else { base_name(path).into() };
        !inside.as_os_str().is_empty() && exclude.is_ignored(&inside.to_string_lossy())
    };
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !hidden(item.relative()) {
            kept.push(item);
        }
    }
    *items = kept;
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// An element of a pattern.
enum Step<'p> {
    Name(&'p str),
    /// `**` where it is any number of directories, and not just `*`.
    Deep,
    Glob(Glob),
}

impl<'p> Step<'p> {
    /// None if it means nothing.
    fn new(element: &'p str, how: How) -> Option<Self> {
        match element {
            "**" if how != How::Content => Some(Step::Deep),
            name if !is_pattern(name) => Some(Step::Name(name)),
            glob => Glob::new(glob, Dialect::Path).ok().map(Step::Glob),
        }
    }
}

/// The elements in front of the first wildcard, which are a path as any.
fn names<'a>(steps: &'a [Step<'a>]) -> impl Iterator<Item = &'a str> + Clone {
    steps.iter().map_while(|step| match step {
        Step::Name(name) => Some(*name),
        Step::Deep | Step::Glob(_) => None,
    })
}

/// What a pattern stands for, found element by element. From the first element with a wildcard on, no link to a directory is
/// followed: what is found is what the tree has below it.
struct Expansion<'a> {
    tree: &'a Tree<'a>,
    steps: &'a [Step<'a>],
    /// Where to go on, and with which element: a pattern may be as deep as its file is long, a stack is not.
    open: Vec<(PathBuf, usize)>,
    /// Where a wildcard was looked for: several `**` lead there in many ways.
    seen: HashSet<(PathBuf, usize)>,
    found: Vec<PathBuf>,
}

impl<'a> Expansion<'a> {
    /// Begins behind the names in front of the first wildcard.
    fn new(tree: &'a Tree<'a>, steps: &'a [Step<'a>]) -> Self {
        let names = names(steps);
        let path = names.clone().collect();
        Self { tree, steps, open: vec![(path, names.count())], seen: HashSet::new(), found: Vec::new() }
    }

    /// The paths in their order.
    fn run(mut self) -> Result<Vec<PathBuf>, Error> {
        let steps = self.steps;
        while let Some((at, next)) = self.open.pop() {
            if (self.tree.cancelled)() {
                return Err(Error::Cancelled);
            }
            let is_last = next + 1 == steps.len();
            match steps.get(next) {
                None => self.found.push(at),
                Some(Step::Name(name)) => {
                    let path = at.join(name);
                    if is_last || self.is_directory(&path)? {
                        self.open.push((path, next + 1));
                    }
                }
                Some(_) if !self.seen.insert((at.clone(), next)) => {}
                Some(Step::Glob(glob)) => {
                    for (name, is_directory) in self.list(&at)? {
                        if (is_directory || is_last) && glob.matches(&name.to_string_lossy()) {
                            self.open.push((at.join(&name), next + 1));
                        }
                    }
                }
                Some(Step::Deep) => {
                    for (name, is_directory) in self.list(&at)? {
                        match is_directory {
                            true => self.open.push((at.join(&name), next)),
                            false if is_last => self.found.push(at.join(&name)),
                            false => {}
                        }
                    }
                    self.open.push((at, next + 1));
                }
            }
        }
        self.found.sort();
        self.found.dedup();
        Ok(self.found)
    }

    /// Whether this is a directory itself, and no link to one.
    fn is_directory(&self, path: &Path) -> Result<bool, Error> {
        match self.tree.root.lstat(path) {
            Ok(status) => Ok(FileType::from_raw_mode(status.st_mode) == FileType::Directory),
            Err(e) if absent(&e) => Ok(false),
            Err(e) => Err(io("stat", path)(e)),
        }
    }

    /// The names in a directory, and which of them are directories.
    fn list(&self, at: &Path) -> Result<Vec<(OsString, bool)>, Error> {
        let real = real::path(self.tree.root, at)?;
        match self.tree.root.read_dir(&real) {
            Ok(entries) => {
                let entries = entries.into_iter();
                Ok(entries.map(|entry| (entry.name, entry.file_type == FileType::Directory)).collect())
            }
            Err(e) if absent(&e) => Ok(Vec::new()),
            Err(e) => Err(io("list", &real)(e)),
        }
    }
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
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
        assert_eq!(all("**/*.rs"), ["x.rs{}"], "two stars are one");
        assert_eq!(all("*.nope"), Vec::<String>::new());
        assert_eq!(all("src/*.nope"), Vec::<String>::new());
        assert_eq!(all("no*/x"), Vec::<String>::new());
        assert_eq!(all("../a.txt"), ["a.txt{}"]);
        assert_eq!(all("link"), ["link{,x.rs,y,y/z.rs}"]);
        assert_eq!(all("link/*.rs"), ["x.rs{}"], "a link in front of the pattern is a path");
        assert_eq!(all("*/x.rs"), ["x.rs{}"], "the one of src, and not of link");
        assert_eq!(all("l*/x.rs"), Vec::<String>::new());
        assert_eq!(
            all("*"),
            [
                "a.txt{}",
                "b.txt{}",
                "c.md{}",
                "docs{,keep.md,no.md}",
                "link{,x.rs,y,y/z.rs}",
                "out{,o}",
                "src{,x.rs,y,y/z.rs}"
            ]
        );
        assert_eq!(found(dir.path(), "", "nope", &[]).unwrap_err(), "\"/nope\": not found");
        assert_eq!(found(dir.path(), "", "[", &[]).unwrap_err(), "\"[\": syntax error in pattern");
    }

    #[test]
    fn patterns_stand_in_directories_that_are_there() {
        let dir = setup();
        let wrong = |ignore: &str, source: &str| found(dir.path(), ignore, source, &[]).unwrap_err();
        assert_eq!(wrong("", "nosuch/*.so"), "\"/nosuch\": not found");
        assert_eq!(wrong("", "src/nosuch/*/x"), "\"/src/nosuch\": not found");
        assert_eq!(wrong("", "a.txt/*"), "\"/a.txt/\": not found");
        assert!(wrong("src", "src/*.rs").starts_with("\"/src\": not found"), "{}", wrong("src", "src/*.rs"));
        assert_eq!(found(dir.path(), "src\n!src/x.rs", "src/*.nope", &[]).unwrap(), Vec::<String>::new());
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let parents = |source: &str, pivot| select_parents(&tree, source, pivot, &Ignore::default());
        assert!(parents("nosuch/*", 0).unwrap().is_empty(), "with a path kept it may lack all of it");
        assert!(parents("nosuch/*", 1).is_err() && parents("src/nosuch/*", 1).unwrap().is_empty());
    }

    #[test]
    fn links_stay_links() {
        let dir = setup();
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let found = |source: &str| select_parents(&tree, source, 0, &Ignore::default()).unwrap();
        let link = &found("lin*")[0];
        assert!(!link.is_dir && link.items.len() == 1 && link.items[0].kind == FileType::Symlink);
        assert_eq!(found("link/x*")[0].items[0].kind, FileType::RegularFile);
        assert_eq!(found("link")[0].items[0].kind, FileType::Symlink, "also what is no pattern");
        let all = found("**");
        let is_file = |m: &Match| m.path == Path::new("link") && !m.is_dir;
        assert!(all.iter().any(is_file) && all.iter().any(|m| m.path == Path::new("escape")));
    }

    #[test]
    fn what_is_excluded_is_named_from_the_pivot_on() {
        let dir = setup();
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let found = |source: &str, pivot: usize, exclude: &str| {
            let exclude = Ignore::from_patterns([exclude]).unwrap();
            let matches = select_parents(&tree, source, pivot, &exclude).unwrap();
            let items = matches.into_iter().flat_map(|found| found.items);
            items.map(|item| item.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("src/y", 1, "y/z.rs"), ["src/y"]);
        assert_eq!(found("src/y", 0, "y/z.rs"), ["src/y", "src/y/z.rs"]);
        assert_eq!(found("src/y", 0, "src/y/z.rs"), ["src/y"]);
        assert_eq!(found("src/y", 1, "z.rs"), ["src/y", "src/y/z.rs"]);
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
    fn exclude_is_relative_to_the_source() {
        let dir = setup();
        assert_eq!(found(dir.path(), "", "src", &["*.rs"]).unwrap(), ["src{,y,y/z.rs}"]);
        assert_eq!(found(dir.path(), "", "src", &["y"]).unwrap(), ["src{,x.rs}"]);
        assert_eq!(found(dir.path(), "", "src", &["src/y"]).unwrap(), ["src{,x.rs,y,y/z.rs}"]);
        assert_eq!(found(dir.path(), "", "*.txt", &["a.*"]).unwrap(), ["b.txt{}"]);
        assert_eq!(found(dir.path(), "", "docs", &["*", "!keep.md"]).unwrap(), ["docs{,keep.md}"]);
    }

    #[test]
    fn links_do_not_multiply_what_a_pattern_finds() {
        let dir = setup();
        for link in 0..6 {
            symlink(".", dir.path().join(format!("l{link}"))).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let cancelled = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 10_000;
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &cancelled };
        for pattern in ["*/".repeat(30) + "*", "**/".repeat(30) + "*", "**/*/".repeat(15)] {
            asked.store(0, std::sync::atomic::Ordering::Relaxed);
            select(&tree, &pattern, &Ignore::default()).unwrap();
            select_parents(&tree, &pattern, 0, &Ignore::default()).unwrap();
        }
    }

    /// More elements than the stack of a thread has room for calls.
    #[test]
    fn a_pattern_may_be_deep() {
        let dir = setup();
        let found = |source: &str| found(dir.path(), "", source, &[]);
        assert_eq!(found(&("*/".to_owned() + &"a/".repeat(50_000) + "*")), Ok(Vec::new()));
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| false };
        let pattern = "**/".repeat(10_000) + "z.rs";
        assert_eq!(select_parents(&tree, &pattern, 0, &Ignore::default()).unwrap().len(), 1);
        // No path is that long.
        let error = found(&("a/".repeat(50_000) + "*")).unwrap_err();
        assert!(error.starts_with("resolve a/a/"), "{}", &error[..40]);
    }

    #[test]
    fn a_link_that_is_ignored_leads_nowhere() {
        let dir = setup();
        symlink("a.txt", dir.path().join("xalias")).unwrap();
        symlink("xalias", dir.path().join("again-x")).unwrap();
        symlink("src", dir.path().join("to-x")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let ignore = Ignore::parse("xalias\nto-*\n").unwrap();
        let tree = Tree { root: &root, ignore: Some(&ignore), is_context: true, cancelled: &|| false };
        let found = |source: &str| select(&tree, source, &Ignore::default());
        for source in ["xalias", "again-x", "to-x", "to-x/x.rs"] {
            assert!(matches!(found(source), Err(Error::NotFound { .. })), "{source}");
        }
        assert!(found("xa*").unwrap().is_empty());
        assert_eq!(found("src/x.rs").unwrap().len(), 1);
    }
}
