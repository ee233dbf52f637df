//! A client that decides itself what a build may take from elsewhere (`moby.buildkit.v1.sourcepolicy.policysession`), and policies that
//! come with an order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ResolveSourceGitRequest, ResolveSourceImageRequest, ResolveSourceMetaRequest, ResolveSourceMetaResponse,
};
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy;
use bollard_buildkit_proto::pb::{Platform, SourceOp};
use prost::Message as _;
use testkit::{Host, eventually};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::client::{Client, Holdings};
use super::files::file;
use super::graphs::{definition, source};
use super::with_client;

/// What a client serves to decide.
pub const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(message, optional, tag = "1")]
    platform: Option<Platform>,
    #[prost(message, optional, tag = "2")]
    source: Option<ResolveSourceMetaResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(message, optional, tag = "1")]
    decision: Option<Decision>,
    #[prost(message, optional, tag = "2")]
    request: Option<ResolveSourceMetaRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Decision {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(message, repeated, tag = "2")]
    reasons: Vec<Reason>,
    #[prost(message, optional, tag = "3")]
    update: Option<SourceOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reason {
    #[prost(string, tag = "1")]
    message: String,
}

const ALLOW: i32 = 0;
const DENY: i32 = 1;
const CONVERT: i32 = 2;

/// What a client says about sources, and what it was asked.
pub struct Policy {
    decide: Box<dyn Fn(&ResolveSourceMetaResponse) -> Reply + Send + Sync>,
    asked: Mutex<Vec<String>>,
}

/// Serves the policy of what a client holds.
#[derive(Clone)]
pub struct Verifier(pub Arc<Holdings>);

impl NamedService for Verifier {
    const NAME: &'static str = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier";
}

impl Service<http::Request<Body>> for Verifier {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let verifier = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(verifier, request).await) })
    }
}

impl UnaryService<Question> for Verifier {
    type Response = Reply;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, Status>> + Send>>;

    fn call(&mut self, request: Request<Question>) -> Self::Future {
        let holdings = self.0.clone();
        Box::pin(async move {
            let policy = holdings.policy.as_ref().ok_or_else(|| Status::unimplemented("no policy"))?;
            let question = request.into_inner();
            let known = question.source.unwrap_or_default();
            let platform = question.platform.map(|of| format!(" {}", of.os)).unwrap_or_default();
            policy.asked.lock().unwrap().push(format!("{}{platform}", id(&known)));
            Ok(Response::new((policy.decide)(&known)))
        })
    }
}

fn id(known: &ResolveSourceMetaResponse) -> &str {
    known.source.as_ref().map_or("", |source| &source.identifier)
}

fn says(action: i32) -> Reply {
    let decision = Decision { action, ..Decision::default() };
    Reply { decision: Some(decision), request: None }
}

fn denies(reason: &str) -> Reply {
    let reasons = vec![Reason { message: reason.to_owned() }];
    let decision = Decision { action: DENY, reasons, update: None };
    Reply { decision: Some(decision), request: None }
}

fn takes(identifier: &str) -> Reply {
    let update = SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() };
    let decision = Decision { action: CONVERT, reasons: Vec::new(), update: Some(update) };
    Reply { decision: Some(decision), request: None }
}

/// The client wants to know more.
fn wants(known: &ResolveSourceMetaResponse, image: Option<ResolveSourceImageRequest>) -> Reply {
    let git = Some(ResolveSourceGitRequest { return_object: true });
    let request = ResolveSourceMetaRequest {
        source: known.source.clone(),
        git,
        image,
        ..ResolveSourceMetaRequest::default()
    };
    Reply { decision: None, request: Some(request) }
}

/// How a build of a Dockerfile ended, and which sources the client was asked about.
fn built(
    dockerfile: &str,
    prepare: impl FnOnce(&Host),
    decide: impl Fn(&ResolveSourceMetaResponse) -> Reply + Send + Sync + 'static,
) -> (Result<(), Status>, Vec<String>) {
    let recipe = vec![file("Dockerfile", dockerfile)];
    let context = vec![file("f", "f")];
    let directories = HashMap::from([("dockerfile".to_owned(), recipe), ("context".to_owned(), context)]);
    let policy = Policy { decide: Box::new(decide), asked: Mutex::default() };
    let holdings = Holdings { directories, policy: Some(policy), ..Holdings::default() };
    let (sender, receiver) = std::sync::mpsc::channel();
    with_client(holdings, |host, client| {
        host.busybox();
        prepare(&host);
        let run = async move {
            let order = client.order("build000000000091", &[], &[("moby", &[("name", "app:1")])]);
            let order = SolveRequest { source_policy_session: "session-1".to_owned(), ..order };
            let (solved, _) = client.solve(order).await;
            let policy = client.holdings.policy.as_ref().unwrap();
            sender.send((solved.map(drop), std::mem::take(&mut *policy.asked.lock().unwrap()))).unwrap();
        };
        (host, run)
    });
    receiver.recv().unwrap()
}

