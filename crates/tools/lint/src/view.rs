//! A Dockerfile as rules look at it: instructions in a row, stages, scripts split into commands.

use crate::shell::Script;
use dockerfile::StageNames;
use dockerfile::ast::{Command, Comment, Dockerfile, Kind, MountKind, Run, Source, Stage, Transfer};
use std::collections::BTreeMap;

/// One instruction.
pub struct Item<'a> {
    /// Its first line.
    pub line: u32,
    /// The number of its stage; nothing above the first `FROM`.
    pub stage: Option<usize>,
    /// It stands below `ONBUILD`.
    pub is_trigger: bool,
    /// What it is.
    pub what: What<'a>,
    /// The commands of a `RUN`, also below `ONBUILD`.
    pub script: Option<Script>,
}

/// What an instruction is.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// `FROM`
    From(&'a Stage),
    /// Another one.
    Other(&'a Kind),
}

/// A file.
pub struct View<'a> {
    /// Instructions in order.
    pub items: Vec<Item<'a>>,
    /// What `ONBUILD` will do, in order.
    pub triggers: Vec<Item<'a>>,
    /// Stages in order.
    pub stages: Vec<Base<'a>>,
    /// Comment lines.
    pub comments: &'a [Comment],
}

/// A stage and what it is based on.
pub struct Base<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// Line of its `FROM`.
    pub line: u32,
    /// The image's registry, where one is named.
    pub registry: Option<&'a str>,
    /// The image's name without registry, tag and digest.
    pub name: &'a str,
    /// Its tag.
    pub tag: Option<&'a str>,
    /// Whether a digest is given.
    pub has_digest: bool,
    /// The earlier stage that it is.
    pub parent: Option<usize>,
    /// A later stage is from it.
    pub is_base: bool,
}

impl Base<'_> {
    /// The stage's name in lower case.
    pub fn alias(&self) -> Option<&str> {
        self.stage.from.name.as_ref().map(|name| name.text.as_str())
    }
}

impl<'a> View<'a> {
    /// Looks at a file.
    pub fn new(file: &'a Dockerfile) -> Self {
        let mut view =
            View { items: Vec::new(), triggers: Vec::new(), stages: Vec::new(), comments: &file.comments };
        for instruction in &file.global_args {
            view.push(None, instruction.span.line, &instruction.kind);
        }
        let names = StageNames::of(file);
        for (index, stage) in file.stages.iter().enumerate() {
            let base = base(stage, index, &names);
            if let Some(parent) = base.parent {
                view.stages[parent].is_base = true;
            }
            view.stages.push(base);
            view.items.push(Item {
                line: stage.head.line,
                stage: Some(index),
                is_trigger: false,
                what: What::From(stage),
                script: None,
            });
            for instruction in &stage.instructions {
                view.push(Some(index), instruction.span.line, &instruction.kind);
            }
        }
        view
    }

    fn push(&mut self, stage: Option<usize>, line: u32, kind: &'a Kind) {
        if let Kind::Onbuild(onbuild) = kind {
            let trigger = &onbuild.trigger.kind;
            let what = What::Other(trigger);
            self.triggers.push(Item { line, stage, is_trigger: true, what, script: script(trigger) });
        }
        let what = What::Other(kind);
        self.items.push(Item { line, stage, is_trigger: false, what, script: script(kind) });
    }

    /// Every `RUN`, those below `ONBUILD` too.
    pub fn runs(&self) -> impl Iterator<Item = (u32, &Run, &Script)> {
        self.items.iter().chain(&self.triggers).filter_map(Item::run)
    }

    /// Every instruction, those below `ONBUILD` too.
    pub fn all(&self) -> impl Iterator<Item = &Item<'a>> {
        self.items.iter().chain(&self.triggers)
    }

    /// Every `COPY` outside of `ONBUILD`.
    pub fn copies(&self) -> impl Iterator<Item = (&Item<'a>, &'a Transfer)> {
        self.items.iter().filter_map(|item| match item.what {
            What::Other(Kind::Copy(copy)) => Some((item, copy)),
            _ => None,
        })
    }

    /// Every label with its line, quotes removed.
    pub fn labels(&self) -> impl Iterator<Item = (u32, String, String)> {
        self.items.iter().flat_map(|item| {
            let pairs = match item.what {
                What::Other(Kind::Label(pairs)) => pairs.as_slice(),
                _ => &[],
            };
            let read = |text: &str| crate::text::unquoted(text);
            pairs.iter().map(move |pair| (item.line, read(&pair.key), read(&pair.value)))
        })
    }

    /// Lines of instructions of a kind that come after another of it in their stage.
    pub fn repeated(&self, is: impl Fn(&Kind) -> bool) -> Vec<u32> {
        let mut seen = BTreeMap::new();
        let mut lines = Vec::new();
        for item in &self.items {
            if let What::Other(kind) = item.what
                && is(kind)
                && seen.insert(item.stage, ()).is_some()
            {
                lines.push(item.line);
            }
        }
        lines
    }

    /// Whether the stage of an instruction ends up in an image: it is the last one, or a later one is based on it.
    /// What a trigger leaves behind ends up in an image that is none of ours.
    pub fn is_shipped(&self, item: &Item<'_>) -> bool {
        let (Some(index), false) = (item.stage, item.is_trigger) else { return true };
        index + 1 >= self.stages.len() || self.stages[index].is_base
    }
}

impl<'a> Item<'a> {
    /// The `RUN` that it is.
    pub fn run(&self) -> Option<(u32, &'a Run, &Script)> {
        match (self.what, &self.script) {
            (What::Other(Kind::Run(run)), Some(script)) => Some((self.line, run, script)),
            _ => None,
        }
    }

    /// The instruction, if it is no `FROM`.
    pub fn kind(&self) -> Option<&'a Kind> {
        match self.what {
            What::From(_) => None,
            What::Other(kind) => Some(kind),
        }
    }
}

/// The commands of a `RUN`.
fn script(kind: &Kind) -> Option<Script> {
    let Kind::Run(run) = kind else { return None };
    Some(match &run.command {
        Command::Exec(argv) => Script::parse(&argv.join(" ")),
        Command::Shell(_) => Script::parse(&run.shell_line().unwrap_or_default()),
    })
}

fn base<'a>(stage: &'a Stage, index: usize, names: &StageNames<'_>) -> Base<'a> {
    let text = stage.from.image.text.as_str();
    let (text, has_digest) = text.split_once('@').map_or((text, false), |(image, _)| (image, true));
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let (image, tag) = match text[slash..].split_once(':') {
        // `${x:-y}` has a colon of its own.
        Some((name, tag)) if !name.contains("${") || name.contains('}') => {
            (&text[..slash + name.len()], Some(tag))
        }
        _ => (text, None),
    };
    let (registry, name) = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, image),
    };
    let parent = names.above(text, index);
    Base { stage, line: stage.head.line, registry, name, tag, has_digest, parent, is_base: false }
}

/// Whether a cache or a file system in memory is mounted at a path that has this in it.
pub fn has_mount(run: &Run, fragment: &str) -> bool {
    run.mounts.iter().filter_map(|flag| flag.plain().ok()).any(|mount| {
        matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs)
            && mount.target.is_some_and(|target| target.contains(fragment))
    })
}

/// The sources that are paths, quotes removed.
pub fn paths(transfer: &Transfer) -> Vec<String> {
    let paths = transfer.sources.iter().filter_map(|source| match source {
        Source::Path(word) => Some(crate::text::unquoted(&word.text)),
        Source::Heredoc(_) => None,
    });
    paths.collect()
}
