//! What a source is, before it is used.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveImageConfigRequest, ResolveImageConfigResponse, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::pb::SourceOp;
use tonic::Status;

use crate::build::Build;
use crate::frontend::layout;
use crate::llb::LAYOUT;
use crate::sources::{Sources, platform};
use crate::{Host, fault, policy};

pub async fn image_config(
    host: &Host,
    build: &Build,
    wanted: ResolveImageConfigRequest,
) -> Result<ResolveImageConfigResponse, Status> {
    if !wanted.source_policies.is_empty() {
        return Err(fault::no_policies());
    }
    let platform = platform(wanted.platform.as_ref());
    let name = policy::image(host, build, &wanted.r#ref, &platform).await?;
    let found = Sources::new(host, build).image(&name, &platform, &wanted.resolve_mode).await?;
    let (digest, config) = (found.root.to_string(), found.image.bytes);
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
    let source = wanted.source.clone().ok_or_else(|| Status::invalid_argument("source is needed"))?;
    if source.identifier.starts_with(LAYOUT) {
        return stored(host, build, &wanted, source).await;
    }
    let platform = source.identifier.contains("image://").then(|| platform(wanted.platform.as_ref()));
    let source = policy::allowed(host, build, source, platform).await?;
    Sources::new(host, build).describe(&wanted, source).await
}

/// The same of an image in a store of the client, which has to come for that.
async fn stored(
    host: &Host,
    build: &Build,
    wanted: &ResolveSourceMetaRequest,
    source: SourceOp,
) -> Result<ResolveSourceMetaResponse, Status> {
    let manifest = layout(host, build, &source, &platform(wanted.platform.as_ref())).await?;
    let digest = source.identifier.rsplit('@').next().unwrap_or_default().to_owned();
    let mut image = ResolveSourceImageResponse { digest, ..ResolveSourceImageResponse::default() };
    if !wanted.image.as_ref().is_some_and(|asked| asked.no_config) {
        let config = engine::images::config(host.engine(), &manifest, None).await;
        image.config = config.map_err(fault::status)?.bytes;
    }
    let image = Some(image);
    Ok(ResolveSourceMetaResponse { source: Some(source), image, ..ResolveSourceMetaResponse::default() })
}
