//! BuildKit's protocols on a daemon's socket, spoken with the types of a published crate.

mod client;
mod containers;
mod content;
mod files;
mod graphs;
mod inline;
mod lacking;
mod malformed;
mod policies;
mod processes;
mod reach;
mod reads;
mod results;
mod tokens;
mod whole;

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::health::HealthCheckRequest;
use bollard_buildkit_proto::health::health_client::HealthClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, PingRequest, ReadDirRequest, ReadFileRequest, ReturnRequest, StatFileRequest, result,
};
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryRequest, DiskUsageRequest, InfoRequest, ListWorkersRequest, PruneRequest, SolveRequest,
    StatusRequest, UpdateBuildHistoryRequest,
};
use bollard_buildkit_proto::pb::Definition;
use client::{Client, Holdings, upgrade};
use files::{Attribute, Stat, file, folder, hardlink, link};
use futures_util::StreamExt as _;
use testkit::{Host, Mode};
use tonic::{Code, Request};

const DOCKERFILE: &str = "FROM busybox AS base\nCOPY . /app\n\
    RUN --mount=type=secret,id=token test $(wc -c </run/secrets/token) = 13 && echo from the step\nCMD cat /app/a.txt\n";
const SECRET: &str = "s3cr3t-c4n4ry";

fn holdings() -> Holdings {
    let ignore = file(".dockerignore", "node_modules\n");
    let context = vec![
        ignore.clone(),
        file("a.txt", "aaa"),
        hardlink("h", "a.txt"),
        folder("sub"),
        file("sub/b.txt", "b"),
        link("z", "a.txt"),
    ];
    let directories = HashMap::from([
        ("dockerfile".to_owned(), vec![ignore, file("Dockerfile", DOCKERFILE)]),
        ("context".to_owned(), context),
    ]);
    let secrets = HashMap::from([("token".to_owned(), SECRET.into())]);
    Holdings { directories, secrets, ..Holdings::default() }
}

/// Runs a test with a client; the daemon goes on afterwards.
fn with_client<F: Future<Output = ()>>(holdings: Holdings, test: impl FnOnce(Host, Client) -> (Host, F)) {
    let host = Host::new(Mode::Daemon);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(Client::connect(&host.socket(0), "session-1", holdings));
    let (host, work) = test(host, client);
    runtime.block_on(async { tokio::time::timeout(testkit::PATIENCE, work).await.expect("it hangs") });
    drop(runtime);
    goes_on(&host);
}

/// The daemon answers, and nothing in it has panicked.
fn goes_on(host: &Host) {
    host.type_in("version").ok();
    let said = std::fs::read_to_string(host.home().join("daemon0.log")).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_build_with_the_clients_files_and_secrets() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let attributes = [("filename", "Dockerfile"), ("label:from", "a client")];
            let wanted = [("name", "app:1"), ("prefer-image-digest", "true")];
            let order = client.order("build000000000001", &attributes, &[("moby", &wanted)]);
            let (solved, told) = client.solve(order).await;
            let answer = solved.unwrap().exporter_response;
            // What Docker's plugin prints for the image's id.
            assert_eq!(answer["containerimage.digest"], answer["containerimage.config.digest"]);
            assert!(
                answer["containerimage.digest"].starts_with("sha256:") && answer["image.name"] == "app:1"
            );
            let vertexes: Vec<_> = told.iter().flat_map(|status| &status.vertexes).collect();
            let ended = |name: &str| vertexes.iter().any(|v| v.name.contains(name) && v.completed.is_some());
            for name in
                ["load build context", "load build definition from Dockerfile", "COPY . /app", "exporting"]
            {
                assert!(ended(name), "{name}: {vertexes:?}");
            }
            let logs: Vec<u8> = told.iter().flat_map(|s| &s.logs).flat_map(|log| log.msg.clone()).collect();
            assert!(String::from_utf8_lossy(&logs).contains("from the step"));
            let warnings: Vec<_> = told.iter().flat_map(|status| &status.warnings).collect();
            let short = String::from_utf8_lossy(&warnings[0].short).into_owned();
            assert!(short.starts_with("JSONArgsRecommended: ") && short.ends_with("(line 4)"), "{short}");
            assert_eq!(warnings[0].info.as_ref().unwrap().data, DOCKERFILE.as_bytes());
            assert!(client.holdings.excluded.lock().unwrap().contains(&"node_modules".to_owned()));

            // The same again is cached, and what was told can be heard once more from the record.
            let order = client.order("build000000000002", &attributes, &[("moby", &[("name", "app:1")])]);
            let (solved, told) = client.solve(order).await;
            solved.unwrap();
            assert_eq!(told.iter().flat_map(|s| &s.vertexes).filter(|v| v.cached).count(), 3);
            let again =
                client.control.clone().status(StatusRequest { r#ref: "build000000000002".into() }).await;
            let again: Vec<_> = again.unwrap().into_inner().collect().await;
            assert!(again.iter().flatten().any(|status| !status.vertexes.is_empty()));
        };
        (host, run)
    });
}

