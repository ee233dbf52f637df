//! Definitions and what is made of them, side by side. The expected texts are our own; they were compared with Docker's
//! bake when they were written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bake::compose::{File, World};
use bake::{Config, Definitions, Diagnostics, Source, Surroundings};

type Variables<'v> = &'v [(&'v str, &'v str)];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All definitions as one configuration, and a table of its variables; or the report of what is wrong.
fn configured(sources: &[Source], environment: Variables<'_>) -> Result<(Config, String), String> {
    let lookup =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
    let builtin = BTreeMap::from([
        ("BAKE_CMD_CONTEXT".to_owned(), "cwd://".to_owned()),
        ("BAKE_LOCAL_PLATFORM".to_owned(), "linux/amd64".to_owned()),
    ]);
    let is_compose = |source: &&Source| source.name.ends_with(".yaml");
    let mut config = Config::default();
    let compose: Vec<File<'_>> = sources
        .iter()
        .filter(is_compose)
        .map(|source| File { name: &source.name, text: &source.text })
        .collect();
    let read = |path: &str| {
        std::fs::read_to_string(folder().join(path)).map_err(|_| format!("{path}: no such file"))
    };
    if !compose.is_empty() {
        bake::compose::read(&compose, &World { lookup: &lookup, read: &read }, &mut config)?;
    }
    let report = |wrong: Diagnostics| wrong.report(sources);
    let mut definitions = Definitions::default();
    for (at, source) in sources.iter().enumerate().filter(|(_, source)| !is_compose(source)) {
        let body = bake::language::parse(at, source).map_err(report)?;
        definitions.add(body, &builtin).map_err(report)?;
    }
    let around = Surroundings { lookup: &lookup, builtin, home: "/home/me".to_owned(), sources };
    let mut listed = String::new();
    for variable in config.define(&definitions, &around).map_err(report)? {
        let kind = variable.kind.unwrap_or_default();
        let value = variable.value.unwrap_or_else(|| "<null>".to_owned());
        let _ = writeln!(listed, "{}|{kind}|{value}|{}", variable.name, variable.description);
    }
    Ok((config, listed))
}

fn sources(names: &[&str]) -> Vec<Source> {
    names.iter().map(|name| Source { name: (*name).to_owned(), text: golden(name) }).collect()
}

fn printed(
    files: &[&str],
    wanted: &[&str],
    sets: &[&str],
    environment: Variables<'_>,
) -> Result<String, String> {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let lookup =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
    let (config, _) = configured(&sources(files), environment)?;
    let plan = config.plan(&words(wanted), &words(sets), &lookup)?;
    serde_json::to_string_pretty(&plan.document()).map_err(|error| error.to_string())
}

/// One target `x` with one argument, evaluated.
fn evaluated(expression: &str) -> String {
    let text = format!("target \"x\" {{\n  args = {{ V = {expression} }}\n}}\n");
    let sources = [Source { name: "f.hcl".to_owned(), text }];
    let config = match configured(&sources, &[]) {
        Ok((config, _)) => config,
        Err(report) => {
            let wrong =
                report.rsplit_once("--------------------\n").map_or(report.as_str(), |(_, line)| line);
            return format!("! {}", wrong.replace('\n', "\\n"));
        }
    };
    let value = config.targets[0].map("args").next().map(|(_, value)| value.clone());
    value.map_or("null".to_owned(), |value| format!("= {value:?}"))
}

