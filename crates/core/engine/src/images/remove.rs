//! `docker rmi`: Docker's rules for what a name or an id takes away, and what stands in the way
//! (moby `daemon/images/image_delete.go`).

use std::collections::BTreeMap;

use api::images::{DeleteResponse, RemoveOptions};
use oci::{ChainId, Digest, Platform, Reference};
use state::tags::Tag;
use state::{Tx, containers, images, leases, tags};

use super::catalog::{Catalog, Item};
use super::{artifacts, platform};
use crate::containers::record;
use crate::error::{Error, Result};
use crate::{Engine, events, ids};

/// Takes a name or an image away; what was untagged and deleted, in order.
pub async fn remove(engine: &Engine, name: &str, options: RemoveOptions) -> Result<Vec<DeleteResponse>> {
    let name = name.to_owned();
    engine
        .blocking(move |engine| remove_blocking(engine, &name, &options, false).map(|removed| removed.0))
        .await
}

/// Removes what nobody uses; what went, and how many bytes that freed. What an operation under way holds is a conflict.
pub(crate) fn remove_unused(engine: &Engine, name: &str) -> Result<(Vec<DeleteResponse>, u64)> {
    remove_blocking(engine, name, &RemoveOptions::default(), true)
}

fn remove_blocking(
    engine: &Engine,
    name: &str,
    options: &RemoveOptions,
    unused: bool,
) -> Result<(Vec<DeleteResponse>, u64)> {
    let platforms = platform::named(&options.platforms)?;
    // All of it is one transaction: what it decides on can't change under it.
    let done = engine.db().write(|tx| {
        let (answers, events, chains, forgotten) = Default::default();
        let mut removal = Removal { engine, tx, options, answers, events, chains, forgotten };
        if unused {
            removal.expect_unused(name)?;
        }
        match &platforms[..] {
            [] => removal.run(name)?,
            platforms => removal.run_for(name, platforms)?,
        }
        let Removal { answers, events, chains, forgotten, .. } = removal;
        Ok::<_, Error>(Done { answers, events, chains, forgotten })
    })?;
    for manifest in &done.forgotten {
        engine.store().forget_member(manifest)?;
    }
    for (action, id, attribute) in &done.events {
        let attributes = BTreeMap::from([("name".to_owned(), attribute.clone())]);
        events::emit(engine, "image", action, id, &attributes);
    }
    let mut answers = done.answers;
    if done.events.iter().all(|(action, ..)| *action != "delete") {
        return Ok((answers, 0));
    }
    let collected = engine.store().gc()?;
    for chain in done.chains {
        if engine.store().layer(&chain)?.is_none() {
            answers.push(DeleteResponse { deleted: chain.to_string(), ..DeleteResponse::default() });
        }
    }
    Ok((answers, collected.bytes))
}

struct Done {
    answers: Vec<DeleteResponse>,
    events: Vec<(&'static str, String, String)>,
    chains: Vec<ChainId>,
    forgotten: Vec<Digest>,
}

struct Removal<'a> {
    engine: &'a Engine,
    tx: &'a Tx<'a>,
    options: &'a RemoveOptions,
    answers: Vec<DeleteResponse>,
    events: Vec<(&'static str, String, String)>,
    /// The layers of deleted images, topmost first, which go if nothing else has them.
    chains: Vec<ChainId>,
    /// The manifests of deleted images that an index names still.
    forgotten: Vec<Digest>,
}

/// Why an image can't be deleted.
struct Obstacle {
    /// Even by force.
    hard: bool,
    /// A container is why.
    used: bool,
    message: String,
}

/// What may stand in the way.
#[derive(Clone, Copy)]
struct Mask {
    names: bool,
    stopped: bool,
}

impl Removal<'_> {
    fn catalog(&self) -> Result<Catalog> {
        Catalog::read(self.engine.store(), self.tx)
    }

    /// Who works with an image holds its manifest.
    fn expect_unused(&self, name: &str) -> Result<()> {
        let (found, _) = self.engine.store().find_in(self.tx, name, None)?;
        let held = leases::pinned(self.tx)?;
        match images::by_id(self.tx, &found.id)?.iter().any(|record| held.contains(&record.digest)) {
            true => Err(Error::conflict(format!(
                "image {} is in use by an operation under way",
                found.id.short()
            ))),
            false => Ok(()),
        }
    }

    fn run(&mut self, name: &str) -> Result<()> {
        if let Some(tag) = artifacts::named_in(self.engine.store(), self.tx, name)? {
            return self.untag_artifact(&tag);
        }
        let (found, tag) = self.engine.store().find_in(self.tx, name, None)?;
        let id = found.id;
        let members = self.members(tag.as_ref(), &id)?;
        match tag {
            Some(tag) => {
                let gone = self.untag_name(&id, &tag)?;
                if !gone {
                    return Ok(());
                }
                self.delete(&id, self.options.force, !self.options.no_prune, true)?;
                // The other platforms of the index went out of sight with the name.
                for member in members {
                    self.delete(&member, false, false, true)?;
                }
                Ok(())
            }
            None => {
                self.untag_id(&id)?;
                self.delete(&id, self.options.force, !self.options.no_prune, false)
            }
        }
    }

