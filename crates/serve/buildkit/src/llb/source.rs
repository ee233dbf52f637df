//! Sources: images, directories of the client, repositories, files of web servers, images of the client's stores.

use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::graph::{Asking, Copy, CopySource, Fs, OpKind, Origin};
use tonic::Status;

use super::lower::{Lowering, Part};
use super::read::Vertex;
use super::{bad, unsupported};
use crate::session::{UPLOAD, UPLOADED};
use crate::sources::repository_address;

const IMAGE: &str = "docker-image://";
const LOCAL: &str = "local://";
const GIT: &str = "git://";
const HEADER: &str = "http.header.";
pub const LAYOUT: &str = "oci-layout://";

/// Attributes of a client's directory. How it is compared with what came before is this server's affair.
const OF_LOCAL: [&str; 8] = [
    "local.session",
    "local.unique",
    "local.sharedkeyhint",
    "local.includepattern",
    "local.excludepatterns",
    "local.followpaths",
    "local.differ",
    "local.metadatatransfer",
];
/// Attributes of repositories, and the one value of each that can have no other: commits are always asked for by their ids where a
/// server allows it.
const OF_GIT: [(&str, Option<&str>); 10] = [
    ("git.fullurl", None),
    ("git.keepgitdir", None),
    ("git.checksum", None),
    ("git.knownsshhosts", None),
    ("git.fetchbycommit", None),
    ("git.skipsubmodules", None),
    // Files have the time of their commit.
    ("git.mtime", Some("commit")),
    ("git.authheadersecret", Some("GIT_AUTH_HEADER")),
    ("git.authtokensecret", Some("GIT_AUTH_TOKEN")),
    ("git.mountsshsock", Some("default")),
];

/// A directory of a client, and which files of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Local {
    /// The context that it becomes.
    pub context: String,
    /// How the step is called that receives it.
    pub title: String,
    pub name: String,
    /// The session that serves it; empty for the build's own.
    pub session: String,
    /// What the client has given to tell it from others of this name.
    pub unique: String,
    /// The same for what is kept of it from one build to the next.
    pub hint: String,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub follow: Vec<String>,
    /// All files come again, also those that look as they did the last time.
    pub anew: bool,
    /// It is none: the name is an address under which the client gives one file.
    pub is_upload: bool,
}

/// What a source gives.
pub fn lower(lowering: &mut Lowering, vertex: &Vertex, op: &SourceOp) -> Result<Part, Status> {
    let id = op.identifier.as_str();
    if let Some(reference) = id.strip_prefix(IMAGE) {
        let pull = op.attrs.get("image.resolvemode").is_some_and(|mode| mode == "pull");
        if op.attrs.contains_key("image.layerlimit") {
            return Err(unsupported("attribute image.layerlimit of an image"));
        }
        let name = vertex.name(|| id.to_owned());
        let image = lowering.image(reference.to_owned(), vertex, name, pull);
        if let Some(text) = op.attrs.get("image.checksum") {
            let checksum = text.parse().map_err(|e| bad(format!("image.checksum {text:?}: {e}")))?;
            lowering.expect(&image, checksum);
        }
        return Ok(Part::Fs(image));
    }
    if let Some(name) = id.strip_prefix(LOCAL) {
        return Ok(lowering.local(local(name, op)?, vertex.name(|| id.to_owned())));
    }
    if id.starts_with(LAYOUT) {
        let name = vertex.name(|| id.to_owned());
        lowering.layout(id.to_owned(), op);
        return Ok(Part::Fs(lowering.image(id.to_owned(), vertex, name, false)));
    }
    let copy = match id {
        _ if id.starts_with(GIT) => repository(op)?,
        _ if id.starts_with(UPLOAD) => uploaded(lowering, id, op)?,
        _ if id.starts_with("http://") || id.starts_with("https://") => file(id, op)?,
        _ => return Err(unsupported(format!("source {id}"))),
    };
    Ok(Part::Fs(lowering.push(vertex, Fs::Scratch, OpKind::Copy(Box::new(copy)), || id.to_owned())))
}