#[test]
fn every_function_and_operator() {
    let table = golden("expressions.txt");
    let mut wrong = String::new();
    for case in table.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let (expression, want) = case.trim_end().split_once('\n').expect(case);
        let found = evaluated(expression);
        if found != want {
            let _ = writeln!(wrong, "{expression}\n  wanted {want}\n  found  {found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for name in bake::functions::names().filter(|name| !matches!(*name, "uuidv4" | "timestamp")) {
        assert!(table.contains(&format!("{name}(")), "{name} has no case");
    }
}

#[test]
fn what_differs_each_time_has_a_form() {
    let length = evaluated("strlen(uuidv4())");
    assert_eq!((length.as_str(), evaluated("uuidv4() == uuidv4()").as_str()), ("= \"36\"", "= \"false\""));
    assert!(evaluated("timestamp()").ends_with("Z\""));
    let hash = evaluated("bcrypt(\"x\", 4)");
    assert!(hash.starts_with("= \"$2a$04$") && hash.len() == 64, "{hash}");
}

#[test]
fn a_target_has_a_name_and_a_field_called_target() {
    let text =
        r#"{"target": {"x": {"target": "one", "args": {"V": "${target.x.name}-${target.x.target}"}}}}"#;
    let sources = [Source { name: "t.json".to_owned(), text: text.to_owned() }];
    let (config, _) = configured(&sources, &[]).unwrap();
    assert_eq!(config.targets[0].text("target"), Some("one"));
    assert_eq!(config.targets[0].map("args").next().unwrap().1, "x-one");
}

#[test]
fn a_compose_project_has_a_name() {
    let argument = |head: &str, environment: Variables<'_>| {
        let text = format!(
            "{head}services: {{x: {{build: {{context: ., args: {{V: \"${{COMPOSE_PROJECT_NAME}}\"}}}}}}}}"
        );
        let (config, _) = configured(&[Source { name: "c.yaml".to_owned(), text }], environment).unwrap();
        config.targets[0].map("args").next().unwrap().1.to_owned()
    };
    assert_eq!(argument("", &[]), "bake");
    assert_eq!(argument("name: mine\n", &[]), "mine");
    assert_eq!(argument("name: mine\n", &[("COMPOSE_PROJECT_NAME", "set")]), "set");
}

#[test]
fn definitions_are_printed() {
    for (expected, files, wanted, sets, environment) in CASES {
        let found = printed(files, wanted, sets, environment).unwrap_or_else(|why| why);
        let want = golden(expected);
        assert_eq!(found.trim_end(), want.trim_end(), "{expected}: {files:?} {wanted:?} {sets:?}");
    }
}

type Case<'c> = (&'c str, &'c [&'c str], &'c [&'c str], &'c [&'c str], Variables<'c>);

const CASES: &[Case<'_>] = &[
    ("all.json", &["all.hcl"], &["default"], &[], &[]),
    ("sub.json", &["all.hcl"], &["sub"], &[], &[]),
    ("matrix.json", &["all.hcl"], &["many-*"], &[], &[]),
    (
        "environment.json",
        &["all.hcl"],
        &["tools", "app"],
        &[],
        &[
            ("TAG", "v1"),
            ("NUM", "7"),
            ("FLAG", "0"),
            ("LIST", "x,\"y,z\""),
            ("MAPV", "a:5,b:6"),
            ("STR", "s"),
        ],
    ),
    (
        "json-environment.json",
        &["all.hcl"],
        &["app"],
        &[],
        &[("LIST_JSON", "[\"p\",\"q\"]"), ("OBJ_JSON", "{\"a\":\"1\",\"b\":2}")],
    ),
    (
        "set.json",
        &["all.hcl", "more.json"],
        &["app", "many", "json"],
        &[
            "*.platform=linux/arm64",
            "app.tags=one",
            "app.tags+=two",
            "app.args.X=1",
            "app.args.FROM_ENV",
            "app.args.NOWHERE",
            "app.labels.l=m",
            "app.contexts.more=docker-image://busybox",
            "app.output=type=oci,dest=o.tar",
            "app.cache-to=type=inline",
            "app.cache-from+=other/cache",
            "app.secret.a=env=A",
            "app.ssh=default",
            "app.attest=type=provenance,mode=min",
            "app.entitlements=network.host",
            "app.extra-hosts.h2=2.2.2.2",
            "app.resources.memory=2g",
            "app.resources.cpu-shares=7",
            "app.no-cache=true",
            "app.pull=false",
            "app.network=none",
            "app.dockerfile=D",
            "app.target=last",
            "app.ulimits=nofile=5:6",
            "many-a*.args.V=9",
            "json.push=true",
            "json.load=true",
        ],
        &[("FROM_ENV", "yes")],
    ),
    ("compose.json", &["compose.yaml"], &["default", "z"], &[], &[("TAG", "7"), ("HOME", "/root")]),
    ("extends.json", &["extends.yaml"], &["default"], &[], &[]),
    ("reset.json", &["compose.yaml", "reset.yaml"], &["default"], &[], &[("HOME", "/root")]),
    ("merged.json", &["one.yaml", "two.yaml", "three.hcl"], &["default"], &[], &[]),
];

