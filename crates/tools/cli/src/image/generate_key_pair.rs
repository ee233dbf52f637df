//! `image generate-key-pair`: two files as `cosign generate-key-pair` writes them.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use cosign::{InvalidKey, PrivateKey};

use super::key;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let prefix = args.args.first().map_or("cosign", String::as_str);
    let wrong = |error: InvalidKey| Error::new(error.to_string());
    let password = key::new_password(cli)?;
    let key = PrivateKey::generate().map_err(wrong)?;
    write(cli, &format!("{prefix}.key"), &key.to_encrypted_pem(&password).map_err(wrong)?, 0o600)?;
    write(cli, &format!("{prefix}.pub"), &key.public().to_pem().map_err(wrong)?, 0o644)?;
    cli.complain(&format!("Private key written to {prefix}.key\nPublic key written to {prefix}.pub"));
    Ok(0)
}

/// Writes a file that was not there: nobody's key is lost.
fn write(cli: &Cli, name: &str, text: &str, mode: u32) -> Result<(), Error> {
    let path = cli.host.directory.join(name);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::file("create", name, &error))
}
