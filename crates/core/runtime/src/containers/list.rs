//! `list`: the containers of a state root.

use std::io;
use std::path::Path;

use super::{Container, Error, State, id};

/// One container.
#[derive(Debug)]
pub struct Listed {
    pub state: State,
    /// The user that it belongs to.
    pub owner: u32,
}

/// What could not be read, and why.
pub type Unreadable = (String, Error);

/// All containers by name; for those that can't be read, why. One that goes away meanwhile is left out.
pub fn list(root: &Path) -> Result<Vec<Result<Listed, Unreadable>>, Error> {
    let fail = |source| Error::Folder { what: "list the containers", folder: root.to_owned(), source };
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        names.extend(name.into_string().ok().filter(|name| id::check(name).is_ok()));
    }
    names.sort_unstable();
    let look = |name: String| match listed(root, &name) {
        Err(Error::NotFound) => None,
        other => Some(other.map_err(|error| (name, error))),
    };
    Ok(names.into_iter().filter_map(look).collect())
}

fn listed(root: &Path, name: &str) -> Result<Listed, Error> {
    let container = Container::open(root, name)?;
    Ok(Listed { state: container.state()?, owner: container.folder.owner()? })
}
