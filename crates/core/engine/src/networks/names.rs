//! Names on user-defined networks: what each container is called there, and the files from which its monitor answers.
//!
//! The files ([`dns::endpoints`]) repeat what the database says, in a form that monitors can read. They are written anew,
//! from the database and under one lock, by whoever has changed an endpoint or a container's name: the last writer has
//! read last. One that was killed between the two leaves an old file, until the next change or `system check --repair`.
//!
//! ```text
//! <run>/networks/<network id>.endpoints
//!                lock
//! ```
//!
//! On the predefined network `bridge` nobody has names. It has a file only while a container is in it and in another one,
//! to say that the container has a way out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dns::endpoints::{self, Endpoint, Network};

use super::{EndpointRecord, Record};
use crate::containers::record;
use crate::error::{Context, Result};
use crate::{Engine, ids, lock};

/// Where the files are.
pub(crate) fn dir(engine: &Engine) -> PathBuf {
    engine.config().run.join("networks")
}

/// What a container is called in a network that has names, in Docker's order.
pub(crate) fn of_container(record: &record::Record, aliases: &[String]) -> Vec<String> {
    let short = ids::short(&record.id);
    let all = [record.name.as_str()].into_iter().chain(aliases.iter().map(String::as_str));
    let mut names: Vec<String> = Vec::new();
    for name in all.chain([short, record.hostname()]) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Whether a container with these endpoints asks its monitor for names.
pub(crate) fn are_resolved(engine: &Engine, endpoints: &[EndpointRecord]) -> Result<bool> {
    engine.db().read(|tx| any_has_names(tx, endpoints.iter().map(|endpoint| endpoint.network.as_str())))
}

fn any_has_names<'a>(tx: &state::Tx<'_>, networks: impl Iterator<Item = &'a str>) -> Result<bool> {
    for id in networks {
        // Of one that was removed meanwhile there may be a file.
        if state::networks::get(tx, id)?.is_none_or(|row| !super::PREDEFINED.contains(&row.name.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the files of networks anew.
pub(crate) fn publish(engine: &Engine, networks: &BTreeSet<String>) -> Result<()> {
    let dir = dir(engine);
    record::make_private_dir(&dir)?;
    let _lock = lock::exclusive(&dir.join("lock"))?;
    for id in networks {
        let contents = engine.db().read(|tx| contents(tx, id))?;
        endpoints::write(&dir, id, contents.as_ref()).during("publish names")?;
    }
    Ok(())
}

/// Writes the files of a container's networks, and of those that it was in, anew: after each change of its endpoints or
/// its name. Without any network that has names there is nothing to write.
pub(crate) fn publish_of(engine: &Engine, container: &str, before: &[EndpointRecord]) -> Result<()> {
    let mut networks: BTreeSet<String> = before.iter().map(|endpoint| endpoint.network.clone()).collect();
    networks.extend(super::endpoints_of(engine, container)?.into_iter().map(|endpoint| endpoint.network));
    match engine.db().read(|tx| any_has_names(tx, networks.iter().map(String::as_str)))? {
        true => publish(engine, &networks),
        false => Ok(()),
    }
}

/// What the file of a network has to say; `None` if there is to be none.
fn contents(tx: &state::Tx<'_>, id: &str) -> Result<Option<Network>> {
    let Some(row) = state::networks::get(tx, id)? else { return Ok(None) };
    let network = Record::try_from(row)?;
    let mut endpoints = Vec::new();
    for row in state::endpoints::of_network(tx, id)? {
        // A step of a build has an endpoint but no name.
        let Some(container) = state::containers::get(tx, &row.container)? else { continue };
        if network.is_predefined() && state::endpoints::of_container(tx, &row.container)?.len() < 2 {
            continue;
        }
        let record = EndpointRecord::try_from(row)?;
        let container = record::Record::try_from(container)?;
        let document = &record.document;
        let names = match network.is_predefined() {
            true => Vec::new(),
            false => of_container(&container, &document.settings.aliases),
        };
        let addresses = document.endpoint.addresses.iter().map(|net| net.addr()).collect();
        endpoints.push(Endpoint { container: record.container, names, addresses });
    }
    let internal = network.document.bridge.is_some_and(|bridge| bridge.internal);
    let contents = Network { version: endpoints::VERSION, name: network.name, internal, endpoints };
    Ok((!contents.endpoints.is_empty()).then_some(contents))
}

/// What a process that asks no monitor is to know of a network: names and addresses, as lines of `/etc/hosts`.
pub(crate) fn hosts(engine: &Engine, network: &str) -> Result<Vec<(String, String)>> {
    let contents = engine.db().read(|tx| contents(tx, network))?;
    let lines = |endpoint: Endpoint| {
        let Endpoint { names, addresses, .. } = endpoint;
        names.into_iter().flat_map(move |name| {
            addresses.iter().map(move |address| (name.clone(), address.to_string())).collect::<Vec<_>>()
        })
    };
    Ok(contents.into_iter().flat_map(|network| network.endpoints).flat_map(lines).collect())
}

/// The networks whose file does not say what the database says.
pub(crate) fn stale(engine: &Engine) -> Result<BTreeSet<String>> {
    let dir = dir(engine);
    let mut networks: BTreeSet<String> =
        endpoints::list(&dir).during("list published names")?.into_iter().collect();
    networks.extend(engine.db().read(state::networks::list)?.into_iter().map(|row| row.id));
    let mut stale = BTreeSet::new();
    for id in networks {
        let wanted = engine.db().read(|tx| contents(tx, &id))?;
        if endpoints::read(&endpoints::path(&dir, &id)).ok() != Some(wanted) {
            stale.insert(id);
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_each_name_once() {
        let mut record = record::Record {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            created: 0,
            image: "busybox".into(),
            image_id: None,
            layer: None,
            document: record::Document::default(),
        };
        let aliases = ["www".to_owned(), "web".to_owned()];
        assert_eq!(of_container(&record, &aliases), ["web", "www", "0123456789ab"]);
        record.document.config.hostname = "box".into();
        assert_eq!(of_container(&record, &[]), ["web", "0123456789ab", "box"]);
    }
}