fn local(name: &str, op: &SourceOp) -> Result<Local, Status> {
    let list = |key: &str| match op.attrs.get(key).filter(|text| !text.is_empty()) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str::<Option<Vec<String>>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|e| bad(format!("{key}: {e}"))),
    };
    if op.attrs.get("local.metadatatransfer").is_some_and(|value| value == "true") {
        return Err(unsupported("a directory of which only descriptions are sent"));
    }
    if let Some(key) = op.attrs.keys().find(|key| !OF_LOCAL.contains(&key.as_str())) {
        return Err(unsupported(format!("attribute {key} of a directory")));
    }
    let text = |key: &str| op.attrs.get(key).cloned().unwrap_or_default();
    Ok(Local {
        context: String::new(),
        title: String::new(),
        name: name.to_owned(),
        session: text("local.session"),
        unique: text("local.unique"),
        hint: text("local.sharedkeyhint"),
        include: list("local.includepattern")?,
        exclude: list("local.excludepatterns")?,
        follow: list("local.followpaths")?,
        anew: op.attrs.get("local.differ").is_some_and(|how| how == "none"),
        is_upload: false,
    })
}

/// A source that is fetched: `ADD` on nothing.
fn add(source: CopySource, dest: String) -> Copy {
    let plain = Copy::plain(Origin::Context(None), source, dest);
    Copy { is_add: true, unpack: Some(false), ..plain }
}

fn repository(op: &SourceOp) -> Result<Copy, Status> {
    for (key, value) in &op.attrs {
        match OF_GIT.iter().find(|(known, _)| known == key) {
            None => return Err(unsupported(format!("attribute {key} of a repository"))),
            // Where nothing is wanted of times, no other is as good.
            Some(("git.mtime", _)) if value == "checkout" => {}
            Some((_, Some(only))) if value != only && !value.is_empty() => {
                let what = format!("attribute {key} of a repository with another value than {only}");
                return Err(unsupported(what));
            }
            Some(_) => {}
        }
    }
    let mut url = repository_address(op);
    if op.attrs.get("git.skipsubmodules").is_some_and(|value| value == "true") {
        url.insert_str(url.find('#').unwrap_or(url.len()), "?submodules=false");
    }
    let keep_git_dir = Some(op.attrs.get("git.keepgitdir").is_some_and(|value| value == "true"));
    let attribute = |key: &str| op.attrs.get(key).filter(|text| !text.is_empty());
    let commit = |text: &String| text.parse().map_err(|e| bad(format!("git.checksum: {e}")));
    let checksum = attribute("git.checksum").map(commit).transpose()?;
    let known_hosts = attribute("git.knownsshhosts").cloned();
    let source = CopySource::Git { url, checksum, keep_git_dir, known_hosts };
    Ok(Copy { unpack: None, ..add(source, "/".to_owned()) })
}

fn file(url: &str, op: &SourceOp) -> Result<Copy, Status> {
    let known =
        ["http.checksum", "http.filename", "http.perm", "http.uid", "http.gid", "http.authheadersecret"];
    let is_known = |key: &str| known.contains(&key) || key.starts_with(HEADER);
    if let Some(key) = op.attrs.keys().find(|key| !is_known(key)) {
        return Err(unsupported(format!("attribute {key} of a file")));
    }
    let attribute = |key: &str| op.attrs.get(key).filter(|text| !text.is_empty()).cloned();
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.split("://").nth(1).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
    let last = last.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("download");
    let name = attribute("http.filename").unwrap_or_else(|| last.to_owned());
    if name.contains('/') || name == ".." || name == "." {
        return Err(bad(format!("{name:?} is no name of a file")));
    }
    let digest = |text: String| text.parse().map_err(|e| bad(format!("http.checksum {text:?}: {e}")));
    let checksum = attribute("http.checksum").map(digest).transpose()?;
    let source = CopySource::Url { url: url.to_owned(), checksum, asking: asking(op)? };
    let mut copy = add(source, format!("/{name}"));
    copy.chmod = attribute("http.perm").map(|perm| perm.trim_start_matches("0o").to_owned());
    let owner = (attribute("http.uid"), attribute("http.gid"));
    if owner != (None, None) {
        let number = |id: Option<String>| id.unwrap_or_else(|| "0".to_owned());
        copy.chown = Some(format!("{}:{}", number(owner.0), number(owner.1)));
    }
    Ok(copy)
}

/// A file that is the client's own, under an address that no server has.
fn uploaded(lowering: &mut Lowering, address: &str, op: &SourceOp) -> Result<Copy, Status> {
    if op.attrs.contains_key("http.checksum") {
        return Err(unsupported("attribute http.checksum of what is uploaded"));
    }
    let part = Local { name: address.to_owned(), is_upload: true, ..Local::default() };
    let part = lowering.local(part, address.to_owned());
    let sources = vec![CopySource::Path(UPLOADED.to_owned())];
    let from = lowering.origin(&part);
    Ok(Copy { from, sources, is_add: false, unpack: None, ..file(address, op)? })
}

