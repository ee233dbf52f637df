//! Builds: the classic `POST /build` with a tar context, or a directory that client and server share.

pub mod buildkit;
mod classic;
pub mod history;
mod options;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use api::JsonMessage;
use api::auth::AuthConfig;
use api::build::{
    BuildCheck, BuildDetails, BuildEvent, BuildOptions, BuildResult, CachePruneOptions, NATIVE_PROGRESS_ID,
};
use engine::builds::{self, Built, ContextSource, Event, FailedProcess, Handout, Held};
use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;
use crate::progress::{self, Last};
use classic::Classic;

/// Events that may wait for a slow client before the build waits too.
const BACKLOG: usize = 256;
/// Messages that a quiet build shows of what was said before it failed.
const QUIET_BACKLOG: usize = 1000;

pub async fn build(mut call: Call) -> Result {
    let (options, credentials) = match parameters(&mut call).await {
        Ok(parameters) => parameters,
        Err(refused) => {
            // The context is on its way: it is read to its end.
            drop(call.take_body());
            return Err(refused);
        }
    };
    let engine = call.engine.clone();
    let reach = call.peer.reach();
    let host = call.buildkit.clone();
    let call_is_buildkits = options::is_buildkits(&call);
    let (session, id) = (call.query.text("session").to_owned(), call.query.text("buildid").to_owned());
    let context = match (options.context_dir.as_str(), options.remote.as_str()) {
        ("", "") => ContextSource::Tar(Box::pin(call.take_body())),
        ("", address) => ContextSource::Remote(address.to_owned()),
        (dir, _) => ContextSource::Dir(PathBuf::from(dir)),
    };
    if call_is_buildkits {
        return Box::pin(buildkit::build(host, options, context, reach, (session, id))).await;
    }
    let options = builds::classic(&engine, options);
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let encode = encoder(&options);
    let (quiet, native_progress) = (options.quiet, options.native_progress);
    let failed = if options.native_progress { failed } else { failed_classic };
    let work = async move {
        let questions = builds::Questions::default();
        let id = builds::history::new_id()?;
        let record = builds::Record { id: Some(id.clone()), ..builds::Record::default() };
        let credentials = credentials.into_iter().map(|(name, said)| (name, said.into())).collect();
        let lent = options.extras.lent;
        let lease = match lent || options.extras.held {
            true => Some(builds::hold(&engine).await?),
            false => None,
        };
        let handout = lease.clone().map(|lease| Handout::begin(&engine, &id, lease));
        let order = builds::Order {
            options,
            context,
            reach,
            credentials,
            questions,
            record,
            keep_mounts: false,
            earlier: Default::default(),
            held: lease.map(|lease| Held { lease, lent }),
        };
        let built = builds::build(&engine, order, sender).await?;
        let messages = last_messages(&built, &id, quiet, native_progress);
        Ok(Last { messages, rest: handout.map(handed_out) })
    };
    progress::answer(receiver, encode, work, failed).await
}

/// Ends when the client has handed the result out; with it ends what holds that.
fn handed_out(mut handout: Handout) -> progress::Work {
    Box::pin(async move {
        handout.given_back().await;
        Ok(Vec::new().into())
    })
}

async fn parameters(call: &mut Call) -> Result<(BuildOptions, BTreeMap<String, AuthConfig>)> {
    let options = options::options(call).await?;
    let credentials = api::auth::decode_all(call.header(api::common::REGISTRY_CONFIG_HEADER))
        .map_err(|e| Failure::bad_request(format!("X-Registry-Config: {e}")))?;
    Ok((options, credentials))
}

/// The Dockerfile of the context `remote`, which is not built.
pub async fn definition(mut call: Call) -> Result {
    let options = options::options(&mut call).await?;
    if options.remote.is_empty() {
        return Err(Failure::bad_request("remote is required: the address of a repository or a URL"));
    }
    let context = builds::ContextSource::Remote(options.remote.clone());
    let (reach, asked) = (call.peer.reach(), builds::Questions::default());
    answer::ok(&builds::definition(&call.engine, options, context, reach, asked).await?)
}

/// The mistake in a Dockerfile that only a builder sees.
pub async fn check(mut call: Call) -> Result {
    let asked: BuildCheck = call.json().await?;
    answer::ok(&builds::check_text(&call.engine, asked).await?)
}

/// How events are shown to this client.
fn encoder(options: &BuildOptions) -> Box<dyn FnMut(Event) -> Vec<JsonMessage> + Send> {
    if options.native_progress {
        return Box::new(|event| builds::document(event).iter().map(native).collect());
    }
    let mut classic = Classic::new(options.rm, options.force_rm);
    if !options.quiet {
        return Box::new(move |event| classic.text(event));
    }
    // Nothing is said unless a step fails; then all is.
    let mut held = VecDeque::new();
    Box::new(move |event| {
        let is_over = matches!(event, Event::StepError { .. } | Event::Stuck { .. });
        held.extend(classic.text(event));
        held.drain(..held.len().saturating_sub(QUIET_BACKLOG));
        if is_over { held.drain(..).collect() } else { Vec::new() }
    })
}