    /// Takes a name of what is no image away, and those by digest with the last tag of their repository.
    fn untag_artifact(&mut self, tag: &Tag) -> Result<()> {
        let id = &tag.target;
        self.untag(id, &tag.reference)?;
        let left = tags::of(self.tx, id)?;
        let same = |other: &&Tag| other.reference.name() == tag.reference.name();
        if !left.iter().filter(same).any(|other| other.reference.digest.is_none()) {
            for other in left.iter().filter(same) {
                self.untag(id, &other.reference)?;
            }
        }
        if tags::of(self.tx, id)?.is_empty() {
            self.answers.push(DeleteResponse { deleted: id.to_string(), ..DeleteResponse::default() });
            self.events.push(("delete", id.to_string(), id.to_string()));
        }
        Ok(())
    }

    /// Takes of an image for several platforms those of these away. Its names stay as long as anything of it does.
    fn run_for(&mut self, name: &str, platforms: &[Platform]) -> Result<()> {
        let store = self.engine.store();
        for platform in platforms {
            let (record, tag) = store.find_in(self.tx, name, Some(platform))?;
            let members = tag.as_ref().map(|tag| store.members(&tag.target)).transpose()?.unwrap_or_default();
            let mut last = true;
            for other in members.leaves.iter().filter(|m| m.digest != record.digest) {
                last &= images::get(self.tx, &other.digest)?.is_none();
            }
            if last {
                self.expect_platform(&record, platform, name)?;
                self.run(name)?;
                continue;
            }
            let mask = Mask { names: false, stopped: !self.options.force };
            if let Some(obstacle) = self.obstacle(&record.id, mask)? {
                return Err(obstacle.error(&record.id));
            }
            let catalog = self.catalog()?;
            images::remove(self.tx, &record.digest)?;
            self.forgotten.push(record.digest.clone());
            if let Some(item) = catalog.get(&record.id) {
                self.chains.extend(item.chains().into_iter().rev());
            }
            let id = record.id.to_string();
            self.answers.push(DeleteResponse { deleted: id.clone(), ..DeleteResponse::default() });
            self.events.push(("delete", id.clone(), id));
        }
        Ok(())
    }

    /// Without an index, an image is for one platform, and that has to be the one.
    fn expect_platform(&self, record: &images::Image, platform: &Platform, name: &str) -> Result<()> {
        let own = self.engine.store().load(record.clone())?.config.platform();
        match platform.matches(&own) {
            true => Ok(()),
            false => {
                Err(store::Error::Platform { name: name.to_owned(), platform: Box::new(platform.clone()) }
                    .into())
            }
        }
    }

    /// The images besides `id` that are behind an index's name.
    fn members(&self, tag: Option<&Tag>, id: &Digest) -> Result<Vec<Digest>> {
        let Some(tag) = tag else { return Ok(Vec::new()) };
        let mut members = Vec::new();
        for member in self.engine.store().members(&tag.target)?.leaves {
            if let Some(image) = images::get(self.tx, &member.digest)?
                && image.id != *id
            {
                members.push(image.id);
            }
        }
        Ok(members)
    }

