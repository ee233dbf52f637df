//! Source policies: which images, files of servers and repositories a build may use, and what it takes in their place
//! (BuildKit's `sourcepolicy`: `docs/build-repro.md` and `sourcepolicy/pb/policy.proto`).
//!
//! A source is called as in BuildKit's graphs: `docker-image://docker.io/library/alpine:latest`, `https://host/file`,
//! `git://host/path#ref`, `local://context`. Rules are gone through in order; of those that allow and deny the last one that fits
//! counts, and one that converts begins anew with what it has made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use builder::{BoxError, Source};
use oci::{Digest, Platform, Reference};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// So often a source is converted: two rules may lead to each other.
const CONVERSIONS_MAX: usize = 20;
/// The longest name of a source, and the longest text that rules make one of: each conversion may multiply it.
const NAME_MAX: usize = 8 << 10;
/// What the names of images begin with.
const IMAGE: &str = "docker-image://";

/// What a client that is asked says of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be taken.
    Allowed,
    /// It may be taken as it was found to be: its attributes say how that is.
    Pinned,
    /// Another is to be taken, about which all is to be asked anew.
    Converted,
}

/// Asks a client, from a thread that may block; an error if the source may not be taken.
pub type AskPolicy = Arc<dyn Fn(&mut Source) -> Result<Verdict, BoxError> + Send + Sync>;

/// The policies of a build. Clones share the rules.
#[derive(Clone, Default)]
pub struct Policies {
    rules: Arc<Vec<Vec<Rule>>>,
    /// Who has the last word.
    ask: Option<AskPolicy>,
    /// Images by digest that were asked about under another name, or made here.
    answered: BTreeSet<String>,
}

/// A rule that can be asked.
struct Rule {
    action: Action,
    selector: String,
    matches: Matches,
    constraints: Vec<(String, Condition)>,
    updates: Option<Updates>,
}

/// How an identifier is compared besides being the same.
enum Matches {
    Exactly,
    Wildcard(Regex),
    Regex(Regex),
}

