//! Log messages, on standard error: warnings unless the user asks for more.

use cli::Globals;
use tracing::level_filters::LevelFilter;

/// Starts the subscriber; `--log-level` wins over `--debug`.
pub fn start(globals: &Globals) {
    let level = match globals.log_level.as_deref() {
        Some("debug") => LevelFilter::DEBUG,
        Some("info") => LevelFilter::INFO,
        Some("error" | "fatal") => LevelFilter::ERROR,
        Some(_) => LevelFilter::WARN,
        None if globals.debug => LevelFilter::DEBUG,
        None => LevelFilter::WARN,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .finish();
    // Fails only when there is one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
