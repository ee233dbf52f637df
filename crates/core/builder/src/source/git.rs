//! A commit of a repository as a directory.

use super::git_program::Program;
use super::git_url::{self, GitUrl, Ref, is_commit};
use super::{Error, io};
use crate::files::copy::clamp_times;
use base64::Engine as _;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// More is no repository that somebody builds.
const FILES_MAX: u64 = 2_000_000;
const BYTES_MAX: u64 = 64 << 30;

/// Digits of the ids in a repository whose objects have SHA-256 sums.
pub(super) const SHA256: usize = 64;
/// What git says of a server that cannot leave history out.
const NO_DEPTH: &str = "does not support shallow";

/// Who we are for the repository's host.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// Directories of this machine may be read.
    pub local: bool,
    /// Secrets by id: `GIT_AUTH_TOKEN`, `GIT_AUTH_HEADER`, both also with `.host` behind.
    pub secrets: &'a BTreeMap<String, Vec<u8>>,
    /// The socket of an ssh agent.
    pub agent: Option<&'a Path>,
    /// The keys of the repository's server, as ssh's file of known hosts has them; with none, those of its first answer count.
    pub known_hosts: Option<&'a str>,
    /// Proxy variables.
    pub proxies: &'a BTreeMap<String, String>,
}

/// The commit that an address stands for, and the ref that has it.
struct Resolved {
    commit: String,
    reference: Option<String>,
    /// The tag itself, where it is an object of its own.
    tag: Option<String>,
}

/// A commit's files.
pub struct Checkout {
    /// The directory that was asked for.
    pub root: Root,
    /// The commit's id.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub seconds: i64,
}

/// What is known of what an address stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryFacts {
    /// The whole name of the branch or tag, or the commit if there is none.
    pub reference: String,
    /// The object that the name stands for: a commit, or a tag that has a text of its own.
    pub object: String,
    /// The commit.
    pub commit: String,
    /// The commit as git has it, if that was asked for.
    pub commit_bytes: Vec<u8>,
    /// The tag as git has it, if there is one and that was asked for.
    pub tag_bytes: Vec<u8>,
}

/// A repository to be read below a directory of ours.
pub struct Repository<'a> {
    url: &'a GitUrl,
    program: Program<'a>,
    tree: PathBuf,
}

impl<'a> Repository<'a> {
    /// Prepares `scratch`, an empty directory; nothing is fetched.
    pub fn new(
        url: &'a GitUrl,
        access: Access<'_>,
        scratch: &Path,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Result<Repository<'a>, Error> {
        if url.is_local() && !access.local {
            return Err(Error::Local { url: url.shown() });
        }
        let (home, tree) = (scratch.join("home"), scratch.join("tree"));
        for directory in [&home, &tree] {
            std::fs::create_dir(directory).map_err(io("make", directory))?;
        }
        let mut variables = Vec::new();
        if let Some(agent) = access.agent {
            variables.push(("SSH_AUTH_SOCK".to_string(), agent.display().to_string()));
        }
        let known_hosts = home.join("known_hosts");
        if let Some(keys) = access.known_hosts {
            // A last line without its end is none to ssh.
            let keys = format!("{}\n", keys.trim_end());
            std::fs::write(&known_hosts, keys).map_err(io("write", &known_hosts))?;
        }
        for (name, value) in access.proxies {
            if matches!(
                name.to_ascii_lowercase().as_str(),
                "http_proxy" | "https_proxy" | "all_proxy" | "no_proxy"
            ) {
                variables.push((name.clone(), value.clone()));
            }
        }
        let program = Program {
            shown: url.shown(),
            directory: tree.clone(),
            home,
            settings: authorization(url, access.secrets),
            variables,
            known_hosts,
            names_keys: access.known_hosts.is_some(),
            local: url.is_local(),
            cancelled,
        };
        Ok(Repository { url, program, tree })
    }

    /// The id of the commit, without fetching it.
    pub fn commit(&self) -> Result<String, Error> {
        let found = self.resolve()?.commit;
        self.expect(&found)?;
        Ok(found)
    }

