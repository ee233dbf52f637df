//! The graph of a build: values only, made by [`crate::lower`], executed by [`crate::solve`].
//!
//! An operation has one file system below it ([`Fs`]) and may read others. Everything that an operation does stands in
//! its value, so that its cache key is a digest of that value and of the content it reads.

use crate::source::CommitId;
use dockerfile::Span;
use oci::image::ImageConfig;
use oci::{Digest, Platform};
use serde::Serialize;
use std::collections::BTreeMap;

/// Index of an operation in [`Graph::ops`]; an operation only refers to smaller ones.
pub type OpId = usize;

/// A file system state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Fs {
    /// Empty.
    Scratch,
    /// An image: index in [`Graph::images`].
    Image(usize),
    /// The result of an operation.
    Op(OpId),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The base images.
    pub images: Vec<ImageUse>,
    /// Operations in an order in which they could run one by one.
    pub ops: Vec<Op>,
    /// The file system of the target stage.
    pub result: Fs,
    /// The configuration of the target stage; layers are filled in at the end.
    pub config: ImageConfig,
    /// How the target stage was made.
    pub history: Vec<HistoryItem>,
    /// What lists of packages are made of.
    pub scan: Scan,
    /// The stages that the target needs, by their number in the file.
    pub stages: BTreeMap<usize, StageUse>,
}

/// A stage that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageUse {
    /// The stage that it is from.
    pub parent: Option<usize>,
    /// What its `FROM` gave.
    pub base: Fs,
    /// What is done in it, in order; the triggers of its base first.
    pub lines: Vec<Line>,
}

/// An instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it stands in the Dockerfile.
    pub text: String,
    /// It is a trigger of the base image.
    pub is_trigger: bool,
    /// The operation that it is, if it changes files.
    pub op: Option<OpId>,
}

/// What is looked through for packages, and by whom.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// The operation that does it, where a generator was named.
    pub op: Option<OpId>,
    /// What is looked through besides the result, by the names of its lists (`BUILDKIT_SBOM_SCAN_STAGE`).
    pub more: Vec<(String, Fs)>,
    /// The context is to be among that (`BUILDKIT_SBOM_SCAN_CONTEXT`).
    pub context: bool,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The reference as the Dockerfile has it, expanded.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
    /// `[build 1/4] FROM docker.io/library/alpine:3`.
    pub name: String,
    /// The stage it belongs to.
    pub stage: String,
    /// Where it is named.
    pub span: Span,
}

impl ImageUse {
    /// A reference as people are shown it: with its registry and tag, unless it is an image by its digest or id.
    pub fn shown(reference: &str) -> String {
        match oci::Reference::parse(reference) {
            Ok(named) if reference.parse::<oci::Digest>().is_err() => named.to_string(),
            _ => reference.to_owned(),
        }
    }
}

/// One line of the image's history.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryItem {
    /// A line of the base image.
    Base(oci::image::History),
    /// What a client says of a layer that it has not made; without a time it has that of the layer.
    Said(oci::image::History),
    /// A line of this build.
    New {
        /// The text.
        created_by: String,
        /// The operation whose layer belongs to it, if any.
        op: Option<OpId>,
    },
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// What it works on.
    pub base: Fs,
    /// What it does.
    pub kind: OpKind,
    /// What BuildKit would print: `[build 2/4] RUN go build`.
    pub name: String,
    /// The stage's name or index.
    pub stage: String,
    /// The instruction as it stands in the Dockerfile.
    pub instruction: String,
    /// Where it stands.
    pub span: Span,
    /// Nothing may come from the cache.
    pub no_cache: bool,
    /// Platform of the stage.
    pub platform: Platform,
}

impl Op {
    /// Whether its layer is made on nothing, and put on what it works on afterwards.
    pub fn is_linked(&self) -> bool {
        matches!(&self.kind, OpKind::Copy(copy) if copy.link)
    }

