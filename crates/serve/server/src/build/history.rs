//! Records of builds. `id` is an id, the beginning of one, `^1` for the one before the newest, or empty for the newest.

use api::build::BuildLogLine;
use engine::builds::history::{self, Which};
use engine::builds::{Digest, attached};
use futures_util::{StreamExt as _, future, stream};

use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;

fn which(call: &Call) -> Which {
    Which::Called(call.query.text("id").to_owned())
}

pub async fn list(call: Call) -> Result {
    answer::ok(&history::list(&call.engine).await?)
}

pub async fn inspect(call: Call) -> Result {
    let mut record = history::inspect(&call.engine, which(&call)).await?;
    record.attachments = attached::attachments(&call.engine, record.id.clone()).await?;
    answer::ok(&record)
}

/// The document `digest` of a build's record, as it is.
pub async fn attachment(call: Call) -> Result {
    let digest = call.query.text("digest").parse::<Digest>();
    let digest = digest.map_err(|error| Failure::bad_request(error.to_string()))?;
    let record = history::inspect(&call.engine, which(&call)).await?;
    let bytes = attached::attachment(&call.engine, record.id, digest).await?;
    Ok(answer::whole(bytes, "application/octet-stream"))
}

pub async fn logs(call: Call) -> Result {
    let lines = history::logs(&call.engine, which(&call)).await?;
    let line = |(millis, event)| BuildLogLine { millis, event: Some(event) };
    answer::ok(&lines.into_iter().map(line).collect::<Vec<_>>())
}

/// Without `id` all that have ended.
pub async fn remove(call: Call) -> Result {
    let gone = match call.query.text("id") {
        "" => history::remove_all(&call.engine).await?,
        _ => vec![history::remove(&call.engine, which(&call)).await?],
    };
    answer::ok(&gone)
}

/// Makes an image of what the failed step `id` left. It is lent until the client closes the answer, which says all at once.
pub async fn shell(call: Call) -> Result {
    let (ready, mut handout) = engine::builds::shell(&call.engine, call.query.text("id").to_owned()).await?;
    let line = stream::iter([Ok(answer::line(&ready, "\n")?)]);
    let held = stream::once(async move { handout.given_back().await }).filter_map(|()| future::ready(None));
    Ok(answer::stream("application/json", line.chain(held)))
}
