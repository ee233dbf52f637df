//! `--allow`: what files may make a build do on this machine. Files come from others; whoever runs them says what they
//! may read and write outside of the working directory, and whether steps may leave their confinement.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use ::bake::entry::Entry;
use ::bake::{Plan, Target};
use oci::path::clean;

use super::Args;
use crate::build::run::entitlements;
use crate::build::source::{is_remote, leads_elsewhere};
use crate::context::Cli;
use crate::error::Error;

/// What the command line allows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    network_host: bool,
    security_insecure: bool,
    every_device: bool,
    devices: BTreeSet<String>,
    ssh: bool,
    delete: bool,
    read: Vec<String>,
    write: Vec<String>,
}

impl Allowed {
    pub fn read(given: &[String]) -> Result<Allowed, String> {
        let mut all = Allowed::default();
        for word in given {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match (key, value) {
                ("network.host", "") => all.network_host = true,
                ("security.insecure", "") => all.security_insecure = true,
                ("ssh", "") => all.ssh = true,
                ("buildx.local.delete", "") => all.delete = true,
                ("buildx.local.delete", _) => {
                    return Err("buildx.local.delete does not accept a value".to_owned());
                }
                ("device", "") => all.every_device = true,
                ("device", name) => {
                    all.devices.insert(name.split(',').next().unwrap_or_default().to_owned());
                }
                ("fs.read", path) => all.read.push(path.to_owned()),
                ("fs.write", path) => all.write.push(path.to_owned()),
                ("fs", path) => {
                    all.read.push(path.to_owned());
                    all.write.push(path.to_owned());
                }
                // Images go nowhere else than the command line and the file say: nothing is to be allowed.
                ("image" | "image.push" | "image.load", _) => {}
                _ => return Err(format!("unknown entitlement key {}", template::quote(key))),
            }
        }
        Ok(all)
    }
}

/// What targets need and nobody allowed, with what to say to allow it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    lines: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

impl Missing {
    fn add(&mut self, line: &str, flag: impl Into<String>) {
        let entry = (line.to_owned(), flag.into());
        if !self.lines.contains(&entry) {
            self.lines.push(entry);
        }
    }
}

/// Asks whoever is at the terminal, or fails, if something is not allowed.
pub fn check(cli: &Cli, plan: &Plan, mut allowed: Allowed, args: &Args, remote: bool) -> Result<(), Error> {
    let here = &cli.host.directory;
    let granted = &plan.granted;
    allowed.network_host |= granted.network_host;
    allowed.security_insecure |= granted.security_insecure;
    allowed.read.extend(granted.read.iter().cloned());
    allowed.write.extend(granted.write.iter().cloned());
    let missing = missing(plan, &allowed, here);
    let flag = |name: &str| cli.variable(name).map(|text| ::bake::entry::truth(&text) == Some(true));
    let files = match (flag("BUILDX_BAKE_ENTITLEMENTS_FS"), flag("BAKE_ALLOW_REMOTE_FS_ACCESS")) {
        (Some(on), _) => on,
        (None, Some(free)) if remote => !free,
        _ => true,
    };
    if missing.lines.is_empty() && (missing.files.is_empty() || !files) {
        return Ok(());
    }
    let all: Vec<&(String, String)> = missing.lines.iter().chain(&missing.files).collect();
    let flags: Vec<String> = all.iter().map(|(_, flag)| format!("--allow={flag}")).collect();
    let mut text =
        "Your build is requesting privileges for following possibly insecure capabilities:\n\n".to_owned();
    for (line, _) in &all {
        text.push_str(&format!(" - {line}\n"));
    }
    let terminal = std::io::stdin().is_terminal() && args.progress.as_deref() != Some("rawjson");
    let quoted = template::quote(&flags.join(" "));
    text.push_str(&match terminal {
        true => format!(
            "\nIn order to not see this message in the future pass {quoted} to grant requested privileges.\n"
        ),
        false => format!("\nPass {quoted} to grant requested privileges.\n"),
    });
    if files && !missing.files.is_empty() && cli.variable("BUILDX_BAKE_ENTITLEMENTS_FS").is_none() {
        text.push_str(
            "To disable filesystem entitlements checks, you can set BUILDX_BAKE_ENTITLEMENTS_FS=0 .\n",
        );
    }
    cli.complain(text.trim_end());
    if terminal {
        cli.complain("Do you want to grant requested privileges and continue? [y/N]");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
    }
    Err(Error::new("additional privileges requested"))
}

