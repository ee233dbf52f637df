//! Settings: of `.hadolint.yaml`, of variables of the environment, of flags; later ones win, lists add up.

use crate::format::Format;
use crate::rule::Severity;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A settings file larger than this is refused.
pub const MAX_SIZE: usize = 1 << 20;

/// What a label's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelType {
    /// An address of RFC 5322.
    Email,
    /// A commit: 7 or 40 hexadecimal digits.
    Hash,
    /// Anything.
    #[serde(alias = "")]
    Text,
    /// A time of RFC 3339.
    Rfc3339,
    /// A version of semver.org.
    Semver,
    /// A licence's id of spdx.org.
    Spdx,
    /// An absolute URI.
    Url,
}

impl FromStr for LabelType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "email" => LabelType::Email,
            "hash" => LabelType::Hash,
            "text" | "" => LabelType::Text,
            "rfc3339" => LabelType::Rfc3339,
            "semver" => LabelType::Semver,
            "spdx" => LabelType::Spdx,
            "url" => LabelType::Url,
            _ => return Err(Error::LabelType { text: text.into() }),
        })
    }
}

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not YAML, or not what belongs there.
    #[error("read {path}: {message}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// See [`LabelType`].
    #[error("invalid label type: {text} (email, hash, rfc3339, semver, spdx, text or url)")]
    LabelType {
        /// The word.
        text: String,
    },
    /// A format that does not exist.
    #[error("invalid format: {text} ({})", Format::NAMES.join(", "))]
    Format {
        /// The word.
        text: String,
    },
    /// See [`Severity`].
    #[error("{message}")]
    Severity {
        /// What is wrong.
        message: String,
    },
}

/// Severities of rules, by severity.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    pub error: Vec<String>,
    pub warning: Vec<String>,
    pub info: Vec<String>,
    pub style: Vec<String>,
}

/// What one source of settings says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Partial {
    pub no_fail: Option<bool>,
    pub no_color: Option<bool>,
    pub format: Option<Format>,
    pub formats: Vec<Format>,
    #[serde(rename = "override")]
    pub severities: Override,
    pub ignored: Vec<String>,
    #[serde(rename = "trustedRegistries")]
    pub trusted_registries: Vec<String>,
    pub label_schema: BTreeMap<String, LabelType>,
    pub strict_labels: Option<bool>,
    pub disable_ignore_pragma: Option<bool>,
    pub failure_threshold: Option<Severity>,
    /// Ours: the checks of a build as well.
    pub build_checks: Option<bool>,
}

impl Partial {
    /// Reads a settings file.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, Error> {
        let failed = |message: String| Error::File { path: path.into(), message };
        if bytes.len() > MAX_SIZE {
            return Err(failed(format!("is larger than {MAX_SIZE} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
        let is_empty =
            text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#'));
        if is_empty {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| failed(error.to_string()))
    }

    /// Reads the variables `HADOLINT_…` and `NO_COLOR`.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let truth = |name: &str| {
            get(name).map(|text| ["1", "y", "on", "true", "yes"].contains(&text.to_lowercase().as_str()))
        };
        let list = |name: &str| {
            let text = get(name).unwrap_or_default();
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut label_schema = BTreeMap::new();
        for spec in list("HADOLINT_REQUIRE_LABELS") {
            let (name, kind) = label(&spec)?;
            label_schema.insert(name, kind);
        }
        let threshold = get("HADOLINT_FAILURE_THRESHOLD").filter(|text| !text.is_empty());
        Ok(Self {
            no_fail: truth("HADOLINT_NOFAIL"),
            no_color: get("NO_COLOR").map(|_| true),
            format: None,
            formats: list("HADOLINT_FORMAT").iter().map(|word| word.parse()).collect::<Result<_, _>>()?,
            severities: Override {
                error: list("HADOLINT_OVERRIDE_ERROR"),
                warning: list("HADOLINT_OVERRIDE_WARNING"),
                info: list("HADOLINT_OVERRIDE_INFO"),
                style: list("HADOLINT_OVERRIDE_STYLE"),
            },
            ignored: list("HADOLINT_IGNORE"),
            trusted_registries: list("HADOLINT_TRUSTED_REGISTRIES"),
            label_schema,
            strict_labels: truth("HADOLINT_STRICT_LABELS"),
            disable_ignore_pragma: truth("HADOLINT_DISABLE_IGNORE_PRAGMA"),
            failure_threshold: threshold
                .map(|text| text.parse().map_err(|message| Error::Severity { message }))
                .transpose()?,
            build_checks: None,
        })
    }
}

/// Reads `name:type`.
pub fn label(spec: &str) -> Result<(String, LabelType), Error> {
    let (name, kind) = spec.split_once(':').unwrap_or((spec, ""));
    Ok((name.to_owned(), kind.parse()?))
}

/// Where a settings file is looked for, in order: the first one counts.
pub fn places(directory: &str, config_home: &str, home: Option<&str>) -> Vec<String> {
    let both = |path: String| [format!("{path}.yaml"), format!("{path}.yml")];
    let mut places = Vec::new();
    places.extend(both(format!("{directory}/.hadolint")));
    places.extend(both(format!("{config_home}/hadolint")));
    if let Some(home) = home {
        places.extend(both(format!("{home}/.hadolint/hadolint")));
        places.extend(both(format!("{home}/.hadolint/config")));
        places.extend(both(format!("{home}/.hadolint")));
    }
    places
}

/// Everything that was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub no_fail: bool,
    pub no_color: bool,
    pub formats: Vec<Format>,
    pub severities: BTreeMap<String, Severity>,
    pub ignored: BTreeSet<String>,
    pub trusted_registries: BTreeSet<String>,
    pub label_schema: BTreeMap<String, LabelType>,
    pub strict_labels: bool,
    pub disable_ignore_pragma: bool,
    pub failure_threshold: Severity,
    pub build_checks: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::merged([])
    }
}

