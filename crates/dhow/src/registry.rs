//! `dhow registry`: a registry of one's own, and its garbage collection as a command.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cli::Globals;
use cli::flags::{Arity, Parsed, Shape};
use registry_server::auth::{self, Scheme};
use registry_server::{
    BucketAddress, BucketConfig, ClientConfig, Collection, Config, Credentials, Limit, Registry, Upstream,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::manager;
use crate::surroundings::Surroundings;

/// A token that is good for less is never given, says the distribution's specification of tokens.
const TOKEN_LIFE_LEAST: Duration = Duration::from_secs(60);
/// Threads that read and write files.
const FILE_THREADS: usize = 64;
/// How long they stay when there is nothing to do.
const THREAD_REST: Duration = Duration::from_secs(10);

/// `dhow registry serve`.
#[derive(clap::Args)]
struct Serve {
    /// Who may do what: lines of USER REPOSITORIES ACTIONS, such as "ann team/* push"
    #[arg(long, value_name = "file")]
    access: Option<PathBuf>,
    /// Where to listen (default 127.0.0.1:5000)
    #[arg(long, value_name = "host:port", default_value = "127.0.0.1:5000")]
    addr: String,
    /// Everybody may pull
    #[arg(long)]
    anonymous_pull: bool,
    /// How users say who they are: basic or token (default basic)
    #[arg(long, value_name = "scheme", default_value = "basic")]
    auth: String,
    /// How many connections are served at a time (default 4096)
    #[arg(long, value_name = "int", default_value = "4096")]
    connections: usize,
    /// What was relied on so recently is no garbage (default 24h)
    #[arg(long, value_name = "duration", default_value = "24h")]
    gc_grace: String,
    /// How often garbage is collected; 0 is never (default 24h)
    #[arg(long, value_name = "duration", default_value = "24h")]
    gc_interval: String,
    /// Manifests that no tag leads to are garbage as well
    #[arg(long)]
    gc_untagged: bool,
    /// Users and their passwords, as "htpasswd -B" writes them
    #[arg(long, value_name = "file")]
    htpasswd: Option<PathBuf>,
    /// Where to serve figures for Prometheus, at /metrics
    #[arg(long, value_name = "host:port")]
    metrics_addr: Option<String>,
    /// What may be kept: a size, or PREFIX=SIZE for the repositories below a name; may be repeated
    #[arg(long, value_name = "size")]
    quota: Vec<String>,
    /// Nothing can be changed
    #[arg(long)]
    read_only: bool,
    /// Directory to keep everything in
    #[arg(long, value_name = "dir")]
    root: Option<PathBuf>,
    /// How long a client may be silent (default 1m)
    #[arg(long, value_name = "duration", default_value = "1m")]
    timeout: String,
    #[command(flatten)]
    s3: S3,
    /// Certificate with its chain, in PEM
    #[arg(long, value_name = "file")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "file")]
    tls_key: Option<PathBuf>,
    /// How long a token is good (default 5m)
    #[arg(long, value_name = "duration", default_value = "5m")]
    token_life: String,
    /// Where clients reach the registry, as https://registry.example.com
    #[arg(long)]
    url: Option<String>,
    /// Registry to be a cache of: docker.io, registry.example.com:5000 or http://host:port
    #[arg(long, value_name = "registry")]
    upstream: Option<String>,
    /// How long a tag of that registry is what it was (default 5m)
    #[arg(long, value_name = "duration", default_value = "5m")]
    upstream_fresh: String,
    /// How much of that registry is kept; what nobody has asked for for longest makes room
    #[arg(long, value_name = "size")]
    upstream_max: Option<String>,
    /// File with the password of --upstream-user
    #[arg(long, value_name = "file")]
    upstream_password_file: Option<PathBuf>,
    /// User at that registry
    #[arg(long, value_name = "name")]
    upstream_user: Option<String>,
    /// An upload that nobody has gone on with for so long is removed (default 24h)
    #[arg(long, value_name = "duration", default_value = "24h")]
    upload_expiry: String,
    /// Address that is told what happens; may be repeated
    #[arg(long, value_name = "url")]
    webhook: Vec<String>,
    args: Vec<String>,
}

/// An object store.
#[derive(clap::Args)]
struct S3 {
    /// Bucket of an S3-compatible store to keep everything in; what is not finished stays below --root. Credentials are those of
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
    #[arg(long, value_name = "name")]
    s3_bucket: Option<String>,
    /// Address of the store; by default Amazon's
    #[arg(long, value_name = "url", default_value = "")]
    s3_endpoint: String,
    /// The bucket's name is in the path, and not in the host's name
    #[arg(long)]
    s3_path_style: bool,
    /// What keys begin with
    #[arg(long, value_name = "path", default_value = "")]
    s3_prefix: String,
    /// Region of the bucket (default us-east-1)
    #[arg(long, value_name = "name", default_value = "us-east-1")]
    s3_region: String,
}

/// `dhow registry gc`.
#[derive(clap::Args)]
struct Collect {
    /// What was relied on so recently is no garbage (default 24h)
    #[arg(long, value_name = "duration", default_value = "24h")]
    gc_grace: String,
    /// Manifests that no tag leads to are garbage as well
    #[arg(long)]
    gc_untagged: bool,
    /// Directory of the registry
    #[arg(long, value_name = "dir")]
    root: Option<PathBuf>,
    #[command(flatten)]
    s3: S3,
    args: Vec<String>,
}

/// `dhow registry passwd`.
#[derive(clap::Args)]
struct Passwd {
    args: Vec<String>,
}

const USAGE: &str = "COMMAND\n\nServe a registry of images\n\nCommands:\n  gc      Remove what nothing in a registry refers to\n  passwd  Print the line of an htpasswd file for a user, whose password is read from standard input\n  serve   Serve a registry\n";

/// Runs the command that follows `registry`.
pub fn main(surroundings: &Surroundings, globals: &Globals) -> ExitCode {
    let path = format!("{} registry", surroundings.program);
    let rest = globals.args.get(2..).unwrap_or_default();
    match globals.args.get(1).map(String::as_str) {
        Some("serve") => run(
            &format!("{path} serve"),
            "Serve a registry: OCI distribution-spec 1.1",
            rest,
            |args: Serve| serve(surroundings, globals, args),
        ),
        Some("gc") => {
            let about = "Remove what nothing in a registry refers to, also while it is served";
            run(&format!("{path} gc"), about, rest, |args: Collect| collect(surroundings, globals, &args))
        }
        Some("passwd") => {
            let about =
                "Print the line of an htpasswd file for a user, whose password is read from standard input";
            let shape = ("USER", Arity::Exactly(1));
            run_with(&format!("{path} passwd"), shape, about, rest, |args: Passwd| passwd(&args))
        }
        None | Some("-h" | "--help") => {
            let _ = std::io::stdout().write_all(format!("Usage:  {path} {USAGE}").as_bytes());
            ExitCode::SUCCESS
        }
        Some(other) => super::fail(&cli::Error::with_code(
            format!("unknown command: {path} {other}\n\nUsage:  {path} {USAGE}"),
            125,
        )),
    }
}

/// Reads a command's flags as all others are read, and runs it.
fn run<A: clap::Args>(
    path: &str,
    about: &str,
    arguments: &[String],
    work: impl FnOnce(A) -> anyhow::Result<()>,
) -> ExitCode {
    run_with(path, ("[OPTIONS]", Arity::None), about, arguments, work)
}

fn run_with<A: clap::Args>(
    path: &str,
    (usage, arity): (&'static str, Arity),
    about: &str,
    arguments: &[String],
    work: impl FnOnce(A) -> anyhow::Result<()>,
) -> ExitCode {
    let shape = Shape { path: path.to_owned(), usage, arity };
    let command = || A::augment_args(clap::Command::new("registry"));
    let matches = match cli::flags::parse(command(), &shape, arguments) {
        Ok(Parsed::Matches(matches)) => matches,
        Ok(Parsed::Help) => {
            let options = cli::flags::options_help(command(), 100);
            let text = format!("Usage:  {path} {usage}\n\n{about}\n\nOptions:\n{options}");
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return super::fail(&error),
    };
    match A::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(FILE_THREADS)
        .thread_keep_alive(THREAD_REST)
        .enable_all()
        .build()
}

fn serve(surroundings: &Surroundings, globals: &Globals, args: Serve) -> anyhow::Result<()> {
    super::logging::start(globals);
    sys::daemon::share_pools();
    if let Err(error) = sys::daemon::raise_files() {
        tracing::warn!(%error, "raise the limit of open files");
    }
    let config = config(surroundings, &args)?;
    let runtime = runtime()?;
    let result = runtime.block_on(listen(surroundings, config, &args));
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn listen(surroundings: &Surroundings, config: Config, args: &Serve) -> anyhow::Result<()> {
    // Registered first: a signal during the start ends the start in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let open_to_all = config.auth.is_none();
    let encrypted = config.tls.is_some();
    let registry = Arc::new(Registry::open(config).await.context("open the registry")?);
    let listener = TcpListener::bind(&args.addr).await.with_context(|| format!("listen on {}", args.addr))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && open_to_all {
        tracing::warn!(%address, "everybody who reaches this address may change what is there");
    }
    if !address.ip().is_loopback() && !open_to_all && !encrypted {
        tracing::warn!(%address, "passwords travel unencrypted");
    }
    if let Some(place) = &args.metrics_addr {
        let listener = TcpListener::bind(place).await.with_context(|| format!("listen on {place}"))?;
        tokio::spawn(registry_server::serve_figures(registry.clone(), listener));
    }
    println!("serving a registry on {}://{address}", if encrypted { "https" } else { "http" });
    let manager = surroundings.variable(manager::SOCKET);
    super::daemon::notify(manager, "READY=1");
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        super::daemon::notify(manager, "STOPPING=1");
    };
    registry_server::serve(registry, listener, shutdown).await;
    Ok(())
}

fn config(surroundings: &Surroundings, args: &Serve) -> anyhow::Result<Config> {
    let mut config = Config::new(root(surroundings, args.root.as_deref())?);
    config.auth = auth(surroundings, args)?;
    config.tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Some((surroundings.directory.join(certificate), surroundings.directory.join(key)))
        }
        (None, None) => None,
        _ => bail!("--tls-cert and --tls-key go together"),
    };
    config.patience = duration("timeout", &args.timeout)?;
    config.connections = args.connections.max(1);
    config.read_only = args.read_only;
    config.upload_age = duration("upload-expiry", &args.upload_expiry)?;
    config.quota = args.quota.iter().map(|text| limit(text)).collect::<anyhow::Result<_>>()?;
    config.collect_every = duration("gc-interval", &args.gc_interval)?;
    config.garbage = garbage(&args.gc_grace, args.gc_untagged)?;
    config.webhooks.clone_from(&args.webhook);
    config.bucket = bucket(surroundings, &args.s3);
    if args.upstream.is_none() && args.upstream_max.is_some() {
        bail!("--upstream-max is for a cache of another registry: --upstream HOST");
    }
    config.upstream = args.upstream.as_ref().map(|text| upstream(surroundings, args, text)).transpose()?;
    Ok(config)
}

fn bucket(surroundings: &Surroundings, args: &S3) -> Option<BucketConfig> {
    let variable = |name: &str| surroundings.variable(name).map(str::to_owned);
    let credentials = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    let address = BucketAddress {
        name: args.s3_bucket.clone()?,
        region: args.s3_region.clone(),
        endpoint: args.s3_endpoint.clone(),
        path_style: args.s3_path_style,
        credentials: credentials.map(|(key, secret)| (key, secret, variable("AWS_SESSION_TOKEN"))),
    };
    Some(BucketConfig { address, prefix: args.s3_prefix.clone(), client: client(surroundings) })
}

/// How other hosts are reached.
fn client(surroundings: &Surroundings) -> ClientConfig {
    let config = surroundings.places.engine();
    ClientConfig { proxies: config.proxies, places: config.registries, ..ClientConfig::default() }
}

fn upstream(surroundings: &Surroundings, args: &Serve, text: &str) -> anyhow::Result<Upstream> {
    let mut client = client(surroundings);
    let (scheme, host) = text.split_once("://").unwrap_or(("https", text));
    let host = host.trim_end_matches('/').to_owned();
    match scheme {
        _ if host.is_empty() || host.contains('/') => {
            bail!("--upstream {text}: a host is needed, and no path")
        }
        "https" => {}
        "http" => client.insecure.push(host.clone()),
        _ => bail!("--upstream {text}: it is reached by https or http"),
    }
    let credentials = match (&args.upstream_user, &args.upstream_password_file) {
        (None, None) => None,
        (Some(user), Some(path)) => {
            let path = surroundings.directory.join(path);
            let password =
                std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            Some(Credentials { username: user.clone(), password, ..Credentials::default() })
        }
        _ => bail!("--upstream-user and --upstream-password-file go together"),
    };
    let fresh = duration("upstream-fresh", &args.upstream_fresh)?;
    let most = args.upstream_max.as_ref();
    let most = most.map(|text| bytes(text).with_context(|| format!("--upstream-max {text}"))).transpose()?;
    Ok(Upstream { host, client, credentials, fresh, most })
}

fn auth(surroundings: &Surroundings, args: &Serve) -> anyhow::Result<Option<auth::Config>> {
    let scheme = match args.auth.as_str() {
        "basic" => Scheme::Basic,
        "token" => Scheme::Token,
        other => bail!("--auth {other}: it is basic or token"),
    };
    let Some(htpasswd) = &args.htpasswd else {
        if args.access.is_some() || args.anonymous_pull || scheme == Scheme::Token {
            bail!("--access, --anonymous-pull and --auth token need users: --htpasswd FILE");
        }
        return Ok(None);
    };
    let token_life = duration("token-life", &args.token_life)?;
    if token_life < TOKEN_LIFE_LEAST {
        bail!(
            "--token-life {}: clients count on a minute at least, and could not push or pull",
            args.token_life
        );
    }
    Ok(Some(auth::Config {
        htpasswd: surroundings.directory.join(htpasswd),
        access: args.access.as_ref().map(|path| surroundings.directory.join(path)),
        anonymous_pull: args.anonymous_pull,
        scheme,
        url: args.url.clone(),
        token_life,
    }))
}

fn root(surroundings: &Surroundings, root: Option<&Path>) -> anyhow::Result<PathBuf> {
    match root {
        Some(root) => Ok(surroundings.directory.join(root)),
        None => bail!("where to keep everything is not said: --root DIR"),
    }
}

fn garbage(grace: &str, untagged: bool) -> anyhow::Result<Collection> {
    Ok(Collection { grace: duration("gc-grace", grace)?, untagged })
}

fn duration(flag: &str, text: &str) -> anyhow::Result<Duration> {
    let nanoseconds = api::duration::parse(text).with_context(|| format!("--{flag} {text}"))?;
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        Err(_) => bail!("--{flag} {text}: it can't be negative"),
    }
}

