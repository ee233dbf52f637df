//! Several builds at once, and questions to Dockerfiles wherever they lie.

use testkit::{Host, web};

in_every_mode! {
    targets_are_built_side_by_side
    platforms_are_built_side_by_side
    a_limit_counts_for_all_targets
    dockerfiles_elsewhere_are_asked
    an_archive_is_imported_from_a_server
    what_was_meant_is_guessed
    an_agent_belongs_to_whom_the_mount_says
    what_a_definition_asks_for_must_be_allowed
    definitions_come_from_elsewhere
}

/// Waits in a cache mount for the other one: nobody gets through alone.
const MEET: &str = "RUN --mount=type=cache,target=/meet touch /meet/$ME; \
    i=0; until test -e /meet/$OTHER; do i=$((i+1)); test $i -lt 300 || exit 7; sleep 0.1; done\n";

fn targets_are_built_side_by_side(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", format!("FROM busybox\nARG ME OTHER\n{MEET}RUN echo $ME >/me\n"));
    host.file("ctx/last", "FROM a AS x\nFROM busybox\nCOPY --from=x /me /a\nCOPY --from=b /me /b\n");
    host.file(
        "docker-bake.hcl",
        r#"group "default" { targets = ["last"] }
target "one" {
  context = "ctx"
  args = { ME = "one", OTHER = "two" }
}
target "two" {
  context = "ctx"
  args = { ME = "two", OTHER = "one" }
}
target "last" {
  context = "ctx"
  dockerfile = "last"
  tags = ["both"]
  contexts = { a = "target:one", b = "target:two" }
}
"#,
    );
    let seen = host.dhow(&["bake", "--progress=plain", "--metadata-file", "told"]).run();
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    for name in ["[one 2/3] RUN", "[two 3/3] RUN", "[last stage-1 2/3] COPY", "[last] exporting to image"] {
        assert!(seen.stderr.contains(name), "{name}: {}", seen.stderr);
    }
    assert_eq!(host.dhow(&["run", "--rm", "both", "cat", "/a", "/b"]).ok(), "one\ntwo");
    let told = std::fs::read_to_string(host.home().join("told")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&told).unwrap();
    for (name, file) in [("one", "Dockerfile"), ("last", "last")] {
        let source = "/buildx.build.provenance/buildDefinition/externalParameters/configSource/path";
        assert_eq!(document[name].pointer(source), Some(&file.into()), "{told}");
    }
    // What fails says whose it is, and ends the others.
    host.file("ctx/fails", "FROM busybox\nRUN exit 9\n");
    let spec = ["--set=one.args.OTHER=nobody", "--set=two.dockerfile=fails"];
    let seen = host.dhow(&["bake", "--no-cache", "--progress=plain", spec[0], spec[1]]).run();
    assert_eq!(seen.code, 1, "{}", seen.stderr);
    assert!(seen.stderr.contains("target two: ") && seen.stderr.contains("CANCELED"), "{}", seen.stderr);
}

fn platforms_are_built_side_by_side(host: &Host) {
    host.busybox();
    let file = format!(
        "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETARCH\n\
         RUN echo shared >/shared\nENV ME=$TARGETARCH\n\
         RUN if test $ME = amd64; then echo riscv64; else echo amd64; fi >/other\n\
         {}FROM scratch\nCOPY --from=make /other /\n",
        MEET.replace("$OTHER", "$(cat /other)")
    );
    host.file("ctx/Dockerfile", file);
    let platforms = "linux/amd64,linux/riscv64";
    let seen = host.dhow(&["build", "--progress=plain", "--platform", platforms, "ctx"]).run();
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    // What is the same for both is made once.
    assert_eq!(seen.stderr.matches("RUN echo shared").count(), 2, "{}", seen.stderr);
    assert!(seen.stderr.contains("[linux/riscv64 stage-1 1/1] COPY"), "{}", seen.stderr);
}

fn a_limit_counts_for_all_targets(host: &Host) {
    host.busybox();
    // Whoever is not alone fails.
    let busy = "RUN --mount=type=cache,target=/c mkdir /c/busy && sleep 0.3 && rmdir /c/busy\n";
    host.file("ctx/Dockerfile", format!("FROM busybox\nARG ME\n{busy}"));
    host.file(
        "docker-bake.hcl",
        r#"group "default" { targets = ["t"] }
target "t" {
  matrix = { n = ["a", "b", "c"] }
  name = "t-${n}"
  context = "ctx"
  args = { ME = n }
}
"#,
    );
    host.dhow(&["bake", "--jobs", "1"]).ok();
}