fn missing(plan: &Plan, allowed: &Allowed, here: &Path) -> Missing {
    let mut missing = Missing::default();
    let (mut read, mut write) = (BTreeSet::new(), BTreeSet::new());
    let mut agent = false;
    for target in plan.targets.values() {
        for entitlement in entitlements(target.strings("entitlements")) {
            let (key, device) = entitlement.split_once('=').unwrap_or((&entitlement, ""));
            let device = device.split(',').next().unwrap_or_default();
            match key {
                "network.host" if !allowed.network_host => {
                    missing.add("Running build containers that can access host network", key);
                }
                "security.insecure" if !allowed.security_insecure => {
                    missing.add("Running privileged containers that can make system changes", key);
                }
                "device" if allowed.every_device || allowed.devices.contains(device) => {}
                "device" if device.is_empty() => missing.add("Access to CDI devices", key),
                "device" => {
                    missing.add(&format!("Access to device {device}"), format!("device={device}"));
                }
                _ => {}
            }
        }
        let deletes = |output: &&Entry| output.kind() == "local" && output.get("mode") == "delete";
        if !allowed.delete && target.entries("output").iter().any(|output| deletes(&output)) {
            missing.add("Deleting stale files from local output destinations", "buildx.local.delete");
        }
        agent |= target.entries("ssh").iter().any(|agent| agent.paths.is_empty());
        read.extend(reads(target, here));
        write.extend(writes(target));
    }
    if agent && !allowed.ssh {
        missing.files.push(("Forwarding default SSH agent socket".to_owned(), "ssh".to_owned()));
    }
    let read = outside(&read, &allowed.read, here);
    let write = outside(&write, &allowed.write, here);
    let shown = |path: &PathBuf| relative(path, here);
    for path in read.intersection(&write) {
        let path = shown(path);
        missing.files.push((format!("Read and write access to path {path}"), format!("fs={path}")));
    }
    for path in read.difference(&write) {
        let path = shown(path);
        missing.files.push((format!("Read access to path {path}"), format!("fs.read={path}")));
    }
    for path in write.difference(&read) {
        let path = shown(path);
        missing.files.push((format!("Write access to path {path}"), format!("fs.write={path}")));
    }
    missing
}

/// What a target reads here, by what the build itself takes for a file.
fn reads(target: &Target, here: &Path) -> Vec<String> {
    let local = |path: &str| {
        let elsewhere = is_remote(path)
            || ["target:", "docker-image:", "oci-layout:"].iter().any(|prefix| path.starts_with(prefix));
        (!elsewhere).then(|| path.trim_start_matches("cwd://").to_owned())
    };
    let context = target.text("context").unwrap_or(".");
    let is_elsewhere = leads_elsewhere(context, here);
    let mut all: Vec<String> = (!is_elsewhere).then(|| context.to_owned()).into_iter().collect();
    if let (Some(file), false, None) =
        (target.text("dockerfile"), is_elsewhere, target.text("dockerfile-inline"))
    {
        all.push(dockerfile(context, file));
    }
    all.extend(target.map("contexts").filter_map(|(_, at)| local(at)));
    let caches = target.entries("cache-from").iter().filter(|cache| cache.kind() == "local");
    all.extend(caches.filter_map(|cache| cache.fields.get("src").cloned()));
    // A secret of which no more is said than its name is a file of that name.
    let file_of = |secret: &Entry| match (secret.fields.get("src"), secret.fields.get("env")) {
        (Some(file), _) => Some(file.clone()),
        (None, None) => secret.fields.get("id").cloned(),
        (None, Some(_)) => None,
    };
    all.extend(target.entries("secret").iter().filter_map(file_of));
    all.extend(target.entries("ssh").iter().flat_map(|agent| agent.paths.clone()));
    all
}

fn writes(target: &Target) -> Vec<String> {
    let outputs = target.entries("output").iter().filter(|output| output.get("dest") != "-");
    let caches = target.entries("cache-to").iter().filter(|cache| cache.kind() == "local");
    outputs.chain(caches).filter_map(|entry| entry.fields.get("dest").cloned()).collect()
}

/// Bake's Dockerfile is relative to the context, but for `cwd://`.
pub fn dockerfile(context: &str, file: &str) -> String {
    match file.strip_prefix("cwd://") {
        Some(file) => clean(file),
        None if file.starts_with('/') => clean(file),
        None => clean(&format!("{context}/{file}")),
    }
}

/// The paths that lie below none of those that are allowed.
fn outside(paths: &BTreeSet<String>, allowed: &[String], here: &Path) -> BTreeSet<PathBuf> {
    if allowed.iter().any(|path| path == "*") {
        return BTreeSet::new();
    }
    let roots: Vec<PathBuf> =
        [".".to_owned()].iter().chain(allowed).map(|path| real(&here.join(path), true)).collect();
    let found: BTreeSet<PathBuf> = paths
        .iter()
        .map(|path| real(&here.join(path), false))
        .filter(|path| !roots.iter().any(|root| path.starts_with(root)))
        .collect();
    // What lies below another one needs no line of its own.
    found.iter().filter(|path| !found.iter().any(|o| o != *path && path.starts_with(o))).cloned().collect()
}

