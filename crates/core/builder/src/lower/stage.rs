//! One stage: its `FROM`, the triggers of its base, its instructions.

use super::{Error, Lowering, Named, config, files, run};
use crate::graph::{Fs, HistoryItem, ImageUse, Op, OpId, OpKind};
use dockerfile::Span;
use dockerfile::ast::{Instruction, Kind, Word};
use dockerfile::expand::Expander;
use oci::Platform;
use oci::image::ImageConfig;

/// Where programs are looked for if nothing says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More instructions than this are not a Dockerfile.
const MAX_HISTORY: usize = 10_000;

/// What a stage has become so far.
#[derive(Debug, Clone)]
pub(super) struct StageState {
    pub fs: Fs,
    pub config: ImageConfig,
    pub history: Vec<HistoryItem>,
    /// Declared build arguments, the last declaration of a name counts.
    pub args: Vec<(String, Option<String>)>,
    pub platform: Platform,
    pub name: String,
    /// `CMD` was set in this stage: `ENTRYPOINT` leaves it alone.
    pub cmd_set: bool,
    /// Ports that `EXPOSE` named.
    pub exposed: usize,
    no_cache: bool,
    /// Operations of this stage, to number them.
    own: Vec<OpId>,
    image: Option<usize>,
}

impl StageState {
    /// The value of a variable: `ENV` wins over `ARG`.
    pub fn variable(&self, name: &str) -> Option<String> {
        let env = self.config.config.env.iter().rev().find_map(|e| e.strip_prefix(name)?.strip_prefix('='));
        env.map(String::from)
            .or_else(|| self.args.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone()))
    }

    /// Sets `NAME=value`, in place if the name is there.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let env = &mut self.config.config.env;
        match env.iter_mut().find(|e| e.split('=').next() == Some(name)) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }

    /// The shell of the shell form.
    pub fn shell(&self) -> Vec<String> {
        match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".into(), "-c".into()],
        }
    }

    /// A history line of an instruction that changes no file.
    pub fn note(&mut self, created_by: String) {
        self.history.push(HistoryItem::New { created_by, op: None, author: self.config.author.clone() });
    }
}

/// Lowers stage `index`.
pub(super) fn lower(l: &mut Lowering<'_>, index: usize) -> Result<StageState, Error> {
    let stage = &l.inputs.file.stages[index];
    let mut state = base(l, index)?;
    let triggers = std::mem::take(&mut state.config.config.on_build);
    for trigger in triggers {
        let span = stage.from.image.span;
        let parsed = dockerfile::parse_trigger(&trigger).map_err(|e| {
            Error::at(format!("ONBUILD trigger {trigger:?} of the base image: {}", e.message), span)
        })?;
        dispatch(l, index, &mut state, &moved(parsed, span))?;
    }
    for instruction in &stage.instructions {
        dispatch(l, index, &mut state, instruction)?;
        if state.history.len() > MAX_HISTORY {
            return Err(Error::at(format!("more than {MAX_HISTORY} steps"), instruction.span));
        }
    }
    number(l, index, &state);
    Ok(state)
}

/// A trigger stands nowhere in this file: errors about it point at the `FROM`.
fn moved(mut instruction: Instruction, span: Span) -> Instruction {
    instruction.span = span;
    match &mut instruction.kind {
        Kind::Copy(t) | Kind::Add(t) => {
            t.dest.span = span;
            t.from.iter_mut().chain(&mut t.chown).chain(&mut t.chmod).for_each(|w| w.span = span);
            t.exclude.iter_mut().for_each(|w| w.span = span);
            for source in &mut t.sources {
                match source {
                    dockerfile::ast::Source::Path(word) => word.span = span,
                    dockerfile::ast::Source::Heredoc(doc) => doc.span = span,
                }
            }
        }
        Kind::Run(run) => run.mounts.iter_mut().for_each(|m| m.span = span),
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter_mut().for_each(|p| p.span = span),
        Kind::Arg(args) => args.iter_mut().for_each(|a| a.span = span),
        Kind::Workdir(w) | Kind::User(w) | Kind::Stopsignal(w) => w.span = span,
        Kind::Expose(words) | Kind::Volume(words) => words.iter_mut().for_each(|w| w.span = span),
        _ => {}
    }
    instruction
}

