use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

/// The far end of an `ssh://` connection.
pub async fn run(cli: &Cli, _args: Args) -> Outcome {
    let link = (cli.host.connect)(&cli.globals)?;
    join(link.connector.dial().await?).await
}

/// Joins standard input and output with a connection until its far end closes it.
pub async fn join(connection: impl AsyncRead + AsyncWrite + Send + 'static) -> Outcome {
    let (mut from, mut to) = tokio::io::split(connection);
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
