//! What settings do to findings, and the formats.

use std::collections::BTreeMap;

use lint::config::{LabelType, Partial};
use lint::format::{Format, Show};
use lint::{Checked, Settings, Severity, lint};

fn rules(text: &str, settings: &Settings) -> Vec<String> {
    let checked = lint("Dockerfile", text.as_bytes(), settings);
    assert_eq!(checked.error, None, "{text}");
    checked.findings.into_iter().map(|finding| format!("{} {}", finding.line, finding.rule)).collect()
}

fn with_label(kind: LabelType) -> Settings {
    Settings { label_schema: BTreeMap::from([("x".to_owned(), kind)]), ..Settings::default() }
}

#[test]
fn labels_have_types() {
    for (kind, rule, good, bad) in [
        (LabelType::Url, "DL3052", "https://example.com/a?b=c%20d#e", "example.com"),
        (LabelType::Url, "DL3052", "mailto:a@b", "https://exa mple"),
        (LabelType::Rfc3339, "DL3053", "2026-02-28T23:59:60.5+01:00", "2026-02-30T00:00:00Z"),
        (LabelType::Rfc3339, "DL3053", "2024-02-29t00:00:00z", "2026-01-01"),
        (LabelType::Spdx, "DL3054", "Apache-2.0", "Apache 2"),
        (LabelType::Hash, "DL3055", "0123abc", "0123abC"),
        (LabelType::Semver, "DL3056", "1.2.3-rc.1+build.5", "1.2"),
        (LabelType::Semver, "DL3056", "0.0.1", "01.2.3"),
        (LabelType::Email, "DL3058", "a.b+c@example.com", "a@@b"),
        (LabelType::Email, "DL3058", "\\\"a b\\\"@[127.0.0.1]", "a.@example.com"),
    ] {
        let settings = with_label(kind);
        let file = |value: &str| format!("FROM a:1\nLABEL x=\"{value}\"\n");
        assert_eq!(rules(&file(good), &settings), Vec::<String>::new(), "{good}");
        assert_eq!(rules(&file(bad), &settings), [format!("2 {rule}")], "{bad}");
    }
    let text = with_label(LabelType::Text);
    assert_eq!(rules("FROM a:1\nLABEL x=\"\"\n", &text), ["2 DL3051"]);
    assert_eq!(rules("FROM a:1\nLABEL y=1\n", &text), ["1 DL3049"]);
    let strict = Settings { strict_labels: true, ..text };
    assert_eq!(rules("FROM a:1\nLABEL x=1 y=2\n", &strict), ["2 DL3050"]);
    assert_eq!(rules("FROM a:1\nLABEL x=1 y=2 z=3\nLABEL z=4\n", &strict), ["2 DL3050", "3 DL3050"]);
}

/// Where hadolint looks at more than one instruction.
#[test]
fn neighbours() {
    for (text, want) in [
        ("FROM a:1\nRUN apt-get update\nFROM a:1\nRUN x\n", Some("2 DL3009")),
        ("FROM a:1\nRUN apt-get update\nFROM b:1\nRUN x\n", None),
        ("FROM a:1 AS b\nRUN apt-get update\nFROM a:1\nRUN x\n", None),
        ("FROM a:1\nRUN x\nRUN $Y/bin/y -h || true\n", Some("3 DL3059")),
        ("FROM a:1\nRUN x\nRUN y -h || true\n", None),
    ] {
        let found = rules(text, &Settings::default());
        let found = found.iter().find(|found| ["DL3009", "DL3059"].iter().any(|rule| found.ends_with(rule)));
        assert_eq!(found.map(String::as_str), want, "{text}");
    }
}

#[test]
fn labels_of_stages() {
    let settings = with_label(LabelType::Text);
    for (text, want) in [
        ("FROM a:1 AS b\nLABEL x=1\nFROM b\n", vec![]),
        ("FROM a:1 AS b\nFROM c:1\nCOPY --from=b /x /x\nLABEL x=1\n", vec![]),
        ("FROM a:1 AS b\nFROM b\nLABEL x=1\n", vec![]),
        ("FROM a:1 AS b\nFROM c:1\n", vec!["1 DL3049", "2 DL3049"]),
    ] {
        assert_eq!(rules(text, &settings), want, "{text}");
    }
}