    /// The file systems that must be there first.
    pub fn needs(&self) -> Vec<&Fs> {
        let mut needs = vec![&self.base];
        match &self.kind {
            OpKind::Run(run) => needs.extend(run.mounts.iter().filter_map(|m| match &m.from {
                Origin::Fs(fs) => Some(fs),
                Origin::Context(_) => None,
            })),
            OpKind::Copy(copy) => needs.extend(match &copy.from {
                Origin::Fs(fs) => Some(fs),
                Origin::Context(_) => None,
            }),
            OpKind::Stack(Stack::Merge(others)) => needs.extend(others),
            OpKind::Stack(Stack::Diff(lower)) => needs.push(lower),
            OpKind::Stack(Stack::Mount(_)) | OpKind::Mkdir(_) | OpKind::Change(_) => {}
        }
        needs
    }
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub enum OpKind {
    /// Run a process.
    Run(Box<Run>),
    /// Bring files in.
    Copy(Box<Copy>),
    /// Make a directory (`WORKDIR`).
    Mkdir(Mkdir),
    /// Change single files, one after the other.
    Change(Vec<Change>),
    /// Put layers of others together anew.
    Stack(Stack),
}

/// Layers of other operations in another order. Nothing is read or written for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Stack {
    /// What a `RUN`, the base, left in one of its mounts ([`MountKind::Kept`]), counted among those.
    Mount(usize),
    /// The layers of these on top of the base's.
    Merge(Vec<Fs>),
    /// What the base has changed of this.
    Diff(Fs),
}

/// A change of a file system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Absolute path.
    pub path: String,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// `user[:group]`, to be looked up in the file system; none is root.
    pub owner: Option<String>,
    /// Nanoseconds since 1970.
    pub time: Option<i64>,
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum ChangeKind {
    /// A file with this content, whatever was there.
    File {
        /// Permission bits.
        mode: u32,
        /// The content.
        data: Vec<u8>,
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// With those above it, and it may be there.
        parents: bool,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
    },
    /// Nothing.
    Gone {
        /// It need not be there.
        optional: bool,
        /// The path is a pattern.
        pattern: bool,
    },
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The whole command line, the shell included.
    pub argv: Vec<String>,
    /// `NAME=value`, build arguments included.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`, to be looked up in the file system.
    pub user: String,
    /// `--network`; `None` is the build's.
    pub network: Option<NetKind>,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`s by their whole names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// `--mount`s in order.
    pub mounts: Vec<Mount>,
    /// The machine's name, where the build gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// A script that the process finds at a path of its own (`RUN <<EOF` with `#!`).
    pub script: Option<Script>,
    /// Proxy variables: given to the process, never part of a key.
    #[serde(skip)]
    pub proxies: Vec<String>,
    /// What no Dockerfile says.
    #[serde(skip_serializing_if = "Own::is_default")]
    pub own: Own,
}

/// What only the graph of a client says of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Own {
    /// Names and addresses besides the build's.
    pub hosts: Vec<(String, String)>,
    /// Limits besides the build's.
    pub rlimits: Vec<oci::runtime::Rlimit>,
    /// Exit codes that are no failure; without any, 0.
    pub exit_codes: Vec<i32>,
    /// The root file system is read-only.
    pub readonly: bool,
}

impl Own {
    fn is_default(&self) -> bool {
        *self == Own::default()
    }

    /// Whether a process that ends so has done its work.
    pub fn is_success(&self, code: i32) -> bool {
        if self.exit_codes.is_empty() { code == 0 } else { self.exit_codes.contains(&code) }
    }
}

/// `RUN --network` where it says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum NetKind {
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// An executable here-document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Script {
    /// File name.
    pub name: String,
    /// Content.
    pub content: String,
}

/// Where files are read from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Origin {
    /// A context: the main one, or one by name.
    Context(Option<String>),
    /// A stage or an image.
    Fs(Fs),
}

/// A `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mount {
    /// What it holds.
    pub kind: MountKind,
    /// Where the files of a bind or the first content of a cache come from. The key has the content instead.
    #[serde(skip)]
    pub from: Origin,
    /// Path in `from`.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub readonly: bool,
    /// Where it stands.
    #[serde(skip)]
    pub span: Span,
}

/// What a mount holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum MountKind {
    /// Files of a context, a stage or an image.
    Bind,
    /// The same, and what is written becomes a result of its own ([`Stack::Mount`]).
    Kept,
    /// A directory that stays between builds.
    Cache {
        /// Which.
        id: String,
        /// How it is shared.
        sharing: Sharing,
        /// Mode, owner and group of a new one.
        mode: u32,
        /// See `mode`.
        uid: u32,
        /// See `mode`.
        gid: u32,
        /// A directory of `from` is its first content.
        seeded: bool,
        /// Nobody said a mode or an owner: that directory's are taken.
        #[serde(skip)]
        inherits: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; 0 is no limit.
        size: u64,
    },
    /// A secret.
    Secret {
        /// Which.
        id: String,
        /// Fail without it.
        required: bool,
        /// Mode, owner and group.
        mode: u32,
        /// See `mode`.
        uid: u32,
        /// See `mode`.
        gid: u32,
        /// Give it in this variable; with an empty target, only there.
        env: Option<String>,
    },
    /// The socket of an ssh agent.
    Ssh {
        /// Which.
        id: String,
        /// Fail without it.
        required: bool,
        /// Mode, owner and group.
        mode: u32,
        /// See `mode`.
        uid: u32,
        /// See `mode`.
        gid: u32,
    },
}

