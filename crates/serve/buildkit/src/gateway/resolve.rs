//! What a source is, before it is used.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveImageConfigRequest, ResolveImageConfigResponse, ResolveSourceMetaRequest,
    ResolveSourceMetaResponse,
};
use tonic::Status;

use crate::build::Build;
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
    let platform = source.identifier.contains("image://").then(|| platform(wanted.platform.as_ref()));
    let source = policy::allowed(host, build, source, platform).await?;
    Sources::new(host, build).describe(&wanted, source).await
}