const BUSYBOX: &str = "docker-image://docker.io/library/busybox:latest";

#[test]
fn a_client_is_asked_about_each_source() {
    let (ended, asked) = built("FROM busybox\nCOPY f /f\n", |_| {}, |_| says(ALLOW));
    ended.unwrap();
    assert_eq!(asked[..2], ["local://dockerfile".to_owned(), format!("{BUSYBOX} linux")]);
    assert!(asked[2].starts_with(&format!("{BUSYBOX}@sha256:")), "{asked:?}");
    assert_eq!(asked[3..], ["local://context"]);
    // What a build does not read is nobody's question.
    let (ended, asked) = built("FROM busybox\nRUN true\n", |_| {}, |_| says(ALLOW));
    ended.unwrap();
    assert!(!asked.contains(&"local://context".to_owned()), "{asked:?}");
}

#[test]
fn what_a_client_does_not_allow_is_refused() {
    for denied in ["local://dockerfile", "local://context", BUSYBOX, "sha256:"] {
        let (ended, asked) = built(
            "FROM busybox\nCOPY f /f\n",
            |_| {},
            move |known| {
                if id(known).contains(denied) { denies("not today") } else { says(ALLOW) }
            },
        );
        let status = ended.unwrap_err();
        let what = asked.last().unwrap().trim_end_matches(" linux");
        let message = format!("source {what:?} not allowed by policy: action DENY");
        assert!(status.message().contains(&message), "{denied}: {status:?}");
        let details = rpc::Status::decode(status.details()).unwrap().details;
        let told = details.iter().find(|any| any.type_url.ends_with("policysession.DecisionResponse+json"));
        let told: serde_json::Value = serde_json::from_slice(&told.unwrap().value).unwrap();
        assert_eq!(told["denyMessages"][0]["message"], "not today");
    }
    // Nothing, and what nobody knows, is no permission.
    let (ended, _) = built("FROM busybox\n", |_| {}, |_| Reply::default());
    assert!(ended.unwrap_err().message().contains("no decision in policy response"));
    let (ended, _) = built("FROM busybox\n", |_| {}, |_| says(9));
    assert!(ended.unwrap_err().message().contains("not allowed by policy: action 9"));
    let (ended, _) = built(
        "FROM busybox\n",
        |_| {},
        |known| {
            let chain = ResolveSourceImageRequest { attestation_chain: true, ..Default::default() };
            if id(known).starts_with("docker") { wants(known, Some(chain)) } else { says(ALLOW) }
        },
    );
    assert!(ended.unwrap_err().message().contains("attestations and signatures of image"));
    let (ended, asked) = built(
        "FROM busybox\n",
        |_| {},
        |known| match id(known) {
            BUSYBOX => wants(known, None),
            _ => says(ALLOW),
        },
    );
    assert!(ended.unwrap_err().message().contains("too many policy requests"), "{asked:?}");
}

#[test]
fn an_image_is_taken_in_the_place_of_another() {
    let (ended, asked) = built(
        "FROM nowhere:1\nCOPY f /f\n",
        |_| {},
        |known| match id(known) {
            "docker-image://docker.io/library/nowhere:1" => takes(BUSYBOX),
            BUSYBOX if known.image.is_none() => wants(known, Some(ResolveSourceImageRequest::default())),
            BUSYBOX => {
                let image = known.image.as_ref().unwrap();
                assert!(image.digest.starts_with("sha256:") && !image.config.is_empty());
                takes(&format!("{BUSYBOX}@{}", image.digest))
            }
            _ => says(ALLOW),
        },
    );
    ended.unwrap();
    assert!(asked.iter().any(|id| id.contains("busybox:latest@sha256:")), "{asked:?}");
    let (ended, _) = built(
        "FROM busybox\n",
        |_| {},
        |known| match id(known) {
            "local://dockerfile" => says(ALLOW),
            other => takes(other),
        },
    );
    assert!(ended.unwrap_err().message().contains("too many"), "a policy that goes round");
}