    fn expect(&self, found: &str) -> Result<(), Error> {
        match &self.url.commit {
            Some(expected) if !expected.is(found) => Err(Error::Commit {
                url: self.url.shown(),
                expected: expected.to_string(),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn resolve(&self) -> Result<Resolved, Error> {
        let name = match &self.url.reference {
            Some(Ref::Any(name)) if name.len() >= 40 && is_commit(name, 40) => {
                return Ok(Resolved { commit: name.to_ascii_lowercase(), reference: None, tag: None });
            }
            Some(reference) => reference.name(),
            None => match &self.url.commit {
                Some(commit) if commit.is_whole() => {
                    return Ok(Resolved { commit: commit.to_string(), reference: None, tag: None });
                }
                _ => "HEAD",
            },
        };
        let peeled = format!("{name}^{{}}");
        let answer = self.program.run(&["ls-remote", "--quiet", "--", &self.url.remote, name, &peeled])?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let refs: BTreeMap<&str, &str> = answer
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(commit, _)| is_commit(commit, 40))
            .map(|(commit, name)| (name, commit))
            .collect();
        let branch = [format!("refs/heads/{name}")];
        let tag = [format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")];
        let any = [name.to_string(), format!("refs/{name}")];
        let candidates: Vec<&String> = match &self.url.reference {
            Some(Ref::Branch(_)) => branch.iter().collect(),
            Some(Ref::Tag(_)) => tag.iter().collect(),
            _ => branch.iter().chain(&tag).chain(&any).collect(),
        };
        let found = candidates.into_iter().find_map(|c| Some((c, *refs.get(c.as_str())?)));
        let Some((reference, commit)) = found else {
            return Err(Error::NoRef { url: self.url.shown(), name: name.to_string() });
        };
        let reference = reference.trim_end_matches("^{}").to_string();
        let tag = refs.get(reference.as_str()).filter(|object| **object != commit);
        let tag = tag.map(|object| (*object).to_string());
        Ok(Resolved { commit: commit.to_string(), reference: Some(reference), tag })
    }

    /// What the address stands for; with `objects` commit and tag are fetched.
    pub fn facts(&self, objects: bool) -> Result<RepositoryFacts, Error> {
        let resolved = self.resolve()?;
        let reference = match resolved.reference.as_deref() {
            Some("HEAD") => self.default_branch()?,
            Some(reference) => reference.to_owned(),
            None => resolved.commit.clone(),
        };
        let commit = resolved.commit.clone();
        let object = resolved.tag.clone().unwrap_or_else(|| commit.clone());
        let mut facts = RepositoryFacts { reference, object, commit, ..RepositoryFacts::default() };
        if objects {
            self.init(&resolved)?;
            self.fetch(&resolved)?;
            let peeled = format!("{}^{{commit}}", facts.object);
            facts.commit = text(&self.program.run(&["rev-parse", "--verify", &peeled])?);
            facts.commit_bytes = self.program.run(&["cat-file", "commit", &facts.commit])?;
            if facts.object != facts.commit {
                facts.tag_bytes = self.program.run(&["cat-file", "tag", &facts.object])?;
            }
        }
        self.expect(&facts.commit)?;
        Ok(facts)
    }

    /// The branch that the remote's HEAD is.
    fn default_branch(&self) -> Result<String, Error> {
        let answer = self.program.run(&["ls-remote", "--symref", "--", &self.url.remote, "HEAD"])?;
        let answer = text(&answer);
        let branch = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        Ok(branch.unwrap_or("HEAD").to_owned())
    }

    /// Makes an empty repository for objects with sums as the other one has them.
    fn init(&self, resolved: &Resolved) -> Result<(), Error> {
        let long = (resolved.commit.len() == SHA256).then_some("--object-format=sha256");
        let arguments: Vec<&str> = ["init", "--quiet", "--template="].into_iter().chain(long).collect();
        self.program.run(&arguments).map(drop)
    }

    /// Fetches and checks out. Without `keep_git_dir` nothing is left of the repository but its files.
    pub fn checkout(&self, keep_git_dir: bool) -> Result<Checkout, Error> {
        let resolved = self.resolve()?;
        self.init(&resolved)?;
        self.program.run(&["remote", "add", "--", "origin", &self.url.shown()])?;
        self.fetch(&resolved)?;
        let commit = self.program.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"]);
        let commit = match (&resolved.reference, commit) {
            (Some(_), commit) => text(&commit?),
            (None, _) => resolved.commit,
        };
        self.expect(&commit)?;
        self.bound(&commit)?;
        self.program.run(&["checkout", "--quiet", "--force", "--detach", &commit])?;
        if self.url.submodules != Some(false) && self.tree.join(".gitmodules").is_file() {
            self.submodules()?;
        }
        let time = text(&self.program.run(&["show", "-s", "--format=%ct", &commit])?);
        if keep_git_dir {
            self.name(resolved.reference.as_deref())?;
            self.forget_files(&commit)?;
        }
        let root = Root::open(&self.tree).map_err(io("open", &self.tree))?;
        if !keep_git_dir {
            self.forget(&root)?;
        }
        // The time of the checkout is nobody's: the same commit gives the same files.
        let seconds = time.parse().unwrap_or(0);
        let failed = |e| io("set times below", &self.tree)(std::io::Error::other(e));
        clamp_times(&self.tree, seconds).map_err(failed)?;
        let directory = self.url.directory.trim_matches('/');
        let none = |_| Error::NoDirectory { url: self.url.shown(), path: self.url.directory.clone() };
        let root = match directory {
            "" => root,
            // Resolved inside of the tree: a link in the repository leads nowhere else.
            inside => root.open_root(inside).map_err(none)?,
        };
        Ok(Checkout { root, commit, seconds })
    }

    /// Takes what the indices know of the files on this machine, numbers and times, out of them: the next `git status` finds it anew.
    fn forget_files(&self, commit: &str) -> Result<(), Error> {
        self.program.run(&["read-tree", commit])?;
        if self.tree.join(".gitmodules").is_file() {
            let each = "git read-tree HEAD";
            self.program.run_for_others(&["submodule", "--quiet", "foreach", "--recursive", each])?;
        }
        Ok(())
    }

    /// Gives what was fetched the name that it has there, for programs that ask git which version this is.
    fn name(&self, reference: Option<&str>) -> Result<(), Error> {
        let reference = match reference {
            Some("HEAD") => self.default_branch()?,
            Some(reference) => reference.to_owned(),
            None => return Ok(()),
        };
        if !reference.starts_with("refs/") {
            return Ok(());
        }
        self.program.run(&["update-ref", "--", &reference, "FETCH_HEAD"]).map(drop)
    }

    fn fetch(&self, resolved: &Resolved) -> Result<(), Error> {
        let remote = self.url.remote.as_str();
        let common = ["fetch", "--quiet", "--no-tags", "--force", "--no-recurse-submodules"];
        let wanted = resolved.reference.as_ref().unwrap_or(&resolved.commit);
        let shallow = self.program.run(&[&common[..], &["--depth=1", "--", remote, wanted]].concat());
        match (shallow, &resolved.reference) {
            // Files behind a web server are no git server: they know of no depth.
            (Err(Error::Git { message, .. }), Some(_)) if message.contains(NO_DEPTH) => {
                return self.program.run(&[&common[..], &["--", remote, wanted]].concat()).map(drop);
            }
            (Err(Error::Git { .. }), None) => {}
            (other, _) => return other.map(drop),
        }
        // Not every server gives a commit by its id: then all that it has must come.
        let all = ["--", remote, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        self.program.run(&[&common[..], &all].concat())?;
        let wanted = format!("{}^{{commit}}", resolved.commit);
        match self.program.run(&["cat-file", "-e", &wanted]) {
            Err(Error::Git { .. }) => {
                Err(Error::NoRef { url: self.url.shown(), name: resolved.commit.clone() })
            }
            other => other.map(drop),
        }
    }

    /// A few objects can describe a tree of billions of files: they are counted before any is written.
    fn bound(&self, commit: &str) -> Result<(), Error> {
        let arguments = ["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit];
        let (files, bytes) = self.program.run_with(&arguments, false, |stream| {
            let mut stream = BufReader::new(stream);
            let (mut files, mut bytes, mut entry) = (0_u64, 0_u64, Vec::new());
            while files <= FILES_MAX && bytes <= BYTES_MAX {
                entry.clear();
                if stream.read_until(0, &mut entry)? == 0 {
                    break;
                }
                files += 1;
                let before_name = entry.split(|b| *b == b'\t').next().unwrap_or_default();
                let size = String::from_utf8_lossy(before_name);
                let size = size.split_whitespace().nth(3).and_then(|size| size.parse::<u64>().ok());
                bytes = bytes.saturating_add(size.unwrap_or(0));
            }
            Ok((files, bytes))
        })?;
        let too_large = |what: String| Err(Error::TooLarge { url: self.url.shown(), what });
        if files > FILES_MAX {
            return too_large(format!("the commit has more than {FILES_MAX} files"));
        }
        if bytes > BYTES_MAX {
            return too_large(format!("the commit's files have more than {} GiB", BYTES_MAX >> 30));
        }
        Ok(())
    }

    /// Submodules with their own; none is taken from a directory of this machine.
    fn submodules(&self) -> Result<(), Error> {
        let update = |depth: &[&str]| {
            let common = ["submodule", "--quiet", "update", "--init", "--recursive"];
            self.program.run_for_others(&[&common[..], depth].concat()).map(drop)
        };
        match update(&["--depth=1", "--recommend-shallow"]) {
            Err(Error::Git { message, .. }) if message.contains(NO_DEPTH) => {
                update(&["--no-recommend-shallow"])
            }
            other => other,
        }
    }

    /// Removes what makes the directory a repository: its own, and the files of submodules that point to it.
    fn forget(&self, root: &Root) -> Result<(), Error> {
        let failed = |e| Error::Io { attempt: "remove", path: ".git".into(), source: e };
        let listed = if root.lstat(".gitmodules").is_ok() {
            let each = "printf '%s\\0' \"$displaypath\"";
            self.program.run_for_others(&["submodule", "--quiet", "foreach", "--recursive", each])?
        } else {
            Vec::new()
        };
        for path in listed.split(|b| *b == 0).filter(|path| !path.is_empty()) {
            let path = Path::new(OsStr::from_bytes(path));
            match root.remove_all(path.join(".git")) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        root.remove_all(".git").map_err(failed)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

/// The header for the repository's host, as a setting that holds for no other.
fn authorization(url: &GitUrl, secrets: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    let Some(host) = url.host().filter(|host| !host.is_empty()) else { return Vec::new() };
    let Some((scheme, _)) = url.remote.split_once("://").filter(|(s, _)| s.starts_with("http")) else {
        return Vec::new();
    };
    let of = |id: &str| {
        let value = secrets.get(&format!("{id}.{host}")).or_else(|| secrets.get(id))?;
        Some(String::from_utf8_lossy(value).trim().to_string())
    };
    let header = match (of(git_url::HEADER), of(git_url::TOKEN)) {
        (Some(header), _) => header,
        (None, Some(token)) => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
            format!("basic {pair}")
        }
        (None, None) => return Vec::new(),
    };
    vec![(format!("http.{scheme}://{host}/.extraheader"), format!("Authorization: {header}"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_keys_that_were_named() {
        let scratch = tempfile::tempdir().unwrap();
        let url = GitUrl::parse("git@h:a").unwrap();
        let (secrets, proxies) = Default::default();
        let access = |known_hosts| Access {
            local: false,
            secrets: &secrets,
            agent: None,
            known_hosts,
            proxies: &proxies,
        };
        let ssh = |name: &str, known_hosts| {
            let below = scratch.path().join(name);
            std::fs::create_dir(&below).unwrap();
            let repository = Repository::new(&url, access(known_hosts), &below, &|| false).unwrap();
            let set = |name: &str| {
                let command = repository.program.command(&["fetch"], false);
                let found = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
                found.map(|value| value.to_str().unwrap().to_owned())
            };
            (set("GIT_SSH_COMMAND").unwrap(), PathBuf::from(set("KNOWN_HOSTS").unwrap()))
        };
        let (command, file) = ssh("some", Some("h ssh-ed25519 AAAA"));
        assert!(
            command.contains("StrictHostKeyChecking=yes") && command.contains("${KNOWN_HOSTS}"),
            "{command}"
        );
        assert_eq!(std::fs::read_to_string(file).unwrap(), "h ssh-ed25519 AAAA\n");
        let (command, file) = ssh("none", None);
        assert!(command.contains("StrictHostKeyChecking=accept-new"), "{command}");
        // ssh writes into the first of the files, and only reads the others.
        assert!(command.contains("'UserKnownHostsFile=${KNOWN_HOSTS} ~/.ssh/known_hosts "), "{command}");
        assert!(file.starts_with(scratch.path()) && !file.exists());
    }

    #[test]
    fn tokens_are_for_their_host() {
        let secrets = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_string(), v.as_bytes().to_vec())).collect::<BTreeMap<_, _>>()
        };
        let url = GitUrl::parse("https://me@h:8443/a.git").unwrap();
        let both = secrets(&[("GIT_AUTH_TOKEN", "x"), ("GIT_AUTH_HEADER.h:8443", "bearer y\n")]);
        assert_eq!(
            authorization(&url, &both),
            [("http.https://h:8443/.extraheader".to_string(), "Authorization: bearer y".to_string())]
        );
        let one = secrets(&[("GIT_AUTH_TOKEN.other", "x")]);
        assert!(authorization(&url, &one).is_empty());
        let ssh = GitUrl::parse("git@h:a").unwrap();
        assert!(authorization(&ssh, &both).is_empty());
    }
}
