//! The build cache: what it holds and how it is pruned.

use std::collections::BTreeMap;

use api::build::{BuildOptions, CachePruneOptions, CachePruneReport, CacheRecord};
use builder::{CacheEntry, CacheKind, CancelToken, Env, Prune};

use super::build::environment;
use crate::error::{Context, Result};
use crate::{Engine, events, prune as common};

/// All records.
pub(crate) async fn records(engine: &Engine) -> Result<Vec<CacheRecord>> {
    engine
        .blocking(|engine| Ok(builder::entries(&env(engine)).system()?.into_iter().map(record).collect()))
        .await
}

fn env(engine: &Engine) -> Env {
    environment(engine, &BuildOptions::default(), BTreeMap::new(), &CancelToken::default())
}

fn record(entry: CacheEntry) -> CacheRecord {
    let digits = entry.id.split_once(':').map_or(entry.id.as_str(), |(_, hex)| hex);
    CacheRecord {
        id: digits.get(..25).unwrap_or(digits).to_owned(),
        typ: match entry.kind {
            CacheKind::Regular => "regular",
            CacheKind::Mount => "exec.cachemount",
        }
        .to_owned(),
        description: entry.description,
        in_use: entry.in_use,
        shared: entry.shared,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        created_at: entry.created,
        last_used_at: Some(entry.used),
        usage_count: i64::try_from(entry.uses).unwrap_or(i64::MAX),
        ..CacheRecord::default()
    }
}

/// Forgets records, oldest use first, then collects what nothing else keeps: what no image shares, or all of them, those
/// older than the filter `until`, as many as `reserved_space` asks for.
pub async fn prune(engine: &Engine, options: CachePruneOptions) -> Result<CachePruneReport> {
    options.filters.accept(&["until"])?;
    let wanted = Prune {
        all: options.all,
        unused_since: common::until(&options.filters)?.map(|until| until.to_string()),
        keep: u64::try_from(options.reserved_space).ok().filter(|bytes| *bytes > 0),
    };
    engine
        .blocking(move |engine| {
            let gone = builder::prune(&env(engine), &wanted).system()?;
            let mounts = gone.iter().filter(|entry| entry.kind == CacheKind::Mount).map(|entry| entry.size);
            let report = CachePruneReport {
                space_reclaimed: mounts.sum::<u64>() + engine.store().gc()?.bytes,
                caches_deleted: gone.into_iter().map(|entry| record(entry).id).collect(),
            };
            let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
            events::emit(engine, "builder", "prune", "", &attributes);
            Ok(report)
        })
        .await
}