fn an_archive_is_imported_from_a_server(host: &Host) {
    let server = given(&testkit::busybox(), 3);
    let url = format!("http://{server}/root.tar");
    let words = ["import", "-c", "ENV A=b", "-m", "from afar", "--platform", "linux/amd64", &url, "far:1"];
    assert!(host.dhow(&words).ok().contains("sha256:"));
    assert_eq!(host.dhow(&["run", "--rm", "far:1", "sh", "-c", "echo $A"]).ok(), "b");
    assert!(host.dhow(&["history", "--no-trunc", "far:1"]).ok().contains("from afar"));
    // Without a message it says where it is from, and nobody's password.
    host.dhow(&["import", &format!("http://me:hidden@{server}/root.tar"), "far:2"]).ok();
    let comment = host.dhow(&["image", "inspect", "-f", "{{.Comment}}", "far:2"]).ok();
    assert_eq!(comment, format!("Imported from http://{server}/root.tar"));
    let error = host.dhow(&["import", "http://127.0.0.1:1/none"]).fails(1);
    assert!(error.contains("http://127.0.0.1:1/none"), "{error}");
}

fn what_was_meant_is_guessed(host: &Host) {
    host.busybox();
    let hint = |file: &str, want: &str, arguments: &[&str]| {
        host.file("ctx/Dockerfile", file);
        let seen = host.dhow(&[&["build"], arguments, &["ctx"]].concat()).run();
        assert!(seen.stderr.contains(want), "{file}: {}", seen.stderr);
    };
    let base = "FROM busybox AS builder\n";
    hint(&format!("{base}FROM bulider\n"), "did you mean the stage builder?", &[]);
    hint(&format!("{base}FROM scratch\nCOPY --from=bilder /x /\n"), "did you mean the stage builder?", &[]);
    let mount = "FROM busybox\nRUN --mount=from=buildr,target=/x true\n";
    hint(&format!("{base}{mount}"), "did you mean the stage builder?", &[]);
    hint(base, "did you mean builder?", &["--target=buidler"]);
    hint("FROM busybox\nARG VERSION\n", "did you mean VERSION?", &["--build-arg=VERSOIN=1"]);
    hint("FROM busybox\nCOPY --chwon=1 x /\n", "did you mean chown?", &[]);
}

fn an_agent_belongs_to_whom_the_mount_says(host: &Host) {
    host.busybox();
    let socket = host.home().join("agent.sock");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh stat -c %a:%u:%g $SSH_AUTH_SOCK >/one\n\
         RUN --mount=type=ssh,id=k,target=/agent,uid=1000,gid=50,mode=0660 stat -c %a:%u:%g:%n $SSH_AUTH_SOCK >/two\n",
    );
    let given = format!("k={}", socket.display());
    let default = format!("default={}", socket.display());
    host.dhow(&["build", "--ssh", &given, "--ssh", &default, "-t", "agents", "ctx"]).ok();
    let seen = host.dhow(&["run", "--rm", "agents", "cat", "/one", "/two"]).ok();
    assert_eq!(seen, "600:0:0\n660:1000:50:/agent");
}

fn what_a_definition_asks_for_must_be_allowed(host: &Host) {
    host.busybox();
    host.file("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s >/s\n");
    host.file(
        "docker-bake.hcl",
        "target \"default\" {\n  tags = [\"asked\"]\n  secret = [\"id=s,src=/etc/passwd\"]\n}\n\
         target \"net\" {\n  dockerfile-inline = \"FROM busybox\\nRUN true\"\n  network = \"host\"\n}\n",
    );
    let bake = |words: &[&str]| host.dhow(&[&["bake", "--progress=plain"], words].concat()).run();
    let seen = bake(&[]);
    assert_eq!(seen.code, 1, "{}", seen.stderr);
    for part in
        ["Read access to path /etc/passwd", "--allow=fs.read=/etc/passwd", "additional privileges requested"]
    {
        assert!(seen.stderr.contains(part), "{part}: {}", seen.stderr);
    }
    let seen = bake(&["--allow", "fs.read=/etc"]);
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    assert!(host.dhow(&["run", "--rm", "asked", "cat", "/s"]).ok().starts_with("root:"));
    // What the command line names itself is allowed by that.
    let seen = bake(&["--set", "default.secret.s=src=/etc/passwd"]);
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    let seen = bake(&["net"]);
    assert!(seen.code == 1 && seen.stderr.contains("--allow=network.host"), "{}", seen.stderr);
    let seen = bake(&["--allow", "network.host", "net"]);
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    let seen = bake(&["--allow", "nonsense", "net"]);
    assert!(
        seen.code == 1 && seen.stderr.contains("unknown entitlement key \"nonsense\""),
        "{}",
        seen.stderr
    );
    // What is wrong is shown where it stands.
    host.file("docker-bake.hcl", "target \"default\" {\n  tags = [nothing]\n}\n");
    let seen = bake(&["--print"]);
    let want = "   2 | >>>   tags = [nothing]";
    assert!(seen.code == 1 && seen.stderr.contains(want), "{}", seen.stderr);
    let want = "ERROR: docker-bake.hcl:2,11-18: Unknown variable; There is no variable named \"nothing\".";
    assert!(seen.stderr.contains(want), "{}", seen.stderr);
}