/// A path with its links followed, as far as it exists; what does not exist, behind it or left out.
pub fn real(path: &Path, whole: bool) -> PathBuf {
    let path = PathBuf::from(clean(&path.to_string_lossy()));
    for parent in path.ancestors() {
        if let Ok(found) = parent.canonicalize() {
            let rest = path.strip_prefix(parent).unwrap_or(Path::new(""));
            return if whole { found.join(rest) } else { found };
        }
    }
    path
}

/// A path as it is shortest to say: relative, if it is at most one step up.
fn relative(path: &Path, here: &Path) -> String {
    let here = here.canonicalize().unwrap_or_else(|_| here.to_path_buf());
    if let Ok(below) = path.strip_prefix(&here) {
        return if below.as_os_str().is_empty() { ".".to_owned() } else { below.display().to_string() };
    }
    match here.parent().and_then(|parent| path.strip_prefix(parent).ok()) {
        Some(beside) if beside.as_os_str().is_empty() => "..".to_owned(),
        Some(beside) => format!("../{}", beside.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::bake::{Config, Definitions, Source, Surroundings};
    use std::collections::BTreeMap;

    /// The target `x` of a file.
    fn plan(text: &str) -> Plan {
        let sources = [Source { name: "t.json".to_owned(), text: text.to_owned() }];
        let mut definitions = Definitions::default();
        let body = ::bake::language::parse(0, &sources[0]).expect("a file");
        definitions.add(body, &BTreeMap::new()).expect("definitions");
        let lookup = |_: &str| None;
        let builtin = BTreeMap::new();
        let around = Surroundings { lookup: &lookup, builtin, home: String::new(), sources: &sources };
        let mut config = Config::default();
        config.define(&definitions, &around).expect("values");
        config.plan(&["x".to_owned()], &[], &lookup).expect("a plan")
    }

    #[test]
    fn words() {
        let read = |words: &[&str]| Allowed::read(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let all = read(&["network.host", "fs=/a", "fs.read=b", "device=x,y", "ssh"]).unwrap();
        assert!(all.network_host && all.ssh && !all.security_insecure && !all.every_device);
        assert_eq!((all.read, all.write), (vec!["/a".to_owned(), "b".to_owned()], vec!["/a".to_owned()]));
        assert!(all.devices.contains("x"));
        assert_eq!(read(&["nope"]).unwrap_err(), "unknown entitlement key \"nope\"");
        assert_eq!(
            read(&["buildx.local.delete=1"]).unwrap_err(),
            "buildx.local.delete does not accept a value"
        );
    }

    #[test]
    fn what_is_read_is_what_the_build_opens() {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("/etc", here.join("me@host:context")).unwrap();
        let text = r#"{"target": {"x": {
            "context": "me@host:context", "dockerfile": "D", "contexts": {"a": "me@host:b", "c": "../c"},
            "secret": ["id=/etc/shadow", "id=token,env=TOKEN", "id=k,src=/k"]
        }}}"#;
        let all = reads(&plan(text).targets["x"], &here);
        assert_eq!(all, ["me@host:context", "me@host:context/D", "../c", "/etc/shadow", "/k"]);
    }

    #[test]
    fn words_with_commas_are_asked_about_one_by_one() {
        let text =
            r#"{"target": {"x": {"entitlements": [",security.insecure, network.host", "device=a/b=c,d"]}}}"#;
        let missing = missing(&plan(text), &Allowed::default(), Path::new("/"));
        let flags: Vec<_> = missing.lines.iter().map(|(_, flag)| flag.as_str()).collect();
        assert_eq!(flags, ["security.insecure", "network.host", "device=a/b=c"]);
    }

    #[test]
    fn paths_outside() {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().canonicalize().unwrap().join("here");
        std::fs::create_dir_all(here.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", here.join("link")).unwrap();
        let paths = |all: &[&str]| all.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>();
        let found = |all: &[&str], allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|path| (*path).to_owned()).collect();
            let found = outside(&paths(all), &allowed, &here);
            found.iter().map(|path| relative(path, &here)).collect::<Vec<_>>()
        };
        assert_eq!(found(&["in", "in/new/x", "."], &[]), Vec::<String>::new());
        assert_eq!(found(&["link/passwd", "..", "../here"], &[]), ["/etc/passwd", ".."]);
        assert_eq!(found(&["link/passwd", ".."], &["/etc", ".."]), Vec::<String>::new());
        assert_eq!(found(&["/", "link"], &["*"]), Vec::<String>::new());
        assert_eq!(found(&["/nowhere/at/all"], &[]), ["/"]);
    }
}