fn limit(text: &str) -> anyhow::Result<Limit> {
    let (prefix, size) = match text.split_once('=') {
        Some((prefix, size)) if !prefix.is_empty() => (Some(prefix.trim_end_matches('/').to_owned()), size),
        _ => (None, text),
    };
    let bytes = bytes(size).with_context(|| format!("--quota {text}"))?;
    Ok(Limit { prefix, bytes })
}

fn bytes(text: &str) -> anyhow::Result<u64> {
    let bytes = cli::format::units::ram_in_bytes(text).map_err(anyhow::Error::msg)?;
    Ok(u64::try_from(bytes)?)
}

fn collect(surroundings: &Surroundings, globals: &Globals, args: &Collect) -> anyhow::Result<()> {
    super::logging::start(globals);
    let root = root(surroundings, args.root.as_deref())?;
    if !root.is_dir() {
        bail!("{}: there is no registry", root.display());
    }
    let wanted = garbage(&args.gc_grace, args.gc_untagged)?;
    let collected = runtime()?.block_on(async {
        let mut config = Config::new(&root);
        config.bucket = bucket(surroundings, &args.s3);
        // What a server relies on is not written down in a bucket: it collects itself, and else nobody may serve it meanwhile.
        config.alone = config.bucket.is_some();
        let registry = Registry::open(config).await.context("open the registry")?;
        registry.collect(wanted).await.map_err(anyhow::Error::from)
    })?;
    let collected = collected.unwrap_or_default();
    println!("Removed manifests: {}", collected.manifests);
    println!("Removed blobs: {}", collected.blobs);
    println!("Removed repositories: {}", collected.repositories);
    println!("Total reclaimed space: {}", cli::format::units::human_size(collected.bytes as f64));
    Ok(())
}

fn passwd(args: &Passwd) -> anyhow::Result<()> {
    let mut password = String::new();
    std::io::stdin().read_line(&mut password).context("read the password")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("the password is read from standard input, and it is empty");
    }
    let name = args.args.first().map(String::as_str).unwrap_or_default();
    println!("{}", auth::user(name, password)?);
    Ok(())
}
