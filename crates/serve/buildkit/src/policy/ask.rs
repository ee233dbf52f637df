//! Asking a client about a source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::PolicyAction;
use bollard_buildkit_proto::pb::{self, SourceOp};
use engine::builds::{AskPolicy, BoxError, CHECKSUM, COMMIT, Source, Verdict};
use tokio::runtime::Handle;
use tonic::Status;

use super::message::{Answer, CheckPolicyRequest, Decision};
use crate::Host;
use crate::build::Build;
use crate::sources::Sources;

/// So often a client may want to know more of a source.
const REQUESTS_MAX: usize = 10;

/// What asks the session that an order names for that; none if it names none.
pub fn ask(host: &Host, build: &Build) -> Option<AskPolicy> {
    let session = build.order.source_policy_session.clone();
    if session.is_empty() {
        return None;
    }
    let asker =
        Asker { host: host.clone(), session, sources: Sources::new(host, build), denied: build.denied() };
    let runtime = Handle::current();
    Some(Arc::new(move |source| {
        let asked = runtime.block_on(asker.ask(source));
        asked.map_err(|status| BoxError::from(status.message().to_owned()))
    }))
}

/// Why sources were denied, in the client's words.
pub type Denied = Arc<Mutex<Vec<String>>>;

struct Asker {
    host: Host,
    session: String,
    sources: Sources,
    denied: Denied,
}

impl Asker {
    async fn ask(&self, source: &mut Source) -> Result<Verdict, Status> {
        let session = self.host.find_session(&self.session).await?;
        let op = SourceOp { identifier: source.identifier.clone(), attrs: source.attributes.clone() };
        let platform = source.platform.as_ref().map(|platform| pb::Platform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            ..pb::Platform::default()
        });
        let mut known =
            ResolveSourceMetaResponse { source: Some(op.clone()), ..ResolveSourceMetaResponse::default() };
        for _ in 0..REQUESTS_MAX {
            let question = CheckPolicyRequest {
                platform: platform.clone(),
                source: Some(known.clone()),
                caps: HashMap::new(),
            };
            match session.check_policy(question).await?.result {
                None => return Err(Status::invalid_argument("no decision in policy response")),
                Some(Answer::Decision(decision)) => return self.decided(decision, source, &known),
                Some(Answer::Request(wanted)) => {
                    same_source(&op, &wanted)?;
                    known = self.sources.describe(&wanted, op.clone()).await.map_err(|status| {
                        let what = "error resolving source metadata from policy request";
                        Status::new(status.code(), format!("{what}: {}", status.message()))
                    })?;
                }
            }
        }
        Err(Status::invalid_argument("too many policy requests"))
    }

    fn decided(
        &self,
        decision: Decision,
        source: &mut Source,
        known: &ResolveSourceMetaResponse,
    ) -> Result<Verdict, Status> {
        match PolicyAction::try_from(decision.action) {
            Ok(PolicyAction::Allow) => Ok(pinned(source, known)),
            Ok(PolicyAction::Convert) => {
                let missing = || Status::invalid_argument("convert action requires updated source");
                let update = decision.update.ok_or_else(missing)?;
                (source.identifier, source.attributes) = (update.identifier, update.attrs);
                Ok(Verdict::Converted)
            }
            action => {
                let messages = decision.deny_messages.into_iter().map(|told| told.message);
                self.denied.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
                let action =
                    action.map_or_else(|unknown| unknown.0.to_string(), |a| a.as_str_name().to_owned());
                Err(Status::permission_denied(format!(
                    "source {:?} not allowed by policy: action {action}",
                    source.identifier
                )))
            }
        }
    }
}

/// Whether a client wants to know more of what it was asked about.
fn same_source(op: &SourceOp, wanted: &ResolveSourceMetaRequest) -> Result<(), Status> {
    let other = wanted.source.clone().unwrap_or_default();
    if other.identifier != op.identifier {
        return Err(Status::invalid_argument(format!(
            "policy requested different source identifier: {:?} != {:?}",
            other.identifier, op.identifier
        )));
    }
    match other.attrs == op.attrs {
        true => Ok(()),
        false => Err(Status::invalid_argument("policy requested different source attrs")),
    }
}

/// What was found out about a source has to hold when it is taken; of an image its digest is asked about again.
fn pinned(source: &mut Source, known: &ResolveSourceMetaResponse) -> Verdict {
    let git = known.git.as_ref().map(|git| match git.commit_checksum.as_str() {
        "" => (COMMIT, git.checksum.clone()),
        commit => (COMMIT, commit.to_owned()),
    });
    let http = known.http.as_ref().map(|http| (CHECKSUM, http.checksum.clone()));
    match git.or(http).filter(|(key, _)| !source.attributes.contains_key(*key)) {
        None => Verdict::Allowed,
        Some((key, value)) => {
            source.attributes.insert(key.to_owned(), value);
            Verdict::Pinned
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
        ResolveSourceGitResponse, ResolveSourceHttpResponse,
    };

    #[test]
    fn what_was_allowed_is_what_is_taken() {
        let known = |git: Option<(&str, &str)>, http: Option<&str>| ResolveSourceMetaResponse {
            git: git.map(|(object, commit)| ResolveSourceGitResponse {
                checksum: object.to_owned(),
                commit_checksum: commit.to_owned(),
                ..ResolveSourceGitResponse::default()
            }),
            http: http.map(|sum| ResolveSourceHttpResponse {
                checksum: sum.to_owned(),
                ..ResolveSourceHttpResponse::default()
            }),
            ..ResolveSourceMetaResponse::default()
        };
        let mut source = Source::named("git://h/a");
        assert_eq!(pinned(&mut source, &known(None, None)), Verdict::Allowed);
        assert_eq!(pinned(&mut source, &known(Some(("tag", "commit")), None)), Verdict::Pinned);
        assert_eq!(source.attributes[COMMIT], "commit");
        assert_eq!(pinned(&mut source, &known(Some(("other", "")), None)), Verdict::Allowed, "it is said");
        let mut source = Source::named("https://h/a");
        assert_eq!(pinned(&mut source, &known(None, Some("sha256:0"))), Verdict::Pinned);
        assert_eq!(source.attributes[CHECKSUM], "sha256:0");
    }

    #[test]
    fn only_what_was_asked_about_is_looked_at() {
        let op = |id: &str, attrs: &[(&str, &str)]| SourceOp {
            identifier: id.to_owned(),
            attrs: attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let wanted = |source| ResolveSourceMetaRequest { source, ..ResolveSourceMetaRequest::default() };
        let asked = op("https://h/a", &[("a", "1")]);
        assert!(same_source(&asked, &wanted(Some(asked.clone()))).is_ok());
        for other in [None, Some(op("https://h/b", &[("a", "1")])), Some(op("https://h/a", &[]))] {
            assert!(same_source(&asked, &wanted(other)).is_err());
        }
    }
}
