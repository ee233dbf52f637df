//! `RUN` to an operation.

use super::devices::Asked;
use super::stage::StageState;
use super::{Error, Lowering, files, history, path};
use crate::graph::{Fs, Mount, MountKind, NetKind, OpKind, Origin, Run, Script, Sharing};
use dockerfile::ast::{self, Command, Instruction, Network, Security};

pub(super) fn run(
    l: &mut Lowering<'_>,
    index: usize,
    s: &mut StageState,
    i: &Instruction,
    run: &ast::Run,
) -> Result<(), Error> {
    let insecure = run.security == Security::Insecure;
    if insecure && !l.inputs.allow_insecure {
        let error = Error::at("security.insecure is not allowed", i.span);
        return Err(error.help("allow it with --allow security.insecure"));
    }
    if run.network == Network::Host && !l.inputs.allow_host_network {
        let error = Error::at("network.host is not allowed", i.span);
        return Err(error.help("allow it with --allow network.host"));
    }
    let mut mounts = Vec::with_capacity(run.mounts.len());
    for mount in &run.mounts {
        mounts.push(lower_mount(l, index, s, mount)?);
    }
    let mut devices = Vec::with_capacity(run.devices.len());
    for device in &run.devices {
        let name = l.expand(s, &device.name, device.span)?;
        devices.push(Asked { name, required: device.required, span: device.span });
    }
    let devices = l.inputs.devices.resolve(&devices)?;
    let (argv, script) = command_line(s, run);
    let args = visible_args(s);
    let created_by = history::run(&argv, &s.variables.declared());
    let op = Run {
        argv,
        script,
        env: s.variables.of_process(&args),
        cwd: path::directory("/", &s.config.config.working_dir),
        user: s.config.config.user.clone(),
        network: match run.network {
            Network::Default => None,
            Network::None => Some(NetKind::None),
            Network::Host => Some(NetKind::Host),
        },
        insecure,
        devices,
        mounts,
        hostname: l.globals.given.get("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty()).cloned(),
        proxies: l.globals.proxies().map(|(name, value)| format!("{name}={value}")).collect(),
        own: Default::default(),
    };
    l.push(s, OpKind::Run(Box::new(op)), i, created_by);
    Ok(())
}

/// The command line; a here-document that names its interpreter becomes a file, which the shell runs like any program.
fn command_line(s: &StageState, run: &ast::Run) -> (Vec<String>, Option<Script>) {
    if let Command::Exec(argv) = &run.command {
        return (argv.clone(), None);
    }
    if let Some(doc) = run.script()
        && doc.content().starts_with("#!")
    {
        let script = Script { name: doc.name.clone(), content: doc.content() };
        return (in_shell(s, format!("/dev/pipes/{}", doc.name)), Some(script));
    }
    (in_shell(s, run.shell_line().unwrap_or_default()), None)
}

fn in_shell(s: &StageState, line: String) -> Vec<String> {
    let mut argv = s.shell();
    argv.push(line);
    argv
}

/// Declared build arguments with the values that a process sees.
fn visible_args(s: &StageState) -> Vec<(String, String)> {
    let is_seen = |name: &str| ![super::SCAN_CONTEXT, super::SCAN_STAGE].contains(&name);
    let known = s.variables.given().filter(|(name, _)| is_seen(name));
    known.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn lower_mount(
    l: &mut Lowering<'_>,
    index: usize,
    s: &StageState,
    flag: &ast::MountFlag,
) -> Result<Mount, Error> {
    if let Some(from) = flag.origin() {
        files::without_variables("from= of a mount", &from, flag.span)?;
    }
    let m = flag.resolve(|value| l.expand(s, value, flag.span))?;
    let (from, source, target, id) = (m.from.clone(), m.source.clone(), m.target.clone(), m.id.clone());
    let workdir = &s.config.config.working_dir;
    let at = |t: &str| path::directory(workdir, t);
    let mut mount = Mount {
        kind: MountKind::Bind,
        from: Origin::Context(None),
        source: path::directory("/", source.as_deref().unwrap_or("/")),
        target: at(target.as_deref().unwrap_or(".")),
        readonly: m.readonly.unwrap_or(false),
        span: m.span,
    };
    match m.kind {
        ast::MountKind::Bind => {
            mount.readonly = m.readonly.unwrap_or(true);
            if let Some(from) = from {
                mount.from = l.origin("mount", &from, index, s, m.span)?;
            }
        }
        ast::MountKind::Cache => {
            let seeded = from.is_some();
            mount.from = match from {
                Some(from) => l.origin("mount", &from, index, s, m.span)?,
                None => Origin::Fs(Fs::Scratch),
            };
            let id = id.filter(|i| !i.is_empty()).unwrap_or_else(|| mount.target.clone());
            mount.kind = cache(&m, cache_id(l, id), seeded);
        }
        ast::MountKind::Tmpfs => {
            mount.from = Origin::Fs(Fs::Scratch);
            mount.kind = MountKind::Tmpfs { size: m.size.unwrap_or(0) };
        }
        ast::MountKind::Secret => secret(&mut mount, &m, id.or(source), target, at),
        ast::MountKind::Ssh => ssh(&mut mount, &m, id, target.map(|t| at(&t))),
    }
    // Where a working directory is that an image has, which is not known yet, will be seen.
    let is_settled = l.needs.is_empty() || m.target.as_deref().is_some_and(|target| target.starts_with('/'));
    if mount.target == "/" && is_settled {
        return Err(Error::at(format!("invalid mount target {:?}", mount.target), m.span));
    }
    Ok(mount)
}

fn cache(m: &ast::Mount, id: String, seeded: bool) -> MountKind {
    MountKind::Cache {
        id,
        sharing: match m.sharing {
            ast::Sharing::Shared => Sharing::Shared,
            ast::Sharing::Private => Sharing::Private,
            ast::Sharing::Locked => Sharing::Locked,
        },
        mode: m.mode.unwrap_or(0o755),
        uid: m.uid.unwrap_or(0),
        gid: m.gid.unwrap_or(0),
        seeded,
        inherits: seeded && (m.mode, m.uid, m.gid) == (None, None, None),
    }
}

fn ssh(mount: &mut Mount, m: &ast::Mount, id: Option<String>, target: Option<String>) {
    mount.from = Origin::Fs(Fs::Scratch);
    mount.source = String::new();
    mount.target = target.unwrap_or_else(|| "/run/buildkit/ssh_agent.0".into());
    mount.kind = MountKind::Ssh {
        id: id.filter(|i| !i.is_empty()).unwrap_or_else(|| "default".into()),
        required: m.required,
        mode: m.mode.unwrap_or(0o600),
        uid: m.uid.unwrap_or(0),
        gid: m.gid.unwrap_or(0),
    };
}

/// A cache's name within the namespace that the build gives, which keeps projects apart.
fn cache_id(l: &Lowering<'_>, id: String) -> String {
    match l.globals.given.get("BUILDKIT_CACHE_MOUNT_NS").filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{namespace}/{id}"),
        None => id,
    }
}

fn secret(
    mount: &mut Mount,
    m: &ast::Mount,
    id: Option<String>,
    target: Option<String>,
    at: impl Fn(&str) -> String,
) {
    let from_target = || target.as_deref().and_then(|t| t.rsplit('/').next()).unwrap_or_default().to_string();
    let id = id.unwrap_or_else(from_target);
    let default = (m.env.is_none()).then(|| format!("/run/secrets/{}", id.rsplit('/').next().unwrap_or(&id)));
    mount.target = target.or(default).map(|t| at(&t)).unwrap_or_default();
    mount.from = Origin::Fs(Fs::Scratch);
    mount.source = String::new();
    mount.readonly = true;
    mount.kind = MountKind::Secret {
        id,
        required: m.required,
        mode: m.mode.unwrap_or(0o400),
        uid: m.uid.unwrap_or(0),
        gid: m.gid.unwrap_or(0),
        env: m.env.clone(),
    };
}
