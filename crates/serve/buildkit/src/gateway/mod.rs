//! `moby.buildkit.v1.frontend.LLBBridge`: how a client solves within a build and looks at what it gave.
//!
//! Which build is meant stands in the metadata of each call.

mod attested;
mod caps;
mod containers;
mod files;
mod plan;
mod processes;
mod resolve;
mod solve;

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::VertexWarning;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridge;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse, NewContainerRequest,
    NewContainerResponse, PingRequest, PongResponse, ReadDirRequest, ReadDirResponse, ReadFileRequest,
    ReadFileResponse, ReleaseContainerRequest, ReleaseContainerResponse, ResolveImageConfigRequest,
    ResolveImageConfigResponse, ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest,
    ReturnResponse, SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest,
    WarnResponse,
};
use engine::builds::Reach;
use tonic::{Request, Response, Status, Streaming};

use crate::Host;
use crate::build::Build;
use crate::control::Many;
use crate::fault;

#[cfg(test)]
pub use caps::offers;
pub use containers::Containers;

const BUILD: &str = "buildkit-controlapi-buildid";

pub struct Gateway {
    host: Host,
    /// What the client may name by path.
    reach: Reach,
}

impl Gateway {
    pub fn new(host: Host, reach: Reach) -> Gateway {
        Gateway { host, reach }
    }

    /// The build that a call is about, and what it says. It is none of a client who reaches further.
    async fn call<T>(&self, request: Request<T>) -> Result<(Arc<Build>, T), Status> {
        let id = request.metadata().get(BUILD).and_then(|value| value.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("no buildid found in context"))?.to_owned();
        let build = self.host.find_build(&id).await.filter(|build| build.reach <= self.reach);
        Ok((build.ok_or_else(|| Status::not_found(format!("unknown job {id}")))?, request.into_inner()))
    }
}

#[tonic::async_trait]
impl LlbBridge for Gateway {
    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        self.call(request).await?;
        Ok(Response::new(caps::pong(self.host.engine())))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let (build, order) = self.call(request).await?;
        Ok(Response::new(build.with_denied(solve::solve(&self.host, &build, order).await)?))
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Result<Response<ReturnResponse>, Status> {
        let (build, answer) = self.call(request).await?;
        let given = match (answer.error, answer.result) {
            (Some(error), _) => Err(error),
            (None, None) => Ok(None),
            (None, Some(result)) => {
                solve::returned(&self.host, &build, result).await.map_err(|status| fault::document(&status))
            }
        };
        build.answer(given);
        Ok(Response::new(ReturnResponse {}))
    }

    async fn resolve_image_config(
        &self,
        request: Request<ResolveImageConfigRequest>,
    ) -> Result<Response<ResolveImageConfigResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        Ok(Response::new(build.with_denied(resolve::image_config(&self.host, &build, wanted).await)?))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<ResolveSourceMetaRequest>,
    ) -> Result<Response<ResolveSourceMetaResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        Ok(Response::new(build.with_denied(resolve::source(&self.host, &build, wanted).await)?))
    }

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<ReadFileResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = files::view(&self.host, &build, &wanted.r#ref).await?;
        Ok(Response::new(files::read(view, wanted).await?))
    }

    async fn read_dir(&self, request: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = files::view(&self.host, &build, &wanted.r#ref).await?;
        Ok(Response::new(files::list(view, wanted).await?))
    }

    async fn stat_file(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = files::view(&self.host, &build, &wanted.r#ref).await?;
        Ok(Response::new(files::stat(view, wanted).await?))
    }

    /// What was solved is there, or has failed: nothing here is put off.
    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        build.result(&wanted.r#ref)?;
        Ok(Response::new(EvaluateResponse {}))
    }

    async fn inputs(&self, request: Request<InputsRequest>) -> Result<Response<InputsResponse>, Status> {
        let (build, _) = self.call(request).await?;
        Ok(Response::new(InputsResponse { definitions: build.order.frontend_inputs.clone() }))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Result<Response<WarnResponse>, Status> {
        let (build, warning) = self.call(request).await?;
        build.told.warn(VertexWarning {
            vertex: warning.digest,
            level: warning.level,
            short: warning.short,
            detail: warning.detail,
            url: warning.url,
            info: warning.info,
            ranges: warning.ranges,
        })?;
        Ok(Response::new(WarnResponse {}))
    }

    async fn new_container(
        &self,
        request: Request<NewContainerRequest>,
    ) -> Result<Response<NewContainerResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        containers::new(&self.host, &build, wanted).await?;
        Ok(Response::new(NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<ReleaseContainerRequest>,
    ) -> Result<Response<ReleaseContainerResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        build.containers.release(&wanted.container_id).await?;
        Ok(Response::new(ReleaseContainerResponse {}))
    }

    type ExecProcessStream = Many<ExecMessage>;

    async fn exec_process(
        &self,
        request: Request<Streaming<ExecMessage>>,
    ) -> Result<Response<Many<ExecMessage>>, Status> {
        let (build, asked) = self.call(request).await?;
        Ok(Response::new(processes::exec(self.host.clone(), build, asked)))
    }

    async fn read_file_container(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<ReadFileResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = build.containers.view(&wanted.r#ref, wanted.mount_index).await?;
        Ok(Response::new(files::read(view, wanted).await?))
    }

    async fn read_dir_container(
        &self,
        request: Request<ReadDirRequest>,
    ) -> Result<Response<ReadDirResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = build.containers.view(&wanted.r#ref, wanted.mount_index).await?;
        Ok(Response::new(files::list(view, wanted).await?))
    }

    async fn stat_file_container(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        let (build, wanted) = self.call(request).await?;
        let view = build.containers.view(&wanted.r#ref, wanted.mount_index).await?;
        Ok(Response::new(files::stat(view, wanted).await?))
    }
}