    /// Takes one name away; whether it was the last.
    fn untag_name(&mut self, id: &Digest, tag: &Tag) -> Result<bool> {
        let names = self.names(id)?;
        if !self.options.force
            && is_single(&names)
            && let Some((container, _)) = containers::of_image(self.tx, id)?.into_iter().next()
        {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference {:?} (must force) - container {} is using its referenced image {}",
                tag.reference.familiar(),
                ids::short(&container),
                id.short()
            )));
        }
        self.untag(id, &tag.reference)?;
        let names = self.names(id)?;
        let repository = tag.reference.name();
        let same = |name: &&Reference| name.name() == repository;
        // Digests of a repository without any tag left go too.
        if tag.reference.digest.is_none() && !names.iter().filter(same).any(|name| name.digest.is_none()) {
            for name in names.iter().filter(same) {
                self.untag(id, name)?;
            }
        }
        Ok(self.names(id)?.is_empty())
    }

    /// By id, all names go if they are of one repository.
    fn untag_id(&mut self, id: &Digest) -> Result<()> {
        let names = self.names(id)?;
        if !is_single(&names) {
            return Ok(());
        }
        let mask = Mask { names: false, stopped: !self.options.force };
        if let Some(obstacle) = self.obstacle(id, mask)? {
            return Err(obstacle.error(id));
        }
        for name in &names {
            self.untag(id, name)?;
        }
        Ok(())
    }

    /// Deletes an image and, with `prune`, the images that it was made from and that nothing holds.
    fn delete(&mut self, id: &Digest, force: bool, prune: bool, mut quiet: bool) -> Result<()> {
        let (mut id, mut force) = (id.clone(), force);
        loop {
            let mask = Mask { names: !force, stopped: !force };
            if let Some(obstacle) = self.obstacle(&id, mask)? {
                let catalog = self.catalog()?;
                let dangling = catalog.get(&id).is_some_and(|item| item.is_nameless() && item.children == 0);
                if quiet && (!dangling || obstacle.used) {
                    return Ok(());
                }
                return Err(obstacle.error(&id));
            }
            let catalog = self.catalog()?;
            let Some(item) = catalog.get(&id) else { return Ok(()) };
            let next = item.parent().cloned();
            self.delete_item(&catalog, item)?;
            match next {
                Some(parent) if prune && self.is_prunable(&parent)? => id = parent,
                _ => return Ok(()),
            }
            (force, quiet) = (false, true);
        }
    }

    /// A parent is pruned when nothing names it, uses it or was made from it.
    fn is_prunable(&self, id: &Digest) -> Result<bool> {
        let mask = Mask { names: true, stopped: true };
        let catalog = self.catalog()?;
        let nameless = catalog.get(id).is_some_and(Item::is_nameless);
        Ok(nameless && self.obstacle(id, mask)?.is_none())
    }

    fn delete_item(&mut self, catalog: &Catalog, item: &Item) -> Result<()> {
        for name in item.names() {
            self.untag(&item.id, &name.reference)?;
        }
        for record in &item.records {
            images::remove(self.tx, &record.digest)?;
        }
        let own = catalog.own_chains(item);
        self.chains.extend(item.chains().into_iter().rev().filter(|chain| own.contains(chain)));
        self.answers.push(DeleteResponse { deleted: item.id.to_string(), ..DeleteResponse::default() });
        self.events.push(("delete", item.id.to_string(), item.id.to_string()));
        Ok(())
    }

    fn untag(&mut self, id: &Digest, name: &Reference) -> Result<()> {
        tags::remove(self.tx, name)?;
        self.answers.push(DeleteResponse { untagged: name.familiar(), ..DeleteResponse::default() });
        self.events.push(("untag", id.to_string(), id.to_string()));
        Ok(())
    }

    fn names(&self, id: &Digest) -> Result<Vec<Reference>> {
        let catalog = self.catalog()?;
        let item = catalog.get(id);
        Ok(item.into_iter().flat_map(Item::names).map(|tag| tag.reference.clone()).collect())
    }

    /// The first thing that stands in the way, hard ones first.
    fn obstacle(&self, id: &Digest, mask: Mask) -> Result<Option<Obstacle>> {
        let catalog = self.catalog()?;
        let Some(item) = catalog.get(id) else { return Ok(None) };
        let found = |hard, used, message: String| Ok(Some(Obstacle { hard, used, message }));
        if item.children > 0 {
            return found(true, false, "image has dependent child images".to_owned());
        }
        let users = containers::of_image(self.tx, id)?;
        for (container, _) in &users {
            if is_running(self.engine, container)? {
                let message = format!("image is being used by running container {}", ids::short(container));
                return found(true, true, message);
            }
        }
        // A name that means an index which has this image is one too.
        if mask.names && !item.is_nameless() {
            return found(false, false, "image is referenced in multiple repositories".to_owned());
        }
        match users.first() {
            Some((container, _)) if mask.stopped => {
                let message = format!("image is being used by stopped container {}", ids::short(container));
                found(false, true, message)
            }
            _ => Ok(None),
        }
    }
}

impl Obstacle {
    fn error(&self, id: &Digest) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::conflict(format!("conflict: unable to delete {} ({force}) - {}", id.short(), self.message))
    }
}

/// Whether a container's processes exist.
pub(crate) fn is_running(engine: &Engine, container: &str) -> Result<bool> {
    use monitor::State;
    let state = record::observe(engine, container)?.status.state;
    Ok(matches!(state, State::Running | State::Paused | State::Restarting))
}

/// Whether these names are at most one tag and digests of the same repository.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest.is_none()).count();
    tags <= 1 && names.windows(2).all(|pair| pair[0].name() == pair[1].name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_repository_are_single() {
        let digest = Digest::sha256(b"");
        let parse = |names: &[&str]| -> Vec<Reference> {
            names
                .iter()
                .map(|name| Reference::parse(&name.replace('@', &format!("@{digest}"))).unwrap())
                .collect()
        };
        for (names, expected) in [
            (&[][..], true),
            (&["a"], true),
            (&["a@"], true),
            (&["a:1", "a@"], true),
            (&["a:1", "a:2"], false),
            (&["a:1", "b@"], false),
            (&["a@", "b@"], false),
        ] {
            assert_eq!(is_single(&parse(names)), expected, "{names:?}");
        }
    }
}
