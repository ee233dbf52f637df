//! `docker network ls`.

use api::filters::Filters;
use api::networks::Network;

use super::{Record, all};
use crate::Engine;
use crate::error::{Error, Result};

/// All networks that match: `name` and `id` (parts), `driver`, `type`, `scope`, `label`, `dangling`.
pub async fn list(engine: &Engine, filters: Filters) -> Result<Vec<Network>> {
    filters.accept(&["name", "id", "driver", "type", "scope", "label", "dangling"])?;
    let dangling = filters.boolean("dangling")?;
    for typ in filters.get("type") {
        if !matches!(typ, "custom" | "builtin") {
            return Err(Error::invalid(format!("invalid filter: 'type'='{typ}'")));
        }
    }
    engine
        .blocking(move |engine| {
            let mut networks = Vec::new();
            for record in all(engine)? {
                let fits = matches(&filters, &record)
                    && match dangling {
                        Some(wanted) => is_dangling(engine, &record)? == wanted,
                        None => true,
                    };
                if fits {
                    networks.push(record.network());
                }
            }
            Ok(networks)
        })
        .await
}

fn matches(filters: &Filters, record: &Record) -> bool {
    let typ = if record.is_predefined() { "builtin" } else { "custom" };
    filters.part("name", &record.name)
        && filters.part("id", &record.id)
        && filters.exact("driver", &record.document.driver)
        && filters.exact("scope", "local")
        && filters.exact("type", typ)
        && filters.labels("label", &record.document.labels)
}

fn is_dangling(engine: &Engine, record: &Record) -> Result<bool> {
    if record.is_predefined() {
        return Ok(false);
    }
    Ok(engine.db().read(|tx| state::endpoints::of_network(tx, &record.id))?.is_empty())
}
