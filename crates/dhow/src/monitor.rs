//! `dhow monitor`: the process beside each running container. Not for people: the engine spawns it.

use std::process::ExitCode;

/// Serves one container until it is over. To be called before anything has opened a descriptor or started a thread.
pub fn main() -> ExitCode {
    ::monitor::run()
}
