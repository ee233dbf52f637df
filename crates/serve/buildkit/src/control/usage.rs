//! The build cache: how large it is, and making it smaller.

use std::collections::BTreeMap;

use api::Filters;
use api::build::{CachePruneOptions, CacheRecord};
use bollard_buildkit_proto::moby::buildkit::v1::{
    DiskUsageRequest, DiskUsageResponse, PruneRequest, UsageRecord,
};
use engine::{Engine, builds};
use tonic::Status;

use crate::{fault, status};

pub async fn list(engine: &Engine, request: DiskUsageRequest) -> Result<DiskUsageResponse, Status> {
    let filters = filters(&request.filter)?;
    let records = builds::cache_list(engine, filters).await.map_err(fault::status)?;
    Ok(DiskUsageResponse { record: records.into_iter().map(record).collect() })
}

/// Prunes; what is gone.
pub async fn prune(engine: &Engine, request: PruneRequest) -> Result<Vec<UsageRecord>, Status> {
    let mut filters = filters(&request.filter)?;
    if request.keep_duration > 0 {
        filters.add("until", format!("{}s", seconds(request.keep_duration)));
    }
    let before = builds::cache_list(engine, Filters::default()).await.map_err(fault::status)?;
    let options = CachePruneOptions {
        all: request.all,
        reserved_space: request.reserved_space,
        max_used_space: request.max_used_space,
        min_free_space: request.min_free_space,
        filters,
    };
    let report = builds::prune(engine, options).await.map_err(fault::status)?;
    let mut known: BTreeMap<String, CacheRecord> =
        before.into_iter().map(|record| (record.id.clone(), record)).collect();
    let gone = report.caches_deleted.iter().filter_map(|id| known.remove(id));
    let mut gone: Vec<UsageRecord> = gone.map(record).collect();
    gone.extend(beside(&gone, report.space_reclaimed));
    Ok(gone)
}

/// What went that no record was about, such as layers of images that were removed while they were in use: clients tell the sum of
/// what they are told.
fn beside(gone: &[UsageRecord], reclaimed: u64) -> Option<UsageRecord> {
    let told: i64 = gone.iter().map(|record| record.size).sum();
    let size = i64::try_from(reclaimed).unwrap_or(i64::MAX).saturating_sub(told);
    (size > 0).then(|| UsageRecord {
        id: "unreferenced".to_owned(),
        description: "content that nothing refers to".to_owned(),
        record_type: "internal".to_owned(),
        size,
        ..UsageRecord::default()
    })
}

/// Nanoseconds as whole seconds, none of them less than they are: what is to be kept is kept.
fn seconds(nanoseconds: i64) -> i64 {
    nanoseconds / 1_000_000_000 + i64::from(nanoseconds % 1_000_000_000 > 0)
}

/// Filters as containerd has them: `id~=x`, `type==regular`, `shared`, several joined by commas.
fn filters(texts: &[String]) -> Result<Filters, Status> {
    let mut filters = Filters::default();
    for field in texts.iter().flat_map(|text| text.split(',')).filter(|field| !field.is_empty()) {
        let (key, value) = match field.split_once("==").or_else(|| field.split_once("~=")) {
            Some((key, value)) => (key, value.trim_matches('"').trim_start_matches('^')),
            None if matches!(field, "shared" | "private" | "inuse" | "mutable" | "immutable") => {
                (field, "true")
            }
            None => return Err(Status::invalid_argument(format!("filter {field:?} is not supported"))),
        };
        filters.add(key, value);
    }
    Ok(filters)
}

fn record(record: CacheRecord) -> UsageRecord {
    let time = |text: &str| status::parse_time(text).map(status::timestamp);
    UsageRecord {
        mutable: record.typ != "regular",
        in_use: record.in_use,
        size: record.size,
        created_at: time(&record.created_at),
        last_used_at: record.last_used_at.as_deref().and_then(time),
        usage_count: record.usage_count,
        description: record.description,
        record_type: record.typ,
        shared: record.shared,
        parents: record.parents,
        id: record.id,
        ..UsageRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_kept_for_a_moment_is_kept() {
        assert_eq!([1, 1_000_000_000, 1_500_000_000, i64::MAX].map(seconds), [1, 1, 2, 9_223_372_037]);
    }

    #[test]
    fn the_sum_of_what_is_told_is_what_was_freed() {
        let of = |size| UsageRecord { size, ..UsageRecord::default() };
        let beside = |gone: &[UsageRecord], reclaimed| beside(gone, reclaimed).map(|record| record.size);
        assert_eq!(beside(&[of(5)], 46), Some(41));
        assert_eq!(beside(&[], 46), Some(46));
        // Layers that images share are records, and stay.
        assert_eq!((beside(&[of(50)], 46), beside(&[], 0)), (None, None));
    }

    #[test]
    fn filters_of_containerd() {
        let read = |text: &str| filters(&[text.to_owned()]);
        let found = read("id~=abc,type==regular,shared").unwrap();
        assert_eq!(found.get("id").collect::<Vec<_>>(), ["abc"]);
        assert_eq!(found.get("type").collect::<Vec<_>>(), ["regular"]);
        assert_eq!(found.get("shared").collect::<Vec<_>>(), ["true"]);
        assert!(read("size>1").is_err());
    }
}
