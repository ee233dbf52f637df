//! Containers of the gateway: `NewContainer`, `ReleaseContainer`, and their files. They go with the build at the latest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard_buildkit_proto::moby::buildkit::v1::frontend::NewContainerRequest;
use engine::builds::Sandbox;
use engine::images::View;
use tokio::sync::OwnedMutexGuard;
use tonic::Status;

use super::plan::{Place, Plan, plan};
use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::session::Agents;

/// Containers of one build at a time.
const CONTAINERS_MAX: usize = 64;

/// The containers of one build.
#[derive(Default)]
pub struct Containers(Mutex<HashMap<String, Slot>>);

/// What stands behind an id.
enum Slot {
    /// It is being made.
    Reserved,
    Made(Arc<Container>),
}

pub struct Container {
    pub sandbox: Sandbox,
    /// What the mounts of the request are, by their numbers.
    places: Vec<Place>,
    /// The client's agents that are mounted.
    _agents: Option<Agents>,
    /// Whoever begins its first process holds it meanwhile.
    turn: Arc<Turn>,
    /// What is left for who is the first.
    first: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// Processes of a container come after its first one.
type Turn = tokio::sync::Mutex<()>;

impl Containers {
    /// The files of a mount of a container.
    pub async fn view(&self, id: &str, mount: i32) -> Result<View, Status> {
        let container = self.find(id)?;
        let count = container.places.len();
        let place = usize::try_from(mount).ok().and_then(|mount| container.places.get(mount));
        let bounds =
            || Status::not_found(format!("mount index {mount} is out of bounds ({count} available)"));
        let absent = || Status::not_found(format!("mountable {mount} not found"));
        let number = match place.ok_or_else(bounds)? {
            Place::Root => None,
            Place::Mount(number) => Some(*number),
            Place::Absent => return Err(absent()),
        };
        container.sandbox.view(number).await.map_err(fault::status)
    }

    /// A container that was made.
    pub fn find(&self, id: &str) -> Result<Arc<Container>, Status> {
        match self.slots().get(id) {
            Some(Slot::Made(container)) => Ok(container.clone()),
            _ => Err(Status::not_found(format!("container {id:?} previously released or not created"))),
        }
    }

    /// The turn of the first process of a container, which lasts until that has begun; none for further ones.
    pub fn first(&self, id: &str) -> Option<OwnedMutexGuard<()>> {
        self.find(id).ok()?.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until the first process of a container has begun, if it was asked for.
    pub async fn begun(&self, id: &str) {
        if let Ok(container) = self.find(id) {
            drop(container.turn.lock().await);
        }
    }

    /// Takes the id of a container that is about to be made.
    fn reserve(&self, id: &str) -> Result<Reservation<'_>, Status> {
        let mut slots = self.slots();
        if id.is_empty() || slots.contains_key(id) {
            return Err(Status::already_exists(format!("Container {id} already exists")));
        }
        if slots.len() >= CONTAINERS_MAX {
            return Err(Status::resource_exhausted("a build has too many containers"));
        }
        slots.insert(id.to_owned(), Slot::Reserved);
        Ok(Reservation { containers: self, id: id.to_owned() })
    }

    /// Ends what runs in a container.
    pub async fn release(&self, id: &str) -> Result<(), Status> {
        let container = match self.slots().entry(id.to_owned()) {
            Entry::Vacant(_) => return Ok(()),
            Entry::Occupied(slot) => match slot.get() {
                Slot::Reserved => {
                    return Err(Status::failed_precondition(format!("container {id} is being made")));
                }
                Slot::Made(_) => slot.remove(),
            },
        };
        match container {
            Slot::Made(container) => container.remove().await,
            Slot::Reserved => Ok(()),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a container that is being made; it is free again when this goes before the container is there.
struct Reservation<'c> {
    containers: &'c Containers,
    id: String,
}

impl Reservation<'_> {
    fn fill(self, container: Container) {
        self.containers.slots().insert(self.id.clone(), Slot::Made(Arc::new(container)));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut slots = self.containers.slots();
        if matches!(slots.get(&self.id), Some(Slot::Reserved)) {
            slots.remove(&self.id);
        }
    }
}

impl Container {
    /// Ends what runs in it, also when nobody waits for that any more.
    async fn remove(self: Arc<Container>) -> Result<(), Status> {
        let removed = tokio::spawn(async move { self.sandbox.remove().await }).await;
        removed.map_err(|e| Status::internal(format!("remove a container: {e}")))?.map_err(fault::status)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let all = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        let made = all.into_values().filter_map(|slot| match slot {
            Slot::Made(container) => Some(container),
            Slot::Reserved => None,
        });
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for container in made {
            runtime.spawn(async move {
                if let Err(error) = container.sandbox.remove().await {
                    tracing::warn!(%error, "a container of a build was not removed");
                }
            });
        }
    }
}

/// Makes a container of what a build gave.
pub async fn new(host: &Host, build: &Build, wanted: NewContainerRequest) -> Result<(), Status> {
    let reservation = build.containers.reserve(&wanted.container_id)?;
    let Plan { surroundings, places, agents } = plan(host, build, &wanted).await?;
    let sandbox = Sandbox::new(host.engine(), surroundings).await.map_err(fault::status)?;
    let turn = Arc::new(Turn::default());
    let first = Mutex::new(turn.clone().try_lock_owned().ok());
    reservation.fill(Container { sandbox, places, _agents: agents, turn, first });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once() {
        let containers = Containers::default();
        let first = containers.reserve("c").unwrap();
        assert_eq!(containers.reserve("c").err().unwrap().code(), tonic::Code::AlreadyExists);
        assert_eq!(containers.find("c").err().unwrap().code(), tonic::Code::NotFound);
        drop(first);
        let all: Vec<_> =
            (0..CONTAINERS_MAX).map(|at| containers.reserve(&format!("c{at}")).unwrap()).collect();
        assert_eq!(containers.reserve("c").err().unwrap().code(), tonic::Code::ResourceExhausted);
        drop(all);
        assert!(containers.reserve("c").is_ok());
    }
}
