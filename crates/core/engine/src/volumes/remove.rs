//! `docker volume rm`.

use std::collections::BTreeMap;

use super::{Record, dir, find};
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
    let aside = dir(engine, &format!(".{name}.{}", crate::ids::short(&crate::ids::new()?)));
    engine.db().write(|tx| -> Result<()> {
        let users = state::volumes::users(tx, name)?;
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        state::volumes::delete(tx, name)?;
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
