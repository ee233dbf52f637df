//! What a source is, before it is used: images alone have something to tell.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveImageConfigRequest, ResolveImageConfigResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::pb;
use engine::images::{self, Base, Configuration};
use oci::Platform;
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::frontend::attributes;

const IMAGE: &str = "docker-image://";

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
    let platform = platform.unwrap_or_else(Platform::host);
    let policies =
        engine::builds::Policies::read(&attributes::policies(&build.order)).map_err(fault::status)?;
    let name = &policies.image(name).map_err(fault::status)?;
    let found = images::base(engine, name, &platform, mode == "pull").await;
    let image = match found.map_err(fault::status)? {
        Base::Here(image) => *image,
        Base::Elsewhere(elsewhere) => {
            let domain = &elsewhere.reference.domain;
            let who = match build.order.session.as_str() {
                "" => images::Who::default(),
                id => host.find_session(id).await?.credentials(domain).await?,
            };
            let step = build.told.step(&format!("[internal] load metadata for {}", elsewhere.reference));
            step.end(elsewhere.pull(engine, who).await.map_err(fault::status))?
        }
    };
    images::configuration(engine, image).await.map_err(fault::status)
}
