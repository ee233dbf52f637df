//! `history export`: records as the archives that Docker Desktop reads (`.dockerbuild`): an OCI layout in a compressed tar, of which
//! each manifest is a build. Its configuration is BuildKit's record in the JSON that Go's encoder makes of it, its layers are the
//! documents that belong to it.

use std::collections::{BTreeMap, BTreeSet};

use api::build::{BuildAttachment, BuildRecord};
use archive::{Compression, Entry, Packer};
use bytes::Bytes;
use futures_util::stream;
use oci::image::{Descriptor, Index, Manifest};
use oci::{Digest, Platform, media_types};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::attachment::{self, PREDICATE};
use crate::container::cp::chain;
use crate::context::Cli;
use crate::error::Error;
use crate::system::output::Target;
use crate::verbs::Outcome;

/// The media type of a record.
const RECORD: &str = "application/vnd.buildkit.historyrecord.v0";
/// What manifests of images are called here, so that nobody looks for what they name, and where their own type is told.
const OPAQUE: &str = "application/json";
const OWN_TYPE: &str = "vnd.export-build.descriptor.mediatype";
/// Which record it is, where there are several.
const REFERENCE: &str = "vnd.buildkit.history.reference";

#[derive(clap::Args)]
pub struct Args {
    /// All builds that have ended
    #[arg(long)]
    all: bool,
    /// Accepted for scripts: the record of a build that has ended is complete
    #[arg(long)]
    finalize: bool,
    /// Write to this file, and not to standard output
    #[arg(short, long)]
    output: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.all && !args.args.is_empty() {
        return Err(Error::new("cannot specify refs when using --all"));
    }
    let client = cli.client()?;
    let mut names = args.args;
    if args.all {
        let ended = client::builds::history(client).await?.into_iter().filter(|one| one.status != "running");
        names = ended.map(|record| record.id).collect();
        if names.is_empty() {
            return Err(Error::new("no records found"));
        }
    } else if names.is_empty() {
        names.push(String::new());
    }
    let target = Target::open(cli, args.output.as_deref(), 0o666, ("export", "builds"))?;
    let mut layout = Layout::default();
    let mut records = Vec::new();
    for name in &names {
        let record = client::builds::inspect(client, name).await?;
        if record.status == "running" {
            return Err(Error::new(format!(
                "build {} is running: it is exported when it has ended",
                record.id
            )));
        }
        records.push(layout.record(cli, &record).await?);
    }
    let bytes = layout.finish(records)?;
    target.fill(stream::iter([Ok(Bytes::from(bytes))])).await
}

/// The archive as far as it is made.
struct Layout {
    packer: Packer<Vec<u8>>,
    packed: BTreeSet<Digest>,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { packer: Packer::new(Vec::new()), packed: BTreeSet::new() }
    }
}

