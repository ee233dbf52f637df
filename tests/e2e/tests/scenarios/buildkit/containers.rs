//! Containers of the gateway: processes in what builds gave or where they failed, and the files that these see.

use std::collections::HashMap;

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input as Said;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, EvaluateRequest, ExecMessage, FdMessage, InitMessage, ReadDirRequest, ReadFileRequest, Ref,
    ReleaseContainerRequest, ReturnRequest, SignalMessage, StatFileRequest, result,
};
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{
    CacheOpt, Definition, ExecOp, FileAction, FileActionCopy, FileActionMkDir, FileActionMkFile, FileOp,
    Location, Locations, Meta, Mount, MountType, NetMode, Position, Range, SecretEnv, SecretOpt, Source,
    SourceInfo, op,
};
use futures_util::stream;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::files::file;
use super::graphs::{definition, mount, order, source};
use super::{SECRET, holdings, with_client};

pub type Gateway = LlbBridgeClient<Channel>;

pub fn process(container: &str, script: &str) -> InitMessage {
    let meta = Meta {
        args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        env: vec!["PATH=/bin".to_owned()],
        ..Meta::default()
    };
    let (container_id, fds) = (container.to_owned(), vec![1, 2]);
    InitMessage { container_id, meta: Some(meta), fds, ..InitMessage::default() }
}

pub fn about<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("buildkit-controlapi-buildid", id.parse().unwrap());
    request
}

/// What a process says, and its exit code.
async fn run(gateway: &mut Gateway, build: &str, init: InitMessage) -> (String, u32) {
    let message = ExecMessage { process_id: "p".to_owned(), input: Some(Said::Init(init)) };
    let call = about(build, stream::iter([message]));
    let mut told = gateway.exec_process(call).await.unwrap().into_inner();
    let (mut heard, mut code) = (Vec::new(), None);
    while let Some(message) = told.message().await.unwrap() {
        match message.input.unwrap() {
            Said::File(file) => heard.extend(file.data),
            Said::Exit(exit) => {
                // Clients look into it without asking whether there is one.
                assert_eq!(exit.error.is_some(), exit.code != 0);
                code = Some(exit.code);
            }
            _ => {}
        }
    }
    (String::from_utf8(heard).unwrap(), code.expect("an exit code"))
}

/// Ends a build whose client has seen enough.
pub async fn give_up(gateway: &mut Gateway, build: &str) {
    let error = rpc::Status { code: Code::Aborted as i32, message: "enough".to_owned(), details: Vec::new() };
    gateway.r#return(about(build, ReturnRequest { result: None, error: Some(error) })).await.unwrap();
}

fn of_kind(kind: MountType, dest: &str) -> Mount {
    Mount { mount_type: kind.into(), ..mount(dest, -1, -1) }
}

/// Another result read-only and not, an empty directory, a cache, memory, and a secret that is there and one that is not.
fn mounts(result: &str) -> Vec<Mount> {
    let of = |dest: &str, selector: &str, readonly| Mount {
        result_id: result.to_owned(),
        selector: selector.to_owned(),
        readonly,
        ..mount(dest, -1, -1)
    };
    let cache = CacheOpt { id: "of-all".to_owned(), ..CacheOpt::default() };
    let secret = |id: &str, dest: &str| {
        let options = SecretOpt { id: id.to_owned(), mode: 0o440, uid: 7, gid: 8, optional: true };
        Mount { secret_opt: Some(options), ..of_kind(MountType::Secret, dest) }
    };
    vec![
        of("/", "", false),
        of("/kept", "bin", true),
        of("/free", "/bin", false),
        mount("/empty", -1, -1),
        Mount { cache_opt: Some(cache), ..of_kind(MountType::Cache, "/cache") },
        of_kind(MountType::Tmpfs, "/memory"),
        secret("token", "/run/token"),
        secret("absent", "/run/absent"),
    ]
}

const LOOK: &str = "test -x /kept/sh && ! touch /kept/x 2>/dev/null && echo new >/free/new && test ! -e /kept/new && \
    touch /empty/x && echo cached >/cache/c && touch /memory/m && echo mine >/mine && \
    stat -c '%a %u %g' /run/token && cat /run/token && test ! -e /run/absent && \
    test \"$TOKEN\" = s3cr3t-c4n4ry && test -z \"$NONE\" && test $(pwd) = / && id -u";

