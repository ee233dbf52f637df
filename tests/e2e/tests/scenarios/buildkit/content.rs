//! A client's own content store on its session, and the caches that are kept in it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryRecord, BuildHistoryRequest, CacheOptions, CacheOptionsEntry, PruneRequest, SolveRequest,
    UpdateBuildHistoryRequest,
};
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::client::{Client, Holdings};
use super::{file, holdings, with_client};

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    digest: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Known {
    #[prost(message, optional, tag = "1")]
    info: Option<Info>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(int64, tag = "2")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Taken {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(int64, tag = "4")]
    offset: i64,
}

const COMMIT: i32 = 2;
const STORE: &str = "local:/of/the/client";

/// `containerd.services.content.v1.Content` over blobs in memory.
#[derive(Clone)]
pub struct Content(pub Arc<Holdings>);

impl NamedService for Content {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;
type Many<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn check<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("buildkit-attachable-store-id").map(|id| id.as_bytes() == STORE.as_bytes()) {
        Some(true) => Ok(()),
        _ => Err(Status::not_found("unknown store")),
    }
}

impl Service<http::Request<Body>> for Content {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let content = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path().rsplit('/').next() {
                Some("Info") => Grpc::new(ProstCodec::default()).unary(content, request).await,
                Some("Read") => Grpc::new(ProstCodec::default()).server_streaming(content, request).await,
                Some("Write") => Grpc::new(ProstCodec::default()).streaming(content, request).await,
                _ => Status::unimplemented("method").into_http(),
            })
        })
    }
}

impl UnaryService<Asked> for Content {
    type Response = Known;
    type Future = Answer<Response<Known>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let blobs = self.0.clone();
        Box::pin(async move {
            check(&request)?;
            let blobs = blobs.blobs.lock().unwrap();
            let blob = blobs.get(&request.get_ref().digest).ok_or_else(|| Status::not_found("blob"))?;
            Ok(Response::new(Known { info: Some(Info { size: blob.len() as i64 }) }))
        })
    }
}

impl ServerStreamingService<Asked> for Content {
    type Response = Bytes;
    type ResponseStream = Many<Bytes>;
    type Future = Answer<Response<Many<Bytes>>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let blobs = self.0.clone();
        Box::pin(async move {
            check(&request)?;
            let blobs = blobs.blobs.lock().unwrap();
            let blob = blobs.get(&request.get_ref().digest).ok_or_else(|| Status::not_found("blob"))?;
            let parts: Vec<_> = blob.chunks(1000).map(|part| Ok(Bytes { data: part.to_vec() })).collect();
            Ok(Response::new(Box::pin(stream::iter(parts)) as Many<Bytes>))
        })
    }
}

impl StreamingService<Part> for Content {
    type Response = Taken;
    type ResponseStream = Many<Taken>;
    type Future = Answer<Response<Many<Taken>>>;

    fn call(&mut self, request: Request<Streaming<Part>>) -> Self::Future {
        let holdings = self.0.clone();
        Box::pin(async move {
            check(&request)?;
            let parts = request.into_inner();
            let taken = stream::unfold((parts, Vec::new()), move |(mut parts, mut blob)| {
                let holdings = holdings.clone();
                async move {
                    let part = parts.next().await?.ok()?;
                    assert_eq!(part.offset, blob.len() as i64);
                    blob.extend(&part.data);
                    if part.action == COMMIT {
                        let hex: String =
                            Sha256::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
                        assert_eq!(part.expected, format!("sha256:{hex}"));
                        holdings.blobs.lock().unwrap().insert(part.expected, blob.clone());
                    }
                    Some((Ok(Taken { action: part.action, offset: blob.len() as i64 }), (parts, blob)))
                }
            });
            Ok(Response::new(Box::pin(taken) as Many<Taken>))
        })
    }
}

