//! `docker-init`: what `--init` puts before a container's command, as `docker-init -- command argument…`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command in `args`, which are all arguments of the process, the program's name included.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ::monitor::init::run(args)
}
