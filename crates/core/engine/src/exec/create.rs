//! The first half of `docker exec`.

use api::IdResponse;
use api::exec::CreateRequest;
use monitor::State;
use monitor::protocol::ExecCreate;
use oci::runtime::{ConsoleSize, Process};
use oci::user::Resolved;
use sys::root::Root;

use super::dir;
use crate::containers::record::{self, Record};
use crate::containers::{bind, launch, merge};
use crate::error::{Context, Error, Result};
use crate::spec::{self, SecurityOptions, capabilities};
use crate::{Engine, ids, machine};

/// Prepares a process in a running container.
pub async fn create(engine: &Engine, reference: &str, request: CreateRequest) -> Result<IdResponse> {
    let reference = reference.to_owned();
    engine
        .brief(move |engine| {
            let record = record::find(engine, &reference)?;
            let not_running = || Error::conflict(format!("container {} is not running", record.id));
            let status = record::observe(engine, &record.id)?.status;
            match status.state {
                State::Paused => {
                    return Err(Error::conflict(format!(
                        "container {} is paused, unpause the container before exec",
                        record.id
                    )));
                }
                State::Restarting => {
                    return Err(Error::conflict(format!(
                        "container {} is restarting, wait until the container is running",
                        record.id
                    )));
                }
                state if !state.is_live() => return Err(not_running()),
                _ => {}
            }
            let id = ids::new()?;
            let (process, refused) = process(&record, &request, status.pid)?;
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
            let mut monitor =
                monitor::client::reach(&engine.config().run, &record.id)?.ok_or_else(not_running)?;
            std::fs::write(&file, &record.id).during("write the exec's file")?;
            monitor.exec_create(create).map_err(|e| {
                let _ = std::fs::remove_file(&file);
                Error::from(e)
            })?;
            Ok(IdResponse { id })
        })
        .await
}

/// The process, and why it can't be run: a user that the container does not know is told at the start, as Docker does.
fn process(record: &Record, request: &CreateRequest, pid: i32) -> Result<(Process, Option<String>)> {
    let (config, host) = (&record.document.config, &record.document.host_config);
    let root = Root::of_process(pid).during("open the container's root file system")?;
    let (user_spec, groups): (&str, &[String]) = match request.user.as_str() {
        "" => (&config.user, &host.group_add),
        user => (user, &host.group_add),
    };
    let (user, refused) = match launch::resolve_user(&root, user_spec, groups) {
        Ok(user) => (user, None),
        Err(e) => {
            // Nothing runs as this one.
            let nobody = Resolved { uid: 65534, gid: 65534, groups: Vec::new(), home: None };
            (nobody, Some(e.message))
        }
    };
    let home = user.home.as_deref().unwrap_or("/");
    let asked = api::containers::Config { tty: request.tty, ..config.clone() };
    let env = merge::environment(&asked, record.hostname(), home);
    let cwd = match (request.working_dir.as_str(), config.working_dir.as_str()) {
        ("", "") => "/".to_owned(),
        ("", own) => own.to_owned(),
        (dir, _) if dir.starts_with('/') => bind::clean(dir),
        (dir, _) => return Err(Error::invalid(format!("Cwd must be an absolute path: {dir}"))),
    };
    let available = capabilities::from_mask(machine::capabilities());
    let mut allowed = host.clone();
    allowed.privileged |= request.privileged;
    let options = SecurityOptions::parse(&host.security_opt)?;
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
        no_new_privileges: options.no_new_privileges,
        ..Process::default()
    };
    Ok((process, refused))
}
