//! The first half of `docker exec`.

use api::IdResponse;
use api::containers::{Config, HostConfig};
use api::exec::CreateRequest;
use monitor::client::Connection;
use monitor::protocol::{ExecCreate, Inhabited};
use monitor::{Further, State};
use oci::runtime::{ConsoleSize, Process};
use oci::user::Resolved;
use sys::root::Root;

use super::{dir, further, held};
use crate::containers::record;
use crate::containers::{bind, launch, merge};
use crate::error::{Context, Error, Result};
use crate::spec::{self, capabilities};
use crate::{Engine, ids, machine};

/// Prepares a process in a running container.
pub async fn create(engine: &Engine, reference: &str, request: CreateRequest) -> Result<IdResponse> {
    let reference = reference.to_owned();
    engine
        .brief(move |engine| {
            let Place { container, state, pid, further, monitor } = match running(engine, &reference)? {
                Some(place) => place,
                None => recorded(engine, &reference)?,
            };
            check(&container, state)?;
            let id = ids::new()?;
            let (process, refused) = process(&root(&container, pid)?, &further, &request)?;
            let create = ExecCreate {
                id: id.clone(),
                process,
                tty: request.tty,
                stdin: request.attach_stdin,
                stdout: request.attach_stdout,
                stderr: request.attach_stderr,
                detach_keys: Some(request.detach_keys.clone()).filter(|k| !k.is_empty()),
                user: request.user.clone(),
                privileged: request.privileged,
                refused,
            };
            let file = dir(engine).join(&id);
            record::make_private_dir(&dir(engine))?;
            let monitor = match monitor {
                Some(monitor) => monitor,
                None => monitor::client::reach(&engine.config().run, &container)?
                    .ok_or_else(|| not_running(&container))?,
            };
            std::fs::write(&file, &container).during("write the exec's file")?;
            held::prepare(engine, &container, create, monitor).inspect_err(|_| {
                let _ = std::fs::remove_file(&file);
            })?;
            Ok(IdResponse { id })
        })
        .await
}

/// Where the process is to run.
struct Place {
    container: String,
    state: State,
    pid: i32,
    further: Further,
    monitor: Option<Connection>,
}

/// A container that runs, by what its monitor says of it, where nothing else is open: by its whole id or its name, as those
/// come first of what a reference may mean.
fn running(engine: &Engine, reference: &str) -> Result<Option<Place>> {
    if !engine.config().late {
        return Ok(None);
    }
    let run = &engine.config().run;
    let name = reference.strip_prefix('/').unwrap_or(reference);
    let whole = name.len() == 64 && ids::is_prefix(name);
    let id = if whole { Some(name.to_owned()) } else { monitor::client::running(run, name) };
    let Some(container) = id.filter(|id| ids::is_prefix(id)) else { return Ok(None) };
    let Ok(Some(mut monitor)) = monitor::client::reach(run, &container) else { return Ok(None) };
    let Ok(Some(Inhabited { name: own, state, pid, further: Some(further) })) = monitor.inhabited() else {
        return Ok(None);
    };
    let place = Place { container, state, pid, further, monitor: Some(monitor) };
    Ok((whole || own == name).then_some(place))
}

/// A container by its definition.
fn recorded(engine: &Engine, reference: &str) -> Result<Place> {
    engine.make_ready()?;
    let record = record::find(engine, reference)?;
    let status = record::observe(engine, &record.id)?.status;
    check(&record.id, status.state)?;
    let further = further::further(&record, machine::facts().apparmor)?;
    Ok(Place { container: record.id, state: status.state, pid: status.pid, further, monitor: None })
}

fn not_running(container: &str) -> Error {
    Error::conflict(format!("container {container} is not running"))
}

fn check(container: &str, state: State) -> Result<()> {
    match state {
        State::Paused => Err(Error::conflict(format!(
            "container {container} is paused, unpause the container before exec"
        ))),
        State::Restarting => Err(Error::conflict(format!(
            "container {container} is restarting, wait until the container is running"
        ))),
        state if !state.is_live() => Err(not_running(container)),
        _ => Ok(()),
    }
}

/// What the container sees. It may have ended since it was looked at.
fn root(container: &str, pid: i32) -> Result<Root> {
    match Root::of_process(pid) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(not_running(container)),
        opened => opened.during("open the container's root file system"),
    }
}

/// The process, and why it can't be run: a user that the container does not know is told at the start, as Docker does.
fn process(root: &Root, further: &Further, request: &CreateRequest) -> Result<(Process, Option<String>)> {
    let user = if request.user.is_empty() { &further.user } else { &request.user };
    let (user, refused) = match launch::resolve_user(root, user, &further.groups) {
        Ok(user) => (user, None),
        Err(e) => {
            // Nothing runs as this one.
            let nobody = Resolved { uid: 65534, gid: 65534, groups: Vec::new(), home: None };
            (nobody, Some(e.message))
        }
    };
    let home = user.home.as_deref().unwrap_or("/");
    let asked = Config { tty: request.tty, env: further.env.clone(), ..Config::default() };
    let env = merge::environment(&asked, &further.hostname, home);
    let cwd = match (request.working_dir.as_str(), further.working_dir.as_str()) {
        ("", "") => "/".to_owned(),
        ("", own) => own.to_owned(),
        (dir, _) if dir.starts_with('/') => bind::clean(dir),
        (dir, _) => return Err(Error::invalid(format!("Cwd must be an absolute path: {dir}"))),
    };
    let available = capabilities::from_mask(machine::capabilities());
    let allowed = HostConfig {
        cap_add: further.cap_add.clone().into(),
        cap_drop: further.cap_drop.clone().into(),
        privileged: further.privileged || request.privileged,
        ..HostConfig::default()
    };
    let size = request.console_size.unwrap_or_default().map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    let process = Process {
        terminal: request.tty,
        console_size: (request.tty && size != [0, 0])
            .then_some(ConsoleSize { height: size[0], width: size[1] }),
        user: spec::user(&user),
        args: request.cmd.as_slice().to_vec(),
        env: merge::overlay(env, &request.env),
        cwd,
        capabilities: Some(spec::capability_sets(&allowed, user.uid, &available)?),
        no_new_privileges: further.no_new_privileges,
        rlimits: further.rlimits.clone(),
        oom_score_adj: Some(further.oom_score_adj),
        apparmor_profile: further.apparmor_profile.clone(),
        ..Process::default()
    };
    Ok((process, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_just_ended_has_no_root() {
        // No system has as many.
        let error = root("c1", i32::MAX).map(drop).expect_err("no such process");
        assert_eq!(
            (error.kind, error.message.as_str()),
            (crate::error::Kind::Conflict, "container c1 is not running")
        );
    }
}
