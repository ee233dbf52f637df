//! What a context that lies elsewhere says about its build.

use std::sync::Arc;

use api::build::{BuildDefinition, BuildOptions};
use builder::Env;

use super::build::{
    CancelOnDrop, ContextSource, Questions, environment, failed, files, given_or_asked, policies, request,
};
use super::fetch::fetcher;
use super::reach::Reach;
use crate::error::{Error, Result};
use crate::{Engine, networks};

/// The Dockerfile and the ignore file of a context that nothing was read of yet: a repository, a URL, an archive, a directory.
pub async fn definition(
    engine: &Engine,
    options: BuildOptions,
    context: ContextSource,
    reach: Reach,
    questions: Questions,
) -> Result<BuildDefinition> {
    let request = request(&options, networks::host_gateway(engine).await?)?;
    let policies = Arc::new(policies(&options, &questions, &context)?);
    let secrets = given_or_asked(request.secrets.clone(), questions.secrets);
    let env = Env {
        local_repositories: reach == Reach::Files,
        policy: policies.of_builder(),
        fetch: Some(fetcher(engine, &request.cancel, Some(secrets))),
        ..environment(engine, &options, &request.cancel)
    };
    let cancel = CancelOnDrop(request.cancel.clone());
    let (files, given) = files(context)?;
    if given.is_some() {
        return Err(Error::invalid("a graph has no Dockerfile"));
    }
    let found = engine.blocking(move |_| builder::definition(&env, files, &request).map_err(failed)).await?;
    drop(cancel);
    Ok(BuildDefinition { name: found.name, text: found.text, ignore: found.ignore })
}
