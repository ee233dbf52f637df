//! Lowering: syntax tree, arguments and image configurations in, graph out. Pure.
//!
//! Base images are asked for, not fetched: while a configuration is missing, [`lower`] answers with what it needs
//! ([`Lowered::Needs`]) and is called again with that in [`Inputs::images`]. Stages that the target does not need are
//! never looked at. Instructions that only describe the image (`ENV`, `CMD`, …) make no operation.

mod config;
mod devices;
mod fetched;
mod files;
mod history;
mod path;
mod run;
mod stage;
mod variables;

use crate::epoch;
use crate::graph::{Fs, Graph, HistoryItem, ImageUse, Op, Scan, StageUse};
pub use devices::{AllowedDevices, Devices};
use dockerfile::ast::Dockerfile;
use dockerfile::scope::{Globals, platform_args, target_stage};
use dockerfile::{Span, StageNames};
pub(crate) use fetched::fetched_by;
use oci::Platform;
use oci::image::ImageConfig;
use stage::StageState;
use std::collections::{BTreeMap, BTreeSet};

/// What lowering works from.
pub struct Inputs<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// `--build-arg`.
    pub build_args: &'a BTreeMap<String, String>,
    /// What the argument `SOURCE_DATE_EPOCH` stands for, if somebody gives it a value.
    pub epoch: Option<Option<i64>>,
    /// The stage to build.
    pub target: Option<&'a str>,
    /// What to build for.
    pub platform: &'a Platform,
    /// What the build runs on.
    pub build_platform: &'a Platform,
    /// Whether a base image for this platform is as good, where none was asked for.
    pub suits: &'a (dyn Fn(&Platform) -> bool + Sync),
    /// Configurations of base images.
    pub images: &'a BTreeMap<ImageKey, ImageConfig>,
    /// Contexts besides the main one: the image that a name stands for, or a directory.
    pub contexts: &'a BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: &'a BTreeMap<String, String>,
    /// Nothing from the cache.
    pub no_cache: bool,
    /// Nothing from the cache in these stages.
    pub no_cache_filter: &'a [String],
    /// `RUN --security=insecure` is allowed.
    pub allow_insecure: bool,
    /// `RUN --network=host` is allowed.
    pub allow_host_network: bool,
    /// The devices that there are, and which of them are allowed.
    pub devices: &'a Devices<'a>,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageKey {
    /// The reference, expanded.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
}

/// The answer of [`lower`].
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// Done.
    Graph(Box<Graph>),
    /// These configurations are missing; the span is where the image is named.
    Needs(BTreeMap<ImageKey, Span>),
}

/// A Dockerfile that cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Wrong at a place.
    At {
        /// What is wrong.
        message: String,
        /// Where.
        span: Span,
        /// What to do.
        help: Option<String>,
    },
    /// `--target` names nothing.
    NoTarget {
        /// The name.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
}

impl Error {
    pub(crate) fn at(message: impl Into<String>, span: Span) -> Self {
        Error::At { message: message.into(), span, help: None }
    }

    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        match self {
            Error::At { message, span, .. } => Error::At { message, span, help: Some(text.into()) },
            other => other,
        }
    }
}

impl From<dockerfile::Error> for Error {
    fn from(e: dockerfile::Error) -> Self {
        Error::At { message: e.message, span: e.span, help: e.help }
    }
}

/// Stages are lowered inside of those that need them. So many get a stack of their own: a file may have a chain of thousands.
const NESTED: usize = 100;
/// That stack. What is not used of it costs nothing.
const STACK: usize = 16 << 20;

/// Does this on a stack of its own; none if the machine has no thread for it.
fn on_own_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok()?;
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Makes the graph of the target stage.
pub fn lower(inputs: &Inputs<'_>) -> Result<Lowered, Error> {
    let target = target(inputs)?;
    let mut lowering = begin(inputs)?;
    lowering.try_stage(target)?;
    if !lowering.needs.is_empty() {
        return Ok(Lowered::Needs(lowering.needs));
    }
    Ok(Lowered::Graph(Box::new(lowering.finish(target)?)))
}

/// Goes through what the target needs, or through all stages where none is named, and makes nothing of it; the
/// configurations that are missing.
pub fn go_through(inputs: &Inputs<'_>) -> Result<BTreeMap<ImageKey, Span>, Error> {
    let mut lowering = begin(inputs)?;
    let stages = match inputs.target.is_some_and(|name| !name.is_empty()) {
        true => target(inputs).map(|only| only..only + 1)?,
        false => 0..inputs.file.stages.len(),
    };
    for stage in stages {
        lowering.try_stage(stage)?;
    }
    Ok(lowering.needs)
}

