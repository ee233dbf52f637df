//! Dockerfiles in, trees or messages out.

use crate::ast::*;
use crate::{Error, Options, parse};

fn file(text: &str) -> Dockerfile {
    parse(text, Options::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn fails(text: &str) -> Error {
    parse(text, Options::default()).expect_err(text)
}

/// The instructions of the last stage.
fn body(text: &str) -> Vec<Kind> {
    let mut file = file(text);
    file.stages.pop().unwrap().instructions.into_iter().map(|i| i.kind).collect()
}

fn only(text: &str) -> Kind {
    body(&format!("FROM a\n{text}\n")).pop().unwrap()
}

fn rules(text: &str) -> Vec<String> {
    crate::check::tests::check(text, &[], &|_, _| None, None).into_iter().map(|w| w.rule).collect()
}

fn paths(transfer: &Transfer) -> Vec<&str> {
    transfer
        .sources
        .iter()
        .map(|s| match s {
            Source::Path(word) => word.text.as_str(),
            Source::Heredoc(doc) => doc.name.as_str(),
        })
        .collect()
}

#[test]
fn error_messages_are_buildkits() {
    for (text, line, message) in [
        ("FROM a\nfoo bar", 2, "unknown instruction: foo"),
        ("FROM a\nCOYP a b", 2, "unknown instruction: COYP (did you mean COPY?)"),
        ("FROM a\nnode_modules", 2, "unknown instruction: node_modules"),
        ("", 1, "file with no instructions"),
        ("RUN x\nFROM a", 1, "no build stage in current context"),
        ("FROM a b", 1, "FROM requires either one or three arguments"),
        ("FROM", 1, "FROM requires either one or three arguments"),
        (
            "FROM a AS 1x",
            1,
            "invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
        ),
        ("FROM a\nRUN", 2, "RUN requires at least one argument"),
        (
            "FROM a\nCOPY x",
            2,
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("FROM a\nCOPY --frm=x a b", 2, "unknown flag: --frm (did you mean from?)"),
        ("FROM a\nCOPY --link=maybe a b", 2, "expecting boolean value for flag --link, not: maybe"),
        ("FROM a\nCOPY --from a b", 2, "missing a value on flag: --from"),
        ("FROM a\nCOPY --from=x --from=y a b", 2, "duplicate flag specified: --from"),
        ("FROM a\nCMD --x", 2, "unknown flag: --x"),
        ("FROM a\nENV", 2, "ENV requires at least one argument"),
        ("FROM a\nENV x", 2, "ENV must have two arguments"),
        ("FROM a\nENV =x", 2, "ENV names can not be blank"),
        ("FROM a\nENV a=b c", 2, "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("FROM a\nARG", 2, "ARG requires at least one argument"),
        ("FROM a\nSHELL /bin/sh", 2, "SHELL requires the arguments to be in JSON form"),
        (
            "FROM a\nCMD [\"a\", 1]",
            2,
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM a\nHEALTHCHECK curl x", 2, "Unknown type \"CURL\" in HEALTHCHECK (try CMD)"),
        ("FROM a\nHEALTHCHECK CMD", 2, "Missing command after HEALTHCHECK CMD"),
        ("FROM a\nHEALTHCHECK NONE x", 2, "HEALTHCHECK NONE takes no arguments"),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", 2, "Interval \"interval\" cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --timeout=-1s CMD x", 2, "Interval \"timeout\" cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, "--retries cannot be negative (-1)"),
        ("FROM a\nONBUILD ONBUILD RUN x", 2, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nONBUILD FROM x", 2, "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nWORKDIR", 2, "WORKDIR requires exactly one argument"),
        ("FROM a\n\n\nRUN --network=moon x", 4, "invalid network mode: \"moon\""),
        ("FROM a\nCOPY <<EOF /x\nhello", 2, "unterminated heredoc"),
    ] {
        let error = fails(text);
        assert_eq!((error.span.line, error.message.as_str()), (line, message), "{text}");
    }
    assert_eq!(
        fails("FROM a\nfoo bar").to_string(),
        "dockerfile parse error on line 2: unknown instruction: foo"
    );
}

#[test]
fn stages_and_globals() {
    let file =
        file("ARG V=1\nFROM a:$V AS Build\nRUN x\nFROM --platform=$BUILDPLATFORM build as two\nCMD y\n");
    assert_eq!(file.global_args.len(), 1);
    assert_eq!(file.stages[0].from.image.text, "a:$V");
    assert_eq!(file.stages[0].from.name.as_ref().unwrap().text, "build");
    assert_eq!(file.stages[1].from.platform.as_ref().unwrap().text, "$BUILDPLATFORM");
    assert_eq!((file.stages[0].span.line, file.stages[0].span.end_line), (2, 3));
}

/// T1: Docker refuses these lines, so the comment is believed.
#[test]
fn trailing_comment_of_from() {
    let text = "FROM node:16-alpine  # ~40MB vs node:16 ~350MB\n";
    let parsed = file(text);
    assert_eq!(parsed.stages[0].from.image.text, "node:16-alpine");
    assert_eq!(parsed.warnings[0].rule, "TrailingComment");
    assert_eq!((parsed.warnings[0].span.line, parsed.warnings[0].span.column), (1, 22));
    assert_eq!(file("FROM a AS b # c").stages[0].from.name.as_ref().unwrap().text, "b");
    assert!(parse(text, Options { strict: true, ..Options::default() }).is_err());
    assert!(parse(&format!("# dhow=strict\n{text}"), Options::default()).is_err());
}

/// T2: the words of the comment are kept, for the builder to compare with the context.
#[test]
fn trailing_comment_of_copy() {
    let Kind::Copy(copy) = only("COPY package*.json ./  # Copies to /app/") else { panic!() };
    assert_eq!(paths(&copy), ["package*.json"]);
    assert_eq!(copy.dest.text, "./");
    let words: Vec<_> = copy.comment.unwrap().words.into_iter().map(|w| w.text).collect();
    assert_eq!(words, ["#", "Copies", "to", "/app/"]);
    let Kind::Copy(copy) = only("COPY . .   # Layer 5: …") else { panic!() };
    assert_eq!((paths(&copy), copy.dest.text.as_str()), (vec!["."], "."));
}

/// T3: Docker would create a directory with the comment in its name.
#[test]
fn trailing_comment_of_workdir() {
    let Kind::Workdir(dir) = only("WORKDIR b   # Now in /a/b") else { panic!() };
    assert_eq!(dir.text, "b");
    let Kind::User(user) = only("USER app # not root") else { panic!() };
    assert_eq!(user.text, "app");
    let strict = parse("FROM a\nWORKDIR b # c", Options { strict: true, ..Options::default() }).unwrap();
    let Kind::Workdir(dir) = &strict.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(dir.text, "b # c");
    let Kind::Workdir(dir) = only("WORKDIR /c#d") else { panic!() };
    assert_eq!(dir.text, "/c#d");
}

/// T4: Docker would hand the brackets to a shell.
#[test]
fn trailing_comment_of_json() {
    let Kind::Cmd(cmd) = only("CMD [\"node\", \"server.js\"]  # Runs /app/server.js") else { panic!() };
    assert_eq!(cmd, Command::Exec(vec!["node".into(), "server.js".into()]));
    let Kind::Cmd(cmd) = only("CMD [\"a\"] && b") else { panic!() };
    assert_eq!(cmd, Command::Shell("[\"a\"] && b".into()));
    let Kind::Volume(volumes) = only("VOLUME [\"/data\"] # data") else { panic!() };
    assert_eq!(volumes.len(), 1);
    assert!(rules("FROM a\nCMD ['node', 'x']").contains(&"InvalidJSONArray".to_string()));
}

/// T5: an error in Docker, so a comment; and a secret in the image is worth a word.
#[test]
fn trailing_comment_of_env() {
    let text = "FROM a\nENV DATABASE_PASSWORD=secret123  # DON'T DO THIS\n";
    let Kind::Env(pairs) = only("ENV DATABASE_PASSWORD=secret123  # DON'T DO THIS") else { panic!() };
    assert_eq!((pairs.len(), pairs[0].value.as_str()), (1, "secret123"));
    assert_eq!(rules(text), ["SecretsUsedInArgOrEnv", "TrailingComment"]);
    // Docker accepts this one: the value is the whole rest.
    let Kind::Env(pairs) = only("ENV a b # c") else { panic!() };
    assert_eq!(pairs[0].value, "b # c");
}

/// T6: the shell knows comments.
#[test]
fn trailing_comment_of_run() {
    let Kind::Run(run) = only("RUN npm install  # comment") else { panic!() };
    assert_eq!(run.command, Command::Shell("npm install  # comment".into()));
}

#[test]
fn copy_and_add() {
    let Kind::Copy(copy) = only(
        "COPY --from=build --chown=a:b --chmod=0644 --link --parents --exclude=*.md --exclude=x a b /c/",
    ) else {
        panic!()
    };
    assert_eq!(copy.from.unwrap().text, "build");
    assert_eq!((copy.chown.unwrap().text.as_str(), copy.chmod.unwrap().text.as_str()), ("a:b", "0644"));
    assert!(copy.link && copy.parents && copy.exclude.len() == 2);
    let Kind::Add(add) =
        only("ADD --checksum=sha256:0 --keep-git-dir=true --unpack=false [\"https://x/y z\", \"/d\"]")
    else {
        panic!()
    };
    assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
    assert_eq!(add.dest.text, "/d");
    let Kind::Copy(copy) = only("COPY <<a <<'b' /d/\n$x\na\n$y\nb") else { panic!() };
    assert_eq!(paths(&copy), ["a", "b"]);
    let Source::Heredoc(doc) = &copy.sources[1] else { panic!() };
    assert_eq!((doc.body.as_str(), doc.expand), ("$y\n", false));
}

/// A word more is not the body once more.
#[test]
fn each_heredoc_has_a_body_of_its_own() {
    let bodies = |text: &str| -> Vec<String> {
        let Kind::Copy(copy) = only(text) else { panic!() };
        let body = |source: &Source| match source {
            Source::Heredoc(doc) => doc.body.clone(),
            Source::Path(word) => format!("path {}", word.text),
        };
        copy.sources.iter().map(body).collect()
    };
    assert_eq!(bodies("COPY <<A <<B <<A /d/\none\nA\ntwo\nB\nthree\nA"), ["one\n", "two\n", "three\n"]);
    let text = format!("COPY {}/d/\n{}\n{}", "<<A ".repeat(1000), "x".repeat(10_000), "A\n".repeat(1000));
    assert!(bodies(&text).concat().len() <= text.len());
}

#[test]
fn run_forms() {
    let Kind::Run(run) = only("RUN [\"a\", \"b c\"]") else { panic!() };
    assert_eq!(run.command, Command::Exec(vec!["a".into(), "b c".into()]));
    let Kind::Run(run) = only("RUN --mount=type=cache,target=/c --network=none --security=insecure go build")
    else {
        panic!()
    };
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!(run.mounts[0].plain().unwrap().kind, MountKind::Cache);
    let Kind::Run(run) = only("RUN <<EOF\necho $x\nEOF") else { panic!() };
    assert_eq!(run.shell_line().unwrap(), "echo $x\n");
    let Kind::Run(run) = only("RUN cat <<A >/x && cat <<B\n1\nA\n2\nB") else { panic!() };
    assert_eq!(run.shell_line().unwrap(), "cat <<A >/x && cat <<B\n1\nA\n2\nB");
    assert!(run.script().is_none());
}

#[test]
fn healthcheck_options() {
    let Kind::Healthcheck(Healthcheck::Test { command, interval, timeout, start_period, retries, .. }) = only(
        "HEALTHCHECK --interval=30s --timeout=3s --start-period=1m30s --retries=3 \\\n  CMD curl -f x || exit 1",
    ) else {
        panic!()
    };
    assert_eq!(command, Command::Shell("curl -f x || exit 1".into()));
    let seconds = |d: Option<std::time::Duration>| d.unwrap().as_secs();
    assert_eq!((seconds(interval), seconds(timeout), seconds(start_period)), (30, 3, 90));
    assert_eq!(retries, Some(3));
    assert_eq!(only("HEALTHCHECK NONE"), Kind::Healthcheck(Healthcheck::None));
}

#[test]
fn triggers() {
    let Kind::Onbuild(onbuild) = only("ONBUILD COPY --chown=a . /app") else { panic!() };
    assert_eq!(onbuild.expression, "COPY --chown=a . /app");
    assert!(matches!(onbuild.trigger.kind, Kind::Copy(_)));
    let Kind::Onbuild(onbuild) = only("ONBUILD RUN <<E\necho\nE") else { panic!() };
    assert_eq!(onbuild.expression, "RUN <<E\necho\nE");
    let again = crate::parse_trigger(&onbuild.expression).unwrap();
    assert!(matches!(again.kind, Kind::Run(_)));
    assert!(crate::parse_trigger("FROM x").is_err());
    assert!(crate::parse_trigger("RUN a\nRUN b").is_err());
}

#[test]
fn env_forms() {
    let Kind::Env(pairs) = only("ENV a=1 b=\"x y\" \\\n  # why\n  c=d\\ e") else { panic!() };
    let values: Vec<_> = pairs.iter().map(|p| p.value.as_str()).collect();
    assert_eq!(values, ["1", "\"x y\"", "d\\ e"]);
    assert_eq!(pairs[2].span.line, 4);
}

#[test]
fn escape_directive_for_windows_paths() {
    let kinds = body("# escape=`\nFROM a\nCOPY a `\n  c:\\\nRUN dir\n");
    assert_eq!(kinds.len(), 2);
    let Kind::Copy(copy) = &kinds[0] else { panic!() };
    assert_eq!(copy.dest.text, "c:\\");
}

#[test]
fn checks_speak_buildkits_sentences() {
    let text = "FROM a AS Base\nrun x\nWORKDIR app\nCMD a\nCMD [\"b\"]\nEXPOSE 80/TCP 1.2.3.4:1:1\nMAINTAINER me\n\
                ENV k v\nFROM --platform=linux/amd64 b as base\n";
    let found = rules(text);
    for rule in [
        "StageNameCasing",
        "ConsistentInstructionCasing",
        "WorkdirRelativePath",
        "JSONArgsRecommended",
        "MultipleInstructionsDisallowed",
        "ExposeProtoCasing",
        "ExposeInvalidFormat",
        "MaintainerDeprecated",
        "LegacyKeyValueFormat",
        "FromPlatformFlagConstDisallowed",
        "DuplicateStageName",
        "FromAsCasing",
    ] {
        assert!(found.iter().any(|r| r == rule), "{rule} not in {found:?}");
    }
    assert!(rules("# check=skip=all\nFROM a AS Base\nCMD x\n").is_empty());
    assert!(rules("FROM a\nARG PUBLIC_KEY\n").is_empty());
}

#[test]
fn big_inputs_are_quick() {
    // Of this thread: what else the machine does must not decide.
    let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let start = seconds();
    let continued = format!("FROM a\nRUN x {}\n", "\\\n y".repeat(500_000));
    assert!(parse(&continued, Options::default()).is_ok());
    let flags = format!("FROM a\nRUN {} x\n", "--mount=type=tmpfs,target=/x ".repeat(20_000));
    assert!(parse(&flags, Options::default()).is_ok());
    let words = format!("FROM a\nCOPY {} x\n", "y ".repeat(500_000));
    assert!(parse(&words, Options::default()).is_ok());
    let docs = format!("FROM a\nRUN {}\n{}", "<<A ".repeat(5_000), "A\n".repeat(5_000));
    assert!(parse(&docs, Options::default()).is_ok());
    assert!(parse(&"x".repeat(crate::MAX_SIZE + 1), Options::default()).is_err());
    assert!(seconds() - start < 20, "{} s", seconds() - start);
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        if let Ok(text) = crate::decode(&bytes)
            && let Err(error) = parse(&text, Options::default()) {
                let _ = crate::render::report("Dockerfile", &text, error.span, &error.message, None);
            }
    }

    #[test]
    fn random_dockerfiles_never_panic(
        text in "(FROM|RUN|COPY|ENV|ARG|CMD|ONBUILD|HEALTHCHECK|LABEL)?[ \\t]*((--[a-z]{1,5}(=[a-z,]{0,6})?|<<-?\"?E|[a-z$\\{\\}#'\"\\\\:/\\[\\],=é])[ \\n]?){0,30}",
    ) {
        let text = format!("FROM a\n{text}");
        match parse(&text, Options::default()) {
            Ok(file) => {
                for warning in &file.warnings {
                    let _ = crate::render::excerpt("Dockerfile", &text, warning.span);
                }
            }
            Err(error) => {
                let _ = crate::render::report("Dockerfile", &text, error.span, &error.message, None);
            }
        }
    }

    #[test]
    fn random_words_never_panic(text in "[a-z$\\{\\}#%/?*:+'\"\\\\é -]{0,60}") {
        let get = |name: &str| (name.len() == 1).then(|| "véalue/x".to_string());
        let _ = crate::expand::Expander::new('\\', &get, &Default::default()).words(&text);
        let _ = crate::expand::Expander::heredoc(&get, &Default::default()).word(&text);
        let _ = crate::ignore::Ignore::parse(&text).map(|i| i.is_ignored("a/b"));
    }
}
