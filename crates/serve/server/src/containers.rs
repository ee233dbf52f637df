//! Containers.

use api::common::{MULTIPLEXED_STREAM, PATH_STAT_HEADER, RAW_STREAM};
use api::containers::{
    ArchivePutOptions, AttachOptions, CreateRequest, ListOptions, LogsOptions, PathStat, RemoveOptions,
    StatsOptions, StopOptions, UpdateRequest, WaitError, WaitResponse,
};
use engine::containers;
use futures_util::FutureExt as _;
use http::StatusCode;

use crate::answer::{self, Answer, Result};
use crate::call::Call;
use crate::dispatch::header_value;
use crate::error::Failure;
use crate::hijack::{self, Session};

pub async fn list(call: Call) -> Result {
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: call.query.number("limit")?.unwrap_or(0),
        size: call.query.flag("size"),
        filters: call.query.filters()?,
    };
    answer::ok(&containers::list(&call.engine, options).await?)
}

pub async fn create(mut call: Call) -> Result {
    let request: CreateRequest = call.json().await?;
    if request.config == api::containers::Config::default() {
        return Err(Failure::bad_request("config cannot be empty in order to create a container"));
    }
    let (name, platform) = (call.query.text("name"), call.query.text("platform"));
    answer::json(StatusCode::CREATED, &containers::create(&call.engine, name, platform, request).await?)
}

pub async fn inspect(call: Call) -> Result {
    answer::ok(&containers::inspect(&call.engine, &call.name, call.query.flag("size")).await?)
}

pub async fn start(call: Call) -> Result {
    containers::start(&call.engine, &call.name, call.query.text("detachKeys")).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn stop(call: Call) -> Result {
    containers::stop(&call.engine, &call.name, stop_options(&call)?).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn restart(call: Call) -> Result {
    containers::restart(&call.engine, &call.name, stop_options(&call)?).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn stop_options(call: &Call) -> Result<StopOptions> {
    Ok(StopOptions { signal: call.query.text("signal").to_owned(), timeout: call.query.number("t")? })
}

pub async fn kill(call: Call) -> Result {
    containers::kill(&call.engine, &call.name, call.query.text("signal")).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn remove(call: Call) -> Result {
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    containers::remove(&call.engine, &call.name, options).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn pause(call: Call) -> Result {
    containers::pause(&call.engine, &call.name).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn unpause(call: Call) -> Result {
    containers::unpause(&call.engine, &call.name).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn rename(call: Call) -> Result {
    containers::rename(&call.engine, &call.name, call.query.text("name")).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn update(mut call: Call) -> Result {
    let request: UpdateRequest = call.json().await?;
    answer::ok(&containers::update(&call.engine, &call.name, request).await?)
}

/// The head goes out as soon as the wait is registered: clients start the container only then.
pub async fn wait(call: Call) -> Result {
    let condition = call.query.text("condition").parse().map_err(Failure::bad_request)?;
    let exit = containers::wait(&call.engine, &call.name, condition).await?;
    let body = exit.map(|result| {
        // The head has gone out, so a failure is part of the document.
        let response = result.unwrap_or_else(|e| WaitResponse {
            status_code: -1,
            error: Some(WaitError { message: e.message }),
        });
        answer::line(&response, "\n").map_err(|failure| std::io::Error::other(failure.message))
    });
    Ok(answer::stream("application/json", body.into_stream()))
}

pub async fn attach(call: Call) -> Result {
    let query = &call.query;
    let options = AttachOptions {
        stream: query.flag("stream"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        detach_keys: query.text("detachKeys").to_owned(),
    };
    let attached = containers::attach(&call.engine, &call.name, options).await?;
    let session = Session { tty: attached.tty, replay: attached.replay, stream: attached.stream };
    hijack::join(call, session)
}

pub async fn attach_ws(_call: Call) -> Result {
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "attaching through a WebSocket is not supported, use POST /containers/{id}/attach",
    ))
}

pub async fn logs(call: Call) -> Result {
    let query = &call.query;
    let options = LogsOptions {
        follow: query.flag("follow"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: query.text("since").to_owned(),
        until: query.text("until").to_owned(),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail: query.text("tail").to_owned(),
    };
    if !options.stdout && !options.stderr {
        return Err(Failure::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let log = containers::logs(&call.engine, &call.name, options).await?;
    let kind = match !log.tty && call.version.at_least(42) {
        true => MULTIPLEXED_STREAM,
        false => RAW_STREAM,
    };
    Ok(answer::bytes(kind, log.rx))
}

pub async fn top(call: Call) -> Result {
    answer::ok(&containers::top(&call.engine, &call.name, call.query.text("ps_args")).await?)
}

pub async fn stats(call: Call) -> Result {
    let options =
        StatsOptions { stream: call.query.flag_or("stream", true), one_shot: call.query.flag("one-shot") };
    Ok(answer::documents(containers::stats(&call.engine, &call.name, options).await?))
}

pub async fn changes(call: Call) -> Result {
    answer::ok(&containers::changes(&call.engine, &call.name).await?)
}

pub async fn resize(call: Call) -> Result {
    let (height, width) = size(&call)?;
    containers::resize(&call.engine, &call.name, height, width).await?;
    Ok(answer::empty(StatusCode::OK))
}

/// Height and width of a terminal.
pub fn size(call: &Call) -> Result<(u16, u16)> {
    let side = |name| {
        call.query
            .number(name)?
            .ok_or_else(|| Failure::bad_request(format!("query parameter {name} is missing")))
    };
    Ok((side("h")?, side("w")?))
}

pub async fn export(call: Call) -> Result {
    let tar = containers::export(&call.engine, &call.name).await?;
    Ok(answer::bytes("application/octet-stream", tar))
}

pub async fn archive_get(call: Call) -> Result {
    let (stat, tar) = containers::archive_get(&call.engine, &call.name, inside(&call)?).await?;
    Ok(with_stat(answer::bytes("application/x-tar", tar), &stat))
}

pub async fn archive_head(call: Call) -> Result {
    let stat = containers::archive_head(&call.engine, &call.name, inside(&call)?).await?;
    Ok(with_stat(answer::empty(StatusCode::OK), &stat))
}

pub async fn archive_put(call: Call) -> Result {
    let options = ArchivePutOptions {
        path: inside(&call)?.to_owned(),
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.flag("copyUIDGID"),
    };
    let (engine, name) = (call.engine.clone(), call.name.clone());
    containers::archive_put(&engine, &name, options, call.take_body()).await?;
    Ok(answer::empty(StatusCode::OK))
}

fn inside(call: &Call) -> Result<&str> {
    match call.query.text("path") {
        "" => Err(Failure::bad_request("bad parameter: 'path' cannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(mut answer: Answer, stat: &PathStat) -> Answer {
    answer.headers_mut().insert(PATH_STAT_HEADER, header_value(&stat.encode()));
    answer
}

pub async fn prune(call: Call) -> Result {
    answer::ok(&containers::prune(&call.engine, call.query.filters()?).await?)
}
