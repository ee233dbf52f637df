//! `moby.buildkit.v1.Control`.

pub(crate) mod filters;
mod history;
mod session;
mod solve;
mod trace;
mod usage;
mod workers;

use std::pin::Pin;
use std::time::SystemTime;

use bollard_buildkit_proto::moby::buildkit::v1::control_server::Control as Service;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse, InfoRequest,
    InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest, SolveResponse,
    StatusRequest, StatusResponse, UpdateBuildHistoryRequest, UpdateBuildHistoryResponse, UsageRecord,
};
use engine::builds;
use engine::builds::history::Which;
use futures_util::stream::{self, Stream};
use tonic::{Request, Response, Status, Streaming};

use crate::{Host, Peer, fault, is_build_id, status};

pub use workers::{record as worker, version};

/// An answer in many messages; dropping it ends what makes them.
pub type Many<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub struct Control {
    host: Host,
    peer: Peer,
}

impl Control {
    pub fn new(host: Host, peer: Peer) -> Control {
        Control { host, peer }
    }

    /// What a build of before has told.
    async fn replay(&self, id: &str) -> Result<Vec<status::Item>, Status> {
        let engine = self.host.engine();
        let unknown = |_| Status::not_found(format!("no such job {id}"));
        let which = || Which::Id(id.to_owned());
        let record = builds::history::inspect(engine, which()).await.map_err(unknown)?;
        let events = builds::history::logs(engine, which()).await.map_err(fault::status)?;
        let begun = status::parse_time(&record.started_at).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut teller = status::Teller::new(id);
        let mut told: Vec<status::Item> = events
            .iter()
            .filter_map(|(millis, event)| {
                teller.tell(1, event, begun + std::time::Duration::from_millis(*millis))
            })
            .collect();
        told.extend(teller.rest());
        Ok(told)
    }
}

/// What was told, in messages.
fn replayed(told: Vec<status::Item>) -> Many<StatusResponse> {
    Box::pin(stream::unfold((told, 0), |(told, position)| async move {
        let (status, count) = status::batch(&told[position..])?;
        Some((Ok(status), (told, position + count)))
    }))
}

#[tonic::async_trait]
impl Service for Control {
    async fn disk_usage(
        &self,
        request: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Ok(Response::new(usage::list(self.host.engine(), request.into_inner()).await?))
    }

    type PruneStream = Many<UsageRecord>;

    async fn prune(&self, request: Request<PruneRequest>) -> Result<Response<Many<UsageRecord>>, Status> {
        let gone = usage::prune(self.host.engine(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream::iter(gone.into_iter().map(Ok)))))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let solve = Box::pin(solve::solve(&self.host, request.into_inner(), self.peer.reach));
        Ok(Response::new(solve.await?))
    }

    type StatusStream = Many<StatusResponse>;

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<Many<StatusResponse>>, Status> {
        let id = request.into_inner().r#ref;
        if !is_build_id(&id) {
            return Err(Status::not_found(format!("no such job {id:?}")));
        }
        let told = match self.host.told(&id) {
            Some(told) => Some(told),
            None => match self.replay(&id).await {
                Ok(told) => return Ok(Response::new(replayed(told))),
                Err(_) => self.host.find_told(&id).await,
            },
        };
        let told = told.ok_or_else(|| Status::not_found(format!("no such job {id}")))?;
        let told = stream::unfold((told, 0), |(told, mut position)| async move {
            let status = told.after(&mut position).await?;
            Some((Ok(status), (told, position)))
        });
        Ok(Response::new(Box::pin(told)))
    }

    type SessionStream = Many<BytesMessage>;

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Many<BytesMessage>>, Status> {
        session::session(&self.host, request, self.peer)
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let worker = workers::with_gateway(self.host.engine()).await?;
        Ok(Response::new(ListWorkersResponse { record: vec![worker] }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse { buildkit_version: Some(version(self.host.engine())) }))
    }

    type ListenBuildHistoryStream = Many<BuildHistoryEvent>;

    async fn listen_build_history(
        &self,
        request: Request<BuildHistoryRequest>,
    ) -> Result<Response<Many<BuildHistoryEvent>>, Status> {
        Ok(Response::new(history::listen(&self.host, request.into_inner()).await?))
    }

    async fn update_build_history(
        &self,
        request: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        history::update(self.host.engine(), request.into_inner()).await?;
        Ok(Response::new(UpdateBuildHistoryResponse {}))
    }
}
