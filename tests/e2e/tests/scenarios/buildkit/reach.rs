//! A client that could not read the server's files by itself, for it is another user's, gets at none of them by a build, in whatever
//! way it names them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::ResolveSourceMetaRequest;
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, CacheOptionsEntry, SolveRequest, sourcepolicy,
};
use bollard_buildkit_proto::pb::{Definition, SourceOp, op};
use rustix::process::Uid;
use serde_json::json;
use testkit::{Host, Mode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::Request;

use super::client::{Client, Holdings};
use super::files::file;
use super::graphs::{definition, source};

const REFUSED: &str = "a directory of the server cannot be named from here";
const SECRET: &str = "of the server alone";
/// Whoever it is: nobody else's files are his.
const STRANGER: u32 = 54_321;

/// A daemon whose socket is everybody's, and a repository that is root's.
fn server() -> (Host, String) {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    fs::set_permissions(host.home(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(host.socket(0), fs::Permissions::from_mode(0o666)).unwrap();
    host.file("repo/Dockerfile", "FROM scratch\nCOPY secret /\n");
    host.file("repo/secret", SECRET);
    for arguments in [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-q", "-m", "one"]] {
        let who = ["-c", "user.name=t", "-c", "user.email=t@t", "-C", "repo"];
        host.program("git", &[&who[..], arguments].concat()).ok();
    }
    let repository = host.home().join("repo").display().to_string();
    (host, repository)
}

/// A name for a build that no other has.
fn id() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("buildreach{:06}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes connections as another user.
async fn as_stranger<T>(connect: impl Future<Output = T>) -> T {
    let us = rustix::process::getuid();
    let become_user = |user: Uid| rustix::thread::set_thread_res_uid(us, user, us).unwrap();
    become_user(Uid::from_raw(STRANGER));
    let connected = connect.await;
    become_user(us);
    connected
}

async fn client(host: &Host, is_stranger: bool) -> Client {
    let dockerfile = file("Dockerfile", "FROM scratch\nCOPY --from=other . /\n");
    let directories = HashMap::from([
        ("dockerfile".to_owned(), vec![dockerfile]),
        ("context".to_owned(), vec![file("mine", "mine")]),
    ]);
    let held = Holdings { directories, ..Holdings::default() };
    let (socket, session) = (host.socket(0), if is_stranger { "stranger" } else { "root" });
    let connect = Client::connect(&socket, session, held);
    if is_stranger { as_stranger(connect).await } else { connect.await }
}

fn cloned(remote: &str) -> SourceOp {
    let attrs = [("git.fullurl".to_owned(), remote.to_owned())].into();
    SourceOp { identifier: "git://host/repo".to_owned(), attrs }
}

fn graph(remote: &str) -> Definition {
    definition(vec![(op::Op::Source(cloned(remote)), vec![])], 0)
}

/// Asks for the repository in each way that there is: what each answered.
async fn ways(client: &Client, remote: &str) -> Vec<(&'static str, Result<(), String>)> {
    let order = |attributes: &[(&str, &str)]| client.order(&id(), attributes, &[("local", &[])]);
    let policy = sourcepolicy::Policy {
        version: 1,
        rules: vec![sourcepolicy::Rule {
            action: sourcepolicy::PolicyAction::Convert.into(),
            selector: Some(sourcepolicy::Selector {
                identifier: "git://host/*".into(),
                ..Default::default()
            }),
            updates: Some(sourcepolicy::Update {
                identifier: "git://host/repo".into(),
                attrs: [("git.fullurl".to_owned(), remote.to_owned())].into(),
            }),
        }],
    };
    let plain = SolveRequest { frontend: String::new(), ..order(&[]) };
    let orders = [
        ("context", order(&[("context", remote)])),
        ("named context", order(&[("context:other", remote)])),
        (
            "input",
            SolveRequest {
                frontend_inputs: [("context".to_owned(), graph(remote))].into(),
                ..order(&[("filename", "Dockerfile")])
            },
        ),
        ("graph", SolveRequest { definition: Some(graph(remote)), ..plain.clone() }),
        (
            "policy",
            SolveRequest {
                definition: Some(definition(vec![(source("git://host/repo"), vec![])], 0)),
                source_policy: Some(policy),
                ..plain.clone()
            },
        ),
    ];
    let mut answers = Vec::new();
    for (way, order) in orders {
        let order = SolveRequest { r#ref: id(), ..order };
        let (solved, _) = client.solve(order).await;
        let leaked = client.holdings.take_received().iter().any(|(_, bytes)| bytes == SECRET.as_bytes());
        let answer = solved.map(drop).map_err(|status| status.message().to_owned());
        assert_eq!(leaked, answer.is_ok(), "{way} of {remote}: {answer:?}");
        answers.push((way, answer));
    }
    answers.push(("look", look(client, remote, SolveRequest { r#ref: id(), ..plain }).await));
    answers
}

/// Asks for the commit at the gateway.
async fn look(client: &Client, remote: &str, order: SolveRequest) -> Result<(), String> {
    let mut asked =
        Request::new(ResolveSourceMetaRequest { source: Some(cloned(remote)), ..Default::default() });
    asked.metadata_mut().insert("buildkit-controlapi-buildid", order.r#ref.parse().unwrap());
    let (mut control, mut gateway) = (client.control.clone(), client.gateway.clone());
    // The conversation ends with its call.
    tokio::select! {
        answer = gateway.resolve_source_meta(asked) => {
            answer.map(drop).map_err(|status| status.message().to_owned())
        }
        ended = control.solve(order) => panic!("the conversation ended: {ended:?}"),
    }
}

#[test]
fn repositories_of_the_server_are_not_a_strangers() {
    let (host, path) = server();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let root = client(&host, false).await;
        for (way, answer) in ways(&root, &format!("file://{path}")).await {
            assert_eq!(answer, Ok(()), "{way}");
        }
        let stranger = client(&host, true).await;
        for remote in [format!("file://{path}"), format!("FILE://{path}"), format!("File://localhost{path}")]
        {
            for (way, answer) in ways(&stranger, &remote).await {
                let message = answer.unwrap_err();
                assert!(message.contains(REFUSED), "{way} of {remote}: {message}");
            }
        }
        // What is no address of a repository, but a path that git would take for one.
        for remote in [path.clone(), format!("{path}/.git"), format!("file:{path}")] {
            for (way, answer) in ways(&stranger, &remote).await {
                assert!(answer.is_err(), "{way} of {remote}");
            }
        }
    });
}

#[test]
fn a_build_is_none_of_those_who_reach_less_far() {
    let (host, path) = server();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (root, stranger) = (client(&host, false).await, client(&host, true).await);
        let order = root.order(&id(), &[], &[]);
        let order = SolveRequest { frontend: String::new(), ..order };
        let mut asked = Request::new(ResolveSourceMetaRequest {
            source: Some(cloned(&format!("file://{path}"))),
            ..Default::default()
        });
        asked.metadata_mut().insert("buildkit-controlapi-buildid", order.r#ref.parse().unwrap());
        let (mut control, mut gateway) = (root.control.clone(), stranger.gateway.clone());
        tokio::select! {
            answer = gateway.resolve_source_meta(asked) => {
                assert_eq!(answer.unwrap_err().code(), tonic::Code::NotFound);
            }
            ended = control.solve(order) => panic!("the conversation ended: {ended:?}"),
        }
    });
}

fn cache(kind: &str, directory: &str) -> CacheOptionsEntry {
    let attrs = [(kind.to_owned(), directory.to_owned())].into();
    CacheOptionsEntry { r#type: "local".to_owned(), attrs }
}

#[test]
fn caches_and_results_do_not_lie_with_the_server() {
    let (host, _) = server();
    let place = host.home().join("written");
    let directory = place.display().to_string();
    host.dhow(&[
        "build",
        "--cache-to",
        &format!("type=local,dest={}", host.home().join("cache").display()),
        "repo",
    ])
    .ok();
    let known = host.home().join("cache").display().to_string();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let stranger = client(&host, true).await;
        let graph = || Some(definition(vec![(source("docker-image://busybox"), vec![])], 0));
        let order = |exporters: &[(&str, &[(&str, &str)])]| SolveRequest {
            frontend: String::new(),
            definition: graph(),
            session: String::new(),
            ..stranger.order(&id(), &[], exporters)
        };
        let (to, from) = (cache("dest", &directory), cache("src", &known));
        for cache in [
            CacheOptions { exports: vec![to], ..CacheOptions::default() },
            CacheOptions { imports: vec![from], ..CacheOptions::default() },
        ] {
            let (solved, _) = stranger.solve(SolveRequest { cache: Some(cache), ..order(&[]) }).await;
            let message = solved.unwrap_err().message().to_owned();
            assert!(message.contains(REFUSED), "{message}");
        }
        // Exporters know no place but the session's.
        let to: &[(&str, &str)] = &[("dest", &directory), ("output", &directory), ("tar", "false")];
        for kind in ["local", "tar", "oci", "docker"] {
            let (solved, _) = stranger.solve(order(&[(kind, to)])).await;
            assert!(solved.is_err(), "{kind}");
        }
        // With a session the client's own directories are meant, of which it has none.
        let cache = CacheOptions { exports: vec![cache("dest", &directory)], ..CacheOptions::default() };
        let with_session = stranger.order(&id(), &[], &[]);
        let order =
            SolveRequest { frontend: String::new(), definition: graph(), cache: Some(cache), ..with_session };
        let (solved, _) = stranger.solve(order).await;
        drop(solved);
        // Nor are contexts.
        for (key, value) in [
            ("context:other", format!("local:{known}")),
            ("context:other", known.clone()),
            ("context:other", format!("oci-layout://{known}@sha256:{:064}", 0)),
            ("context:other", format!("oci-layout:{known}:latest")),
            ("context", known.clone()),
            ("context", format!("local:{known}")),
        ] {
            let (solved, _) = stranger.solve(stranger.order(&id(), &[(key, &value)], &[])).await;
            assert!(solved.is_err(), "{key}={value}");
        }
    });
    assert!(!place.exists(), "the server has written there");
}

/// A request of the classic build as another user, with an archive of nothing: its answer.
async fn classic(socket: &Path, query: &str, extras: &str) -> String {
    let mut stream = as_stranger(UnixStream::connect(socket)).await.unwrap();
    let archive = [0; 1024];
    let head = format!("POST /v1.47/build{query} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{extras}");
    let head = format!("{head}Content-Length: {}\r\n\r\n", archive.len());
    stream.write_all(&[head.as_bytes(), &archive].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_classic_build_names_no_more() {
    let (host, path) = server();
    let socket = host.socket(0);
    let directory = host.home().join("written").display().to_string();
    let dockerfile = json!({ "name": "Dockerfile", "text": "FROM scratch\nCOPY --from=other . /\n" });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for query in [
            format!("?remote=file://{path}"),
            format!("?remote=FILE://{path}"),
            format!("?dhow-context={path}"),
            format!("?version=2&remote=File://{path}"),
        ] {
            let answer = classic(&socket, &query, "").await;
            assert!(answer.contains(REFUSED), "{query}: {answer}");
        }
        for mut extras in [
            json!({ "caches_to": [{ "type": "local", "dest": directory }] }),
            json!({ "caches_from": [{ "type": "local", "src": directory }] }),
            json!({ "contexts": { "other": path } }),
            json!({ "contexts": { "other": format!("FILE://{path}") } }),
            json!({ "contexts": { "other": format!("oci-layout://{path}") } }),
            json!({ "ssh": { "default": path } }),
        ] {
            extras["dockerfile"] = dockerfile.clone();
            let text = URL_SAFE.encode(extras.to_string());
            let answer = classic(&socket, "", &format!("X-Dhow-Build: {text}\r\n")).await;
            assert!(answer.contains(REFUSED), "{extras}: {answer}");
        }
    });
    assert!(!Path::new(&directory).exists(), "the server has written there");
}
