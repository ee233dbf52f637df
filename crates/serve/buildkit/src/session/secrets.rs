//! A client's secrets: `moby.buildkit.secrets.v1.Secrets`.

use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use tonic::{Code, Status};

use super::{Session, soon};
use crate::line::Line;

impl Session {
    /// The secret of this id, if the client has it.
    pub async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Status> {
        let mut client = SecretsClient::with_origin(self.line(), Line::origin());
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        match soon(&format!("secret {id}"), client.get_secret(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner().data)),
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
            Err(status) => Err(status),
        }
    }
}
