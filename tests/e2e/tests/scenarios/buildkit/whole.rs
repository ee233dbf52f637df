//! Messages of the gateway and the control service with every field that a client can set.

use std::collections::{BTreeMap, HashMap};

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input as Said;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, Attestation, Attestations, CacheOptionsEntry, EvaluateRequest, ExecMessage, FileRange,
    InTotoSubject, InitMessage, NewContainerRequest, ReadDirRequest, ReadFileRequest, Ref,
    ReleaseContainerRequest, ResolveImageConfigRequest, ResolveSourceMetaRequest, ReturnRequest,
    StatFileRequest, WarnRequest, result,
};
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{
    AttrConstraint, Policy, Rule, Selector, Update,
};
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry as Cache, SolveRequest};
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{
    self, BuildInput, BuildOp, CacheOpt, ChownOpt, Definition, DiffOp, ExecOp, FileAction, FileActionCopy,
    FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink, FileOp, HostIp, LowerDiffInput,
    MergeInput, MergeOp, Meta, Mount, MountType, NetMode, OpMetadata, Platform, Position, ProgressGroup,
    ProxyEnv, SecretEnv, SecretOpt, SourceInfo, SourceOp, SshOpt, TmpfsOpt, Ulimit, UpperDiffInput, UserOpt,
    op, user_opt,
};
use prost::Message as _;

use super::client::Client;
use super::graphs::{definition, mount, order, source};

/// The source that everything is made of.
pub const BUSYBOX: &str = "docker-image://docker.io/library/busybox:latest";
/// Where no cache can be had.
const CACHE: &str = "127.0.0.1:1/cache";

fn text(text: &str) -> String {
    text.to_owned()
}

fn owner() -> Option<ChownOpt> {
    let by = |user| Some(UserOpt { user: Some(user) });
    let named = pb::NamedUserOpt { name: "nobody".to_owned(), input: 0 };
    Some(ChownOpt { user: by(user_opt::User::ByName(named)), group: by(user_opt::User::ById(7)) })
}

/// All that can be done with files, in a row.
fn files() -> op::Op {
    let actions = [
        Action::Mkdir(FileActionMkDir {
            path: text("/dir/sub"),
            mode: 0o750,
            make_parents: true,
            owner: owner(),
            timestamp: 1_000_000_000,
        }),
        Action::Mkfile(FileActionMkFile {
            path: text("/dir/file"),
            mode: 0o640,
            data: b"made".to_vec(),
            owner: owner(),
            timestamp: -1,
        }),
        Action::Symlink(FileActionSymlink {
            oldpath: text("file"),
            newpath: text("/dir/link"),
            owner: owner(),
            timestamp: -1,
        }),
        Action::Rm(FileActionRm { path: text("/no*"), allow_not_found: true, allow_wildcard: true }),
        Action::Copy(FileActionCopy {
            src: text("/a*"),
            dest: text("/copied/"),
            owner: owner(),
            mode: 0o600,
            mode_str: text("u=rw"),
            create_dest_path: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            timestamp: -1,
            include_patterns: vec![text("**")],
            exclude_patterns: vec![text("b")],
            ..Default::default()
        }),
    ];
    let last = actions.len() - 1;
    let action = |(at, action): (usize, Action)| FileAction {
        // The first works on the first input, each other on what the one before it gave.
        input: if at == 0 { 0 } else { at as i64 + 1 },
        secondary_input: if at == last { 1 } else { -1 },
        output: if at == last { 0 } else { -1 },
        action: Some(action),
    };
    op::Op::File(FileOp { actions: actions.into_iter().enumerate().map(action).collect() })
}

