//! What command lines of builds name: Dockerfiles and ignore files that lie elsewhere, contexts by the names of images, old
//! repositories; and what they answer to programs.

use serde_json::Value;
use testkit::{Host, Mode};

use crate::bake::web;

#[test]
fn a_dockerfile_elsewhere_brings_its_ignore_file() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    for name in ["a", "b"] {
        host.file(&format!("ctx/{name}"), name);
    }
    host.file("ctx/.dockerignore", "b\n");
    host.file("other/X", "FROM busybox\nCOPY . /x\nRUN echo there: $(ls /x)\n");
    let built = |file: &str| host.dhow(&["build", "--no-cache", "--progress=plain", "-f", file, "ctx"]).run();
    let seen = built("other/X");
    assert!(seen.stderr.contains("there: a\n"), "{}", seen.stderr);
    host.file("other/X.dockerignore", "a\n");
    let seen = built("other/X");
    assert!(seen.stderr.contains("there: b\n"), "{}", seen.stderr);
    // One on a web server has none.
    let url = format!(
        "http://127.0.0.1:{}/Dockerfile",
        web(std::fs::read(host.home().join("other/X")).unwrap(), 1)
    );
    let seen = built(&url);
    assert!(seen.code == 0 && seen.stderr.contains("there: a\n"), "{}", seen.stderr);
}

#[test]
fn contexts_are_named_as_images_are() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let names = ["zz", "zz:latest", "library/zz", "docker.io/library/zz", "docker.io/library/zz:latest"];
    for (at, from) in names.iter().enumerate() {
        host.file("ctx/Dockerfile", format!("FROM {from}\nRUN echo replaced\n"));
        let context = format!("{}=docker-image://busybox", names[names.len() - 1 - at]);
        let seen =
            host.dhow(&["build", "--no-cache", "--progress=plain", "--build-context", &context, "ctx"]).run();
        assert!(seen.code == 0 && seen.stderr.contains("replaced\n"), "{from}, {context}: {}", seen.stderr);
    }
    let error = host.dhow(&["build", "--build-context", "Foo=ctx", "ctx"]).fails(1);
    assert!(error.contains("invalid context name Foo: "), "{error}");
}

#[test]
fn old_flaws_of_histories_are_no_reason_not_to_build() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("old/Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    let make = "cd old && git init -qb main . && git add . && tree=$(git write-tree) && \
        printf 'tree %s\\nauthor A <a@b> 1136214245 +051800\\ncommitter A <a@b> 1136214245 +051800\\n\\nx\\n' $tree | \
        git hash-object -t commit -w --stdin --literally | xargs git update-ref refs/heads/main";
    host.program("sh", &["-c", make]).ok();
    let url = format!("file://{}/old/.git#main", host.home().display());
    host.dhow(&["build", "-t", "old", &url]).ok();
}

#[test]
fn programs_read_answers_and_errors() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox AS Base\nARG WHO=me\nRUN exit 3\n");
    host.file(
        "docker-bake.hcl",
        "group \"default\" { targets = [\"a\", \"b\"] }\n\
         target \"a\" {\n  context = \"ctx\"\n  description = \"first\"\n}\n\
         target \"b\" {\n  context = \"ctx\"\n  args = { BUILDKIT_DOCKERFILE_CHECK = \"skip=all\" }\n}\n",
    );
    let asked = |call: &str, code: u8| -> Value {
        let seen = host.dhow(&["bake", "--call", &format!("{call},format=json")]).run();
        assert_eq!(seen.code, i32::from(code), "{call}: {}{}", seen.stdout, seen.stderr);
        serde_json::from_str(&seen.stdout).expect("one document")
    };
    let found = asked("check", 1);
    assert_eq!(found["group"]["default"]["targets"], serde_json::json!(["a", "b"]));
    assert_eq!(found["target"]["a"]["build"]["context"], "ctx");
    assert_eq!(found["target"]["a"]["check"]["warnings"][0]["ruleName"], "StageNameCasing");
    assert!(found["target"]["b"]["check"]["warnings"].as_array().is_none_or(Vec::is_empty), "{found}");
    assert_eq!(asked("outline", 0)["target"]["b"]["outline"]["args"][0]["name"], "WHO");
    assert_eq!(asked("targets", 0)["target"]["a"]["targets"]["targets"][0]["name"], "base");
    let text = host.dhow(&["bake", "--call", "outline"]).ok();
    assert!(text.starts_with("a\nfirst\n\n") && text.contains("\nb\n\n"), "{text}");
    // A build that fails says so in JSON, and in one line for people.
    let seen = host.dhow(&["build", "--progress=rawjson", "ctx"]).run();
    let (json, other): (Vec<&str>, Vec<&str>) =
        seen.stderr.lines().partition(|line| serde_json::from_str::<Value>(line).is_ok());
    assert!(seen.code == 1 && json.len() > 2, "{}", seen.stderr);
    assert!(
        other.len() == 1 && other[0].starts_with("ERROR: ") && other[0].contains("exit code: 3"),
        "{other:?}"
    );
}
