//! `--sbom=generator=IMAGE`: a program of somebody's choice lists what an image holds, as BuildKit's protocol of SBOM scanners
//! has it.
//!
//! The generator's image is run with the result mounted read-only where `BUILDKIT_SCAN_SOURCE` says (other stages and the context, where these are to be looked through too, below
//! `BUILDKIT_SCAN_SOURCE_EXTRAS`), and writes in-toto
//! statements as `*.json` where `BUILDKIT_SCAN_DESTINATION` says; what it is told besides are variables too (`BUILDKIT_SCAN_…`). Its run is a step like any other: it is taken from the cache
//! while neither it nor the result changed.

use crate::error::{BoxError, Error, Place};
use crate::export::statement::Statement;
use crate::graph::{
    Copy, CopySource, Graph, ImageUse, Mkdir, Mount, MountKind, Op, OpKind, Origin, Run, Scan,
};
use crate::graph::{Fs, OpId};
use crate::progress::Progress;
use crate::request::{Env, Image, ImageRequest, Request};
use crate::session::{Output, Session};
use dockerfile::Span;
use oci::Platform;
use oci::image::ImageConfig;
use std::collections::BTreeMap;

const SOURCE: &str = "/run/src/core/sbom";
/// What more there is to look through.
const EXTRAS: &str = "/run/src/extras/";
const DESTINATION: &str = "/run/out";
/// What the list of the result itself is called.
const CORE: &str = "sbom";
/// What arguments of a generator begin with.
const ARGUMENT: &str = "BUILDKIT_SCAN_";
/// A longer statement is nobody's list of packages.
const MAX: u64 = 256 << 20;

/// Adds what lists of packages need to a graph: the context as files, where it is to be looked through, and the run of a generator.
pub(crate) fn add(
    env: &Env,
    request: &Request,
    (graph, images): (&mut Graph, &mut Vec<Image>),
    progress: &Progress<'_>,
) -> Result<(), Error> {
    if !request.export.sbom {
        graph.scan = Scan::default();
        return Ok(());
    }
    if std::mem::take(&mut graph.scan.context) {
        let context = context(graph, request);
        graph.scan.more.push(("context".to_string(), context));
    }
    let Some(reference) = &request.export.generator else { return Ok(()) };
    let platform = Platform::host();
    let wanted = ImageRequest {
        reference: reference.clone(),
        platform: platform.clone(),
        platforms: [platform.clone()].into(),
        pull: request.pull,
    };
    let step = progress.step(&format!("[internal] load metadata for {reference}"), "", "");
    let image = (env.images)(&wanted, &|line| step.line(&line)).map_err(|source| Error::Image {
        reference: reference.clone(),
        place: Box::new(Place::default()),
        near: None,
        source,
    });
    let image = image.inspect_err(|error| step.failed(error.chain()))?;
    step.done();
    let run = run(&image.config, graph, &request.export.generator_args);
    if run.argv.is_empty() {
        return Err(failed(reference)("the image says no command".into()));
    }
    let op = |base, kind, name: &str| Op {
        base,
        kind,
        name: format!("[sbom {platform}] {name}"),
        stage: "sbom".to_string(),
        instruction: format!("{name} {reference}"),
        span: Span::default(),
        no_cache: request.no_cache,
        platform: platform.clone(),
    };
    let directory = Mkdir { path: DESTINATION.to_string(), user: run.user.clone(), time: None };
    let prepare = op(Fs::Image(graph.images.len()), OpKind::Mkdir(directory), "preparing");
    let generate = op(
        Fs::Op(graph.ops.len()),
        OpKind::Run(Box::new(run)),
        &format!("generating sbom using {reference}"),
    );
    graph.images.push(ImageUse {
        reference: reference.clone(),
        platform,
        name: format!("[sbom] FROM {reference}"),
        stage: "sbom".to_string(),
        span: Span::default(),
    });
    images.push(image);
    graph.ops.extend([prepare, generate]);
    graph.scan.op = Some(graph.ops.len() - 1);
    Ok(())
}

