//! `image sign`: signs what a name stands for in its registry, as `cosign sign --key` does.

use std::collections::BTreeMap;

use api::images::{NewSignature, RemoteOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Reference;

use super::{annotations, key};
use crate::context::Cli;
use crate::error::Error;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Note this in the signature, as key=value; may be repeated
    #[arg(short, long)]
    annotation: Vec<String>,
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// The private key: a file, or env://VARIABLE; its password is in COSIGN_PASSWORD or asked for
    #[arg(long)]
    key: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let Some(name) = &args.key else {
        return Err(Error::new(
            "image sign needs --key FILE: signatures without a key of your own are not supported (image generate-key-pair makes one)",
        ));
    };
    let annotations: BTreeMap<String, String> = annotations::read(&args.annotation)?.into_iter().collect();
    let key = key::private(cli, name)?;
    for image in &args.args {
        let reference = Reference::parse(image).map_err(|error| Error::new(error.to_string()))?;
        let auth = credentials::lookup(cli, &reference.domain)?.unwrap_or_default();
        let options = RemoteOptions { details: false, insecure: args.insecure };
        let found = client::images::remote(cli.client()?, image, &options, &auth).await?;
        let digest = found
            .descriptor
            .map(|descriptor| descriptor.digest)
            .ok_or_else(|| Error::new(format!("the server does not say what {image} is")))?;
        // By digest the name has no tag that the signature could be about.
        let named = match reference.digest.is_some() {
            true => reference.name(),
            false => reference.to_string(),
        };
        let payload =
            cosign::payload(&named, &digest, &annotations).map_err(|error| Error::new(error.to_string()))?;
        let signature = key.sign(&payload).map_err(|error| Error::new(error.to_string()))?;
        let new = NewSignature {
            // Not the tag: it could stand for something else by now.
            name: reference.repository().with_digest(digest.clone()).to_string(),
            payload: STANDARD.encode(payload),
            signature: STANDARD.encode(signature),
            insecure: args.insecure,
        };
        let auths = BTreeMap::from([(reference.domain.clone(), auth)]);
        client::images::sign(cli.client()?, &new, &auths).await?;
        let tag = cosign::signature_tag(&digest);
        cli.complain(&format!("Pushed signature to {}:{tag}", reference.name()));
    }
    Ok(0)
}
