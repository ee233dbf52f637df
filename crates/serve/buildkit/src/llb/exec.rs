//! Processes.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb::{
    ExecOp, Meta, Mount as Given, MountType, NetMode, ProxyEnv, SecretEnv, SecurityMode,
};
use engine::builds::graph::{Fs, Mount, MountKind, NetKind, OpKind, Origin, Own, Rlimit, Run, Stack};
use tonic::Status;

use super::lower::{Lowering, PATH, Part};
use super::read::Vertex;
use super::{bad, unsupported};
use crate::mounts;

/// What a process and its mounts give.
pub fn lower(lowering: &mut Lowering, vertex: &Vertex, op: &ExecOp) -> Result<BTreeMap<i64, Part>, Status> {
    let meta = op.meta.as_ref().filter(|meta| !meta.args.is_empty());
    let meta = meta.ok_or_else(|| bad("a process needs a command"))?;
    if let Some(device) = op.cdi_devices.iter().find(|device| !device.optional) {
        return Err(unsupported(format!("device {}", device.name)));
    }
    let root = op.mounts.iter().find(|mount| mount.dest == "/");
    let root = root.ok_or_else(|| bad("a process needs a root file system"))?;
    if !matches!(root.selector.as_str(), "" | "/") || root.mount_type() != MountType::Bind {
        return Err(unsupported("a root file system that is a part of another"));
    }
    let base = lowering.input(vertex, root.input)?;
    let mut mounts = Vec::new();
    let mut kept = Vec::new();
    for given in op.mounts.iter().filter(|mount| mount.dest != "/") {
        let mount = mount(lowering, vertex, given, &meta.cwd)?;
        if mount.kind == MountKind::Kept {
            kept.push(given.output);
        }
        mounts.push(mount);
    }
    mounts.extend(op.secretenv.iter().map(secret_env));
    let mut run = process(meta)?;
    let unknown = |what: &str, value: i32| bad(format!("invalid {what} mode {value}"));
    run.network = match NetMode::try_from(op.network).map_err(|_| unknown("network", op.network))? {
        NetMode::Unset => None,
        NetMode::Host => Some(NetKind::Host),
        NetMode::None => Some(NetKind::None),
    };
    let security = SecurityMode::try_from(op.security).map_err(|_| unknown("security", op.security))?;
    run.insecure = security == SecurityMode::Insecure;
    run.mounts = mounts;
    run.own.readonly = root.readonly;
    let name = || meta.args.join(" ");
    let fs = lowering.push(vertex, base, OpKind::Run(Box::new(run)), name);
    let mut outputs = BTreeMap::new();
    for (number, output) in kept.into_iter().enumerate() {
        let kind = OpKind::Stack(Stack::Mount(number));
        let part = lowering.push(vertex, fs.clone(), kind, || format!("mount {output} of {}", name()));
        outputs.insert(output, Part::Fs(part));
    }
    if root.output >= 0 {
        outputs.insert(root.output, Part::Fs(fs));
    }
    Ok(outputs)
}

fn process(meta: &Meta) -> Result<Run, Status> {
    if !meta.cgroup_parent.is_empty() {
        return Err(unsupported("a control group of a process's own choice"));
    }
    let limit = |limit: &bollard_buildkit_proto::pb::Ulimit| {
        let bound = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let typ = format!("RLIMIT_{}", limit.name.to_uppercase());
        Rlimit { typ, soft: bound(limit.soft), hard: bound(limit.hard) }
    };
    let mut hosts = Vec::new();
    for host in &meta.extra_hosts {
        let address: std::net::IpAddr =
            host.ip.parse().map_err(|_| bad(format!("{:?} is no address", host.ip)))?;
        if host.host.is_empty() || host.host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(bad(format!("{:?} is no name of a host", host.host)));
        }
        hosts.push((host.host.clone(), address.to_string()));
    }
    if let Some(text) = meta.args.iter().chain(&meta.env).chain([&meta.cwd]).find(|text| text.contains('\0'))
    {
        return Err(bad(format!("{text:?} has a zero in it")));
    }
    let mut env = meta.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(format!("PATH={PATH}"));
    }
    Ok(Run {
        argv: meta.args.clone(),
        env,
        cwd: if meta.cwd.is_empty() { "/".to_owned() } else { meta.cwd.clone() },
        user: meta.user.clone(),
        network: None,
        insecure: false,
        devices: Vec::new(),
        mounts: Vec::new(),
        hostname: Some(meta.hostname.clone()).filter(|name| !name.is_empty()),
        script: None,
        proxies: meta.proxy_env.as_ref().map(proxies).unwrap_or_default(),
        own: Own {
            hosts,
            rlimits: meta.ulimit.iter().map(limit).collect(),
            exit_codes: meta.valid_exit_codes.clone(),
            readonly: false,
        },
    })
}