/// What `FROM` gives.
fn base(l: &mut Lowering<'_>, index: usize) -> Result<StageState, Error> {
    let from = &l.inputs.file.stages[index].from;
    let platform = platform(l, index)?;
    let reference = expand_global(l, &from.image)?;
    if reference.is_empty() {
        let message = format!("base name ({}) should not be blank", from.image.text);
        return Err(Error::at(message, from.image.span).help("give the ARG a default or a --build-arg"));
    }
    let name = l.stage_name(index);
    let no_cache =
        l.inputs.no_cache || l.inputs.no_cache_filter.iter().any(|f| f.eq_ignore_ascii_case(&name));
    if let Some(parent) = l.find_stage(&reference, index, true) {
        let mut state = l.stage(parent)?;
        state.name = name;
        state.own = Vec::new();
        state.image = None;
        state.cmd_set = false;
        state.no_cache = no_cache;
        return Ok(state);
    }
    let (fs, config, image) = match l.outside(&reference, from.image.span)? {
        Named::Scratch => (Fs::Scratch, empty(&platform), None),
        Named::Context(name) => {
            let message = format!("named context {name:?} is a directory and no base image");
            return Err(Error::at(message, from.image.span));
        }
        Named::Stage(_) => return Err(Error::at("stage used before it is defined", from.image.span)),
        Named::Image(reference) => {
            let config = l.image_config(&reference, &platform, from.image.span);
            let mut config = config.unwrap_or_else(|| empty(&platform));
            if !config.config.env.iter().any(|e| e.starts_with("PATH=")) {
                config.config.env.push(format!("PATH={DEFAULT_PATH}"));
            }
            let used = ImageUse {
                name: String::new(),
                stage: name.clone(),
                span: from.image.span,
                platform: platform.clone(),
                reference,
            };
            let fs = l.image_fs(used);
            let image = if let Fs::Image(i) = fs { Some(i) } else { None };
            (fs, config, image)
        }
    };
    let history = config.history.iter().cloned().map(HistoryItem::Base).collect();
    let args = Vec::new();
    Ok(StageState {
        fs,
        config,
        history,
        args,
        platform,
        name,
        cmd_set: false,
        exposed: 0,
        no_cache,
        own: Vec::new(),
        image,
    })
}

/// The configuration of `scratch`.
fn empty(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::new(platform);
    config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    config.config.working_dir = "/".into();
    config
}

fn platform(l: &mut Lowering<'_>, index: usize) -> Result<Platform, Error> {
    let Some(word) = &l.inputs.file.stages[index].from.platform else { return Ok(l.inputs.platform.clone()) };
    let text = expand_global(l, word)?;
    if text.is_empty() {
        let message = format!("empty platform value from expression {}", word.text);
        return Err(
            Error::at(message, word.span).help("an ARG that FROM uses must stand above the first FROM")
        );
    }
    let parsed = text.parse::<Platform>().map(|p| p.normalized());
    parsed.map_err(|e| Error::at(format!("failed to parse platform {text}: {e}"), word.span))
}

/// Expands with the arguments that `FROM` sees.
fn expand_global(l: &mut Lowering<'_>, word: &Word) -> Result<String, Error> {
    let get = |name: &str| l.globals.get(name).map(String::from);
    let out = Expander::new(l.inputs.file.directives.escape, &get).word(&word.text);
    let out = out.map_err(|e| Error::at(e.to_string(), word.span))?;
    Ok(out.text)
}

