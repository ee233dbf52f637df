//! Builds of before, from the engine's records.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use api::build::BuildRecord;
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::{
    self as buildkit, BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest,
    BuildResultInfo, UpdateBuildHistoryRequest,
};
use engine::Engine;
use engine::builds::history::{Seen, Which};
use engine::builds::{Descriptor, attached, history};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use oci::media_types;
use prost::Message as _;
use tonic::{Code, Status};

use super::{Many, filters, trace};
use crate::{Host, fault, status};

pub(super) const RUNNING: &str = "running";
/// The media type of why a build failed, with all details.
pub(super) const ERROR: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// How often records are looked at for a client that listens on.
const EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// The records that are there, and (unless the client wants no more) those that come.
pub async fn listen(host: &Host, request: BuildHistoryRequest) -> Result<Many<BuildHistoryEvent>, Status> {
    filters::parse(&request.filter)?;
    let (first, heard) = Heard::default().news(host, &request).await?;
    // Whether builds are remembered at all, clients find out by asking for a running one that cannot be.
    if !request.r#ref.is_empty() && first.is_empty() && !request.active_only {
        return Err(Status::not_found(format!("no build record found for {}", request.r#ref)));
    }
    let first = stream::iter(first.into_iter().map(Ok));
    if request.early_exit {
        return Ok(Box::pin(first));
    }
    let state = (host.clone(), request, heard);
    let more = stream::try_unfold(state, |(host, request, mut heard)| async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let events;
            (events, heard) = heard.news(&host, &request).await?;
            if !events.is_empty() {
                let events = stream::iter(events.into_iter().map(Ok::<_, Status>));
                return Ok::<_, Status>(Some((events, (host, request, heard))));
            }
        }
    });
    Ok(Box::pin(first.chain(more.try_flatten())))
}

/// What a listener has heard, and the records as they were then.
#[derive(Default)]
struct Heard {
    told: BTreeSet<(String, bool)>,
    seen: Seen,
}

impl Heard {
    /// What has not been told: a build is told when it is seen first, and when it has ended.
    async fn news(
        self,
        host: &Host,
        request: &BuildHistoryRequest,
    ) -> Result<(Vec<BuildHistoryEvent>, Heard), Status> {
        let Heard { mut told, seen } = self;
        let (seen, records) = seen.look(host.engine()).await.map_err(fault::status)?;
        let events = events(host, request, records, &mut told).await?;
        Ok((events, Heard { told, seen }))
    }
}

