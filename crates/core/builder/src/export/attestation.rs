//! Attestations as BuildKit attaches them: in-toto statements as the layers of a manifest that stands beside the image in the
//! index, for the platform `unknown/unknown`, and names the image's manifest in an annotation. It is an artifact whose subject
//! that is, or, as in earlier versions, looks like an image.

use super::options::Provenance;
use super::steps::Layers;
use super::{Facts, Made, provenance, sbom, write};
use crate::error::Error;
use crate::scan;
use crate::session::{Output, Session};
use crate::step::now;
use oci::image::{Descriptor, Manifest};
use oci::{ChainId, Digest, Platform, media_types};
use serde_json::{Value, json};

const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// An empty document in base64, as registries that know artifacts expect it beside its digest.
const EMPTY: &str = "e30=";
const PREDICATE: &str = "in-toto.io/predicate-type";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const SLSA_OLD: &str = "https://slsa.dev/provenance/v0.2";
const SPDX: &str = "https://spdx.dev/Document";

/// Adds the attestations that are asked for.
pub(crate) fn attest(
    session: &Session<'_>,
    facts: &Facts<'_>,
    (outputs, chain): (&[Output], Option<&ChainId>),
    layers: &Layers<'_>,
    made: &mut Made,
) -> Result<(), Error> {
    let options = &session.request.export;
    let ended = now(session);
    let mut statements = Vec::new();
    if let Some(op) = session.graph.scan.op {
        for (kind, predicate) in scan::predicates(session, outputs, op)? {
            if kind == SPDX && made.sbom.is_none() {
                made.sbom = Some(predicate.clone());
            }
            statements.push(statement(&kind, &made.manifest.digest, predicate));
        }
    } else if options.sbom {
        let root = session.view(chain)?;
        let stopped = || session.stopped();
        let document = sbom::document(root.as_ref(), &made.manifest.digest, &ended, "sbom", &stopped);
        made.sbom = Some(document.clone());
        statements.push(statement(SPDX, &made.manifest.digest, document));
        for (name, fs) in &session.graph.scan.more {
            let chain = session.node(fs).and_then(|node| outputs[node].chain.clone());
            let root = session.view(chain.as_ref())?;
            let name = format!("sbom-{name}");
            let document = sbom::document(root.as_ref(), &made.manifest.digest, &ended, &name, &stopped);
            statements.push(statement(SPDX, &made.manifest.digest, document));
        }
    }
    if let Some(how) = options.provenance {
        let predicate = told(session, facts, layers, how, &ended);
        let kind = if options.slsa.old { SLSA_OLD } else { SLSA };
        statements.push(statement(kind, &made.manifest.digest, predicate));
    }
    if let Some(how) = options.told_provenance.or(options.provenance) {
        made.provenance = Some(told(session, facts, layers, how, &ended));
    }
    if statements.is_empty() {
        return Ok(());
    }
    made.attestation = Some(manifest(session, &made.manifest, &statements)?);
    Ok(())
}

fn told(
    session: &Session<'_>,
    facts: &Facts<'_>,
    layers: &Layers<'_>,
    how: Provenance,
    ended: &str,
) -> Value {
    let Session { request, graph, images, .. } = *session;
    let predicate = provenance::predicate(how, facts, request, (graph, images, layers), ended);
    match session.request.export.slsa.old {
        true => provenance::old(&predicate),
        false => predicate,
    }
}

fn statement(kind: &str, subject: &Digest, predicate: Value) -> (String, Value) {
    let document = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": kind,
        "subject": [{ "name": "_", "digest": { subject.algorithm(): subject.hex() } }],
        "predicate": predicate,
    });
    (kind.to_string(), document)
}

fn manifest(
    session: &Session<'_>,
    subject: &Descriptor,
    statements: &[(String, Value)],
) -> Result<Descriptor, Error> {
    let (env, lease) = (session.env, session.lease);
    let mut layers = Vec::with_capacity(statements.len());
    for (kind, document) in statements {
        let mut layer = write(env, lease, STATEMENT, document)?;
        layer.annotations.insert(PREDICATE.to_string(), kind.clone());
        layers.push(layer);
    }
    let options = &session.request.export;
    let manifest = match options.artifact {
        true => artifact(session, subject, layers)?,
        false => {
            let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
            let config = json!({
                "architecture": "unknown",
                "os": "unknown",
                "config": {},
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            });
            let kind = if options.docker { media_types::DOCKER_CONFIG } else { media_types::OCI_CONFIG };
            let mut manifest = Manifest::new(write(env, lease, kind, &config)?, layers);
            if options.docker {
                manifest.media_type = media_types::DOCKER_MANIFEST.to_string();
            }
            manifest
        }
    };
    let mut descriptor = write(env, lease, &manifest.media_type, &manifest)?;
    descriptor.platform = Some(Platform::new("unknown", "unknown", None));
    let notes = [
        (oci::image::ATTESTED, subject.digest.to_string()),
        ("vnd.docker.reference.type", "attestation-manifest".to_string()),
    ];
    descriptor.annotations.extend(notes.map(|(name, value)| (name.to_string(), value)));
    Ok(descriptor)
}

/// The manifest of an artifact: nothing is its configuration.
fn artifact(
    session: &Session<'_>,
    subject: &Descriptor,
    statements: Vec<Descriptor>,
) -> Result<Manifest, Error> {
    let mut config = write(session.env, session.lease, media_types::OCI_EMPTY, &json!({}))?;
    config.data = Some(EMPTY.to_string());
    let mut manifest = Manifest::new(config, statements);
    manifest.artifact_type = Some(ARTIFACT.to_string());
    let Descriptor { media_type, digest, size, .. } = subject.clone();
    manifest.subject = Some(Box::new(Descriptor::new(&media_type, digest, size)));
    Ok(manifest)
}
