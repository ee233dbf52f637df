//! What command lines of builds name: Dockerfiles and ignore files that lie elsewhere, contexts by the names of images, old
//! repositories; and what they answer to programs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use testkit::{Host, Mode};

use crate::bake::given;

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
    let url = format!("http://{}/Dockerfile", given(&std::fs::read(host.home().join("other/X")).unwrap(), 1));
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
fn files_of_private_servers_are_added() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let (elsewhere, elsewhere_saw) = guarded(None);
    let (server, saw) = guarded(Some(elsewhere));
    host.file(
        "ctx/Dockerfile",
        format!("FROM busybox\nADD http://127.0.0.1:{server}/file /f\nRUN grep -q content /f\n"),
    );
    let error = host.dhow(&["build", "ctx"]).fails(1);
    assert!(error.contains("401"), "{error}");
    let secret = ["build", "--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN", "ctx"];
    host.dhow(&secret).env("TOKEN", "s3cr3t-c4n4ry").ok();
    assert!(saw.lock().unwrap().iter().any(|head| head.contains("authorization: Bearer s3cr3t-c4n4ry")));
    // Where it leads to is another server, which must not see it.
    let seen = elsewhere_saw.lock().unwrap().join("\n");
    assert!(seen.contains("GET /file") && !seen.contains("s3cr3t"), "{seen}");
    host.program("grep", &["-rqF", "s3cr3t-c4n4ry", "root"]).fails(1);
}

/// A web server: with somewhere to lead to, it does so for whoever has a token; else it gives a file to everybody. Its port, and the
/// requests that it saw.
fn guarded(leads_to: Option<u16>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let saw = Arc::new(Mutex::new(Vec::new()));
    let seen = saw.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let answer = match leads_to {
                None => "200 OK\r\ncontent-length: 7\r\n\r\ncontent".to_owned(),
                Some(port) if head.contains("authorization: Bearer ") => {
                    format!(
                        "302 Found\r\nlocation: http://127.0.0.1:{port}/file\r\ncontent-length: 0\r\n\r\n"
                    )
                }
                Some(_) => "401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            seen.lock().unwrap().push(head);
            let _ = stream.write_all(
                format!("HTTP/1.1 {answer}").replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes(),
            );
        }
    });
    (port, saw)
}

/// Some servers compress what they send without being asked: it is the plain file that is added.
#[test]
fn what_was_compressed_for_the_way_is_added_as_it_was() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("text", "plain");
    host.program("gzip", &["-n", "text"]).ok();
    let packed = std::fs::read(host.home().join("text.gz")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let coding = match buffer[..count].starts_with(b"GET /coded") {
                true => "content-encoding: gzip\r\n",
                false => "",
            };
            let length = packed.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{coding}content-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&packed));
        }
    });
    let dockerfile = format!(
        "FROM busybox\nADD --keep-git-dir=true http://127.0.0.1:{port}/coded http://127.0.0.1:{port}/file.gz /\n\
         RUN test $(cat /coded) = plain && test $(gunzip -c /file.gz) = plain\n"
    );
    host.file("ctx/Dockerfile", dockerfile);
    host.dhow(&["build", "ctx"]).ok();
}

#[test]
fn the_repository_of_a_context_is_told() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/app/Dockerfile", "FROM busybox\n");
    let git = "cd ctx && git init -qb main . && git add . && git -c user.name=x -c user.email=x@x commit -qm x && \
        git remote add origin https://me:hidden@example.com/a.git";
    host.program("sh", &["-c", git]).ok();
    host.dhow(&["build", "--provenance=true", "--metadata-file=md", "-t", "told", "ctx/app"])
        .env("BUILDX_GIT_LABELS", "1")
        .ok();
    let text = std::fs::read_to_string(host.home().join("md")).unwrap();
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let told = &metadata["buildx.build.provenance"]["runDetails"]["metadata"]["buildkit_metadata"]["vcs"];
    assert_eq!(told["source"], "https://example.com/a.git", "{text}");
    assert_eq!(told["localdir:context"], "app");
    let labels = host.dhow(&["inspect", "-f", "{{json .Config.Labels}}", "told"]).ok();
    let revision = told["revision"].as_str().unwrap();
    assert!(
        labels.contains(revision) && labels.contains("app/Dockerfile") && !labels.contains("hidden"),
        "{labels}"
    );
}

