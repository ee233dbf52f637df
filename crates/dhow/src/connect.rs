//! Which server a command talks to: the one that is named, else the daemon that runs here, else one inside of this
//! very process.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::{Error, Files, Globals, Link};
use client::{Connector, Stream};
use engine::Engine;
use rustix::fs::Access;
use rustix::io::Errno;
use tokio::sync::OnceCell;

use crate::surroundings::Surroundings;

pub fn connect(globals: &Globals, surroundings: &Surroundings) -> Result<Link, Error> {
    if let Some(host) = named(globals, surroundings)? {
        return explicit(&host, surroundings);
    }
    let socket = surroundings.places.socket();
    match UnixStream::connect(&socket) {
        Ok(_) => {
            let asked = surroundings.variable("DHOW_ROOT").is_some();
            if let Some(theirs) = surroundings.places.foreign_root().filter(|_| asked) {
                return Err(of_another_root(&socket, &theirs, &surroundings.places.root));
            }
            let files = if is_ours(&socket) { Files::Shared } else { Files::Apart };
            return Ok(Link { connector: Connector::unix(socket), files });
        }
        // Anybody may see that it is there; who may use it is up to its group.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && socket.exists() => {
            return Err(Error::new(format!(
                "permission denied while trying to connect to the daemon socket at unix://{}: run this as root, or as \
                 a member of the group that `dhow daemon --group` gave the socket to",
                socket.display()
            )));
        }
        // A socket that nobody listens at is a daemon's that was killed.
        Err(_) => {}
    }
    Ok(Link { connector: embedded(globals, surroundings), files: Files::Shared })
}

/// Who names a root is not to act on that of a daemon that happens to run here.
fn of_another_root(socket: &Path, theirs: &Path, ours: &Path) -> Error {
    Error::new(format!(
        "the daemon at unix://{} is that of {}, and DHOW_ROOT names {}: give that root a directory of its own in DHOW_RUN too, or unset \
         DHOW_ROOT to talk to the daemon",
        socket.display(),
        theirs.display(),
        ours.display()
    ))
}

/// The server that flags or environment name.
fn named(globals: &Globals, surroundings: &Surroundings) -> Result<Option<String>, Error> {
    match globals.hosts.as_slice() {
        [] => {}
        [host] if host.is_empty() => return Ok(None),
        [host] => return Ok(Some(host.clone())),
        _ => return Err(Error::new("specify only one -H")),
    }
    let variable = surroundings.variable("DHOW_HOST").or_else(|| surroundings.variable("DOCKER_HOST"));
    Ok(variable.map(str::to_owned))
}

fn explicit(host: &str, surroundings: &Surroundings) -> Result<Link, Error> {
    // A bare path or host is meant as Docker's flag library completes it.
    let host = match host {
        path if path.starts_with('/') => format!("unix://{path}"),
        host if !host.contains("://") => format!("tcp://{host}"),
        host => host.to_owned(),
    };
    if host.starts_with("tcp://") && surroundings.variable("DOCKER_TLS_VERIFY").is_some() {
        return Err(Error::new(format!(
            "{host}: TLS connections are not supported, DOCKER_TLS_VERIFY is set"
        )));
    }
    let connector = Connector::from_host(&host).map_err(Error::from)?;
    let files = match host.strip_prefix("unix://") {
        Some(path) if is_ours(Path::new(path)) => Files::SharedWithDhow,
        _ => Files::Apart,
    };
    Ok(Link { connector, files })
}

/// A server shares files only with those who could read them anyway: root, or its own user.
fn is_ours(socket: &Path) -> bool {
    let uid = rustix::process::getuid().as_raw();
    uid == 0 || std::fs::metadata(socket).is_ok_and(|metadata| metadata.uid() == uid)
}

/// A server in this process; the engine is opened by the first request.
fn embedded(globals: &Globals, surroundings: &Surroundings) -> Connector {
    sys::daemon::mask_as_server();
    let starts = is(globals, "run");
    // Who may not open all this is to hear so first.
    let late = is(globals, "exec") && rustix::process::geteuid().is_root();
    let config = engine::Config { alone: true, starts, late, ..surroundings.places.engine() };
    let engine: Arc<OnceCell<Engine>> = Arc::default();
    // It ends with the process: closing its files one by one beforehand is good for nothing.
    std::mem::forget(engine.clone());
    Connector::in_process(move || {
        let (config, engine) = (config.clone(), engine.clone());
        Box::pin(async move {
            let engine = engine.get_or_try_init(|| open(config)).await?;
            server::embedded(engine.clone()).map(Stream::Unix)
        })
    })
}