fn process() -> op::Op {
    let of = |kind: MountType, dest: &str| Mount { mount_type: kind.into(), ..mount(dest, -1, -1) };
    let secret = SecretOpt { id: text("token"), uid: 1, gid: 2, mode: 0o400, optional: true };
    let agent = SshOpt { id: text("default"), uid: 1, gid: 2, mode: 0o600, optional: true };
    let proxies = ProxyEnv { http_proxy: text("http://p"), no_proxy: text("h"), ..Default::default() };
    op::Op::Exec(ExecOp {
        meta: Some(Meta {
            args: vec![text("true")],
            env: vec![text("PATH=/bin"), text("A=b")],
            cwd: text("/"),
            user: text("1:2"),
            proxy_env: Some(proxies),
            extra_hosts: vec![HostIp { host: text("h"), ip: text("127.0.0.1") }],
            hostname: text("name"),
            ulimit: vec![Ulimit { name: text("nofile"), soft: 64, hard: 64 }],
            valid_exit_codes: vec![0, 1],
            ..Meta::default()
        }),
        mounts: vec![
            mount("/", 0, 0),
            Mount { readonly: true, selector: text("/copied"), ..mount("/src", 1, -1) },
            mount("/out", -1, 1),
            Mount { tmpfs_opt: Some(TmpfsOpt { size: 1 << 20 }), ..of(MountType::Tmpfs, "/memory") },
            Mount {
                cache_opt: Some(CacheOpt { id: text("lacking"), sharing: 1 }),
                ..of(MountType::Cache, "/cache")
            },
            Mount { secret_opt: Some(secret), ..of(MountType::Secret, "/run/token") },
            Mount { ssh_opt: Some(agent), ..of(MountType::Ssh, "/run/agent") },
        ],
        network: NetMode::None.into(),
        secretenv: vec![SecretEnv { id: text("token"), name: text("TOKEN"), optional: true }],
        ..ExecOp::default()
    })
}

