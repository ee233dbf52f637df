//! Build checks that need nothing but the tree; names and sentences are BuildKit's.

use crate::ast::{Command, Dockerfile, From, Instruction, Kind, Stage};
use crate::error::Warning;
use crate::span::Span;
use std::collections::BTreeSet;

/// Runs every check.
pub(crate) fn checks(file: &Dockerfile) -> Vec<Warning> {
    let mut found = Vec::new();
    keyword_casing(file, &mut found);
    stage_names(file, &mut found);
    for stage in &file.stages {
        from_platform(&stage.from, &mut found);
        only_one(stage, &mut found);
        for instruction in &stage.instructions {
            check_instruction(instruction, &mut found);
        }
        relative_workdir(stage, &mut found);
    }
    for instruction in &file.global_args {
        check_instruction(instruction, &mut found);
    }
    found
}

fn warning(rule: &str, message: String, span: Span, help: Option<&str>) -> Warning {
    Warning { rule: rule.into(), message, span, help: help.map(String::from) }
}

/// The keyword as written, with the place of its instruction.
fn keywords(file: &Dockerfile) -> Vec<(&str, Span)> {
    let from =
        |s: &'_ Stage| -> (usize, Span) { (crate::words::keyword(&s.source).0.len(), s.from.image.span) };
    let mut all: Vec<(&str, Span)> = file.global_args.iter().map(|i| (i.keyword.as_str(), i.span)).collect();
    for stage in &file.stages {
        let (len, span) = from(stage);
        all.push((&stage.source[..len], span));
        all.extend(stage.instructions.iter().map(|i| (i.keyword.as_str(), i.span)));
    }
    all
}

fn keyword_casing(file: &Dockerfile, found: &mut Vec<Warning>) {
    let all = keywords(file);
    let upper = all.iter().filter(|(k, _)| *k == k.to_ascii_uppercase()).count();
    let lower = all.iter().filter(|(k, _)| *k == k.to_ascii_lowercase()).count();
    if upper == all.len() || lower == all.len() {
        return;
    }
    let majority = if upper >= lower { "uppercase" } else { "lowercase" };
    for (keyword, span) in all {
        let wanted = if upper >= lower { keyword.to_ascii_uppercase() } else { keyword.to_ascii_lowercase() };
        if keyword != wanted {
            let message =
                format!("Command '{keyword}' should match the case of the command majority ({majority})");
            found.push(warning("ConsistentInstructionCasing", message, span, None));
        }
    }
}

fn stage_names(file: &Dockerfile, found: &mut Vec<Warning>) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.from.name else { continue };
        let words = crate::words::plain(&stage.source, 0);
        let at = words.iter().position(|w| w.text.to_lowercase() == name.text && w.from > 0);
        let as_word = words.iter().find(|w| w.text.eq_ignore_ascii_case("as")).map(|w| w.text.as_str());
        let keyword = words.first().map(|w| w.text.as_str()).unwrap_or_default();
        if let Some(as_word) = as_word {
            let upper = |t: &str| t == t.to_ascii_uppercase();
            if upper(as_word) != upper(keyword) {
                let message = format!("'{as_word}' and '{keyword}' keywords' casing do not match");
                found.push(warning("FromAsCasing", message, stage.from.image.span, None));
            }
        }
        if let Some(written) = at.map(|i| &words[i].text).filter(|w| **w != name.text) {
            let message = format!("Stage name '{written}' should be lowercase");
            found.push(warning("StageNameCasing", message, name.span, None));
        }
        if ["scratch", "context"].contains(&name.text.as_str()) {
            let message =
                format!("Stage name should not use the same name as reserved stage \"{}\"", name.text);
            found.push(warning("ReservedStageName", message, name.span, None));
        }
        if !seen.insert(name.text.as_str()) {
            let message = format!("Duplicate stage name {:?}, stage names should be unique", name.text);
            found.push(warning("DuplicateStageName", message, name.span, None));
        }
    }
}

fn from_platform(from: &From, found: &mut Vec<Warning>) {
    let Some(platform) = &from.platform else { return };
    if !platform.text.contains('$') {
        let message = format!("FROM --platform flag should not use constant value {:?}", platform.text);
        found.push(warning("FromPlatformFlagConstDisallowed", message, platform.span, None));
    } else if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&platform.text.as_str()) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            platform.text
        );
        found.push(warning("RedundantTargetPlatform", message, platform.span, None));
    }
}

fn only_one(stage: &Stage, found: &mut Vec<Warning>) {
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let all: Vec<&Instruction> = stage.instructions.iter().filter(|i| i.kind.name() == name).collect();
        for instruction in all.iter().rev().skip(1) {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            found.push(warning("MultipleInstructionsDisallowed", message, instruction.span, None));
        }
    }
}

fn relative_workdir(stage: &Stage, found: &mut Vec<Warning>) {
    for instruction in &stage.instructions {
        let Kind::Workdir(dir) = &instruction.kind else { continue };
        if dir.text.starts_with('/') {
            return;
        }
        if !dir.text.starts_with(['$', '"', '\'']) {
            let message = format!(
                "Relative workdir {:?} can have unexpected results if the base image changes",
                dir.text
            );
            found.push(warning("WorkdirRelativePath", message, dir.span, None));
        }
        return;
    }
}

fn check_instruction(instruction: &Instruction, found: &mut Vec<Warning>) {
    match &instruction.kind {
        Kind::Cmd(Command::Shell(line)) | Kind::Entrypoint(Command::Shell(line)) if !line.is_empty() => {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                instruction.kind.name()
            );
            let help = "write the command as [\"program\", \"argument\"]";
            found.push(warning("JSONArgsRecommended", message, instruction.span, Some(help)));
        }
        Kind::Env(pairs) => {
            for pair in pairs {
                secret("ENV", &pair.key, pair.span, found);
            }
        }
        Kind::Arg(args) => {
            for arg in args {
                secret("ARG", &arg.name, arg.span, found);
            }
        }
        Kind::Expose(ports) => {
            for port in ports {
                expose(&port.text, port.span, found);
            }
        }
        _ => {}
    }
}

fn secret(instruction: &str, name: &str, span: Span, found: &mut Vec<Warning>) {
    const SECRETS: [&str; 11] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "secrets",
        "token",
    ];
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('_').collect();
    if parts.iter().any(|p| SECRETS.contains(p)) && !parts.contains(&"public") {
        let message =
            format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
        let help = "use RUN --mount=type=secret, which leaves nothing in the image";
        found.push(warning("SecretsUsedInArgOrEnv", message, span, Some(help)));
    }
}

fn expose(port: &str, span: Span, found: &mut Vec<Warning>) {
    if port.contains('$') {
        return;
    }
    if let Some((_, proto)) = port.split_once('/')
        && proto != proto.to_ascii_lowercase()
    {
        let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        found.push(warning("ExposeProtoCasing", message, span, None));
    }
    if port.contains(':') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        found.push(warning("ExposeInvalidFormat", message, span, None));
    }
}
