//! Where a build's files come from, as directories: a directory of this machine, an archive, a repository, a URL, a client.

mod reads;

pub use reads::Reads;
pub(crate) use reads::reads;

use crate::epoch::Time;
use crate::error::Error;
use crate::graph::{Asking, CopySource, Graph};
use crate::policy;
use crate::progress::Progress;
use crate::request::{Context, Env, NamedContext, Request};
use crate::session::{ContextTree, io_error, make_private};
use crate::source::{self, GitUrl, Materials, git, git_url, url};
use dockerfile::ignore::Ignore;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use store::Lease;
use sys::root::Root;

/// What the only file of a context is called that is fetched, as with BuildKit.
const ONLY: &str = "context";

/// What contexts are opened with.
pub(crate) struct Opener<'a> {
    pub env: &'a Env,
    pub request: &'a Request,
    pub lease: &'a Lease,
    pub progress: &'a Progress<'a>,
    /// What was fetched.
    pub materials: Mutex<Materials>,
}

impl Opener<'_> {
    /// The main context. Archives are unpacked below the lease.
    pub fn main(&self, context: Context) -> Result<Opened, Error> {
        match context {
            Context::Dir(path) => {
                Root::open(&path).map(Opened::from).map_err(io_error("open build context", &path))
            }
            // What a client has to send is known when the Dockerfile has been read.
            Context::Empty | Context::Client => {
                let path = self.scratch()?;
                Root::open(&path).map(Opened::from).map_err(io_error("open", &path))
            }
            Context::Tar(stream) => {
                let step = self.progress.step("[internal] load build context", "", "");
                let root = self.unpack(stream).map_err(|e| match self.request.cancel.is_cancelled() {
                    true => Error::Cancelled,
                    false => Error::Context(e),
                });
                match &root {
                    Ok(_) => step.done(),
                    Err(error) => step.failed(error.chain()),
                }
                root.map(Opened::from)
            }
            Context::Remote(text) => self.remote(&text, "[internal] load remote build context"),
        }
    }

    /// The contexts by name that are directories of this machine. Others come when something is known to read them.
    pub fn named(&self) -> Result<BTreeMap<String, ContextTree>, Error> {
        let mut named = BTreeMap::new();
        for (name, context) in &self.request.named_contexts {
            if let NamedContext::Dir(path) = context {
                let root = Root::open(path).map_err(io_error("open build context", path))?;
                named.insert(name.clone(), with_ignore_file(root.into())?);
            }
        }
        Ok(named)
    }

    /// Fetches a context by name that lies elsewhere, if nobody has yet.
    pub fn fetch(&self, name: &str, named: &mut BTreeMap<String, ContextTree>) -> Result<(), Error> {
        if let Some(NamedContext::Remote(text)) = self.request.named_contexts.get(name)
            && !named.contains_key(name)
        {
            let title = format!("[context {name}] load {}", oci::address::without_userinfo(text));
            named.insert(name.to_owned(), with_ignore_file(self.remote(text, &title)?)?);
        }
        Ok(())
    }

    /// Fetches those that graphs read.
    pub fn fetch_read<'g>(
        &self,
        graphs: impl Iterator<Item = &'g Graph>,
        named: &mut BTreeMap<String, ContextTree>,
    ) -> Result<(), Error> {
        let is_remote = |context: &NamedContext| matches!(context, NamedContext::Remote(_));
        if !self.request.named_contexts.values().any(is_remote) {
            return Ok(());
        }
        reads(graphs).into_keys().flatten().try_for_each(|name| self.fetch(&name, named))
    }

    /// The contexts that graphs read and a client sends; none is the main one, whose ignore file is known.
    pub fn sent<'g>(
        &self,
        graphs: impl Iterator<Item = &'g Graph>,
    ) -> Result<BTreeMap<Option<String>, ContextTree>, Error> {
        let mut sent = BTreeMap::new();
        if self.env.client.is_empty() {
            return Ok(sent);
        }
        for (name, reads) in reads(graphs) {
            let Some(bring) = self.env.client.get(&name) else { continue };
            let files = bring(&reads).map_err(|source| match self.request.cancel.is_cancelled() {
                true => Error::Cancelled,
                false => Error::Sent { name: name.clone().unwrap_or_default(), source },
            })?;
            let root = Root::open(&files.path).map_err(io_error("open build context", &files.path))?;
            let ignore = files.ignore.map(|text| parse_ignore(".dockerignore", &text)).transpose()?;
            sent.insert(name, ContextTree { root, ignore: ignore.unwrap_or_default(), time: Time::Unknown });
        }
        Ok(sent)
    }

    /// A context that is fetched.
    fn remote(&self, text: &str, title: &str) -> Result<Opened, Error> {
        let remote = policy::context(self.env, text).map_err(Error::Policy)?;
        self.fetched(&remote.address, title, || match git_url::is_git(&remote.address) {
            true => self.repository(&remote),
            false => self.url(&remote),
        })
    }

    /// When a source of `ADD` is from.
    pub fn time_of(&self, source: CopySource, title: &str) -> Result<Time, Error> {
        match policy::source(self.env, source).map_err(Error::Policy)? {
            CopySource::Url { url, checksum, .. } => self.fetched(&url, title, || {
                let loaded = self.load(&url, checksum.as_ref())?;
                let archive = is_archive(File::open(&loaded.path).map_err(source::io("open", &loaded.path))?);
                Ok(time_of(&loaded, archive))
            }),
            CopySource::Git { url, checksum, keep_git_dir, .. } => {
                let remote = policy::Remote { address: url, checksum: None, commit: checksum, keep_git_dir };
                self.fetched(&remote.address, title, || Ok(self.repository(&remote)?.time))
            }
            CopySource::Path(_) | CopySource::Inline { .. } => Ok(Time::Unknown),
        }
    }

    /// Fetches something in a step of its own.
    fn fetched<T>(
        &self,
        text: &str,
        title: &str,
        fetch: impl FnOnce() -> Result<T, source::Error>,
    ) -> Result<T, Error> {
        let step = self.progress.step(title, "", "");
        let opened = fetch();
        let opened = opened.map_err(|e| match e {
            source::Error::Cancelled => Error::Cancelled,
            source => Error::Remote { what: oci::address::without_userinfo(text), source: Box::new(source) },
        });
        match &opened {
            Ok(_) => step.done(),
            Err(error) => step.failed(error.chain()),
        }
        opened
    }

    fn repository(&self, remote: &policy::Remote) -> Result<Opened, source::Error> {
        let mut url = GitUrl::parse(&remote.address)?;
        url.commit = remote.commit.clone().or(url.commit);
        let keep = remote.keep_git_dir.or(url.keep_git_dir).unwrap_or_else(|| {
            let asked = self.request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
            asked.is_some_and(|value| matches!(value.as_str(), "1" | "true"))
        });
        let scratch = self.scratch().map_err(unexpected)?;
        let cancelled = || self.request.cancel.is_cancelled();
        let repository = git::Repository::new(&url, access(self.env, self.request), &scratch, &cancelled)?;
        let git::Checkout { root, commit, seconds } = repository.checkout(keep)?;
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).commit(&url, &commit);
        Ok(Opened { root, time: Time::At(seconds), only: None })
    }

    /// An archive is the context; anything else is the only file in it.
    fn url(&self, remote: &policy::Remote) -> Result<Opened, source::Error> {
        let text = remote.address.as_str();
        let loaded = self.load(text, remote.checksum.as_ref())?;
        let open = || File::open(&loaded.path).map_err(source::io("open", &loaded.path));
        if is_archive(open()?) {
            let bad = |source| source::Error::Archive { url: oci::address::without_userinfo(text), source };
            let root = self.unpack(open()?).map_err(bad)?;
            return Ok(Opened { root, time: time_of(&loaded, true), only: None });
        }
        let directory = self.scratch().map_err(unexpected)?.join("tree");
        std::fs::create_dir(&directory).map_err(source::io("make", &directory))?;
        let file = directory.join(ONLY);
        std::fs::rename(&loaded.path, &file).map_err(source::io("rename", &loaded.path))?;
        let root = Root::open(&directory).map_err(source::io("open", &directory))?;
        Ok(Opened { root, time: time_of(&loaded, false), only: Some(ONLY) })
    }

    /// What a server gives.
    fn load(&self, text: &str, checksum: Option<&oci::Digest>) -> Result<url::Loaded, source::Error> {
        let scratch = self.scratch().map_err(unexpected)?;
        let cancelled = || self.request.cancel.is_cancelled();
        let source = url::Source {
            fetch: self.env.fetch.as_ref(),
            asking: &Asking::PLAIN,
            db: &self.env.db,
            limit: self.env.store.limits().stream(),
            cancelled: &cancelled,
        };
        let loaded = source.load(text, checksum, &scratch.join("content"))?;
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).file(text, &loaded.digest);
        Ok(loaded)
    }

    fn scratch(&self) -> Result<PathBuf, Error> {
        let path = self.lease.scratch();
        make_private(&path)?;
        Ok(path)
    }

    fn unpack(&self, stream: impl Read) -> Result<Root, crate::BoxError> {
        let path = self.scratch()?;
        let root = Root::open(&path)?;
        let stream = archive::decompress(stream)?;
        let options = archive::Options { limits: self.env.store.limits(), ..archive::Options::plain() };
        let cancel = &self.request.cancel;
        let stream = archive::Guard::new(stream, options.limits.stream(), || cancel.is_cancelled());
        archive::unpack(stream, &root, &options)?;
        Ok(root)
    }
}

