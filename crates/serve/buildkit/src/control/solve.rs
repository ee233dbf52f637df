//! A build from its order to its exports.
//!
//! An order with a frontend is solved at once. One without is the beginning of a conversation at the gateway: the client
//! solves there, and says what of it is the result. Both end with the future of this call, and with it when the client goes.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, SolveResponse};
use engine::builds::history::{Outcome, Unbegun};
use engine::builds::{self, Reach};
use prost::Message as _;
use tonic::{Code, Status};

use super::history;
use crate::build::{Build, Made};
use crate::export::{self, Handed};
use crate::frontend::{self, Solved};
use crate::{Host, fault, is_build_id, llb};

pub async fn solve(host: &Host, order: SolveRequest, reach: Reach) -> Result<SolveResponse, Status> {
    if !is_build_id(&order.r#ref) {
        let message = format!("invalid ref {:?}: lower-case letters and digits, 8 to 64", order.r#ref);
        return Err(Status::invalid_argument(message));
    }
    let build = Arc::new(Build::new(order, reach));
    let registered = host.register(build.clone())?;
    let work = async {
        let made = build.with_denied(result(host, &build).await)?;
        answer(host, &build, made).await
    };
    // Somebody may cancel it by its id.
    let solved = build.life.share(Box::pin(work)).await;
    conclude(host, &build, &solved).await;
    drop(registered);
    Ok(SolveResponse { exporter_response: solved?.answer })
}

/// Hands out what was made: what the client is told.
async fn answer(host: &Host, build: &Build, made: Option<Arc<Made>>) -> Result<Handed, Status> {
    let mut all = Handed { answer: build.said(), ..Handed::default() };
    if let Some(made) = made {
        let Handed { answer, results } = export::export(host, build, &made).await?;
        all.answer.extend(answer);
        all.results = results;
    }
    if let Some(cache) = build.cache() {
        let text = serde_json::to_string(&cache).map_err(|e| Status::internal(format!("cache: {e}")))?;
        // By this the client finds it in its directory again.
        all.answer.insert("cache.manifest".to_owned(), text);
    }
    Ok(all)
}

/// Has the record say how the build came out. Without that it came out all the same.
async fn conclude(host: &Host, build: &Build, solved: &Result<Handed, Status>) {
    if build.order.internal {
        return;
    }
    let mut outcome = Outcome::default();
    match solved {
        Ok(handed) => {
            outcome.response = handed.answer.clone().into_iter().collect();
            outcome.results.clone_from(&handed.results);
        }
        Err(status) => {
            outcome.error = Some(status.message().to_owned());
            let document = fault::document(status).encode_to_vec();
            outcome.documents.push((history::ERROR.to_owned(), document));
        }
    }
    let unbegun = solved.as_ref().err().map(|status| unbegun(build, status));
    let concluded = builds::history::conclude(host.engine(), build.id().to_owned(), outcome, unbegun).await;
    if let Err(error) = concluded {
        tracing::warn!(%error, build = build.id(), "what became of a build was not written down");
    }
}

/// What is remembered of a build that failed before anything of it was made.
fn unbegun(build: &Build, status: &Status) -> Unbegun {
    let order = &build.order;
    Unbegun {
        options: frontend::attributes::options(&order.frontend_attrs, order).unwrap_or_default(),
        record: frontend::record(build, Some(build.id().to_owned()), None),
        context: frontend::context_of(order),
        started_at: build.begun,
        is_cancelled: status.code() == Code::Cancelled,
    }
}

async fn result(host: &Host, build: &Arc<Build>) -> Result<Option<Arc<Made>>, Status> {
    let order = &build.order;
    if order.frontend.is_empty() {
        let Some(definition) = &order.definition else { return build.answered().await };
        let made = match definition.def.is_empty() {
            true => llb::nothing(host, build).await?,
            false => llb::solve(host, build, definition, &order.frontend_attrs, false).await?,
        };
        let id = build.put(made)?;
        return Ok(Some(build.result(&id)?));
    }
    let inputs = order.frontend_inputs.clone();
    let solve = frontend::solve(host, build, &order.frontend, &order.frontend_attrs, inputs);
    match Box::pin(solve).await? {
        Solved::Image(made) => {
            let id = build.put(*made)?;
            Ok(Some(build.result(&id)?))
        }
        Solved::Answer(_) => Ok(None),
    }
}