fn entry(pairs: &[(&str, &str)]) -> CacheOptionsEntry {
    let attrs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    CacheOptionsEntry { r#type: "local".to_owned(), attrs }
}

#[test]
fn a_cache_goes_to_the_clients_directory_and_comes_back() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let order = |id: &str, cache: CacheOptions| SolveRequest {
                cache: Some(cache),
                ..client.order(id, &[], &[("cacheonly", &[])])
            };
            let exports = vec![entry(&[("dest", "/of/the/client"), ("mode", "max")])];
            let to = CacheOptions { exports, ..CacheOptions::default() };
            let (solved, _) = client.solve(order("build000000000030", to)).await;
            let answer: HashMap<String, String> = solved.unwrap().exporter_response;
            let manifest: serde_json::Value = serde_json::from_str(&answer["cache.manifest"]).unwrap();
            let digest = manifest["digest"].as_str().unwrap().to_owned();
            assert!(client.holdings.blobs.lock().unwrap().contains_key(&digest));

            let prune = PruneRequest { all: true, ..PruneRequest::default() };
            client.control.clone().prune(prune).await.unwrap().into_inner().for_each(async |_| {}).await;
            let imports = vec![entry(&[("src", "/of/the/client"), ("digest", &digest)])];
            let from = CacheOptions { imports, ..CacheOptions::default() };
            let (solved, told) = client.solve(order("build000000000031", from)).await;
            solved.unwrap();
            let cached = told.iter().flat_map(|s| &s.vertexes).filter(|v| v.cached).count();
            assert_eq!(cached, 3, "{told:?}");
        };
        (host, run)
    });
}

async fn records(client: &Client, asked: BuildHistoryRequest) -> Vec<BuildHistoryRecord> {
    let told = client.control.clone().listen_build_history(asked).await.unwrap().into_inner();
    told.map(|event| event.unwrap().record.unwrap()).collect().await
}

/// Reads from the content of the server.
async fn read(channel: &Channel, digest: &str) -> Result<Vec<u8>, Code> {
    let mut server = tonic::client::Grpc::new(channel.clone());
    server.ready().await.unwrap();
    let asked = || Request::new(Asked { digest: digest.to_owned() });
    let path = |method: &str| format!("/{}/{method}", Content::NAME).parse().unwrap();
    let known = server.unary(asked(), path("Info"), ProstCodec::<_, Known>::default()).await;
    let size = known.map_err(|status| status.code())?.into_inner().info.unwrap().size;
    server.ready().await.unwrap();
    let parts = server.server_streaming(asked(), path("Read"), ProstCodec::<_, Bytes>::default()).await;
    let parts: Vec<Bytes> = parts.unwrap().into_inner().map(Result::unwrap).collect().await;
    let bytes: Vec<u8> = parts.into_iter().flat_map(|part| part.data).collect();
    assert_eq!(bytes.len() as i64, size);
    server.ready().await.unwrap();
    let written = server.unary(asked(), path("Delete"), ProstCodec::<_, Known>::default()).await;
    assert_eq!(written.unwrap_err().code(), Code::Unimplemented);
    Ok(bytes)
}

#[test]
fn records_have_documents_about_the_result_with_them() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let id = "build000000000032";
            let order = client.order(id, &[("attest:sbom", "")], &[("local", &[])]);
            client.solve(order).await.0.unwrap();
            // What is no file of the image's is as new as it is.
            let modified = client.holdings.received.lock().unwrap().iter().find_map(|(stat, _)| {
                (stat.path == b"sbom.spdx.json").then_some(stat.modified / 1_000_000_000)
            });
            assert!(modified.unwrap() > 1_700_000_000, "{modified:?}");
            let received = client.holdings.take_received();
            assert!(received.iter().all(|(path, _)| path != "provenance.json"), "nobody asked for it");
            let asked = BuildHistoryRequest {
                r#ref: id.to_owned(),
                early_exit: true,
                ..BuildHistoryRequest::default()
            };
            let record = records(&client, asked.clone()).await.remove(0);
            let attached = record.result.unwrap().attestations;
            let mut found = Vec::new();
            for document in &attached {
                let bytes = read(&client.channel, &document.digest).await.unwrap();
                let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(document.digest, format!("sha256:{hex}"));
                let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let kind = document.annotations["in-toto.io/predicate-type"].as_str();
                found.push((kind, told.get("buildDefinition").is_some(), told.get("packages").is_some()));
            }
            found.sort_unstable();
            let provenance = ("https://slsa.dev/provenance/v1", true, false);
            assert_eq!(found, [provenance, ("https://spdx.dev/Document", false, true)]);
            // Nothing else of this server's can be read there.
            let other = format!("sha256:{}", "0".repeat(64));
            assert_eq!(read(&client.channel, &other).await.unwrap_err(), Code::NotFound);
            assert_eq!(read(&client.channel, "../record.json").await.unwrap_err(), Code::InvalidArgument);
            // By this question buildx finds out whether there are records at all.
            let probe = BuildHistoryRequest { r#ref: "none".to_owned(), active_only: true, ..asked };
            assert_eq!(records(&client, probe).await, []);
        };
        (host, run)
    });
}

