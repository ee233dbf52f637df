//! `docker volume inspect`.

use api::volumes::Volume;

use super::find;
use crate::Engine;
use crate::error::Result;

/// One volume.
pub async fn inspect(engine: &Engine, name: &str) -> Result<Volume> {
    let name = name.to_owned();
    engine.blocking(move |engine| find(engine, &name).map(|v| v.volume(engine))).await
}
