//! Where lists are kept between commands: `manifests/<list>/<member>` beside `config.json`, as Docker's client keeps them.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use oci::Reference;

use super::entry::Entry;
use crate::context::Cli;
use crate::error::Error;
use crate::settings;

/// All lists of this user.
pub struct Lists(PathBuf);

impl Lists {
    pub fn of(cli: &Cli) -> Lists {
        Lists(settings::path(cli).with_file_name("manifests"))
    }

    fn path(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// The members, by the names of their files; none when there is no such list.
    pub fn members(&self, list: &Reference) -> Result<Option<Vec<Entry>>, Error> {
        let directory = self.path(list);
        let fail = |error: io::Error| Error::file("read", &directory, &error);
        let files = match fs::read_dir(&directory) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let mut paths =
            files.map(|file| file.map(|file| file.path())).collect::<io::Result<Vec<_>>>().map_err(fail)?;
        // What is being written has a name that no reference has.
        paths.retain(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        paths.sort();
        let entries = paths.iter().map(|path| {
            let text = fs::read(path).map_err(|error| Error::file("read", path, &error))?;
            serde_json::from_slice(&text).map_err(|error| Error::new(format!("{}: {error}", path.display())))
        });
        entries.collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// The members of a list that has to be there.
    pub fn existing(&self, list: &Reference) -> Result<Vec<Entry>, Error> {
        self.members(list)?.ok_or_else(|| missing(list))
    }

    /// One member of a list.
    pub fn member(&self, list: &Reference, member: &Reference) -> Result<Option<Entry>, Error> {
        let name = member.to_string();
        Ok(self.members(list)?.into_iter().flatten().find(|entry| entry.name == name))
    }

    /// Writes a member, in place of what was known of it.
    pub fn put(&self, list: &Reference, entry: &Entry) -> Result<(), Error> {
        let directory = self.path(list);
        fs::create_dir_all(&directory).map_err(|error| Error::file("create", &directory, &error))?;
        let path = directory.join(file_name(&entry.reference()?));
        let text = serde_json::to_vec(entry).map_err(|error| Error::new(error.to_string()))?;
        let written = tempfile(&directory).and_then(|(mut file, new)| {
            file.write_all(&text)?;
            fs::rename(&new, &path).inspect_err(|_| drop(fs::remove_file(&new)))
        });
        written.map_err(|error| Error::file("write", &path, &error))
    }

    /// Forgets a list; fails when there is none.
    pub fn remove(&self, list: &Reference) -> Result<(), Error> {
        let directory = self.path(list);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(list)),
            done => done.map_err(|error| Error::file("remove", &directory, &error)),
        }
    }
}

fn tempfile(directory: &std::path::Path) -> io::Result<(fs::File, PathBuf)> {
    let path = directory.join(format!(".{}", std::process::id()));
    Ok((fs::File::create(&path)?, path))
}

fn missing(list: &Reference) -> Error {
    Error::new(format!("No such manifest: {list}"))
}

/// A name as a file's: no reference has `_` before a tag or `-` for a colon that another one could be taken for in practice,
/// and Docker's client uses the same.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}
