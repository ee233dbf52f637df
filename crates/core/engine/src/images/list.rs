//! `docker images`.

use std::collections::{BTreeMap, HashMap};

use api::images::{ListOptions, Summary};
use jiff::Timestamp;
use oci::ChainId;

use super::catalog::{Catalog, Item};
use super::reference;
use crate::error::{Error, Result};
use crate::{Engine, prune};

/// The images that fit the filters, newest first.
pub async fn list(engine: &Engine, options: ListOptions) -> Result<Vec<Summary>> {
    engine.blocking(move |engine| list_blocking(engine, &options)).await
}

fn list_blocking(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.accept(&["dangling", "label", "before", "since", "reference", "until"])?;
    let dangling = filters.boolean("dangling")?;
    let until = prune::until(filters)?;
    let (before, since) = (bound(engine, options, "before")?, bound(engine, options, "since")?);
    let store = engine.store();
    let catalog = engine.db().read(|tx| Catalog::read(store, tx))?;
    let sizes = Sizes::read(engine, &catalog, options.shared_size)?;
    let mut lines = Vec::new();
    for item in &catalog.items {
        let created = item.created().unwrap_or(Timestamp::UNIX_EPOCH);
        let in_time = before.is_none_or(|bound| created < bound)
            && since.is_none_or(|bound| created > bound)
            && until.is_none_or(|bound| created <= bound);
        if !in_time || !filters.labels("label", &item.labels()) {
            continue;
        }
        let (tags, digests) = names(item, options)?;
        let nameless = tags.is_empty() && digests.is_empty();
        let shown = match (nameless, dangling) {
            // A name of it was filtered away.
            (true, _) if !item.is_nameless() => {
                options.all && item.is_member && dangling != Some(true) && !filters.contains("reference")
            }
            (true, Some(false)) => false,
            (true, _) => !filters.contains("reference") && (options.all || item.children == 0),
            (false, Some(true)) => tags.is_empty(),
            (false, _) => true,
        };
        if shown {
            lines.push(line(item, tags, digests, created, &sizes));
        }
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.created));
    Ok(lines)
}

/// The names that the filter `reference` lets through.
fn names(item: &Item, options: &ListOptions) -> Result<(Vec<String>, Vec<String>)> {
    let patterns: Vec<&str> = options.filters.get("reference").collect();
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for name in item.names() {
        let mut wanted = patterns.is_empty();
        for pattern in &patterns {
            wanted |= reference::matches(pattern, &name.reference)?;
        }
        if wanted {
            let list = if name.reference.digest.is_some() { &mut digests } else { &mut tags };
            list.push(name.reference.familiar());
        }
    }
    Ok((tags, digests))
}

/// When the image that `before` or `since` names was made.
fn bound(engine: &Engine, options: &ListOptions, key: &str) -> Result<Option<Timestamp>> {
    let mut bound = None;
    for name in options.filters.get(key) {
        let image = engine.store().resolve(name, None)?;
        bound = image.config.created.and_then(|created| created.parse().ok());
    }
    Ok(bound)
}

fn line(item: &Item, tags: Vec<String>, digests: Vec<String>, created: Timestamp, sizes: &Sizes) -> Summary {
    let (size, shared) = sizes.of(item);
    Summary {
        containers: sizes
            .containers
            .as_ref()
            .map_or(-1, |count| count.get(&item.id.to_string()).copied().unwrap_or(0)),
        created: created.as_second(),
        id: item.id.to_string(),
        labels: item.labels(),
        parent_id: item.parent().map(ToString::to_string).unwrap_or_default(),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: shared,
        size,
        virtual_size: 0,
    }
}

/// What takes a look at layers and containers to know.
struct Sizes {
    layers: HashMap<ChainId, u64>,
    /// How many images have a layer; only when shared sizes are asked for.
    users: Option<HashMap<ChainId, u32>>,
    containers: Option<BTreeMap<String, i64>>,
}

impl Sizes {
    fn read(engine: &Engine, catalog: &Catalog, shared: bool) -> Result<Sizes> {
        let mut sizes = Sizes { layers: HashMap::new(), users: None, containers: None };
        let mut users: HashMap<ChainId, u32> = HashMap::new();
        for item in &catalog.items {
            for chain in item.chains() {
                if !sizes.layers.contains_key(&chain)
                    && let Ok(Some(layer)) = engine.store().layer(&chain)
                {
                    sizes.layers.insert(chain.clone(), layer.size);
                }
                *users.entry(chain).or_default() += 1;
            }
        }
        if shared {
            let mut containers: BTreeMap<String, i64> = BTreeMap::new();
            for container in engine.db().read(state::containers::list).map_err(Error::from)? {
                if let Some(id) = container.image_id {
                    *containers.entry(id.to_string()).or_default() += 1;
                }
            }
            (sizes.users, sizes.containers) = (Some(users), Some(containers));
        }
        Ok(sizes)
    }

    /// The size of an image and of what it shares with others.
    fn of(&self, item: &Item) -> (i64, i64) {
        let (mut size, mut shared) = (0, 0);
        for chain in item.chains() {
            let layer = self.layers.get(&chain).copied().unwrap_or(0) as i64;
            size += layer;
            if self.users.as_ref().and_then(|users| users.get(&chain)).is_some_and(|users| *users > 1) {
                shared += layer;
            }
        }
        (size, if self.users.is_some() { shared } else { -1 })
    }
}
