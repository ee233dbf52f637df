//! Processes that join a running container.

use api::exec::{CreateRequest, StartRequest};
use engine::exec;
use http::StatusCode;

use crate::answer::{self, Result};
use crate::call::Call;
use crate::containers::size;
use crate::error::Failure;
use crate::hijack::{self, Session};

pub async fn create(mut call: Call) -> Result {
    let request: CreateRequest = call.json().await?;
    if request.cmd.is_empty() {
        return Err(Failure::bad_request("no exec command specified"));
    }
    answer::json(StatusCode::CREATED, &exec::create(&call.engine, &call.name, request).await?)
}

pub async fn start(mut call: Call) -> Result {
    let request: StartRequest = call.json_or_none().await?.unwrap_or_default();
    if request.detach {
        exec::start_detached(&call.engine, &call.name, request).await?;
        return Ok(answer::empty(StatusCode::OK));
    }
    let started = exec::start(&call.engine, &call.name, request).await?;
    let session = Session { tty: started.tty, replay: None, stream: started.stream };
    hijack::join(call, session)
}

pub async fn resize(call: Call) -> Result {
    let (height, width) = size(&call)?;
    exec::resize(&call.engine, &call.name, height, width).await?;
    Ok(answer::empty(StatusCode::OK))
}

pub async fn inspect(call: Call) -> Result {
    answer::ok(&exec::inspect(&call.engine, &call.name).await?)
}
