//! `features`: what this runtime knows.

use super::{Failure, Globals};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Globals, _: &Args) -> Result<(), Failure> {
    let mut features = runtime::features();
    let own = [
        ("io.dhow.runtime.version", env!("CARGO_PKG_VERSION")),
        // Engines look for this one before they offer checkpoints.
        ("org.opencontainers.runc.checkpoint.enabled", "false"),
    ];
    features.annotations = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut json = serde_json::Serializer::with_formatter(&mut text, indent);
    serde::Serialize::serialize(&features, &mut json).map_err(|error| Failure::of("write JSON", &error))?;
    text.push(b'\n');
    super::print(&String::from_utf8_lossy(&text))
}
