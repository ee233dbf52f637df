//! `docker volume rm`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{PROVISIONAL, Record, dir, find};
use crate::error::{Context, Error, Result};
use crate::{Engine, events};

/// Removes a volume that no container uses. With `force` a missing one is no error.
pub async fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    let name = name.to_owned();
    engine
        .blocking(move |engine| {
            let record = match find(engine, &name) {
                Err(e) if force && e.kind == crate::Kind::NotFound => return Ok(()),
                found => found?,
            };
            remove_unused(engine, &record)
        })
        .await
}

/// Forgets a volume and deletes its data, unless a container uses it.
pub(crate) fn remove_unused(engine: &Engine, record: &Record) -> Result<()> {
    let name = record.name.as_str();
    let forgotten = engine.db().write(|tx| -> Result<Forgotten> {
        let users = state::volumes::users(tx, name)?;
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        forget(tx, engine, name)
    })?;
    forgotten.delete(engine)
}

/// A volume without a definition, whose data is to go.
#[must_use]
pub(crate) struct Forgotten(String);

/// Takes a volume's definition away, which nothing uses. Its data goes after the transaction: one that fails has taken
/// nothing.
pub(crate) fn forget(tx: &state::Tx<'_>, engine: &Engine, name: &str) -> Result<Forgotten> {
    state::volumes::delete(tx, name)?;
    // So that a check knows, should this process die before the data is deleted. A full disk keeps nobody from removing.
    if let Err(e) = std::fs::write(dir(engine, name).join(PROVISIONAL), "") {
        tracing::debug!(error = %e, volume = name, "removal not marked");
    }
    Ok(Forgotten(name.to_owned()))
}

impl Forgotten {
    /// Deletes the data.
    pub fn delete(self, engine: &Engine) -> Result<()> {
        let Forgotten(name) = &self;
        let aside = aside(engine, name)?;
        engine.db().write_fleeting(|tx| -> Result<()> {
            // A new volume of this name has set aside what was here.
            if state::volumes::get(tx, name)?.is_some() {
                return Ok(());
            }
            match std::fs::rename(dir(engine, name), &aside) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(e).during(format_args!("set the data of volume {name} aside"))
                }
                _ => Ok(()),
            }
        })?;
        match std::fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).during(format_args!("delete the data of volume {name}"));
            }
            _ => {}
        }
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        events::emit(engine, "volume", "destroy", name, &attributes);
        Ok(())
    }
}

/// Where a volume's data is deleted: no volume has such a name.
pub(super) fn aside(engine: &Engine, name: &str) -> Result<PathBuf> {
    Ok(dir(engine, &format!(".{name}.{}", crate::ids::short(&crate::ids::new()?))))
}
