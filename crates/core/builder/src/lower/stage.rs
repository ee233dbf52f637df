//! One stage: its `FROM`, the triggers of its base, its instructions.

use super::variables::Variables;
use super::{Error, Lowering, Named, config, files, run};
use crate::graph::{Copy, CopySource, Fs, HistoryItem, ImageUse, Line, Op, OpId, OpKind, Origin};
use dockerfile::Span;
use dockerfile::ast::{Instruction, Kind, Word};
use dockerfile::expand::Expander;
use oci::Platform;
use oci::image::ImageConfig;

/// Where programs are looked for if nothing says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What an instruction takes besides its text, in every stage that repeats it.
const STEP: usize = 512;
/// More instructions than this are not a Dockerfile.
const MAX_HISTORY: usize = 10_000;

/// What a stage has become so far.
#[derive(Debug)]
pub(super) struct StageState {
    pub fs: Fs,
    /// What its `FROM` gave.
    pub base: Fs,
    pub lines: Vec<Line>,
    /// But for the environment.
    pub config: ImageConfig,
    pub variables: Variables,
    /// The stage that it is from: what that has done comes before its own history.
    pub parent: Option<usize>,
    /// Steps of that and of those that it is from.
    steps: usize,
    pub history: Vec<HistoryItem>,
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
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(String::from)
    }

    /// How a stage begins that is from this one.
    fn child(&self, index: usize, name: String) -> Self {
        Self {
            fs: self.fs.clone(),
            base: self.fs.clone(),
            lines: Vec::new(),
            config: self.config.clone(),
            variables: self.variables.clone(),
            parent: Some(index),
            steps: self.steps + self.history.len(),
            history: Vec::new(),
            platform: self.platform.clone(),
            name,
            cmd_set: false,
            exposed: self.exposed,
            no_cache: self.no_cache,
            own: Vec::new(),
            image: None,
        }
    }

    /// What a copy of what it says takes: of what a file can make large.
    fn weight(&self) -> usize {
        let config = &self.config.config;
        let commands = [&config.shell, &config.cmd, &config.entrypoint].into_iter().flatten().flatten();
        let labels = config.labels.iter().flat_map(|(name, value)| [name, value]);
        let sets = config.exposed_ports.iter().chain(&config.volumes);
        let history = self.config.history.iter().map(|item| &item.created_by);
        let texts = config.on_build.iter().chain(commands).chain(labels).chain(sets).chain(history);
        texts.map(|text| text.len() + size_of::<String>()).sum::<usize>() + self.variables.bytes() + STEP
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
        self.history.push(HistoryItem::New { created_by, op: None });
    }
}

/// Lowers stage `index`.
pub(super) fn lower(l: &mut Lowering<'_>, index: usize) -> Result<StageState, Error> {
    let stage = &l.inputs.file.stages[index];
    if let Some(mut state) = replaced(l, index)? {
        state.base = state.fs.clone();
        number(l, index, &state);
        return Ok(state);
    }
    let mut state = base(l, index)?;
    state.base = state.fs.clone();
    let triggers = std::mem::take(&mut state.config.config.on_build);
    for trigger in triggers {
        let span = stage.from.image.span;
        let parsed = dockerfile::parse_trigger(&trigger).map_err(|e| {
            Error::at(format!("ONBUILD trigger {trigger:?} of the base image: {}", e.message), span)
        })?;
        line(l, index, &mut state, &moved(parsed, span), true)?;
    }
    for instruction in &stage.instructions {
        line(l, index, &mut state, instruction, false)?;
        if state.steps + state.history.len() > MAX_HISTORY {
            return Err(Error::at(format!("more than {MAX_HISTORY} steps"), instruction.span));
        }
    }
    number(l, index, &state);
    Ok(state)
}

