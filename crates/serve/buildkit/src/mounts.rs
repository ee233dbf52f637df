//! What the mounts of a graph's processes and of a gateway's containers say alike: messages into the engine's words.

use bollard_buildkit_proto::pb::{CacheSharingOpt, Mount, SshOpt};
use engine::builds::graph::Sharing;
use tonic::Status;

/// The agent of whom names none.
const AGENT: &str = "default";

/// The path in what is mounted; all of it where none is said.
pub fn source(given: &Mount) -> String {
    if given.selector.is_empty() { "/".to_owned() } else { given.selector.clone() }
}

/// The most bytes that a mount in memory may hold; 0 for as many as there are.
pub fn size(given: &Mount) -> u64 {
    given.tmpfs_opt.as_ref().map_or(0, |options| u64::try_from(options.size).unwrap_or(0))
}

/// The name of a cache, which is its destination where none is said, and who shares it.
pub fn cache(given: &Mount) -> Result<(String, Sharing), Status> {
    let options = options(given, given.cache_opt.as_ref(), "cache")?;
    let sharing = match options.sharing() {
        CacheSharingOpt::Shared => Sharing::Shared,
        CacheSharingOpt::Private => Sharing::Private,
        CacheSharingOpt::Locked => Sharing::Locked,
    };
    let id = if options.id.is_empty() { &given.dest } else { &options.id };
    Ok((id.clone(), sharing))
}

/// The name of an agent, and what else is said of it.
pub fn agent(given: &Mount) -> Result<(&str, &SshOpt), Status> {
    let options = options(given, given.ssh_opt.as_ref(), "agent")?;
    let id = if options.id.is_empty() { AGENT } else { &options.id };
    Ok((id, options))
}

/// What a mount of this kind must say.
pub fn options<'a, T>(given: &Mount, options: Option<&'a T>, what: &str) -> Result<&'a T, Status> {
    options
        .ok_or_else(|| Status::invalid_argument(format!("mount {} says nothing of its {what}", given.dest)))
}