#[test]
fn variables_are_listed() {
    let (_, listed) = configured(&sources(&["all.hcl"]), &[("STR", "s")]).unwrap();
    assert_eq!(listed, golden("variables.txt"));
    let (config, _) = configured(&sources(&["all.hcl"]), &[]).unwrap();
    let targets: Vec<String> =
        config.listed().into_iter().map(|(name, text, group)| format!("{name}|{text}|{group}")).collect();
    assert_eq!(targets.join("\n"), golden("targets.txt").trim_end());
}

#[test]
fn what_is_wrong_is_shown() {
    let table = golden("errors.txt");
    for case in table.split("\n====\n") {
        let (text, want) = case.split_once("\n----\n").expect(case);
        let (name, text) = match text.strip_prefix('{') {
            Some(_) => ("t.json", text),
            None => ("t.hcl", text),
        };
        let source = Source { name: name.to_owned(), text: format!("{text}\n") };
        let environment = [("BAD", "abc"), ("OBJECT", "x")];
        let lookup = |_: &str| None;
        let found = configured(&[source], &environment)
            .and_then(|(config, _)| config.plan(&["x".to_owned()], &[], &lookup))
            .err()
            .unwrap_or_else(|| panic!("nothing is wrong with\n{text}"));
        assert_eq!(found.trim_end(), want.trim_end(), "{text}");
    }
}

#[test]
fn what_is_wrong_with_overrides_and_compose_files() {
    for (set, want) in [
        ("nope.tags=x", "could not find any target matching 'nope'"),
        ("tools.wrong=x", "unknown key: wrong"),
        ("tools.args=x", "invalid key tools.args, args requires name"),
        ("tools.contexts=x", "invalid key tools.contexts, contexts requires name"),
        ("tools.labels=x", "invalid format for labels, expecting labels.<name>=<value>"),
        ("tools.pull=x", "invalid value x for boolean key pull"),
        ("tools.tags", "invalid override tools.tags, expected target.name=value"),
        ("tools", "invalid override key tools, expected target.name"),
        ("tools.secret.q=id=q", "secret \"q\" must be declared before it can be overridden"),
        ("tools.secret.q+=id=q", "invalid key tools.secret.q+, secret does not support append"),
        ("tools.resources.cpu-quota=x", "invalid value x for int64 key resources.cpu-quota"),
        ("tools.resources.x=1", "unknown resources key x"),
        ("tools.output=a=b,c=d", "invalid value for outputs: type is required for output"),
    ] {
        assert_eq!(printed(&["all.hcl"], &["tools"], &[set], &[]).unwrap_err(), want, "{set}");
    }
    for (text, want) in [
        (
            "services: {a: {build: {context: ., args: {X: \"${NOPE:?must}\"}}}}",
            "c.yaml: error while interpolating services.a.build.args.X: required variable NOPE is missing a value: must",
        ),
        (
            "services: {a: {build: {context: ., nope: 1}}}",
            "services.a.build additional properties 'nope' not allowed",
        ),
        ("services: {a: {build: 1}}", "services.a.build: invalid type int for build"),
        ("foo: 1", "empty compose file"),
        (
            "services: {a: {buld: .}}",
            "failed to parse compose file: service \"a\" has neither an image nor a build context specified: invalid compose project",
        ),
        ("services: {\"b c\": {build: .}}", "services additional properties 'b c' not allowed"),
        (
            "services: {a: {extends: {service: nope}, build: .}}",
            "cannot extend service \"a\" in : service \"nope\" not found",
        ),
        ("services: {a: {extends: b}, b: {extends: a, build: .}}", "Circular reference: a extends itself"),
        (
            "services: {b: {build: {context: ., secrets: [nope]}}}",
            "failed to parse compose file: service \"b\" refers to undefined build secret nope: invalid compose project",
        ),
        (
            "services: {b: {build: {dockerfile: D, dockerfile_inline: FROM x}}}",
            "failed to parse compose file: service \"b\" declares mutualy exclusive dockerfile and dockerfile_inline: invalid compose project",
        ),
        ("include: [loop.yaml]", "compose files include each other without end"),
    ] {
        let source = Source { name: "c.yaml".to_owned(), text: text.to_owned() };
        assert_eq!(configured(&[source], &[]).unwrap_err(), want, "{text}");
    }
}