#[test]
fn a_container_has_what_its_client_mounts() {
    const ID: &str = "build000000000040";
    with_client(holdings(), |host, client| {
        host.busybox();
        let run_ = async move {
            let mut control = client.control.clone();
            let converse = async {
                let mut gateway = client.gateway.clone();
                let busybox = source("docker-image://docker.io/library/busybox:latest");
                let asked = frontend::SolveRequest {
                    definition: Some(definition(vec![(busybox, vec![])], 0)),
                    ..Default::default()
                };
                let solved = gateway.solve(about(ID, asked)).await.unwrap().into_inner().result.unwrap();
                let Some(result::Result::Ref(Ref { id, .. })) = solved.result else { panic!("no result") };
                let container = |name: &str, mounts| frontend::NewContainerRequest {
                    container_id: name.to_owned(),
                    mounts,
                    network: NetMode::None.into(),
                    ..Default::default()
                };
                gateway.new_container(about(ID, container("c1", mounts(&id)))).await.unwrap();
                let stat = |path: &str, mount_index| {
                    let (r#ref, path) = ("c1".to_owned(), path.to_owned());
                    about(ID, StatFileRequest { r#ref, path, mount_index })
                };
                // What debuggers look for before they start a process.
                let shell = gateway.stat_file_container(stat("/bin/busybox", 0)).await.unwrap();
                let shell = shell.into_inner().stat.unwrap();
                assert!(shell.mode & 0o111 != 0 && shell.size > 100_000, "{shell:?}");
                for (path, mount) in [("/absent", 0), ("/bin", 70), ("/", 7)] {
                    let error = gateway.stat_file_container(stat(path, mount)).await.unwrap_err();
                    assert_eq!(error.code(), Code::NotFound, "{error}");
                }
                let variable = |id: &str, name: &str, optional| SecretEnv {
                    id: id.to_owned(),
                    name: name.to_owned(),
                    optional,
                };
                let secretenv = vec![variable("token", "TOKEN", false), variable("absent", "NONE", true)];
                let init = InitMessage { secretenv, ..process("c1", LOOK) };
                let (said, code) = run(&mut gateway, ID, init).await;
                assert_eq!((said.as_str(), code), (format!("440 7 8\n{SECRET}0\n").as_str(), 0));
                for (path, mount, text) in
                    [("/mine", 0, "mine\n"), ("/new", 2, "new\n"), ("/c", 4, "cached\n")]
                {
                    let (r#ref, file_path) = ("c1".to_owned(), path.to_owned());
                    let wanted =
                        ReadFileRequest { r#ref, file_path, mount_index: mount, ..Default::default() };
                    let read = gateway.read_file_container(about(ID, wanted)).await.unwrap().into_inner();
                    assert_eq!(read.data, text.as_bytes(), "{path}");
                }
                let (r#ref, dir_path) = ("c1".to_owned(), "/".to_owned());
                let wanted = ReadDirRequest { r#ref, dir_path, mount_index: 3, ..Default::default() };
                let entries =
                    gateway.read_dir_container(about(ID, wanted)).await.unwrap().into_inner().entries;
                assert_eq!(entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["x"]);
                gateway
                    .release_container(about(ID, ReleaseContainerRequest { container_id: "c1".to_owned() }))
                    .await
                    .unwrap();
                // What was written is nobody's result, but for a cache; the first process ends when it is told to.
                let mut again = mounts(&id);
                again[0].readonly = true;
                gateway.new_container(about(ID, container("c2", again))).await.unwrap();
                signalled(&mut gateway, ID).await;
                let mut again = mounts(&id);
                again[7].secret_opt.as_mut().unwrap().optional = false;
                let error = gateway.new_container(about(ID, container("c3", again))).await.unwrap_err();
                assert_eq!((error.code(), error.message()), (Code::NotFound, "secret absent: not found"));
                give_up(&mut gateway, ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run_)
    });
}

/// The first process waits, a second one too; signals end them by their names.
async fn signalled(gateway: &mut Gateway, build: &str) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let asked = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let say = async |process: &str, input: Said| {
        sender.send(ExecMessage { process_id: process.to_owned(), input: Some(input) }).await.unwrap();
    };
    let wait = "test ! -e /mine && ! touch /x 2>/dev/null && cat /cache/c || exit 9; \
        trap 'echo told; exit 5' TERM; echo ready; while true; do sleep 0.05; done";
    say("first", Said::Init(process("c2", wait))).await;
    let mut told = gateway.exec_process(about(build, asked)).await.unwrap().into_inner();
    let (mut heard, mut exits) = (HashMap::<String, String>::new(), Vec::new());
    let mut begun = 0;
    while exits.len() < 2 {
        let message = told.message().await.unwrap().expect("it goes on");
        let id = message.process_id;
        match message.input.unwrap() {
            Said::File(file) => {
                heard.entry(id).or_default().push_str(std::str::from_utf8(&file.data).unwrap());
            }
            Said::Exit(exit) => {
                exits.push((id, exit.code));
                if exits.len() == 1 {
                    say("first", Said::Signal(SignalMessage { name: "SIGTERM".to_owned() })).await;
                }
            }
            _ => continue,
        }
        let ready = heard.values().filter(|said| said.contains("ready")).count();
        if ready > begun {
            begun = ready;
            match ready {
                1 => say("second", Said::Init(process("c2", wait))).await,
                _ => say("second", Said::Signal(SignalMessage { name: "SIGTERM".to_owned() })).await,
            }
        }
    }
    assert_eq!(exits, [("second".to_owned(), 5), ("first".to_owned(), 5)]);
    assert_eq!(heard["first"], "cached\nready\ntold\n");
}

const FAILING: &str = "FROM busybox AS other\nRUN echo other >/f\nFROM busybox\nWORKDIR /w\nENV A=b\n\
    RUN --mount=type=bind,target=/ctx --mount=type=bind,from=other,source=/f,target=/f \\\n  \
    --mount=type=cache,target=/cache --mount=type=secret,id=token echo left >/left && echo c >/cache/c && exit 3\n";

#[test]
fn where_a_step_failed_can_be_looked_at() {
    const ID: &str = "build000000000041";
    let mut held = holdings();
    held.directories.get_mut("dockerfile").unwrap().push(file("Failing", FAILING));
    with_client(held, |host, client| {
        host.busybox();
        let run_ = async move {
            let mut control = client.control.clone();
            let converse = async {
                let mut gateway = client.gateway.clone();
                let options = HashMap::from([("filename".to_owned(), "Failing".to_owned())]);
                let (frontend, frontend_opt) = ("dockerfile.v0".to_owned(), options);
                let asked = frontend::SolveRequest { frontend, frontend_opt, ..Default::default() };
                let solved =
                    gateway.solve(about(ID, asked.clone())).await.unwrap().into_inner().result.unwrap();
                let Some(result::Result::Ref(Ref { id, .. })) = solved.result else { panic!("no result") };
                let late = gateway.evaluate(about(ID, EvaluateRequest { r#ref: id })).await.unwrap_err();
                let asked = frontend::SolveRequest { evaluate: true, ..asked };
                let error = gateway.solve(about(ID, asked)).await.unwrap_err();
                assert_eq!(error.message().lines().next(), late.message().lines().next());
                let full = rpc::Status::decode(error.details()).unwrap();
                let solve =
                    full.details.iter().find(|detail| detail.type_url.ends_with("errdefs.Solve+json"));
                let solve: serde_json::Value = serde_json::from_slice(&solve.unwrap().value).unwrap();
                let exec = &solve["op"]["exec"];
                assert_eq!((&exec["meta"]["cwd"], &exec["meta"]["env"][1]), (&"/w".into(), &"A=b".into()));
                let given = exec["mounts"].as_array().unwrap();
                let dests: Vec<_> = given.iter().map(|mount| mount["dest"].as_str().unwrap()).collect();
                assert_eq!(dests, ["/", "/ctx", "/f", "/cache", "/run/secrets/token"]);
                for (name, results, left) in [("c1", "mountIDs", "left"), ("c2", "inputIDs", "nothing")] {
                    let mounts = (0..given.len()).map(|at| again(&given[at], &solve[results][at]));
                    let container = frontend::NewContainerRequest {
                        container_id: name.to_owned(),
                        mounts: mounts.collect(),
                        network: NetMode::None.into(),
                        ..Default::default()
                    };
                    gateway.new_container(about(ID, container)).await.unwrap();
                    let look = "cat /left 2>/dev/null || echo nothing; cat /ctx/a.txt /f /cache/c /run/secrets/token";
                    let (said, code) = run(&mut gateway, ID, process(name, look)).await;
                    assert_eq!((said, code), (format!("{left}\naaaother\nc\n{SECRET}"), 0));
                }
                give_up(&mut gateway, ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run_)
    });
}

fn action(input: i64, secondary_input: i64, action: Action) -> FileAction {
    FileAction { input, secondary_input, output: -1, action: Some(action) }
}

fn write(path: &str, data: &str) -> Action {
    let (path, data) = (path.to_owned(), data.as_bytes().to_vec());
    Action::Mkfile(FileActionMkFile { path, mode: 0o644, data, timestamp: -1, ..Default::default() })
}

/// Actions of which the last one gives the result, and fails: a row of changes, and a copy of what those before made into a
/// directory that is not there.
fn in_vain(is_copy: bool) -> FileOp {
    let dir = FileActionMkDir { path: "/found".to_owned(), mode: 0o755, timestamp: -1, ..Default::default() };
    let mut actions =
        vec![action(-1, -1, Action::Mkdir(dir)), action(1, -1, write("/found/foo", "what was done"))];
    let copy = FileActionCopy {
        src: "/found/foo".to_owned(),
        dest: "/notfound/foo".to_owned(),
        mode: -1,
        timestamp: -1,
        ..Default::default()
    };
    actions.push(match is_copy {
        true => action(0, 2, Action::Copy(copy)),
        false => action(2, -1, write("/notfound/foo", "")),
    });
    actions[2].output = 0;
    FileOp { actions }
}

/// Names the file that an operation of a definition stands in.
fn located(mut definition: Definition, at: usize) -> Definition {
    let hex: String = Sha256::digest(&definition.def[at]).iter().map(|byte| format!("{byte:02x}")).collect();
    let info =
        SourceInfo { filename: "a.hcl".to_owned(), data: b"one\ntwo\n".to_vec(), ..Default::default() };
    let line = |line| Some(Position { line, character: 3 });
    let place =
        |source_index, at| Location { source_index, ranges: vec![Range { start: line(at), end: line(at) }] };
    let locations = Locations { locations: vec![place(0, 1), place(1, 2)] };
    let locations = [(format!("sha256:{hex}"), locations)].into();
    definition.source = Some(Source { locations, infos: vec![SourceInfo::default(), info] });
    definition
}

#[test]
fn changes_of_files_that_failed_can_be_looked_at() {
    const ID: &str = "build000000000042";
    with_client(holdings(), |host, client| {
        host.busybox();
        let run_ = async move {
            let mut control = client.control.clone();
            let converse = async {
                let mut gateway = client.gateway.clone();
                let details = async |gateway: &mut Gateway, definition| {
                    let asked = frontend::SolveRequest {
                        definition: Some(located(definition, 1)),
                        evaluate: true,
                        ..Default::default()
                    };
                    // Who does not look yet may go on with it, and is told then.
                    let later = frontend::SolveRequest { evaluate: false, ..asked.clone() };
                    let later = gateway.solve(about(ID, later)).await.unwrap().into_inner().result.unwrap();
                    let Some(result::Result::Ref(part)) = later.result else { panic!("{later:?}") };
                    assert_eq!(part.def, asked.definition);
                    let error = gateway.solve(about(ID, asked)).await.unwrap_err();
                    let full = rpc::Status::decode(error.details()).unwrap();
                    let detail = |kind: &str| {
                        let found =
                            full.details.iter().find(|detail| detail.type_url.ends_with(kind)).unwrap();
                        serde_json::from_slice::<serde_json::Value>(&found.value).unwrap()
                    };
                    let source = detail("errdefs.Source+json");
                    assert_eq!(source["info"]["filename"], "a.hcl");
                    assert_eq!(
                        source["ranges"][0]["start"],
                        serde_json::json!({ "line": 2, "character": 3 })
                    );
                    detail("errdefs.Solve+json")
                };
                let busybox = || (source("docker-image://docker.io/library/busybox:latest"), vec![]);
                let files =
                    |is_copy| definition(vec![busybox(), (op::Op::File(in_vain(is_copy)), vec![0])], 0);
                let row = details(&mut gateway, files(false)).await;
                let copy = details(&mut gateway, files(true)).await;
                for (solve, result) in [(&row, &row["mountIDs"][2]), (&copy, &copy["mountIDs"][1])] {
                    assert_eq!(solve["file"]["index"], 2);
                    assert_eq!(solve["op"]["file"]["actions"].as_array().unwrap().len(), 3);
                    let file = ReadFileRequest {
                        r#ref: result.as_str().unwrap().to_owned(),
                        file_path: "/found/foo".to_owned(),
                        ..Default::default()
                    };
                    let read = gateway.read_file(about(ID, file)).await.unwrap().into_inner().data;
                    assert_eq!(read, b"what was done");
                }
                // The copy has changed nothing.
                assert_eq!(copy["mountIDs"][2], copy["inputIDs"][0]);

                // What was to be read is not there.
                let mount_ = Mount { selector: "/bin/none".to_owned(), readonly: true, ..mount("/m", 0, -1) };
                let meta = Meta { args: vec!["true".to_owned()], cwd: "/".to_owned(), ..Meta::default() };
                let exec =
                    ExecOp { meta: Some(meta), mounts: vec![mount("/", 0, 0), mount_], ..ExecOp::default() };
                let sought = definition(vec![busybox(), (op::Op::Exec(exec), vec![0])], 0);
                let solve = details(&mut gateway, sought).await;
                assert_eq!(
                    (&solve["cache"]["index"], &solve["op"]["exec"]["mounts"][1]["dest"]),
                    (&0.into(), &"/m".into())
                );
                let id = solve["inputIDs"][0].as_str().unwrap().to_owned();
                let dir = ReadDirRequest { r#ref: id, dir_path: "/bin".to_owned(), ..Default::default() };
                assert!(!gateway.read_dir(about(ID, dir)).await.unwrap().into_inner().entries.is_empty());
                give_up(&mut gateway, ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run_)
    });
}

/// A mount of the operation that failed, as a client asks for it.
fn again(given: &serde_json::Value, result: &serde_json::Value) -> Mount {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let kind = given["mountType"].as_str().and_then(MountType::from_str_name).unwrap_or_default();
    let id = |field: &str| Some(text(&given[field]["ID"])).filter(|id| !id.is_empty());
    Mount {
        dest: text(&given["dest"]),
        selector: text(&given["selector"]),
        readonly: given["readonly"].as_bool().unwrap_or_default(),
        mount_type: kind.into(),
        cache_opt: id("cacheOpt").map(|id| CacheOpt { id, ..CacheOpt::default() }),
        secret_opt: id("secretOpt").map(|id| SecretOpt { id, mode: 0o400, ..SecretOpt::default() }),
        result_id: text(result),
        ..Mount::default()
    }
}

/// Runs processes in a container of a result.
pub async fn look_around(
    gateway: &mut LlbBridgeClient<Channel>,
    result: &str,
    about: fn(frontend::NewContainerRequest) -> Request<frontend::NewContainerRequest>,
) {
    let container = |mounts| frontend::NewContainerRequest {
        container_id: "c1".to_owned(),
        mounts,
        network: NetMode::None.into(),
        ..Default::default()
    };
    let refused = gateway.new_container(about(container(Vec::new()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let missing = Mount { result_id: "nothing".to_owned(), ..mount("/", -1, -1) };
    assert_eq!(
        gateway.new_container(about(container(vec![missing]))).await.unwrap_err().code(),
        Code::NotFound
    );
    let root = Mount { result_id: result.to_owned(), ..mount("/", -1, -1) };
    let wrong = Mount { mount_type: MountType::Tmpfs.into(), ..root.clone() };
    assert_eq!(
        gateway.new_container(about(container(vec![wrong]))).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    gateway.new_container(about(container(vec![root.clone()]))).await.unwrap();
    let again = gateway.new_container(about(container(vec![root]))).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let asked = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let mut call = Request::new(asked);
    *call.metadata_mut() = about(Default::default()).metadata().clone();
    let say = async |process: &str, input: Said| {
        sender.send(ExecMessage { process_id: process.to_owned(), input: Some(input) }).await.unwrap();
    };
    let start = |script: &str| {
        let meta = Meta {
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/bin".to_owned(), "FROM=client".to_owned()],
            cwd: "/".to_owned(),
            ..Meta::default()
        };
        let (container_id, fds) = ("c1".to_owned(), vec![0, 1, 2]);
        Said::Init(InitMessage { container_id, meta: Some(meta), fds, ..InitMessage::default() })
    };
    let typed = |data: &[u8], eof| Said::File(FdMessage { fd: 0, eof, data: data.to_vec() });
    say("p1", start("echo $FROM; read line; echo \"$line\" >&2; read more; exit 7")).await;
    let mut told = gateway.exec_process(call).await.unwrap().into_inner();
    say("p1", typed(b"typed\n", false)).await;
    let mut heard = HashMap::<(String, u32), Vec<u8>>::new();
    let (mut exits, mut is_second) = (Vec::new(), false);
    while exits.len() < 2 {
        let message = told.message().await.unwrap().expect("it goes on");
        match message.input.unwrap() {
            Said::File(file) => heard.entry((message.process_id, file.fd)).or_default().extend(file.data),
            Said::Exit(exit) => exits.push((message.process_id, exit.code)),
            _ => {}
        }
        let errors = heard.get(&("p1".to_owned(), 2)).map_or(&b""[..], Vec::as_slice);
        if errors == b"typed\n" && !std::mem::replace(&mut is_second, true) {
            say("p2", start("echo second")).await;
        }
        if exits.len() == 1 {
            say("p1", typed(b"", true)).await;
        }
    }
    assert_eq!(exits, [("p2".to_owned(), 0), ("p1".to_owned(), 7)]);
    assert_eq!(heard[&("p1".to_owned(), 1)], b"client\n");
    assert_eq!(heard[&("p2".to_owned(), 1)], b"second\n");
}
