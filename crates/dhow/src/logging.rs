//! Log messages, on standard error: warnings unless the user asks for more.

use std::sync::OnceLock;

use cli::Globals;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// What is printed, while the process runs.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

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
    let (level, handle) = reload::Layer::new(level);
    let messages = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    // A message that finds no room is no reason to end.
    let messages = messages.log_internal_errors(false);
    // What resolv.conf(5) wants to be ignored, its reader warns of.
    let messages =
        messages.with_filter(filter_fn(|of| !of.target().starts_with("hickory_resolver::system_conf")));
    // Fails only when there is one already.
    if tracing_subscriber::registry().with(level).with(messages).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Prints debugging messages too from now on: some commands have a flag of their own for that.
pub fn debug() {
    if let Some(level) = LEVEL.get() {
        // Fails only when the subscriber is gone.
        let _ = level.reload(LevelFilter::DEBUG);
    }
}
