//! What clients may count on. What is not in the lists they do not ask for, or they say that it needs another server.

use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::PongResponse;
use engine::Engine;

use crate::control::worker;

const GATEWAY: &[&str] = &[
    "solve.base",
    "solve.inlinereturn",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
    "source.metaresolver",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
    "gateway.exec.filesystem",
];

/// What definitions may say, and what exporters can. Whether mounts are cached by content is no question here: all are.
const DEFINITIONS: &[&str] = &[
    "source.image",
    "source.image.resolvemode",
    "source.image.checksum",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.local.differ",
    "source.ocilayout",
    "source.policy.session",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.httpauth",
    "source.git.knownsshhosts",
    "source.git.mountsshsock",
    "source.git.subdir",
    "source.git.checksum",
    "source.git.fetchbycommit",
    "source.git.mtime",
    "source.git.skipsubmodules",
    "source.http",
    "source.http.auth",
    "source.http.checksum",
    "source.http.header",
    "source.http.perm",
    "soruce.http.uidgid",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "exec.meta.base",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.security",
    "exec.meta.ulimit",
    "exec.meta.removemountstubs.recursive",
    "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.mount.cache.content",
    "exec.cgroup",
    "exec.secretenv",
    "exec.validexitcode",
    "file.base",
    "file.rm.wildcard",
    "file.rm.nofollowsymlink",
    "file.copy.alwaysreplaceexistingdestpaths",
    "file.copy.includeexcludepatterns",
    "file.copy.requiredpaths",
    "file.copy.modestring",
    "file.symlink.create",
    "mergeop",
    "diffop",
    "cache.s3",
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.sourcedateepoch",
    "exporter.multiple",
    "gc.freespacefilter",
];

fn caps(names: &[&str]) -> Vec<ApiCap> {
    let cap = |name: &&str| ApiCap { id: (*name).to_owned(), enabled: true, ..ApiCap::default() };
    names.iter().map(cap).collect()
}

/// Whether clients are told that definitions may say this.
#[cfg(test)]
pub fn offers(capability: &str) -> bool {
    DEFINITIONS.contains(&capability)
}

pub fn pong(engine: &Engine) -> PongResponse {
    PongResponse {
        frontend_api_caps: caps(GATEWAY),
        llb_caps: caps(DEFINITIONS),
        workers: vec![worker(engine)],
    }
}
