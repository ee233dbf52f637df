//! What Dockerfiles say without being built, what builds warn of, and the corners of the language.

use testkit::Host;

in_every_mode! {
    a_dockerfile_is_asked
    builds_tell_their_warnings
    dockerfiles_are_linted
    options_hold_variables
    here_documents_of_every_form
    triggers_run_where_they_should
}

fn a_dockerfile_is_asked(host: &Host) {
    host.busybox();
    host.file("ctx/.dockerignore", "secret\n");
    host.file(
        "ctx/Dockerfile",
        "# syntax=docker/dockerfile:1\nARG TAG=latest\n# build makes it\nFROM busybox:$TAG AS build\n\
         ENV PATH=$PAHT:/x\nCOPY secret /\n# LEVEL how much\nARG LEVEL=3\nRUN --mount=type=secret,id=key,required true\n\
         FROM scratch AS empty\n",
    );
    let checked = host.dhow(&["build", "--check", "ctx"]).run();
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    assert!(
        checked.stdout.starts_with("Check complete, 2 warnings have been found!\n\nWARNING: UndefinedVar\n")
    );
    assert!(
        checked.stdout.contains("Usage of undefined variable '$PAHT' (did you mean $PATH?)\nDockerfile:5\n")
    );
    assert!(checked.stdout.contains("excluded by .dockerignore"), "{}", checked.stdout);
    assert_eq!(
        host.dhow(&["build", "--check", "--target", "empty", "ctx"]).ok(),
        "Check complete, no warnings found."
    );
    let quiet = ["build", "--call=check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", "ctx"];
    assert_eq!(host.dhow(&quiet).ok(), "Check complete, no warnings found.");
    let json = host.dhow(&["build", "--call=check,format=json,ignorestatus=true", "ctx"]).ok();
    assert!(json.contains("\"ruleName\": \"CopyIgnoredFile\"") && json.contains("\"line\": 6"), "{json}");
    assert_eq!(
        host.dhow(&["build", "--call=outline", "--target=build", "ctx"]).ok().lines().collect::<Vec<_>>(),
        [
            "TARGET:      build",
            "DESCRIPTION: makes it",
            "",
            "BUILD ARG   VALUE    DESCRIPTION",
            "TAG         latest   ",
            "LEVEL       3        how much",
            "",
            "SECRET   REQUIRED",
            "key      true",
        ]
    );
    let targets = host.dhow(&["build", "--call", "targets", "ctx"]).ok();
    assert_eq!(
        targets.lines().map(str::trim_end).collect::<Vec<_>>(),
        ["TARGET          DESCRIPTION", "build           makes it", "empty (default)",]
    );
    let error = host.dhow(&["build", "--check", "-"]).input("FROM scratch\nCOYP a b\n").fails(1);
    assert!(error.contains("line 2: unknown instruction: COYP (did you mean COPY?)"), "{error}");
    // What editors of Windows put ahead is nothing, wherever the file comes from.
    host.file("elsewhere/D", "\u{feff}FROM busybox\nCMD [\"x\"]\n");
    host.dhow(&["build", "--check", "-f", "elsewhere/D", "ctx"]).ok();
    host.dhow(&["build", "--check", "-"]).input("\u{feff}FROM busybox\n").ok();
    // What only shows when steps are made of it, in any stage.
    let wrong = "FROM busybox AS a\nCOPY --from=7 /x /\nFROM scratch\n";
    let error = host.dhow(&["build", "--check", "-"]).input(wrong).fails(1);
    assert!(error.contains("invalid stage index 7\nDockerfile:2\n"), "{error}");
    let error = host.dhow(&["build", "--check", "-"]).input("FROM busybox\nVOLUME $NONE\n").fails(1);
    assert!(error.contains("Dockerfile:2\n"), "{error}");
    let bad = "FROM scratch AS Bad\nMAINTAINER me\nCOYP a b\n";
    let checked = host.dhow(&["build", "--call=lint,format=json", "-"]).input(bad).run();
    assert!(checked.stdout.contains("StageNameCasing") && checked.stdout.contains("buildError"));
    let failed = host.dhow(&["build", "--progress=plain", "-"]).input(bad).fails(1);
    assert!(failed.contains("MaintainerDeprecated") && failed.contains("StageNameCasing"), "{failed}");
    let error = host.dhow(&["build", "--call=outline", "--target=bild", "ctx"]).fails(1);
    assert!(error.contains("target stage \"bild\" could not be found (did you mean build?)"), "{error}");
    assert!(!host.type_in("images").ok().contains("<none>"), "nothing was built");
}

