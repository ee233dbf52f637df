//! Graphs of clients (LLB), solved by the control service and at the gateway, and what changes of a context between builds.

use std::collections::{BTreeMap, HashMap};

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, ReadFileRequest, Ref, ReturnRequest, result,
};
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{
    BuildInput, BuildOp, Definition, DiffOp, ExecOp, FileAction, FileActionCopy, FileActionMkFile, FileOp,
    Input, LowerDiffInput, MergeInput, MergeOp, Meta, Mount, MountType, NetMode, Op, SecretOpt, SecurityMode,
    SourceOp, UpperDiffInput, op,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use testkit::web;
use tonic::Request;

use super::client::Client;
use super::containers::look_around;
use super::files::file;
use super::{SECRET, holdings, with_client};

/// Marshals operations, each with the numbers of those that it works on; the last one is the result, by its output.
pub fn definition(ops: Vec<(op::Op, Vec<usize>)>, output: i64) -> Definition {
    let mut digests: Vec<String> = Vec::new();
    let mut def = Vec::new();
    for (op, inputs) in ops {
        let inputs = inputs.into_iter().map(|n| Input { digest: digests[n].clone(), index: 0 }).collect();
        let bytes = Op { inputs, op: Some(op), ..Op::default() }.encode_to_vec();
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        digests.push(format!("sha256:{hex}"));
        def.push(bytes);
    }
    let last = Input { digest: digests.pop().unwrap(), index: output };
    def.push(Op { inputs: vec![last], ..Op::default() }.encode_to_vec());
    Definition { def, ..Definition::default() }
}

pub fn source(identifier: &str) -> op::Op {
    op::Op::Source(SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() })
}

pub fn mount(dest: &str, input: i64, output: i64) -> Mount {
    Mount { dest: dest.to_owned(), input, output, ..Mount::default() }
}

/// A process that reads the client's files and a secret, and writes into a mount that is the result.
fn graph() -> Definition {
    let script = "cp /src/a.txt /out/copy && wc -c < /run/secrets/token > /out/size && echo said";
    let secret = SecretOpt { id: "token".to_owned(), mode: 0o400, ..SecretOpt::default() };
    let exec = ExecOp {
        meta: Some(Meta {
            // Found by the usual PATH, since none is given.
            args: ["sh", "-c", script].map(String::from).to_vec(),
            cwd: "/".to_owned(),
            ..Meta::default()
        }),
        mounts: vec![
            mount("/", 0, 0),
            Mount { readonly: true, ..mount("src", 1, -1) },
            mount("/out", -1, 1),
            Mount {
                mount_type: MountType::Secret.into(),
                secret_opt: Some(secret),
                ..mount("/run/secrets/token", -1, -1)
            },
        ],
        ..ExecOp::default()
    };
    let image = source("docker-image://docker.io/library/busybox:latest");
    definition(
        vec![(image, vec![]), (source("local://context"), vec![]), (op::Op::Exec(exec), vec![0, 1])],
        1,
    )
}

pub fn order(client: &Client, id: &str, exporters: &[(&str, &[(&str, &str)])]) -> SolveRequest {
    SolveRequest { frontend: String::new(), ..client.order(id, &[], exporters) }
}