/// Lowers an instruction, and notes what came of it.
fn line(
    l: &mut Lowering<'_>,
    index: usize,
    state: &mut StageState,
    instruction: &Instruction,
    is_trigger: bool,
) -> Result<(), Error> {
    let (before, notes) = (state.own.len(), state.history.len());
    l.draw(STEP + 2 * instruction.source.len(), instruction.span)?;
    let done = dispatch(l, index, state, instruction);
    l.depends |= done.is_err() && !l.needs.is_empty() && instruction.source.contains('$');
    done?;
    let op = state.own.get(before).copied();
    let text = state.history[notes..].iter().map(|item| match item {
        HistoryItem::New { created_by, .. } => created_by.len(),
        HistoryItem::Base(_) | HistoryItem::Said(_) => 0,
    });
    let environment = op.map_or(0, |op| match &l.ops[op].kind {
        OpKind::Run(run) => run.env.iter().map(String::len).sum(),
        _ => 0,
    });
    l.draw(environment + text.sum::<usize>(), instruction.span)?;
    state.lines.push(Line { text: instruction.source.clone(), is_trigger, op });
    Ok(())
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
    if let Some(parent) = l.find_stage(&reference, index, true) {
        let no_cache = is_uncached(l, &name);
        let bytes = l.stage(parent)?.weight();
        l.draw(bytes, from.image.span)?;
        return Ok(StageState { no_cache, ..l.lowered(parent)?.child(parent, name) });
    }
    let outside = l.outside(&reference, from.image.span)?;
    begin(l, index, outside, platform)
}

/// What stands in a stage's place: the named context that has its name.
fn replaced(l: &mut Lowering<'_>, index: usize) -> Result<Option<StageState>, Error> {
    let Some(name) = &l.inputs.file.stages[index].from.name else { return Ok(None) };
    if l.context(&name.text).is_none() {
        return Ok(None);
    }
    let platform = platform(l, index)?;
    let outside = l.outside(&name.text, name.span)?;
    begin(l, index, outside, platform).map(Some)
}

/// A stage that begins with something from outside of the file.
fn begin(
    l: &mut Lowering<'_>,
    index: usize,
    outside: Named,
    platform: Platform,
) -> Result<StageState, Error> {
    let span = l.inputs.file.stages[index].from.image.span;
    let name = l.stage_name(index);
    let mut state = StageState {
        fs: Fs::Scratch,
        base: Fs::Scratch,
        lines: Vec::new(),
        config: empty(&platform),
        parent: None,
        steps: 0,
        history: Vec::new(),
        variables: Variables::default(),
        platform,
        no_cache: is_uncached(l, &name),
        name,
        cmd_set: false,
        exposed: 0,
        own: Vec::new(),
        image: None,
    };
    state.variables = Variables::new(vec![format!("PATH={DEFAULT_PATH}")]);
    match outside {
        Named::Scratch => {}
        Named::Context(context) => l.push_context(&mut state, &context, span),
        Named::Stage(_) => return Err(Error::at("stage used before it is defined", span)),
        Named::Image(reference) => {
            begin_with_image(l, &mut state, reference, span)?;
            let actual = state.config.platform();
            let is_free = l.inputs.file.stages[index].from.platform.is_none();
            if is_free && actual.architecture != state.platform.architecture && (l.inputs.suits)(&actual) {
                state.platform = actual.normalized();
            }
        }
    }
    Ok(state)
}

fn begin_with_image(
    l: &mut Lowering<'_>,
    state: &mut StageState,
    reference: String,
    span: Span,
) -> Result<(), Error> {
    if let Some(config) = l.image_config(&reference, &state.platform, span) {
        state.config = config;
        state.variables = Variables::new(std::mem::take(&mut state.config.config.env));
        l.draw(state.weight(), span)?;
    }
    if state.variables.get("PATH").is_none() {
        state.variables.set("PATH", DEFAULT_PATH);
    }
    state.history = state.config.history.iter().cloned().map(HistoryItem::Base).collect();
    state.fs = l.image_fs(ImageUse {
        name: String::new(),
        stage: state.name.clone(),
        span,
        platform: state.platform.clone(),
        reference,
    });
    state.image = if let Fs::Image(i) = state.fs { Some(i) } else { None };
    Ok(())
}

/// Whether nothing of a stage may come from the cache.
fn is_uncached(l: &Lowering<'_>, name: &str) -> bool {
    l.inputs.no_cache || l.inputs.no_cache_filter.iter().any(|f| f.eq_ignore_ascii_case(name))
}

/// The configuration of `scratch`.
fn empty(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::new(platform);
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
    let out = Expander::new(l.inputs.file.directives.escape, &get, &l.globals.budget).word(&word.text);
    let out = out.map_err(|e| Error::at(e.to_string(), word.span))?;
    Ok(out.text)
}

