//! `manifest inspect`: a list of this user, a member of one, or what a registry has.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

use super::entry::{Entry, Found, fetch};
use super::lists::Lists;
use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Talk to a registry without encryption, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// Show platforms and layers too
    #[arg(short, long)]
    verbose: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let lists = Lists::of(cli);
    let found = match args.args.as_slice() {
        [list, member] => {
            let (list, member) = (super::name(list)?, super::name(member)?);
            match lists.member(&list, &member)? {
                Some(entry) => Found::Image(Box::new(entry)),
                None => fetch(cli, &member, args.insecure).await?,
            }
        }
        names => {
            let name = super::name(&names[0])?;
            match lists.members(&name)? {
                Some(members) => Found::List(members),
                None => fetch(cli, &name, args.insecure).await?,
            }
        }
    };
    let text = match (found, args.verbose) {
        (Found::Image(entry), true) => indented(&entry, b"\t"),
        (Found::List(entries), true) => indented(&entries, b"\t"),
        (Found::Image(entry), false) => {
            let document: Value = serde_json::from_slice(&entry.bytes()?)
                .map_err(|error| Error::new(format!("manifest of {}: {error}", entry.name)))?;
            indented(&document, b"\t")
        }
        (Found::List(entries), false) => index(&entries),
    };
    cli.println(&text?).map(|()| 0)
}

/// A list as it is sent: of OCI's type when its first member is.
pub fn index(entries: &[Entry]) -> Result<String, Error> {
    let is_oci =
        entries.first().is_some_and(|entry| entry.descriptor.media_type == oci::media_types::OCI_MANIFEST);
    let media_type = if is_oci { oci::media_types::OCI_INDEX } else { oci::media_types::DOCKER_INDEX };
    let members: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let of = &entry.descriptor;
            serde_json::json!({
                "mediaType": of.media_type, "size": of.size, "digest": of.digest, "platform": of.platform,
            })
        })
        .collect();
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": members });
    indented(&index, b"   ")
}

fn indented<T: Serialize>(value: &T, indent: &[u8]) -> Result<String, Error> {
    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(indent));
    value.serialize(&mut out).map_err(|error| Error::new(error.to_string()))?;
    String::from_utf8(text).map(template::printable_json).map_err(|error| Error::new(error.to_string()))
}