#[test]
fn a_graph_is_built_and_handed_out() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let order = |id: &str| SolveRequest {
                definition: Some(graph()),
                ..order(&client, id, &[("local", &[]), ("image", &[("name", "graph:1")])])
            };
            let (solved, told) = client.solve(order("build000000000020")).await;
            assert_eq!(solved.unwrap().exporter_response["image.name"], "graph:1");
            let logs: Vec<u8> = told.iter().flat_map(|s| &s.logs).flat_map(|log| log.msg.clone()).collect();
            assert!(String::from_utf8_lossy(&logs).contains("said"));
            let mut progress = told.iter().flat_map(|status| &status.statuses);
            let is_told = progress.any(|p| p.id == "transferring context:" && p.name == "transferring");
            assert!(is_told, "{told:?}");
            let mut received = client.holdings.take_received();
            received.sort();
            let files = [("copy", "aaa".to_owned()), ("size", format!("{}\n", SECRET.len()))];
            assert_eq!(received, files.map(|(name, text)| (name.to_owned(), text.into_bytes())));
            let (solved, told) = client.solve(order("build000000000021")).await;
            solved.unwrap();
            let mut vertexes = told.iter().flat_map(|status| &status.vertexes);
            assert!(vertexes.any(|v| v.cached && v.name.starts_with("sh -c")), "{told:?}");
        };
        (host, run)
    });
}

fn shell(script: &str) -> op::Op {
    let args = ["sh", "-c", script].map(String::from).to_vec();
    let meta = Some(Meta { args, cwd: "/".to_owned(), ..Meta::default() });
    op::Op::Exec(ExecOp { meta, mounts: vec![mount("/", 0, 0)], ..ExecOp::default() })
}

#[test]
fn processes_of_graphs_get_what_their_build_is_allowed() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let op::Op::Exec(process) = shell("ls /sys/class/net > /seen") else { panic!("no process") };
            let asking = [
                (ExecOp { network: NetMode::Host.into(), ..process.clone() }, "network.host"),
                (ExecOp { security: SecurityMode::Insecure.into(), ..process.clone() }, "security.insecure"),
            ];
            let order = |process: ExecOp, id: &str, allowed: &[&str]| {
                let image = (source("docker-image://docker.io/library/busybox:latest"), vec![]);
                SolveRequest {
                    definition: Some(definition(vec![image, (op::Op::Exec(process), vec![0])], 0)),
                    entitlements: allowed.iter().map(|word| (*word).to_owned()).collect(),
                    ..order(&client, id, &[])
                }
            };
            for (number, (process, what)) in asking.into_iter().enumerate() {
                let id = |end: &str| format!("build00000000007{number}{end}");
                let refused = client.solve(order(process.clone(), &id("a"), &[])).await.0.unwrap_err();
                assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
                assert!(refused.message().contains(&format!("{what} is not allowed")), "{refused}");
                client.solve(order(process, &id("b"), &[what])).await.0.unwrap();
            }
            let unknown = ExecOp { security: 7, ..process };
            let refused = client.solve(order(unknown, "build000000000079", &[])).await.0.unwrap_err();
            assert!(refused.message().contains("invalid security mode 7"), "{refused}");
        };
        (host, run)
    });
}

/// In a directory that the first of several layers on nothing brings, names that it takes away are listed by the kernel.
#[test]
fn what_differs_is_handed_out_without_marks_of_what_is_gone() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let diff =
                DiffOp { lower: Some(LowerDiffInput { input: 0 }), upper: Some(UpperDiffInput { input: 1 }) };
            let ops = vec![
                (source("docker-image://docker.io/library/busybox:latest"), vec![]),
                (shell("mkdir -p /d/sub && touch /d/old /moved"), vec![0]),
                (shell("rm -rf /d && mkdir /d && touch /d/new"), vec![1]),
                (shell("touch /top; mv /moved /m && mv /m /moved"), vec![2]),
                (op::Op::Diff(diff), vec![1, 3]),
            ];
            let order = SolveRequest {
                definition: Some(definition(ops, 0)),
                ..order(&client, "build000000000022", &[("local", &[])])
            };
            client.solve(order).await.0.unwrap();
            let mut received: Vec<_> =
                client.holdings.take_received().into_iter().map(|(name, _)| name).collect();
            received.sort();
            assert_eq!(received, ["d/new", "top"]);
        };
        (host, run)
    });
}

