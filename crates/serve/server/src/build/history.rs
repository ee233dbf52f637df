//! Records of builds. `id` is an id, the beginning of one, `^1` for the one before the newest, or empty for the newest.

use api::build::BuildLogLine;
use engine::builds::history::{self, Which};

use crate::answer::{self, Result};
use crate::call::Call;

fn which(call: &Call) -> Which {
    Which::Called(call.query.text("id").to_owned())
}

pub async fn list(call: Call) -> Result {
    answer::ok(&history::list(&call.engine).await?)
}

pub async fn inspect(call: Call) -> Result {
    answer::ok(&history::inspect(&call.engine, which(&call)).await?)
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

/// Makes an image of what the failed step `id` left.
pub async fn shell(call: Call) -> Result {
    answer::ok(&engine::builds::shell(&call.engine, call.query.text("id").to_owned()).await?)
}
