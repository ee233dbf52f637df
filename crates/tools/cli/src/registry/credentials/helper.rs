//! The protocol of docker-credential-helpers: `docker-credential-NAME get|store|erase|list`, a server's name or a document on standard
//! input, a document or a reason on standard output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use api::auth::AuthConfig;
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, plain_io};

/// What helpers say when they have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name under which a token is kept that is exchanged for others.
const TOKEN_USER: &str = "<token>";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Kept {
    username: String,
    secret: String,
}

pub fn get(name: &str, server: &str) -> Result<Option<AuthConfig>, Error> {
    let output = match run(name, "get", "getting", server.as_bytes()) {
        Ok(output) => output,
        Err(Failure { output, .. }) if output == NOT_FOUND => return Ok(None),
        Err(failure) => return Err(failure.error),
    };
    let kept: Kept = serde_json::from_slice(&output).map_err(|error| {
        Error::new(format!(
            "error getting credentials - docker-credential-{name} answered no document: {error}"
        ))
    })?;
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    match kept.username.as_str() {
        TOKEN_USER => auth.identitytoken = kept.secret,
        _ => (auth.username, auth.password) = (kept.username, kept.secret),
    }
    Ok((!auth.username.is_empty() || !auth.identitytoken.is_empty()).then_some(auth))
}

pub fn store(name: &str, auth: &AuthConfig) -> Result<(), Error> {
    let (user, secret) = match auth.identitytoken.is_empty() {
        true => (auth.username.as_str(), auth.password.as_str()),
        false => (TOKEN_USER, auth.identitytoken.as_str()),
    };
    let document = json!({"ServerURL": auth.serveraddress, "Username": user, "Secret": secret});
    run(name, "store", "storing", document.to_string().as_bytes()).map(drop).map_err(|failure| failure.error)
}

/// What it does not have is forgotten already.
pub fn erase(name: &str, server: &str) -> Result<(), Error> {
    match run(name, "erase", "erasing", server.as_bytes()) {
        Err(Failure { error, output }) if output != NOT_FOUND => Err(error),
        _ => Ok(()),
    }
}

/// The servers that it has credentials for.
pub fn list(name: &str) -> Result<Vec<String>, Error> {
    let output = run(name, "list", "listing", b"unused").map_err(|failure| failure.error)?;
    let users: BTreeMap<String, String> = serde_json::from_slice(&output).map_err(|error| {
        Error::new(format!(
            "error listing credentials - docker-credential-{name} answered no document: {error}"
        ))
    })?;
    Ok(users.into_keys().collect())
}

struct Failure {
    error: Error,
    /// What it said.
    output: String,
}

/// What it says, with Docker's words for what goes wrong. What it writes to standard error the user sees.
fn run(name: &str, verb: &str, doing: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let program = format!("docker-credential-{name}");
    let fail = |why: String, output: String| Failure {
        error: Error::new(format!("error {doing} credentials - err: {why}, out: `{output}`")),
        output,
    };
    // A path would be one to whatever lies there.
    if name.contains('/') {
        return Err(fail(format!("{program:?} is no name of a program"), String::new()));
    }
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            fail(format!("exec: {program:?}: executable file not found in $PATH"), String::new())
        }
        _ => fail(format!("exec: {program:?}: {}", plain_io(&error)), String::new()),
    };
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that needs no input may be gone already.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(broken)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let why = match output.status.code() {
        Some(code) => format!("exit status {code}"),
        None => output.status.to_string(),
    };
    Err(fail(why, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}