/// A graph of all operations, with what each works on.
pub fn operations() -> Vec<(op::Op, Vec<usize>)> {
    let attrs = [("local.includepattern", "[\"a.txt\"]"), ("local.excludepatterns", "[\"b\"]")];
    let local = SourceOp {
        identifier: "local://context".to_owned(),
        attrs: attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    let diff = DiffOp { lower: Some(LowerDiffInput { input: 0 }), upper: Some(UpperDiffInput { input: 1 }) };
    let merge = MergeOp { inputs: vec![MergeInput { input: 0 }, MergeInput { input: 1 }] };
    let nested = BuildOp {
        builder: -1,
        inputs: BTreeMap::from([("buildkit.llb.definition".to_owned(), BuildInput { input: 0 })]),
        attrs: BTreeMap::from([("llb.definition.filename".to_owned(), "d.llb".to_owned())]),
        ..BuildOp::default()
    };
    let inner = definition(vec![(source(BUSYBOX), vec![])], 0);
    let written = FileActionMkFile {
        path: "/d.llb".to_owned(),
        mode: 0o644,
        data: inner.encode_to_vec(),
        timestamp: -1,
        ..Default::default()
    };
    let action =
        FileAction { input: -1, secondary_input: -1, output: 0, action: Some(Action::Mkfile(written)) };
    vec![
        (source(BUSYBOX), vec![]),
        (op::Op::Source(local), vec![]),
        (files(), vec![0, 1]),
        (process(), vec![0, 2]),
        (op::Op::Diff(diff), vec![0, 3]),
        (op::Op::Merge(merge), vec![2, 4]),
        (op::Op::File(FileOp { actions: vec![action] }), vec![]),
        (op::Op::Build(nested), vec![6]),
        (
            op::Op::Merge(MergeOp { inputs: vec![MergeInput { input: 0 }, MergeInput { input: 1 }] }),
            vec![5, 7],
        ),
    ]
}

/// The graph, with all that may be said beside its operations.
pub fn whole(operations: Vec<(op::Op, Vec<usize>)>) -> Definition {
    let mut definition = definition(operations, 0);
    let position = |line| Some(Position { line, character: 1 });
    let range = pb::Range { start: position(1), end: position(2) };
    let location = pb::Location { source_index: 0, ranges: vec![range] };
    let (data, language) = (b"FROM busybox\n".to_vec(), "Dockerfile".to_owned());
    let info = SourceInfo { filename: "Dockerfile".to_owned(), data, language, definition: None };
    let digest = "sha256:0".to_owned();
    let locations = BTreeMap::from([(digest.clone(), pb::Locations { locations: vec![location] })]);
    definition.source = Some(pb::Source { locations, infos: vec![info] });
    let group = ProgressGroup { id: "g".to_owned(), name: "a group".to_owned(), weak: true };
    let description = BTreeMap::from([("llb.customname".to_owned(), "a name".to_owned())]);
    let metadata =
        OpMetadata { ignore_cache: true, description, progress_group: Some(group), ..Default::default() };
    definition.metadata.insert(digest, metadata);
    definition
}

pub fn solve_request(definition: Definition) -> frontend::SolveRequest {
    frontend::SolveRequest { definition: Some(definition), evaluate: true, ..Default::default() }
}

/// What is asked of the methods of the gateway, in an order in which it can be; `id` is a result.
pub fn requests(id: &str) -> Vec<(&'static str, Vec<u8>)> {
    [solves(), sources(), looks(id), containers(id)].concat()
}

fn solves() -> Vec<(&'static str, Vec<u8>)> {
    let dockerfile = frontend::SolveRequest {
        frontend: text("dockerfile.v0"),
        frontend_opt: HashMap::from([(text("filename"), text("Dockerfile"))]),
        frontend_inputs: HashMap::from([(text("more"), definition(vec![(source(BUSYBOX), vec![])], 0))]),
        cache_imports: vec![CacheOptionsEntry {
            r#type: text("registry"),
            attrs: HashMap::from([(text("ref"), text(CACHE))]),
        }],
        evaluate: true,
        ..Default::default()
    };
    let position = |character| Some(Position { line: 1, character });
    let info = SourceInfo { filename: text("Dockerfile"), data: b"FROM x\n".to_vec(), ..Default::default() };
    let warning = WarnRequest {
        digest: text("sha256:0"),
        level: 1,
        short: b"short".to_vec(),
        detail: vec![b"long".to_vec()],
        url: text("http://x"),
        info: Some(info),
        ranges: vec![pb::Range { start: position(0), end: position(4) }],
    };
    vec![
        ("Solve", dockerfile.encode_to_vec()),
        ("Solve", solve_request(whole(operations())).encode_to_vec()),
        ("Warn", warning.encode_to_vec()),
    ]
}

fn sources() -> Vec<(&'static str, Vec<u8>)> {
    let platform = Platform { architecture: text("amd64"), os: text("linux"), ..Default::default() };
    let config = ResolveImageConfigRequest {
        r#ref: text("docker.io/library/busybox:latest"),
        platform: Some(platform.clone()),
        resolve_mode: text("local"),
        log_name: text("a name"),
        ..Default::default()
    };
    let described = ResolveSourceMetaRequest {
        source: Some(SourceOp { identifier: text(BUSYBOX), ..Default::default() }),
        platform: Some(platform),
        resolve_mode: text("local"),
        image: Some(Default::default()),
        ..Default::default()
    };
    vec![("ResolveImageConfig", config.encode_to_vec()), ("ResolveSourceMeta", described.encode_to_vec())]
}

fn looks(id: &str) -> Vec<(&'static str, Vec<u8>)> {
    let r#ref = text(id);
    let read = ReadFileRequest {
        r#ref: r#ref.clone(),
        file_path: text("/etc/passwd"),
        range: Some(FileRange { offset: 1, length: 2 }),
        ..Default::default()
    };
    let list = ReadDirRequest {
        r#ref: r#ref.clone(),
        dir_path: text("/bin"),
        include_pattern: text("s*"),
        ..Default::default()
    };
    let stat = StatFileRequest { r#ref: r#ref.clone(), path: text("/bin/sh"), ..Default::default() };
    vec![
        ("ReadFile", read.encode_to_vec()),
        ("ReadDir", list.encode_to_vec()),
        ("StatFile", stat.encode_to_vec()),
        ("Evaluate", EvaluateRequest { r#ref }.encode_to_vec()),
    ]
}

/// A container of a result.
pub fn container(id: &str) -> Vec<u8> {
    let container = NewContainerRequest {
        container_id: text("c"),
        mounts: vec![Mount { result_id: text(id), ..mount("/", -1, -1) }, mount("/empty", -1, -1)],
        network: NetMode::None.into(),
        extra_hosts: vec![HostIp { host: text("h"), ip: text("127.0.0.1") }],
        hostname: text("name"),
        ..Default::default()
    };
    container.encode_to_vec()
}

fn containers(id: &str) -> Vec<(&'static str, Vec<u8>)> {
    let meta = Meta { args: vec![text("/bin/true")], cwd: text("/"), ..Meta::default() };
    let init =
        InitMessage { container_id: text("c"), meta: Some(meta), fds: vec![1, 2], ..Default::default() };
    let exec = ExecMessage { process_id: text("p"), input: Some(Said::Init(init)) };
    let (r#ref, file) = (text("c"), text("/etc/passwd"));
    let read = ReadFileRequest { r#ref: r#ref.clone(), file_path: file.clone(), ..Default::default() };
    let list = ReadDirRequest { r#ref: r#ref.clone(), dir_path: text("/bin"), ..Default::default() };
    let stat = StatFileRequest { r#ref, path: file, ..Default::default() };
    vec![
        ("NewContainer", container(id)),
        ("ExecProcess", exec.encode_to_vec()),
        ("ReadFileContainer", read.encode_to_vec()),
        ("ReadDirContainer", list.encode_to_vec()),
        ("StatFileContainer", stat.encode_to_vec()),
        ("ReleaseContainer", released()),
    ]
}

/// The end of the container.
pub fn released() -> Vec<u8> {
    ReleaseContainerRequest { container_id: text("c") }.encode_to_vec()
}

/// What ends a conversation: a result, with all that may be said of it, or an error.
pub fn answers(id: &str) -> [Vec<u8>; 2] {
    let part = Ref { id: text(id), def: Some(definition(vec![(source(BUSYBOX), vec![])], 0)) };
    let subject = InTotoSubject { kind: 0, digest: vec![text("sha256:0")], name: text("a subject") };
    // A bundle of nothing.
    let attestation = Attestation {
        kind: 1,
        metadata: HashMap::from([(text("reason"), b"sbom".to_vec())]),
        r#ref: Some(part.clone()),
        path: text("/tmp"),
        in_toto_predicate_type: text("https://spdx.dev/Document"),
        in_toto_subjects: vec![subject],
    };
    let attestations = Attestations { attestation: vec![attestation] };
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"]}}"#;
    let result = frontend::Result {
        metadata: HashMap::from([(text("containerimage.config"), config.to_vec())]),
        attestations: HashMap::from([(text("linux/amd64"), attestations)]),
        result: Some(result::Result::Ref(part)),
    };
    let error = rpc::Status { code: 10, message: text("enough"), details: vec![Default::default()] };
    [
        ReturnRequest { result: Some(result), error: None }.encode_to_vec(),
        ReturnRequest { result: None, error: Some(error) }.encode_to_vec(),
    ]
}

/// An order with all that can be said in one.
pub fn whole_order(client: &Client) -> SolveRequest {
    let map = |key: &str, value: &str| HashMap::from([(key.to_owned(), value.to_owned())]);
    let cache = |kind: &str| vec![Cache { r#type: text(kind), attrs: map("ref", CACHE) }];
    let constraint = AttrConstraint { key: text("key"), value: text("value"), condition: 1 };
    let selector =
        Selector { identifier: text("docker-image://x/*"), match_type: 0, constraints: vec![constraint] };
    let updates = Update { identifier: text(BUSYBOX), attrs: map("key", "value") };
    let rule = Rule { action: 2, selector: Some(selector), updates: Some(updates) };
    SolveRequest {
        definition: Some(whole(operations())),
        cache: Some(CacheOptions {
            exports: cache("inline"),
            imports: cache("registry"),
            ..Default::default()
        }),
        entitlements: vec![text("network.host")],
        frontend_attrs: map("no-cache", ""),
        frontend_inputs: HashMap::from([(text("more"), definition(vec![(source(BUSYBOX), vec![])], 0))]),
        source_policy: Some(Policy { version: 1, rules: vec![rule] }),
        ..order(client, "build000000000052", &[("image", &[("name", "lacking:1")])])
    }
}
