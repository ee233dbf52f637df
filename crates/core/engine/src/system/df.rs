//! `docker system df`.

use api::containers::ListOptions;
use api::filters::Filters;
use api::system::DiskUsage;
use api::volumes::UsageData;

use super::disk;
use crate::error::{Error, Result};
use crate::{Engine, containers, images, volumes};

/// What images, containers, volumes and the build cache take; `types` picks some, none means all. With `disk`, also what each
/// byte below the root is for.
pub async fn df(engine: &Engine, types: &[String], disk: bool) -> Result<DiskUsage> {
    for typ in types {
        if !matches!(typ.as_str(), "container" | "image" | "volume" | "build-cache") {
            return Err(Error::invalid(format!("unknown object type: {typ}")));
        }
    }
    let wants = |typ: &str| types.is_empty() || types.iter().any(|t| t == typ);
    let mut usage = DiskUsage::default();
    if wants("image") {
        let options = api::images::ListOptions { all: false, shared_size: true, ..Default::default() };
        usage.images = Some(images::list(engine, options).await?);
        usage.layers_size = engine
            .blocking(|engine| Ok(i64::try_from(engine.store().usage()?.layers).unwrap_or(i64::MAX)))
            .await?;
    }
    if wants("container") {
        let options = ListOptions { all: true, size: true, ..ListOptions::default() };
        usage.containers = Some(containers::list(engine, options).await?);
    }
    if wants("volume") {
        usage.volumes = Some(volumes_with_usage(engine).await?);
    }
    if wants("build-cache") {
        usage.build_cache = Some(crate::builds::cache_records(engine).await?);
    }
    if disk {
        usage.disk = Some(engine.blocking(disk::shares).await?);
    }
    Ok(usage)
}

async fn volumes_with_usage(engine: &Engine) -> Result<Vec<api::volumes::Volume>> {
    let listed = volumes::list(engine, Filters::default()).await?.volumes;
    engine
        .blocking(move |engine| {
            listed
                .into_iter()
                .map(|mut volume| {
                    let record = volumes::find(engine, &volume.name)?;
                    let users = engine.db().read(|tx| state::volumes::users(tx, &record.name))?;
                    let size = volumes::disk_usage(&record.data(engine));
                    volume.usage_data = Some(UsageData {
                        ref_count: i64::try_from(users.len()).unwrap_or(0),
                        size: i64::try_from(size).unwrap_or(i64::MAX),
                    });
                    Ok(volume)
                })
                .collect()
        })
        .await
}
