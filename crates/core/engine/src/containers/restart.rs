//! `docker restart`.

use api::containers::StopOptions;

use super::{record, start, stop};
use crate::error::{Kind, Result};
use crate::{Engine, events};

/// Stops a container if it runs, then starts it.
pub async fn restart(engine: &Engine, reference: &str, options: StopOptions) -> Result<()> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            match stop::stop_now(engine, &record, &options) {
                Err(e) if e.kind != Kind::NotModified => return Err(e),
                _ => {}
            }
            match start::start_now(engine, &record.id) {
                // The restart policy was faster.
                Err(e) if e.kind != Kind::NotModified => return Err(e),
                _ => {}
            }
            events::emit_container(engine, "restart", &record, &[]);
            Ok(())
        })
        .await
}
