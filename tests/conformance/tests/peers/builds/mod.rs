//! The same Dockerfiles over the same files, built by us and by others: trees, configurations and histories are compared
//! field by field. What differs on purpose is said where the Dockerfile is, with the reason; a difference that is said and is
//! not there fails too.

mod cases;
mod compare;
mod image;

use std::path::{Path, PathBuf};

use testkit::{Host, Mode};

use crate::docker;
use crate::dockerd::Dockerd;
use cases::{CASES, Case, EVERYWHERE, Peer};
use image::Image;

/// The archive of the image that all Dockerfiles begin with.
fn base(host: &Host) -> PathBuf {
    host.busybox();
    let path = host.home().join("base.tar");
    host.dhow(&["save", "-o", path.to_str().expect("UTF-8"), "busybox"]).ok();
    path
}

/// Builds all that `peer` can build, here and there, and compares.
fn differ(host: &Host, peer: Peer, theirs: impl Fn(&Case, &Path) -> Vec<u8>) {
    let context = cases::context(host);
    let mut wrong = Vec::new();
    let everywhere: Vec<_> = EVERYWHERE.iter().filter(|said| said.from == peer).collect();
    let mut met = vec![false; everywhere.len()];
    for case in CASES.iter().filter(|case| case.peers.contains(&peer)) {
        std::fs::write(context.join("Dockerfile"), case.dockerfile).expect("write a file");
        let place = context.to_str().expect("UTF-8");
        host.dhow(&[&["build", "-q", "-t", case.name], case.flags, &[place]].concat()).ok();
        let ours = host.dhow(&["save", case.name]).run();
        assert_eq!(ours.code, 0, "{}", ours.stderr);
        let found = compare::compare(&Image::read(&ours.bytes), &Image::read(&theirs(case, &context)), peer);
        let said = || case.differences.iter().filter(|said| said.from == peer);
        for difference in &found {
            let mut is_said = said().any(|said| said.covers(difference));
            for (said, met) in everywhere.iter().zip(&mut met) {
                let covers = said.covers(difference);
                is_said |= covers;
                *met |= covers;
            }
            if !is_said {
                wrong.push(format!("{}: {}: {}", case.name, difference.subject, difference.sides));
            }
        }
        for said in said() {
            if !found.iter().any(|difference| said.covers(difference)) {
                wrong.push(format!("{}: {} does not differ any more: {}", case.name, said.subject, said.why));
            }
        }
    }
    for (said, _) in everywhere.iter().zip(met).filter(|(_, met)| !met) {
        wrong.push(format!("{} does not differ anywhere any more: {}", said.subject, said.why));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn builds_are_as_dockers() {
    let host = Host::new(Mode::Embedded);
    let base = base(&host);
    let dockerd = Dockerd::start(host.home());
    let docker = |arguments: &[&str]| docker(&host, &dockerd.socket, arguments);
    docker(&["load", "-q", "-i", base.to_str().expect("UTF-8")]).ok();
    differ(&host, Peer::Docker, |case, context| {
        let place = context.to_str().expect("UTF-8");
        docker(&[&["build", "-q", "-t", case.name], case.flags, &[place]].concat()).ok();
        let saved = docker(&["save", case.name]).run();
        assert_eq!(saved.code, 0, "{}", saved.stderr);
        saved.bytes
    });
}

#[test]
fn builds_are_as_buildahs() {
    let host = Host::new(Mode::Embedded);
    let base = base(&host);
    let policy = host.file("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}");
    let place = |name: &str| host.home().join("buildah").join(name).display().to_string();
    let (root, run, policy) = (place("root"), place("run"), policy.display().to_string());
    // In a mount namespace of its own: it mounts its folders onto themselves and leaves them so.
    let buildah = |arguments: &[&str]| {
        let own = ["--mount", "--propagation", "private", "buildah", "--root", &root, "--runroot", &run];
        let all = [&own[..], &["--storage-driver", "overlay"], arguments].concat();
        host.program("unshare", &all)
    };
    let base = format!("docker-archive:{}", base.display());
    buildah(&["pull", "-q", "--signature-policy", &policy, &base]).ok();
    differ(&host, Peer::Buildah, |case, context| {
        let settings = ["build", "-q", "--pull=never", "--format", "docker", "--isolation", "chroot"];
        let more =
            ["--layers=false", "--identity-label=false", "--signature-policy", &policy, "-t", case.name];
        let place = context.to_str().expect("UTF-8");
        buildah(&[&settings[..], &more, case.flags, &[place]].concat()).ok();
        let archive = host.home().join(format!("{}.theirs.tar", case.name));
        let to = format!("docker-archive:{}:{}", archive.display(), case.name);
        buildah(&["push", "-q", "--signature-policy", &policy, case.name, &to]).ok();
        std::fs::read(archive).expect("an archive")
    });
}