fn definitions_come_from_elsewhere(host: &Host) {
    host.busybox();
    let text = "target \"default\" {\n  context = \"sub\"\n  tags = [\"far\"]\n}\n\
                target \"near\" {\n  context = BAKE_CMD_CONTEXT\n  tags = [\"near\"]\n  dockerfile = \"cwd://D\"\n}\n";
    host.file("repo/docker-bake.hcl", text);
    host.file("repo/sub/Dockerfile", "FROM busybox\nCOPY file /\n");
    host.file("repo/sub/file", "of the repository");
    host.file("D", "FROM busybox\nRUN echo here >/file\n");
    let git =
        "cd repo && git init -qb main . && git add . && git -c user.name=x -c user.email=x@x commit -qm x";
    host.program("sh", &["-c", git]).ok();
    let url = format!("file://{}/repo/.git#main", host.home().display());
    let printed = host.dhow(&["bake", "--print", &url]).ok();
    assert!(printed.contains(&format!("{url}:sub")), "{printed}");
    host.dhow(&["bake", &url, "default", "near"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "far", "cat", "/file"]).ok(), "of the repository");
    assert_eq!(host.dhow(&["run", "--rm", "near", "cat", "/file"]).ok(), "here");
    // One file, and standard input.
    let url = format!("http://{}/docker-bake.hcl", given(text.as_bytes(), 1));
    let printed = host.dhow(&["bake", "--print", &url, "near"]).ok();
    assert!(printed.contains("\"near\"") && printed.contains("\"cwd://D\""), "{printed}");
    let seen = host.dhow(&["bake", "--print", "-f", "-", "near"]).input(text.as_bytes().to_vec()).run();
    assert!(seen.code == 0 && seen.stdout.contains("near"), "{}", seen.stderr);
}

/// Gives the same bytes to whoever asks, so often: where.
pub fn given(bytes: &[u8], times: usize) -> String {
    web(std::iter::repeat_n(web::found(bytes), times))
}

fn dockerfiles_elsewhere_are_asked(host: &Host) {
    host.file(
        "ctx/Dockerfile",
        "# About.\nFROM scratch AS base\nARG WHO=me\nfrom base as last\nCOPY hidden /\n",
    );
    host.file("ctx/.dockerignore", "hidden\n");
    host.file("ctx/hidden", "");
    let found = "ConsistentInstructionCasing";
    let checked = |words: &[&str]| {
        let seen = host.dhow(words).run();
        assert!(seen.code == 1 && seen.stdout.contains(found), "{words:?}: {}{}", seen.stdout, seen.stderr);
        assert!(seen.stdout.contains("CopyIgnoredFile"), "{words:?}: {}", seen.stdout);
    };
    checked(&["build", "--check", "ctx"]);
    host.program("tar", &["cf", "ctx.tar", "-C", "ctx", "."]).ok();
    let tar = std::fs::read(host.home().join("ctx.tar")).unwrap();
    let url = format!("http://{}/ctx.tar", given(&tar, 2));
    checked(&["build", "--check", &url]);
    assert!(host.dhow(&["build", "--call=targets", &url]).ok().contains("last"));
    let seen = host.dhow(&["build", "--check", "-"]).input(tar).run();
    assert!(seen.code == 1 && seen.stdout.contains("CopyIgnoredFile"), "{}{}", seen.stdout, seen.stderr);
    let git =
        "cd ctx && git init -qb main . && git add . && git -c user.name=x -c user.email=x@x commit -qm x";
    host.program("sh", &["-c", git]).ok();
    let url = format!("file://{}/ctx/.git#main", host.home().display());
    checked(&["build", "--check", &url]);
    assert!(host.dhow(&["build", "--call=outline", &url]).ok().contains("WHO"));
    let error = host.dhow(&["build", "--check", &format!("{url}:nowhere")]).fails(1);
    assert!(error.contains("nowhere"), "{error}");
    // Nothing was built, and nothing is left of what was fetched.
    assert_eq!(host.type_in("images -aq").ok(), "");
}
