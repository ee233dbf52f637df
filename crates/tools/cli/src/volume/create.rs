use api::volumes::CreateRequest;

use crate::context::Cli;
use crate::error::Error;
use crate::options::env;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Kind of volume
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set a label
    #[arg(long, value_parser = env::label)]
    label: Vec<String>,
    /// Name, as an alternative to the argument
    #[arg(long, hide = true)]
    name: Option<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let name = match (args.name, args.args.first()) {
        (Some(_), Some(_)) => {
            return Err(Error::new(
                "conflicting options: cannot specify a volume-name through both --name and as a \
                                   positional arg",
            ));
        }
        (name, argument) => name.or_else(|| argument.cloned()).unwrap_or_default(),
    };
    let request = CreateRequest {
        driver: args.driver,
        driver_opts: env::map(&args.opt),
        labels: env::map(&args.label),
        name,
    };
    let volume = client::volumes::create(cli.client()?, &request).await?;
    cli.println(&volume.name)?;
    Ok(0)
}
