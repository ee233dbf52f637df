//! Attestations as BuildKit attaches them: in-toto statements as the layers of a manifest that stands beside the image in the
//! index, for the platform `unknown/unknown`, and names the image's manifest in an annotation. It is an artifact whose subject
//! that is, or, as in earlier versions, looks like an image.

use super::options::Provenance;
use super::statement::{self, SPDX, Statement};
use super::steps::Layers;
use super::{Facts, Made, provenance, sbom, write};
use crate::error::Error;
use crate::scan;
use crate::session::{Output, Session};
use crate::step::now;
use oci::image::{Descriptor, Manifest};
use oci::{ChainId, Digest, Platform, media_types};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// An empty document in base64, as registries that know artifacts expect it beside its digest.
const EMPTY: &str = "e30=";
const PREDICATE: &str = "in-toto.io/predicate-type";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const SLSA_OLD: &str = "https://slsa.dev/provenance/v0.2";

/// Adds the attestations that a client gives, and those that are asked for.
pub(crate) fn attest(
    session: &Session<'_>,
    facts: &Facts<'_>,
    (outputs, chain): (&[Output], Option<&ChainId>),
    layers: &Layers<'_>,
    made: &mut Made,
) -> Result<(), Error> {
    let options = &session.request.export;
    let ended = now(session);
    let mut statements = session.claims.statements.clone();
    if !statements.iter().any(|statement| statement.kind == SPDX) {
        statements.extend(listed(session, (outputs, chain), &made.manifest.digest, &ended)?);
    }
    let list = statements.iter().find(|statement| statement.kind == SPDX);
    made.sbom = list.filter(|_| options.sbom).map(|statement| statement.predicate.clone());
    if let Some(how) = options.provenance {
        let kind = if options.slsa.old { SLSA_OLD } else { SLSA };
        let file = options.provenance_file.as_deref().unwrap_or_default();
        statements.push(Statement::new(file, kind, told(session, facts, layers, how, &ended)?));
    }
    if let Some(how) = options.told_provenance.or(options.provenance) {
        made.provenance = Some(told(session, facts, layers, how, &ended)?);
    }
    if statements.is_empty() {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    let names = options.names.iter().chain(&session.request.tags).filter(|name| seen.insert(*name));
    let names: Vec<_> = names.cloned().collect();
    let image = statement::image(&names, &made.platform, &made.manifest.digest);
    let document = |statement: &Statement| (statement.kind.clone(), statement.document(&image));
    let documents: Vec<_> = statements.iter().map(document).collect();
    made.attestation = Some(manifest(session, &made.manifest, &documents)?);
    if options.file_statements {
        made.statements = beside(session, chain, &statements)?;
    }
    Ok(())
}

/// The lists of packages that are asked for.
fn listed(
    session: &Session<'_>,
    (outputs, chain): (&[Output], Option<&ChainId>),
    subject: &Digest,
    ended: &str,
) -> Result<Vec<Statement>, Error> {
    if let Some(op) = session.graph.scan.op {
        return scan::statements(session, outputs, op);
    }
    if !session.request.export.sbom {
        return Ok(Vec::new());
    }
    let stopped = || session.stopped();
    let list = |name: &str, chain: Option<&ChainId>| {
        let root = session.view(chain)?;
        let document = sbom::document(root.as_ref(), subject, ended, name, &stopped);
        Ok::<_, Error>(Statement::new(&format!("{name}.spdx.json"), SPDX, document))
    };
    let mut lists = vec![list("sbom", chain)?];
    for (name, fs) in &session.graph.scan.more {
        let chain = session.node(fs).and_then(|node| outputs[node].chain.clone());
        lists.push(list(&format!("sbom-{name}"), chain.as_ref())?);
    }
    Ok(lists)
}

/// The statements about the files of a result, by the names that they have beside these.
fn beside(
    session: &Session<'_>,
    chain: Option<&ChainId>,
    statements: &[Statement],
) -> Result<Vec<(String, Value)>, Error> {
    let root = session.view(chain)?;
    let files = statement::files(root.as_ref(), &|| session.stopped());
    let files = files.map_err(|source| match session.stopped() {
        true => Error::Cancelled,
        false => Error::Io { attempt: "read", path: "the files of the result".into(), source },
    })?;
    let mut all: Vec<(String, Value)> = Vec::new();
    for statement in statements.iter().filter(|statement| !statement.file.is_empty()) {
        if all.iter().any(|(name, _)| *name == statement.file) {
            return Err(Error::Attestation { name: statement.file.clone() });
        }
        all.push((statement.file.clone(), statement.document(&files)));
    }
    Ok(all)
}

fn told(
    session: &Session<'_>,
    facts: &Facts<'_>,
    layers: &Layers<'_>,
    how: Provenance,
    ended: &str,
) -> Result<Value, Error> {
    let Session { request, graph, images, .. } = *session;
    let whole = match &session.claims.origin {
        Some(origin) => provenance::carried(origin, facts, request, layers, ended),
        None => {
            let materials = session.materials();
            provenance::predicate((facts, &materials), request, (graph, images, layers), ended)
        }
    };
    if let (true, Some(locals)) = (request.export.slsa.complete, provenance::unnamed(&whole)) {
        return Err(Error::Materials { locals });
    }
    let predicate = match how {
        Provenance::Max => whole,
        Provenance::Min => provenance::least(whole),
    };
    Ok(match session.request.export.slsa.old {
        true => provenance::old(&predicate),
        false => predicate,
    })
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