/// Whether the command is this verb of containers.
fn is(globals: &Globals, verb: &str) -> bool {
    match globals.args.as_slice() {
        [noun, asked, ..] if noun == "container" => asked == verb,
        [asked, ..] => asked == verb,
        [] => false,
    }
}

/// Opens the engine; who may not hears what to do.
pub async fn open(config: engine::Config) -> io::Result<Engine> {
    let places = [config.root.clone(), config.run.clone()];
    // What is there of each, or of the way to it.
    let there = |place: &PathBuf| place.ancestors().find(|path| path.exists()).map(Path::to_owned);
    if let Some(file) = places.iter().filter_map(there).find(|path| !path.is_dir()) {
        return Err(io::Error::other(format!(
            "{} is not a directory: let DHOW_ROOT and DHOW_RUN name directories",
            file.display()
        )));
    }
    Engine::open(config).await.map_err(|error| match places.iter().find(|place| is_closed_to_us(place)) {
        Some(place) => io::Error::other(closed(place)),
        None => io::Error::other(error),
    })
}

/// Whether a directory, or what it would be made in, belongs to somebody whose files we may not change.
fn is_closed_to_us(place: &Path) -> bool {
    // A parent that cannot be looked into hides what is below it.
    let there = place.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) == Err(Errno::ACCESS)
}

fn closed(place: &Path) -> String {
    format!(
        "permission denied at {}: run this as root, or name the socket of a daemon that runs as root with DOCKER_HOST",
        place.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::Places;

    fn places() -> Places {
        Places {
            root: "/no/such/root".into(),
            run: "/no/such/run".into(),
            storage: engine::system::Storage::default(),
            layer_max: None,
            layers: engine::LayerForm::default(),
            cdi: Vec::new(),
            etc: "/etc".into(),
        }
    }

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            program: "dhow".to_owned(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            directory: "/".into(),
            places: places(),
        }
    }

    fn host(flag: Option<&str>, variables: &[(&str, &str)]) -> String {
        let surroundings = surroundings(variables);
        let globals = Globals { hosts: flag.map(str::to_owned).into_iter().collect(), ..Globals::default() };
        match connect(&globals, &surroundings) {
            Ok(link) => link.connector.host().to_owned(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn a_root_that_is_named_is_not_another_daemons() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let places = |root: &Path| Places { root: root.into(), run: dir.path().into(), ..places() };
        let _socket = std::os::unix::net::UnixListener::bind(places(&theirs).socket()).unwrap();
        places(&theirs).announce().unwrap();
        let answer = |root: &Path, variables: &[(&str, &str)]| {
            let surroundings = Surroundings { places: places(root), ..surroundings(variables) };
            connect(&Globals::default(), &surroundings).map(|_| ()).map_err(|error| error.message)
        };
        let named = [("DHOW_ROOT", "as in its places")];
        let refused = answer(&ours, &named).unwrap_err();
        assert!(refused.contains("theirs, and DHOW_ROOT names") && refused.contains("DHOW_RUN"), "{refused}");
        assert_eq!(answer(&theirs, &named), Ok(()));
        assert_eq!(answer(&ours, &[]), Ok(()), "who names none talks to the daemon");
        std::os::unix::fs::symlink(&theirs, &ours).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        assert_eq!(answer(&ours, &named), Ok(()), "the same by another path");
    }

    #[test]
    fn flags_win_over_the_environment_and_nothing_named_is_embedded() {
        assert_eq!(host(None, &[]), "embedded");
        assert_eq!(host(None, &[("DOCKER_HOST", "unix:///a.sock")]), "unix:///a.sock");
        assert_eq!(
            host(None, &[("DOCKER_HOST", "unix:///a.sock"), ("DHOW_HOST", "unix:///b.sock")]),
            "unix:///b.sock"
        );
        assert_eq!(
            host(Some("tcp://127.0.0.1:1"), &[("DOCKER_HOST", "unix:///a.sock")]),
            "tcp://127.0.0.1:1"
        );
        assert_eq!(host(Some("/c.sock"), &[]), "unix:///c.sock");
        assert_eq!(host(Some("nope://x"), &[]), "unable to parse docker host \"nope://x\"");
        let verify = [("DOCKER_TLS_VERIFY", "1")];
        assert!(host(Some("tcp://127.0.0.1:1"), &verify).contains("TLS connections are not supported"));
    }
}
