//! `docker rename`.

use super::{create, name, record};
use crate::error::{Error, Result};
use crate::{Engine, events, networks};

/// Gives a container another name.
pub async fn rename(engine: &Engine, reference: &str, new: &str) -> Result<()> {
    let (reference, new) = (reference.to_owned(), new.to_owned());
    engine
        .blocking(move |engine| {
            if new.is_empty() {
                return Err(Error::invalid("Neither old nor new names may be empty"));
            }
            let new = name::validated(&new)?;
            let found = record::find(engine, &reference)?;
            let (_lock, mut record) = record::locked(engine, &found.id)?;
            if record.name == new {
                return Err(Error::invalid("Renaming a container with the same name as its current name"));
            }
            engine.db().write(|tx| -> Result<()> {
                create::name_is_free(tx, new)?;
                Ok(state::containers::rename(tx, &record.id, new)?)
            })?;
            networks::names::publish_of(engine, &record.id, &[])?;
            if let Some(mut monitor) = monitor::client::connect(&engine.config().run, &record.id)? {
                monitor.rename(new)?;
            }
            let old = std::mem::replace(&mut record.name, new.to_owned());
            events::emit_container(engine, "rename", &record, &[("oldName", &format!("/{old}"))]);
            Ok(())
        })
        .await
}
