//! Addresses of git repositories as BuildKit reads them: `https://host/repo.git#ref:directory`, the query form
//! `?ref=…&subdir=…`, `git@host:path`, `ssh://`, `git://`, `github.com/owner/repo`; and `file://`.

use super::Error;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A repository, what of it, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitUrl {
    /// What git is told.
    pub remote: String,
    /// Branch, tag, commit or any other ref; the remote's HEAD without.
    pub reference: Option<Ref>,
    /// Directory in it; empty is all.
    pub directory: String,
    /// The commit that the reference must stand for, or the beginning of its id.
    pub commit: Option<CommitId>,
    /// `?keep-git-dir=`.
    pub keep_git_dir: Option<bool>,
    /// `?submodules=`; they come along unless this says no.
    pub submodules: Option<bool>,
}

/// A commit's id, or the beginning of one: at least seven hexadecimal digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitId(String);

impl CommitId {
    /// Whether it is a whole id, by SHA-1 or SHA-256.
    pub fn is_whole(&self) -> bool {
        self.0.len() >= SHA1
    }

    /// Whether a whole id is this one, or begins with it.
    pub fn is(&self, whole: &str) -> bool {
        whole.starts_with(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_commit(text, SHORTEST) {
            true => Ok(CommitId(text.to_ascii_lowercase())),
            false => Err(format!("{text:?} is no commit id")),
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fewest digits of an id that stand for a commit.
const SHORTEST: usize = 7;
/// Digits of a whole id by SHA-1.
const SHA1: usize = 40;

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ref {
    /// Whatever has that name.
    Any(String),
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
}

impl Ref {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Ref::Any(name) | Ref::Branch(name) | Ref::Tag(name) => name,
        }
    }

    /// The name with what says of which kind it is.
    pub fn whole(&self) -> String {
        let prefix = match self {
            Ref::Any(_) => "",
            Ref::Branch(_) => HEADS,
            Ref::Tag(_) => TAGS,
        };
        format!("{prefix}{}", self.name())
    }
}

/// The secrets that open repositories: a header, or a token from which one is made. Each also with `.host` behind.
pub const HEADER: &str = "GIT_AUTH_HEADER";
pub const TOKEN: &str = "GIT_AUTH_TOKEN";

/// Where branches and tags are among a repository's refs.
const HEADS: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// Whether a text is the address of a repository, as opposed to a file's or a directory's.
pub fn is_git(text: &str) -> bool {
    let path = text.split(['#', '?']).next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return path.ends_with(".git");
    }
    if lower.starts_with("git://") || lower.starts_with("ssh://") || lower.starts_with("file://") {
        return true;
    }
    lower.starts_with("github.com/") || is_scp(path)
}

/// The ids of the secrets that open the repository at an address, see [`GitUrl::secrets`].
pub fn repository_secrets(address: &str) -> Vec<String> {
    GitUrl::parse(address).map(|url| url.secrets()).unwrap_or_default()
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    word(user, b"-_.") && word(host, b"-.") && !path.is_empty() && !path.starts_with("//")
}

impl GitUrl {
    /// Reads an address for which [`is_git`] is true.
    pub fn parse(text: &str) -> Result<GitUrl, Error> {
        let wrong = |reason: String| Error::GitUrl { url: oci::address::without_userinfo(text), reason };
        let (before, fragment) = match text.split_once('#') {
            Some((before, fragment)) => (before, Some(fragment)),
            None => (text, None),
        };
        let (remote, query) = match before.split_once('?') {
            Some((remote, query)) => (remote, Some(query)),
            None => (before, None),
        };
        let mut url = GitUrl { remote: remote.to_string(), ..GitUrl::default() };
        if remote.to_ascii_lowercase().starts_with("github.com/") {
            url.remote = format!("https://{remote}");
        }
        if let Some(fragment) = fragment {
            let (name, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            url.reference = Some(name).filter(|n| !n.is_empty()).map(|n| Ref::Any(n.to_string()));
            url.directory = directory.to_string();
        }
        if let Some(query) = query {
            url.query(query).map_err(wrong)?;
        }
        url.check().map_err(wrong)?;
        Ok(url)
    }

    fn query(&mut self, query: &str) -> Result<(), String> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| format!("{key}: bad escape in {value:?}"))?;
            let named = |name: Ref, known: &Option<Ref>| match known {
                Some(known) if known.whole() != name.whole() => {
                    Err(format!("ref conflicts: {:?} vs {:?}", known.whole(), name.whole()))
                }
                _ => Ok(Some(name)),
            };
            let bare = |prefix: &str| value.strip_prefix(prefix).unwrap_or(&value).to_owned();
            match key {
                "ref" => self.reference = named(Ref::Any(value), &self.reference)?,
                "branch" => self.reference = named(Ref::Branch(bare(HEADS)), &self.reference)?,
                "tag" => self.reference = named(Ref::Tag(bare(TAGS)), &self.reference)?,
                "subdir" if !self.directory.is_empty() && self.directory != value => {
                    return Err(format!("subdir conflicts: {:?} vs {value:?}", self.directory));
                }
                "subdir" => self.directory = value,
                "commit" | "checksum" => self.commit = Some(value.parse()?),
                "keep-git-dir" => self.keep_git_dir = Some(boolean(key, &value)?),
                "submodules" => self.submodules = Some(boolean(key, &value)?),
                _ => return Err(format!("unexpected query {key:?}")),
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let name = self.reference.as_ref().map_or("", Ref::name);
        let bad = |text: &str| text.starts_with('-') || text.contains(|c: char| c.is_control() || c == ' ');
        if bad(name) || name.contains("..") || name.contains(['~', '^', ':', '?', '*', '[', '\\']) {
            return Err(format!("{name:?} is no name of a branch, tag or commit"));
        }
        if bad(&self.remote) {
            return Err("the address is malformed".into());
        }
        let host = self.host();
        if host.is_none_or(|host| host.starts_with('-')) {
            return Err("it names no host".into());
        }
        if self.directory.split('/').any(|part| part == "..") || self.directory.contains('\0') {
            return Err(format!("directory {:?} leads out of the repository", self.directory));
        }
        Ok(())
    }

