//! What the tests spawn in place of `dhow monitor` and `docker-init`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "monitor") { monitor::run() } else { monitor::init::run(args) }
}