#[test]
fn a_definition_of_nothing_is_an_image_without_files() {
    with_client(holdings(), |host, client| {
        let run = async move {
            let order = SolveRequest {
                definition: Some(Definition::default()),
                ..order(&client, "build000000000023", &[("local", &[]), ("image", &[("name", "nothing:1")])])
            };
            let solved = client.solve(order).await.0.unwrap();
            assert_eq!(solved.exporter_response["image.name"], "nothing:1");
            assert_eq!(client.holdings.take_received(), []);
        };
        (host, run)
    });
}

#[test]
fn a_build_within_a_build_is_what_its_file_says() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let write = |path: &str, data: Vec<u8>| FileAction {
                input: -1,
                secondary_input: -1,
                output: 0,
                action: Some(Action::Mkfile(FileActionMkFile {
                    path: path.to_owned(),
                    mode: 0o644,
                    data,
                    timestamp: -1,
                    ..Default::default()
                })),
            };
            let made = |path: &str, data: Vec<u8>| op::Op::File(FileOp { actions: vec![write(path, data)] });
            let inputs = BTreeMap::from([("buildkit.llb.definition".to_owned(), BuildInput { input: 0 })]);
            let attrs = BTreeMap::from([("llb.definition.filename".to_owned(), "d.llb".to_owned())]);
            let nested = op::Op::Build(BuildOp { builder: -1, inputs, attrs, ..BuildOp::default() });
            let outer = definition(
                vec![(made("/d.llb", graph().encode_to_vec()), vec![]), (nested.clone(), vec![0])],
                0,
            );
            let order = |id: &str, definition: Definition| SolveRequest {
                definition: Some(definition),
                ..order(&client, id, &[("local", &[])])
            };
            client.solve(order("build000000000026", outer)).await.0.unwrap();
            let mut received = client.holdings.take_received();
            received.sort();
            assert_eq!(received[0], ("copy".to_owned(), b"aaa".to_vec()));
            // A file that is none.
            let broken =
                definition(vec![(made("/d.llb", b"no graph".to_vec()), vec![]), (nested, vec![0])], 0);
            let error = client.solve(order("build000000000027", broken)).await.0.unwrap_err();
            assert!(error.message().contains("of a build within a build"), "{error}");
        };
        (host, run)
    });
}

/// A file on nothing.
pub fn written(path: &str, text: &str) -> op::Op {
    let made = FileActionMkFile {
        path: path.to_owned(),
        mode: 0o644,
        data: text.into(),
        timestamp: -1,
        ..Default::default()
    };
    let action = FileAction { input: -1, secondary_input: -1, output: 0, action: Some(Action::Mkfile(made)) };
    op::Op::File(FileOp { actions: vec![action] })
}

#[test]
fn graphs_are_contexts() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let one = |path: &str, text: &str| definition(vec![(written(path, text), vec![])], 0);
            let recipe = "FROM scratch AS base\nCOPY . /all/\nCOPY --from=more /m /more\n";
            let merged = |all: Vec<op::Op>| {
                let merge = op::Op::Merge(MergeOp {
                    inputs: (0..all.len() as i64).map(|input| MergeInput { input }).collect(),
                });
                let inputs = (0..all.len()).collect();
                definition(all.into_iter().map(|op| (op, vec![])).chain([(merge, inputs)]).collect(), 0)
            };
            let files = [("/a", "a"), ("/hidden", "h"), ("/.dockerignore", "hidden\n")];
            let context = merged(files.map(|(path, text)| written(path, text)).to_vec());
            let inputs =
                [("context", context), ("dockerfile", one("/Dockerfile", recipe)), ("more", one("/m", "m"))];
            let mut order =
                client.order("build000000000030", &[("context:more", "input:more")], &[("local", &[])]);
            order.frontend_inputs = inputs.map(|(name, given)| (name.to_owned(), given)).into();
            client.solve(order.clone()).await.0.unwrap();
            let mut received = client.holdings.take_received();
            received.sort();
            let files = [("all/.dockerignore", "hidden\n"), ("all/a", "a"), ("more", "m")];
            assert_eq!(received, files.map(|(name, text)| (name.to_owned(), text.into())));
            order.r#ref = "build000000000031".to_owned();
            order.frontend_inputs.insert("more".to_owned(), one("/other", "m"));
            let error = client.solve(order).await.0.unwrap_err();
            assert!(error.message().contains("\"/m\": not found"), "{error}");
        };
        (host, run)
    });
}