fn builds_tell_their_warnings(host: &Host) {
    host.busybox();
    let build = |arguments: &[&str], text: &str| {
        host.dhow(&[&["build", "--progress=plain"], arguments, &["-"]].concat()).input(text).run()
    };
    let unused = "FROM busybox AS Unused\nCMD x\nFROM busybox\nLABEL a b\n";
    let told = build(&[], unused);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stderr.contains("Stage name 'Unused' should be lowercase"), "{}", told.stderr);
    assert!(told.stderr.contains("LABEL key=value"), "{}", told.stderr);
    assert!(!told.stderr.contains("JSON arguments recommended"), "the stage is not built: {}", told.stderr);
    let strict = "# check=error=true\nFROM busybox as x\nWORKDIR y\n";
    let failed = build(&[], strict);
    assert_eq!(failed.code, 1);
    let message = "lint violation found for rules: FromAsCasing, WorkdirRelativePath";
    assert!(failed.stderr.contains(message), "{}", failed.stderr);
    let skipped = build(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all;error=true"], strict);
    assert_eq!(skipped.code, 0, "{}", skipped.stderr);
    let wrong = build(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skpi=all"], strict);
    assert!(wrong.stderr.contains("invalid check option \"skpi\""), "{}", wrong.stderr);
}

fn dockerfiles_are_linted(host: &Host) {
    host.file(
        "a/Dockerfile",
        "FROM debian\n# hadolint ignore=DL3020\nADD x /x\nRUN cd /x && sudo make\nCMD run\n",
    );
    let lint = |arguments: &[&str]| host.dhow(&[&["lint", "a/Dockerfile"], arguments].concat()).run();
    let found = lint(&[]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    let rules: Vec<&str> = found.stdout.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(rules, ["DL3006", "DL3003", "DL3004", "DL3025"]);
    assert_eq!(lint(&["--ignore", "DL3004", "-t", "error"]).code, 0);
    assert_eq!(lint(&["--no-fail"]).code, 0);
    assert!(lint(&["--disable-ignore-pragma"]).stdout.contains("DL3020"));
    assert!(lint(&["--style", "DL3025"]).stdout.contains("DL3025 style:"));
    assert!(lint(&["--require-label", "author:email"]).stdout.contains("DL3049"));
    assert!(lint(&["--build-checks"]).stdout.contains("JSONArgsRecommended"));
    host.file("settings.yaml", "ignored: [DL3003, DL3004, DL3006, DL3025]\n");
    let settled = lint(&["-c", "settings.yaml", "-f", "checkstyle"]);
    assert_eq!(settled.code, 0);
    assert!(settled.stdout.ends_with("<file name=\"a/Dockerfile\"/></checkstyle>\n"), "{}", settled.stdout);
    let stdin = host.dhow(&["lint", "-", "-f", "json"]).input("FROM a:1\nRUNN x\n").run();
    assert_eq!(stdin.code, 1);
    assert!(stdin.stdout.contains("\"code\":\"DL1000\",\"column\":1,\"file\":\"-\""), "{}", stdin.stdout);
    assert!(lint(&["-f", "xml"]).stderr.contains("invalid format: xml"));
}

fn options_hold_variables(host: &Host) {
    host.busybox();
    host.file("ctx/script", "x");
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nARG KIND=cache DIR=/kept MODE=0750\n\
         RUN --mount=type=$KIND,target=${DIR},mode=$MODE stat -c %a $DIR > /mode\n\
         ARG PERMISSIONS=u=rwx,g=u,o=\nCOPY --chmod=$PERMISSIONS script /script\n\
         RUN hostname > /name\nEXPOSE 8080 53/\n",
    );
    let arguments =
        ["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=maker", "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=team"];
    host.dhow(&[&["build", "-t", "options"], &arguments[..], &["ctx"]].concat()).ok();
    let look = ["run", "--rm", "options", "sh", "-c", "cat /mode /name; stat -c %a /script"];
    assert_eq!(host.dhow(&look).ok(), "750\nmaker\n770");
    let ports = host.dhow(&["inspect", "-f", "{{json .Config.ExposedPorts}}", "options"]).ok();
    assert_eq!(ports, "{\"53/tcp\":{},\"8080/tcp\":{}}");
    let wrong = "FROM busybox\nRUN --mount=type=chache,target=/x true\n";
    let error = host.dhow(&["build", "-"]).input(wrong).fails(1);
    assert!(error.contains("unsupported mount type \"chache\" (did you mean cache?)"), "{error}");
}

fn here_documents_of_every_form(host: &Host) {
    host.busybox();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nARG WHO=you\nRUN <<EOF\nset -e\necho script $WHO > /script\nEOF\n\
         RUN <<-\"TABS\"\n\t#!/bin/sh\n\techo shebang $0 > /shebang\n\tTABS\n\
         RUN cat <<A > /two && cat <<'B' >> /two\n$WHO\nA\n$WHO\nB\n\
         COPY <<one.txt <<-'two.txt' /files/\nto $WHO\none.txt\n\tto $WHO\n\ttwo.txt\n\
         RUN <<X sh\necho read by sh > /sh\nX\n",
    );
    host.dhow(&["build", "-t", "documents", "ctx"]).ok();
    let look = "cat /script /two /files/one.txt /files/two.txt /sh; cut -d' ' -f1 /shebang";
    assert_eq!(
        host.dhow(&["run", "--rm", "documents", "sh", "-c", look]).ok(),
        "script you\nyou\n$WHO\nto you\nto $WHO\nread by sh\nshebang"
    );
}

fn triggers_run_where_they_should(host: &Host) {
    host.busybox();
    let base = "FROM busybox\nONBUILD ARG NAME=nobody\nONBUILD RUN echo $NAME > /name\nONBUILD COPY <<EOF /doc\nfor $NAME\nEOF\n";
    host.dhow(&["build", "-t", "base", "-"]).input(base).ok();
    let child = "FROM base AS child\nRUN test -f /doc\nFROM child\n";
    host.dhow(&["build", "-t", "child", "--build-arg", "NAME=me", "-"]).input(child).ok();
    assert_eq!(host.dhow(&["run", "--rm", "child", "cat", "/name", "/doc"]).ok(), "me\nfor me");
    assert_eq!(host.dhow(&["inspect", "-f", "{{len .Config.OnBuild}}", "child"]).ok(), "0");
    for (line, message) in [
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ] {
        let error = host.dhow(&["build", "-"]).input(format!("FROM busybox\n{line}\n")).fails(1);
        assert!(error.contains(message), "{error}");
    }
}
