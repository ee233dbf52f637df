use std::io::{Read as _, Write as _};

use api::auth::AuthConfig;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Password or token; visible to others on this machine, better use --password-stdin
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password or token from standard input
    #[arg(long)]
    password_stdin: bool,
    /// User name
    #[arg(short, long)]
    username: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.password.is_some() {
        cli.complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if args.password_stdin {
            return Err(Error::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
    }
    let server = credentials::key(args.args.first().map_or("", String::as_str)).to_owned();
    let mut username = args.username.unwrap_or_default();
    let mut password = args.password.unwrap_or_default();
    if args.password_stdin {
        if username.is_empty() {
            return Err(Error::new("Must provide --username with --password-stdin"));
        }
        std::io::stdin().take(1 << 20).read_to_string(&mut password)?;
        password = password.trim_end_matches(['\r', '\n']).to_owned();
    }
    if username.is_empty() || password.is_empty() {
        if !cli.stdin_is_terminal() {
            return Err(Error::new("Error: Cannot perform an interactive login from a non TTY device"));
        }
        if username.is_empty() {
            username = ask("Username: ")?;
        }
        if password.is_empty() {
            password = secret("Password: ")?;
        }
    }
    if username.is_empty() || password.is_empty() {
        return Err(Error::new("username and password are required"));
    }
    let mut auth = AuthConfig { username, password, serveraddress: server, ..AuthConfig::default() };
    let answer = client::system::auth(cli.client()?, &auth).await?;
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identitytoken = answer.identity_token;
    }
    if credentials::store(cli, &auth)? {
        let path = crate::settings::path(cli);
        cli.complain(&format!(
            "WARNING! Your credentials are stored unencrypted in '{}'; a credential helper keeps them safer",
            path.display()
        ));
    }
    cli.println(if answer.status.is_empty() { "Login Succeeded" } else { &answer.status })?;
    Ok(0)
}

fn ask(question: &str) -> Result<String, Error> {
    let mut out = std::io::stderr();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks without showing what is typed.
fn secret(question: &str) -> Result<String, Error> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    let answer = ask(question);
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
    let _ = std::io::stderr().write_all(b"\n");
    answer
}
