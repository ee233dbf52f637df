//! The rules by name, with what each is about.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// As `# check=skip=` spells it.
    pub name: &'static str,
    /// What it is about, one sentence.
    pub description: &'static str,
    /// Only where `experimental=` asks for it.
    pub experimental: bool,
}

const fn rule(name: &'static str, description: &'static str) -> Rule {
    Rule { name, description, experimental: false }
}

impl Rule {
    /// Where BuildKit's rules are described for everybody; ours have no such page.
    pub fn url(&self) -> Option<String> {
        (!is_own(self.name)).then(|| format!("{PAGES}{}/", kebab(self.name)))
    }
}

/// Whether a rule is one of ours.
pub(super) fn is_own(name: &str) -> bool {
    RULES.iter().skip(RULES.len() - OWN).any(|rule| rule.name == name)
}

/// `JSONArgsRecommended` becomes `json-args-recommended`.
fn kebab(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut letters = name.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let begins = letter.is_uppercase()
            && before.is_some_and(|before: char| {
                before.is_lowercase() || letters.peek().is_some_and(|next| next.is_lowercase())
            });
        if begins {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
        before = Some(letter);
    }
    text
}

/// Where the pages of BuildKit's rules are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// How many of the last rules are our own.
const OWN: usize = 4;

/// What stands for the warnings of a file that has too many.
pub(super) const MORE: &str = "MoreWarnings";

/// BuildKit's rules, then our own.
pub const RULES: &[Rule] = &[
    rule("ConsistentInstructionCasing", "All keywords of a file are in upper case, or all in lower case"),
    rule("CopyIgnoredFile", "A file that .dockerignore leaves out cannot be copied"),
    rule("DuplicateStageName", "Each stage has a name of its own"),
    rule("ExposeInvalidFormat", "EXPOSE names ports of the container, without address or host port"),
    rule("ExposeProtoCasing", "Protocols of EXPOSE are in lower case"),
    rule("FromAsCasing", "AS is in the same case as FROM"),
    rule("FromPlatformFlagConstDisallowed", "FROM --platform takes its platform from an argument"),
    rule("InvalidBaseImagePlatform", "The base image is of the platform that is built for"),
    rule("InvalidDefaultArgInFrom", "The name of a base image is valid without build arguments as well"),
    Rule {
        name: "InvalidDefinitionDescription",
        description: "The comment above a stage or an ARG begins with its name, or an empty comment line parts them",
        experimental: true,
    },
    rule("JSONArgsRecommended", "Commands in JSON form receive signals themselves"),
    rule("LegacyKeyValueFormat", "ENV and LABEL have = between key and value"),
    rule("MaintainerDeprecated", "A label names the author; MAINTAINER is deprecated"),
    rule(
        "MultipleInstructionsDisallowed",
        "Of several CMD, ENTRYPOINT or HEALTHCHECK in a stage the last counts",
    ),
    rule("NoEmptyContinuation", "No blank line stands inside a continued instruction"),
    rule("RedundantTargetPlatform", "Stages are for $TARGETPLATFORM anyway"),
    rule("ReservedStageName", "scratch and context are no names for stages"),
    rule("SecretsUsedInArgOrEnv", "Secrets do not belong into ARG or ENV, which images keep"),
    rule("StageNameCasing", "Names of stages are in lower case"),
    rule("UndefinedArgInFrom", "Arguments in FROM are declared above the first FROM"),
    rule("UndefinedVar", "Variables are defined before they are used"),
    rule("WorkdirRelativePath", "The first WORKDIR is absolute, whatever the base image has"),
    rule("InvalidJSONArray", "What looks like a JSON array is one"),
    rule("TrailingComment", "Comments stand on lines of their own"),
    rule("UnusedBuildArg", "Every build argument is declared by an ARG"),
    rule(MORE, "A file has no more warnings than somebody reads"),
];

/// The rule of this name.
pub fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_rules() {
        let url = |name: &str| find(name).unwrap().url();
        let page = |name: &str| Some(format!("https://docs.docker.com/go/dockerfile/rule/{name}/"));
        assert_eq!(url("JSONArgsRecommended"), page("json-args-recommended"));
        assert_eq!(url("SecretsUsedInArgOrEnv"), page("secrets-used-in-arg-or-env"));
        assert_eq!(url("WorkdirRelativePath"), page("workdir-relative-path"));
        assert_eq!([url("InvalidJSONArray"), url(MORE)], [None, None]);
    }
}