/// Names the stage's operations once their number is known.
fn number(l: &mut Lowering<'_>, index: usize, state: &StageState) {
    let prefix = if l.inputs.file.stages.len() > 1 { l.stage_name(index) + " " } else { String::new() };
    // Nothing, and another stage, are no step to begin with.
    let first = usize::from(state.image.is_some());
    let total = state.own.len() + first;
    if let Some(image) = state.image
        && l.images[image].name.is_empty()
    {
        let shown = ImageUse::shown(&l.images[image].reference);
        l.images[image].name = format!("[{prefix}1/{total}] FROM {shown}");
    }
    for (i, id) in state.own.iter().enumerate() {
        let text = shown(&l.ops[*id].instruction);
        l.ops[*id].name = format!("[{prefix}{}/{total}] {text}", i + 1 + first);
    }
}

/// The instruction with its keyword in upper case and on one line.
fn shown(instruction: &str) -> String {
    let line = instruction.lines().next().unwrap_or_default();
    let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    format!("{} {}", keyword.to_ascii_uppercase(), rest.trim()).trim_end().to_string()
}

impl Lowering<'_> {
    /// Takes so many bytes of what the file may come to.
    fn draw(&self, bytes: usize, span: Span) -> Result<(), Error> {
        self.globals.budget.draw(bytes).map_err(|e| Error::at(e.to_string(), span))
    }

    /// Expands a word with the stage's variables.
    pub(super) fn expand(&mut self, s: &StageState, text: &str, span: Span) -> Result<String, Error> {
        let get = |name: &str| s.variable(name);
        let out = Expander::new(self.inputs.file.directives.escape, &get, &self.globals.budget).word(text);
        out.map(|out| out.text).map_err(|e| Error::at(e.to_string(), span))
    }

    /// Expands a word that may become several.
    pub(super) fn expand_words(&mut self, s: &StageState, word: &Word) -> Result<Vec<String>, Error> {
        let get = |name: &str| s.variable(name);
        let out =
            Expander::new(self.inputs.file.directives.escape, &get, &self.globals.budget).words(&word.text);
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
        s.history.push(HistoryItem::New { created_by, op: Some(id) });
    }

    /// Adds the files of a named context as the whole file system of a stage.
    fn push_context(&mut self, s: &mut StageState, context: &str, span: Span) {
        let copy = Copy::plain(Origin::Context(Some(context.to_owned())), CopySource::Path("/".into()), "/");
        let source = format!("COPY --from={context} / /");
        let id = self.ops.len();
        self.ops.push(Op {
            base: Fs::Scratch,
            kind: OpKind::Copy(Box::new(copy)),
            name: String::new(),
            stage: s.name.clone(),
            instruction: source.clone(),
            span,
            no_cache: s.no_cache,
            platform: s.platform.clone(),
        });
        s.fs = Fs::Op(id);
        s.own.push(id);
        s.history.push(HistoryItem::New { created_by: source, op: Some(id) });
    }

    /// A `--from` of an instruction that does this as a file system or context. A stage has to stand above, as with BuildKit, though
    /// it could be made first: who else is given the file could not build it.
    pub(super) fn origin(
        &mut self,
        verb: &str,
        name: &str,
        index: usize,
        s: &StageState,
        span: Span,
    ) -> Result<Origin, Error> {
        Ok(match self.named(name, index, span)? {
            Named::Scratch => Origin::Fs(Fs::Scratch),
            Named::Context(name) => Origin::Context(Some(name)),
            Named::Stage(other) => {
                let fs = self.stage(other)?.fs.clone();
                if other > index {
                    let current = self.stage_name(index);
                    let message = format!(
                        "cannot {verb} from stage {name:?}, it needs to be defined before current stage {current:?}"
                    );
                    return Err(Error::at(message, span).help("move the stage above this one"));
                }
                Origin::Fs(fs)
            }
            Named::Image(reference) => {
                self.image_config(&reference, &s.platform, span);
                Origin::Fs(self.image_fs(ImageUse {
                    name: format!("FROM {}", ImageUse::shown(&reference)),
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
