use tokio::io::AsyncWriteExt as _;

use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

/// The far end of an `ssh://` connection.
pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    let link = (cli.host.connect)(&cli.globals)?;
    let (mut from, mut to) = tokio::io::split(link.connector.dial().await?);
    let input = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        let _ = to.shutdown().await;
    });
    let mut out = tokio::io::stdout();
    let copied = tokio::io::copy(&mut from, &mut out).await;
    input.abort();
    copied?;
    out.flush().await?;
    Ok(0)
}
