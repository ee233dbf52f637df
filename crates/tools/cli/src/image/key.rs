//! Keys for signatures, in files or in the environment, as cosign names them.

use cosign::{PrivateKey, PublicKey};

use crate::context::Cli;
use crate::error::Error;
use crate::registry::login::secret;

/// The variable with the password of a private key.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// Reads a private key; a password comes from the environment, or else from whoever sits before the terminal.
pub fn private(cli: &Cli, name: &str) -> Result<PrivateKey, Error> {
    let text = text(cli, name)?;
    let mut failed = None;
    let key = PrivateKey::from_pem(&text, || match cli.variable(PASSWORD) {
        Some(password) => Some(password.into_bytes()),
        None if cli.stdin_is_terminal() => match secret(cli, "Enter password for private key: ") {
            Ok(password) => Some(password.into_bytes()),
            Err(error) => {
                failed = Some(error);
                None
            }
        },
        None => None,
    });
    if let Some(error) = failed {
        return Err(error);
    }
    key.map_err(|error| match error {
        cosign::InvalidKey::NoPassword => Error::new(format!("key {name}: {error}: set {PASSWORD}")),
        error => Error::new(format!("key {name}: {error}")),
    })
}

/// Reads a public key.
pub fn public(cli: &Cli, name: &str) -> Result<PublicKey, Error> {
    PublicKey::from_pem(&text(cli, name)?).map_err(|error| Error::new(format!("key {name}: {error}")))
}

/// The password for a new key.
pub fn new_password(cli: &Cli) -> Result<Vec<u8>, Error> {
    if let Some(password) = cli.variable(PASSWORD) {
        return Ok(password.into_bytes());
    }
    if !cli.stdin_is_terminal() {
        return Err(Error::new(format!("a key needs a password (which may be empty): set {PASSWORD}")));
    }
    let password = secret(cli, "Enter password for private key: ")?;
    match secret(cli, "Enter password for private key again: ")? == password {
        true => Ok(password.into_bytes()),
        false => Err(Error::new("the passwords are not the same")),
    }
}

/// A key's text: from a file, or from a variable that is named `env://NAME`.
fn text(cli: &Cli, name: &str) -> Result<Vec<u8>, Error> {
    match name.split_once("://") {
        Some(("env", variable)) => match cli.variable(variable) {
            Some(text) => Ok(text.into_bytes()),
            None => Err(Error::new(format!("key {name}: the variable is not set"))),
        },
        Some((scheme, _)) => Err(Error::new(format!("key {name}: keys in {scheme} are not supported"))),
        None => cli.read(name),
    }
}
