//! What stages do: base images, and instructions with the variables that they see.

use super::scope::{Look, Scope};
use super::{Surroundings, warning};
use crate::ast::{ArgDecl, Command, Dockerfile, Instruction, KeyValue, Kind, Source, Stage, Transfer, Word};
use crate::expand::{Expanded, Expander};
use crate::ignore::Ignore;
use crate::scope::Globals;
use crate::{Span, StageNames, Warning};
use oci::Platform;
use oci::path::clean;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(
    file: &Dockerfile,
    around: &Surroundings<'_>,
    globals: &Globals,
    found: &mut Vec<Warning>,
) {
    let mut scopes: BTreeMap<usize, Scope> = BTreeMap::new();
    let mut look = Look { escape: file.directives.escape, globals, found };
    let (names, declared) = (StageNames::of(file), Declared::new(file));
    for (index, stage) in file.stages.iter().enumerate() {
        let image = from_word(&declared, &mut look, stage, &stage.from.image);
        let platform = from_platform(&declared, &mut look, stage, around);
        if around.stages.is_some_and(|reached| !reached.contains(&index)) {
            continue;
        }
        let image = image.map(|image| image.text).unwrap_or_default();
        let mut scope = match names.above(&image, index).and_then(|base| scopes.get(&base)) {
            // Of more copies than a file may have it is only known that there may be anything in them.
            Some(base) => match globals.budget.draw(base.bytes()) {
                Ok(()) => base.clone(),
                Err(_) => Scope::new(None),
            },
            None => base_scope(&mut look, stage, &image, &platform, around),
        };
        let mut once = BTreeMap::new();
        for trigger in std::mem::take(&mut scope.triggers) {
            instruction(&mut look, &mut scope, &mut once, &trigger, Some(stage.head), around);
        }
        for item in &stage.instructions {
            instruction(&mut look, &mut scope, &mut once, item, None, around);
        }
        scopes.insert(index, scope);
    }
}

/// Names that arguments of the file have, gathered when they are asked for.
struct Declared<'f> {
    file: &'f Dockerfile,
    above: OnceCell<BTreeSet<&'f str>>,
    in_stages: OnceCell<BTreeSet<&'f str>>,
}

/// The names of the arguments that these instructions declare.
fn arguments<'f>(instructions: impl Iterator<Item = &'f Instruction>) -> impl Iterator<Item = &'f str> {
    let args = instructions.filter_map(|i| match &i.kind {
        Kind::Arg(args) => Some(args),
        _ => None,
    });
    args.flatten().map(|arg| arg.name.as_str())
}

impl<'f> Declared<'f> {
    fn new(file: &'f Dockerfile) -> Self {
        Self { file, above: OnceCell::new(), in_stages: OnceCell::new() }
    }

    fn above(&self) -> &BTreeSet<&'f str> {
        self.above.get_or_init(|| arguments(self.file.global_args.iter()).collect())
    }

    fn in_stages(&self) -> &BTreeSet<&'f str> {
        let all = || self.file.stages.iter().flat_map(|stage| &stage.instructions);
        self.in_stages.get_or_init(|| arguments(all()).collect())
    }
}

/// Expands a word of `FROM`; names that nothing declares are told.
fn from_word(declared: &Declared<'_>, look: &mut Look<'_>, stage: &Stage, word: &Word) -> Option<Expanded> {
    let globals = look.globals;
    let get = |name: &str| globals.get(name).map(String::from);
    let expanded = Expander::new(look.escape, &get, &globals.budget).word(&word.text).ok()?;
    for name in expanded.unset.iter().filter(|name| !declared.above().contains(name.as_str())) {
        let known = arguments(declared.file.global_args.iter()).chain(globals.names());
        let hint = look.nearest(name, known).map(|near| format!(" (did you mean {near}?)"));
        let message = format!("FROM argument '{name}' is not declared{}", hint.unwrap_or_default());
        let help = match declared.in_stages().contains(name.as_str()) {
            true => {
                format!("an ARG inside a stage is not seen by FROM: write `ARG {name}` above the first FROM")
            }
            false => format!("write `ARG {name}` above the first FROM"),
        };
        let span = if word.span.line == 0 { stage.head } else { word.span };
        look.found.push(warning("UndefinedArgInFrom", message, span, Some(help)));
    }
    Some(expanded)
}

/// The stage's platform, as far as it is one.
fn from_platform(
    declared: &Declared<'_>,
    look: &mut Look<'_>,
    stage: &Stage,
    around: &Surroundings<'_>,
) -> Platform {
    let default = around.platform.clone();
    let Some(word) = &stage.from.platform else { return default };
    let Some(expanded) = from_word(declared, look, stage, word) else { return default };
    let parsed: Option<Platform> = expanded.text.parse().ok();
    if expanded.used.is_empty() {
        let name = stage.from.name.as_ref().map_or("", |name| name.text.as_str());
        let named = |p: &Platform| name.contains(&p.os) || name.contains(&p.architecture);
        if parsed.as_ref().is_some_and(|platform| !named(platform)) {
            let message = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
            look.found.push(warning("FromPlatformFlagConstDisallowed", message, word.span, None));
        }
    } else if expanded.unset.is_empty()
        && expanded.used.iter().all(|name| name == "TARGETPLATFORM")
        && look.globals.get("TARGETPLATFORM") == Some(&expanded.text)
    {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        look.found.push(warning("RedundantTargetPlatform", message, word.span, None));
    }
    parsed.map_or(default, |platform| platform.normalized())
}

