//! A build from its order to its exports.
//!
//! An order with a frontend is solved at once. One without is the beginning of a conversation at the gateway: the client
//! solves there, and says what of it is the result. Both end with the future of this call, and with it when the client goes.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{SolveRequest, SolveResponse};
use engine::builds::Reach;
use tonic::Status;

use crate::build::{Build, Made};
use crate::export;
use crate::frontend::{self, Solved};
use crate::{Host, is_build_id, llb};

pub async fn solve(host: &Host, order: SolveRequest, reach: Reach) -> Result<SolveResponse, Status> {
    if !is_build_id(&order.r#ref) {
        let message = format!("invalid ref {:?}: lower-case letters and digits, 8 to 64", order.r#ref);
        return Err(Status::invalid_argument(message));
    }
    let build = Arc::new(Build::new(order, reach));
    let registered = host.register(build.clone())?;
    let made = build.with_denied(result(host, &build).await)?;
    let mut answer = build.said();
    if let Some(made) = made {
        answer.extend(export::export(host, &build, &made).await?);
    }
    if let Some(cache) = build.cache() {
        let text = serde_json::to_string(&cache).map_err(|e| Status::internal(format!("cache: {e}")))?;
        // By this the client finds it in its directory again.
        answer.insert("cache.manifest".to_owned(), text);
    }
    drop(registered);
    Ok(SolveResponse { exporter_response: answer })
}

async fn result(host: &Host, build: &Arc<Build>) -> Result<Option<Arc<Made>>, Status> {
    let order = &build.order;
    let graph = order.definition.as_ref().filter(|definition| !definition.def.is_empty());
    if let (Some(definition), true) = (graph, order.frontend.is_empty()) {
        let made = llb::solve(host, build, definition, &order.frontend_attrs, false).await?;
        let id = build.put(made)?;
        return Ok(Some(build.result(&id)?));
    }
    if order.frontend.is_empty() {
        return build.answered().await;
    }
    let inputs = order.frontend_inputs.clone();
    match frontend::solve(host, build, &order.frontend, &order.frontend_attrs, inputs).await? {
        Solved::Image(made) => {
            let id = build.put(*made)?;
            Ok(Some(build.result(&id)?))
        }
        Solved::Answer(_) => Ok(None),
    }
}
