//! The syntax tree of a Dockerfile. Nothing in it is expanded: variables stand as they were written.

use crate::span::Span;
use std::time::Duration;

/// A whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// `# key=value` lines at the top.
    pub directives: Directives,
    /// `ARG` instructions before the first `FROM`; with [`crate::Options::lenient`] whatever stands there.
    pub global_args: Vec<Instruction>,
    /// Every `FROM` and what follows it.
    pub stages: Vec<Stage>,
    /// Comment lines between instructions, in order.
    pub comments: Vec<Comment>,
    /// What the parser found suspicious.
    pub warnings: Vec<crate::Warning>,
}

impl Dockerfile {
    /// The names that `ARG` instructions declare, wherever they stand.
    pub fn declared(&self) -> impl Iterator<Item = &str> {
        let stages = self.stages.iter().flat_map(|stage| &stage.instructions);
        let args = |instruction| match instruction {
            &Instruction { kind: Kind::Arg(ref args), .. } => Some(args),
            _ => None,
        };
        self.global_args.iter().chain(stages).filter_map(args).flatten().map(|arg| arg.name.as_str())
    }
}

/// A comment line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The text behind the `#`, trimmed.
    pub text: String,
    /// Its line.
    pub line: u32,
}

/// Parser directives.
#[derive(Debug, Clone, PartialEq)]
pub struct Directives {
    /// The escape character, `\` or `` ` ``.
    pub escape: char,
    /// The frontend that the file asks for; accepted and left to the caller.
    pub syntax: Option<Word>,
    /// Which checks to skip, and whether a warning fails the build.
    pub check: Option<Check>,
    /// `# dhow=strict`: read trailing `# …` as Docker does, never as a comment.
    pub strict: bool,
}

/// `# check=skip=A,B;error=true;experimental=C`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Check {
    /// Names of rules to skip.
    pub skip: Vec<String>,
    /// `skip=all`.
    pub skip_all: bool,
    /// Names of experimental rules to apply.
    pub experimental: Vec<String>,
    /// `experimental=all`.
    pub experimental_all: bool,
    /// A warning fails the build.
    pub error: bool,
}

/// One build stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its `FROM`.
    pub from: From,
    /// From the `FROM` to the last instruction.
    pub span: Span,
    /// The `FROM` itself.
    pub head: Span,
    /// The instruction text of the `FROM`.
    pub source: String,
    /// Comment lines right above the `FROM`, which `--call outline` shows.
    pub comments: Vec<String>,
    /// What the stage does, in order.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// Where it stands, heredoc bodies included.
    pub span: Span,
    /// The logical line: continuations joined, comments inside left out.
    pub source: String,
    /// The keyword as it was written.
    pub keyword: String,
    /// Comment lines right above.
    pub comments: Vec<String>,
}

/// A piece of text with its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// The text, variables and quotes as written.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// The eighteen instructions; `FROM` opens a [`Stage`] and is not repeated here.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `ADD`
    Add(Transfer),
    /// `ARG`
    Arg(Vec<ArgDecl>),
    /// `CMD`
    Cmd(Command),
    /// `COPY`
    Copy(Transfer),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`
    Env(Vec<KeyValue>),
    /// `EXPOSE`
    Expose(Vec<Word>),
    /// `FROM`
    From(From),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<KeyValue>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the trigger's text, already checked by parsing it.
    Onbuild(Box<Onbuild>),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    Stopsignal(Word),
    /// `USER`
    User(Word),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `WORKDIR`
    Workdir(Word),
}

impl Kind {
    /// The keyword in upper case.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Add(_) => "ADD",
            Kind::Arg(_) => "ARG",
            Kind::Cmd(_) => "CMD",
            Kind::Copy(_) => "COPY",
            Kind::Entrypoint(_) => "ENTRYPOINT",
            Kind::Env(_) => "ENV",
            Kind::Expose(_) => "EXPOSE",
            Kind::From(_) => "FROM",
            Kind::Healthcheck(_) => "HEALTHCHECK",
            Kind::Label(_) => "LABEL",
            Kind::Maintainer(_) => "MAINTAINER",
            Kind::Onbuild(_) => "ONBUILD",
            Kind::Run(_) => "RUN",
            Kind::Shell(_) => "SHELL",
            Kind::Stopsignal(_) => "STOPSIGNAL",
            Kind::User(_) => "USER",
            Kind::Volume(_) => "VOLUME",
            Kind::Workdir(_) => "WORKDIR",
        }
    }
}

/// `FROM [--platform=p] image [AS name]`.
#[derive(Debug, Clone, PartialEq)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// Image reference, earlier stage or `scratch`.
    pub image: Word,
    /// Stage name in lower case, as stages are looked up.
    pub name: Option<Word>,
}

/// One declaration of an `ARG`.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgDecl {
    /// Name.
    pub name: String,
    /// Default, quotes as written.
    pub value: Option<String>,
    /// Its place.
    pub span: Span,
}

/// A key and a value of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// Key, quotes as written.
    pub key: String,
    /// Value, quotes as written.
    pub value: String,
    /// Place of the pair.
    pub span: Span,
    /// Written as `KEY value`, in which the value has no quotes to remove around single words.
    pub legacy: bool,
}

/// Something to execute.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A line for the shell.
    Shell(String),
    /// An argument vector.
    Exec(Vec<String>),
}

impl Command {
    /// Whether there is nothing to execute.
    pub fn is_empty(&self) -> bool {
        match self {
            Command::Shell(line) => line.is_empty(),
            Command::Exec(argv) => argv.is_empty(),
        }
    }
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// `--from` (COPY only).
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents` (COPY only).
    pub parents: bool,
    /// `--exclude`, repeatable.
    pub exclude: Vec<Word>,
    /// `--checksum` (ADD only).
    pub checksum: Option<Word>,
    /// `--keep-git-dir` (ADD only).
    pub keep_git_dir: Option<bool>,
    /// `--unpack` (ADD only).
    pub unpack: Option<bool>,
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to.
    pub dest: Word,
    /// A `# …` at the end that was taken for a comment. Docker reads its words as further sources, so the
    /// builder asks the context whether such a file exists before it believes the comment.
    pub comment: Option<TrailingWords>,
}