/// How steps share a cache mount; the later, the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Sharing {
    /// At once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Copy {
    /// `ADD` and not `COPY`.
    pub is_add: bool,
    /// Where path sources are. The key has the content instead.
    #[serde(skip)]
    pub from: Origin,
    /// The sources in order.
    pub sources: Vec<CopySource>,
    /// Absolute path; a slash at the end says that it is a directory.
    pub dest: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--parents`.
    pub parents: bool,
    /// A directory is copied into one that is there, and not its content.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// What is in the way of a file or a directory goes, be it a directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// The directory that the destination lies in has to be there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rooted: bool,
    /// When all that is copied is from, in nanoseconds since 1970; without, when its sources are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// `--link`: the result does not depend on what lies below.
    pub link: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// Of a directory only what these patterns fit, and the directories on the way to it; without any, all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Paths of the source's tree of which something has to be copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Unpack archives: local ones always (`ADD`), or as `--unpack` says.
    pub unpack: Option<bool>,
    /// How Docker reads a line whose trailing `# …` was taken for a comment: meant if the context has such a file.
    #[serde(skip)]
    pub literal: Option<Literal>,
}

impl Copy {
    /// A `COPY` without flags.
    pub fn plain(from: Origin, source: CopySource, dest: impl Into<String>) -> Copy {
        Copy {
            is_add: false,
            from,
            sources: vec![source],
            dest: dest.into(),
            chown: None,
            chmod: None,
            parents: false,
            whole: false,
            replaces: false,
            rooted: false,
            time: None,
            link: false,
            exclude: Vec::new(),
            include: Vec::new(),
            required: Vec::new(),
            unpack: None,
            literal: None,
        }
    }

    /// Takes the words of a trailing comment for sources, as Docker does, where a file is called as its first word.
    pub(crate) fn settle(&mut self, is_there: impl Fn(&str) -> bool) {
        if let Some(Literal { first, sources, dest }) = self.literal.take()
            && is_there(&first)
        {
            (self.sources, self.dest) = (sources, dest);
        }
    }
}

/// A `COPY` with the words of its trailing comment as sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    /// The first word of the comment, a file name that begins with `#`.
    pub first: String,
    /// All sources.
    pub sources: Vec<CopySource>,
    /// The last word, resolved.
    pub dest: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum CopySource {
    /// A path or pattern in the origin.
    Path(String),
    /// An inline file.
    Inline {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// A URL (`ADD`).
    Url {
        /// The URL.
        url: String,
        /// `--checksum`.
        checksum: Option<Digest>,
        /// How its server is asked. What comes is in the key, whoever asked.
        #[serde(skip)]
        asking: Asking,
    },
    /// A git repository (`ADD`).
    Git {
        /// The URL, with `#ref:directory` or a query as it was written.
        url: String,
        /// The commit that `--checksum` demands.
        checksum: Option<CommitId>,
        /// `--keep-git-dir`, where it was given.
        keep_git_dir: Option<bool>,
        /// The keys of its server, as ssh's file of known hosts has them; a server with others is none.
        known_hosts: Option<String>,
    },
}

/// What only the graph of a client says of a request to a web server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Asking {
    /// `Accept`.
    pub accept: Option<String>,
    /// `User-Agent`.
    pub agent: Option<String>,
    /// The secret that is the whole of `Authorization`.
    pub secret: Option<String>,
}

impl Asking {
    /// As nobody has said anything of it.
    pub const PLAIN: Asking = Asking { accept: None, agent: None, secret: None };
}

/// `WORKDIR`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mkdir {
    /// Absolute path.
    pub path: String,
    /// Who gets what is made: `user[:group]`; empty is root.
    pub user: String,
    /// The time of what is made, in seconds since 1970; now without.
    pub time: Option<i64>,
}
