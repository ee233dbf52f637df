//! Messages that no client writes: fields that are missing, empty, of another type, without measure, or no fields at all.
//! Each is answered or refused; the daemon goes on (CVE-2024-23650).

use std::time::Duration;

use bytes::{Buf, BufMut};
use testkit::{Host, Mode, PATIENCE};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use super::client::{Client, Holdings};
use super::containers::about;
use super::goes_on;
use super::graphs::order;

pub const CONTROL: &str = "/moby.buildkit.v1.Control/";
pub const GATEWAY: &str = "/moby.buildkit.v1.frontend.LLBBridge/";
/// The build that calls of the gateway are about.
const BUILD: &str = "build000000000050";

const METHODS: &[(&str, &[&str])] = &[
    (
        CONTROL,
        &[
            "DiskUsage",
            "Prune",
            "Solve",
            "Status",
            "ListWorkers",
            "Info",
            "ListenBuildHistory",
            "UpdateBuildHistory",
            "None",
        ],
    ),
    (
        GATEWAY,
        &[
            "ResolveImageConfig",
            "ResolveSourceMeta",
            "Solve",
            "ReadFile",
            "ReadDir",
            "StatFile",
            "Evaluate",
            "Ping",
            "Return",
            "Inputs",
            "NewContainer",
            "ReleaseContainer",
            "ExecProcess",
            "ReadFileContainer",
            "ReadDirContainer",
            "StatFileContainer",
            "Warn",
            "None",
        ],
    ),
];

/// How long a call is listened to.
pub const SERVED: Duration = Duration::from_millis(300);

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

fn field(number: u8, kind: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | kind][..], content].concat()
}

/// What each method gets.
fn messages(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new(), vec![0], vec![0xff; 40], vec![b'a'; 1 << 20]];
    for number in 1..16 {
        all.push(field(number, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]));
        all.push(field(number, 2, &[0]));
        // It says that it is four gigabytes long.
        all.push(field(number, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f]));
        all.push(field(number, 2, &[4, 0x0a, 2, 0xff, 0xfe]));
        all.push(field(number, 2, b"\x10../../../../etc\0"));
        all.push(field(number, 5, &[1, 2, 3, 4]));
    }
    // Messages within messages, deeper than any reader follows.
    let mut nested = Vec::new();
    for _ in 0..200 {
        nested = [field(1, 2, &[nested.len().min(127) as u8]), nested].concat();
        nested.truncate(127);
    }
    all.push(nested);
    for _ in 0..20 {
        all.push((0..random.usize(1..64)).map(|_| random.u8(..)).collect());
    }
    all
}

/// What a call is answered with; nothing where it goes on for longer than it is listened to.
pub async fn call(
    client: &Client,
    path: &PathAndQuery,
    request: Request<Vec<u8>>,
    patience: Duration,
) -> Option<Result<Option<Vec<u8>>, Status>> {
    let message = request.get_ref();
    let shown = format!("{path}: {:?}", &message[..message.len().min(40)]);
    let mut grpc = Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let call = async {
        let stream = grpc.server_streaming(request, path.clone(), Raw).await?;
        stream.into_inner().message().await
    };
    let answer = tokio::time::timeout(patience, call).await.ok()?;
    if let Err(status) = &answer {
        assert_ne!(status.code(), Code::Unavailable, "{shown}: {status}");
        assert!(!status.message().contains("panic"), "{shown}: {status}");
    }
    Some(answer)
}

/// Holds a conversation at the gateway, and begins it anew when a call has ended it.
async fn converse(client: &Client) {
    loop {
        // Whatever was returned: what it came to is said to nobody.
        let _ = client.control.clone().solve(order(client, BUILD, &[])).await;
    }
}

/// Sends the messages to one method. Some reach what serves it, for not all of them are unreadable.
async fn send(client: &Client, service: &str, method: &str, messages: Vec<Vec<u8>>) {
    let path: PathAndQuery = format!("{service}{method}").parse().unwrap();
    let request = |(number, message): (usize, Vec<u8>)| match (service, method) {
        (GATEWAY, _) => about(BUILD, message),
        // The name of a build, unless the message has another one.
        (_, "Solve") => {
            let id = format!("build{number:012}");
            Request::new([field(1, 2, &[id.len() as u8]), id.into_bytes(), message].concat())
        }
        _ => Request::new(message),
    };
    let requests = messages.into_iter().enumerate().map(request);
    let answers =
        futures_util::future::join_all(requests.map(|request| call(client, &path, request, SERVED))).await;
    let refused = |answer: &Option<Result<_, Status>>| match answer {
        Some(Err(status)) => {
            assert!(!status.message().contains("buildid"), "{path}: {status}");
            let early = ["failed to decode", "unknown job", "invalid ref"];
            early.iter().any(|early| status.message().contains(early))
        }
        _ => false,
    };
    assert!(!answers.iter().all(refused), "{path}: nothing reaches what serves it: {answers:?}");
}

#[test]
fn every_method_gets_what_no_client_writes() {
    let host = Host::new(Mode::Daemon);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&host.socket(0), "session-1", Holdings::default()).await;
        let random = &mut fastrand::Rng::with_seed(1);
        let work = async {
            for (service, methods) in METHODS {
                for method in *methods {
                    send(&client, service, method, messages(random)).await;
                }
            }
        };
        tokio::select! { () = work => {}, () = converse(&client) => {} }
    });
    runtime.shutdown_timeout(PATIENCE);
    goes_on(&host);
}
