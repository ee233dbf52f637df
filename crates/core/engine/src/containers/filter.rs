//! The filters of `docker ps` and of the prune.

use std::collections::{BTreeMap, BTreeSet};

use api::filters::Filters;
use monitor::State;
use oci::Digest;
use regex::Regex;

use super::list::Seen;
use super::ports::{self, Port};
use super::record::{self, MountKind};
use super::status;
use crate::error::{Error, Result};
use crate::{Engine, networks};

const KNOWN: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
];
const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Filters with all names in them looked up.
pub(crate) struct Filter {
    filters: Filters,
    names: Vec<Regex>,
    ids: Vec<Regex>,
    images: Option<BTreeSet<Digest>>,
    image_names: BTreeSet<String>,
    networks: BTreeMap<String, String>,
    publish: Vec<Port>,
    expose: Vec<Port>,
    exited: Vec<i32>,
    before: Option<String>,
    since: Option<String>,
    older_than: Option<i64>,
    newer_than: Option<i64>,
}

impl Filter {
    /// Checks and looks up. An unknown key is an error.
    pub fn new(engine: &Engine, filters: &Filters) -> Result<Filter> {
        filters.accept(&KNOWN)?;
        filters.boolean("is-task")?;
        for state in filters.get("status") {
            if !STATES.contains(&state) {
                return Err(Error::invalid(format!("invalid filter 'status={state}'")));
            }
        }
        for health in filters.get("health") {
            if !matches!(health, "starting" | "healthy" | "unhealthy" | "none") {
                return Err(Error::invalid(format!("invalid filter 'health={health}'")));
            }
        }
        let exited = filters
            .get("exited")
            .map(|code| code.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'"))))
            .collect::<Result<Vec<i32>>>()?;
        let container = |key: &str| match filters.get(key).next() {
            Some(reference) => record::find(engine, reference).map(|r| Some(r.id)),
            None => Ok(None),
        };
        Ok(Filter {
            names: patterns(filters, "name"),
            ids: patterns(filters, "id"),
            images: ancestors(engine, filters)?,
            image_names: filters.get("ancestor").map(str::to_owned).collect(),
            networks: networks::all(engine)?.into_iter().map(|n| (n.name, n.id)).collect(),
            publish: port_set(filters, "publish")?,
            expose: port_set(filters, "expose")?,
            exited,
            before: container("before")?,
            since: container("since")?,
            older_than: None,
            newer_than: None,
            filters: filters.clone(),
        })
    }

    /// Whether a filter asks for containers that do not run, which are shown then even without `all`.
    pub fn wants_stopped(&self) -> bool {
        !self.exited.is_empty()
    }

    /// Notes when the containers of `before` and `since` were made.
    pub fn with_positions(mut self, seen: &[Seen]) -> Filter {
        let made = |id: &Option<String>| {
            id.as_ref().and_then(|id| seen.iter().find(|s| s.record.id == *id)).map(|s| s.record.created)
        };
        (self.older_than, self.newer_than) = (made(&self.before), made(&self.since));
        self
    }

    /// Whether a container passes all filters.
    pub fn matches(&self, seen: &Seen) -> bool {
        let d = &seen.record.document;
        let f = &self.filters;
        self.matches_identity(seen)
            && f.labels("label", &d.config.labels)
            && (!f.contains("label!") || !f.labels("label!", &d.config.labels))
            && f.exact("status", status::word(seen.status.state))
            && f.exact("health", status::health_word(&seen.status))
            && f.exact("isolation", "default")
            && f.boolean("is-task").ok().flatten() != Some(true)
            && (self.exited.is_empty()
                || (seen.status.state == State::Exited && self.exited.contains(&seen.status.exit_code)))
            && self.older_than.is_none_or(|at| seen.record.created < at)
            && self.newer_than.is_none_or(|at| seen.record.created > at)
            && self.matches_network(seen)
            && self.matches_volume(seen)
            && self.matches_ports(seen)
    }

    fn matches_identity(&self, seen: &Seen) -> bool {
        let record = &seen.record;
        let slashed = format!("/{}", record.name);
        let named = |r: &Regex| r.is_match(&record.name) || r.is_match(&slashed);
        let image = self.images.as_ref().is_none_or(|images| {
            record.image_id.as_ref().is_some_and(|id| images.contains(id))
                || self.image_names.contains(&record.image)
        });
        (!self.filters.contains("name") || self.names.iter().any(named))
            && (!self.filters.contains("id") || self.ids.iter().any(|r| r.is_match(&record.id)))
            && image
    }

    fn matches_network(&self, seen: &Seen) -> bool {
        let wanted: Vec<&str> = self.filters.get("network").collect();
        wanted.is_empty()
            || seen.record.document.networks.keys().any(|name| {
                let id = self.networks.get(name).map_or("", String::as_str);
                wanted.iter().any(|w| w == name || *w == id || (w.len() >= 12 && id.starts_with(w)))
            })
    }

    fn matches_volume(&self, seen: &Seen) -> bool {
        let wanted: Vec<&str> = self.filters.get("volume").collect();
        wanted.is_empty()
            || seen.record.document.mounts.iter().any(|m| {
                let by_name = m.kind == MountKind::Volume && wanted.contains(&m.name.as_str());
                by_name
                    || wanted.contains(&m.destination.as_str())
                    || wanted.iter().any(|w| m.source.as_os_str() == *w)
            })
    }

    fn matches_ports(&self, seen: &Seen) -> bool {
        let published = || {
            let bindings = &seen.record.document.host_config.port_bindings;
            let bound = bindings.values().flatten().flatten().filter_map(|b| b.host_port.parse::<u16>().ok());
            let live = seen.endpoints.iter().flat_map(|e| &e.document.endpoint.ports).map(|p| p.host_port);
            let inside = bindings.keys().flat_map(|k| ports::parse(k).unwrap_or_default()).map(|p| p.number);
            bound.chain(live).chain(inside).collect::<BTreeSet<u16>>()
        };
        let exposed = || ports::exposed(&seen.record.document.config.exposed_ports).unwrap_or_default();
        let publish = self.publish.is_empty() || {
            let published = published();
            self.publish.iter().any(|p| published.contains(&p.number))
        };
        let expose = self.expose.is_empty() || {
            let exposed = exposed();
            self.expose.iter().any(|p| exposed.contains(p))
        };
        publish && expose
    }
}

/// The values of a key as patterns; one that is no pattern matches nothing, as in Docker.
fn patterns(filters: &Filters, key: &str) -> Vec<Regex> {
    filters.get(key).filter_map(|text| Regex::new(text).ok()).collect()
}

fn port_set(filters: &Filters, key: &str) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    for text in filters.get(key) {
        ports.extend(ports::parse(text)?);
    }
    Ok(ports)
}

/// The images of the filter `ancestor` and all that were made from them; `None` without that filter.
fn ancestors(engine: &Engine, filters: &Filters) -> Result<Option<BTreeSet<Digest>>> {
    if !filters.contains("ancestor") {
        return Ok(None);
    }
    let mut found = BTreeSet::new();
    let mut pending = Vec::new();
    for name in filters.get("ancestor") {
        // An image that is not here has no containers to find but those that name it so.
        if let Ok((image, _)) = engine.store().find(name, None) {
            pending.push(image.id);
        }
    }
    while let Some(id) = pending.pop() {
        if found.insert(id.clone()) {
            let children = engine.db().read(|tx| state::images::children(tx, &id))?;
            pending.extend(children.into_iter().map(|image| image.id));
        }
    }
    Ok(Some(found))
}