async fn events(
    host: &Host,
    request: &BuildHistoryRequest,
    records: Vec<Arc<BuildRecord>>,
    told: &mut BTreeSet<(String, bool)>,
) -> Result<Vec<BuildHistoryEvent>, Status> {
    let filters = filters::parse(&request.filter)?;
    // What was made is still on its way out.
    let is_on_its_way = |record: &BuildRecord| record.status != RUNNING && host.runs(&record.id);
    let now = |record: Arc<BuildRecord>| match is_on_its_way(&record) {
        true => Arc::new(BuildRecord { status: RUNNING.to_owned(), ..BuildRecord::clone(&record) }),
        false => record,
    };
    let wanted = |record: &Arc<BuildRecord>| {
        (request.r#ref.is_empty() || record.id == request.r#ref)
            && (!request.active_only || record.status == RUNNING)
            && filters::admit(&filters, record)
    };
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut events = Vec::new();
    for record in records.into_iter().map(now).filter(wanted).take(limit) {
        let ended = record.status != RUNNING;
        if told.insert((record.id.clone(), ended)) {
            let kind = if ended { BuildHistoryEventType::Complete } else { BuildHistoryEventType::Started };
            let mut document = document(BuildRecord::clone(&record));
            if ended {
                complete(host.engine(), &mut document).await?;
            }
            events.push(BuildHistoryEvent { r#type: kind.into(), record: Some(document) });
        }
    }
    Ok(events)
}

/// Adds the documents that belong to the record of a build that has ended.
async fn complete(engine: &Engine, record: &mut BuildHistoryRecord) -> Result<(), Status> {
    let attached = attached::documents(engine, record.r#ref.clone()).await.map_err(fault::status)?;
    let of_kind = |kind: &str| attached.iter().rfind(|document| document.media_type == kind);
    if let (Some(error), Some(document)) = (record.error.as_mut(), of_kind(ERROR)) {
        // Its details are in the document, and all of it is gone if somebody has removed the record meanwhile.
        if let Ok(bytes) = attached::read(engine, document.digest.clone()).await
            && let Ok(full) = rpc::Status::decode(bytes.as_slice())
        {
            (error.code, error.message) = (full.code, full.message);
            record.external_error = Some(described(document));
        }
    }
    record.trace = of_kind(trace::TYPE).map(described);
    record.results = results(&attached);
    // The result of a single platform is told without it.
    if record.results.len() == 1 {
        record.result = record.results.drain().next().map(|(_, result)| result);
    }
    let manifests = attached.iter().filter(|document| is_manifest(&document.media_type));
    let manifests: HashMap<i64, _> = (0..).zip(manifests.map(described)).collect();
    if !manifests.is_empty() {
        record.result.get_or_insert_default().results = manifests;
    }
    Ok(())
}

fn is_manifest(media_type: &str) -> bool {
    [
        media_types::OCI_INDEX,
        media_types::OCI_MANIFEST,
        media_types::DOCKER_INDEX,
        media_types::DOCKER_MANIFEST,
    ]
    .contains(&media_type)
}

fn described(document: &Descriptor) -> buildkit::Descriptor {
    buildkit::Descriptor {
        media_type: document.media_type.clone(),
        digest: document.digest.to_string(),
        size: i64::try_from(document.size).unwrap_or(i64::MAX),
        annotations: document.annotations.clone().into_iter().collect(),
    }
}

/// What is attested of the result, by platform.
fn results(attached: &[Descriptor]) -> HashMap<String, BuildResultInfo> {
    let mut results: HashMap<String, BuildResultInfo> = HashMap::new();
    for document in attached.iter().filter(|document| document.media_type == history::STATEMENT) {
        let platform = document.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        results.entry(platform).or_default().attestations.push(described(document));
    }
    results
}

fn document(record: BuildRecord) -> BuildHistoryRecord {
    let time = |text: &str| status::parse_time(text).map(status::timestamp);
    let steps = record.counts();
    let response = match (record.response.is_empty(), record.image.is_empty()) {
        (false, _) => record.response.clone().into_iter().collect(),
        (true, true) => HashMap::new(),
        (true, false) => HashMap::from([
            ("containerimage.config.digest".to_owned(), record.image.clone()),
            ("image.name".to_owned(), record.tags.join(",")),
        ]),
    };
    let error = match record.status.as_str() {
        RUNNING | "completed" => None,
        "canceled" => Some((Code::Cancelled, "context canceled".to_owned())),
        "killed" => Some((Code::Unknown, "the process of the build was killed".to_owned())),
        _ => Some((Code::Unknown, record.error.clone())),
    };
    BuildHistoryRecord {
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: record.attributes.clone().into_iter().collect(),
        error: error.map(|(code, message)| rpc::Status { code: code as i32, message, details: Vec::new() }),
        created_at: time(&record.started_at),
        // One that was killed has no end: the time that it was seen dead stands for it.
        completed_at: match record.status.as_str() {
            RUNNING => None,
            _ => time(&record.completed_at).or_else(|| Some(status::timestamp(SystemTime::now()))),
        },
        exporter_response: response,
        num_cached_steps: steps.cached,
        num_total_steps: steps.total,
        num_completed_steps: steps.completed,
        r#ref: record.id,
        ..BuildHistoryRecord::default()
    }
}

/// Removes the record of exactly this build, or completes it. Records are kept by their number; none is kept longer than others.
pub async fn update(engine: &Engine, request: UpdateBuildHistoryRequest) -> Result<(), Status> {
    let id = request.r#ref;
    if request.delete {
        history::remove(engine, Which::Id(id)).await.map_err(fault::status)?;
        return Ok(());
    }
    if request.pinned {
        return Err(Status::unimplemented("builds cannot be pinned by this server"));
    }
    let record = history::inspect(engine, Which::Id(id)).await.map_err(fault::status)?;
    if request.finalize && record.status != RUNNING {
        trace::attach(engine, &record).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_documents() {
        let mut record = BuildRecord {
            id: "abc".to_owned(),
            attributes: [("filename".to_owned(), "other.Dockerfile".to_owned())].into(),
            status: "error".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            completed_at: "2026-01-01T00:00:02Z".to_owned(),
            error: "failed".to_owned(),
            ..BuildRecord::default()
        };
        let document = super::document(record.clone());
        assert_eq!(document.frontend_attrs["filename"], "other.Dockerfile");
        assert_eq!(document.error.unwrap().message, "failed");
        assert_eq!(document.completed_at.unwrap().seconds - document.created_at.unwrap().seconds, 2);
        record.status = "canceled".to_owned();
        assert_eq!(super::document(record).error.unwrap().code, Code::Cancelled as i32);
    }
}