    /// The host, empty for a local repository.
    pub fn host(&self) -> Option<&str> {
        if self.is_local() {
            return Some("");
        }
        let authority = match self.remote.split_once("://") {
            Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
            None => self.remote.split(':').next().unwrap_or_default(),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(host).filter(|host| !host.is_empty())
    }

    /// Whether it is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.remote.to_ascii_lowercase().starts_with("file://")
    }

    /// Whether ssh leads there.
    pub fn is_ssh(&self) -> bool {
        match self.remote.split_once("://") {
            Some((scheme, _)) => scheme.eq_ignore_ascii_case("ssh"),
            None => true,
        }
    }

    /// The ids of the secrets that open it, those that are for its host alone first; none where no web server has it.
    pub fn secrets(&self) -> Vec<String> {
        let scheme = self.remote.split_once("://").map_or("", |(scheme, _)| scheme);
        let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        let Some(host) = self.host().filter(|_| is_web) else { return Vec::new() };
        [HEADER, TOKEN].iter().flat_map(|id| [format!("{id}.{host}"), (*id).to_string()]).collect()
    }

    /// The address for people and files: nothing in it lets anybody in.
    pub fn shown(&self) -> String {
        oci::address::without_userinfo(&self.remote)
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(format!("{key}: {value:?} is neither true nor false")),
    }
}

/// The beginning of a commit's id, at least so many digits of it.
pub fn is_commit(text: &str, least: usize) -> bool {
    (least..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Percent escapes.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_repository() {
        for yes in [
            "https://h/a.git",
            "https://h/a.git#main:dir",
            "https://h/a.git?ref=v1",
            "git@github.com:a/b",
            "git@github.com:a/b.git#v1",
            "ssh://git@h/a",
            "git://h/a",
            "github.com/a/b",
            "file:///srv/a",
        ] {
            assert!(is_git(yes), "{yes}");
        }
        for no in ["https://h/a.tar.gz", "https://h/a?x=.git", ".", "a@b", "./git@h:x/y", "a/b:c", "me@h://x"]
        {
            assert!(!is_git(no), "{no}");
        }
    }

    #[test]
    fn forms() {
        let url = GitUrl::parse("https://h/a.git#main:dir/sub").unwrap();
        assert_eq!((url.remote.as_str(), url.directory.as_str()), ("https://h/a.git", "dir/sub"));
        assert_eq!(url.reference, Some(Ref::Any("main".into())));
        let url = GitUrl::parse("https://h/a.git#:sub").unwrap();
        assert_eq!((url.reference, url.directory.as_str()), (None, "sub"));
        let url = GitUrl::parse("git@h:a/b?tag=v1%2E0&subdir=x&keep-git-dir=1&submodules=false").unwrap();
        assert_eq!(url.reference, Some(Ref::Tag("v1.0".into())));
        assert_eq!((url.keep_git_dir, url.submodules), (Some(true), Some(false)));
        assert_eq!(url.host(), Some("h"));
        assert_eq!(GitUrl::parse("github.com/a/b").unwrap().remote, "https://github.com/a/b");
        // What is said twice must be the same.
        for (text, name) in [
            ("https://h/a.git?tag=v1#refs/tags/v1", Ref::Tag("v1".into())),
            ("https://h/a.git?branch=refs/heads/b#refs/heads/b:x", Ref::Branch("b".into())),
            ("https://h/a.git?ref=main&subdir=x#main:x", Ref::Any("main".into())),
        ] {
            assert_eq!(GitUrl::parse(text).unwrap().reference, Some(name), "{text}");
        }
        let url = GitUrl::parse("ssh://me:pw@h:22/a").unwrap();
        assert_eq!((url.host(), url.shown()), (Some("h:22"), "ssh://me@h:22/a".into()));
    }

    #[test]
    fn secrets_are_for_hosts_that_are_web_servers() {
        let of = |host: &str| {
            ["GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"]
                .iter()
                .flat_map(|id| [format!("{id}.{host}"), (*id).to_owned()])
                .collect()
        };
        let all: Vec<String> = of("h:8443");
        assert_eq!(repository_secrets("https://me:pw@h:8443/a.git#main"), all);
        let all: Vec<String> = of("host");
        assert_eq!(repository_secrets("https://user@host/a"), all);
        for other in ["git@h:a", "ssh://h/a", "git://h/a", "file:///srv/a"] {
            assert!(repository_secrets(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn what_would_be_an_option_or_a_way_out() {
        for wrong in [
            "https://h/a.git#--upload-pack=x",
            "https://h/a.git#a..b",
            "https://h/a.git#x:../../etc",
            "https://h/a.git?wrong=1",
            "https://h/a.git?ref=a&tag=b",
            "https://h/a.git?ref=a#b",
            "https://h/a.git?tag=v1#v1",
            "https://h/a.git?branch=a&tag=a",
            "https://h/a.git?subdir=x#:y",
            "https://h/a.git?commit=zz",
            "ssh://-oProxyCommand=x/a.git",
            "ssh://u@-oProxyCommand=x/a.git",
            "https:///a.git",
            "https://h/a b.git",
        ] {
            assert!(GitUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
