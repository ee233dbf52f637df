//! Dockerfiles in, graphs out, as text.

use super::*;
use crate::graph::{CopySource, HistoryItem, OpKind, Origin};
use oci::image::ContainerConfig;
use std::fmt::Write as _;

static NONE: BTreeMap<String, Option<String>> = BTreeMap::new();

struct Case<'a> {
    file: &'a str,
    args: &'a [(&'a str, &'a str)],
    target: Option<&'a str>,
    platform: &'a str,
    images: &'a [(&'a str, ContainerConfig)],
    contexts: &'a BTreeMap<String, Option<String>>,
}

fn case(file: &str) -> Case<'_> {
    Case { file, args: &[], target: None, platform: "linux/amd64", images: &[], contexts: &NONE }
}

fn run(case: &Case<'_>) -> Result<Graph, Error> {
    let file = dockerfile::parse(case.file, Default::default()).unwrap();
    let build_args = case.args.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let platform: Platform = case.platform.parse().unwrap();
    let mut images = BTreeMap::new();
    let labels = BTreeMap::new();
    let allowed = AllowedDevices::default();
    let devices = Devices::new(&allowed, &[]);
    loop {
        let inputs = Inputs {
            file: &file,
            build_args: &build_args,
            epoch: None,
            target: case.target,
            platform: &platform,
            build_platform: &platform,
            suits: &|platform| platform.architecture == "386",
            images: &images,
            contexts: case.contexts,
            labels: &labels,
            no_cache: false,
            no_cache_filter: &[],
            allow_insecure: false,
            allow_host_network: false,
            devices: &devices,
        };
        match lower(&inputs)? {
            Lowered::Graph(graph) => return Ok(*graph),
            Lowered::Needs(needs) => {
                for key in needs.into_keys() {
                    let mut config = ImageConfig::new(&key.platform);
                    if let Some((_, c)) = case.images.iter().find(|(n, _)| *n == key.reference) {
                        config.config = c.clone();
                    }
                    images.insert(key, config);
                }
            }
        }
    }
}

fn fs(graph: &Graph, fs: &Fs) -> String {
    match fs {
        Fs::Scratch => "scratch".into(),
        Fs::Image(i) => graph.images[*i].reference.clone(),
        Fs::Op(i) => format!("#{i}"),
    }
}

fn origin(graph: &Graph, from: &Origin) -> String {
    match from {
        Origin::Context(None) => "context".into(),
        Origin::Context(Some(name)) => format!("context {name}"),
        Origin::Fs(f) => fs(graph, f),
    }
}

/// One line an operation.
fn ops(graph: &Graph) -> String {
    let mut out = String::new();
    for (i, op) in graph.ops.iter().enumerate() {
        let base = fs(graph, &op.base);
        let _ = match &op.kind {
            OpKind::Run(r) => writeln!(out, "#{i} on {base}: run {:?} in {} as {:?}", r.argv, r.cwd, r.user),
            OpKind::Mkdir(m) => writeln!(out, "#{i} on {base}: mkdir {}", m.path),
            // No Dockerfile gives one.
            OpKind::Change(_) | OpKind::Stack(_) => writeln!(out, "#{i} on {base}: {:?}", op.kind),
            OpKind::Copy(c) => {
                let sources: Vec<String> = c
                    .sources
                    .iter()
                    .map(|s| match s {
                        CopySource::Path(p) => p.clone(),
                        CopySource::Inline { name, content } => format!("<<{name} {content:?}"),
                        CopySource::Url { url, .. } | CopySource::Git { url, .. } => url.clone(),
                    })
                    .collect();
                let from = origin(graph, &c.from);
                writeln!(out, "#{i} on {base}: copy {} from {from} to {}", sources.join(" "), c.dest)
            }
        };
    }
    out
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.images.iter().map(|i| i.name.as_str()).chain(graph.ops.iter().map(|o| o.name.as_str())).collect()
}

