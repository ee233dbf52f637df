//! What the repository says that a context lies in: labels (`BUILDX_GIT_LABELS`) and the provenance's part about version control
//! (`BUILDX_GIT_INFO`), as buildx has them. `git` is asked, and only if somebody wants to know.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::context::Cli;
use crate::error::Error;

const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
const ENTRYPOINT: &str = "com.docker.image.source.entrypoint";

/// Which of it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    labels: bool,
    /// For the provenance.
    info: bool,
    /// A work tree with changes is called so.
    dirty: bool,
}

/// What is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub labels: BTreeMap<String, String>,
    pub vcs: BTreeMap<String, String>,
}

impl Wanted {
    /// By the environment; a provenance that nobody writes needs none of it.
    pub fn read(cli: &Cli, has_provenance: bool) -> Wanted {
        let flag = |name: &str| cli.variable(name).and_then(|text| crate::flags::boolean(&text).ok());
        // Older versions had this word for it.
        let full = cli.variable("BUILDX_GIT_LABELS").is_some_and(|text| text == "full");
        Wanted {
            labels: full || flag("BUILDX_GIT_LABELS") == Some(true),
            info: has_provenance && flag("BUILDX_GIT_INFO") != Some(false),
            dirty: flag("BUILDX_GIT_CHECK_DIRTY") == Some(true),
        }
    }
}

/// Asks about a directory, and the Dockerfile that is read for it.
pub fn facts(wanted: Wanted, directory: &Path, dockerfile: &Path) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    if !wanted.labels && !wanted.info {
        return Ok(facts);
    }
    let git = Git { directory };
    if git.ask(&["rev-parse", "--is-inside-work-tree"]).as_deref() != Some("true") {
        return match directory.join(".git").is_dir() {
            true => Err(Error::new(
                "failed to read current commit information with git rev-parse --is-inside-work-tree: is git installed?",
            )),
            false => Ok(facts),
        };
    }
    let missing = || Error::new("failed to get git root dir");
    let top = PathBuf::from(git.ask(&["rev-parse", "--show-toplevel"]).ok_or_else(missing)?);
    let mut tell = |label: &str, key: &str, value: String| {
        if wanted.labels {
            facts.labels.insert(label.to_owned(), value.clone());
        }
        if wanted.info {
            facts.vcs.insert(key.to_owned(), value);
        }
    };
    // A repository without a commit has none to tell.
    if let Some(mut commit) = git.ask(&["rev-parse", "--verify", "--quiet", "HEAD"]) {
        if wanted.dirty && git.is_dirty() {
            commit.push_str("-dirty");
        }
        tell(REVISION, "revision", commit);
    }
    if let Some(address) = git.remote() {
        tell(SOURCE, "source", oci::address::without_userinfo(&address));
    }
    if let Some(path) = below(&top, dockerfile).filter(|_| wanted.labels) {
        facts.labels.insert(ENTRYPOINT.to_owned(), path);
    }
    for (name, place) in [("context", Some(directory)), ("dockerfile", dockerfile.parent())] {
        if let Some(path) = place.and_then(|place| below(&top, place)).filter(|_| wanted.info) {
            facts.vcs.insert(format!("localdir:{name}"), path);
        }
    }
    Ok(facts)
}

/// A path as the repository calls it; none for what lies outside of it.
fn below(top: &Path, path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let path = path.strip_prefix(top.canonicalize().ok()?).ok()?;
    Some(if path == Path::new("") { ".".to_owned() } else { path.to_str()?.to_owned() })
}

struct Git<'a> {
    directory: &'a Path,
}

impl Git<'_> {
    /// What git says, if it says something.
    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.directory).args(words.iter().map(OsStr::new));
        command.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether something lies there that no commit has; if that cannot be said, too.
    fn is_dirty(&self) -> bool {
        let clean = ["status", "--porcelain", "--ignored"];
        let mut command = Command::new("git");
        command.arg("-C").arg(self.directory).args(clean).stdin(Stdio::null());
        let output = command.output();
        output.map_or(true, |output| !output.status.success() || !output.stdout.trim_ascii().is_empty())
    }

    /// Where the repository came from: the remote of the branch, or the usual ones.
    fn remote(&self) -> Option<String> {
        let branch = self.ask(&["symbolic-ref", "--short", "--quiet", "HEAD"]);
        let own =
            branch.and_then(|branch| self.ask(&["config", "--get", &format!("branch.{branch}.remote")]));
        let mut names = own.into_iter().chain(["origin".to_owned(), "upstream".to_owned()]);
        names.find_map(|name| self.ask(&["remote", "get-url", &name]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let all = Wanted { labels: true, info: true, dirty: true };
        assert_eq!(facts(all, home.path(), &path("Dockerfile")).unwrap(), Facts::default());
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words).current_dir(home.path());
            assert!(command.output().unwrap().status.success(), "{words:?}");
        };
        git(&["init", "-q"]);
        std::fs::create_dir(path("app")).unwrap();
        std::fs::write(path("app/Dockerfile"), "FROM scratch\n").unwrap();
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "x"]);
        git(&["remote", "add", "origin", "https://me:secret@example.com/a.git"]);
        let told = facts(all, &path("app"), &path("app/Dockerfile")).unwrap();
        assert_eq!(told.vcs["source"], "https://example.com/a.git");
        assert_eq!(
            (told.vcs["localdir:context"].as_str(), told.labels[ENTRYPOINT].as_str()),
            ("app", "app/Dockerfile")
        );
        assert_eq!((told.vcs["revision"].len(), &told.vcs["revision"]), (40, &told.labels[REVISION]));
        std::fs::write(path("new"), "x").unwrap();
        let told = facts(Wanted { labels: false, ..all }, &path("app"), &path("app/Dockerfile")).unwrap();
        assert!(told.labels.is_empty() && told.vcs["revision"].ends_with("-dirty"));
        assert_eq!(
            facts(Wanted { labels: false, info: false, dirty: true }, &path("app"), home.path()).unwrap(),
            Facts::default()
        );
    }
}