/// The scope above an image that is no stage.
fn base_scope(
    look: &mut Look<'_>,
    stage: &Stage,
    image: &str,
    platform: &Platform,
    around: &Surroundings<'_>,
) -> Scope {
    if image == "scratch" {
        return Scope::new(Some(&[]));
    }
    let Some(known) = (around.image)(image, platform) else { return Scope::new(None) };
    let actual = known.platform();
    let suits = stage.from.platform.is_none() && (around.suits)(&actual);
    if !suits && (&actual.os, &actual.architecture) != (&platform.os, &platform.architecture) {
        let (actual, platform) = (actual.normalized().to_string(), platform.to_string());
        let message = format!(
            "Base image {image} was pulled with platform {actual:?}, expected {platform:?} for current build"
        );
        look.found.push(warning("InvalidBaseImagePlatform", message, stage.from.image.span, None));
    }
    let mut scope = Scope::new(Some(&known.config.env));
    scope.shell = known.config.shell.as_ref().is_some_and(|shell| !shell.is_empty());
    scope.triggers = known.config.on_build.iter().filter_map(|t| crate::parse_trigger(t).ok()).collect();
    scope
}

/// One instruction. What a trigger does is told at the `FROM` that it hangs on.
fn instruction(
    look: &mut Look<'_>,
    scope: &mut Scope,
    once: &mut BTreeMap<&'static str, Span>,
    i: &Instruction,
    place: Option<Span>,
    around: &Surroundings<'_>,
) {
    let at = |span: Span| place.unwrap_or(span);
    match &i.kind {
        Kind::Cmd(command) | Kind::Entrypoint(command) => {
            only_once(look, once, i.kind.name(), at(i.span));
            command_form(look, scope, i.kind.name(), command, at(i.span));
        }
        Kind::Healthcheck(_) => only_once(look, once, "HEALTHCHECK", at(i.span)),
        Kind::Shell(_) => scope.shell = true,
        Kind::Maintainer(_) => {}
        Kind::Arg(args) => args.iter().for_each(|arg| declare(look, scope, arg, at(arg.span), around)),
        Kind::Env(pairs) => env(look, scope, pairs, &at),
        Kind::Label(pairs) => label(look, scope, pairs, &at),
        Kind::Expose(ports) => ports.iter().for_each(|port| expose(look, scope, port, at(port.span))),
        Kind::User(word) | Kind::Stopsignal(word) => {
            scope.expand(look, &word.text, at(word.span));
        }
        Kind::Volume(words) => words.iter().for_each(|word| {
            scope.expand(look, &word.text, at(word.span));
        }),
        Kind::Workdir(word) => workdir(look, scope, word, at(word.span)),
        Kind::Onbuild(onbuild) => scope.triggers.push(onbuild.trigger.clone()),
        Kind::Run(run) => {
            for mount in &run.mounts {
                for value in mount.values() {
                    scope.expand(look, &value, at(mount.span));
                }
            }
        }
        Kind::Add(t) => transfer(look, scope, t, "Add", &at, around.ignore),
        Kind::Copy(t) => {
            let ignore = around.ignore.filter(|_| t.from.is_none());
            transfer(look, scope, t, "Copy", &at, ignore);
        }
        Kind::From(_) => {}
    }
}

/// The one before is what does not count.
fn only_once(look: &mut Look<'_>, once: &mut BTreeMap<&'static str, Span>, name: &'static str, span: Span) {
    if let Some(before) = once.insert(name, span) {
        let message = format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        );
        look.found.push(warning("MultipleInstructionsDisallowed", message, before, None));
    }
}

fn command_form(look: &mut Look<'_>, scope: &Scope, name: &str, command: &Command, span: Span) {
    if matches!(command, Command::Shell(_)) && !scope.shell {
        let message = format!(
            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        );
        let help = Some("write the command as [\"program\", \"argument\"]".into());
        look.found.push(warning("JSONArgsRecommended", message, span, help));
    }
}

fn declare(look: &mut Look<'_>, scope: &mut Scope, arg: &ArgDecl, span: Span, around: &Surroundings<'_>) {
    secret(look, "ARG", &arg.name, span);
    let value = match (around.build_args.get(&arg.name), &arg.value) {
        (Some(given), _) => Some(given.clone()),
        (None, Some(default)) => {
            let value = scope.expand(look, default, span);
            return scope.set(arg.name.clone(), value);
        }
        (None, None) => look.globals.get(&arg.name).map(String::from),
    };
    match value {
        Some(value) => scope.set(arg.name.clone(), value),
        None => {
            scope.declared.insert(arg.name.clone());
        }
    }
}