#[test]
fn what_was_looked_at_is_what_is_taken() {
    // A server that gives something else every time.
    let serve = |_: &Host| {
        let server = TcpListener::bind("127.0.0.1:7070").unwrap();
        let count = AtomicUsize::new(0);
        std::thread::spawn(move || {
            for mut stream in server.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let body = format!("version {}", count.fetch_add(1, Ordering::SeqCst));
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
    };
    let dockerfile = "FROM scratch\nADD http://127.0.0.1:7070/file /\n";
    let (ended, _) = built(dockerfile, serve, |known| match (id(known).starts_with("http"), &known.http) {
        (true, None) => wants(known, None),
        (true, Some(http)) => {
            assert!(http.checksum.starts_with("sha256:") && http.filename == "file");
            says(ALLOW)
        }
        _ => says(ALLOW),
    });
    assert!(ended.unwrap_err().message().contains("digest mismatch"));
}

#[test]
fn a_client_learns_what_a_repository_has() {
    let mut daemon = None;
    let serve = |host: &Host| {
        host.file("repo/f", "f");
        let who = "git -c user.name=x -c user.email=x@x";
        let make = format!(
            "cd repo && git init -qb main . && git add . && {who} commit -qm first && {who} tag -am text v1"
        );
        host.program("sh", &["-c", &make]).ok();
        let base = format!("--base-path={}", host.home().display());
        // `git daemon` would outlive the `git` that has started it.
        let serve =
            "exec \"$(git --exec-path)/git-daemon\" --export-all --listen=127.0.0.1 --port=7071 \"$0\"";
        daemon = Some(host.program("sh", &["-c", serve, &base]).start());
        eventually("git listens", || TcpStream::connect("127.0.0.1:7071").is_ok());
    };
    let seen = Arc::new(Mutex::new(None));
    let told = seen.clone();
    let dockerfile = "FROM scratch\nADD git://127.0.0.1:7071/repo/.git#v1 /\n";
    let (ended, asked) =
        built(dockerfile, serve, move |known| match (id(known).starts_with("git"), &known.git) {
            (true, None) => wants(known, None),
            (true, Some(git)) => {
                *told.lock().unwrap() = Some(git.clone());
                says(ALLOW)
            }
            _ => says(ALLOW),
        });
    let mut daemon = daemon.unwrap();
    daemon.kill().and_then(|()| daemon.wait()).unwrap();
    ended.unwrap();
    assert!(asked.contains(&"git://127.0.0.1:7071/repo/.git#v1".to_owned()), "{asked:?}");
    let git = seen.lock().unwrap().take().unwrap();
    assert_eq!(git.r#ref, "refs/tags/v1");
    assert!(git.checksum.len() == 40 && git.commit_checksum.len() == 40);
    assert_ne!(git.checksum, git.commit_checksum);
    assert!(String::from_utf8_lossy(&git.commit_object).contains("\n\nfirst"));
    assert!(String::from_utf8_lossy(&git.tag_object).contains("\n\ntext"));
}

/// Builds a graph with a policy of its own: the message of the refusal.
fn graph_refused(rule: &str, identifier: &str) -> String {
    let holdings = Holdings {
        directories: HashMap::from([("context".to_owned(), vec![file("f", "f")])]),
        ..Holdings::default()
    };
    let selector = sourcepolicy::Selector { identifier: rule.to_owned(), ..Default::default() };
    let rule = sourcepolicy::Rule { action: DENY, selector: Some(selector), updates: None };
    let policy = sourcepolicy::Policy { version: 1, rules: vec![rule] };
    let graph = definition(vec![(source(identifier), vec![])], 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    with_client(holdings, |host, client: Client| {
        host.busybox();
        let run = async move {
            let order = SolveRequest {
                frontend: String::new(),
                definition: Some(graph),
                source_policy: Some(policy),
                ..client.order("build000000000092", &[], &[("local", &[])])
            };
            let (solved, _) = client.solve(order).await;
            assert!(client.holdings.take_received().is_empty());
            let message = solved.map(|_| String::new()).unwrap_or_else(|status| status.message().to_owned());
            sender.send(message).unwrap();
        };
        (host, run)
    });
    receiver.recv().unwrap()
}

#[test]
fn a_graphs_sources_are_called_by_their_names() {
    for (rule, identifier) in [
        ("local://context", "local://context"),
        (BUSYBOX, "docker-image://busybox"),
        ("git://h/*", "git://h/a.git"),
    ] {
        let message = graph_refused(rule, identifier);
        assert!(message.contains("denied by policy"), "{identifier}: {message}");
    }
}
