//! Questions and answers.

use super::*;

const FILE: &str = "\
# syntax=docker/dockerfile:1
# VERSION of the base image
ARG VERSION=3
ARG IMAGE=alpine:${VERSION}
ARG UNUSED=x

# build compiles it
FROM ${IMAGE} AS build
# MODE how to compile
ARG MODE=release
ENV X=$MODE
RUN --mount=type=secret,id=token,required --mount=type=ssh make

# the image
FROM scratch AS Final
COPY --from=build /x /x
CMD x
";

fn ask<T>(text: &str, target: Option<&str>, question: impl Fn(&Question<'_>) -> T) -> T {
    let (args, platform) = (BTreeMap::new(), Platform::new("linux", "amd64", None));
    question(&Question {
        name: "Dockerfile",
        text,
        options: crate::Options::default(),
        build_args: &args,
        target,
        platform: &platform,
        image: &|_, _| None,
        suits: &|_| false,
        ignore: None,
        mistake: None,
    })
}

#[test]
fn stages() {
    let answer = ask(FILE, None, |question| targets(question).unwrap());
    assert_eq!(answer.text, "TARGET          DESCRIPTION\nbuild           compiles it\nfinal (default) \n");
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    assert_eq!(json["targets"][0]["base"], "${IMAGE}");
    assert_eq!(json["targets"][1]["location"]["ranges"][0]["start"]["line"], 15);
    assert_eq!(json["targets"][1]["default"], true);
}

/// As in a build the last declaration counts, and one without a default has what the stage below gave it.
#[test]
fn arguments_have_the_values_that_a_build_gives_them() {
    let file = "FROM scratch AS b\nARG V=1\nFROM b\nARG V\nARG Q=${V}x\nARG A=1\nARG A=2\n";
    let answer = ask(file, None, |question| outline(question).unwrap());
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    let told = |at: usize| (&json["args"][at]["name"], &json["args"][at]["value"]);
    let line = |at: usize| json["args"][at]["location"]["ranges"][0]["start"]["line"].as_u64();
    assert_eq!(
        [told(0), told(1), told(2)].map(|(n, v)| format!("{n}{v}")),
        ["\"V\"\"1\"", "\"Q\"\"1x\"", "\"A\"\"2\""]
    );
    assert_eq!([line(0), line(1), line(2)], [Some(4), Some(5), Some(7)]);
}

#[test]
fn what_a_target_can_be_given() {
    let answer = ask(FILE, None, |question| outline(question).unwrap());
    assert_eq!(
        answer.text,
        "TARGET: final\n\n\
         BUILD ARG   VALUE      DESCRIPTION\n\
         VERSION     3          of the base image\n\
         IMAGE       alpine:3   \n\
         MODE        release    how to compile\n\n\
         SECRET   REQUIRED\ntoken    true\n\n\
         SSH       REQUIRED\ndefault   \n\n"
    );
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    assert_eq!(json["secrets"][0]["required"], true);
    assert_eq!(json["args"][0]["location"]["ranges"][0]["start"]["line"], 3);
    let error = ask(FILE, Some("bild"), |question| outline(question).unwrap_err());
    assert_eq!(error.message, "target stage \"bild\" could not be found (did you mean build?)");
    // No build of it is possible; of another target's stages nothing is said.
    let wrong = "FROM a$V-b AS bad\nFROM scratch AS good\nFROM WRONG\n";
    let error = |target| ask(wrong, Some(target), outline).err().map(|error| error.message);
    assert!(error("2").unwrap().starts_with("failed to parse stage name \"WRONG\""));
    assert_eq!(error("good"), None);
    // The whole id of an image is a base too, if no name.
    assert!(ask(&format!("FROM {}\n", "0a".repeat(32)), None, outline).is_ok());
}

/// Of what several stages declare the target's counts, then what is nearest to it. Places have all their lines.
#[test]
fn what_several_stages_declare() {
    let file = "ARG V=1\nFROM scratch AS one\nARG V=2 \\\n  W=3\nRUN --mount=type=secret,id=s,required x\n\
        FROM a:$V AS two\nCOPY --from=one / /\nRUN --mount=type=secret,id=s \\\n  x\n";
    let answer = ask(file, None, |question| outline(question).unwrap());
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    let lines = |item: &serde_json::Value| -> Vec<_> {
        let ranges = item["location"]["ranges"].as_array().unwrap();
        ranges.iter().map(|range| (range["start"]["line"].as_u64(), range["end"]["line"].as_u64())).collect()
    };
    let (one, two) = ((Some(1), Some(1)), (Some(3), Some(3)));
    assert_eq!((&json["args"][0]["value"], lines(&json["args"][0])), (&"1".into(), vec![one]));
    assert_eq!((&json["args"][1]["name"], lines(&json["args"][1])[0]), (&"W".into(), two));
    assert_eq!(lines(&json["args"][1]).len(), 2);
    assert_eq!(lines(&json["secrets"][0]), [(Some(8), Some(8)), (Some(9), Some(9))]);
    assert!(json["secrets"][0]["required"].is_null());
    let file = "FROM x AS base\nARG V=1\nFROM base AS other\nARG V=2\nFROM base\nCOPY --from=other / /\n";
    let answer = ask(file, None, |question| outline(question).unwrap());
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    assert_eq!(json["args"][0]["value"], "1");
}

#[test]
fn checks() {
    let answer = ask(FILE, None, lint);
    assert_eq!((answer.warnings, &answer.error), (2, &None));
    assert!(answer.text.starts_with("\nWARNING: StageNameCasing\nStage name 'Final' should be lowercase\n"));
    assert!(answer.text.contains("Dockerfile:17\n") && answer.text.contains(">>> CMD x\n"));
    let json: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    assert_eq!(json["warnings"][1]["ruleName"], "JSONArgsRecommended");
    assert_eq!(json["warnings"][1]["location"]["ranges"][0]["end"]["line"], 17);
    assert_eq!(json["sources"][0]["filename"], "Dockerfile");
    // The target does not need the stage with the CMD.
    assert_eq!(ask(FILE, Some("build"), lint).warnings, 1);
    let clean = ask("FROM scratch\n", None, lint);
    assert!(clean.json.contains("\"warnings\": null") && clean.text.is_empty() && clean.error.is_none());
}

#[test]
fn checks_of_what_does_not_build() {
    let error = |text: &str| ask(text, None, lint).error.unwrap();
    let unknown = error("FROM scratch\nCOYP a b\n");
    assert!(
        unknown.contains("dockerfile parse error on line 2: unknown instruction: COYP (did you mean COPY?)")
    );
    assert!(unknown.contains(">>> COYP a b\n"), "{unknown}");
    assert!(error("ARG x\nFROM $x\n").contains("base name ($x) should not be blank"));
    let violation = ask("# check=error=true\nFROM scratch as x\n", None, lint);
    assert_eq!(violation.warnings, 1);
    assert!(violation.error.unwrap().contains("lint violation found for rules: FromAsCasing"));
    let json = ask("FROM scratch\nCOYP\n", None, lint).json;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
    // What is only ours is not where the error is.
    let json = ask("# check=error=true\nFROM scratch as x\nARG T # note\n", None, lint).json;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(json["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
}

/// More than the stack of a thread has room for calls.
#[test]
fn arguments_made_of_others() {
    let chain = (1..20_000).map(|n| format!("ARG a{n}=$a{}\n", n - 1));
    let file = "ARG a0=x\n".to_owned() + &chain.collect::<String>() + "FROM $a19999\n";
    let answer = ask(&file, None, |question| outline(question).unwrap());
    assert!(answer.text.contains("a19999      x"), "{}", &answer.text[..100]);
    assert_eq!(answer.text.lines().count(), 20_000 + 2);
}

/// Thousands of stages, each from the one above and with all that it leaves.
#[test]
fn stages_on_stages() {
    let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let begun = seconds();
    let stages = |line: &str| {
        let next =
            (1..9_000).map(|n| format!("FROM s{} AS s{n}\n{}", n - 1, line.replace('#', &n.to_string())));
        "FROM scratch AS s0\n".to_owned() + &next.collect::<String>()
    };
    assert!(ask(&stages(""), None, outline).is_ok());
    assert!(ask(&stages(""), Some("s8999"), lint).error.is_none());
    let error = ask(&stages("ENV v#=1\n"), None, |question| outline(question).unwrap_err());
    assert_eq!(error.message, "variables and steps of the file come to more than 64 MiB");
    assert!(seconds() - begun < 30, "{} s", seconds() - begun);
}