#[test]
fn an_image_has_the_digest_that_the_client_says() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let order = |id: &str, digest: &str| {
                let attrs = [("image.checksum".to_owned(), digest.to_owned())].into();
                let identifier = "docker-image://docker.io/library/busybox:latest".to_owned();
                let image = op::Op::Source(SourceOp { identifier, attrs });
                let definition = Some(definition(vec![(image, vec![])], 0));
                SolveRequest { definition, ..order(&client, id, &[]) }
            };
            let other = format!("sha256:{}", "0".repeat(64));
            let error = client.solve(order("build000000000071", &other)).await.0.unwrap_err();
            let (said, _) = error.message().split_once(" for docker.io/library/busybox:latest").unwrap();
            assert!(
                error.message().contains(&format!("does not match expected checksum {other}")),
                "{error}"
            );
            let own = said.strip_prefix("image digest ").unwrap();
            client.solve(order("build000000000072", own)).await.0.unwrap();
        };
        (host, run)
    });
}

#[test]
fn what_a_client_uploads_it_gives_once_for_all_solves_of_a_build() {
    let held = holdings();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3000);
    header.set_mode(0o644);
    archive.append_data(&mut header, "sub/a.txt", &[b'u'; 3000][..]).unwrap();
    held.uploads.lock().unwrap().insert("/up1".to_owned(), archive.into_inner().unwrap());
    with_client(held, |host, client| {
        let run = async move {
            const ID: &str = "build000000000070";
            fn about<T>(message: T) -> Request<T> {
                let mut request = Request::new(message);
                request.metadata_mut().insert("buildkit-controlapi-buildid", ID.parse().unwrap());
                request
            }
            let attrs = [("http.filename".to_owned(), "context".to_owned())].into();
            let identifier = "http://buildkit-session/up1".to_owned();
            let upload = op::Op::Source(SourceOp { identifier, attrs });
            let copy = FileActionCopy {
                src: "/context".to_owned(),
                dest: "/".to_owned(),
                mode: -1,
                timestamp: -1,
                attempt_unpack_docker_compatibility: true,
                ..FileActionCopy::default()
            };
            let action =
                FileAction { input: -1, secondary_input: 0, output: 0, action: Some(Action::Copy(copy)) };
            let unpacked = op::Op::File(FileOp { actions: vec![action] });
            let mut control = client.control.clone();
            let whole = order(&client, ID, &[]);
            let converse = async {
                let mut gateway = client.gateway.clone();
                let asked = [
                    (definition(vec![(upload.clone(), vec![])], 0), "/context", 4096),
                    (definition(vec![(upload, vec![]), (unpacked, vec![0])], 0), "/sub/a.txt", 3000),
                ];
                for (definition, path, size) in asked {
                    let asked = frontend::SolveRequest { definition: Some(definition), ..Default::default() };
                    let solved = gateway.solve(about(asked)).await.unwrap().into_inner().result.unwrap();
                    let Some(result::Result::Ref(part)) = solved.result else { panic!("no result") };
                    let file_path = path.to_owned();
                    let wanted = ReadFileRequest { r#ref: part.id, file_path, ..Default::default() };
                    let read = gateway.read_file(about(wanted)).await.unwrap().into_inner().data;
                    assert!(read.len() >= size, "{path} has {} bytes", read.len());
                }
                gateway.r#return(about(ReturnRequest::default())).await.unwrap();
            };
            let (solved, ()) = tokio::join!(control.solve(whole), converse);
            solved.unwrap();
        };
        (host, run)
    });
}

