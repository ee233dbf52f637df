//! `docker ps`.

use std::collections::BTreeMap;

use api::containers::{ListOptions, Summary, SummaryHostConfig, SummaryNetworkSettings};
use jiff::Timestamp;
use monitor::Status;

use super::filter::Filter;
use super::record::{self, Record};
use super::{status, summary};
use crate::Engine;
use crate::error::Result;
use crate::networks::{self, EndpointRecord};

/// What lists and filters look at: a container, how it is, and its endpoints.
pub(crate) struct Seen {
    pub record: Record,
    pub status: Status,
    pub endpoints: Vec<EndpointRecord>,
}

/// The containers that match, newest first: those that run, or `all`, or the `limit` newest.
pub async fn list(engine: &Engine, options: ListOptions) -> Result<Vec<Summary>> {
    engine.brief(move |engine| list_now(engine, &options)).await
}

fn list_now(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let filter = Filter::new(engine, &options.filters)?;
    let all =
        options.all || options.limit > 0 || options.filters.contains("status") || filter.wants_stopped();
    let seen = everything(engine)?;
    let filter = filter.with_positions(&seen);
    let chosen = seen.into_iter().filter(|s| (all || s.status.state.is_live()) && filter.matches(s));
    let limit = usize::try_from(options.limit).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    let by_name: BTreeMap<String, String> =
        networks::all(engine)?.into_iter().map(|n| (n.name, n.id)).collect();
    let mut images = ImageNames::new(engine);
    let now = Timestamp::now();
    Ok(chosen
        .take(limit)
        .map(|seen| {
            let mut line = line(&seen, &by_name, &mut images, now);
            if options.size {
                (line.size_rw, line.size_root_fs) = summary::sizes(engine, &seen.record);
            }
            line
        })
        .collect())
}

/// All containers with how they are, newest first.
pub(crate) fn everything(engine: &Engine) -> Result<Vec<Seen>> {
    let mut by_container: BTreeMap<String, Vec<EndpointRecord>> = BTreeMap::new();
    for row in engine.db().read(state::endpoints::list)? {
        let endpoint = EndpointRecord::try_from(row)?;
        by_container.entry(endpoint.container.clone()).or_default().push(endpoint);
    }
    Ok(record::list(engine)?
        .into_iter()
        .filter_map(|record| {
            let observed = record::observe(engine, &record.id);
            let observed = observed
                .inspect_err(|e| tracing::warn!(id = record.id, error = %e, "skip container"))
                .ok()?;
            let endpoints = by_container.remove(&record.id).unwrap_or_default();
            Some(Seen { record, status: observed.status, endpoints })
        })
        .collect())
}

fn line(
    seen: &Seen,
    by_name: &BTreeMap<String, String>,
    images: &mut ImageNames<'_>,
    now: Timestamp,
) -> Summary {
    let record = &seen.record;
    let d = &record.document;
    Summary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: images.shown(record),
        image_id: record.image_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        command: command_text(&record.command()),
        created: record.created_at().as_second(),
        ports: if seen.status.pid != 0 { summary::port_list(record, &seen.endpoints) } else { Vec::new() },
        labels: d.config.labels.clone(),
        state: status::word(seen.status.state).to_owned(),
        status: status::text(&seen.status, now),
        host_config: SummaryHostConfig {
            network_mode: d.host_config.network_mode.clone(),
            annotations: d.host_config.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings {
            networks: summary::networks(record, &seen.endpoints, by_name),
        },
        mounts: d.mounts.iter().map(record::Mount::point).collect(),
        ..Summary::default()
    }
}

/// The command line as Docker joins it: words with blanks in quotes.
fn command_text(command: &[String]) -> String {
    let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Image names as `ps` shows them: the id where the name means another image by now.
struct ImageNames<'e> {
    engine: &'e Engine,
    meanings: BTreeMap<String, Option<String>>,
}

impl<'e> ImageNames<'e> {
    fn new(engine: &'e Engine) -> Self {
        ImageNames { engine, meanings: BTreeMap::new() }
    }

    fn shown(&mut self, record: &Record) -> String {
        let Some(id) = record.image_id.as_ref().map(ToString::to_string) else { return record.image.clone() };
        let engine = self.engine;
        let meaning = self.meanings.entry(record.image.clone()).or_insert_with(|| {
            engine.store().find(&record.image, None).ok().map(|(image, _)| image.id.to_string())
        });
        match meaning {
            Some(current) if *current != id => id,
            None => id,
            _ => record.image.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_docker_does() {
        let words = ["sh", "-c", "sleep 1"].map(str::to_owned);
        assert_eq!(command_text(&words), "sh -c 'sleep 1'");
    }
}