/// Names the stage's operations once their number is known.
fn number(l: &mut Lowering<'_>, index: usize, state: &StageState) {
    let prefix = if l.inputs.file.stages.len() > 1 { l.stage_name(index) + " " } else { String::new() };
    let total = state.own.len() + 1;
    if let Some(image) = state.image
        && l.images[image].name.is_empty()
    {
        let reference = &l.images[image].reference;
        let shown = oci::Reference::parse(reference).map_or_else(|_| reference.clone(), |r| r.to_string());
        l.images[image].name = format!("[{prefix}1/{total}] FROM {shown}");
    }
    for (i, id) in state.own.iter().enumerate() {
        let text = shown(&l.ops[*id].instruction);
        l.ops[*id].name = format!("[{prefix}{}/{total}] {text}", i + 2);
    }
}

/// The instruction with its keyword in upper case and on one line.
fn shown(instruction: &str) -> String {
    let line = instruction.lines().next().unwrap_or_default();
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    format!("{} {}", keyword.to_ascii_uppercase(), rest.trim()).trim_end().to_string()
}

impl Lowering<'_> {
    /// Expands a word with the stage's variables.
    pub(super) fn expand(&mut self, s: &StageState, text: &str, span: Span) -> Result<String, Error> {
        let get = |name: &str| s.variable(name);
        let out = Expander::new(self.inputs.file.directives.escape, &get).word(text);
        out.map(|out| out.text).map_err(|e| Error::at(e.to_string(), span))
    }

    /// Expands a word that may become several.
    pub(super) fn expand_words(&mut self, s: &StageState, word: &Word) -> Result<Vec<String>, Error> {
        let get = |name: &str| s.variable(name);
        let out = Expander::new(self.inputs.file.directives.escape, &get).words(&word.text);
        out.map_err(|e| Error::at(e.to_string(), word.span))
    }

    /// Adds an operation of the stage with its history line.
    pub(super) fn push(&mut self, s: &mut StageState, kind: OpKind, i: &Instruction, created_by: String) {
        let id = self.ops.len();
        self.ops.push(Op {
            base: s.fs.clone(),
            kind,
            name: String::new(),
            stage: s.name.clone(),
            instruction: i.source.clone(),
            span: i.span,
            no_cache: s.no_cache,
            platform: s.platform.clone(),
        });
        s.fs = Fs::Op(id);
        s.own.push(id);
        s.history.push(HistoryItem::New { created_by, op: Some(id), author: s.config.author.clone() });
    }

    /// A `--from` as a file system or context.
    pub(super) fn origin(
        &mut self,
        name: &str,
        index: usize,
        s: &StageState,
        span: Span,
    ) -> Result<crate::graph::Origin, Error> {
        use crate::graph::Origin;
        Ok(match self.named(name, index, span)? {
            Named::Scratch => Origin::Fs(Fs::Scratch),
            Named::Context(name) => Origin::Context(Some(name)),
            Named::Stage(other) => Origin::Fs(self.stage(other)?.fs),
            Named::Image(reference) => {
                self.image_config(&reference, &s.platform, span);
                let shown = oci::Reference::parse(&reference).map_or(reference.clone(), |r| r.to_string());
                Origin::Fs(self.image_fs(ImageUse {
                    name: format!("FROM {shown}"),
                    stage: s.name.clone(),
                    platform: s.platform.clone(),
                    span,
                    reference,
                }))
            }
        })
    }
}

fn dispatch(l: &mut Lowering<'_>, index: usize, s: &mut StageState, i: &Instruction) -> Result<(), Error> {
    match &i.kind {
        Kind::Add(transfer) => files::transfer(l, index, s, i, transfer, true),
        Kind::Copy(transfer) => files::transfer(l, index, s, i, transfer, false),
        Kind::Run(run) => run::run(l, index, s, i, run),
        Kind::Workdir(dir) => files::workdir(l, s, i, dir),
        Kind::From(_) => Err(Error::at("FROM inside a stage", i.span)),
        _ => config::apply(l, s, i),
    }
}
