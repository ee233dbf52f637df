//! Debian's `docker-registry`, in which images of others lie.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Host, eventually};

/// Where it listens unless a test says otherwise.
const ADDRESS: &str = "127.0.0.1:5000";

/// Lines of its log that are shown when a test fails.
const SHOWN: usize = 10;

/// The registry, as long as this lives; it keeps its files below the host's home.
pub struct DockerRegistry {
    child: Child,
    log: PathBuf,
}

/// Files by which a registry says who it is.
pub struct Certificate<'p> {
    /// In PEM.
    pub certificate: &'p Path,
    /// Its key.
    pub key: &'p Path,
}

impl DockerRegistry {
    /// Listens without TLS on port 5000 of the network of this thread.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(host: &Host) -> Self {
        Self::at(host, ADDRESS, None)
    }

    /// Listens at an address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn at(host: &Host, address: &str, shown: Option<&Certificate<'_>>) -> Self {
        let storage = host.home().join("registry");
        let tls = shown.map(|Certificate { certificate, key }| {
            format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display())
        });
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"{}}}\n\
             log: {{level: error, accesslog: {{disabled: true}}}}\n",
            storage.display(),
            tls.unwrap_or_default()
        );
        let settings = host.file("registry.yml", settings);
        // It tells of each connection that broke: to a file, for nobody reads it meanwhile.
        let log = host.home().join("registry.log");
        let output = File::create(&log).expect("make a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(settings).current_dir(host.home()).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a second handle")).stderr(output);
        let child = command.spawn().expect("docker-registry is installed: `cargo xtask test` does that");
        let registry = Self { child, log };
        eventually("the registry listens", || TcpStream::connect(address).is_ok());
        registry
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let (true, Ok(log)) = (std::thread::panicking(), std::fs::read_to_string(&self.log)) {
            let last = log.lines().rev().take(SHOWN).collect::<Vec<_>>();
            eprintln!(
                "docker-registry said last:\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}
