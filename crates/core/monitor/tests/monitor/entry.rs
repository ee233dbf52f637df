//! The monitor process as the tests spawn it.

fn main() -> std::process::ExitCode {
    monitor::run()
}
