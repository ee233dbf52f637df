//! `docker restart`.

use api::containers::StopOptions;

use super::{record, start, stop};
use crate::error::{Kind, Result};
use crate::{Engine, events};

/// Stops a container if it runs, then starts it.
pub async fn restart(engine: &Engine, reference: &str, options: StopOptions) -> Result<()> {
    let reference = reference.to_owned();
    let (record, lost) = engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            match stop::stop_now(engine, &record, &options) {
                Err(e) if e.kind != Kind::NotModified => return Err(e),
                _ => {}
            }
            match start::start_or_lost(engine, &record.id) {
                // The restart policy was faster.
                Err(e) if e.kind == Kind::NotModified => Ok((record, None)),
                started => Ok((record, started?)),
            }
        })
        .await?;
    if let Some(lost) = lost {
        start::start_healed(engine, *lost).await?;
    }
    events::emit_container(engine, "restart", &record, &[]);
    Ok(())
}