fn begin<'a>(inputs: &'a Inputs<'a>) -> Result<Lowering<'a>, Error> {
    let stage = target_stage(inputs.file, inputs.target);
    let platform = platform_args(inputs.build_platform, inputs.platform, stage);
    let mut globals = Globals::evaluate(inputs.file, inputs.build_args, platform)?;
    if let Some(seconds) = inputs.epoch {
        globals.settle(epoch::ARGUMENT, &seconds.map_or_else(String::new, |seconds| seconds.to_string()));
    }
    let stages = inputs.file.stages.len();
    Ok(Lowering {
        inputs,
        globals,
        names: StageNames::of(inputs.file),
        ops: Vec::new(),
        images: Vec::new(),
        used: BTreeMap::new(),
        done: (0..stages).map(|_| None).collect(),
        open: BTreeSet::new(),
        needs: BTreeMap::new(),
        depends: false,
    })
}

/// Index of the target stage.
fn target(inputs: &Inputs<'_>) -> Result<usize, Error> {
    let stages = &inputs.file.stages;
    let Some(wanted) = inputs.target.filter(|t| !t.is_empty()) else { return Ok(stages.len() - 1) };
    let lower = wanted.to_lowercase();
    let named = stages.iter().rposition(|s| s.from.name.as_ref().is_some_and(|n| n.text == lower));
    let index = || wanted.parse::<usize>().ok().filter(|i| *i < stages.len());
    named.or_else(index).ok_or_else(|| Error::NoTarget {
        name: wanted.to_string(),
        known: stages.iter().filter_map(|s| s.from.name.as_ref()).map(|n| n.text.clone()).collect(),
    })
}

/// Arguments that only say what lists of packages are made of; no step sees them.
const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// Whether such an argument's value is true, or names this stage.
fn is_named(value: &str, stage: &str) -> bool {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        names => names.split(',').any(|name| name == stage),
    }
}

struct Lowering<'a> {
    inputs: &'a Inputs<'a>,
    globals: Globals,
    names: StageNames<'a>,
    ops: Vec<Op>,
    images: Vec<ImageUse>,
    /// Their places among those.
    used: BTreeMap<ImageKey, usize>,
    done: Vec<Option<StageState>>,
    /// Stages being lowered: meeting one again is a circle.
    open: BTreeSet<usize>,
    needs: BTreeMap<ImageKey, Span>,
    /// What went wrong has variables, which an image that is missing may give a value.
    depends: bool,
}

/// What a name in `FROM`, `COPY --from` or `--mount from=` stands for.
enum Named {
    Scratch,
    Stage(usize),
    Context(String),
    Image(String),
}

impl<'a> Lowering<'a> {
    /// Lowers a stage; what a missing image may put right is no error yet.
    fn try_stage(&mut self, index: usize) -> Result<(), Error> {
        let done = self.stage(index).map(drop);
        if self.depends { Ok(()) } else { done }
    }

    /// Lowers a stage once.
    fn stage(&mut self, index: usize) -> Result<&StageState, Error> {
        if self.done[index].is_none() {
            let place = self.inputs.file.stages[index].from.image.span;
            if !self.open.insert(index) {
                let message = format!("circular dependency detected on stage: {}", self.stage_name(index));
                return Err(Error::at(message, place));
            }
            // All that wait for this one are open, and it is too.
            let state = if (self.open.len() - 1).is_multiple_of(NESTED) {
                let lowered = on_own_stack(|| stage::lower(self, index));
                lowered.unwrap_or_else(|| Err(Error::at("no thread for what the stage needs", place)))?
            } else {
                stage::lower(self, index)?
            };
            self.open.remove(&index);
            self.done[index] = Some(state);
        }
        self.lowered(index)
    }

    /// A stage that was lowered.
    fn lowered(&self, index: usize) -> Result<&StageState, Error> {
        let missing = || Error::at("stage used before it is defined", self.inputs.file.stages[index].head);
        self.done[index].as_ref().ok_or_else(missing)
    }

    /// A stage's name, or its number.
    fn stage_name(&self, index: usize) -> String {
        match &self.inputs.file.stages[index].from.name {
            Some(name) => name.text.clone(),
            None => format!("stage-{index}"),
        }
    }

    /// The stage that `name` stands for: for `FROM` an earlier one, else any, the nearest above first.
    fn find_stage(&self, name: &str, current: usize, only_earlier: bool) -> Option<usize> {
        let later = || self.names.below(name, current).filter(|_| !only_earlier);
        self.names.above(name, current).or_else(later)
    }

