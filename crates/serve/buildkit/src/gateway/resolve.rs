//! What a source is, before it is used: images alone have something to tell.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveImageConfigRequest, ResolveImageConfigResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::pb;
use engine::images::{self, Configuration};
use engine::{Error, Kind};
use oci::{Platform, Reference};
use tokio::sync::mpsc;
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::fault;

const IMAGE: &str = "docker-image://";
/// Messages of a pull that may wait; nobody reads them.
const BACKLOG: usize = 16;

pub async fn image_config(
    host: &Host,
    build: &Build,
    wanted: ResolveImageConfigRequest,
) -> Result<ResolveImageConfigResponse, Status> {
    if !wanted.source_policies.is_empty() {
        return Err(fault::no_policies());
    }
    let found = image(host, build, &wanted.r#ref, wanted.platform, &wanted.resolve_mode).await?;
    let (digest, config) = (found.manifest.to_string(), found.bytes);
    Ok(ResolveImageConfigResponse { digest, config, r#ref: wanted.r#ref })
}

pub async fn source(
    host: &Host,
    build: &Build,
    wanted: ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Status> {
    if !wanted.source_policies.is_empty() {
        return Err(fault::no_policies());
    }
    let source = wanted.source.ok_or_else(|| Status::invalid_argument("source is needed"))?;
    let Some(name) = source.identifier.strip_prefix(IMAGE) else {
        return Err(Status::unimplemented(format!(
            "source {} cannot be resolved beforehand by this server",
            source.identifier
        )));
    };
    let platform = wanted.platform;
    let found = image(host, build, name, platform, &wanted.resolve_mode).await?;
    let bare = wanted.image.is_some_and(|image| image.no_config);
    let image = ResolveSourceImageResponse {
        digest: found.manifest.to_string(),
        config: if bare { Vec::new() } else { found.bytes },
        attestation_chain: None,
    };
    Ok(ResolveSourceMetaResponse { source: Some(source), image: Some(image), git: None, http: None })
}

/// The image, pulled if it is not here or that is asked for.
async fn image(
    host: &Host,
    build: &Build,
    name: &str,
    platform: Option<pb::Platform>,
    mode: &str,
) -> Result<Configuration, Status> {
    let engine = host.engine();
    let platform = platform.map(|p| Platform::new(&p.os, &p.architecture, Some(&p.variant)).normalized());
    if mode != "pull" {
        match images::config(engine, name, platform.clone()).await {
            Err(Error { kind: Kind::NotFound, .. }) => {}
            found => return found.map_err(fault::status),
        }
    }
    let reference = Reference::parse(name).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let who = match build.order.session.as_str() {
        "" => api::auth::AuthConfig::default(),
        id => host.find_session(id).await?.credentials(&reference.domain).await?,
    };
    let options = api::images::PullOptions {
        from_image: reference.to_string(),
        platform: platform.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..api::images::PullOptions::default()
    };
    let step = build.told.step(&format!("[internal] load metadata for {reference}"));
    let (sender, mut receiver) = mpsc::channel(BACKLOG);
    let quiet = async { while receiver.recv().await.is_some() {} };
    let (pulled, ()) = tokio::join!(images::pull(engine, options, who, sender), quiet);
    step.end(pulled.map_err(fault::status))?;
    images::config(engine, name, platform).await.map_err(fault::status)
}
