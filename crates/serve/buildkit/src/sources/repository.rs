//! The commit behind a branch, a tag, or nothing.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceGitResponse, ResolveSourceMetaRequest,
};
use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{Opening, repository_facts};
use tonic::Status;

use super::{GIT, Sources, agent, secrets_of};
use crate::fault;
use crate::session::Agents;

impl Sources {
    pub(super) async fn repository_meta(
        &self,
        wanted: &ResolveSourceMetaRequest,
        source: &SourceOp,
    ) -> Result<ResolveSourceGitResponse, Status> {
        let rest = source.identifier.strip_prefix(GIT).unwrap_or_default();
        let remote = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{rest}"));
        let remote = remote.split('#').next().unwrap_or_default().to_owned();
        let address = match rest.split_once('#') {
            Some((_, part)) => format!("{remote}#{part}"),
            None => remote.clone(),
        };
        let attribute = |key: &str| source.attrs.get(key).filter(|text| !text.is_empty()).cloned();
        let known_hosts = attribute("git.knownsshhosts");
        let mut opening = Opening { reach: self.reach, known_hosts, ..Opening::default() };
        let session = self.session().await?;
        let agents = session.clone().map(|session| Agents::new(self.host.engine().clone(), session));
        if let (Some(session), Some(agents)) = (&session, &agents) {
            opening.secrets = secrets_of(session, &remote).await?;
            opening.agent = agent(agents, &remote).await?;
        }
        let objects = wanted.git.is_some_and(|git| git.return_object);
        let commit = attribute("git.checksum");
        let commit = commit.map(|id| id.parse().map_err(Status::invalid_argument)).transpose()?;
        let facts = repository_facts(self.host.engine(), address, opening, commit, objects).await;
        drop(agents);
        let facts = facts.map_err(fault::status)?;
        Ok(ResolveSourceGitResponse {
            commit_checksum: if facts.commit == facts.object { String::new() } else { facts.commit },
            checksum: facts.object,
            r#ref: facts.reference,
            commit_object: facts.commit_bytes,
            tag_object: facts.tag_bytes,
        })
    }
}