/// Each under both spellings.
fn proxies(given: &ProxyEnv) -> Vec<String> {
    let all = [
        ("http_proxy", &given.http_proxy),
        ("https_proxy", &given.https_proxy),
        ("ftp_proxy", &given.ftp_proxy),
        ("no_proxy", &given.no_proxy),
        ("all_proxy", &given.all_proxy),
    ];
    let set = all.into_iter().filter(|(_, value)| !value.is_empty());
    set.flat_map(|(name, value)| [format!("{}={value}", name.to_uppercase()), format!("{name}={value}")])
        .collect()
}

fn mount(lowering: &mut Lowering, vertex: &Vertex, given: &Given, cwd: &str) -> Result<Mount, Status> {
    let kind = kind(given)?;
    let from = match (vertex.input(given.input)?, &kind) {
        // What is written to must be layers.
        (Some(edge), MountKind::Kept | MountKind::Cache { .. }) => Origin::Fs(lowering.fs(edge)?),
        (Some(edge), _) => lowering.origin(&lowering.part(edge)?),
        (None, _) => Origin::Fs(Fs::Scratch),
    };
    // Below the working directory, unless it says where.
    let target = match given.dest.starts_with('/') {
        true => given.dest.clone(),
        false => format!("/{}/{}", cwd.trim_matches('/'), given.dest),
    };
    let (readonly, span) = (given.readonly, Default::default());
    Ok(Mount { kind, from, source: mounts::source(given), target, readonly, span })
}

fn kind(given: &Given) -> Result<MountKind, Status> {
    Ok(match given.mount_type() {
        MountType::Bind if given.output >= 0 && !given.readonly => MountKind::Kept,
        MountType::Bind if given.output >= 0 => return Err(unsupported("the result of a read-only mount")),
        MountType::Bind => MountKind::Bind,
        MountType::Tmpfs => MountKind::Tmpfs { size: mounts::size(given) },
        MountType::Cache => {
            let (id, sharing) = mounts::cache(given)?;
            let seeded = given.input >= 0;
            MountKind::Cache { id, sharing, mode: 0o755, uid: 0, gid: 0, seeded, inherits: seeded }
        }
        MountType::Secret => {
            let options = mounts::options(given, given.secret_opt.as_ref(), "secret")?;
            MountKind::Secret {
                id: options.id.clone(),
                required: !options.optional,
                mode: options.mode,
                uid: options.uid,
                gid: options.gid,
                env: None,
            }
        }
        MountType::Ssh => {
            let (id, options) = mounts::agent(given)?;
            MountKind::Ssh {
                id: id.to_owned(),
                required: !options.optional,
                mode: options.mode,
                uid: options.uid,
                gid: options.gid,
            }
        }
    })
}

/// A secret that is a variable.
fn secret_env(given: &SecretEnv) -> Mount {
    Mount {
        kind: MountKind::Secret {
            id: given.id.clone(),
            required: !given.optional,
            mode: 0,
            uid: 0,
            gid: 0,
            env: Some(given.name.clone()),
        },
        from: Origin::Fs(Fs::Scratch),
        source: String::new(),
        target: String::new(),
        readonly: true,
        span: Default::default(),
    }
}
