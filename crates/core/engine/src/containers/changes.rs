//! `docker diff`.

use api::containers::{Change, ChangeKind};

use super::record;
use crate::Engine;
use crate::error::Result;

/// What a container changed in its image's files.
pub async fn changes(engine: &Engine, reference: &str) -> Result<Vec<Change>> {
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let upper = engine.container_dir(&record.id).join("upper");
            let changes = engine.store().changes(record.layer.as_ref(), &upper)?;
            Ok(changes
                .into_iter()
                .map(|change| Change {
                    path: change.path.to_string_lossy().into_owned(),
                    kind: match change.kind {
                        store::ChangeKind::Modified => ChangeKind::Modified,
                        store::ChangeKind::Added => ChangeKind::Added,
                        store::ChangeKind::Deleted => ChangeKind::Deleted,
                    },
                })
                .collect())
        })
        .await
}