/// `buildctl --addr unix://…` and the driver `remote` of Docker's plugin.
#[test]
fn clients_of_buildkits_own_daemon_build_on_the_same_socket() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = async {
        let socket = host.socket(0);
        let client = Client::connect_at_once(&socket, "session-1", holdings()).await;
        let order = client.order("build000000000091", &[], &[("local", &[])]);
        client.solve(order).await.0.unwrap();
        let received = client.holdings.take_received();
        assert!(received.iter().any(|(path, content)| path == "app/a.txt" && content == b"aaa"));
        let mut workers = client.control.clone();
        assert_eq!(
            workers.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner().record.len(),
            1
        );
        // What only begins alike is a request of the API that is wrong, and one in pieces is none the less right.
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for (pieces, want) in [
            (["PRIV /", " HTTP/1.1\r\nConnection: close\r\n\r\n"], "HTTP/1.1 4"),
            (["P", "OST /build?version=7 HTTP/1.1\r\nConnection: close\r\nHost: d\r\n\r\n"], "HTTP/1.1 400"),
        ] {
            let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(want), "{answer}");
        }
    };
    runtime.block_on(async { tokio::time::timeout(testkit::PATIENCE, run).await.expect("it hangs") });
    drop(runtime);
    host.type_in("version").ok();
}

#[test]
fn results_look_right_from_outside() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let root = host.root();
        let run = async move {
            let order = client.order("build000000000003", &[], &[("local", &[])]);
            let (solved, _) = client.solve(order).await;
            solved.unwrap();
            let all = client.holdings.received.lock().unwrap().clone();
            assert!(all.iter().any(|(stat, _)| !stat.link.is_empty()), "busybox has many names");
            let received = client.holdings.take_received();
            let content =
                |path: &str| received.iter().find(|(known, _)| known == path).map(|(_, c)| c.clone());
            assert_eq!(content("app/a.txt").unwrap(), b"aaa");
            assert_eq!(content("app/sub/b.txt").unwrap(), b"b");
            assert_eq!(content("app/h").unwrap(), b"aaa");
            assert!(content("bin/busybox").unwrap().len() > 100_000);
            let leaks =
                std::process::Command::new("grep").args(["-rlaF", SECRET]).arg(&root).output().unwrap();
            assert_eq!(String::from_utf8(leaks.stdout).unwrap(), "", "the secret is on the disk");
        };
        (host, run)
    });
}

#[test]
fn names_that_are_no_text_come_and_go() {
    let mut held = holdings();
    let check = "FROM busybox\nCOPY . /all\nRUN cd /all && test \"$(cat $(printf 'l\\377'))\" = first && \
        test \"$(readlink $(printf 'l\\377'))\" = \"$(printf 'bad\\377')\"\n";
    held.directories.insert("dockerfile".to_owned(), vec![file("Dockerfile", check)]);
    let mut first = file(b"bad\xff", "first");
    first.0.attributes = vec![Attribute { name: b"user.note".into(), value: vec![0, 0xff] }];
    let others = [folder(b"d\xfe"), file(b"d\xfe/\xfd", "second"), link(b"l\xff", b"bad\xff")];
    let context =
        [first, others[0].clone(), others[1].clone(), others[2].clone(), hardlink(b"z\xff", b"bad\xff")];
    held.directories.insert("context".to_owned(), context.to_vec());
    with_client(held, |host, client| {
        host.busybox();
        let run = async move {
            for (id, again) in [("build000000000010", false), ("build000000000011", true)] {
                let (solved, _) = client.solve(client.order(id, &[], &[("local", &[])])).await;
                solved.unwrap();
                let received = std::mem::take(&mut *client.holdings.received.lock().unwrap());
                let found =
                    |path: &[u8]| received.iter().find(|(stat, _)| stat.path == path).unwrap().clone();
                let (stat, content) = found(b"all/bad\xff");
                assert_eq!((content.as_slice(), stat.attributes.len()), (&b"first"[..], 1));
                assert_eq!(stat.attributes[0].value, [0, 0xff]);
                assert_eq!(found(b"all/z\xff").1, b"first");
                assert_eq!(found(b"all/d\xfe/\xfd").1, b"second");
                let asked = std::mem::take(&mut *client.holdings.asked.lock().unwrap());
                assert_eq!(asked.iter().any(|path| path.starts_with("d\u{fffd}/")), !again, "{asked:?}");
            }
        };
        (host, run)
    });
}

