//! `dhow cleanup <id>`: what a container's monitor runs after the last exit. Not for people.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use engine::Engine;

use crate::surroundings::Places;

/// `arguments` are those behind the word `cleanup`.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "clean up container: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let (Some(id), None) = (arguments.next().and_then(|id| id.into_string().ok()), arguments.next()) else {
        anyhow::bail!("usage: dhow cleanup CONTAINER-ID");
    };
    let places = Places::read().map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = Engine::open(places.engine()).await?;
        engine::containers::cleanup(&engine, &id).await?;
        anyhow::Ok(())
    })
}
