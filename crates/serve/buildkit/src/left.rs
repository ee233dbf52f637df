//! What a client is told of a process that failed, so that it can look around there: `errdefs.Solve`, the operation with results of
//! the build that stand for what its mounts had. As JSON, in the names of its protocol buffers.

use std::sync::Arc;

use api::build::BuiltImage;
use bollard_buildkit_proto::google::protobuf::Any;
use bollard_buildkit_proto::google::rpc;
use engine::builds::graph::{Mount, MountKind, NetKind, Run, Sharing};
use engine::builds::{self, Left, Loan};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Status;

use crate::Host;
use crate::build::{Build, Made};

/// The type of such a detail.
pub const SOLVE: &str = "github.com/moby/buildkit/errdefs.Solve+json";
/// What a mount is given that has no input or gives nothing.
const NONE: i64 = -1;

/// Whether an error is of a process that can be looked at.
pub fn is_in(status: &Status) -> bool {
    let full = rpc::Status::decode(status.details());
    full.is_ok_and(|full| full.details.iter().any(|detail| detail.type_url == SOLVE))
}

/// The detail of an error. Without it the build failed all the same: what is gone meanwhile is no failure of its own.
pub async fn detail(host: &Host, build: &Build, left: Arc<Left>) -> Option<Any> {
    let engine = host.engine();
    let lent = async {
        let lease = builds::hold(engine).await?;
        Ok((builds::left(engine, lease.clone(), left.clone()).await?, Arc::new(Loan::new(engine, lease))))
    };
    let lent: engine::Result<_> = lent.await;
    let warn = |error: &engine::Error| tracing::warn!(%error, "what a failed step left cannot be looked at");
    let (images, loan) = lent.inspect_err(warn).ok()?;
    let put = |image: BuiltImage| build.put(Made::of_part(loan.clone(), image)).ok();
    let after = put(images.after)?;
    let before = images.before.and_then(put).unwrap_or_default();
    let mut inputs = vec![before];
    let mut results = vec![after];
    let mut mounts = vec![json!({ "dest": "/", "input": 0, "readonly": left.run.own.readonly })];
    let written = images.mounts_after.into_iter();
    for ((mount, image), written) in left.run.mounts.iter().zip(images.mounts).zip(written) {
        // A variable is no mount.
        let Some(mut document) = document(mount) else { continue };
        let (id, path) = image.map(|(image, path)| (put(image), path)).unwrap_or_default();
        if id.is_some() && path != "/" {
            document["selector"] = path.into();
        }
        inputs.push(id.clone().unwrap_or_default());
        results.push(written.and_then(put).or(id).unwrap_or_default());
        mounts.push(document);
    }
    let solve =
        json!({ "inputIDs": inputs, "mountIDs": results, "op": { "exec": operation(&left.run, mounts) } });
    Some(Any { type_url: SOLVE.to_owned(), value: solve.to_string().into_bytes() })
}

fn operation(run: &Run, mounts: Vec<Value>) -> Value {
    let host = |(name, address): &(String, String)| json!({ "Host": name, "IP": address });
    let agent = run.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
    let agent = agent.map(|mount| format!("SSH_AUTH_SOCK={}", mount.target));
    let mut document = json!({
        "meta": {
            "args": run.argv,
            "env": run.env.iter().chain(&agent).collect::<Vec<_>>(),
            "cwd": run.cwd,
            "user": run.user,
            "hostname": run.hostname.clone().unwrap_or_default(),
            "extraHosts": run.own.hosts.iter().map(host).collect::<Vec<_>>(),
        },
        "mounts": mounts,
        "secretenv": run.mounts.iter().filter_map(variable).collect::<Vec<_>>(),
    });
    if let Some(network) = run.network {
        document["network"] = if network == NetKind::Host { "HOST" } else { "NONE" }.into();
    }
    if run.insecure {
        document["security"] = "INSECURE".into();
    }
    document
}

/// A secret that is a variable.
fn variable(mount: &Mount) -> Option<Value> {
    match &mount.kind {
        MountKind::Secret { id, required, env: Some(name), .. } => {
            Some(json!({ "ID": id, "name": name, "optional": !required }))
        }
        _ => None,
    }
}

fn document(mount: &Mount) -> Option<Value> {
    let owned = |id: &str, required: bool, (mode, uid, gid): (u32, u32, u32)| json!({ "ID": id, "optional": !required, "mode": mode, "uid": uid, "gid": gid });
    let mut document =
        json!({ "dest": mount.target, "input": NONE, "output": NONE, "readonly": mount.readonly });
    let (kind, field, options) = match &mount.kind {
        MountKind::Bind | MountKind::Kept => return Some(document),
        MountKind::Cache { id, sharing, .. } => {
            let sharing = match sharing {
                Sharing::Shared => "SHARED",
                Sharing::Private => "PRIVATE",
                Sharing::Locked => "LOCKED",
            };
            ("CACHE", "cacheOpt", json!({ "ID": id, "sharing": sharing }))
        }
        MountKind::Tmpfs { size } => ("TMPFS", "TmpfsOpt", json!({ "size": size })),
        MountKind::Secret { .. } if mount.target.is_empty() => return None,
        MountKind::Secret { id, required, mode, uid, gid, .. } => {
            ("SECRET", "secretOpt", owned(id, *required, (*mode, *uid, *gid)))
        }
        MountKind::Ssh { id, required, mode, uid, gid } => {
            ("SSH", "SSHOpt", owned(id, *required, (*mode, *uid, *gid)))
        }
    };
    document["mountType"] = kind.into();
    document[field] = options;
    Some(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::builds::graph::{Fs, Origin};

    fn mount(kind: MountKind, target: &str) -> Mount {
        let (from, source, target) = (Origin::Fs(Fs::Scratch), "/".to_owned(), target.to_owned());
        Mount { kind, from, source, target, readonly: false, span: Default::default() }
    }

    #[test]
    fn mounts_are_named_as_clients_name_them() {
        let sharing = Sharing::Locked;
        let (id, seeded, inherits) = ("c".to_owned(), false, false);
        let cache = MountKind::Cache { id, sharing, mode: 0, uid: 0, gid: 0, seeded, inherits };
        let told = document(&mount(cache, "/cache")).unwrap();
        assert_eq!((&told["mountType"], &told["cacheOpt"]["sharing"]), (&json!("CACHE"), &json!("LOCKED")));
        let secret = |target: &str| {
            let (id, env) = ("s".to_owned(), Some("TOKEN".to_owned()));
            mount(MountKind::Secret { id, required: true, mode: 0o400, uid: 1, gid: 2, env }, target)
        };
        assert_eq!(document(&secret("")), None);
        assert_eq!(variable(&secret("")), Some(json!({ "ID": "s", "name": "TOKEN", "optional": false })));
        let told = document(&secret("/run/secrets/s")).unwrap();
        assert_eq!(
            told["secretOpt"],
            json!({ "ID": "s", "optional": false, "mode": 0o400, "uid": 1, "gid": 2 })
        );
    }
}
