//! `POST /build?version=2`: one build in one request, whose answer tells what BuildKit's status stream does. The files come in the
//! request, or from the session that it names; secrets, agents and credentials come from there in any case.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use api::build::BuildOptions;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use engine::Kind;
use engine::builds::{ContextSource, Reach};
use oci::Digest;
use prost::Message as _;
use tokio::sync::mpsc::Sender;
use tonic::{Code, Status};

use crate::Host;
use crate::build::Build;
use crate::frontend;

/// Such a build.
pub struct Classic {
    pub options: BuildOptions,
    /// None if the session has the files.
    pub context: Option<ContextSource>,
    /// What the client may name by path.
    pub reach: Reach,
    /// The session's id; empty for none.
    pub session: String,
    /// The client's name for the build; it gets another if it is not fit for one.
    pub id: String,
}

impl Host {
    /// Builds, and sends what is told as it comes, encoded: the image's id.
    pub async fn classic(&self, classic: Classic, told: Sender<Vec<u8>>) -> engine::Result<String> {
        let Classic { options, context, reach, session, id } = classic;
        let attrs = HashMap::from([("name".to_owned(), options.tags.join(","))]);
        let attributes = HashMap::from([("filename".to_owned(), options.dockerfile.clone())]);
        let order = SolveRequest {
            frontend: "dockerfile.v0".to_owned(),
            r#ref: if crate::is_build_id(&id) { id.clone() } else { new_id(&session) },
            session,
            exporters: vec![Exporter { r#type: "moby".to_owned(), attrs }],
            ..SolveRequest::default()
        };
        let mut build = Build::new(order, reach);
        build.called = id;
        let build = Arc::new(build);
        let registered = self.register(build.clone()).map_err(error)?;
        let listen = async {
            let mut position = 0;
            while let Some(status) = build.told.after(&mut position).await {
                // A client that is gone has dropped this whole future.
                let _ = told.send(status.encode_to_vec()).await;
            }
        };
        let work = async {
            let made = frontend::classic(self, &build, &attributes, options, context);
            // Somebody may cancel it by its id.
            let made = build.life.share(Box::pin(made)).await;
            drop(registered);
            made
        };
        let (made, ()) = tokio::join!(work, listen);
        let made = made.map_err(error)?;
        made.keep().await.map_err(error)?;
        let image = made.details.images.first().map(|image| image.id.clone());
        image.ok_or_else(|| engine::Error::system("the build gave no image"))
    }
}

fn new_id(session: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Digest::sha256(format!("{session} {}", now.as_nanos()).as_bytes()).hex()[..25].to_owned()
}

fn error(status: Status) -> engine::Error {
    let kind = match status.code() {
        Code::InvalidArgument => Kind::InvalidParameter,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::Conflict,
        Code::Unimplemented => Kind::NotImplemented,
        Code::Cancelled => Kind::Cancelled,
        _ => Kind::System,
    };
    engine::Error::new(kind, status.message())
}