/// Functions that call others twice, and those that call others without an end, are told what they may.
#[test]
fn functions_that_cost_too_much() {
    let functions = |count: usize, twice: bool| {
        let next = (1..count).map(|n| {
            let call = format!("f{}(x)", n - 1);
            let result = if twice { format!("length([{call}, {call}])") } else { call };
            format!("function \"f{n}\" {{\n  params = [x]\n  result = {result}\n}}\n")
        });
        "function \"f0\" {\n  params = [x]\n  result = x\n}\n".to_owned() + &next.collect::<String>()
    };
    let read = |text: String| configured(&[Source { name: "x.hcl".to_owned(), text }], &[]);
    assert!(read(functions(40, true)).is_ok(), "nothing calls them");
    let error = read(functions(40, true) + "a = f39(1)\n").unwrap_err();
    assert!(error.contains("functions are called more than 1000000 times"), "{error}");
    let error = read(functions(20_000, false)).unwrap_err();
    assert!(error.contains("functions call each other more than 100 deep"), "{error}");
    assert!(read(functions(50, false) + "a = f49(1)\n").is_ok());
}

/// Words and numbers of YAML come out as Go's programs print them: `on` is a word, 0022 is octal.
#[test]
fn scalars_of_compose_files() {
    let mut wrong = Vec::new();
    for (text, want) in [
        ("on", "on"),
        ("No", "No"),
        ("y", "y"),
        ("true", "true"),
        ("True", "true"),
        ("0022", "18"),
        ("017", "15"),
        ("0o17", "15"),
        ("0x10", "16"),
        ("08", "8"),
        ("+5", "5"),
        ("1e3", "1000"),
        ("1.0", "1"),
        ("1.10", "1.1"),
        ("1.0e10", "1e+10"),
        ("1e-7", "1e-07"),
        ("100000000", "100000000"),
        ("\"0022\"", "0022"),
        ("1:30", "1:30"),
    ] {
        let text = format!("services:\n  a:\n    build:\n      context: .\n      args: {{V: {text}}}\n");
        let sources = [Source { name: "scalar.yaml".to_owned(), text: text.clone() }];
        let (config, _) = configured(&sources, &[]).unwrap();
        let values: Vec<String> =
            config.targets[0].map("args").map(|(_, value)| format!("{value:?}")).collect();
        wrong.extend((values != [format!("{want:?}")]).then(|| format!("{values:?}, wanted {want:?}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn agents_of_compose_files() {
    let agents = |ssh: &str| {
        let text = format!("services:\n  a:\n    build:\n      context: .\n      ssh: {ssh}\n");
        let sources = [Source { name: "ssh.yaml".to_owned(), text }];
        let (config, _) = configured(&sources, &[]).unwrap();
        let plan = config.plan(&["a".to_owned()], &[], &|_| None).unwrap();
        plan.document()["target"]["a"]["ssh"].clone()
    };
    let mapped = agents("{default: , mykey: ./k}");
    assert_eq!(mapped, agents("[default, mykey=k]"));
    assert_eq!(mapped[1]["id"], "mykey", "{mapped}");
}
