//! Dockerfiles and what belongs to them.

use std::collections::BTreeMap;

use builder::lower::{AllowedDevices, Devices, Error, Inputs, Lowered, lower};
use dockerfile::ast::Dockerfile;
use dockerfile::call::{self, Question};
use dockerfile::expand::{Budget, Expander};
use dockerfile::ignore::{Ignore, Inherited};
use lint::format::{Format, Show};
use oci::Platform;
use oci::image::ImageConfig;

use crate::parts;

/// Reads, lowers to a graph; an error points into the file.
pub fn dockerfile(data: &[u8]) {
    let Ok(text) = dockerfile::decode(data) else { return };
    let file = match dockerfile::parse(&text, dockerfile::Options::default()) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.message.is_empty(), "an error says what is wrong");
            assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{error:?}");
            return;
        }
    };
    questions(&text, &file);
    let platform = Platform::new("linux", "amd64", None);
    let (build_args, contexts, labels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut images = BTreeMap::new();
    let allowed = AllowedDevices::default();
    let devices = Devices::new(&allowed, &[]);
    loop {
        let inputs = Inputs {
            file: &file,
            build_args: &build_args,
            epoch: None,
            target: None,
            platform: &platform,
            build_platform: &platform,
            images: &images,
            suits: &|_| false,
            contexts: &contexts,
            labels: &labels,
            no_cache: false,
            no_cache_filter: &[],
            allow_insecure: false,
            allow_host_network: false,
            devices: &devices,
        };
        match lower(&inputs) {
            Ok(Lowered::Graph(_)) => return,
            Ok(Lowered::Needs(needs)) => {
                let before = images.len();
                images.extend(needs.into_keys().map(|key| {
                    let config = ImageConfig::new(&key.platform);
                    (key, config)
                }));
                assert!(images.len() > before, "the same images are asked for again");
            }
            Err(Error::At { span, message, .. }) => {
                assert!(span.start <= span.end && span.end <= text.len(), "{message}: {span:?}");
                return;
            }
            Err(Error::NoTarget { .. }) => return,
        }
    }
}

/// What a file answers without being built: warnings point into it, documents are documents.
fn questions(text: &str, file: &Dockerfile) {
    let (build_args, platform) = (BTreeMap::new(), Platform::new("linux", "amd64", None));
    let ignore = Ignore::parse("*.log\nsecret\n").expect("patterns");
    let image = |_: &str, platform: &Platform| Some(ImageConfig::new(platform));
    let question = Question {
        name: "Dockerfile",
        text,
        options: dockerfile::Options::default(),
        build_args: &build_args,
        target: None,
        platform: &platform,
        image: &image,
        suits: &|_| false,
        ignore: Some(&ignore),
        mistake: None,
    };
    for warning in &file.warnings {
        let (first, last) = file.lines(warning);
        assert!(first <= last && warning.span.end <= text.len(), "{warning:?}");
    }
    let answers = [Ok(call::lint(&question)), call::outline(&question), call::targets(&question)];
    for answer in answers.into_iter().flatten() {
        serde_json::from_str::<serde_json::Value>(&answer.json).expect("a document");
    }
}

/// Any bytes through all rules and into all formats: findings have lines of the file, documents are documents.
pub fn lint(data: &[u8]) {
    let mut settings =
        lint::Settings { build_checks: true, strict_labels: true, ..lint::Settings::default() };
    settings.trusted_registries.insert("*.example.com".into());
    let kinds = ["email", "hash", "text", "rfc3339", "semver", "spdx", "url"];
    settings.label_schema.extend(kinds.map(|kind| (kind.to_owned(), kind.parse().expect("a type"))));
    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
    let checked = [lint::lint("Dockerfile", data, &settings)];
    for finding in checked.iter().flat_map(|checked| checked.error.iter().chain(&checked.findings)) {
        assert!((1..=lines).contains(&finding.line) && !finding.message.is_empty(), "{finding:?}");
    }
    for name in Format::NAMES {
        let report = name.parse::<Format>().expect("a format").render(&checked, Show::default());
        if matches!(name, "json" | "sarif" | "sonarqube" | "gitlab_codeclimate") {
            serde_json::from_str::<serde_json::Value>(&report).expect("a document");
        }
    }
}

/// Settings of a linter.
pub fn lint_settings(data: &[u8]) {
    if let Err(error) = lint::config::Partial::read("x", data) {
        assert!(!error.to_string().is_empty());
    }
}

/// An ignore file, and a path to ask it about. Asking about a path is asking about its directories, one by one.
pub fn ignore(data: &[u8]) {
    let Some([path, text]) = parts(data) else { return };
    let Ok(ignore) = Ignore::parse(text) else { return };
    let whole = ignore.is_ignored(path);
    let mut inherited = Inherited::default();
    let mut ignored = false;
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        (ignored, inherited) = ignore.check(&path[..end], &inherited);
    }
    assert_eq!(whole, ignored);
    ignore.may_skip_below(path);
}

/// A word with variables, for instructions and for here-documents.
pub fn expansion(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lookup = |name: &str| match name {
        "x" => Some("a b/c.tar.gz".to_owned()),
        "empty" => Some(String::new()),
        "star" => Some("*".repeat(30)),
        _ => None,
    };
    let budget = Budget::default();
    let expanders = [
        Expander::new('\\', &lookup, &budget),
        Expander::new('`', &lookup, &budget),
        Expander::heredoc(&lookup, &budget),
    ];
    for expander in expanders {
        if let Ok(word) = expander.word(text) {
            assert!(word.text.len() <= dockerfile::expand::MAX_OUTPUT);
        }
        // Whether a word can be split does not depend on what the word alone gave.
        let _ = expander.words(text);
    }
}
