use crate::context::Cli;
use crate::format::Listing;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let link = (cli.host.connect)(&cli.globals)?;
    let row = crate::row! {
        "Name": "default",
        "Current": true,
        "Description": "The server of the flags and the surroundings",
        "DockerEndpoint": link.connector.host(),
        "Error": "",
    };
    let listing = Listing {
        table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"
            .to_owned(),
        quiet: "{{.Name}}",
        raw: "",
        columns: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("DockerEndpoint", "DOCKER ENDPOINT"),
            ("Error", "ERROR"),
        ],
        labels: false,
    };
    cli.print(&listing.render(args.format.as_deref(), args.quiet, &[row])?)?;
    Ok(0)
}
