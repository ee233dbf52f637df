//! Files in, findings out: what BuildKit's own tests of its rules expect, and more.

use super::*;
use crate::{Options, parse};

type Images<'a> = dyn Fn(&str, &Platform) -> Option<ImageConfig> + 'a;

pub(crate) fn check(
    text: &str,
    args: &[(&str, &str)],
    image: &Images<'_>,
    ignore: Option<&str>,
) -> Vec<Warning> {
    let file = parse(text, Options::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let platform = Platform::new("linux", "amd64", None);
    let ignore = ignore.map(|text| Ignore::parse(text).unwrap());
    super::check(
        &file,
        &Surroundings {
            build_args: &args,
            target: None,
            platform: &platform,
            build_platform: &platform,
            image,
            suits: &|platform| platform.architecture == "386",
            ignore: ignore.as_ref(),
            stages: None,
        },
    )
}

/// `line rule: message` of each finding, above images that set nothing.
fn found(text: &str) -> Vec<String> {
    found_with(text, &[], None)
}

fn found_with(text: &str, args: &[(&str, &str)], ignore: Option<&str>) -> Vec<String> {
    let image = |_: &str, platform: &Platform| Some(ImageConfig::new(platform));
    shown(text, check(text, args, &image, ignore))
}

fn shown(text: &str, warnings: Vec<Warning>) -> Vec<String> {
    let file = parse(text, Options::default()).unwrap();
    let line = |w: &Warning| format!("{} {}: {}", file.lines(w).0, w.rule, w.message);
    warnings.iter().map(line).collect()
}

#[test]
fn one_of_each() {
    for (text, want) in [
        ("FROM scratch AS Base\n", "1 StageNameCasing: Stage name 'Base' should be lowercase"),
        ("FROM scratch as base\n", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"),
        ("from scratch AS base\n", "1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"),
        ("FROM scratch\n# x\nCOPY \\\n\na .\n", "5 NoEmptyContinuation: Empty continuation line"),
        (
            "FROM scratch\nCOPY a b\ncopy a b\n",
            "3 ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase)",
        ),
        (
            "from scratch\ncopy a b\nCopy a b\n",
            "3 ConsistentInstructionCasing: Command 'Copy' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM scratch AS b\nFROM scratch AS b\n",
            "2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique",
        ),
        (
            "FROM scratch AS context\n",
            "1 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
        ),
        (
            "FROM scratch\nCMD echo\n",
            "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM scratch\nMAINTAINER me\n",
            "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
        ),
        (
            "FROM --platform=$BULIDPLATFORM scratch\n",
            "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
        ),
        (
            "ARG tag=latest\nFROM busybox:${tag}${version} AS b\n",
            "2 UndefinedArgInFrom: FROM argument 'version' is not declared",
        ),
        (
            "FROM scratch\nWORKDIR app/\n",
            "2 WorkdirRelativePath: Relative workdir \"app/\" can have unexpected results if the base image changes",
        ),
        (
            "FROM alpine\nCOPY $foo .\nARG foo=bar\nCOPY $foo .\n",
            "2 UndefinedVar: Usage of undefined variable '$foo'",
        ),
        (
            "FROM alpine\nARG DIR_ASSETS=a DIR_CONFIG=c\nCOPY $DIR_ASSET .\n",
            "3 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)",
        ),
        // Nothing can ever give it another value.
        (
            "FROM alpine\nARG A\nENV B=${A:-1} C=${UID:-1000}\n",
            "3 UndefinedVar: Usage of undefined variable '$UID'",
        ),
        (
            "FROM alpine\nENV PATH=$PAHT:/tmp/bin\n",
            "2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)",
        ),
        (
            "FROM scratch\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]\n",
            "2 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM scratch\nLABEL k v\n",
            "2 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ),
        (
            "FROM --platform=${TARGETPLATFORM} scratch\n",
            "1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM scratch\nARG DB_PASSWORD\n",
            "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"DB_PASSWORD\")",
        ),
        (
            "FROM --platform=linux/amd64 scratch\n",
            "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"",
        ),
        (
            "# check=experimental=InvalidDefinitionDescription\n# definitely bad\nARG a=1 b=2\nFROM scratch\n",
            "3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
        ),
        (
            "FROM scratch\nEXPOSE 80/TcP\n",
            "2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM scratch\nEXPOSE 127.0.0.1:80:80\n",
            "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
        ),
    ] {
        assert_eq!(found(text), [want], "{text}");
    }
}

#[test]
fn nothing_to_say() {
    for text in [
        "ARG base=scratch\nFROM $base\nCOPY a .\n",
        "FROM --platform=$BUILDPLATFORM scratch AS x\n",
        "FROM --platform=linux/arm64 scratch AS arm64-build\n",
        "FROM scratch AS a\nWORKDIR /app\nFROM a AS b\nWORKDIR subdir/\n",
        "FROM scratch\nENV X=/app\nWORKDIR $X\n",
        "FROM scratch\nARG foo\nCOPY a${foo} .\n",
        "FROM alpine AS base\nARG foo=x\nFROM base\nCOPY $foo .\n",
        "FROM alpine\nRUN echo $NOPE\nCMD [\"sh\", \"-c\", \"$NOPE\"]\n",
        "FROM scratch\nSHELL [\"/bin/bash\", \"-c\"]\nCMD echo hi\n",
        "FROM scratch\nARG PUBLIC_KEY KEY_FILE TOKEN_VERSION\nENV MONKEY=1\n",
        "ARG GITHUB_TOKEN\nFROM scratch\n",
        "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n",
        "FROM scratch\nEXPOSE 80 53/udp 8000-8010/tcp\n",
        "FROM scratch\nCOPY <<EOF /x\n\\$HOME\nEOF\n",
        "FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR app/\n",
        "# check=skip=all\nFROM scratch as base\ncopy a b\nMAINTAINER me\n",
        "# check=skip=ConsistentInstructionCasing,FromAsCasing\nFROM scratch as base\ncopy a b\n",
        "# definitely bad\nARG a=1\nFROM scratch\n",
        "# check=experimental=all\n# a is it\nARG a=1\n#\nARG b\n# base this\nFROM scratch AS base\n# of COPY\nCOPY x .\n",
    ] {
        assert_eq!(found(text), Vec::<String>::new(), "{text}");
    }
}

/// What the base image sets is no mistake, and what it may set is none that one can be sure of.
#[test]
fn variables_of_base_images() {
    let text = "FROM jdk\nENV PATH=$JAVA_HOME/bin:$PATH X=$JAVA_HOM\nUSER $WHO\n";
    let known = |_: &str, platform: &Platform| {
        let mut config = ImageConfig::new(platform);
        config.config.env = vec!["JAVA_HOME=/jdk".into(), "PATH=/bin".into()];
        Some(config)
    };
    let hint = "2 UndefinedVar: Usage of undefined variable '$JAVA_HOM' (did you mean $JAVA_HOME?)";
    let who = "3 UndefinedVar: Usage of undefined variable '$WHO'";
    assert_eq!(shown(text, check(text, &[], &known, None)), [hint, who]);
    let unknown = |_: &str, _: &Platform| None;
    assert_eq!(shown(text, check(text, &[], &unknown, None)), Vec::<String>::new());
    let sure = "ARG VERSION=1\nFROM jdk\nENV V=$VERSION PATH=$PAHT\nARG DIR_ASSETS=x\nCOPY $DIR_ASSET .\n";
    let got = shown(sure, check(sure, &[], &unknown, None));
    assert_eq!(got.len(), 3, "{got:?}");
}

#[test]
fn triggers_of_base_images_are_looked_at() {
    let image = |_: &str, platform: &Platform| {
        let mut config = ImageConfig::new(platform);
        config.config.on_build = vec!["ENV A=1".into(), "COPY $A $OTHER .".into()];
        Some(config)
    };
    let text = "FROM onbuild\nRUN true\n";
    let want = ["1 UndefinedVar: Usage of undefined variable '$OTHER'"];
    assert_eq!(shown(text, check(text, &[], &image, None)), want);
    let text = "FROM scratch AS a\nONBUILD COPY $OTHER .\nFROM a\n";
    assert_eq!(found(text), ["3 UndefinedVar: Usage of undefined variable '$OTHER'"]);
}

#[test]
fn base_images_of_another_platform() {
    let image = |_: &str, _: &Platform| Some(ImageConfig::new(&Platform::new("linux", "arm64", None)));
    let text = "FROM alpine\n";
    assert_eq!(
        shown(text, check(text, &[], &image, None)),
        [
            "1 InvalidBaseImagePlatform: Base image alpine was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"
        ]
    );
    // One that this machine runs is as good, unless a platform was asked for.
    let image = |_: &str, _: &Platform| Some(ImageConfig::new(&Platform::new("linux", "386", None)));
    assert_eq!(check(text, &[], &image, None), []);
    let text = "FROM --platform=$BUILDPLATFORM alpine\n";
    assert_eq!(check(text, &[], &image, None)[0].rule, "InvalidBaseImagePlatform");
}

#[test]
fn default_arguments() {
    let text = "ARG VERSION\nFROM busybox:$VERSION\n";
    let want = "2 InvalidDefaultArgInFrom: Default value for ARG busybox:$VERSION results in empty or invalid base image name";
    assert_eq!(found_with(text, &[("VERSION", "1")], None), [want]);
    let fine = "ARG SFX\nFROM busybox:stable${SFX}\n";
    assert_eq!(found_with(fine, &[("SFX", "-musl")], None), Vec::<String>::new());
}

#[test]
fn ignored_files() {
    let copy = |line: &str, ignore: &str| found_with(&format!("FROM scratch\n{line}\n"), &[], Some(ignore));
    let want = |verb: &str, file: &str| {
        vec![format!(
            "2 CopyIgnoredFile: Attempting to {verb} file {file:?} that is excluded by .dockerignore"
        )]
    };
    assert_eq!(copy("COPY Dockerfile .", "Dockerfile\n"), want("Copy", "Dockerfile"));
    assert_eq!(copy("ADD a/b .", "a\n"), want("Add", "a/b"));
    assert_eq!(copy("COPY . .", "*\n"), want("Copy", "."));
    assert_eq!(copy("COPY . .", "a\n"), Vec::<String>::new());
    assert_eq!(copy("COPY a .", "a\n!a/b\n"), Vec::<String>::new());
    assert_eq!(copy("COPY --from=alpine a .", "a\n"), Vec::<String>::new());
    assert_eq!(copy("COPY <<a .\nx\na", "a\n"), Vec::<String>::new());
}

#[test]
fn settings_of_a_build_argument_win() {
    let text = "# check=skip=all\nFROM scratch as base\ncopy a b\n";
    let args = [("BUILDKIT_DOCKERFILE_CHECK", "skip=ConsistentInstructionCasing;error=true")];
    assert_eq!(
        found_with(text, &args, None),
        ["2 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]
    );
    let warnings = check(text, &args, &|_, _| None, None);
    let message = violation(&warnings).unwrap().message;
    assert_eq!(message, "lint violation found for rules: FromAsCasing");
    assert_eq!(parse_error("skip"), "invalid check option \"skip\"");
    assert_eq!(parse_error("skpi=all"), "invalid check option \"skpi\"");
    assert_eq!(parse_error("error=maybe"), "failed to parse check option \"error=maybe\"");
    assert!(super::parse(" ").unwrap() == Check::default());
}

fn parse_error(text: &str) -> String {
    super::parse(text).unwrap_err()
}

#[test]
fn unused_arguments_are_no_violation() {
    let got = check("FROM scratch\n", &[("NOPE", "1"), ("HTTP_PROXY", "x")], &|_, _| None, None);
    assert_eq!(got[0].message, "One or more build-args [NOPE] were not consumed");
    assert_eq!((got.len(), violation(&got)), (1, None));
}

#[test]
fn only_rules_of_buildkit_are_violated() {
    let violated = |text: &str| Some(violation(&check(text, &[], &|_, _| None, None))?.message);
    assert_eq!(violated("FROM scratch\nCOPY f /\nARG TOOLS # only used elsewhere\nRUN ['x']\n"), None);
    // What is no array is a command of the shell to BuildKit as well.
    let shell = "lint violation found for rules: JSONArgsRecommended";
    assert_eq!(violated("FROM scratch\nCMD ['x']\n").as_deref(), Some(shell));
}

#[test]
fn stages_that_are_not_built_are_not_followed() {
    let text = "FROM scratch AS a\nCMD x\nFROM scratch AS B\nCMD y\n";
    let file = parse(text, Options::default()).unwrap();
    let (args, platform) = (BTreeMap::new(), Platform::new("linux", "amd64", None));
    let reached = BTreeSet::from([0]);
    let around = Surroundings {
        build_args: &args,
        target: None,
        platform: &platform,
        build_platform: &platform,
        image: &|_, _| None,
        suits: &|_| false,
        ignore: None,
        stages: Some(&reached),
    };
    let rules: Vec<_> = super::check(&file, &around).into_iter().map(|w| (w.span.line, w.rule)).collect();
    assert_eq!(rules, [(2, "JSONArgsRecommended".to_string()), (3, "StageNameCasing".to_string())]);
}

#[test]
fn the_table_is_in_order_and_knows_buildkits_rules() {
    let (own, theirs): (Vec<&Rule>, Vec<&Rule>) = RULES.iter().partition(|rule| {
        ["InvalidJSONArray", "MoreWarnings", "TrailingComment", "UnusedBuildArg"].contains(&rule.name)
    });
    assert_eq!((own.len(), theirs.len()), (4, 22));
    assert!(theirs.is_sorted_by_key(|rule| rule.name) && RULES.iter().all(|r| !r.description.ends_with('.')));
}

#[test]
fn warnings_ahead_of_an_error() {
    let ahead = |text: &str| {
        assert!(parse(text, Options::default()).is_err(), "{text}");
        let found = super::ahead(text, Options::default(), &BTreeMap::new());
        found.into_iter().map(|w| format!("{} {}", w.span.line, w.rule)).collect::<Vec<_>>()
    };
    let text = "\nFROM scratch AS BadStageName\nMAINTAINER me@example.org\nBADCMD\n";
    assert_eq!(ahead(text), ["2 StageNameCasing", "3 MaintainerDeprecated"]);
    // Only what is ahead of it, and what the lines themselves tell.
    let text = "FROM scratch\nBADCMD\nMAINTAINER me\nRUN a \\\n\n b\n";
    assert_eq!(ahead(text), ["5 NoEmptyContinuation"]);
    assert_eq!(ahead("MAINTAINER me\nFROM scratch AS B\n"), ["1 MaintainerDeprecated"]);
    let text = "# check=skip=StageNameCasing\nFROM scratch AS B\nfrom scratch as C\nRUN --x=y a\n";
    assert_eq!(ahead(text), Vec::<String>::new());
}

/// Files with as many places, names and settings as there is room for: what is found in them takes moments.
#[test]
fn files_with_much_to_say() {
    let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let begun = seconds();
    let tokens = "\n".repeat(1 << 20) + &"ENV TOKEN=1\n".repeat(100_000);
    let warnings = check(&format!("FROM scratch\n{tokens}"), &[], &|_, _| None, None);
    assert_eq!(warnings.len(), 1001);
    assert_eq!(
        (warnings[1000].rule.as_str(), warnings[1000].message.as_str()),
        ("MoreWarnings", "99000 more warnings are not shown")
    );
    // Each stage names what no argument is called, and is from the one above.
    let args = (0..100_000).map(|n| format!("ARG a{n}\n")).collect::<String>();
    let stages = (1..9_000).map(|n| format!("FROM s{} AS s{n}$x\n", n - 1)).collect::<String>();
    let stages = stages.replace("$x\n", "\n") + &"FROM a$x\n".repeat(900);
    assert!(check(&format!("{args}FROM scratch AS s0\n{stages}"), &[], &|_, _| None, None).len() >= 900);
    // Each stage has a thousand variables of the first.
    let env = (0..2_000).map(|n| format!("ENV a{n}={}\n", "x".repeat(200))).collect::<String>();
    check(&format!("FROM scratch AS s\n{env}{}", "FROM s\n".repeat(9_000)), &[], &|_, _| None, None);
    // As many settings as findings.
    let skipped = "# check=skip=".to_owned() + &"x,".repeat(500_000) + "LegacyKeyValueFormat";
    let names = format!("FROM scratch\n{skipped}\nENV {}\n", "token=1 ".repeat(50_000));
    assert_eq!(check(&names, &[], &|_, _| None, None).len(), 1001);
    assert!(seconds() - begun < 30, "{} s", seconds() - begun);
}