/// How the server is asked. Of headers two can be set, as with BuildKit; others say nothing.
pub fn asking(op: &SourceOp) -> Result<Asking, Status> {
    let mut asking = Asking { secret: op.attrs.get("http.authheadersecret").cloned(), ..Asking::PLAIN };
    for (key, value) in &op.attrs {
        let Some(name) = key.strip_prefix(HEADER) else { continue };
        let field = match name.to_ascii_lowercase().as_str() {
            "accept" => &mut asking.accept,
            "user-agent" => &mut asking.agent,
            _ => continue,
        };
        if !value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(bad(format!("{key}: {value:?} is no value of a header")));
        }
        *field = Some(value.clone());
    }
    Ok(asking)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(identifier: &str, attrs: &[(&str, &str)]) -> SourceOp {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        SourceOp { identifier: identifier.to_owned(), attrs }
    }

    #[test]
    fn files_have_names() {
        let dest = |url: &str, attrs: &[(&str, &str)]| file(url, &op(url, attrs)).map(|copy| copy.dest);
        assert_eq!(dest("http://h/a/b.txt?x=/y", &[]).unwrap(), "/b.txt");
        assert_eq!(dest("http://h", &[]).unwrap(), "/download");
        assert_eq!(dest("http://h/a", &[("http.filename", "c")]).unwrap(), "/c");
        assert!(dest("http://h/a", &[("http.filename", "../c")]).is_err());
        assert!(dest("http://h/a", &[("http.unheard.of", "1")]).is_err());
        // What must be checked and can't be is not fetched.
        assert!(dest("http://h/a", &[("http.checksum", "sha256:12")]).is_err());
    }

    #[test]
    fn servers_are_asked_as_the_client_says() {
        let attrs = [
            ("http.header.accept", "text/x"),
            ("http.header.User-Agent", "me/1"),
            ("http.header.cookie", "no"),
            ("http.authheadersecret", "s"),
        ];
        let copy = file("http://h/a", &op("", &attrs)).unwrap();
        let CopySource::Url { asking, .. } = &copy.sources[0] else { panic!("no file of a server") };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(*asking, Asking { accept: some("text/x"), agent: some("me/1"), secret: some("s") });
        assert!(file("http://h/a", &op("", &[("http.header.accept", "a\nb: c")])).is_err());
    }

    #[test]
    fn repositories_and_what_is_asked_of_them() {
        let url = [("git.fullurl", "https://h/a.git")];
        let copy = repository(&op("git://h/a.git#main:sub", &url)).unwrap();
        assert!(matches!(&copy.sources[0], CopySource::Git { url, .. } if url == "https://h/a.git#main:sub"));
        assert!(repository(&op("git://h/a.git", &[("git.checksum", "--upload-pack=x")])).is_err());
        for time in ["commit", "checkout", ""] {
            assert!(repository(&op("git://h/a.git", &[("git.mtime", time)])).is_ok(), "{time}");
        }
        let alone = [url[0], ("git.skipsubmodules", "true")];
        let copy = repository(&op("git://h/a.git#main:sub", &alone)).unwrap();
        let CopySource::Git { url: alone, .. } = &copy.sources[0] else { panic!("no repository") };
        assert_eq!(alone, "https://h/a.git?submodules=false#main:sub");
        for (key, value) in [
            ("git.sig.pubkey", "x"),
            ("git.mountsshsock", "mine"),
            ("git.mtime", "now"),
            ("git.checkoutbundle", "true"),
        ] {
            let refused = repository(&op("git://h/a.git", &[(key, value)])).unwrap_err();
            assert!(refused.message().contains(key), "{refused}");
        }
        let keys = [("git.knownsshhosts", "h ssh-ed25519 A"), ("git.mountsshsock", "default")];
        let pinned = repository(&op("git://h/a.git", &keys)).unwrap();
        let CopySource::Git { known_hosts, .. } = &pinned.sources[0] else { panic!("no repository") };
        assert_eq!(known_hosts.as_deref(), Some("h ssh-ed25519 A"));
    }

    #[test]
    fn patterns_are_lists() {
        let read = |text: &str| local("src", &op("", &[("local.excludepatterns", text)]));
        assert_eq!(read(r#"["a","!b"]"#).unwrap().exclude, ["a", "!b"]);
        assert!(read("null").unwrap().exclude.is_empty());
        assert!(read("{").is_err());
        assert!(local("src", &op("", &[("local.metadatatransfer", "true")])).is_err());
    }
}