fn about(id: &str) -> BuildHistoryRequest {
    BuildHistoryRequest { r#ref: id.to_owned(), early_exit: true, ..BuildHistoryRequest::default() }
}

/// What `docker buildx history inspect` and `trace` show.
#[test]
fn records_tell_why_a_build_failed_and_when_each_step_ran() {
    let mut holdings = holdings();
    let failing = file("Dockerfile", "FROM busybox\nRUN echo before && exit 3\n");
    holdings.directories.insert("dockerfile".to_owned(), vec![failing]);
    with_client(holdings, |host, client| {
        host.busybox();
        let run = async move {
            let id = "build000000000033";
            let attributes = [
                ("vcs:source", "https://me:s3cr3t@host/a.git"),
                ("vcs:localdir:dockerfile", "sub"),
                ("build-arg:HTTP_PROXY", "http://me:s3cr3t@proxy"),
            ];
            let (solved, told) = client.solve(client.order(id, &attributes, &[("local", &[])])).await;
            let failed = solved.unwrap_err();
            let record = records(&client, about(id)).await.remove(0);
            assert_eq!(record.frontend_attrs["vcs:source"], "https://host/a.git");
            assert_eq!(record.frontend_attrs["vcs:localdir:dockerfile"], "sub");
            assert!(!format!("{record:?}").contains("s3cr3t"), "{record:?}");
            let filter = vec!["repository==https://host/a.git".to_owned()];
            assert_eq!(records(&client, BuildHistoryRequest { filter, ..about(id) }).await.len(), 1);

            let document = record.external_error.unwrap();
            let bytes = read(&client.channel, &document.digest).await.unwrap();
            let full = rpc::Status::decode(bytes.as_slice()).unwrap();
            let error = record.error.unwrap();
            assert_eq!((error.code, error.message.as_str()), (full.code, failed.message()));
            assert!(error.details.is_empty() && full.message.contains("exit code: 3"), "{full:?}");
            let detail = |kind: &str| {
                let found = full.details.iter().find(|detail| detail.type_url.ends_with(kind)).unwrap();
                serde_json::from_slice::<serde_json::Value>(&found.value).unwrap()
            };
            assert_eq!(detail("errdefs.Source+json")["ranges"][0]["start"]["line"], 2);
            let mut steps = told.iter().flat_map(|status| &status.vertexes);
            let step = steps.find(|step| step.error.contains("exit code: 3")).unwrap();
            assert_eq!(detail("errdefs.Vertex+json")["digest"], step.digest);

            assert_eq!(record.trace, None, "nobody has asked for it");
            let finalize =
                UpdateBuildHistoryRequest { r#ref: id.to_owned(), finalize: true, ..Default::default() };
            client.control.clone().update_build_history(finalize).await.unwrap();
            let trace = records(&client, about(id)).await.remove(0).trace.unwrap();
            let trace = String::from_utf8(read(&client.channel, &trace.digest).await.unwrap()).unwrap();
            let span = trace.lines().skip(1).find(|span| span.contains("exit 3")).unwrap();
            let span: serde_json::Value = serde_json::from_str(span).unwrap();
            assert_eq!(span["Attributes"][0]["Value"]["Value"], step.digest);
            assert_eq!(span["Status"]["Code"], "Error");
        };
        (host, run)
    });
}

#[test]
fn records_tell_what_was_handed_out() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let id = "build000000000034";
            let order = client.order(id, &[], &[("moby", &[("name", "app:1")])]);
            let answer = client.solve(order).await.0.unwrap().exporter_response;
            let record = records(&client, about(id)).await.remove(0);
            assert_eq!(record.exporter_response, answer);
            let result = record.result.unwrap().results.remove(&0).unwrap();
            assert_eq!(result.digest, answer["containerimage.digest"]);
            let manifest = read(&client.channel, &result.digest).await.unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            assert_eq!(manifest["config"]["digest"], answer["containerimage.config.digest"]);

            let complete = [("attest:provenance", "complete-materials=true")];
            let order = client.order("build000000000036", &complete, &[("local", &[])]);
            let refused = client.solve(order).await.0.unwrap_err();
            assert!(
                refused.message().contains("incomplete") && refused.message().contains("context"),
                "{refused}"
            );

            // What was made and went nowhere has failed.
            let id = "build000000000035";
            let nowhere = [("name", "127.0.0.1:1/app:1"), ("push", "true")];
            let failed = client.solve(client.order(id, &[], &[("image", &nowhere)])).await.0.unwrap_err();
            let record = records(&client, about(id)).await.remove(0);
            assert_eq!(record.error.unwrap().message, failed.message());
        };
        (host, run)
    });
}
