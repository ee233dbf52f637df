//! The build cache: what it holds and how it is pruned.

use std::collections::BTreeMap;

use api::build::{CachePruneOptions, CachePruneReport, CacheRecord};
use jiff::Timestamp;
use state::cache::Entry;

use crate::error::Result;
use crate::{Engine, events, prune as common};

/// All records, with the sizes of what only the cache keeps.
pub(crate) async fn records(engine: &Engine) -> Result<Vec<CacheRecord>> {
    engine
        .blocking(|engine| {
            let sizes = engine.store().usage()?.cache_only;
            let entries = engine.db().read(state::cache::all)?;
            Ok(entries
                .into_iter()
                .map(|entry| {
                    let own = entry.chain.as_ref().and_then(|chain| sizes.get(chain)).copied();
                    record(entry, own)
                })
                .collect())
        })
        .await
}

fn record(entry: Entry, own: Option<u64>) -> CacheRecord {
    CacheRecord {
        id: entry.key.hex().get(..25).unwrap_or_default().to_owned(),
        typ: "regular".to_owned(),
        description: entry.scope,
        in_use: false,
        // What an image has too costs nothing here.
        shared: entry.chain.is_some() && own.is_none(),
        size: i64::try_from(own.unwrap_or(0)).unwrap_or(i64::MAX),
        created_at: entry.created,
        last_used_at: Some(entry.used),
        usage_count: i64::try_from(entry.uses).unwrap_or(i64::MAX),
        ..CacheRecord::default()
    }
}

/// Forgets records, oldest use first, then collects what nothing else keeps: all of them, those older than the filter
/// `until`, or as many as `reserved_space` asks for.
pub async fn prune(engine: &Engine, options: CachePruneOptions) -> Result<CachePruneReport> {
    options.filters.accept(&["until", "id", "type", "inuse", "shared", "private", "unused-for", "description"])?;
    let until = common::until(&options.filters)?;
    engine
        .blocking(move |engine| {
            let mut entries = engine.db().read(state::cache::all)?;
            entries.sort_by(|a, b| a.used.cmp(&b.used));
            let sizes = engine.store().usage()?.cache_only;
            let mut kept: u64 = sizes.values().sum();
            let reserved = u64::try_from(options.reserved_space).unwrap_or(0);
            let mut report = CachePruneReport::default();
            for entry in entries {
                let used: Option<Timestamp> = entry.used.parse().ok();
                let recent = until.is_some_and(|until| used.is_some_and(|used| used >= until));
                if recent || (reserved > 0 && kept <= reserved) {
                    continue;
                }
                engine.db().write(|tx| state::cache::remove(tx, &entry.key))?;
                let own = entry.chain.as_ref().and_then(|chain| sizes.get(chain)).copied();
                kept = kept.saturating_sub(own.unwrap_or(0));
                report.caches_deleted.push(record(entry, own).id);
            }
            report.space_reclaimed = engine.store().gc()?.bytes;
            let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
            events::emit(engine, "builder", "prune", "", &attributes);
            Ok(report)
        })
        .await
}