/// What `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` names says which sources there are, also for what is in the cache.
#[test]
fn a_policy_decides_about_sources() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/f", "f");
    let build = |rules: &str, text: &str| {
        host.file("policy.json", format!("{{\"version\": 1, \"rules\": [{rules}]}}"));
        host.file("ctx/Dockerfile", text);
        let command = host.dhow(&["build", "--progress=plain", "-t", "result", "ctx"]);
        command.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json").run()
    };
    let busybox = "docker-image://docker.io/library/busybox:latest";
    let rule = |action: &str, name: &str| {
        format!("{{\"action\": \"{action}\", \"selector\": {{\"identifier\": \"{name}\"}}}}")
    };
    let convert = |from: &str, to: &str| {
        rule("CONVERT", from).replacen("}}", &format!("}}, \"updates\": {{\"identifier\": \"{to}\"}}}}"), 1)
    };
    let plain = "FROM busybox\nCOPY f /\n";
    assert_eq!(build("", plain).code, 0);
    let denied = |rules: &str, text: &str, source: &str| {
        let ended = build(rules, text);
        let says = format!("source \"{source}\" denied by policy");
        assert!(ended.code == 1 && ended.stderr.contains(&says), "{source}: {}", ended.stderr);
    };
    denied(&rule("DENY", "docker-image://*"), plain, busybox);
    denied(&rule("DENY", "local://*"), plain, "local://dockerfile");
    // By the digest that the name stands for.
    let digest = host.dhow(&["build", "-q", "-t", "pinned", "ctx"]).ok();
    assert!(digest.starts_with("sha256:"), "{digest}");
    let by_digest = build(&rule("DENY", "docker-image://docker.io/library/pinned:latest@*"), "FROM pinned\n");
    assert!(
        by_digest.code == 1 && by_digest.stderr.contains("pinned:latest@sha256:"),
        "{}",
        by_digest.stderr
    );
    let but = [rule("DENY", "docker-image://*"), rule("ALLOW", &format!("{busybox}*"))].join(",");
    assert_eq!(build(&but, plain).code, 0, "the last that fits counts");
    let url = "FROM scratch\nADD http://127.0.0.1:1/file /d/\n";
    denied(&rule("DENY", "http://*"), url, "http://127.0.0.1:1/file");
    let git = "FROM scratch\nADD https://127.0.0.1:1/a/b.git#main /d/\n";
    denied(&rule("DENY", "git://*"), git, "git://127.0.0.1:1/a/b.git#main");
    let other = "docker-image://docker.io/library/other:";
    let built = build(
        &convert(&format!("{other}*"), "docker-image://docker.io/library/busybox:${1}"),
        "FROM other\nCOPY f /\n",
    );
    assert!(built.code == 0 && built.stderr.contains("CACHED"), "{}", built.stderr);
    // Neither an id nor a layout is a way around, and nobody asks for what is not read.
    let id = host.type_in("images -q --no-trunc busybox").ok();
    let id = id.trim().trim_start_matches("sha256:");
    denied(
        &rule("DENY", "docker-image://*"),
        &format!("FROM {id}\n"),
        &format!("docker-image://docker.io/library/sha256:{id}"),
    );
    assert_eq!(build(&rule("DENY", "local://context"), "FROM busybox\nRUN true\n").code, 0);
    denied(&rule("DENY", "local://context"), plain, "local://context");
    host.dhow(&["build", "-o", "type=oci,dest=layout,tar=false", "ctx"]).ok();
    let layout = |rules: &str| {
        host.file("policy.json", format!("{{\"Rules\": [{rules}]}}"));
        host.file("ctx/Dockerfile", "FROM lay\n");
        let command = host.dhow(&["build", "--build-context", "lay=oci-layout://layout", "ctx"]);
        command.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "policy.json").run()
    };
    let refused = layout(&rule("DENY", "oci-layout://*").to_uppercase().replace("OCI-LAYOUT", "oci-layout"));
    assert!(refused.code == 1 && refused.stderr.contains("denied by policy"), "{}", refused.stderr);
    assert_eq!(layout(&rule("DENY", "docker-image://*")).code, 0);
    let bad = build(&rule("MAYBE", "x"), plain);
    assert!(bad.code == 1 && bad.stderr.contains("invalid action"), "{}", bad.stderr);
}

/// Of a list, what the processor runs too is better than nothing.
#[test]
fn a_base_for_an_older_processor() {
    let host = Host::new(Mode::Embedded);
    host.file("multi/f", "f");
    host.file("multi/Dockerfile", "FROM scratch\nCOPY f /\n");
    host.dhow(&["build", "--platform", "linux/386,linux/s390x", "-t", "two:1", "multi"]).ok();
    host.file("ctx/g", "g");
    host.file("ctx/Dockerfile", "FROM two:1\nCOPY g /\n");
    let build = |platform: &str| host.dhow(&["build", "--platform", platform, "-t", "on:1", "ctx"]).run();
    let built = build("linux/amd64");
    assert_eq!(built.code, 0, "{}", built.stderr);
    let platform = host.dhow(&["inspect", "-f", "{{.Architecture}}", "on:1"]).ok();
    assert_eq!(platform, "amd64");
    let refused = build("linux/arm64");
    assert!(refused.code == 1 && refused.stderr.contains("two:1"), "{}", refused.stderr);
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

/// As buildx has it, so that what somebody forgot is not taken for something else.
#[test]
fn flags_that_mean_nothing_are_errors() {
    let host = Host::new(Mode::Embedded);
    host.file("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    for (flags, want) in [
        (["--build-arg", "=x"], "invalid key-value pair \"=x\": empty key"),
        (["--quiet", "--progress=plain"], "progress=plain and quiet cannot be used together"),
    ] {
        let error = host.dhow(&["build", flags[0], flags[1], "ctx"]).fails(1);
        assert!(error.contains(want), "{flags:?}: {error}");
    }
    host.dhow(&["build", "--quiet", "--progress=auto", "ctx"]).ok();
    // Several images in one word: each is asked for.
    let (one, one_saw) = guarded(None);
    let (other, other_saw) = guarded(None);
    let caches = format!("127.0.0.1:{one}/a,127.0.0.1:{other}/b");
    host.dhow(&["build", "--cache-from", &caches, "ctx"]).ok();
    assert!(!one_saw.lock().unwrap().is_empty() && !other_saw.lock().unwrap().is_empty());
}
