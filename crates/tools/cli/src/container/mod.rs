//! Containers, one verb a file.

pub mod attach;
pub mod commit;
pub mod config;
pub mod cp;
pub mod create;
pub mod diff;
pub mod exec;
pub mod export;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod ls;
pub mod pause;
pub mod port;
pub mod prune;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod unpause;
pub mod update;
pub mod wait;

use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

/// Does one thing to several objects. The name of each success is printed; a failure does not keep the others
/// from their turn.
pub async fn each<'a, F, Fut>(cli: &Cli, names: &'a [String], act: F) -> Outcome
where
    F: Fn(&'a str) -> Fut,
    Fut: Future<Output = Result<(), client::Error>>,
{
    let mut errors = Vec::new();
    for name in names {
        match act(name).await {
            Ok(()) => cli.println(name)?,
            Err(error) => errors.push(Error::from(error)),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}

/// As [`each`], for what has been done to all of them at once.
pub fn report<T>(cli: &Cli, names: &[String], results: Vec<Result<T, client::Error>>) -> Outcome {
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(_) => cli.println(name)?,
            Err(error) => errors.push(Error::from(error)),
        }
    }
    joined(errors).map_or(Ok(0), Err)
}

/// The exit code of a container is ours.
pub fn exit_code(answer: api::containers::WaitResponse) -> Outcome {
    match answer.error.filter(|error| !error.message.is_empty()) {
        Some(error) => Err(Error::with_code(error.message, 125)),
        None => Ok((answer.status_code & 0xff) as u8),
    }
}
