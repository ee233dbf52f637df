//! `docker volume ls`.

use api::filters::Filters;
use api::volumes::ListResponse;

use super::Record;
use crate::Engine;
use crate::error::Result;

/// All volumes that match: `name` (part), `label`, `driver`, `dangling`.
pub async fn list(engine: &Engine, filters: Filters) -> Result<ListResponse> {
    filters.accept(&["name", "label", "driver", "dangling"])?;
    let dangling = filters.boolean("dangling")?;
    engine
        .blocking(move |engine| {
            let rows = engine.db().read(|tx| -> Result<Vec<_>> {
                let rows = state::volumes::list(tx)?;
                rows.into_iter()
                    .map(|row| Ok((state::volumes::users(tx, &row.name)?.is_empty(), row)))
                    .collect()
            })?;
            let mut volumes = Vec::new();
            for (unused, row) in rows {
                let record = Record::try_from(row)?;
                let fits = filters.part("name", &record.name)
                    && filters.exact("driver", "local")
                    && filters.labels("label", &record.document.labels)
                    && dangling.is_none_or(|wanted| wanted == unused);
                if fits {
                    volumes.push(record.volume(engine));
                }
            }
            Ok(ListResponse { volumes, warnings: Vec::new() })
        })
        .await
}
