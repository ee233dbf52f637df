use std::io::{Read as _, Write as _};

use api::auth::AuthConfig;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials::{self, HUB};
use crate::verbs::Outcome;

/// How much of a password is read.
const SECRET_MAX: u64 = 1 << 20;

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
    let server = credentials::key(args.args.first().map_or("", String::as_str));
    let (username, password) = given(cli, &args)?;
    let is_reuse = args.username.is_none() && args.password.is_none();
    let stored = match is_reuse {
        true => credentials::lookup(cli, &server)?,
        false => None,
    };
    if let Some(auth) = stored.as_ref().filter(|auth| !auth.username.is_empty() && !auth.password.is_empty())
    {
        cli.complain(&format!("Authenticating with existing credentials... [Username: {}]", auth.username));
        let mark = if cli.stderr_is_terminal() { "i Info →" } else { " Info ->" };
        let advice = "To login with a different account, run 'docker logout' followed by 'docker login'";
        cli.complain(&format!("\n{mark} {advice}\n\n"));
        match login(cli, auth.clone()).await {
            Ok(status) => return said(cli, &status),
            Err(error) if error.message.contains("unauthorized") || error.message.contains("401") => {
                cli.complain("Stored credentials invalid or expired");
            }
            Err(error) => cli.complain(&format!("Login did not succeed, error: {error}")),
        }
    }
    let default = stored.map(|auth| auth.username).unwrap_or_default();
    let (username, password) = ask_for(cli, &server, username, password, &default)?;
    let auth = AuthConfig { username, password, serveraddress: server, ..AuthConfig::default() };
    let status = login(cli, auth).await?;
    said(cli, &status)
}

fn said(cli: &Cli, status: &str) -> Outcome {
    cli.println(if status.is_empty() { "Login Succeeded" } else { status })?;
    Ok(0)
}

/// Name and password of the flags, empty where they are not given.
fn given(cli: &Cli, args: &Args) -> Result<(String, String), Error> {
    let username = args.username.clone().unwrap_or_default().trim().to_owned();
    let mut password = args.password.clone().unwrap_or_default();
    if args.password.is_some() {
        if args.password_stdin {
            return Err(Error::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if password.is_empty() {
            return Err(Error::new("password is empty"));
        }
        cli.complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if args.password_stdin {
        if username.is_empty() {
            return Err(Error::new("the --password-stdin option requires --username to be set"));
        }
        std::io::stdin().take(SECRET_MAX).read_to_string(&mut password)?;
        let text = password.strip_suffix('\n').unwrap_or(&password);
        password = text.strip_suffix('\r').unwrap_or(text).to_owned();
        if password.is_empty() {
            return Err(Error::new("password is empty"));
        }
    }
    Ok((username, password))
}

/// Asks the user for what is not given.
fn ask_for(
    cli: &Cli,
    server: &str,
    mut username: String,
    mut password: String,
    default: &str,
) -> Result<(String, String), Error> {
    if !username.is_empty() && !password.is_empty() {
        return Ok((username, password));
    }
    if !cli.stdin_is_terminal() {
        return Err(Error::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    if username.is_empty() {
        if server == HUB {
            cli.println(
                "Log in with your Docker ID or email address to push and pull images from Docker Hub. \
                 If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.",
            )?;
        }
        let question = match default {
            "" => "Username: ".to_owned(),
            default => format!("Username ({default}): "),
        };
        username = ask(cli, &question)?;
        if username.is_empty() {
            username = default.to_owned();
        }
        if username.is_empty() {
            return Err(Error::new("Error: Non-null Username Required"));
        }
    }
    if password.is_empty() {
        if server == HUB {
            cli.complain(
                "A Personal Access Token (PAT) can be used instead of the password.\n\
                 To create a PAT, visit https://app.docker.com/settings\n",
            );
        }
        password = secret(cli, "Password: ")?;
        if password.is_empty() {
            return Err(Error::new("Error: Password Required"));
        }
    }
    Ok((username, password))
}

/// Has the registry check the credentials, and keeps them.
async fn login(cli: &Cli, mut auth: AuthConfig) -> Result<String, Error> {
    let answer = client::system::auth(cli.client()?, &auth).await?;
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identitytoken = answer.identity_token;
    }
    if credentials::store(cli, &auth)? {
        let path = crate::settings::path(cli);
        cli.complain(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    Ok(answer.status)
}

fn ask(cli: &Cli, question: &str) -> Result<String, Error> {
    cli.print(question)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks without showing what is typed.
pub(crate) fn secret(cli: &Cli, question: &str) -> Result<String, Error> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    let answer = ask(cli, question);
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
    let _ = std::io::stdout().write_all(b"\n");
    answer
}
