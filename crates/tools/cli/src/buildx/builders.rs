//! Builders. There is one: this program itself. What only makes sense with several says so.

use crate::error::Error;

/// The name of the builder, and what platforms it builds for without help.
pub const NAME: &str = "default";

/// A builder that is named must be the one.
pub fn only(name: Option<&str>) -> Result<(), Error> {
    match name {
        None | Some("" | NAME) => Ok(()),
        Some(other) => {
            Err(Error::new(format!("no builder {} found: there is one, {NAME:?}", template::quote(other))))
        }
    }
}

pub mod ls {
    use serde_json::json;

    use super::NAME;
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Print by a Go template, "json" or "table"
        #[arg(long)]
        format: Option<String>,
        /// Accepted: platforms are never left out
        #[arg(long, hide = true)]
        no_trunc: bool,
        #[command(flatten)]
        plugin: Plugin,
        /// Accepted: nobody is asked for long
        #[arg(long, hide = true)]
        timeout: Option<String>,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        let platform = oci::Platform::host().to_string();
        let data = json!({
            "Name": NAME, "Driver": "dhow", "Current": true, "Dynamic": false,
            "Nodes": [{ "Name": NAME, "Endpoint": NAME, "Status": "running", "Platforms": [platform], "Version": cli.host.version }],
        });
        let text = match args.format.as_deref() {
            None | Some("" | "table") => format!(
                "NAME/NODE     DRIVER/ENDPOINT   STATUS    BUILDKIT   PLATFORMS\n{NAME}*      dhow\n \\_ {NAME}    \\_ {NAME}        running   {}      {platform}",
                cli.host.version
            ),
            Some("json") => data.to_string(),
            Some(format) => template::render(format, &data).map_err(|error| Error::new(error.to_string()))?,
        };
        cli.println(&text).map(|()| 0)
    }
}

pub mod inspect {
    use super::{NAME, only};
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Accepted: it needs no start
        #[arg(long)]
        bootstrap: bool,
        #[command(flatten)]
        plugin: Plugin,
        /// Accepted: nobody is asked for long
        #[arg(long, hide = true)]
        timeout: Option<String>,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        only(args.args.first().map(String::as_str))?;
        let (version, platform) = (cli.host.version, oci::Platform::host());
        cli.println(&format!(
            "Name:   {NAME}\nDriver: dhow\n\nNodes:\nName:             {NAME}\nEndpoint:         {NAME}\nStatus:           running\nBuildKit version: {version}\nPlatforms:        {platform}"
        ))
        .map(|()| 0)
    }
}

pub mod choose {
    use super::only;
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Accepted: there is no other
        #[arg(long)]
        default: bool,
        /// Accepted: there is no other
        #[arg(long)]
        global: bool,
        #[command(flatten)]
        plugin: Plugin,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        only(args.args.first().map(String::as_str)).map(|()| 0)
    }
}

pub mod stop {
    use super::only;
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        #[command(flatten)]
        plugin: Plugin,
        args: Vec<String>,
    }

    /// It runs while something is built, and no longer.
    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        only(args.args.first().map(String::as_str)).map(|()| 0)
    }
}

pub mod rm {
    use super::{NAME, only};
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        /// Remove all builders that are not active; there is none
        #[arg(long)]
        all_inactive: bool,
        #[command(flatten)]
        plugin: Plugin,
        /// Ask nothing
        #[arg(short, long)]
        force: bool,
        /// Accepted: there is no daemon of a builder
        #[arg(long, hide = true)]
        keep_daemon: bool,
        /// Accepted: the cache stays, as "builder prune" removes it
        #[arg(long, hide = true)]
        keep_state: bool,
        /// Accepted: nobody is asked for long
        #[arg(long, hide = true)]
        timeout: Option<String>,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        if args.all_inactive {
            return Ok(0);
        }
        args.args.iter().try_for_each(|name| only(Some(name)))?;
        Err(Error::new(format!("the builder {NAME:?} is part of the program and can't be removed")))
    }
}

pub mod version {
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        #[command(flatten)]
        plugin: Plugin,
        args: Vec<String>,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        cli.println(&format!("{} {}", cli.program(), cli.host.version)).map(|()| 0)
    }
}

pub mod create {
    use super::NAME;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    }

    pub async fn run(_cli: &Cli, _args: Args) -> Outcome {
        Err(Error::new(format!(
            "there is one builder, {NAME:?}, which builds for all platforms and needs no set-up: leave \"buildx create\" out"
        )))
    }
}

pub mod install {
    use crate::buildx::Plugin;
    use crate::context::Cli;
    use crate::verbs::Outcome;

    #[derive(clap::Args)]
    pub struct Args {
        #[command(flatten)]
        pub(super) plugin: Plugin,
    }

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        cli.println("\"build\" is this builder already").map(|()| 0)
    }
}

pub mod uninstall {
    pub use super::install::Args;
    use crate::context::Cli;
    use crate::error::Error;
    use crate::verbs::Outcome;

    pub async fn run(cli: &Cli, args: Args) -> Outcome {
        args.plugin.check(cli)?;
        Err(Error::new("\"build\" is this builder, and there is no other one to go back to"))
    }
}
