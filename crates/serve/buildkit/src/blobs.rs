//! `containerd.services.content.v1.Content` as this server has it: to read are the documents that records of builds have with
//! them (provenance, lists of packages, manifests of results, errors, traces), and nothing else. Clients look there for what a record's descriptors name.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::builds::{Descriptor, Digest, attached};
use futures_util::stream;
use http::{Request, Response};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic_prost::ProstCodec;

use crate::control::Many;
use crate::{Host, fault};

/// Bytes of one message.
const CHUNK: usize = 1 << 20;
/// Blobs that are listed in one message.
const BATCH: usize = 256;

#[derive(Clone, PartialEq, Message)]
pub struct InfoRequest {
    #[prost(string, tag = "1")]
    pub digest: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Info {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub size: i64,
}

/// Filters are not looked at: there is little to choose from.
#[derive(Clone, PartialEq, Message)]
pub struct ListRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    pub info: Vec<Info>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub offset: i64,
    /// 0 is all that is left.
    #[prost(int64, tag = "3")]
    pub size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    #[prost(int64, tag = "1")]
    pub offset: i64,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

/// The service.
#[derive(Clone)]
pub struct Blobs(pub Host);

impl Blobs {
    async fn find(&self, digest: &str) -> Result<(Digest, Bytes), Status> {
        let wrong = |e| Status::invalid_argument(format!("invalid digest {digest:?}: {e}"));
        let digest: Digest = digest.parse().map_err(wrong)?;
        let found = attached::read(self.0.engine(), digest.clone()).await.map_err(fault::status)?;
        Ok((digest, found.into()))
    }
}

impl NamedService for Blobs {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send>>;

impl Service<Request<Body>> for Blobs {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let blobs = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "List" => {
                    let codec = ProstCodec::<ListResponse, ListRequest>::default();
                    Grpc::new(codec).server_streaming(blobs, request).await
                }
                "Info" => Grpc::new(ProstCodec::default()).unary(blobs, request).await,
                "Read" => {
                    let codec = ProstCodec::<ReadResponse, ReadRequest>::default();
                    Grpc::new(codec).server_streaming(blobs, request).await
                }
                _ => Status::unimplemented(format!("this server's content can only be read: {method}"))
                    .into_http(),
            })
        })
    }
}

impl UnaryService<InfoRequest> for Blobs {
    type Response = InfoResponse;
    type Future = Answer<InfoResponse>;

    fn call(&mut self, request: tonic::Request<InfoRequest>) -> Self::Future {
        let blobs = self.clone();
        Box::pin(async move {
            let (digest, bytes) = blobs.find(&request.get_ref().digest).await?;
            let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            let info = Some(Info { digest: digest.to_string(), size });
            Ok(tonic::Response::new(InfoResponse { info }))
        })
    }
}

impl ServerStreamingService<ListRequest> for Blobs {
    type Response = ListResponse;
    type ResponseStream = Many<ListResponse>;
    type Future = Answer<Many<ListResponse>>;

    fn call(&mut self, _: tonic::Request<ListRequest>) -> Self::Future {
        let blobs = self.clone();
        Box::pin(async move {
            let all = attached::all_documents(blobs.0.engine()).await.map_err(fault::status)?;
            let info = |document: &Descriptor| Info {
                digest: document.digest.to_string(),
                size: i64::try_from(document.size).unwrap_or(i64::MAX),
            };
            let batch = |some: &[Descriptor]| Ok(ListResponse { info: some.iter().map(info).collect() });
            let messages: Vec<_> = all.chunks(BATCH).map(batch).collect();
            Ok(tonic::Response::new(Box::pin(stream::iter(messages)) as Many<ListResponse>))
        })
    }
}

impl ServerStreamingService<ReadRequest> for Blobs {
    type Response = ReadResponse;
    type ResponseStream = Many<ReadResponse>;
    type Future = Answer<Many<ReadResponse>>;

    fn call(&mut self, request: tonic::Request<ReadRequest>) -> Self::Future {
        let blobs = self.clone();
        Box::pin(async move {
            let asked = request.into_inner();
            let (_, bytes) = blobs.find(&asked.digest).await?;
            let part = part(&bytes, asked.offset, asked.size)?;
            let messages = stream::unfold((asked.offset, part), |(offset, mut left)| async move {
                let data = left.split_to(left.len().min(CHUNK));
                let next = offset.saturating_add(i64::try_from(data.len()).unwrap_or(i64::MAX));
                (!data.is_empty()).then(|| (Ok(ReadResponse { offset, data }), (next, left)))
            });
            Ok(tonic::Response::new(Box::pin(messages) as Many<ReadResponse>))
        })
    }
}

/// What is asked for of a blob.
fn part(bytes: &Bytes, offset: i64, size: i64) -> Result<Bytes, Status> {
    let outside = |_| Status::out_of_range(format!("read offset {offset} with size {size}"));
    let offset = usize::try_from(offset).map_err(outside)?;
    let size = usize::try_from(size).map_err(outside)?;
    if offset > bytes.len() {
        return Err(Status::out_of_range(format!("read past object length {} bytes", bytes.len())));
    }
    let left = bytes.len() - offset;
    let size = if size == 0 { left } else { size.min(left) };
    Ok(bytes.slice(offset..offset + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_blobs() {
        let blob = Bytes::from_static(b"0123456789");
        let part = |offset, size| part(&blob, offset, size).map_err(|status| status.code());
        assert_eq!(part(0, 0).unwrap(), "0123456789");
        assert_eq!(part(4, 3).unwrap(), "456");
        assert_eq!(part(8, i64::MAX).unwrap(), "89");
        assert_eq!(part(10, 1).unwrap(), "");
        for (offset, size) in [(11, 0), (-1, 0), (0, -1), (i64::MAX, 1)] {
            assert_eq!(part(offset, size).unwrap_err(), tonic::Code::OutOfRange);
        }
    }
}
