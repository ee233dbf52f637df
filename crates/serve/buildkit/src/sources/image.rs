//! The image behind a name.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceImageResponse, ResolveSourceMetaRequest,
};
use engine::images::{self, Base, Who};
use oci::{Platform, Reference};
use tonic::Status;

use super::{Found, Sources, platform};
use crate::fault;

impl Sources {
    pub(super) async fn image_meta(
        &self,
        wanted: &ResolveSourceMetaRequest,
        name: &str,
    ) -> Result<ResolveSourceImageResponse, Status> {
        let asked = wanted.image.clone().unwrap_or_default();
        if asked.attestation_chain || !asked.resolve_attestations.is_empty() {
            return Err(Status::unimplemented(format!(
                "attestations and signatures of image {name} are not looked up by this server: ask for its digest or its \
                 configuration"
            )));
        }
        let found = self.image(name, &platform(wanted.platform.as_ref()), &wanted.resolve_mode).await?;
        let config = if asked.no_config { Vec::new() } else { found.image.bytes };
        Ok(ResolveSourceImageResponse { digest: found.root.to_string(), config, attestation_chain: None })
    }

    /// The image, of which its registry is asked if it is not here or that is wanted.
    pub async fn image(&self, name: &str, platform: &Platform, mode: &str) -> Result<Found, Status> {
        let engine = self.host.engine();
        let base = images::base(engine, name, platform, mode == "pull").await.map_err(fault::status)?;
        let (root, image) = match base {
            Base::Here(root, image) => (root, images::configuration(engine, *image).await),
            Base::Elsewhere(elsewhere) => {
                let domain = &elsewhere.reference.domain;
                let who = match self.session().await? {
                    None => Who::default(),
                    Some(session) => session.credentials(domain).await?,
                };
                let step = self.told.step(&format!("[internal] load metadata for {}", elsewhere.reference));
                let resolved = elsewhere.resolve(engine, who, |line| step.line(&line)).await;
                let resolved = step.end(resolved.map_err(fault::status))?;
                (resolved.root().clone(), resolved.configuration(engine).await)
            }
        };
        let said = Reference::parse(name).ok().and_then(|reference| reference.digest);
        Ok(Found { root: said.unwrap_or(root), image: image.map_err(fault::status)? })
    }
}