enum Condition {
    Is(String),
    IsNot(String),
    Matches(Regex),
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Allow,
    Deny,
    Convert,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct PolicyText {
    #[serde(rename = "version")]
    _version: Value,
    rules: Vec<RuleText>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RuleText {
    action: Value,
    selector: SelectorText,
    updates: Option<Updates>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct SelectorText {
    identifier: String,
    #[serde(alias = "matchType")]
    match_type: Value,
    constraints: Vec<ConstraintText>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ConstraintText {
    key: String,
    value: String,
    condition: Value,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Updates {
    identifier: String,
    attrs: BTreeMap<String, String>,
}

/// The number of a word; numbers stand for themselves, and nothing is the first.
fn choice(what: &str, value: &Value, words: [&str; 3]) -> Result<usize> {
    let found = match value {
        Value::Null => Some(0),
        Value::String(word) => words.iter().position(|known| known == word),
        value => value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|n| *n < words.len()),
    };
    found
        .ok_or_else(|| Error::invalid(format!("source policy: invalid {what} {value}: {}", words.join(", "))))
}

fn regex(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|e| Error::invalid(format!("source policy: invalid regex {text:?}: {e}")))
}

impl Rule {
    fn read(text: RuleText) -> Result<Rule> {
        let action = match choice("action", &text.action, ["ALLOW", "DENY", "CONVERT"])? {
            0 => Action::Allow,
            1 => Action::Deny,
            _ => Action::Convert,
        };
        let selector = text.selector.identifier;
        let matches = match choice("match type", &text.selector.match_type, ["WILDCARD", "EXACT", "REGEX"])? {
            0 if selector.contains("**") => {
                return Err(Error::invalid(format!(
                    "source policy: invalid wildcard \"**\" in {selector:?}"
                )));
            }
            0 => Matches::Wildcard(regex(&format!(
                "(?s)^{}$",
                regex::escape(&selector).replace("\\*", "(.*)")
            ))?),
            1 => Matches::Exactly,
            _ => Matches::Regex(regex(&selector)?),
        };
        let constraint = |text: ConstraintText| {
            let condition = match choice("condition", &text.condition, ["EQUAL", "NOTEQUAL", "MATCHES"])? {
                0 => Condition::Is(text.value),
                1 => Condition::IsNot(text.value),
                _ => Condition::Matches(regex(&text.value)?),
            };
            Ok((text.key, condition))
        };
        let constraints = text.selector.constraints.into_iter().map(constraint).collect::<Result<_>>()?;
        if action == Action::Convert && text.updates.is_none() {
            return Err(Error::invalid(format!(
                "source policy: missing destination for convert rule {selector:?}"
            )));
        }
        let made = text.updates.as_ref().map_or(0, |updates| updates.identifier.len());
        if selector.len().max(made) > NAME_MAX {
            return Err(Error::invalid(format!("source policy: a rule has a name above {NAME_MAX} bytes")));
        }
        Ok(Rule { action, selector, matches, constraints, updates: text.updates })
    }

    fn fits(&self, source: &Source) -> bool {
        let attribute = |key: &String| source.attributes.get(key).map_or("", String::as_str);
        let holds = |(key, condition): &(String, Condition)| match condition {
            Condition::Is(value) => attribute(key) == value,
            Condition::IsNot(value) => attribute(key) != value,
            Condition::Matches(regex) => regex.is_match(attribute(key)),
        };
        let is_named = || match &self.matches {
            Matches::Exactly => false,
            Matches::Wildcard(regex) | Matches::Regex(regex) => regex.is_match(&source.identifier),
        };
        self.constraints.iter().all(holds) && (self.selector == source.identifier || is_named())
    }

    /// Makes of a source what the rule says; whether that is anything else.
    fn convert(&self, source: &mut Source) -> bool {
        let Some(updates) = &self.updates else { return false };
        let to = if updates.identifier.is_empty() { &self.selector } else { &updates.identifier };
        let filled = |captures: &Captures<'_>| {
            let mut text = String::new();
            captures.expand(to, &mut text);
            text
        };
        let identifier = match &self.matches {
            Matches::Exactly => to.clone(),
            Matches::Regex(regex) => regex.replace_all(&source.identifier, to.as_str()).into_owned(),
            Matches::Wildcard(regex) => regex
                .captures(&source.identifier)
                .map_or_else(|| source.identifier.clone(), |found| filled(&found)),
        };
        let mut changed = false;
        if !identifier.is_empty() && identifier != source.identifier {
            source.identifier = identifier;
            changed = true;
        }
        for (key, value) in &updates.attrs {
            changed |= source.attributes.insert(key.clone(), value.clone()).as_ref() != Some(value);
        }
        changed
    }
}

impl Policies {
    /// Reads policies as BuildKit writes them: the case of keys does not count, as with Go. A key that nobody knows could be a demand,
    /// and is refused.
    pub fn read(documents: &[Value]) -> Result<Policies> {
        let policy = |document: &Value| {
            let text = oci::lenient::from_value::<PolicyText>(document);
            let text = text.map_err(|e| Error::invalid(format!("source policy: {e}")))?;
            text.rules.into_iter().map(Rule::read).collect::<Result<Vec<_>>>()
        };
        let rules = documents.iter().map(policy).collect::<Result<_>>()?;
        Ok(Policies { rules: Arc::new(rules), ..Policies::default() })
    }

    /// The same with somebody who is asked about what they let through.
    #[must_use]
    pub fn asking(self, ask: Option<AskPolicy>) -> Policies {
        Policies { ask, ..self }
    }

    /// The same where images by digest need not be asked about.
    #[must_use]
    pub fn answered(mut self, images: impl IntoIterator<Item = String>) -> Policies {
        self.answered.extend(images);
        self
    }

    /// Whether all is allowed.
    pub fn is_empty(&self) -> bool {
        self.ask.is_none() && self.rules.iter().all(Vec::is_empty)
    }

    /// Whether an image by digest need not be asked about.
    pub fn is_answered(&self, image: &str) -> bool {
        self.answered.contains(image)
    }

    /// What the builder asks about all but images, unless all is allowed.
    pub(super) fn of_builder(self: &Arc<Self>) -> Option<builder::Policy> {
        let policies = Arc::clone(self);
        (!self.is_empty())
            .then(|| Arc::new(move |source: &mut Source| policies.apply(source)) as builder::Policy)
    }

    /// Makes of a source what is to be taken in its place; whether that is anything else.
    pub fn apply(&self, source: &mut Source) -> Result<bool, BoxError> {
        for conversions in 0..=CONVERSIONS_MAX {
            if source.identifier.len() > NAME_MAX {
                return Err(format!("source policy: a source has a name above {NAME_MAX} bytes").into());
            }
            if self.once(source)? {
                continue;
            }
            match self.ask.as_ref().map_or(Ok(Verdict::Allowed), |ask| ask(source))? {
                Verdict::Allowed => return Ok(conversions > 0),
                Verdict::Pinned => return Ok(true),
                Verdict::Converted => {}
            }
        }
        Err("too many mutations on a single source: too many operations".into())
    }

    fn once(&self, source: &mut Source) -> Result<bool, BoxError> {
        for rules in self.rules.iter() {
            let mut is_denied = false;
            for rule in rules {
                if !rule.fits(source) {
                    continue;
                }
                match rule.action {
                    Action::Convert if rule.convert(source) => return Ok(true),
                    Action::Convert => {}
                    action => is_denied = action == Action::Deny,
                }
            }
            if is_denied {
                let message =
                    format!("source {:?} denied by policy: source denied by policy", source.identifier);
                return Err(message.into());
            }
        }
        Ok(false)
    }

    /// The image to be taken for one of this name.
    pub fn image(&self, name: &str, platform: &Platform) -> Result<String> {
        if self.is_empty() || self.is_answered(name) {
            return Ok(name.to_owned());
        }
        // An id is none of a registry's names, and gets one for who is asked.
        let id = Digest::of_id(name);
        let called = id.map_or_else(|| name.to_owned(), |id| id.to_string());
        let called = Reference::parse(&called).map_err(|e| Error::invalid(e.to_string()))?;
        let platform = Some(platform.clone());
        let mut source = Source { platform, ..Source::named(format!("{IMAGE}{called}")) };
        match self.apply(&mut source).map_err(|e| Error::new(Kind::Forbidden, e.to_string()))? {
            false => Ok(name.to_owned()),
            true => match source.identifier.strip_prefix(IMAGE) {
                Some(other) => Ok(other.to_owned()),
                None => Err(Error::invalid(format!(
                    "source policy: image {called} cannot be converted to {}",
                    source.identifier
                ))),
            },
        }
    }

    /// Whether an image of a layout may be taken: `oci-layout://…@digest`.
    pub fn layout(&self, identifier: &str, platform: &Platform) -> Result<()> {
        let mut source = Source { platform: Some(platform.clone()), ..Source::named(identifier) };
        match self.apply(&mut source).map_err(|e| Error::new(Kind::Forbidden, e.to_string()))? {
            false => Ok(()),
            true => Err(Error::invalid(format!(
                "source policy: {identifier} cannot be converted to {}",
                source.identifier
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policies(rules: Value) -> Policies {
        Policies::read(&[json!({ "version": 1, "rules": rules })]).unwrap()
    }

    fn applied(policies: &Policies, identifier: &str, attributes: &[(&str, &str)]) -> Result<Source, String> {
        let attributes =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut source = Source { attributes, ..Source::named(identifier) };
        policies.apply(&mut source).map_err(|e| e.to_string())?;
        Ok(source)
    }

    #[test]
    fn the_last_that_fits_counts() {
        let rule = |action: &str, name: &str| json!({ "action": action, "selector": { "identifier": name } });
        let all = policies(json!([
            rule("DENY", "docker-image://*"),
            rule("ALLOW", "docker-image://docker.io/library/a:1")
        ]));
        assert_eq!(all.image("a:1", &Platform::host()).unwrap(), "a:1");
        assert_eq!(
            all.image("b", &Platform::host()).unwrap_err().message,
            "source \"docker-image://docker.io/library/b:latest\" denied by policy: source denied by policy"
        );
        assert!(applied(&all, "https://host/f", &[]).is_ok());
        // Each policy by itself.
        let one = |action: &str| json!({ "rules": [rule(action, "https://host/f")] });
        let both = Policies::read(&[one("DENY"), one("ALLOW")]).unwrap();
        assert!(applied(&both, "https://host/f", &[]).is_err());
    }

    #[test]
    fn names_are_bounded() {
        let selector = json!({ "identifier": "(.*)", "match_type": "REGEX" });
        let rule = |to: String| json!([{ "action": "CONVERT", "selector": selector, "updates": { "identifier": to } }]);
        let error = applied(&policies(rule("$1$1$1$1".to_owned())), "https://h/a", &[]).unwrap_err();
        assert!(error.contains("a source has a name above 8192 bytes"), "{error}");
        let error = Policies::read(&[json!({ "rules": rule("$1".repeat(5000)) })]).err().unwrap();
        assert!(error.message.contains("a rule has a name above 8192 bytes"), "{}", error.message);
    }

    #[test]
    fn no_byte_is_outside_of_a_wildcard() {
        let all = policies(json!([{ "action": "DENY", "selector": { "identifier": "*" } }]));
        assert!(applied(&all, "git://h/a#b\nc", &[]).is_err());
    }

    #[test]
    fn sources_are_converted() {
        let convert = |kind: &str, from: &str, to: &str| {
            let selector = json!({ "identifier": from, "match_type": kind });
            json!([{ "action": "CONVERT", "selector": selector, "updates": { "identifier": to } }])
        };
        let image = |rules: Value| policies(rules).image("golang:1.19", &Platform::host()).unwrap();
        let name = "docker-image://docker.io/library/golang:";
        let wildcard = convert("WILDCARD", &format!("{name}*"), "docker-image://mirror/golang:${1}-alpine");
        assert_eq!(image(wildcard), "mirror/golang:1.19-alpine");
        let regex = convert("REGEX", "^docker-image://docker.io/library/(.*)$", "docker-image://mirror/$1");
        assert_eq!(image(regex), "mirror/golang:1.19");
        assert_eq!(image(convert("EXACT", name, "docker-image://x")), "golang:1.19");
        assert_eq!(image(convert("EXACT", &format!("{name}1.19"), "docker-image://x")), "x");
        assert!(
            policies(convert("EXACT", &format!("{name}1.19"), "https://x"))
                .image("golang:1.19", &Platform::host())
                .is_err()
        );
        // What never comes to an end.
        let round = convert("WILDCARD", "https://h/*", "https://h/x$1");
        assert!(applied(&policies(round), "https://h/a", &[]).unwrap_err().contains("too many"));
    }

    #[test]
    fn attributes_are_asked_and_set() {
        let rules = json!([{
            "action": 2,
            "selector": {
                "identifier": "https://h/f",
                "match_type": 1,
                "constraints": [{ "key": "http.checksum", "value": "", "condition": "EQUAL" }],
            },
            "updates": { "attrs": { "http.checksum": "sha256:0" } },
        }]);
        let all = policies(rules);
        let sum = |attributes: &[(&str, &str)]| applied(&all, "https://h/f", attributes).unwrap().attributes;
        assert_eq!(sum(&[])["http.checksum"], "sha256:0");
        assert_eq!(sum(&[("http.checksum", "sha256:1")])["http.checksum"], "sha256:1");
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let wrong = |rule: Value| Policies::read(&[json!({ "rules": [rule] })]).err().map(|e| e.message);
        assert!(wrong(json!({ "action": "MAYBE" })).unwrap().contains("invalid action \"MAYBE\""));
        assert!(wrong(json!({ "action": "CONVERT" })).unwrap().contains("missing destination"));
        let selector =
            |kind: &str, text: &str| json!({ "selector": { "identifier": text, "match_type": kind } });
        assert!(wrong(selector("REGEX", "(")).unwrap().contains("invalid regex"));
        assert!(wrong(selector("WILDCARD", "a**")).unwrap().contains("invalid wildcard"));
        assert!(Policies::read(&[json!({ "rules": 1 })]).is_err());
    }

    #[test]
    fn the_case_of_keys_does_not_count() {
        let read = |document: Value| Policies::read(&[document]);
        let rule = json!({ "Action": "DENY", "Selector": { "IDENTIFIER": "docker-image://*" } });
        let all = read(json!({ "VERSION": 1, "Rules": [rule] })).unwrap();
        assert!(all.image("busybox", &Platform::host()).is_err());
        let why = |document: Value| read(document).err().map(|e| e.message).unwrap_or_default();
        assert!(why(json!([])).contains("source policy: invalid type: sequence"));
        assert!(why(json!({ "rule": [] })).contains("unknown field `rule`"));
        assert!(why(json!({ "rules": [{ "selector": { "name": "x" } }] })).contains("unknown field `name`"));
        assert!(why(json!({ "rules": [["DENY"]] })).contains("sequence"));
    }

    #[test]
    fn an_id_is_no_way_around() {
        let rule = |action: &str, name: &str| json!({ "action": action, "selector": { "identifier": name } });
        let digest = Digest::sha256(b"x");
        let denied = |all: &Policies, name: &str| all.image(name, &Platform::host()).err().map(|e| e.message);
        let all = policies(json!([rule("DENY", "docker-image://*")]));
        let hex = digest.hex().to_owned();
        for name in [digest.as_str(), &hex, &hex[..12]] {
            assert!(denied(&all, name).unwrap().contains("denied by policy"), "{name}");
        }
        let all = all.answered([digest.to_string()]);
        assert_eq!(denied(&all, digest.as_str()), None);
        assert!(denied(&all, &hex).is_some());
        let layouts = policies(json!([rule("DENY", "oci-layout://*")]));
        assert!(layouts.layout("oci-layout:///d:latest@sha256:0", &Platform::host()).is_err());
    }

    #[test]
    fn the_client_has_the_last_word() {
        let ask: AskPolicy = Arc::new(|source| match source.identifier.as_str() {
            "docker-image://docker.io/library/a:latest" => {
                source.identifier = "docker-image://docker.io/library/b:latest".to_owned();
                Ok(Verdict::Converted)
            }
            "https://h/f" => {
                source.attributes.insert("http.checksum".to_owned(), "sha256:0".to_owned());
                Ok(Verdict::Pinned)
            }
            "https://h/round" => Ok(Verdict::Converted),
            "https://h/no" => Err("no".into()),
            _ => Ok(Verdict::Allowed),
        });
        let rule = json!([{ "action": "DENY", "selector": { "identifier": "docker-image://*/c:*" } }]);
        let all = policies(rule).asking(Some(ask));
        assert_eq!(all.image("a", &Platform::host()).unwrap(), "docker.io/library/b:latest");
        assert!(all.image("c", &Platform::host()).is_err());
        assert_eq!(applied(&all, "https://h/f", &[]).unwrap().attributes["http.checksum"], "sha256:0");
        assert!(applied(&all, "https://h/round", &[]).unwrap_err().contains("too many"));
        assert_eq!(applied(&all, "https://h/no", &[]).unwrap_err(), "no");
    }
}
