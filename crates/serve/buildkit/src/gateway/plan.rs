//! What the request of a container says, in the engine's words; secrets and agents come from the client.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::NewContainerRequest;
use bollard_buildkit_proto::pb::{Mount as Given, MountType, NetMode};
use engine::builds::{Mount, MountKind, Owner, Part, Surroundings};
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::mounts;
use crate::session::{Agents, Session};

/// What a mount of the request became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Root,
    /// Its number among the engine's.
    Mount(usize),
    /// The client does not have what may be missing.
    Absent,
}

/// A container that is to be made.
pub struct Plan {
    pub surroundings: Surroundings,
    /// By the numbers of the request's mounts.
    pub places: Vec<Place>,
    /// They serve the sockets that are mounted.
    pub agents: Option<Agents>,
}

/// Reads a request.
pub async fn plan(host: &Host, build: &Build, wanted: &NewContainerRequest) -> Result<Plan, Status> {
    let mut all = Surroundings { hostname: wanted.hostname.clone(), ..Surroundings::default() };
    let mut places = Vec::with_capacity(wanted.mounts.len());
    let mut asking = Asking { host, build, agents: None };
    for given in &wanted.mounts {
        places.push(match (given.dest.as_str(), given.mount_type()) {
            ("/", MountType::Bind) => {
                all.image = manifest(build, &given.result_id)?;
                all.read_only = given.readonly;
                Place::Root
            }
            ("/", kind) => {
                let kind = kind.as_str_name();
                return Err(Status::invalid_argument(format!("invalid mount type {kind} for /")));
            }
            (_, _) => match asking.kind(given).await? {
                Some(kind) => {
                    let (destination, read_only) = (given.dest.clone(), given.readonly);
                    all.mounts.push(Mount { kind, destination, read_only });
                    Place::Mount(all.mounts.len() - 1)
                }
                None => Place::Absent,
            },
        });
    }
    if all.image.is_empty() {
        return Err(Status::invalid_argument("a container needs a root file system"));
    }
    all.network = network(build, wanted)?;
    all.hosts = wanted.extra_hosts.iter().map(|host| format!("{}:{}", host.host, host.ip)).collect();
    Ok(Plan { surroundings: all, places, agents: asking.agents })
}

/// The manifest of a result.
fn manifest(build: &Build, id: &str) -> Result<String, Status> {
    let made = build.result(id)?;
    let manifest = made.image(id).and_then(|image| image.manifest.as_ref());
    let missing = || Status::not_found(format!("no such ref: {id}"));
    Ok(manifest.ok_or_else(missing)?.digest.to_string())
}

fn network(build: &Build, wanted: &NewContainerRequest) -> Result<String, Status> {
    let is_allowed = build.order.entitlements.iter().any(|allowed| allowed == "network.host");
    match NetMode::try_from(wanted.network).unwrap_or_default() {
        NetMode::Unset => Ok(String::new()),
        NetMode::None => Ok("none".to_owned()),
        NetMode::Host if is_allowed => Ok("host".to_owned()),
        NetMode::Host => Err(Status::permission_denied("network.host is not allowed")),
    }
}

/// A secret of the client's; none where it has none and need not have it.
pub async fn secret(
    host: &Host,
    build: &Build,
    id: &str,
    is_optional: bool,
) -> Result<Option<Vec<u8>>, Status> {
    let secret = session(host, build).await?.secret(id).await?;
    match (secret, is_optional) {
        (None, false) => Err(Status::not_found(format!("secret {id}: not found"))),
        (secret, _) => Ok(secret),
    }
}

async fn session(host: &Host, build: &Build) -> Result<Session, Status> {
    match build.order.session.as_str() {
        "" => Err(Status::failed_precondition("the build has no session")),
        id => host.find_session(id).await,
    }
}

/// Asks the client for what it has.
struct Asking<'a> {
    host: &'a Host,
    build: &'a Build,
    agents: Option<Agents>,
}

impl Asking<'_> {
    /// What a mount holds; nothing where the client does not have what may be missing.
    async fn kind(&mut self, given: &Given) -> Result<Option<MountKind>, Status> {
        Ok(Some(match given.mount_type() {
            MountType::Bind => MountKind::Bind(self.part(given)?),
            MountType::Tmpfs => MountKind::Memory { size: mounts::size(given) },
            MountType::Cache => {
                let (id, sharing) = mounts::cache(given)?;
                MountKind::Cache { id, sharing, seed: self.part(given)? }
            }
            MountType::Secret => {
                let options = mounts::options(given, given.secret_opt.as_ref(), "secret")?;
                let owner = Owner { mode: options.mode, uid: options.uid, gid: options.gid };
                match secret(self.host, self.build, &options.id, options.optional).await? {
                    Some(content) => MountKind::Secret { content, owner },
                    None => return Ok(None),
                }
            }
            MountType::Ssh => {
                let (id, options) = mounts::agent(given)?;
                let owner = Owner { mode: options.mode, uid: options.uid, gid: options.gid };
                match self.agents().await?.socket(id).await? {
                    Some(socket) => MountKind::Agent { socket, owner },
                    None if options.optional => return Ok(None),
                    None => {
                        let message = format!("no SSH key {id:?} forwarded from the client");
                        return Err(Status::not_found(message));
                    }
                }
            }
        }))
    }

    fn part(&self, given: &Given) -> Result<Option<Part>, Status> {
        if given.result_id.is_empty() {
            return Ok(None);
        }
        Ok(Some(Part { image: manifest(self.build, &given.result_id)?, path: mounts::source(given) }))
    }

    async fn agents(&mut self) -> Result<&Agents, Status> {
        let agents = match self.agents.take() {
            Some(agents) => agents,
            None => Agents::new(self.host.engine().clone(), session(self.host, self.build).await?),
        };
        Ok(self.agents.insert(agents))
    }
}
