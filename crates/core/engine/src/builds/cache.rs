//! The build cache: what it holds and how it is pruned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::build::{BuildOptions, CachePruneOptions, CachePruneReport, CacheRecord};
use api::{CacheFilter, Filters};
use builder::{CacheEntry, CacheKind, CancelToken, Env, Prune};
use jiff::SignedDuration;

use super::build::environment;
use super::leftovers::{self, Look};
use crate::error::{Context, Result};
use crate::{Engine, events};

/// All records.
pub(crate) async fn records(engine: &Engine) -> Result<Vec<CacheRecord>> {
    engine
        .blocking(|engine| Ok(builder::entries(&env(engine)).system()?.into_iter().map(record).collect()))
        .await
}

/// The records that the filters admit.
pub async fn list(engine: &Engine, filters: Filters) -> Result<Vec<CacheRecord>> {
    let filter = CacheFilter::read(&filters)?;
    let admits = move |record: &CacheRecord| filter.admits(record);
    Ok(records(engine).await?.into_iter().filter(admits).collect())
}

/// All entries, what was used longest ago first.
pub(crate) fn entries(engine: &Engine) -> Result<Vec<CacheEntry>> {
    builder::entries(&env(engine)).system()
}

/// Those that are directories of their own, and no layers of the store.
pub(crate) fn directories(engine: &Engine) -> Result<Vec<CacheEntry>> {
    Ok(entries(engine)?.into_iter().filter(|entry| entry.kind != CacheKind::Regular).collect())
}

/// Forgets records without collecting; how many.
pub(crate) fn forget(engine: &Engine, wanted: &Prune) -> Result<usize> {
    Ok(builder::prune(&env(engine), wanted).system()?.len())
}

fn env(engine: &Engine) -> Env {
    environment(engine, &BuildOptions::default(), &CancelToken::default())
}

fn kind(kind: CacheKind) -> &'static str {
    match kind {
        CacheKind::Regular => "regular",
        CacheKind::Mount => "exec.cachemount",
        CacheKind::Context => "source.local",
    }
}

fn record(entry: CacheEntry) -> CacheRecord {
    let digits = entry.id.split_once(':').map_or(entry.id.as_str(), |(_, hex)| hex);
    CacheRecord {
        id: digits.get(..25).unwrap_or(digits).to_owned(),
        typ: kind(entry.kind).to_owned(),
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
/// that the filters admit, and no more than the limits of space ask for.
pub async fn prune(engine: &Engine, options: CachePruneOptions) -> Result<CachePruneReport> {
    let filter = CacheFilter::read(&options.filters)?;
    let unused_since = filter.unused_since().map(|until| until.to_string());
    engine
        .blocking(move |engine| {
            leftovers::forget(engine, Look::Thorough);
            let env = env(engine);
            let entries = builder::entries(&env).system()?;
            let used = entries.iter().map(|entry| entry.size).sum();
            let wanted = Prune {
                all: options.all,
                unused_since,
                keep: keep(&options, used, || free(engine))?,
                only: (!options.filters.is_empty()).then(|| meant(&filter, entries)),
            };
            collect(engine, &env, &wanted)
        })
        .await
}

fn collect(engine: &Engine, env: &Env, wanted: &Prune) -> Result<CachePruneReport> {
    let gone = builder::prune(env, wanted).system()?;
    let directories = gone.iter().filter(|entry| entry.kind != CacheKind::Regular).map(|entry| entry.size);
    let report = CachePruneReport {
        space_reclaimed: directories.sum::<u64>() + engine.store().gc()?.bytes,
        caches_deleted: gone.into_iter().map(|entry| record(entry).id).collect(),
    };
    let attributes = BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
    events::emit(engine, "builder", "prune", "", &attributes);
    Ok(report)
}

/// The ids of those that a filter means.
fn meant(filter: &CacheFilter, entries: Vec<CacheEntry>) -> BTreeSet<String> {
    let told = entries.into_iter().map(|entry| (entry.id.clone(), record(entry)));
    told.filter(|(_, record)| filter.admits(record)).map(|(id, _)| id).collect()
}

/// How much of the cache stays: as much as is reserved at least; then what the limits leave; without any, nothing.
fn keep(options: &CachePruneOptions, used: u64, free: impl FnOnce() -> Result<u64>) -> Result<Option<u64>> {
    let given = |bytes: i64| u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let reserved = given(options.reserved_space);
    let mut limit = given(options.max_used_space);
    if let Some(wanted) = given(options.min_free_space) {
        let left = used.saturating_sub(wanted.saturating_sub(free()?));
        limit = Some(limit.map_or(left, |limit| limit.min(left)));
    }
    Ok(match (limit, reserved) {
        (Some(limit), reserved) => Some(limit.max(reserved.unwrap_or(0))),
        (None, reserved) => reserved,
    })
}

/// Bytes that are free where the store is.
fn free(engine: &Engine) -> Result<u64> {
    let root = &engine.config().root;
    let status = rustix::fs::statvfs(root).during(format_args!("look at the space of {}", root.display()))?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Part of the file system that the cache may take: one in so many.
const SHARE: u64 = 10;
/// What was not used for so long goes.
const UNUSED: SignedDuration = SignedDuration::from_hours(24 * 60);
/// How often that is looked after.
const EVERY: Duration = Duration::from_secs(3600);

/// Keeps the cache within its budget of space and age: what was used longest ago goes first, what images share stays. Done
/// at the end of a build, now and then; whatever goes wrong is no failure of the build.
pub(super) fn look_after(engine: &Engine) {
    let stamp = engine.config().root.join("builds").join(".looked-after");
    let done = std::fs::metadata(&stamp).and_then(|status| status.modified());
    if done.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < EVERY)) || std::fs::write(&stamp, "").is_err() {
        return;
    }
    let _ = builder::forget_kept(&env(engine));
    let _ = within_budget(engine);
}

fn within_budget(engine: &Engine) -> Result<()> {
    let env = env(engine);
    let root = &engine.config().root;
    let status = rustix::fs::statvfs(root).during(format_args!("look at the space of {}", root.display()))?;
    let budget = status.f_blocks.saturating_mul(status.f_frsize) / SHARE;
    let since = (jiff::Timestamp::now() - UNUSED).to_string();
    for wanted in [
        Prune { unused_since: Some(since), ..Prune::default() },
        Prune { keep: Some(budget), ..Prune::default() },
    ] {
        let gone = builder::prune(&env, &wanted).system()?;
        if !gone.is_empty() {
            engine.store().gc()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(reserved: i64, max: i64, free: i64) -> CachePruneOptions {
        CachePruneOptions {
            reserved_space: reserved,
            max_used_space: max,
            min_free_space: free,
            ..CachePruneOptions::default()
        }
    }

    #[test]
    fn limits_of_space_say_how_much_stays() {
        let keep = |options| keep(&options, 100, || Ok(50)).unwrap();
        assert_eq!(keep(limits(0, 0, 0)), None);
        assert_eq!(keep(limits(30, 0, 0)), Some(30));
        assert_eq!(keep(limits(0, 60, 0)), Some(60));
        assert_eq!(keep(limits(70, 60, 0)), Some(70));
        assert_eq!(keep(limits(0, 0, 70)), Some(80));
        assert_eq!(keep(limits(0, 60, 70)), Some(60));
        assert_eq!(keep(limits(0, 0, 40)), Some(100), "enough is free");
        assert_eq!(keep(limits(0, 0, 1000)), Some(0));
    }
}