    /// What `COPY --from` and mounts mean.
    fn named(&self, name: &str, current: usize, span: Span) -> Result<Named, Error> {
        if let Some(index) = self.find_stage(name, current, false) {
            return self.stage_or_context(index, span);
        }
        if let Ok(index) = name.parse::<usize>() {
            if index >= self.inputs.file.stages.len() {
                let error = Error::at(format!("invalid stage index {index}"), span);
                return Err(error.help("stages are counted from 0"));
            }
            return self.stage_or_context(index, span);
        }
        self.outside(name, span)
    }

    /// A stage, or the named context that takes its place.
    fn stage_or_context(&self, index: usize, span: Span) -> Result<Named, Error> {
        match &self.inputs.file.stages[index].from.name {
            Some(name) if self.context(&name.text).is_some() => self.outside(&name.text, span),
            _ => Ok(Named::Stage(index)),
        }
    }

    /// The named context that a name means: names are compared as references, `busybox` is `docker.io/library/busybox:latest`.
    /// What is empty stays empty.
    fn context(&self, name: &str) -> Option<(&'a String, &'a Option<String>)> {
        let contexts = self.inputs.contexts;
        if name.eq_ignore_ascii_case("scratch") {
            return None;
        }
        contexts.get_key_value(name).or_else(|| contexts.get_key_value(&oci::Reference::shortest(name)?))
    }

    /// A name that is no stage.
    fn outside(&self, name: &str, span: Span) -> Result<Named, Error> {
        match self.context(name) {
            Some((_, Some(image))) if image == "scratch" => return Ok(Named::Scratch),
            Some((_, Some(image))) => return Ok(Named::Image(image.clone())),
            Some((name, None)) => return Ok(Named::Context(name.clone())),
            None => {}
        }
        if name == "scratch" {
            return Ok(Named::Scratch);
        }
        // A whole image id is no reference, but images are also known by it.
        if !oci::Reference::is_image_id(name)
            && let Err(e) = oci::Reference::parse(name)
        {
            let message = format!("failed to parse stage name {name:?}: {e}");
            return Err(Error::at(message, span));
        }
        Ok(Named::Image(name.to_string()))
    }

    /// The configuration of an image, or a note that it is missing.
    fn image_config(&mut self, reference: &str, platform: &Platform, span: Span) -> Option<ImageConfig> {
        let key = ImageKey { reference: reference.to_string(), platform: platform.clone() };
        if let Some(config) = self.inputs.images.get(&key) {
            return Some(config.clone());
        }
        self.needs.entry(key).or_insert(span);
        None
    }

    /// An image as a file system.
    fn image_fs(&mut self, image: ImageUse) -> Fs {
        let key = ImageKey { reference: image.reference.clone(), platform: image.platform.clone() };
        let index = *self.used.entry(key).or_insert(self.images.len());
        if index == self.images.len() {
            self.images.push(image);
        }
        Fs::Image(index)
    }

    /// What was done up to the end of a stage: of those that it is from as well.
    fn history(&self, target: usize) -> Result<Vec<HistoryItem>, Error> {
        let mut line = vec![self.lowered(target)?];
        while let Some(parent) = line[line.len() - 1].parent {
            line.push(self.lowered(parent)?);
        }
        Ok(line.into_iter().rev().flat_map(|state| state.history.iter().cloned()).collect())
    }

    /// What lists of packages are made of, as the arguments of stages say.
    fn scan(&self, target: usize) -> Result<Scan, Error> {
        let wants = |index: usize, state: &StageState, argument: &str| {
            let value = state.variables.argument(argument).or_else(|| self.globals.get(argument));
            value.is_some_and(|value| is_named(value, &self.stage_name(index)))
        };
        let others = self.done.iter().enumerate().filter(|(index, _)| *index != target);
        let others = others.filter_map(|(index, state)| Some((index, state.as_ref()?)));
        let more = others
            .filter(|(index, state)| wants(*index, state, SCAN_STAGE))
            .map(|(index, state)| (self.stage_name(index), state.fs.clone()));
        let context = wants(target, self.lowered(target)?, SCAN_CONTEXT);
        Ok(Scan { op: None, more: more.collect(), context })
    }

    fn finish(self, target: usize) -> Result<Graph, Error> {
        let history = self.history(target)?;
        let state = self.lowered(target)?;
        let mut config = state.config.clone();
        config.config.env = state.variables.env().to_vec();
        config.config.labels.extend(self.inputs.labels.clone());
        let result = state.fs.clone();
        let scan = self.scan(target)?;
        let done = self.done.into_iter().enumerate().filter_map(|(index, state)| Some((index, state?)));
        let stages = done
            .map(|(index, StageState { parent, base, lines, .. })| (index, StageUse { parent, base, lines }));
        let stages = stages.collect();
        Ok(Graph { images: self.images, ops: self.ops, result, config, history, scan, stages })
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
