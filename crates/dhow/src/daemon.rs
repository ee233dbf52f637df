//! `dhow daemon`: the API for other programs. Containers do not depend on it: it can be stopped, killed and replaced
//! at any time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cli::Globals;
use cli::flags::{Arity, Parsed, Shape};
use server::Listener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::manager;
use crate::surroundings::Surroundings;

/// How long threads for blocking work stay when there is none.
const THREAD_REST: Duration = Duration::from_secs(1);
/// How long nobody must have asked for anything before memory is given back.
const QUIET: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
struct Args {
    /// Print debugging messages
    #[arg(short = 'D', long)]
    debug: bool,
    /// Directory with vendors' descriptions of devices, in place of /etc/cdi and /var/run/cdi; may be repeated
    #[arg(long, value_name = "path")]
    cdi_spec_dir: Vec<PathBuf>,
    /// Group, by number, that may use the socket
    #[arg(short = 'G', long, value_name = "int")]
    group: Option<u32>,
    /// Where to listen: unix:///path or tcp://address:port; may be repeated
    #[arg(short = 'H', long = "host")]
    hosts: Vec<String>,
    /// Registry to speak to without TLS, as host[:port]
    #[arg(long)]
    insecure_registry: Vec<String>,
    /// Address of a mirror of Docker Hub; may be repeated
    #[arg(long)]
    registry_mirror: Vec<String>,
    /// File to write the process's id to
    #[arg(short, long)]
    pidfile: Option<PathBuf>,
    /// Allow TCP addresses that other machines reach: whoever reaches them owns this machine
    #[arg(long)]
    allow_remote: bool,
    /// Name by which TCP clients may address this server, besides its host name; may be repeated
    #[arg(long, value_name = "name")]
    server_name: Vec<String>,
    args: Vec<String>,
}

/// Runs until a signal ends it.
pub fn main(surroundings: &Surroundings, globals: Globals) -> ExitCode {
    let path = format!("{} daemon", surroundings.program);
    let shape = Shape { path: path.clone(), usage: "[OPTIONS]", arity: Arity::None };
    let command = || <Args as clap::Args>::augment_args(clap::Command::new("daemon"));
    let matches = match cli::flags::parse(command(), &shape, &globals.args[1..]) {
        Ok(Parsed::Matches(matches)) => matches,
        Ok(Parsed::Help) => {
            let options = cli::flags::options_help(command(), 80);
            let text = format!(
                "Usage:  {path} [OPTIONS]\n\nServe the API for other programs\n\nOptions:\n{options}"
            );
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return super::fail(&error),
    };
    let result = <Args as clap::FromArgMatches>::from_arg_matches(&matches)
        .map_err(anyhow::Error::from)
        .and_then(|args| run(surroundings, &globals, args));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(surroundings: &Surroundings, globals: &Globals, mut args: Args) -> anyhow::Result<()> {
    super::logging::start(&Globals { debug: globals.debug || args.debug, ..globals.clone() });
    args.hosts.extend(globals.hosts.iter().cloned());
    sys::daemon::share_pools();
    // A connection is a descriptor: more than the 1024 that a login or systemd gives are served.
    sys::daemon::mask_as_server();
    if let Err(error) = sys::daemon::raise_files() {
        tracing::warn!(%error, "raise the limit of open files");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_keep_alive(THREAD_REST).enable_all().build()?;
    let result = runtime.block_on(async {
        let result = serve(surroundings, args).await;
        // Builds that end with their clients still need the runtime.
        crate::settle().await;
        result
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn serve(surroundings: &Surroundings, args: Args) -> anyhow::Result<()> {
    // Registered first: a signal during the start ends the start in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut config = surroundings.places.engine();
    config.insecure_registries.clone_from(&args.insecure_registry);
    config.registry_mirrors.clone_from(&args.registry_mirror);
    if !args.cdi_spec_dir.is_empty() {
        config.cdi_directories.clone_from(&args.cdi_spec_dir);
    }
    let engine = crate::connect::open(config).await.context("open the engine")?;
    let listeners = listeners(surroundings, &args).await?;
    let _pidfile = args.pidfile.as_deref().map(PidFile::write).transpose()?;
    // Clients may come while containers of the last boot are still being started.
    let starting = engine.clone();
    tokio::spawn(async move {
        if let Err(error) = engine::containers::keep(&starting).await {
            tracing::error!(%error, "start containers by their restart policies");
        }
    });
    let (activity, seen) = watch::channel(());
    tokio::spawn(give_back_when_quiet(seen));
    let limits = server::Limits::default();
    let manager = surroundings.variable(manager::SOCKET);
    notify(manager, "READY=1");
    let shutdown = async {
        shutdown.await;
        notify(manager, "STOPPING=1");
    };
    server::serve(engine, listeners, args.server_name, limits, activity, shutdown).await;
    Ok(())
}

/// Tells the service manager that waits for it, if there is one.
pub fn notify(socket: Option<&str>, state: &str) {
    let Some(socket) = socket else { return };
    if let Err(error) = manager::tell(socket, state) {
        tracing::warn!(%error, socket, "tell the service manager that {state}");
    }
}

/// Keeps an idle daemon small: after each burst of requests, and after the start, what it needed goes back to the
/// machine. Sleeps as long as nobody asks for anything.
async fn give_back_when_quiet(mut activity: watch::Receiver<()>) {
    loop {
        match tokio::time::timeout(QUIET, activity.changed()).await {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        sys::daemon::trim_memory();
        sys::daemon::drop_code();
        if activity.changed().await.is_err() {
            return;
        }
    }
}

async fn listeners(surroundings: &Surroundings, args: &Args) -> anyhow::Result<Vec<Listener>> {
    let socket = surroundings.places.socket();
    let mut hosts = args.hosts.clone();
    if hosts.is_empty() {
        hosts.push(format!("unix://{}", socket.display()));
    }
    let mut listeners = Vec::new();
    for host in hosts {
        let listener = match host.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => {
                let listener = unix(Path::new(path), args.group)?;
                if Path::new(path) == socket {
                    surroundings.places.announce().context("say of which root this daemon is")?;
                }
                listener
            }
            Some(("tcp", address)) => {
                let address: std::net::SocketAddr =
                    address.parse().with_context(|| format!("{host}: an address and a port are needed"))?;
                let listener = Listener::tcp(address, args.allow_remote).await?;
                if args.allow_remote && !address.ip().is_loopback() {
                    tracing::warn!(%address, "everybody who reaches this address owns this machine");
                }
                listener
            }
            _ => bail!("{host}: only unix:///path and tcp://address:port can be served"),
        };
        match listener.tcp_address() {
            Some(address) => tracing::info!(%address, "listening"),
            None => tracing::info!(%host, "listening"),
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn unix(path: &Path, group: Option<u32>) -> anyhow::Result<Listener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    Ok(Listener::unix(path, group)?)
}

/// The file with our process id, gone when we are.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> anyhow::Result<PidFile> {
        if let Ok(text) = std::fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && Path::new("/proc").join(pid.to_string()).exists()
        {
            bail!("process {pid} of {} is still running", path.display());
        }
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(PidFile(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
