//! What a context that lies elsewhere says about its build.

use api::build::{BuildDefinition, BuildOptions};
use builder::Context as Files;

use super::build::{CancelOnDrop, environment, failed, request};
use crate::Engine;
use crate::error::Result;

/// The Dockerfile and the ignore file of a repository or URL.
pub async fn definition(engine: &Engine, options: BuildOptions) -> Result<BuildDefinition> {
    let request = request(&options)?;
    let env = environment(engine, &options, &request.cancel);
    let cancel = CancelOnDrop(request.cancel.clone());
    let found = engine
        .blocking(move |_| builder::definition(&env, Files::Remote(options.remote), &request).map_err(failed))
        .await?;
    drop(cancel);
    Ok(BuildDefinition { name: found.name, text: found.text, ignore: found.ignore })
}