#[test]
fn a_client_that_takes_no_files_is_not_waited_for() {
    with_client(Holdings { refuses: true, ..holdings() }, |host, client| {
        host.busybox();
        let run = async move {
            let (solved, _) = client.solve(client.order("build000000000012", &[], &[("local", &[])])).await;
            let message = solved.unwrap_err().message().to_owned();
            assert!(message.contains("error from receiver: no room"), "{message}");
        };
        (host, run)
    });
}

/// What a client of the gateway sees: it solves, looks at the files, and returns.
#[test]
fn a_conversation_at_the_gateway() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let mut order = client.order("build000000000004", &[], &[("moby", &[("name", "app:2")])]);
            order.frontend.clear();
            let (mut control, gateway) = (client.control.clone(), client.gateway.clone());
            fn about<T>(message: T) -> Request<T> {
                let mut request = Request::new(message);
                let id = "build000000000004".parse().unwrap();
                request.metadata_mut().insert("buildkit-controlapi-buildid", id);
                request
            }
            let converse = async {
                let mut gateway = gateway.clone();
                let pong = gateway.ping(about(PingRequest {})).await.unwrap().into_inner();
                assert!(pong.frontend_api_caps.iter().any(|cap| cap.id == "return" && cap.enabled));
                let asked = frontend::SolveRequest {
                    frontend: "dockerfile.v0".to_owned(),
                    frontend_opt: HashMap::from([("requestid".to_owned(), "frontend.targets".to_owned())]),
                    ..frontend::SolveRequest::default()
                };
                let answer = gateway.solve(about(asked.clone())).await.unwrap().into_inner().result.unwrap();
                assert!(String::from_utf8_lossy(&answer.metadata["result.json"]).contains("\"base\""));
                let asked = frontend::SolveRequest { frontend_opt: HashMap::new(), ..asked };
                let solved = gateway.solve(about(asked)).await.unwrap().into_inner().result.unwrap();
                assert!(solved.metadata.contains_key("containerimage.config"));
                let Some(result::Result::Ref(part)) = &solved.result else { panic!("{solved:?}") };
                let r#ref = part.id.clone();
                let file_path = "/app/z".to_owned();
                let read = ReadFileRequest { r#ref: r#ref.clone(), file_path, ..ReadFileRequest::default() };
                assert_eq!(gateway.read_file(about(read)).await.unwrap().into_inner().data, b"aaa");
                let file_path = "/../../etc/shadow".to_owned();
                let read = ReadFileRequest { r#ref: r#ref.clone(), file_path, ..ReadFileRequest::default() };
                assert_eq!(gateway.read_file(about(read)).await.unwrap_err().code(), Code::NotFound);
                let dir_path = "app".to_owned();
                let list = ReadDirRequest { r#ref: r#ref.clone(), dir_path, ..ReadDirRequest::default() };
                let entries = gateway.read_dir(about(list)).await.unwrap().into_inner().entries;
                let names: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
                assert_eq!(names, [".dockerignore", "a.txt", "h", "sub", "z"]);
                let stat = StatFileRequest {
                    r#ref: r#ref.clone(),
                    path: "app/sub".to_owned(),
                    ..Default::default()
                };
                let stat = gateway.stat_file(about(stat)).await.unwrap().into_inner().stat.unwrap();
                assert!(stat.path == "sub" && stat.mode & (1 << 31) != 0);
                let graph = frontend::SolveRequest {
                    definition: Some(Definition { def: vec![vec![0]], ..Definition::default() }),
                    ..frontend::SolveRequest::default()
                };
                let refused = gateway.solve(about(graph)).await.unwrap_err();
                assert!(refused.code() == Code::InvalidArgument && refused.message().contains("definition"));
                gateway.r#return(about(ReturnRequest { result: Some(solved), error: None })).await.unwrap();
            };
            let (solved, ()) = tokio::join!(control.solve(order), converse);
            assert_eq!(solved.unwrap().into_inner().exporter_response["image.name"], "app:2");
        };
        (host, run)
    });
}