#[test]
fn a_directory_of_what_a_client_uploads_is_the_context() {
    let held = holdings();
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in [("Dockerfile", "FROM scratch\nCOPY . /\n"), ("top", "t"), ("sub/dir/a.txt", "a")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    held.uploads.lock().unwrap().insert("/up2".to_owned(), archive.into_inner().unwrap());
    with_client(held, |host, client| {
        let run = async move {
            let attributes = [("context", "http://buildkit-session/up2"), ("contextsubdir", "sub/dir")];
            let order = client.order("build000000000075", &attributes, &[("local", &[])]);
            client.solve(order).await.0.unwrap();
            let received = client.holdings.take_received();
            assert_eq!(received, [("a.txt".to_owned(), b"a".to_vec())]);
        };
        (host, run)
    });
}

#[test]
fn a_dockerfile_that_lies_elsewhere_is_asked_about() {
    with_client(holdings(), |host, client| {
        host.busybox();
        host.program("ip", &["link", "set", "lo", "up"]).ok();
        let file = web::found(b"FROM busybox AS first\nARG GREETING=hello\nmaintainer me\n");
        let address = format!("http://{}/Dockerfile", web(std::iter::repeat(file)));
        let run = async move {
            const ID: &str = "build000000000032";
            let about = super::containers::about;
            let mut control = client.control.clone();
            let converse = async {
                let mut gateway = client.gateway.clone();
                for (request, says) in
                    [("outline", "GREETING"), ("targets", "first"), ("lint", "MaintainerDeprecated")]
                {
                    let options =
                        [("context", address.as_str()), ("requestid", &format!("frontend.{request}"))];
                    let frontend_opt = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
                    let frontend = "dockerfile.v0".to_owned();
                    let asked = frontend::SolveRequest { frontend, frontend_opt, ..Default::default() };
                    let solved = gateway.solve(about(ID, asked)).await.unwrap().into_inner().result.unwrap();
                    let text = String::from_utf8_lossy(&solved.metadata["result.txt"]).into_owned();
                    assert!(text.contains(says), "{request}: {text}");
                }
                super::containers::give_up(&mut gateway, ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run)
    });
}

#[test]
fn a_client_puts_an_image_together_at_the_gateway() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let mut inspect = host.command();
        inspect.args(["image", "inspect", "put:1"]);
        let run = async move {
            const ID: &str = "build000000000022";
            fn about<T>(message: T) -> Request<T> {
                let mut request = Request::new(message);
                request.metadata_mut().insert("buildkit-controlapi-buildid", ID.parse().unwrap());
                request
            }
            let mut control = client.control.clone();
            let whole = order(&client, ID, &[("moby", &[("name", "put:1")])]);
            let converse = async {
                let mut gateway = client.gateway.clone();
                let asked = frontend::SolveRequest { definition: Some(graph()), ..Default::default() };
                let solved = gateway.solve(about(asked)).await.unwrap().into_inner().result.unwrap();
                let Some(result::Result::Ref(part)) = solved.result else { panic!("no result") };
                let wanted = ReadFileRequest {
                    r#ref: part.id.clone(),
                    file_path: "/copy".to_owned(),
                    ..Default::default()
                };
                assert_eq!(gateway.read_file(about(wanted)).await.unwrap().into_inner().data, b"aaa");
                let busybox = source("docker-image://docker.io/library/busybox:latest");
                let asked = frontend::SolveRequest {
                    definition: Some(definition(vec![(busybox, vec![])], 0)),
                    ..Default::default()
                };
                let solved = gateway.solve(about(asked)).await.unwrap().into_inner().result.unwrap();
                let Some(result::Result::Ref(Ref { id, .. })) = solved.result else { panic!("no result") };
                look_around(&mut gateway, &id, about).await;
                // What was solved is a source like any other.
                let copy = FileActionCopy {
                    src: "/copy".to_owned(),
                    dest: "/again".to_owned(),
                    mode: 0o600,
                    timestamp: -1,
                    ..FileActionCopy::default()
                };
                let action =
                    FileAction { input: -1, secondary_input: 0, output: 0, action: Some(Action::Copy(copy)) };
                let before = Op::decode(part.def.unwrap().def[0].as_slice()).unwrap().op.unwrap();
                let files = op::Op::File(FileOp { actions: vec![action] });
                let next = definition(vec![(before, vec![]), (files, vec![0])], 0);
                let asked = frontend::SolveRequest { definition: Some(next), ..Default::default() };
                let solved = gateway.solve(about(asked)).await.unwrap().into_inner().result.unwrap();
                let Some(result::Result::Ref(Ref { id, .. })) = solved.result else { panic!("no result") };
                let config =
                    br#"{"architecture":"amd64","os":"linux","config":{"Env":["FROM=client"],"Cmd":["/x"]}}"#;
                let result = frontend::Result {
                    metadata: HashMap::from([("containerimage.config".to_owned(), config.to_vec())]),
                    result: Some(result::Result::Ref(Ref { id, def: None })),
                    ..frontend::Result::default()
                };
                gateway.r#return(about(ReturnRequest { result: Some(result), error: None })).await.unwrap();
            };
            let (solved, ()) = tokio::join!(control.solve(whole), converse);
            assert_eq!(solved.unwrap().into_inner().exporter_response["image.name"], "put:1");
            let image = tokio::process::Command::from(inspect).output().await.unwrap().stdout;
            let image: serde_json::Value = serde_json::from_slice(&image).unwrap();
            assert_eq!(image[0]["Config"]["Env"][0], "FROM=client");
            assert_eq!(image[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1);
        };
        (host, run)
    });
}

#[test]
fn files_that_did_not_change_are_not_sent_again() {
    let mut held = holdings();
    held.directories.get_mut("context").unwrap().push(file("zz", "last"));
    with_client(held, |host, client| {
        host.busybox();
        let run = async move {
            let asked = || std::mem::take(&mut *client.holdings.asked.lock().unwrap());
            for (id, again) in [("build000000000023", false), ("build000000000024", true)] {
                let order = client.order(id, &[], &[("local", &[])]);
                client.solve(order).await.0.unwrap();
                let asked = asked();
                assert_eq!(asked.contains(&"sub/b.txt".to_owned()), !again, "{asked:?}");
                assert_eq!(asked.contains(&"zz".to_owned()), !again, "{asked:?}");
                let received = client.holdings.take_received();
                for (path, content) in [("app/sub/b.txt", "b"), ("app/h", "aaa"), ("app/zz", "last")] {
                    assert!(received.contains(&(path.to_owned(), content.into())), "{path}");
                }
            }
        };
        (host, run)
    });
}

#[test]
fn contexts_that_are_not_told_apart_do_not_meet() {
    // The same path, size and time, as in archives of commits; only the content differs.
    let held = |content: &str| {
        let mut held = holdings();
        held.is_keyless = true;
        held.directories.insert("context".to_owned(), vec![file("a.txt", content)]);
        held.directories
            .insert("dockerfile".to_owned(), vec![file("Dockerfile", "FROM scratch\nCOPY a.txt /\n")]);
        held
    };
    with_client(held("one"), |host, first| {
        let socket = host.socket(0);
        let run = async move {
            let second = Client::connect(&socket, "session-2", held("two")).await;
            for (id, client, content) in
                [("build000000000025", &first, "one"), ("build000000000026", &second, "two")]
            {
                client.solve(client.order(id, &[], &[("local", &[])])).await.0.unwrap();
                let received = client.holdings.take_received();
                assert_eq!(received, [("a.txt".to_owned(), content.as_bytes().to_vec())]);
            }
        };
        (host, run)
    });
}
