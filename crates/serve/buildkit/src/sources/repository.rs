//! The commit behind a branch, a tag, or nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceGitResponse, ResolveSourceMetaRequest,
};
use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{COMMIT, Opening, repository_facts};
use tonic::Status;

use super::{GIT, Sources, agent, secrets_of};
use crate::fault;
use crate::session::Agents;

/// What addresses of repositories stood for when a client asked. A build goes on with that, whatever they stand for meanwhile.
#[derive(Default)]
pub struct Commits(Mutex<HashMap<String, ResolveSourceGitResponse>>);

impl Commits {
    fn known(&self, address: &str, with_objects: bool) -> Option<ResolveSourceGitResponse> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        known.filter(|known| !with_objects || !known.commit_object.is_empty())
    }

    fn note(&self, address: String, found: &ResolveSourceGitResponse) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address, found.clone());
    }

    /// Has a source name the commit that its address stood for, if it was asked about.
    pub fn pin(&self, source: &mut SourceOp) {
        if !source.identifier.starts_with(GIT) || source.attrs.get(COMMIT).is_some_and(|id| !id.is_empty()) {
            return;
        }
        let Some(known) = self.known(&address(source), false) else { return };
        let commit = if known.commit_checksum.is_empty() { known.checksum } else { known.commit_checksum };
        let (remote, part) = source.identifier.split_once('#').unwrap_or((&source.identifier, ""));
        source.identifier = match part.split_once(':') {
            Some((_, directory)) => format!("{remote}#{commit}:{directory}"),
            None => format!("{remote}#{commit}"),
        };
    }
}

/// The whole address of a repository, with the part behind `#`.
pub fn address(source: &SourceOp) -> String {
    let rest = source.identifier.strip_prefix(GIT).unwrap_or_default();
    let remote = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{rest}"));
    let remote = remote.split('#').next().unwrap_or_default();
    match rest.split_once('#') {
        Some((_, part)) => format!("{remote}#{part}"),
        None => remote.to_owned(),
    }
}

impl Sources {
    pub(super) async fn repository_meta(
        &self,
        wanted: &ResolveSourceMetaRequest,
        source: &SourceOp,
    ) -> Result<ResolveSourceGitResponse, Status> {
        let address = address(source);
        let remote = address.split('#').next().unwrap_or_default();
        let objects = wanted.git.is_some_and(|git| git.return_object);
        let attribute = |key: &str| source.attrs.get(key).filter(|text| !text.is_empty()).cloned();
        let (commit, known_hosts) = (attribute(COMMIT), attribute("git.knownsshhosts"));
        if commit.is_none()
            && let Some(known) = self.commits.known(&address, objects)
        {
            return Ok(known);
        }
        let mut opening = Opening { reach: self.reach, known_hosts, ..Opening::default() };
        let session = self.session().await?;
        let agents = session.clone().map(|session| Agents::new(self.host.engine().clone(), session));
        if let (Some(session), Some(agents)) = (&session, &agents) {
            opening.secrets = secrets_of(session, remote).await?;
            opening.agent = agent(agents, remote).await?;
        }
        let is_said = commit.is_some();
        let commit = commit.map(|id| id.parse().map_err(Status::invalid_argument)).transpose()?;
        let facts = repository_facts(self.host.engine(), address.clone(), opening, commit, objects).await;
        drop(agents);
        let facts = facts.map_err(fault::status)?;
        let found = ResolveSourceGitResponse {
            commit_checksum: if facts.commit == facts.object { String::new() } else { facts.commit },
            checksum: facts.object,
            r#ref: facts.reference,
            commit_object: facts.commit_bytes,
            tag_object: facts.tag_bytes,
        };
        if !is_said {
            self.commits.note(address, &found);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_goes_on_with_the_commit_that_it_was_told() {
        let commits = Commits::default();
        let op = |identifier: &str, attrs: &[(&str, &str)]| SourceOp {
            identifier: identifier.to_owned(),
            attrs: attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let full = [("git.fullurl", "http://h/a.git")];
        let found = |checksum: &str, commit: &str| ResolveSourceGitResponse {
            checksum: checksum.to_owned(),
            commit_checksum: commit.to_owned(),
            ..ResolveSourceGitResponse::default()
        };
        commits.note(address(&op("git://h/a.git#v1", &full)), &found("tag", "c1"));
        commits.note(address(&op("git://h/a.git", &full)), &found("c2", ""));
        let pinned = |identifier: &str, attrs: &[(&str, &str)]| {
            let mut source = op(identifier, attrs);
            commits.pin(&mut source);
            source.identifier
        };
        assert_eq!(pinned("git://h/a.git#v1", &full), "git://h/a.git#c1");
        assert_eq!(pinned("git://h/a.git", &full), "git://h/a.git#c2");
        for other in ["git://h/a.git#v2", "git://h/b.git#v1", "https://h/a.git"] {
            assert_eq!(pinned(other, &[]), other);
        }
        let said = [full[0], (COMMIT, "c0")];
        assert_eq!(pinned("git://h/a.git#v1", &said), "git://h/a.git#v1");
        assert!(commits.known("http://h/a.git", true).is_none(), "its objects were not asked for");
    }
}