impl Layout {
    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let entry = Entry::file(path, 0o644, bytes.len() as u64);
        self.packer.append_bytes(&entry, bytes).map_err(|error| Error::new(chain(&error)))
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, bytes);
        let digest = &descriptor.digest;
        if self.packed.insert(digest.clone()) {
            self.file(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()), bytes)?;
        }
        Ok(descriptor)
    }

    fn document(&mut self, media_type: &str, document: &impl Serialize) -> Result<Descriptor, Error> {
        let bytes = serde_json::to_vec_pretty(document).map_err(|error| Error::new(error.to_string()))?;
        self.blob(media_type, &bytes)
    }

    /// A build with its documents, as a manifest.
    async fn record(&mut self, cli: &Cli, record: &BuildRecord) -> Result<(String, Descriptor), Error> {
        let mut layers = Vec::new();
        for one in &record.attachments {
            let bytes = client::builds::attachment(cli.client()?, &record.id, &one.digest).await?;
            let mut layer = self.blob(media_type(one), &bytes)?;
            let kept = if attachment::is_image(&one.kind) { OWN_TYPE } else { PREDICATE };
            layer.annotations.insert(kept.to_owned(), one.kind.clone());
            layers.push(layer);
        }
        let config = self.document(RECORD, &told(record, &layers))?;
        let manifest = self.document(media_types::OCI_MANIFEST, &Manifest::new(config, layers))?;
        Ok((record.id.clone(), manifest))
    }

    /// The compressed archive of these builds.
    fn finish(mut self, mut records: Vec<(String, Descriptor)>) -> Result<Vec<u8>, Error> {
        let top = match records.len() {
            1 => records.remove(0).1,
            _ => {
                let named = records.into_iter().map(|(id, mut manifest)| {
                    manifest.annotations.insert(REFERENCE.to_owned(), id);
                    manifest
                });
                self.document(media_types::OCI_INDEX, &Index::new(named.collect()))?
            }
        };
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index =
            serde_json::to_vec(&Index::new(vec![top])).map_err(|error| Error::new(error.to_string()))?;
        self.file("index.json", &index)?;
        let tar = self.packer.finish().map_err(|error| Error::new(chain(&error)))?;
        let failed = |error: std::io::Error| Error::new(format!("compress the archive: {error}"));
        let mut sink = archive::compress(Compression::Gzip, None, Vec::new()).map_err(failed)?;
        std::io::Write::write_all(&mut sink, &tar).and_then(|()| sink.finish()).map_err(failed)
    }
}

fn media_type(document: &BuildAttachment) -> &str {
    if attachment::is_image(&document.kind) { OPAQUE } else { "application/vnd.in-toto+json" }
}

/// BuildKit's record.
fn told(record: &BuildRecord, layers: &[Descriptor]) -> Value {
    let steps = record.counts();
    let mut all = json!({
        "Ref": record.id,
        "Frontend": "dockerfile.v0",
        "FrontendAttrs": record.attributes,
        "ExporterResponse": response(record),
        "numCachedSteps": steps.cached,
        "numTotalSteps": steps.total,
        "numCompletedSteps": steps.completed,
        "DefaultPlatform": Platform::host().to_string(),
    });
    for (name, text) in [("CreatedAt", &record.started_at), ("CompletedAt", &record.completed_at)] {
        if let Some(at) = api::time::parse(text) {
            all[name] = json!({ "seconds": at.as_second(), "nanos": at.subsec_nanosecond() });
        }
    }
    if let Some((code, message)) = super::document::failure(record) {
        all["error"] = json!({ "code": code, "message": message });
    }
    let mut results: BTreeMap<&str, (Vec<Value>, Map<String, Value>)> = BTreeMap::new();
    for (one, layer) in record.attachments.iter().zip(layers) {
        if attachment::is_image(&one.kind) {
            let (_, images) = results.entry("").or_default();
            images.insert(images.len().to_string(), described(layer, &one.kind));
        } else {
            results.entry(&one.platform).or_default().0.push(described(layer, &layer.media_type));
        }
    }
    let result =
        |(statements, images)| json!({ "Attestations": statements, "Results": Value::Object(images) });
    if let Some(whole) = results.remove("") {
        all["Result"] = result(whole);
    }
    all["Results"] = results.into_iter().map(|(platform, own)| (platform.to_owned(), result(own))).collect();
    all
}

/// A descriptor as BuildKit's protocols have it.
fn described(layer: &Descriptor, media_type: &str) -> Value {
    let annotations: BTreeMap<_, _> = layer.annotations.iter().filter(|(key, _)| *key == PREDICATE).collect();
    json!({
        "media_type": media_type,
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "annotations": annotations,
    })
}

/// What its client was told of the result.
fn response(record: &BuildRecord) -> BTreeMap<String, String> {
    let mut all = record.response.clone();
    if all.is_empty() && !record.image.is_empty() {
        all.insert("containerimage.config.digest".to_owned(), record.image.clone());
        all.insert("image.name".to_owned(), record.tags.join(","));
    }
    all
}