#[test]
fn a_cancelled_build_ends_at_once() {
    let mut held = holdings();
    let slow = "FROM busybox\nRUN echo begun && sleep 1000\n";
    held.directories.insert("dockerfile".to_owned(), vec![file("Dockerfile", slow)]);
    with_client(held, |host, client| {
        host.busybox();
        let run = async move {
            let order = client.order("build000000000005", &[], &[]);
            let (mut solving, mut listening) = (client.control.clone(), client.control.clone());
            let solve = tokio::spawn(async move { solving.solve(order).await });
            let mut told = listening
                .status(StatusRequest { r#ref: "build000000000005".into() })
                .await
                .unwrap()
                .into_inner();
            while let Some(status) = told.next().await {
                if status.unwrap().logs.iter().any(|log| log.msg.starts_with(b"begun")) {
                    break;
                }
            }
            solve.abort();
            // The stream ends, and the record says so.
            while told.next().await.is_some() {}
            let ended = async {
                loop {
                    let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
                    let told = client.control.clone().listen_build_history(asked).await.unwrap();
                    let records: Vec<_> = told.into_inner().collect().await;
                    let record = records[0].as_ref().unwrap().record.clone().unwrap();
                    if record.completed_at.is_some() {
                        return record;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let record = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it is cancelled");
            assert_eq!(record.error.unwrap().code, Code::Cancelled as i32);
        };
        (host, run)
    });
}

#[test]
fn builds_are_remembered_and_the_cache_is_told() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let gateway =
            host.dhow(&["network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}"]).ok();
        let run = async move {
            let mut control = client.control.clone();
            client.solve(client.order("build000000000006", &[], &[])).await.0.unwrap();
            let info = control.info(InfoRequest {}).await.unwrap().into_inner();
            assert!(info.buildkit_version.unwrap().version.starts_with('v'));
            let workers = control.list_workers(ListWorkersRequest::default()).await.unwrap().into_inner();
            assert!(!workers.record[0].platforms.is_empty());
            let labels = &workers.record[0].labels;
            assert_eq!(labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"], gateway);
            let health = HealthClient::new(client.channel.clone()).check(HealthCheckRequest::default()).await;
            assert_eq!(health.unwrap().into_inner().status, 1);
            let asked = BuildHistoryRequest {
                r#ref: "build000000000006".to_owned(),
                early_exit: true,
                ..BuildHistoryRequest::default()
            };
            let told: Vec<_> =
                control.listen_build_history(asked).await.unwrap().into_inner().collect().await;
            let record = told[0].as_ref().unwrap().record.clone().unwrap();
            assert!(record.error.is_none() && record.num_completed_steps > 3);
            let used = control.disk_usage(DiskUsageRequest::default()).await.unwrap().into_inner().record;
            assert!(used.iter().any(|record| record.description.contains("COPY")), "{used:?}");
            let gone: Vec<_> = control
                .prune(PruneRequest { all: true, ..PruneRequest::default() })
                .await
                .unwrap()
                .into_inner()
                .collect()
                .await;
            assert_eq!(gone.len(), used.len());
            let delete = |id: &str| UpdateBuildHistoryRequest {
                r#ref: id.to_owned(),
                delete: true,
                ..Default::default()
            };
            // What people may write for a build is the name of none.
            for name in ["", "^0", "build", "build00000000000", "../builds/build000000000006"] {
                let refused = control.update_build_history(delete(name)).await.unwrap_err();
                assert_eq!(refused.code(), Code::NotFound, "{name}");
                let replayed = control.status(StatusRequest { r#ref: name.to_owned() }).await;
                assert_eq!(replayed.err().map(|status| status.code()), Some(Code::NotFound), "{name}");
            }
            let delete = delete("build000000000006");
            control.update_build_history(delete.clone()).await.unwrap();
            assert_eq!(control.update_build_history(delete).await.unwrap_err().code(), Code::NotFound);
        };
        (host, run)
    });
}

/// The context of a hostile client: what it says, and what it hears.
fn refused(entries: Vec<(Stat, Vec<u8>)>, words: &str) {
    let mut held = holdings();
    held.directories.insert("context".to_owned(), entries);
    let words = words.to_owned();
    with_client(held, |host, client| {
        host.busybox();
        let outside = host.home().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let run = async move {
            let (solved, _) = client.solve(client.order("build000000000007", &[], &[])).await;
            let message = solved.unwrap_err().message().to_owned();
            assert!(message.contains(&words), "{message}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        };
        (host, run)
    });
}

#[test]
fn paths_that_lead_out_of_a_context_are_refused() {
    refused(vec![file("../evil", "x")], "is no path of a file");
    refused(vec![file("/etc/evil", "x")], "is no path of a file");
    refused(vec![link("out", "/tmp"), file("out/evil", "x")], "out/evil");
    refused(vec![file("a", "1"), file("a", "2")], "comes twice");
    refused(vec![file("nowhere/a", "1")], "nowhere/a");
    refused(vec![hardlink("evil", "../../state.db")], "is a link to no file");
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    with_client(holdings(), |host, client| {
        let socket = host.socket(0);
        let run = async move {
            let mut control = client.control.clone();
            let code =
                |solved: Result<_, tonic::Status>| solved.map(|_: tonic::Response<_>| ()).unwrap_err().code();
            let order = |id: &str| client.order(id, &[], &[]);
            assert_eq!(code(control.solve(order("../../etc")).await), Code::InvalidArgument);
            let mut graph = SolveRequest { frontend: String::new(), ..order("build000000000008") };
            graph.definition = Some(Definition { def: vec![vec![1, 2, 3]], ..Definition::default() });
            assert_eq!(code(control.solve(graph).await), Code::InvalidArgument);
            let other = SolveRequest { frontend: "gateway.v0".to_owned(), ..order("build000000000009") };
            assert_eq!(code(control.solve(other).await), Code::Unimplemented);
            let absent = client.order("build000000000013", &[("filename", "absent"), ("target", "t")], &[]);
            assert_eq!(code(control.solve(absent).await), Code::NotFound);
            let unheard = SolveRequest { internal: true, ..order("build000000000014") };
            let unheard = SolveRequest { frontend: "unheard.of".to_owned(), ..unheard };
            assert_eq!(code(control.solve(unheard).await), Code::Unimplemented);
            // Nothing at all is a graph without operations, and no conversation that nobody begins.
            let nothing = SolveRequest { frontend: String::new(), ..order("build000000000015") };
            let nothing = SolveRequest { definition: Some(Definition::default()), ..nothing };
            control.solve(nothing).await.unwrap();
            // They are remembered, though none of them began.
            let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
            let told = control.listen_build_history(asked).await.unwrap().into_inner();
            let mut records: Vec<_> = told.map(|event| event.unwrap().record.unwrap()).collect().await;
            records.retain(|record| record.error.is_some());
            let ids: Vec<_> = records.iter().map(|record| record.r#ref.as_str()).collect();
            assert_eq!(ids, ["build000000000013", "build000000000009", "build000000000008"]);
            let codes: Vec<_> = records.iter().map(|record| record.error.as_ref().unwrap().code).collect();
            assert_eq!(codes, [Code::NotFound, Code::Unimplemented, Code::InvalidArgument].map(|c| c as i32));
            let absent = &records[0];
            assert!(
                absent.error.as_ref().unwrap().message.contains("open absent: no such file"),
                "{absent:?}"
            );
            assert!(absent.completed_at.is_some() && absent.frontend_attrs["filename"] == "absent");
            let seconds = |time: &Option<Timestamp>| time.as_ref().map(|time| time.seconds);
            assert!(seconds(&absent.created_at) <= seconds(&absent.completed_at));
            let upgraded = |headers: &'static str| upgrade(&socket, "/session", headers);
            assert!(upgraded("Upgrade: h2c\r\n").await.unwrap_err().contains(" 400 "));
            assert!(
                upgraded("Upgrade: websocket\r\nX-Docker-Expose-Session-Uuid: x\r\n")
                    .await
                    .unwrap_err()
                    .contains(" 400 ")
            );
            let taken = "Upgrade: h2c\r\nX-Docker-Expose-Session-Uuid: session-1\r\n";
            assert!(upgraded(taken).await.unwrap_err().contains(" 400 "));
            // Bytes that are no HTTP/2 end their connection and nothing else.
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = upgrade(&socket, "/grpc", "Upgrade: h2c\r\n").await.unwrap();
            stream.write_all(&[0xff; 4096]).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
            assert!(control.info(InfoRequest {}).await.is_ok());
        };
        (host, run)
    });
}
