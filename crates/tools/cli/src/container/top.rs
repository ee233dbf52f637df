use crate::context::Cli;
use crate::format::tabwriter::align_with;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let top = client::containers::top(cli.client()?, &args.args[0], &args.args[1..].join(" ")).await?;
    let mut text = top.titles.join("\t") + "\n";
    for process in &top.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    cli.print(&align_with(&text, 20, 3))?;
    Ok(0)
}