fn native(event: &BuildEvent) -> JsonMessage {
    JsonMessage {
        id: NATIVE_PROGRESS_ID.to_owned(),
        aux: serde_json::to_value(event).ok(),
        ..JsonMessage::default()
    }
}

fn last_messages(built: &Built, record: &str, quiet: bool, native: bool) -> Vec<JsonMessage> {
    let id = built.result.as_ref().map(|result| result.image_id.to_string()).unwrap_or_default();
    if native {
        let details = BuildDetails { id: record.to_owned(), ..builds::details(built) };
        let result = BuildResult { id, details: Some(details) };
        return vec![JsonMessage::aux(json!(result))];
    }
    let Some(result) = &built.result else { return Vec::new() };
    if quiet {
        return vec![JsonMessage::aux(json!({ "ID": id })), JsonMessage::stream(format!("{id}\n"))];
    }
    let tags = result.tags.iter();
    let tagged = tags.map(|tag| JsonMessage::stream(format!("Successfully tagged {}\n", tag.familiar())));
    let mut messages = vec![
        JsonMessage::aux(json!({ "ID": id })),
        JsonMessage::stream(format!("Successfully built {}\n", result.image_id.short())),
    ];
    messages.extend(tagged);
    messages
}

/// A failed process passes its exit code on: docker's command line exits with it.
fn failed(error: engine::Error) -> JsonMessage {
    let code = error.process().map_or(1, |process| process.code.into());
    // Our own client prints the text as it stands.
    let message = match &error.hint {
        Some(hint) => format!("{}\nhint: {hint}", error.report()),
        None => error.report(),
    };
    JsonMessage::error(code, message)
}

/// The same in the words of Docker's builder, for which clients look.
fn failed_classic(error: engine::Error) -> JsonMessage {
    match error.process() {
        Some(FailedProcess { command, code }) => {
            let excerpt = error.excerpt();
            let said = format!("{excerpt}The command '{command}' returned a non-zero code: {code}");
            JsonMessage::error((*code).into(), said)
        }
        None => JsonMessage::error(0, error.report()),
    }
}

pub async fn prune(call: Call) -> Result {
    let reserved = call.query.number("reserved-space")?.or(call.query.number("keep-storage")?);
    let options = CachePruneOptions {
        all: call.query.flag("all"),
        reserved_space: reserved.unwrap_or(0),
        max_used_space: call.query.number("max-used-space")?.unwrap_or(0),
        min_free_space: call.query.number("min-free-space")?.unwrap_or(0),
        filters: call.query.filters()?,
    };
    answer::ok(&builds::prune(&call.engine, options).await?)
}

/// The client of `build=` has handed its result out.
pub async fn give_back(call: Call) -> Result {
    builds::give_back(&call.engine, call.query.text("build")).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// Ends the build that its client has given this id, which those of BuildKit's builder have. It may be over already.
pub async fn cancel(call: Call) -> Result {
    let id = call.query.text("id");
    if id.is_empty() {
        return Err(Failure::bad_request("build ID not provided"));
    }
    call.buildkit.cancel(id);
    Ok(answer::empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::builds::Place;

    use super::*;

    /// As of a build of which a process has failed.
    fn of_process(code: i32) -> engine::Error {
        let failure = engine::Failure {
            place: Some(Place { excerpt: "Dockerfile:2\n".to_owned(), ..Place::default() }),
            process: Some(FailedProcess { command: "/bin/sh -c echo \"a\"; false".to_owned(), code }),
            left: None,
            ..engine::Failure::default()
        };
        engine::Error { build: Some(Arc::new(failure)), ..engine::Error::system("process ended") }
    }

    #[test]
    fn exit_codes_pass_through() {
        let code = |error| failed(error).error_detail.unwrap().code;
        assert_eq!(code(of_process(3)), 3);
        assert_eq!(code(engine::Error::system("pull failed: exit code: 3")), 1);
    }

    #[test]
    fn people_are_shown_the_lines_before_the_message() {
        assert_eq!(failed(of_process(3)).error, "Dockerfile:2\nprocess ended");
    }

    #[test]
    fn classic_clients_get_classic_words() {
        assert_eq!(
            failed_classic(of_process(3)).error,
            "Dockerfile:2\nThe command '/bin/sh -c echo \"a\"; false' returned a non-zero code: 3"
        );
        assert_eq!(failed_classic(engine::Error::system("pull failed")).error, "pull failed");
    }
}