#[test]
fn registries_that_are_trusted() {
    let text = "FROM a:1 AS one\nFROM ghcr.io/b:1\nFROM x.example.com:5000/c:1\nFROM one\n\
                COPY --from=quay.io/d:1 /x /x\nCOPY --from=one /x /x\nCOPY --from=0 /x /x\n\
                RUN --mount=from=quay.io/e:1,target=/x true\nFROM scratch\n";
    let trust = |list: &[&str]| Settings {
        trusted_registries: list.iter().map(|registry| (*registry).to_owned()).collect(),
        ..Settings::default()
    };
    let lines = |settings: Settings| {
        let found = rules(text, &settings);
        found.iter().filter_map(|f| f.strip_suffix(" DL3026")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(Settings::default()), Vec::<String>::new());
    assert_eq!(lines(trust(&["docker.io"])), ["2", "3", "5", "8"]);
    assert_eq!(lines(trust(&["ghcr.io", "*.example.com:5000"])), ["1", "5", "8"]);
    assert_eq!(lines(trust(&["docker.io", "quay*"])), ["2", "3"]);
    assert_eq!(lines(trust(&["*"])), Vec::<String>::new());
}

#[test]
fn severities_pragmas_and_thresholds() {
    let text = "FROM a:1\n# hadolint ignore=DL3020\nADD x /x\nADD y /y\nCMD run\n";
    assert_eq!(rules(text, &Settings::default()), ["4 DL3020", "5 DL3025"]);
    let deaf = Settings { disable_ignore_pragma: true, ..Settings::default() };
    assert_eq!(rules(text, &deaf), ["3 DL3020", "4 DL3020", "5 DL3025"]);
    let file = "ignored: [DL3020]\noverride:\n  style: [DL3025]\n  info: [DL3057]\n";
    let settings = Settings::merged([Partial::read("x", file.as_bytes()).unwrap()]);
    assert_eq!(rules(text, &settings), ["1 DL3057", "5 DL3025"]);
    let checked = lint("x", text.as_bytes(), &settings);
    assert!(
        checked.fails(Severity::Info) && checked.fails(Severity::Style) && !checked.fails(Severity::Warning)
    );
    let broken = lint("x", b"FROM\n", &settings);
    assert!(broken.fails(Severity::Error) && broken.findings.is_empty());
}

/// One file that cannot be read and one with a finding of a hostile name.
fn results() -> Vec<Checked> {
    let settings = Settings::default();
    vec![lint("bad", b"FROM a:1\nCOYP <x>\n", &settings), lint("a&b", b"FROM a:1\nADD x /x\n", &settings)]
}

#[test]
fn lines_for_people() {
    let unknown = "unknown instruction: COYP (did you mean COPY?)";
    let add = "COPY brings files and directories in; ADD is for archives and URLs";
    assert_eq!(
        Format::Tty.render(&results(), Show::default()),
        format!("bad:2:1 error: {unknown}\na&b:2 DL3020 error: {add}\n")
    );
    assert_eq!(
        Format::Gnu.render(&results(), Show::default()),
        format!("hadolint:bad:2:1: {unknown}\nhadolint:a&b:2: DL3020 error: {add}\n")
    );
    let colors = Format::Tty.render(&results(), Show { colors: true, ..Show::default() });
    assert!(colors.contains("\u{1b}[1;31merror\u{1b}[0m"));
    let hostile = lint("\u{1b}[2J", b"FROM a:1\nADD x /x\n", &Settings::default());
    assert!(!Format::Tty.render(&[hostile], Show::default()).contains('\u{1b}'));
}

#[test]
fn documents_for_programs() {
    let json = |format: Format| -> serde_json::Value {
        serde_json::from_str(&format.render(&results(), Show::default())).unwrap()
    };
    let plain = json(Format::Json);
    assert_eq!(plain[0]["code"], "DL1000");
    assert_eq!(
        (&plain[1]["file"], &plain[1]["line"], &plain[1]["level"]),
        (&"a&b".into(), &2.into(), &"error".into())
    );
    let sarif = json(Format::Sarif);
    let result = &sarif["runs"][0]["results"][1];
    assert_eq!((&sarif["version"], &result["ruleId"]), (&"2.1.0".into(), &"DL3020".into()));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let sonar = json(Format::Sonarqube);
    assert_eq!(sonar["issues"][0]["severity"], "BLOCKER");
    assert_eq!(sonar["issues"][1]["severity"], "CRITICAL");
    let gitlab = json(Format::GitlabCodeclimate);
    let print = |index: usize| gitlab[index]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!((print(0).len(), print(0) == print(1)), (64, false));
    assert_eq!(gitlab[1]["severity"], "blocker");
    let climate = Format::Codeclimate.render(&results(), Show { path: Some("p"), ..Show::default() });
    let pieces: Vec<&str> = climate.split_terminator('\0').collect();
    assert_eq!(pieces.len(), 2);
    let issue: serde_json::Value = serde_json::from_str(pieces[1]).unwrap();
    assert_eq!((&issue["location"]["path"], &issue["check_name"]), (&"p".into(), &"DL3020".into()));
    let codacy = Format::Codacy.render(&results(), Show::default());
    let line: serde_json::Value = serde_json::from_str(codacy.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["patternId"], "DL3020");
}

#[test]
fn xml_is_escaped() {
    let checkstyle = Format::Checkstyle.render(&results(), Show::default());
    assert!(checkstyle.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><checkstyle version=\"4.3\">"));
    assert!(checkstyle.contains("<file name=\"a&amp;b\"><error column=\"1\" line=\"2\""));
    assert!(checkstyle.contains("severity=\"error\" source=\"DL3020\"/></file></checkstyle>"));
    let junit = Format::Junit.render(&results(), Show::default());
    assert!(junit.contains("name=\"a&amp;b\" tests=\"1\" failures=\"1\" errors=\"0\""));
    let none = lint("clean", b"FROM a:1\n", &Settings::default());
    let clean = Format::Checkstyle.render(&[none], Show::default());
    assert!(clean.contains("<file name=\"clean\"/>"));
}