fn legacy(look: &mut Look<'_>, name: &str, pair: &KeyValue, span: Span) {
    if pair.legacy {
        let message =
            format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
        let help = Some(format!("write `{name} {}=\"{}\"`", pair.key, pair.value));
        look.found.push(warning("LegacyKeyValueFormat", message, span, help));
    }
}

fn env(look: &mut Look<'_>, scope: &mut Scope, pairs: &[KeyValue], at: &dyn Fn(Span) -> Span) {
    let mut set = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let span = at(pair.span);
        legacy(look, "ENV", pair, span);
        let key = scope.expand(look, &pair.key, span).unwrap_or_else(|| pair.key.clone());
        let value = scope.expand(look, &pair.value, span);
        secret(look, "ENV", &key, span);
        set.push((key, value));
    }
    set.into_iter().for_each(|(key, value)| scope.set(key, value));
}

fn label(look: &mut Look<'_>, scope: &Scope, pairs: &[KeyValue], at: &dyn Fn(Span) -> Span) {
    for pair in pairs {
        let span = at(pair.span);
        legacy(look, "LABEL", pair, span);
        scope.expand(look, &pair.key, span);
        scope.expand(look, &pair.value, span);
    }
}

fn secret(look: &mut Look<'_>, instruction: &str, name: &str, span: Span) {
    const SECRETS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const ALLOWED: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&SECRETS) && !has(&ALLOWED) {
        let message =
            format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        let help = Some("use RUN --mount=type=secret, which leaves nothing in the image".into());
        look.found.push(warning("SecretsUsedInArgOrEnv", message, span, help));
    }
}

fn expose(look: &mut Look<'_>, scope: &Scope, port: &Word, span: Span) {
    let get = |name: &str| scope.env.get(name).cloned();
    let Ok(ports) = Expander::new(look.escape, &get, &look.globals.budget).words(&port.text) else { return };
    for port in ports {
        let (ports, proto) = port.split_once('/').unwrap_or((&port, "tcp"));
        if proto != proto.to_lowercase() {
            let help = Some(format!("write `EXPOSE {ports}/{}`", proto.to_lowercase()));
            let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            look.found.push(warning("ExposeProtoCasing", message, span, help));
        }
        if ports.rsplit_once(':').is_some_and(|(before, _)| !before.is_empty()) {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            let help = Some("name the container's port; ports are published by `run -p`".into());
            look.found.push(warning("ExposeInvalidFormat", message, span, help));
        }
    }
}

fn workdir(look: &mut Look<'_>, scope: &mut Scope, word: &Word, span: Span) {
    let expanded = scope.expand(look, &word.text, span);
    let is_relative = |path: &String| !path.starts_with('/') && path.get(1..2) != Some(":");
    if let Some(path) = expanded.filter(|path| !scope.workdir && is_relative(path)) {
        let message =
            format!("Relative workdir {path:?} can have unexpected results if the base image changes");
        let help = Some(format!("write `WORKDIR /{path}`"));
        look.found.push(warning("WorkdirRelativePath", message, span, help));
    }
    scope.workdir = true;
}

fn transfer(
    look: &mut Look<'_>,
    scope: &Scope,
    t: &Transfer,
    verb: &str,
    at: &dyn Fn(Span) -> Span,
    ignore: Option<&Ignore>,
) {
    for word in t.chown.iter().chain(&t.chmod).chain(&t.checksum) {
        scope.expand(look, &word.text, at(word.span));
    }
    for source in &t.sources {
        match source {
            Source::Heredoc(doc) if doc.expand => scope.expand_heredoc(look, &doc.body, at(doc.span)),
            Source::Heredoc(_) => {}
            Source::Path(word) => {
                let path = scope.expand(look, &word.text, at(word.span));
                if let (Some(path), Some(ignore)) = (path, ignore) {
                    ignored(look, ignore, verb, &path, at(word.span));
                }
            }
        }
    }
    scope.expand(look, &t.dest.text, at(t.dest.span));
}

/// With `!` in the ignore file only the files themselves could tell.
fn ignored(look: &mut Look<'_>, ignore: &Ignore, verb: &str, path: &str, span: Span) {
    if ignore.has_negations() || path.contains("://") || path.starts_with("git@") {
        return;
    }
    let cleaned = clean(path);
    let is_root = cleaned == "." || cleaned == "/";
    let hidden = match is_root {
        true => ignore.covers_root(),
        false => ignore.is_ignored(cleaned.trim_start_matches('/')),
    };
    if hidden {
        let message = format!("Attempting to {verb} file {cleaned:?} that is excluded by .dockerignore");
        let help = Some(format!(
            "take it back with a line `!{}` in the ignore file",
            cleaned.trim_start_matches('/')
        ));
        look.found.push(warning("CopyIgnoredFile", message, span, help));
    }
}
