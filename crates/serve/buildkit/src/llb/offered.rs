//! What clients are told that they may say (`gateway/caps.rs`) is what changes a graph here; the rest is refused.

use bollard_buildkit_proto::pb::{ExecOp, Meta, Mount, SourceOp, op};

use super::lower::lower;
use super::read::tests::definition;
use super::read::{Edge, read};
use crate::gateway::offers;

/// A capability, a source, and the attribute of it that it is about.
const SOURCES: &[(&str, &str, &str, &str)] = &[
    ("source.local.sessionid", "local://x", "local.session", "s"),
    ("source.local.unique", "local://x", "local.unique", "u"),
    ("source.local.sharedkeyhint", "local://x", "local.sharedkeyhint", "h"),
    ("source.local.includepatterns", "local://x", "local.includepattern", r#"["a"]"#),
    ("source.local.excludepatterns", "local://x", "local.excludepatterns", r#"["a"]"#),
    ("source.local.followpaths", "local://x", "local.followpaths", r#"["a"]"#),
    ("source.local.metadatatransfer", "local://x", "local.metadatatransfer", "true"),
    ("source.image.resolvemode", "docker-image://a", "image.resolvemode", "pull"),
    ("source.image.layerlimit", "docker-image://a", "image.layerlimit", "1"),
    ("source.image.checksum", "docker-image://a", "image.checksum", SUM),
    ("source.git.fullurl", "git://h/a", "git.fullurl", "ssh://git@h/a"),
    ("source.git.keepgitdir", "git://h/a", "git.keepgitdir", "true"),
    ("source.git.checksum", "git://h/a", "git.checksum", "0123456789"),
    ("source.git.knownsshhosts", "git://h/a", "git.knownsshhosts", "h ssh-ed25519 A"),
    ("source.git.signatureverify", "git://h/a", "git.sig.pubkey", "k"),
    ("source.http.checksum", "https://h/a", "http.checksum", SUM),
    ("source.http.perm", "https://h/a", "http.perm", "0600"),
    ("soruce.http.uidgid", "https://h/a", "http.uid", "7"),
    ("source.http.header", "https://h/a", "http.header.accept", "x"),
];

const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a graph becomes.
fn lowered(ops: &[(op::Op, &[Edge])]) -> Option<String> {
    let read = read(&definition(ops, (ops.len() - 1, 0))).unwrap();
    let lowered = lower(&read).ok()?;
    Some(format!("{:?} {:?} {} {:?}", lowered.graph, lowered.locals, lowered.pull, lowered.checksums))
}

#[test]
fn attributes_of_sources() {
    for (capability, identifier, key, value) in SOURCES {
        let identifier = (*identifier).to_owned();
        let attrs = [((*key).to_owned(), (*value).to_owned())].into();
        let plain = SourceOp { identifier: identifier.clone(), ..SourceOp::default() };
        let plain = lowered(&[(op::Op::Source(plain), &[])]);
        let said = lowered(&[(op::Op::Source(SourceOp { identifier, attrs }), &[])]);
        match offers(capability) {
            true => assert!(said.is_some() && said != plain, "{capability} is offered and changes nothing"),
            false => assert!(said.is_none(), "{key} is taken without being offered"),
        }
    }
}

#[test]
fn control_groups_of_processes() {
    let run = |cgroup_parent: &str| {
        let mounts = vec![Mount { dest: "/".to_owned(), input: -1, ..Mount::default() }];
        let (args, cgroup_parent) = (vec!["true".to_owned()], cgroup_parent.to_owned());
        let meta = Some(Meta { args, cgroup_parent, ..Meta::default() });
        lowered(&[(op::Op::Exec(ExecOp { meta, mounts, ..ExecOp::default() }), &[])])
    };
    assert!(run("").is_some() && run("/mine").is_none());
    // Limits of processes are in a field that the published types lack: no client may count on them.
    assert!(!offers("exec.meta.cgroup.parent") && !offers("exec.meta.linux.resources"));
}
