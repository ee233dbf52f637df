//! A client's standard input: `moby.upload.v1.Upload`.

use std::io;
use std::pin::Pin;

use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_client::UploadClient;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Status};

use super::{Session, append};
use crate::MESSAGE_MAX;
use crate::line::Line;

/// What addresses of uploads begin with.
pub const ADDRESS: &str = "http://buildkit-session/";

impl Session {
    /// The bytes behind an address that begins with [`ADDRESS`].
    pub async fn upload(
        &self,
        address: &str,
    ) -> Result<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, Status> {
        let name = address.strip_prefix(ADDRESS).unwrap_or(address);
        // Nothing is said; but while this call lasts the client must not see its end.
        let mut request = Request::new(futures_util::stream::pending::<BytesMessage>());
        append(request.metadata_mut(), "urlpath", &[format!("/{name}")]);
        append(request.metadata_mut(), "urlhost", &["buildkit-session".to_owned()]);
        let mut client = UploadClient::with_origin(self.line(), Line::origin());
        client = client.max_decoding_message_size(MESSAGE_MAX);
        let messages = client.pull(request).await?.into_inner();
        Ok(Box::pin(messages.map(|message| match message {
            Ok(message) => Ok(message.data.into()),
            Err(status) => Err(io::Error::other(status.message().to_owned())),
        })))
    }
}