impl Settings {
    /// Settings from their sources, the weakest first.
    pub fn merged(sources: impl IntoIterator<Item = Partial>) -> Self {
        let mut all = Settings {
            no_fail: false,
            no_color: false,
            formats: Vec::new(),
            severities: BTreeMap::new(),
            ignored: BTreeSet::new(),
            trusted_registries: BTreeSet::new(),
            label_schema: BTreeMap::new(),
            strict_labels: false,
            disable_ignore_pragma: false,
            failure_threshold: Severity::Info,
            build_checks: false,
        };
        let mut severities = Override::default();
        for source in sources {
            all.no_fail = source.no_fail.unwrap_or(all.no_fail);
            all.no_color = source.no_color.unwrap_or(all.no_color);
            all.formats.extend(source.formats);
            all.formats.extend(source.format);
            all.ignored.extend(source.ignored);
            all.trusted_registries.extend(source.trusted_registries);
            all.label_schema.extend(source.label_schema);
            all.strict_labels = source.strict_labels.unwrap_or(all.strict_labels);
            all.disable_ignore_pragma = source.disable_ignore_pragma.unwrap_or(all.disable_ignore_pragma);
            all.failure_threshold = source.failure_threshold.unwrap_or(all.failure_threshold);
            all.build_checks = source.build_checks.unwrap_or(all.build_checks);
            severities.error.extend(source.severities.error);
            severities.warning.extend(source.severities.warning);
            severities.info.extend(source.severities.info);
            severities.style.extend(source.severities.style);
        }
        // Of several the worst counts.
        for (severity, rules) in [
            (Severity::Style, severities.style),
            (Severity::Info, severities.info),
            (Severity::Warning, severities.warning),
            (Severity::Error, severities.error),
        ] {
            all.severities.extend(rules.into_iter().map(|rule| (rule, severity)));
        }
        all
    }

    /// How bad a rule is here.
    pub fn severity(&self, rule: &str, default: Severity) -> Severity {
        match self.ignored.contains(rule) {
            true => Severity::Ignore,
            false => self.severities.get(rule).copied().unwrap_or(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_settings() {
        let text = "no-fail: true\nformat: json\noverride:\n  error:\n    - DL3001\n  style: [DL3002]\nignored:\n- DL3003\n\
                    trustedRegistries:\n  - docker.io\nlabel-schema:\n  author: text\n  contact: email\n\
                    strict-labels: true\nfailure-threshold: none\nverbose: true\n";
        let settings = Settings::merged([Partial::read("x", text.as_bytes()).unwrap()]);
        assert!(settings.no_fail && settings.strict_labels && !settings.disable_ignore_pragma);
        assert_eq!(settings.formats, [Format::Json]);
        assert_eq!(settings.severity("DL3001", Severity::Info), Severity::Error);
        assert_eq!(settings.severity("DL3002", Severity::Info), Severity::Style);
        assert_eq!(settings.severity("DL3003", Severity::Info), Severity::Ignore);
        assert_eq!(settings.severity("DL3004", Severity::Info), Severity::Info);
        assert_eq!(settings.label_schema["contact"], LabelType::Email);
        assert_eq!(settings.failure_threshold, Severity::Ignore);
        for empty in ["", "---\n# nothing\n"] {
            assert_eq!(Partial::read("x", empty.as_bytes()), Ok(Partial::default()));
        }
        for bad in ["failure-threshold: often\n", "ignored: {a: b}\n", "[", "override:\n  fatal: [DL3001]\n"]
        {
            let error = Partial::read("x.yaml", bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("read x.yaml: "), "{error}");
        }
    }

    #[test]
    fn variables_and_later_sources() {
        let get = |name: &str| match name {
            "HADOLINT_NOFAIL" => Some("Yes".into()),
            "HADOLINT_IGNORE" => Some("DL3001,DL3002".into()),
            "HADOLINT_REQUIRE_LABELS" => Some("a:url,b".into()),
            "HADOLINT_FAILURE_THRESHOLD" => Some("error".into()),
            _ => None,
        };
        let first = Partial::from_variables(get).unwrap();
        let second = Partial { no_fail: Some(false), ignored: vec!["DL3003".into()], ..Partial::default() };
        let settings = Settings::merged([first, second]);
        assert!(!settings.no_fail && settings.failure_threshold == Severity::Error);
        assert_eq!(settings.ignored.len(), 3);
        assert_eq!(settings.label_schema["b"], LabelType::Text);
        let bad = |name: &str| (name == "HADOLINT_FORMAT").then(|| "xml".to_owned());
        assert!(
            Partial::from_variables(bad).unwrap_err().to_string().starts_with("invalid format: xml (tty, ")
        );
    }

    #[test]
    fn places_in_order() {
        let places = places("/d", "/h/.config", Some("/h"));
        assert_eq!(places[0], "/d/.hadolint.yaml");
        assert_eq!(places[2], "/h/.config/hadolint.yaml");
        assert_eq!((places[9].as_str(), places.len()), ("/h/.hadolint.yml", 10));
    }
}