/// Files that cost a reader that looks at everything for everything hours.
#[test]
fn hostile_files_are_quick() {
    let settings = Settings { build_checks: true, ..with_label(LabelType::Url) };
    let count = 20_000;
    let many = |piece: fn(usize) -> String| (0..count).map(piece).collect::<String>();
    let files = [
        format!("FROM a\nENV {}\n", many(|i| format!("v{i}=$v{} ", i + 1))),
        format!("FROM a\nENV {}\nCOPY {} /\n", many(|i| format!("v{i}=1 ")), many(|i| format!("$w{i} "))),
        format!("FROM {}\n", many(|i| format!("$v{i}"))),
        format!("FROM a\n{}", many(|i| format!("ARG v{i}\nUSER $w{i}\n"))),
        format!("FROM a\n{}", many(|i| format!("COPY {i}.tar /\nRUN tar -x {i}0.tar\n"))),
        format!("FROM a\n{}", many(|_| "CMD x\n".to_owned())),
        format!("FROM a AS b\nENV {}\n{}", many(|i| format!("v{i}=1 ")), "FROM b AS b\n".repeat(190)),
        format!("FROM a\nENV x={}\n{}", "y".repeat(1 << 20), "USER $x$x$x$x\n".repeat(2000)),
        format!("FROM a\nENV x={}\n", "${".repeat(1 << 19)),
        format!("FROM a\nRUN {}\n", "$(".repeat(1 << 19)),
        format!("FROM a\nRUN {}\n", "case x in a) ".repeat(1 << 16)),
        format!("# {}\nFROM a\n", "hadolint ignore=".repeat(1 << 16)),
    ];
    // Of this thread: what else the machine does must not decide.
    let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let start = seconds();
    for file in &files {
        lint("x", file.as_bytes(), &settings);
    }
    assert!(seconds() - start < 60, "{} s", seconds() - start);
}
