//! Docker's plugin for builds: what it has besides `build`, `bake` and the cache.

pub mod builders;
pub mod desktop;
pub mod dial_stdio;
pub mod imagetools;
pub mod refused;

use crate::context::Cli;
use crate::error::Error;

/// What every command of the plugin takes.
#[derive(clap::Args)]
pub struct Plugin {
    /// Builder to use; there is one, "default"
    #[arg(long)]
    builder: Option<String>,
    /// Print debugging messages
    #[arg(short = 'D', long)]
    debug: bool,
}

impl Plugin {
    /// The builder that is named, here or in the environment, must be the one there is.
    pub fn check(&self, cli: &Cli) -> Result<(), Error> {
        if self.debug {
            (cli.host.debug)();
        }
        let named = self.builder.clone().or_else(|| cli.variable("BUILDX_BUILDER"));
        builders::only(named.as_deref())
    }
}
