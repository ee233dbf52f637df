//! Reading vendors' files: JSON and YAML of a bounded size, from regular files only, whatever lies under the names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::document::Document;

/// Bytes of a file. Those of machines with dozens of cards have a few hundred thousand.
const FILE_MAX: u64 = 4 << 20;
/// Files of a directory.
const FILES_MAX: usize = 1000;

/// The files of a directory in the order of their names, each read or with what is wrong with it; what is wrong with the
/// directory itself stands under its own name.
pub fn read(directory: &Path) -> Vec<(PathBuf, Result<Document, String>)> {
    let paths = match paths(directory) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![(directory.to_owned(), Err(error.to_string()))],
    };
    let mut all: Vec<_> = paths.iter().take(FILES_MAX).map(|path| (path.clone(), file(path))).collect();
    if paths.len() > FILES_MAX {
        let reason = format!("of its {} files only the first {FILES_MAX} are read", paths.len());
        all.push((directory.to_owned(), Err(reason)));
    }
    all
}

fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json" || end == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file(path: &Path) -> Result<Document, String> {
    let text = text(path)?;
    let document: Document = match path.extension().is_some_and(|end| end == "json") {
        true => serde_json::from_str(&text).map_err(|error| error.to_string())?,
        false => serde_saphyr::from_str(&text).map_err(|error| first_line(&error.to_string()))?,
    };
    document.check()?;
    Ok(document)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn text(path: &Path) -> Result<String, String> {
    // A pipe under the name would keep us for ever, a device would do what it does when it is opened for reading.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io::Error::from(error).to_string())?;
    let file = File::from(file);
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {FILE_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}