/// The words that a trailing comment took away from a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailingWords {
    /// The words of the comment, the first begins with `#`.
    pub words: Vec<Word>,
    /// Place of the comment.
    pub span: Span,
}

/// One source of a transfer.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A path, pattern or URL.
    Path(Word),
    /// An inline file.
    Heredoc(Heredoc),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq)]
pub struct Heredoc {
    /// The delimiter, quotes removed; also the file's name.
    pub name: String,
    /// The delimiter was not quoted: variables in the body expand.
    pub expand: bool,
    /// `<<-`: leading tabs are removed.
    pub strip_tabs: bool,
    /// File descriptor in front of `<<`, 0 without.
    pub fd: u32,
    /// The lines between, as written.
    pub body: String,
    /// Place of the body.
    pub span: Span,
}

impl Heredoc {
    /// The body with leading tabs removed if `<<-` asks for that.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|l| l.trim_start_matches('\t')).collect()
    }
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// `--mount`, repeatable.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`, repeatable.
    pub devices: Vec<Device>,
    /// The command line; with heredocs the line as written, `<<EOF` included.
    pub command: Command,
    /// Here-documents of the line.
    pub heredocs: Vec<Heredoc>,
}

impl Run {
    /// The script of `RUN <<EOF`, where the line holds nothing but the here-document.
    pub fn script(&self) -> Option<&Heredoc> {
        let Command::Shell(line) = &self.command else { return None };
        let [doc] = self.heredocs.as_slice() else { return None };
        crate::heredoc::parse(line.trim()).filter(|h| h.name == doc.name).map(|_| doc)
    }

    /// The line that a shell gets: heredocs that it must read itself are put back under it.
    pub fn shell_line(&self) -> Option<String> {
        let Command::Shell(line) = &self.command else { return None };
        if let Some(doc) = self.script() {
            return Some(doc.content());
        }
        let mut full = line.clone();
        for doc in &self.heredocs {
            full.push('\n');
            full.push_str(&doc.body);
            full.push_str(&doc.name);
        }
        Some(full)
    }
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The build's network.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Docker's default capabilities and system call filter.
    #[default]
    Sandbox,
    /// Everything allowed; needs an entitlement.
    Insecure,
}

/// `RUN --device=name[,required]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// CDI name.
    pub name: String,
    /// Fail without it.
    pub required: bool,
    /// Its place.
    pub span: Span,
}

/// `RUN --mount` as it was written: every option may hold variables, so what it says is known where those are
/// ([`MountFlag::resolve`]).
#[derive(Debug, Clone, PartialEq)]
pub struct MountFlag {
    /// The options.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// `RUN --mount`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// `type=`.
    pub kind: MountKind,
    /// `from=`: stage, image or named context.
    pub from: Option<String>,
    /// `source=`.
    pub source: Option<String>,
    /// `target=`.
    pub target: Option<String>,
    /// `id=`.
    pub id: Option<String>,
    /// `rw` or `ro`, where given.
    pub readonly: Option<bool>,
    /// `sharing=` of a cache.
    pub sharing: Sharing,
    /// `mode=`.
    pub mode: Option<u32>,
    /// `uid=`.
    pub uid: Option<u32>,
    /// `gid=`.
    pub gid: Option<u32>,
    /// `size=` of a tmpfs in bytes.
    pub size: Option<u64>,
    /// `required` of a secret or ssh socket.
    pub required: bool,
    /// `env=` of a secret.
    pub env: Option<String>,
    /// Its place.
    pub span: Span,
}

/// What a mount holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that stays between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret's file.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// How steps share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// At once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [options] CMD …`.
    Test {
        /// What to run.
        command: Command,
        /// `--interval`.
        interval: Option<Duration>,
        /// `--timeout`.
        timeout: Option<Duration>,
        /// `--start-period`.
        start_period: Option<Duration>,
        /// `--start-interval`.
        start_interval: Option<Duration>,
        /// `--retries`.
        retries: Option<u32>,
    },
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq)]
pub struct Onbuild {
    /// The trigger as it goes to the image config.
    pub expression: String,
    /// The trigger parsed.
    pub trigger: Instruction,
}
