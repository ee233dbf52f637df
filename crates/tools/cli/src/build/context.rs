//! The files that a build may use, as a tar with `.dockerignore` applied.

use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use archive::{Entry, Kind, Packer, Time};
use dockerfile::ignore::{Ignore, Inherited};

use crate::error::Error;

/// The text of the ignore file that goes with a Dockerfile: its own, or the context's.
pub fn ignore_text(directory: &Path, dockerfile: Option<&Path>) -> Result<String, Error> {
    let own = dockerfile.map(own_ignore_text).transpose()?.flatten();
    match own {
        Some(text) => Ok(text),
        None => Ok(text_of(&directory.join(".dockerignore"))?.unwrap_or_default()),
    }
}

/// The text of a Dockerfile's own ignore file, which lies beside it.
pub fn own_ignore_text(dockerfile: &Path) -> Result<Option<String>, Error> {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(".dockerignore");
    text_of(Path::new(&name))
}

fn text_of(path: &Path) -> Result<Option<String>, Error> {
    match crate::definition::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, &error)),
    }
}

/// What such a text means.
pub fn ignore(text: &str) -> Result<Ignore, Error> {
    Ignore::parse(text).map_err(|error| Error::new(format!(".dockerignore: {error}")))
}

/// What to send.
pub struct Context {
    pub directory: PathBuf,
    pub ignore: Ignore,
    /// Paths that are sent although they are ignored: the Dockerfile and the ignore file.
    pub always: Vec<String>,
    /// Files that are not in the directory, or not so: name and content.
    pub extra: Vec<(String, Vec<u8>)>,
}

impl Context {
    /// Writes the tar. Owners are root's, as with Docker; sockets are left out.
    pub fn write(&self, sink: impl Write) -> Result<(), Error> {
        let mut packer = Packer::new(sink);
        let fail = |error: archive::Error| Error::new(format!("send build context: {error}"));
        for (name, content) in &self.extra {
            packer
                .append_bytes(&Entry::file(name.as_str(), 0o600, content.len() as u64), content)
                .map_err(fail)?;
        }
        self.children(&mut packer, Path::new(""), &Inherited::default())?;
        packer.finish().map_err(fail)?;
        Ok(())
    }

    fn children<W: Write>(
        &self,
        packer: &mut Packer<W>,
        below: &Path,
        inherited: &Inherited,
    ) -> Result<(), Error> {
        let directory = self.directory.join(below);
        let fail = |error: std::io::Error| Error::file("read", &directory, &error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort();
        for name in names {
            self.object(packer, &below.join(name), inherited)?;
        }
        Ok(())
    }

    fn object<W: Write>(
        &self,
        packer: &mut Packer<W>,
        path: &Path,
        inherited: &Inherited,
    ) -> Result<(), Error> {
        let full = self.directory.join(path);
        let metadata =
            std::fs::symlink_metadata(&full).map_err(|error| Error::file("lstat", &full, &error))?;
        // Patterns are text; names need not be.
        let text = path.to_string_lossy();
        let (ignored, matched) = self.ignore.check(&text, inherited);
        let is = |name: &String| Path::new(name) == path;
        let replaced = self.extra.iter().any(|(name, _)| is(name));
        let wanted = !replaced && (!ignored || self.always.iter().any(is));
        if metadata.is_dir() {
            let prefix = format!("{text}/");
            let holds_wanted = self.always.iter().any(|name| name.starts_with(&prefix));
            if !wanted && self.ignore.may_skip_below(&text) && !holds_wanted {
                return Ok(());
            }
            if wanted {
                let entry = describe(Entry::directory(path.join(""), 0), &metadata);
                append(packer, &entry, std::io::empty())?;
            }
            return self.children(packer, path, &matched);
        }
        if !wanted {
            return Ok(());
        }
        if metadata.is_symlink() {
            let target = std::fs::read_link(&full).map_err(|error| Error::file("readlink", &full, &error))?;
            return append(packer, &describe(Entry::symlink(path, target), &metadata), std::io::empty());
        }
        if metadata.is_file() {
            let file = std::fs::File::open(&full).map_err(|error| Error::file("open", &full, &error))?;
            return append(packer, &describe(Entry::file(path, 0, metadata.len()), &metadata), file);
        }
        use std::os::unix::fs::FileTypeExt as _;
        if metadata.file_type().is_fifo() {
            return append(packer, &describe(Entry::new(path, Kind::Fifo, 0), &metadata), std::io::empty());
        }
        Ok(())
    }
}

fn describe(entry: Entry, metadata: &Metadata) -> Entry {
    let mtime = Time { seconds: metadata.mtime(), nanoseconds: 0 };
    Entry { mode: metadata.mode() & 0o7777, mtime, ..entry }
}

fn append<W: Write>(packer: &mut Packer<W>, entry: &Entry, data: impl std::io::Read) -> Result<(), Error> {
    packer.append_file(entry, data).map_err(|error| Error::new(format!("send build context: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn ignored_files_stay_at_home() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".dockerignore", "node_modules\n*.log\nDockerfile\n.dockerignore\ndocs\n!docs/keep.md\n");
        write("Dockerfile", "FROM scratch\n");
        write("a.txt", "a");
        write("b.log", "b");
        write("node_modules/x/index.js", "x");
        write("docs/drop.md", "x");
        write("docs/keep.md", "x");
        let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
        std::fs::write(dir.path().join(odd), "x").unwrap();
        std::os::unix::fs::symlink("a.txt", dir.path().join("link")).unwrap();
        let context = Context {
            directory: dir.path().to_owned(),
            ignore: ignore(&ignore_text(dir.path(), None).unwrap()).unwrap(),
            always: vec!["Dockerfile".into(), ".dockerignore".into()],
            extra: vec![(".dockerfile.x".into(), b"FROM a".to_vec()), ("a.txt".into(), b"other".to_vec())],
        };
        let mut tar = Vec::new();
        context.write(&mut tar).unwrap();
        let mut reader = archive::Reader::new(tar.as_slice());
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            assert_eq!((entry.uid, entry.gid), (0, 0));
            names.push(entry.path);
        }
        let first = [".dockerfile.x", "a.txt", ".dockerignore", "Dockerfile", "docs/keep.md", "link"];
        assert_eq!(names[..6], first.map(PathBuf::from));
        assert_eq!(names[6..], [PathBuf::from(odd)]);
    }
}
