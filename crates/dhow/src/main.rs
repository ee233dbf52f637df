//! The binary: the composition root, and the only place that knows arguments, environment and log output.
//!
//! One program, told by its arguments what it is: `docker-init` inside of a container, `monitor` beside one,
//! `cleanup` after one, `runtime` for engines that call an OCI runtime, `daemon`, and in all other cases the
//! command line. The first four come before any thread or logger exists: each runs for every container.

#![cfg_attr(not(test), no_main)]

mod cleanup;
mod connect;
mod daemon;
mod init;
mod logging;
mod manager;
mod monitor;
mod registry;
mod runtime;
mod storage;
mod surroundings;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use surroundings::Surroundings;

/// How long a cancelled build may clear up before the process ends all the same.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(not(test))]
sys::entry!(main);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    match Path::new(&program).file_name().and_then(OsStr::to_str) {
        Some("docker-init") => return init::main(std::env::args_os()),
        Some(name @ ("dhow-runtime" | "runc")) => return runtime::main(name, arguments),
        _ => {}
    }
    let first = arguments.next();
    match first.as_deref().and_then(OsStr::to_str) {
        Some("monitor") => monitor::main(),
        Some("cleanup") => cleanup::main(arguments),
        Some("runtime") => runtime::main("dhow runtime", arguments),
        _ => command_line(),
    }
}

/// The command line, and the daemon, which takes the same flags before its name.
fn command_line() -> ExitCode {
    let (surroundings, arguments) = match Surroundings::read() {
        Ok(read) => read,
        Err(text) => return fail(&cli::Error::with_code(text, 125)),
    };
    let globals = match cli::parse(&surroundings.program, &arguments) {
        Ok(globals) => globals,
        Err(error) => return fail(&error),
    };
    let verb = globals.args.first().map(String::as_str);
    // Their steps' processes are copies of this one until they execute their program (CVE-2019-5736), as those of
    // containers are of a monitor.
    let builds =
        verb == Some("daemon") || globals.args.iter().take(2).any(|word| word == "build" || word == "bake");
    if builds && let Err(error) = surroundings::leave_writable() {
        return fail(&error.into());
    }
    if verb == Some("daemon") {
        return daemon::main(&surroundings, globals);
    }
    if verb == Some("registry") {
        return registry::main(&surroundings, &globals);
    }
    sys::daemon::keep_memory();
    logging::start(&globals);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let host = surroundings.host();
    let code = runtime.block_on(async {
        let code = cli::run(host, globals).await;
        settle().await;
        code
    });
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// A build that the user cancelled clears up behind the command's back.
pub(crate) async fn settle() {
    let begun = Instant::now();
    while engine::builds::are_under_way() && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn fail(error: &cli::Error) -> ExitCode {
    cli::report(error);
    ExitCode::from(error.code)
}