/// A context's files, and when they are from.
pub(crate) struct Opened {
    pub root: Root,
    pub time: Time,
    /// The name of the only file, where it was fetched as such: it is the Dockerfile, whatever that is called.
    pub only: Option<&'static str>,
}

impl From<Root> for Opened {
    /// Files of whoever builds: they change as he likes.
    fn from(root: Root) -> Self {
        Opened { root, time: Time::Unknown, only: None }
    }
}

/// When what a server gave is from: as the server says, else as the archive that it is says.
fn time_of(loaded: &url::Loaded, is_archive: bool) -> Time {
    match (loaded.dated, is_archive) {
        (Some(seconds), _) => Time::At(seconds),
        (None, true) => Time::Newest(loaded.path.clone()),
        (None, false) => Time::Unknown,
    }
}

/// Who this build is for the hosts of repositories.
pub(crate) fn access<'a>(env: &Env, request: &'a Request) -> git::Access<'a> {
    git::Access {
        local: env.local_repositories,
        secrets: &request.secrets,
        agent: request.ssh.get("default").map(PathBuf::as_path),
        known_hosts: None,
        proxies: &request.build_args,
    }
}

fn unexpected(error: Error) -> source::Error {
    let source = std::io::Error::other(error.chain());
    source::Error::Io { attempt: "make a directory for", path: "what is fetched".into(), source }
}

/// Whether a file is a tar archive, compressed or not, with something in it.
pub(crate) fn is_archive(file: File) -> bool {
    let Ok(stream) = archive::decompress(file) else { return false };
    matches!(archive::Reader::new(BufReader::new(stream)).next_entry(), Ok(Some(_)))
}

/// A context by name, with what its own ignore file leaves of it.
fn with_ignore_file(Opened { root, time, .. }: Opened) -> Result<ContextTree, Error> {
    let ignore = match ignore_text(&root, ".dockerignore")? {
        Some(text) => parse_ignore(".dockerignore", &text)?,
        None => Ignore::default(),
    };
    Ok(ContextTree { root, ignore, time })
}

/// The text of an ignore file, none if there is no such file.
pub(crate) fn ignore_text(root: &Root, name: &str) -> Result<Option<String>, Error> {
    match root.read_file(name, dockerfile::ignore::MAX_SIZE as u64) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", Path::new(name))(e)),
    }
}

/// What it means.
pub(crate) fn parse_ignore(name: &str, text: &str) -> Result<Ignore, Error> {
    Ignore::parse(text).map_err(|source| Error::Ignore { name: name.into(), source })
}