fn history(graph: &Graph) -> Vec<&str> {
    graph
        .history
        .iter()
        .map(|h| match h {
            HistoryItem::Base(h) | HistoryItem::Said(h) => h.created_by.as_str(),
            HistoryItem::New { created_by, .. } => created_by.as_str(),
        })
        .collect()
}

#[test]
fn multi_stage_runs_only_what_the_target_needs() {
    let file = "\
FROM golang:1.22 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go build -o /out/app
FROM build AS test
RUN go test
FROM alpine
COPY --from=build /out/app /usr/bin/
CMD [\"app\"]
";
    let graph = run(&case(file)).unwrap();
    assert_eq!(
        ops(&graph),
        "\
#0 on golang:1.22: mkdir /src
#1 on #0: copy go.mod go.sum from context to /src/
#2 on #1: run [\"/bin/sh\", \"-c\", \"go build -o /out/app\"] in /src as \"\"
#3 on alpine: copy /out/app from #2 to /usr/bin/
"
    );
    assert_eq!(
        names(&graph),
        [
            "[stage-2 1/2] FROM docker.io/library/alpine:latest",
            "[build 1/4] FROM docker.io/library/golang:1.22",
            "[build 2/4] WORKDIR /src",
            "[build 3/4] COPY go.mod go.sum ./",
            "[build 4/4] RUN go build -o /out/app",
            "[stage-2 2/2] COPY --from=build /out/app /usr/bin/",
        ]
    );
    let test = run(&Case { target: Some("test"), ..case(file) }).unwrap();
    assert_eq!(test.images.len(), 1);
    // Of what begins with nothing or with another stage, that is no step.
    assert_eq!(names(&test).last(), Some(&"[test 1/1] RUN go test"));
    let empty = run(&case("FROM scratch\nCOPY a /\nCOPY b /\n")).unwrap();
    assert_eq!(names(&empty), ["[1/2] COPY a /", "[2/2] COPY b /"]);
    assert!(ops(&test).ends_with("#3 on #2: run [\"/bin/sh\", \"-c\", \"go test\"] in /src as \"\"\n"));
    let error = run(&Case { target: Some("nope"), ..case(file) }).unwrap_err();
    assert_eq!(error, Error::NoTarget { name: "nope".into(), known: vec!["build".into(), "test".into()] });
}

#[test]
fn metadata_only_touches_the_configuration() {
    let file = "\
FROM scratch
ENV A=1 B=\"x y\"
ENV PATH=/opt/bin:$PATH
LABEL v=\"$A-${B}\"
EXPOSE 80 53/udp $A
VOLUME [\"/data\"]
USER app:app
STOPSIGNAL SIGINT
SHELL [\"/bin/bash\", \"-c\"]
HEALTHCHECK --interval=30s --timeout=2s --start-period=1m --start-interval=500ms --retries=3 CMD curl -f x || exit 1
ENTRYPOINT [\"/main\"]
CMD serve $A
ONBUILD RUN x
MAINTAINER me
";
    let graph = run(&case(file)).unwrap();
    assert!(graph.ops.is_empty());
    let json = serde_json::to_string(&graph.config).unwrap();
    assert_eq!(
        json,
        r#"{"author":"me","architecture":"amd64","os":"linux","config":{"User":"app:app","ExposedPorts":{"1/tcp":{},"53/udp":{},"80/tcp":{}},"Env":["PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=1","B=x y"],"Entrypoint":["/main"],"Cmd":["/bin/bash","-c","serve $A"],"Healthcheck":{"Test":["CMD-SHELL","curl -f x || exit 1"],"Interval":30000000000,"Timeout":2000000000,"StartPeriod":60000000000,"StartInterval":500000000,"Retries":3},"ArgsEscaped":true,"Volumes":{"/data":{}},"WorkingDir":"/","OnBuild":["RUN x"],"Labels":{"v":"1-x y"},"StopSignal":"SIGINT","Shell":["/bin/bash","-c"]},"rootfs":{"type":"layers","diff_ids":[]}}"#
    );
    assert_eq!(
        history(&graph),
        [
            "ENV A=1 B=x y",
            "ENV PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LABEL v=1-x y",
            "EXPOSE [1/tcp 53/udp 80/tcp]",
            "VOLUME [/data]",
            "USER app:app",
            "STOPSIGNAL SIGINT",
            "SHELL [/bin/bash -c]",
            "HEALTHCHECK {Test:[CMD-SHELL curl -f x || exit 1] Interval:30s Timeout:2s StartPeriod:1m0s StartInterval:500ms \
             Retries:3}",
            "ENTRYPOINT [\"/main\"]",
            "CMD [\"/bin/bash\" \"-c\" \"serve $A\"]",
            "MAINTAINER me",
        ]
    );
}

#[test]
fn images_are_shown_as_people_know_them() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    for (reference, shown) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        (digest.as_str(), digest.as_str()),
        (&digest[7..], &digest[7..]),
    ] {
        assert_eq!(ImageUse::shown(reference), shown);
    }
}

/// Where a mount is put may be the base image's to say, which is asked for first.
#[test]
fn a_mount_is_below_the_working_directory_of_the_image() {
    let at = |directory: &str| {
        let config = ContainerConfig { working_dir: directory.into(), ..Default::default() };
        let images = [("a", config)];
        let file = "FROM a\nRUN --mount=type=bind,target=. --mount=type=cache,target=./c x\n";
        let graph = run(&Case { images: &images, ..case(file) })?;
        let OpKind::Run(run) = &graph.ops[0].kind else { panic!("no RUN") };
        Ok::<_, Error>(run.mounts.iter().map(|mount| mount.target.clone()).collect::<Vec<_>>())
    };
    assert_eq!(at("/docs").unwrap(), ["/docs", "/docs/c"]);
    for root in ["/", ""] {
        let Err(Error::At { message, span, .. }) = at(root) else { panic!("mounted over the root") };
        assert_eq!((message.as_str(), span.line), ("invalid mount target \"/\"", 2));
    }
}

/// Whoever runs the image makes of it what it is.
#[test]
fn the_configuration_is_as_it_is_written() {
    let file = "FROM a\nWORKDIR /app/\nRUN x\nWORKDIR sub/\nVOLUME /data/ rel [\"x\", 'y']\nVOLUME [\" /json/ \"]\n\
        EXPOSE 0 0/udp 80 80\nHEALTHCHECK NONE\nCMD\nENTRYPOINT\n";
    let graph = run(&case(file)).unwrap();
    let config = &graph.config.config;
    assert_eq!(config.working_dir, "/app/sub");
    assert_eq!(
        ops(&graph).lines().nth(1),
        Some("#1 on #0: run [\"/bin/sh\", \"-c\", \"x\"] in /app as \"\"")
    );
    let volumes: Vec<_> = config.volumes.iter().map(String::as_str).collect();
    assert_eq!(volumes, ["/data/", "/json/", "[x,", "rel", "y]"]);
    let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
    assert_eq!(ports, ["0/tcp", "0/udp", "80/tcp"]);
    let shell = ["/bin/sh", "-c", ""].map(str::to_owned).to_vec();
    assert_eq!((config.cmd.as_ref(), config.entrypoint.as_ref()), (Some(&shell), Some(&shell)));
    assert_eq!(
        history(&graph),
        [
            "WORKDIR /app/",
            "RUN /bin/sh -c x # buildkit",
            "WORKDIR /app/sub",
            "VOLUME [/data/ rel [x, y]]",
            "VOLUME [/json/]",
            "EXPOSE [0/tcp 0/udp 80/tcp 80/tcp]",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            "CMD [\"/bin/sh\" \"-c\" \"\"]",
            "ENTRYPOINT [\"/bin/sh\" \"-c\" \"\"]",
        ]
    );
    let again = run(&case("FROM a\nARG A=1 B\nARG A\nRUN x\n")).unwrap();
    assert_eq!(history(&again)[1..], ["ARG A", "RUN |2 A=1 B= /bin/sh -c x # buildkit"]);
}

#[test]
fn nothing_stands_for_scratch() {
    let file = "FROM scratch\nCOPY --from=scratch / /x\nCOPY --from=other / /y\n";
    let context = |name: &str| (name.to_owned(), Some("busybox".to_owned()));
    let graph =
        run(&Case { contexts: &[context("scratch"), context("other")].into(), ..case(file) }).unwrap();
    let want = "#0 on scratch: copy / from scratch to /x\n#1 on #0: copy / from busybox to /y\n";
    assert_eq!(ops(&graph), want);
}

/// What says nothing is taken as Docker takes it: nothing.
#[test]
fn what_is_empty_or_odd_is_as_with_docker() {
    let file = "FROM a\nWORKDIR /q\nWORKDIR \"\"\nEXPOSE \"\" 80\nSTOPSIGNAL 999\n\
        COPY --chown=$NONE --chmod= x /\nCOPY --chown=:5 x /\n\
        HEALTHCHECK --interval= --retries= --timeout=0s CMD x\n";
    let graph = run(&case(file)).unwrap();
    let config = &graph.config.config;
    assert_eq!((config.working_dir.as_str(), config.stop_signal.as_str()), ("/q", "999"));
    assert_eq!(config.exposed_ports.iter().collect::<Vec<_>>(), ["80/tcp"]);
    assert_eq!(config.healthcheck.as_ref().unwrap().interval, 0);
    assert_eq!(
        history(&graph)[..6],
        [
            "WORKDIR /q",
            "WORKDIR /q",
            "EXPOSE [80/tcp]",
            "STOPSIGNAL 999",
            "COPY x / # buildkit",
            "COPY --chown=:5 x / # buildkit",
        ]
    );
    for signal in ["0", "RTMIN+99", "RTMINX", ""] {
        assert!(run(&case(&format!("FROM a\nSTOPSIGNAL \"{signal}\"\n"))).is_err(), "{signal}");
    }
}

#[test]
fn arguments_have_scopes() {
    let file = "\
ARG V=3.18
ARG UNUSED=u
FROM alpine:${V} AS one
ARG V
ARG NAME=$V-x
ARG EMPTY
RUN echo $NAME
FROM one
RUN second
";
    let graph = run(&Case { args: &[("V", "edge")], ..case(file) }).unwrap();
    assert_eq!(graph.images[0].reference, "alpine:edge");
    let OpKind::Run(first) = &graph.ops[0].kind else { panic!() };
    assert_eq!(first.env[1..], ["V=edge", "NAME=edge-x"]);
    let OpKind::Run(second) = &graph.ops[1].kind else { panic!() };
    assert_eq!(second.env, first.env, "a stage inherits the arguments of the stage it is from");
    assert_eq!(history(&graph)[3], "RUN |3 V=edge NAME=edge-x EMPTY= /bin/sh -c echo $NAME # buildkit");
}

#[test]
fn undeclared_arguments_do_not_reach_a_run() {
    let file = "ARG V=1\nFROM alpine\nRUN echo $V\n";
    let args = [("V", "2"), ("OTHER", "x"), ("http_proxy", "http://p")];
    let graph = run(&Case { args: &args, ..case(file) }).unwrap();
    let OpKind::Run(run) = &graph.ops[0].kind else { panic!() };
    assert_eq!(run.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(run.proxies, ["HTTP_PROXY=http://p", "http_proxy=http://p"], "programs look for either");
}

#[test]
fn of_env_and_arg_the_later_one_counts() {
    let file = "FROM alpine
ENV A=env B=env
ARG A=arg B C=arg
RUN one
ENV C=env D=$A
RUN two
FROM alpine AS other
ARG A=arg
ENV A=env
RUN three
";
    let graph = run(&Case { target: Some("0"), ..case(file) }).unwrap();
    let env = |op: usize| {
        let OpKind::Run(run) = &graph.ops[op].kind else { panic!() };
        run.env[1..].to_vec()
    };
    assert_eq!(env(0), ["A=arg", "B=env", "C=arg"]);
    assert_eq!(env(1), ["A=arg", "B=env", "C=env", "D=arg"]);
    assert_eq!(
        graph.config.config.env[1..],
        ["A=env", "B=env", "C=env", "D=arg"],
        "an image has what ENV says"
    );
    let graph = run(&Case { target: Some("other"), ..case(file) }).unwrap();
    let OpKind::Run(third) = &graph.ops[0].kind else { panic!() };
    assert_eq!(third.env[1..], ["A=env"]);
}

#[test]
fn platform_arguments() {
    let file =
        "FROM --platform=$BUILDPLATFORM alpine AS a\nARG TARGETARCH TARGETOS\nENV T=$TARGETOS/$TARGETARCH\n";
    let graph = run(&case(file)).unwrap();
    assert!(graph.config.config.env.contains(&"T=linux/amd64".to_string()));
    let file = "FROM alpine\nARG TARGETVARIANT TARGETPLATFORM BUILDPLATFORM\n\
                ENV T=$TARGETVARIANT,$TARGETPLATFORM,${BUILDPLATFORM%%/*}\n";
    let graph = run(&Case { platform: "linux/arm/v7", ..case(file) }).unwrap();
    assert!(
        graph.config.config.env.contains(&"T=v7,linux/arm/v7,linux".to_string()),
        "{:?}",
        graph.config.config.env
    );
}

#[test]
fn workdirs_chain() {
    let file = "FROM alpine\nENV H=/home\nWORKDIR /a\nWORKDIR b   # Now in /a/b\nWORKDIR c/\nCOPY x .\nWORKDIR $H\nWORKDIR /\n";
    let graph = run(&case(file)).unwrap();
    assert_eq!(
        ops(&graph),
        "\
#0 on alpine: mkdir /a
#1 on #0: mkdir /a/b
#2 on #1: mkdir /a/b/c
#3 on #2: copy x from context to /a/b/c/
#4 on #3: mkdir /home
"
    );
    assert_eq!(graph.config.config.working_dir, "/");
}

#[test]
fn triggers_of_the_base_run_first() {
    let base = ContainerConfig {
        on_build: vec!["COPY . /app".into(), "RUN make".into()],
        env: vec!["PATH=/bin".into()],
        working_dir: "/srv".into(),
        ..Default::default()
    };
    let file = "FROM base\nRUN last\n";
    let graph = run(&Case { images: &[("base", base)], ..case(file) }).unwrap();
    assert_eq!(
        ops(&graph),
        "\
#0 on base: copy . from context to /app
#1 on #0: run [\"/bin/sh\", \"-c\", \"make\"] in /srv as \"\"
#2 on #1: run [\"/bin/sh\", \"-c\", \"last\"] in /srv as \"\"
"
    );
    assert!(graph.config.config.on_build.is_empty());
}

#[test]
fn heredocs() {
    let file = "FROM alpine\nENV X=1\nCOPY <<a <<'b' /d/\n$X\na\n$X\nb\nRUN <<EOF\necho $X\nEOF\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n";
    let graph = run(&case(file)).unwrap();
    assert_eq!(
        ops(&graph),
        "\
#0 on alpine: copy <<a \"1\\n\" <<b \"$X\\n\" from context to /d/
#1 on #0: run [\"/bin/sh\", \"-c\", \"echo $X\\n\"] in / as \"\"
#2 on #1: run [\"/bin/sh\", \"-c\", \"/dev/pipes/EOF\"] in / as \"\"
"
    );
    // The shell that was chosen may have set up something.
    let graph = run(&case("FROM a\nSHELL [\"conda\", \"run\"]\nRUN <<E\n#!/x\nE\n")).unwrap();
    assert_eq!(ops(&graph), "#0 on a: run [\"conda\", \"run\", \"/dev/pipes/E\"] in / as \"\"\n");
}

#[test]
fn copies_from_many_places() {
    let file = "FROM alpine AS a\nRUN x\nFROM scratch\nCOPY --from=0 /x /\nCOPY --from=busybox:1 /y /\nCOPY --from=A /z /\n";
    let graph = run(&case(file)).unwrap();
    assert_eq!(
        ops(&graph),
        "\
#0 on alpine: run [\"/bin/sh\", \"-c\", \"x\"] in / as \"\"
#1 on scratch: copy /x from #0 to /
#2 on #1: copy /y from busybox:1 to /
#3 on #2: copy /z from #0 to /
"
    );
    // Nobody else could build it.
    for (line, what) in [
        ("COPY --from=$S /w /", "--from"),
        ("COPY --from=\"${S:-a}\" /w /", "--from"),
        ("RUN --mount=from=$S,target=/w true", "from= of a mount"),
        ("RUN --mount=type=cache,FROM=${S},target=/w true", "from= of a mount"),
    ] {
        let error = run(&case(&format!("ARG S=a\nFROM alpine AS a\nFROM a\nARG S\n{line}\n"))).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(&format!("variable expansion is not supported for {what}")), "{text}");
        assert!(text.contains("AS files"), "{text}");
    }
}

#[test]
fn entrypoint_resets_an_inherited_command() {
    let base = ContainerConfig { cmd: Some(vec!["old".into()]), ..Default::default() };
    let images = [("base", base)];
    let graph = run(&Case { images: &images, ..case("FROM base\nENTRYPOINT [\"x\"]\n") }).unwrap();
    assert_eq!(graph.config.config.cmd, None);
    let graph =
        run(&Case { images: &images, ..case("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"x\"]\n") }).unwrap();
    assert_eq!(graph.config.config.cmd, Some(vec!["c".into()]));
}

/// What would be wrong without the variables of a base image is not, whatever is still to be asked for.
#[test]
fn base_images_give_variables_their_values() {
    let env = ["DATA=/data", "PORT=80", "WHO=me"].map(str::to_owned).to_vec();
    let images = [("base", ContainerConfig { env, ..ContainerConfig::default() })];
    let file = "FROM other AS o\nFROM base AS b\nFROM b\nVOLUME $DATA\nEXPOSE $PORT\nUSER ${WHO:?must}\nCOPY --from=o / $DATA\n";
    let graph = run(&Case { images: &images, ..case(file) }).unwrap();
    assert!(graph.config.config.volumes.contains("/data"));
    assert_eq!((graph.config.config.user.as_str(), graph.images.len()), ("me", 2));
    let error = run(&Case { images: &images, ..case("FROM base\nVOLUME $OTHER\n") }).unwrap_err();
    assert!(matches!(error, Error::At { span, .. } if span.line == 2), "{error:?}");
}

#[test]
fn mistakes_point_at_their_line() {
    for (file, line, message) in [
        ("ARG V\nFROM $V\n", 2, "base name ($V) should not be blank"),
        (
            "FROM a AS x\nCOPY --from=y /b /\nFROM a AS y\nCOPY --from=x /b /\n",
            3,
            "circular dependency detected on stage: y",
        ),
        ("FROM a AS x\nCOPY --from=x /b /\n", 1, "circular dependency detected on stage: x"),
        ("FROM a\nCOPY --from=7 /b /\n", 2, "invalid stage index 7"),
        (
            "FROM a AS x\nCOPY --from=Y /b /\nFROM b AS y\nFROM x\n",
            2,
            "cannot copy from stage \"Y\", it needs to be defined before current stage \"x\"",
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/y x\nFROM b AS y\nFROM x\n",
            2,
            "cannot mount from stage \"y\", it needs to be defined before current stage \"x\"",
        ),
        ("FROM a\nEXPOSE web\n", 2, "invalid containerPort: web"),
        ("FROM a\nCOPY http://x/y /\n", 2, "source can't be a URL for COPY"),
        ("FROM a\nRUN --security=insecure x\n", 2, "security.insecure is not allowed"),
        ("FROM a\nRUN --network=host x\n", 2, "network.host is not allowed"),
        (
            "FROM a\nENV d=0\nRUN --device=v.com/c=$d,required x\n",
            3,
            "required device \"v.com/c=0\" is not registered",
        ),
        ("FROM a\nENV x=\"${y?need y}\"\n", 2, "y: need y"),
        (
            "FROM a\nCOPY --chmod=9 a b\n",
            2,
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
        ("FROM --platform=$NONE a\n", 1, "empty platform value from expression $NONE"),
        ("FROM a\nSTOPSIGNAL SIGNOPE\n", 2, "invalid signal: SIGNOPE"),
        (
            "FROM UPPER\n",
            1,
            "failed to parse stage name \"UPPER\": invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
    ] {
        let Error::At { message: got, span, .. } = run(&case(file)).unwrap_err() else { panic!("{file}") };
        assert_eq!((span.line, got.as_str()), (line, message), "{file}");
    }
}

/// What `ADD` fetches: repositories, files, and what a checksum may say about either.
#[test]
fn remote_sources() {
    let source = |line: &str| {
        let graph = run(&case(&format!("FROM scratch\n{line} /x"))).map_err(|e| match e {
            Error::At { message, .. } => message,
            other => format!("{other:?}"),
        })?;
        let OpKind::Copy(copy) = &graph.ops[0].kind else { panic!("{line}") };
        Ok::<_, String>(copy.sources[0].clone())
    };
    let git = |url: &str, checksum: Option<&str>, keep_git_dir| {
        let checksum = checksum.map(|id| id.parse().unwrap());
        Ok(CopySource::Git { url: url.into(), checksum, keep_git_dir, known_hosts: None })
    };
    let url = "https://host/a/b.git#v1:dir";
    assert_eq!(source(&format!("ADD --keep-git-dir {url}")), git(url, None, Some(true)));
    assert_eq!(source("ADD git@host:a/b"), git("git@host:a/b", None, None));
    assert_eq!(source("ADD https://h/b.git?ref=x"), git("https://h/b.git?ref=x", None, None));
    assert_eq!(source("ADD --checksum=0123abc git://h/b"), git("git://h/b", Some("0123abc"), None));
    assert!(matches!(source("ADD https://host/b.tar.gz"), Ok(CopySource::Url { .. })));
    assert!(matches!(source("ADD a@b"), Ok(CopySource::Path(_))));
    for (line, want) in [
        ("COPY https://host/x", "source can't be a URL for COPY"),
        ("COPY https://host/x.git", "source can't be a git ref for COPY"),
        ("ADD --checksum=0123abc x", "checksum requires HTTP(S) or Git sources"),
        ("ADD --checksum=sha256:00 https://h/x", "invalid checksum digest format: \"sha256:00\""),
        ("ADD --checksum=master git://h/x", "invalid checksum \"master\" of a git source"),
        ("ADD --checksum=0123abc git://h/x git://h/y", "checksum can't be specified for multiple sources"),
    ] {
        assert_eq!(source(line), Err(want.to_string()), "{line}");
    }
}

/// Every Dockerfile of the linter's corpus becomes a graph, or an error that points into it.
#[test]
fn the_corpus_lowers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/lint/tests/corpus");
    let mut wrong = Vec::new();
    let mut lowered = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "Dockerfile") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if dockerfile::parse(&text, Default::default()).is_err() {
            continue;
        }
        match run(&case(&text)) {
            Ok(_) => lowered += 1,
            Err(Error::At { span, message, .. }) => {
                assert!(span.line > 0 && span.end <= text.len(), "{name}: {message}");
                wrong.push(format!("{name}: {message}"));
            }
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
    wrong.sort();
    let expected = [
        "copy-from: circular dependency detected on stage: one",
        "expansion-required: v: set v with --build-arg",
        "expose: invalid containerPort: 70000",
    ];
    assert_eq!((wrong, lowered > 50), (expected.map(String::from).to_vec(), true));
}

#[test]
fn the_stage_that_is_built_has_a_name() {
    let file = "FROM a AS one\nARG TARGETSTAGE\nLABEL s=$TARGETSTAGE\nFROM one AS two\n";
    let label = |target, file| {
        let graph = run(&Case { target, ..case(file) }).unwrap();
        graph.config.config.labels["s"].clone()
    };
    assert_eq!((label(Some("one"), file), label(None, file)), ("one".into(), "two".into()));
    assert_eq!(label(None, "FROM a\nARG TARGETSTAGE\nLABEL s=$TARGETSTAGE\n"), "default");
}
