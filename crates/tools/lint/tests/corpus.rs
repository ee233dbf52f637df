//! Dockerfiles of many kinds, good ones and bad ones, and what is found in each: `corpus/NAME.Dockerfile` and
//! `corpus/NAME.expected`. With `BLESS=1` the expectations are written anew, to be read before they are committed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lint::format::{Format, Show};
use lint::{Settings, Severity, lint};

fn corpus() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<(String, PathBuf)> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    files.sort();
    files
}

/// All rules and the checks of a build.
fn everything() -> Settings {
    let mut settings = Settings { build_checks: true, ..Settings::default() };
    settings.severities.insert("DL1001".into(), Severity::Info);
    settings
}

#[test]
fn what_is_found_in_each_file() {
    let settings = everything();
    let mut wrong = String::new();
    let files = corpus();
    assert!(files.len() >= 60, "{} files", files.len());
    for (name, path) in files {
        let text = std::fs::read(&path).expect("the file");
        let found = Format::Tty.render(&[lint(&name, &text, &settings)], Show::default());
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &found).expect("written");
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        if found != wanted {
            let _ = writeln!(wrong, "== {name}\n-- expected\n{wanted}-- found\n{found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Each rule that needs no settings and is not silent by itself finds something somewhere.
#[test]
fn no_rule_is_dead() {
    let settings = everything();
    let checked = corpus()
        .into_iter()
        .map(|(name, path)| lint(&name, &std::fs::read(path).expect("the file"), &settings));
    let found: std::collections::BTreeSet<String> =
        checked.flat_map(|checked| checked.findings).map(|finding| finding.rule).collect();
    let of_settings = [
        "DL3026", "DL3049", "DL3050", "DL3051", "DL3052", "DL3053", "DL3054", "DL3055", "DL3056", "DL3057",
        "DL3058",
    ];
    // The last one needs a thousand others.
    let of_builds = ["CopyIgnoredFile", "InvalidBaseImagePlatform", "UnusedBuildArg", "MoreWarnings"];
    let rules = lint::RULES.iter().map(|rule| rule.id);
    let checks = dockerfile::check::RULES.iter().map(|rule| rule.name);
    let silent: Vec<&str> = rules
        .chain(checks)
        .filter(|rule| !of_settings.contains(rule) && !of_builds.contains(rule) && !found.contains(*rule))
        .collect();
    assert_eq!(silent, Vec::<&str>::new());
}
