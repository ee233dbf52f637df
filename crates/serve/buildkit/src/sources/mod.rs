//! What a source is before it is used, for clients that want to know: the image behind a name, the commit behind a branch, the digest
//! of a web server's file.

mod file;
mod image;
mod repository;

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{BoxError, Opening, Reach, repository_secrets};
use engine::images::Configuration;
use oci::{Digest, Platform};
use tokio::runtime::Handle;
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::session::{Agents, Session};
use crate::status::Told;

pub use repository::{Commits, address as repository_address};

const IMAGE: &str = "docker-image://";
const GIT: &str = "git://";
const LOCAL: &str = "local://";

/// Looks at sources for one build.
#[derive(Clone)]
pub struct Sources {
    host: Host,
    /// The session of the build; empty for none.
    session: String,
    /// What the client may name by path.
    reach: Reach,
    told: Arc<Told>,
    commits: Arc<Commits>,
}

/// An image as it was found.
pub struct Found {
    /// What its name stands for: its index, if it has one.
    pub root: Digest,
    pub image: Configuration,
}

impl Sources {
    pub fn new(host: &Host, build: &Build) -> Sources {
        let (session, told) = (build.order.session.clone(), build.told.clone());
        Sources { host: host.clone(), session, reach: build.reach, told, commits: build.commits.clone() }
    }

    /// What a client wants to know of a source.
    pub async fn describe(
        &self,
        wanted: &ResolveSourceMetaRequest,
        source: SourceOp,
    ) -> Result<ResolveSourceMetaResponse, Status> {
        let (mut image, mut git, mut http) = (None, None, None);
        let id = source.identifier.as_str();
        if let Some(name) = id.strip_prefix(IMAGE) {
            image = Some(self.image_meta(wanted, name).await?);
        } else if id.starts_with(GIT) {
            git = Some(self.repository_meta(wanted, &source).await?);
        } else if id.starts_with("http://") || id.starts_with("https://") {
            http = Some(self.file_meta(wanted, &source).await?);
        } else if !id.starts_with(LOCAL) {
            // Of a directory of the client there is nothing to find out but whether it may be taken.
            return Err(Status::unimplemented(format!(
                "source {id} cannot be resolved beforehand by this server"
            )));
        }
        Ok(ResolveSourceMetaResponse { source: Some(source), image, git, http })
    }

    async fn session(&self) -> Result<Option<Session>, Status> {
        match self.session.as_str() {
            "" => Ok(None),
            id => self.host.find_session(id).await.map(Some),
        }
    }

    /// What opens a web server's file.
    async fn secrets(&self) -> Result<Opening, Status> {
        let Some(session) = self.session().await? else { return Ok(Opening::default()) };
        let runtime = Handle::current();
        let ask = move |id: &str| {
            let answer = runtime.block_on(session.secret(id));
            answer.map_err(|status| BoxError::from(status.message().to_owned()))
        };
        Ok(Opening { ask: Some(Arc::new(ask)), ..Opening::default() })
    }
}

/// What the client has of the secrets that open a repository.
pub async fn secrets_of(session: &Session, address: &str) -> Result<BTreeMap<String, Vec<u8>>, Status> {
    let mut secrets = BTreeMap::new();
    for id in repository_secrets(address) {
        if let Some(secret) = session.secret(&id).await? {
            secrets.insert(id, secret);
        }
    }
    Ok(secrets)
}

/// The agent that opens a repository, where none of the web's protocols does; the socket is there as long as the agents are.
async fn agent(agents: &Agents, address: &str) -> Result<Option<std::path::PathBuf>, Status> {
    let is_web =
        ["http://", "https://", "git://", "file://"].iter().any(|scheme| address.starts_with(scheme));
    if is_web { Ok(None) } else { agents.socket("default").await }
}

/// The platform that a client names.
pub fn platform(named: Option<&bollard_buildkit_proto::pb::Platform>) -> Platform {
    let named = named.map(|p| Platform::new(&p.os, &p.architecture, Some(&p.variant)).normalized());
    named.unwrap_or_else(Platform::host)
}
