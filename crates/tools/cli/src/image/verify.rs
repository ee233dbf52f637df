//! `image verify`: whether an image in its registry is signed with a key, as `cosign verify --key` tells it.

use api::images::SignedStatement;
use cosign::{Claim, PublicKey, Statement};
use oci::Reference;
use serde_json::{Value, json};

use super::{annotations, key};
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only signatures in which this is noted, as key=value; may be repeated
    #[arg(short, long)]
    annotation: Vec<String>,
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// The public key: a file, or env://VARIABLE
    #[arg(long)]
    key: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let Some(name) = &args.key else {
        return Err(Error::new("image verify needs --key FILE: the public key of whoever is to have signed"));
    };
    let key = key::public(cli, name)?;
    let wanted = annotations::read(&args.annotation)?;
    let mut told = Vec::new();
    for image in &args.args {
        let reference = Reference::parse(image).map_err(|error| Error::new(error.to_string()))?;
        let auths = credentials::all(cli)?;
        let found = client::images::signatures(cli.client()?, image, args.insecure, &auths).await?;
        let digest =
            found.digest.ok_or_else(|| Error::new(format!("the server does not say what {image} is")))?;
        let claims: Vec<Claim> =
            found.statements.iter().filter_map(|statement| claim(&key, statement)).collect();
        let of_repository = |claim: &Claim| {
            let Some(text) = &claim.reference else { return true };
            Reference::parse_name(text).is_ok_and(|signed| signed.name() == reference.name())
        };
        let noted = |claim: &Claim| {
            wanted.iter().all(|(name, value)| {
                claim.annotations.get(name).and_then(Value::as_str) == Some(value.as_str())
            })
        };
        let good: Vec<&Claim> = claims
            .iter()
            .filter(|claim| claim.digest == digest && of_repository(claim) && noted(claim))
            .collect();
        if good.is_empty() {
            return Err(Error::new(match found.statements.len() {
                0 => format!("no signatures found for {image}"),
                count => format!(
                    "no matching signatures for {image}: it has {count}, and {} by key {}",
                    match claims.is_empty() {
                        true => "none",
                        false => "none about this image with these notes",
                    },
                    key.fingerprint()
                ),
            }));
        }
        let count = match good.len() {
            1 => "a signature".to_owned(),
            count => format!("{count} signatures"),
        };
        cli.complain(&format!("Verification for {reference}: {count} by key {}", key.fingerprint()));
        told.extend(good.into_iter().map(document));
    }
    cli.println(&json!(told).to_string()).map(|()| 0)
}

fn claim(key: &PublicKey, statement: &SignedStatement) -> Option<Claim> {
    let SignedStatement { payload, signature, bundle } = statement;
    match bundle.is_empty() {
        true => Statement::Payload { payload, signature }.claim(key),
        false => Statement::Bundle(bundle).claim(key),
    }
}

/// A claim as cosign prints it.
fn document(claim: &Claim) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": claim.reference.clone().unwrap_or_default() },
            "image": { "docker-manifest-digest": claim.digest },
            "type": "cosign container image signature",
        },
        "optional": claim.annotations,
    })
}