/// The context as a file system of its own.
fn context(graph: &mut Graph, request: &Request) -> Fs {
    let copy = Copy::plain(Origin::Context(None), CopySource::Path("/".into()), "/");
    graph.ops.push(Op {
        base: Fs::Scratch,
        kind: OpKind::Copy(Box::new(copy)),
        name: "[sbom] build context".to_string(),
        stage: "sbom".to_string(),
        instruction: "COPY / /".to_string(),
        span: Span::default(),
        no_cache: request.no_cache,
        platform: graph.config.platform(),
    });
    Fs::Op(graph.ops.len() - 1)
}

/// What the image does when it is run, over the result and what else is looked through.
fn run(config: &ImageConfig, graph: &Graph, arguments: &BTreeMap<String, String>) -> Run {
    let config = &config.config;
    let words = [config.entrypoint.as_deref(), config.cmd.as_deref()];
    let mut env = config.env.clone();
    env.extend(arguments.iter().map(|(name, value)| format!("{ARGUMENT}{name}={value}")));
    env.push(format!("BUILDKIT_SCAN_SOURCE={SOURCE}"));
    env.push(format!("BUILDKIT_SCAN_DESTINATION={DESTINATION}"));
    if !graph.scan.more.is_empty() {
        env.push(format!("BUILDKIT_SCAN_SOURCE_EXTRAS={EXTRAS}"));
    }
    let more = graph.scan.more.iter().map(|(name, fs)| mount(fs, format!("{EXTRAS}sbom-{name}")));
    let mounts = std::iter::once(mount(&graph.result, SOURCE.to_string())).chain(more).collect();
    Run {
        argv: words.into_iter().flatten().flatten().cloned().collect(),
        env,
        cwd: if config.working_dir.is_empty() { "/".to_string() } else { config.working_dir.clone() },
        user: config.user.clone(),
        network: None,
        insecure: false,
        devices: Vec::new(),
        mounts,
        hostname: None,
        script: None,
        proxies: Vec::new(),
        own: Default::default(),
    }
}

/// A file system to look through.
fn mount(fs: &Fs, target: String) -> Mount {
    Mount {
        kind: MountKind::Bind,
        from: Origin::Fs(fs.clone()),
        source: "/".to_string(),
        target,
        readonly: true,
        span: Span::default(),
    }
}

fn failed(generator: &str) -> impl Fn(BoxError) -> Error {
    let generator = generator.to_string();
    move |source| Error::Sbom { generator: generator.clone(), source }
}

/// What the generator wrote.
pub(crate) fn statements(
    session: &Session<'_>,
    outputs: &[Output],
    op: OpId,
) -> Result<Vec<Statement>, Error> {
    let generator = session.request.export.generator.as_deref().unwrap_or_default();
    let failed = failed(generator);
    let chain = session.node(&Fs::Op(op)).and_then(|node| outputs[node].chain.clone());
    let missing = || failed(format!("it wrote no statement into {DESTINATION}").into());
    let root = session.view(chain.as_ref())?.ok_or_else(missing)?;
    let mut names: Vec<_> = root
        .read_dir(DESTINATION)
        .map_err(|e| failed(e.into()))?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    // The list of the result itself comes first.
    names.sort_by_key(|name| (name.to_string_lossy().split('.').next() != Some(CORE), name.clone()));
    let mut found = Vec::new();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        let bytes = root.read_file(format!("{DESTINATION}/{name}"), MAX).map_err(|e| failed(e.into()))?;
        let statement = Statement::read(&name, &bytes);
        found.push(statement.map_err(|what| failed(format!("{name}: {what}").into()))?);
    }
    match found.is_empty() {
        true => Err(missing()),
        false => Ok(found),
    }
}
