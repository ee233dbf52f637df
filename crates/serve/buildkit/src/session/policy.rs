//! What a client says of a source: `moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier`.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::Session;
use crate::line::Line;
use crate::policy::message::{CheckPolicyRequest, CheckPolicyResponse, METHOD};

/// How long a decision may take: a client may have to look signatures up.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Session {
    /// What the client decides, or wants to know before.
    pub async fn check_policy(&self, question: CheckPolicyRequest) -> Result<CheckPolicyResponse, Status> {
        self.needs(METHOD)?;
        let mut line = tonic::client::Grpc::with_origin(self.line(), Line::origin());
        let decide = async {
            let lost = |e| Status::unavailable(format!("the client's policy cannot be asked: {e}"));
            line.ready().await.map_err(lost)?;
            let codec = ProstCodec::default();
            line.unary(Request::new(question), PathAndQuery::from_static(METHOD), codec).await
        };
        let late = |_| Status::deadline_exceeded("the client did not decide about a source in time");
        Ok(tokio::time::timeout(PATIENCE, decide).await.map_err(late)??.into_inner())
    }
}
