//! The environment, read once.
//!
//! `DHOW_ROOT` and `DHOW_RUN` move the engine's directories, `DHOW_LAYER_MAX` says what is too large for a layer, `DHOW_LAYERS` what form
//! layers take, and `DHOW_CDI_SPEC_DIRS` where vendors describe devices (several with colons between). `DHOW_ETC` stands for the folder whose files
//! say how registries are reached: `/etc` for root, a user's own configuration for others. `DHOW_HOST`, or else `DOCKER_HOST`, names a server, and
//! `DOCKER_CONFIG` the directory of the client's settings. Everything else is handed to the commands by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::connect;

/// Where the program lies, said by a process to itself when it goes on from a mount that has no path.
const EXE: &str = "DHOW_EXE";

/// Goes on from a read-only mount, where that has not been done and can be.
pub fn leave_writable() -> std::io::Result<()> {
    sys::exe::leave_writable(std::env::args_os(), &[(EXE, exe())])?;
    // It was executed through a descriptor, whose number is its name.
    let _ = rustix::thread::set_name(c"dhow");
    Ok(())
}

/// This program's file: by the link of the process itself, which stays right when the file is replaced by a newer one.
fn exe() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path == Path::new("/") => std::env::var_os(EXE).map_or(path, PathBuf::from),
        path => path.unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
    }
}

/// The version that `--version` prints.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The name that the program was called by.
    pub program: String,
    pub variables: BTreeMap<String, String>,
    pub directory: PathBuf,
    pub places: Places,
}

/// Where an engine lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub root: PathBuf,
    pub run: PathBuf,
    /// What images and the build cache may take.
    pub storage: engine::system::Storage,
    /// The bytes that a layer or an archive of images may unpack to, where the engine's own limit is not wanted.
    pub layer_max: Option<u64>,
    /// What becomes of layers that come from elsewhere.
    pub layers: engine::LayerForm,
    /// Where vendors describe devices, where that is not where they always do.
    pub cdi: Vec<PathBuf>,
    /// The folder whose files say how registries are reached.
    pub etc: PathBuf,
}

impl Places {
    /// From the variables. They are handed on to monitors and clean-ups, which run elsewhere, so they must be
    /// absolute.
    pub fn read() -> Result<Places, String> {
        let place = |name: &str, default: &str| match std::env::var_os(name).filter(|value| !value.is_empty())
        {
            None => Ok(PathBuf::from(default)),
            Some(value) if Path::new(&value).is_absolute() => Ok(PathBuf::from(value)),
            Some(value) => Err(format!("{name} must be an absolute path: {}", value.to_string_lossy())),
        };
        let (root, run) = (place("DHOW_ROOT", "/var/lib/dhow")?, place("DHOW_RUN", "/run/dhow")?);
        let cdi = std::env::var_os("DHOW_CDI_SPEC_DIRS").unwrap_or_default();
        let cdi = std::env::split_paths(&cdi).filter(|path| !path.as_os_str().is_empty()).collect();
        let etc = place("DHOW_ETC", &default_etc())?;
        let layers = std::env::var("DHOW_LAYERS").unwrap_or_default();
        let layers = if layers.is_empty() { "auto" } else { &layers };
        let layers = layers.parse().map_err(|problem| format!("DHOW_LAYERS {problem}"))?;
        let layer_max = layer_max(std::env::var_os("DHOW_LAYER_MAX"))?;
        let storage = crate::storage::read(&etc)?;
        Ok(Places { root, run, storage, layer_max, layers, cdi, etc })
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// A link to the root of the daemon whose socket that is.
    fn root_of_daemon(&self) -> PathBuf {
        self.run.join("root")
    }

    /// Says that the daemon at the socket is of this root.
    pub fn announce(&self) -> std::io::Result<()> {
        let link = self.root_of_daemon();
        let made = self.run.join(format!("root.{}", std::process::id()));
        std::os::unix::fs::symlink(&self.root, &made)?;
        std::fs::rename(&made, &link)
    }

    /// The root of the daemon at the socket, if that is another than ours.
    pub fn foreign_root(&self) -> Option<PathBuf> {
        let theirs = std::fs::read_link(self.root_of_daemon()).ok()?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        (theirs != self.root && real(&theirs) != real(&self.root)).then_some(theirs)
    }

    /// How an engine is opened here.
    pub fn engine(&self) -> engine::Config {
        let mut config = engine::Config::new(&self.root, &self.run, exe());
        config.storage = self.storage;
        if let Some(bytes) = self.layer_max {
            config.unpack.bytes = bytes;
        }
        config.layers = self.layers;
        if !self.cdi.is_empty() {
            config.cdi_directories.clone_from(&self.cdi);
        }
        config.proxies = engine::Proxies::of_environment(|name| std::env::var(name).ok());
        config.registries = engine::RegistryPlaces::below(&self.etc);
        config.policies =
            ["dhow", "containers"].map(|owner| self.etc.join(owner).join("policy.json")).to_vec();
        config
    }
}

/// `/etc`, or the folder of a user's own configuration.
fn default_etc() -> String {
    if rustix::process::geteuid().is_root() {
        return "/etc".to_owned();
    }
    let text = |name: &str| std::env::var(name).ok().filter(|value| value.starts_with('/'));
    text("XDG_CONFIG_HOME").or_else(|| Some(text("HOME")? + "/.config")).unwrap_or_else(|| "/etc".to_owned())
}

/// A size as Docker's options have it, such as `20g`.
fn layer_max(text: Option<OsString>) -> Result<Option<u64>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bytes = text.to_str().and_then(|text| cli::format::units::ram_in_bytes(text).ok());
    match bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("DHOW_LAYER_MAX must be a size such as 20g: {}", text.to_string_lossy())),
    }
}

impl Surroundings {
    /// Reads arguments and environment; texts must be UTF-8, as they end up in JSON.
    pub fn read() -> Result<(Surroundings, Vec<String>), String> {
        let mut arguments = Vec::new();
        for argument in std::env::args_os() {
            arguments.push(argument.into_string().map_err(|text| format!("argument {text:?} is not UTF-8"))?);
        }
        let called = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
        let name = called.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("dhow").to_owned();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let places = Places::read()?;
        Ok((Surroundings { program: name, variables, directory, places }, arguments))
    }

    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What commands get of all this.
    pub fn host(&self) -> cli::Host {
        let home = self.variable("HOME").unwrap_or("/");
        let config_dir = match self.variable("DOCKER_CONFIG") {
            Some(path) => self.directory.join(path),
            None => Path::new(home).join(".docker"),
        };
        let surroundings = self.clone();
        cli::Host {
            program: self.program.clone(),
            version: VERSION,
            variables: self.variables.clone(),
            directory: self.directory.clone(),
            config_dir,
            connect: Box::new(move |globals| connect::connect(globals, &surroundings)),
            debug: crate::logging::debug,
        }
    }
}
