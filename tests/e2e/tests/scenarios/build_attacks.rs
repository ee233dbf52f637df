//! Builds of what strangers wrote: contexts, stages, caches and web servers that want out of the build, and the words that
//! a build was told in confidence.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use serde_json::Value;
use testkit::{Host, Mode, web};

const CANARY: &str = "canary-51c7e0";

fn built(host: &Host, dockerfile: &str, more: &[&str]) -> testkit::Output {
    host.file("ctx/Dockerfile", dockerfile);
    host.dhow(&[&["build", "--progress", "plain", "-t", "built"][..], more, &["ctx"]].concat()).run()
}

/// Files of every type and name, links that lead out, ten thousand files, a gigabyte that is not there.
#[test]
fn contexts_of_any_files() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("outside", CANARY);
    let ctx = host.home().join("ctx");
    fs::create_dir_all(ctx.join("many")).unwrap();
    let names: [&[u8]; 4] = [b"new\nline", b"esc\x1b[2J", b"\xff\xfe bytes", &[b'n'; 255]];
    for name in names {
        fs::write(ctx.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    symlink(host.home().join("outside"), ctx.join("absolute")).unwrap();
    symlink("../outside", ctx.join("climbing")).unwrap();
    symlink("loop", ctx.join("loop")).unwrap();
    host.program("mkfifo", &["ctx/fifo"]).ok();
    host.program("mknod", &["ctx/null", "c", "1", "3"]).ok();
    let _socket = std::os::unix::net::UnixListener::bind(ctx.join("socket")).unwrap();
    let deep = ["d"; 200].join("/");
    fs::create_dir_all(ctx.join("deep").join(deep)).unwrap();
    fs::File::create(ctx.join("hole")).unwrap().set_len(4 << 30).unwrap();
    for number in 0..100_000 {
        fs::write(ctx.join(format!("many/{number}")), "").unwrap();
    }

    let all = built(&host, "FROM busybox\nCOPY . /all/\n", &["-o", "out"]);
    assert_eq!(all.code, 0, "{}", all.stderr);
    let out = host.home().join("out/all");
    for name in names {
        assert_eq!(fs::read(out.join(std::ffi::OsStr::from_bytes(name))).unwrap(), b"x");
    }
    assert_eq!(fs::read_link(out.join("climbing")).unwrap(), Path::new("../outside"));
    assert!(out.join("fifo").metadata().unwrap().file_type().is_fifo());
    assert_eq!(fs::read_dir(out.join("many")).unwrap().count(), 100_000);
    let kept = host.program("sh", &["-c", "find root/layers -name hole"]).ok();
    let kept = host.home().join(kept).metadata().unwrap();
    assert!((kept.len(), kept.blocks()) == (4 << 30, 0), "{} blocks", kept.blocks());
    fs::remove_file(ctx.join("hole")).unwrap();

    for source in ["absolute", "climbing", "../outside", "/../../outside", "many/../../outside", "loop"] {
        let refused = built(&host, &format!("FROM busybox\nCOPY {source} /x\nRUN cat /x\n"), &[]);
        assert_eq!(refused.code, 1, "{source}");
        assert!(!refused.stderr.contains(CANARY), "{source}: {}", refused.stderr);
        assert!(refused.stderr.contains("Dockerfile:2"), "{source}: {}", refused.stderr);
    }
    // What is said of such files is no command for a terminal.
    fs::remove_dir_all(ctx.join("many")).unwrap();
    fs::rename(ctx.join("esc\u{1b}[2J"), ctx.join("esc\u{1b}[3J")).unwrap();
    let told = built(&host, "FROM busybox\nCOPY . /all/\n", &["--explain"]);
    assert!(told.code == 0 && !told.stderr.contains('\u{1b}'), "{:?}", told.stderr);
}

/// CVE-2024-23651 and 23652: what is mounted, and what is tidied up after it, is never looked for by a name that a step can
/// change.
#[test]
fn mounts_that_turn_into_links() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let home = host.home().display().to_string();
    host.file("canary/file", CANARY);
    // Where a mount point's remains would be looked for: empty folders, as those that are tidied up.
    fs::create_dir_all(host.home().join("b/c")).unwrap();
    let moved = format!(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b/c mv /a /old; rm -rf /a; ln -s {home} /a; true\n\
         RUN --mount=type=cache,target=/v/b/c rm -rf /v; mv /v /gone; ln -s {home} /v; true\n\
         RUN --mount=type=bind,target=/w/canary/file,source=Dockerfile mv /w /before; rm -rf /w; ln -s {home} /w; true\n"
    );
    let output = built(&host, &moved, &[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(host.home().join("b/c").is_dir());
    assert_eq!(fs::read_to_string(host.home().join("canary/file")).unwrap(), CANARY);

    // A directory that turns into a link to this machine and back while others mount it, as a cache and from a stage.
    let swap = format!(
        "FROM busybox AS swap\nRUN --mount=type=cache,id=race,target=/c mkdir -p /c/d; n=0; \
         while [ $n -lt 200 ]; do mv /c/d /c/e; ln -s {home}/canary /c/d; rm /c/d; mv /c/e /c/d; n=$((n+1)); done; \
         rm -r /c/d; ln -s {home}/canary /c/d; ln -s {home}/canary /link\n"
    );
    let look = "FROM busybox AS look\nRUN --mount=type=cache,id=race,target=/c,source=d n=0; \
                while [ $n -lt 200 ]; do cat /c/file /c/d/file 2>/dev/null; n=$((n+1)); done; true\n";
    let last = "FROM busybox\nCOPY --from=swap /bin/true /1\nCOPY --from=look /bin/true /2\n\
                RUN --mount=type=cache,id=race,target=/c,source=d cat /c/file /c/d/file; true\n";
    let output = built(&host, &[&swap, look, last].concat(), &["--no-cache"]);
    assert!(output.code == 0 && !output.stderr.contains(CANARY), "{}", output.stderr);
    for line in [
        "RUN --mount=type=bind,from=swap,source=/link,target=/x cat /x/file",
        "RUN --mount=type=bind,from=swap,source=/link/file,target=/x cat /x",
        "RUN --mount=type=cache,id=seeded,from=swap,source=/link,target=/x cat /x/file",
        "COPY --from=swap /link/file /x\nRUN cat /x",
    ] {
        let output = built(&host, &[&swap, "FROM busybox\n", line, "\n"].concat(), &[]);
        assert!(output.code == 1 && !output.stderr.contains(CANARY), "{line}: {}", output.stderr);
    }
    assert_eq!(fs::read_dir(host.home().join("canary")).unwrap().count(), 1);
}

/// CVE-2024-1753 and CVE-2024-9407: a stage whose mount source is a link to the root, or to above it, gives its own root and
/// never the machine's; and no word of a mount becomes an option or a path of the mount that a step gets.
#[test]
fn mounts_whose_source_is_the_root_of_everything() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let canary = host.file("canary/file", CANARY);
    let canary = canary.display();
    let stage = "FROM busybox AS evil\nRUN ln -s / /root-link; ln -s ../../../../../.. /up; ln -s /proc/self/root /magic\n";
    for (line, code) in [
        (
            format!(
                "RUN --mount=type=bind,from=evil,source=/root-link,target=/m,rw test ! -e /m{canary} && test -x /m/bin/sh"
            ),
            0,
        ),
        (
            format!(
                "RUN --mount=type=bind,from=evil,source=/up,target=/m,rw test ! -e /m{canary} && test -x /m/bin/sh"
            ),
            0,
        ),
        (format!("RUN --mount=type=bind,from=evil,source=/magic,target=/m,rw cat /m{canary}"), 1),
        (format!("RUN --mount=type=bind,source=../../../../../..,target=/m cat /m{canary}"), 1),
        (format!("RUN --mount=type=bind,from=evil,source=/up/../..{canary},target=/m cat /m"), 1),
        ("RUN --mount=type=bind,from=evil,bind-propagation=/../..,target=/m true".to_owned(), 1),
        ("RUN --mount=type=bind,from=evil,bind-propagation=rshared,target=/m true".to_owned(), 1),
        ("RUN --mount=type=bind,from=evil,source=/,target=/m,Z=x true".to_owned(), 1),
        ("RUN --mount=type=tmpfs,target=/m,size=1m,mode=suid true".to_owned(), 1),
    ] {
        let output = built(&host, &format!("{stage}FROM busybox\n{line}\n"), &[]);
        assert_eq!(output.code, code, "{line}: {}", output.stderr);
        assert!(
            !output.stderr.contains(CANARY) && !output.stdout.contains(CANARY),
            "{line}: {}",
            output.stderr
        );
    }
}

/// What a build is told in confidence is in nothing that it makes or keeps; a step gets no descriptor but its own three.
#[test]
fn secrets_are_nowhere() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.program("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", CANARY, "-f", "key"]).ok();
    host.file("secret", CANARY);
    let dockerfile = format!(
        "FROM busybox AS base\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=WORD --mount=type=ssh \
         --mount=type=cache,target=/kept test \"$WORD\" = {} && cat /run/secrets/s | wc -c > /kept/length && \
         ls /proc/self/fd | wc -l && test -S $SSH_AUTH_SOCK\nFROM base\nRUN echo made > /made\n",
        "\"$(cat /run/secrets/s)\""
    );
    let told = [
        ["--secret", "id=s,src=secret"],
        ["--ssh", "default=key"],
        ["--metadata-file", "metadata.json"],
        ["--provenance=mode=max", "--sbom=true"],
        ["--cache-to", "type=local,dest=cache,mode=max,mounts=true"],
        ["-o", "type=oci,dest=image.tar"],
        ["-o", "type=local,dest=out"],
        ["-o", "type=image"],
    ];
    let output = built(&host, &dockerfile, &told.concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    // Its three, and the folder that is listed.
    assert!(output.stderr.lines().any(|line| line.ends_with(" 4")), "{}", output.stderr);
    let mut said = output.stderr + &output.stdout;
    let failing = "FROM busybox\nRUN --mount=type=secret,id=s,env=WORD --mount=type=secret,id=s test -n \"$WORD\" && exit 3\n";
    let failed = built(&host, failing, &["--secret", "id=s,src=secret"]);
    assert!(failed.stderr.contains("exit code: 3"), "{}", failed.stderr);
    said += &failed.stderr;
    for command in [
        "history --no-trunc built",
        "image inspect built",
        "build history ls",
        "build history logs",
        "build history inspect --format json",
        "buildx du --verbose",
        "events --since 0 --until 1s",
    ] {
        let answer = host.type_in(command).run();
        said += &(answer.stdout + &answer.stderr);
    }
    assert!(!said.contains(CANARY), "{said}");
    let found = host.program("grep", &["-rla", CANARY, "."]).run().stdout;
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(found, ["./key.pub", "./secret"]);
    // Packed files too.
    for entry in fs::read_dir(host.home().join("cache/blobs/sha256")).unwrap() {
        let unpacked = host.program("gzip", &["-dcf", entry.unwrap().path().to_str().unwrap()]).run();
        assert!(!unpacked.stdout.contains(CANARY));
    }
}

/// What a killed build was told in confidence lies in memory no longer than to the next build or prune.
#[test]
fn secrets_of_killed_builds_are_forgotten() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("secret", CANARY);
    let step = "RUN --mount=type=secret,id=s --mount=type=cache,target=/c test -s /run/secrets/s && touch /c/it-is-there && sleep 1000";
    host.file("ctx/Dockerfile", format!("FROM busybox\n{step}\n"));
    let has_it = || !host.program("find", &["root", "-name", "it-is-there"]).run().stdout.is_empty();
    let kept = || {
        let found = host.program("grep", &["-rl", CANARY, "."]).run().stdout;
        found.lines().filter(|file| *file != "./secret").count()
    };
    let mut build = host.dhow(&["build", "--secret", "id=s,src=secret", "ctx"]).start();
    testkit::eventually("the step has its secret", has_it);
    build.kill().unwrap();
    build.wait().unwrap();
    // The step dies with the build, but a moment later.
    testkit::eventually("a prune finds the build dead", || {
        host.type_in("builder prune -f").ok();
        kept() == 0
    });
    host.type_in("system check").ok();
}

/// A Dockerfile that is none: endless, or a word that nobody else may read.
#[test]
fn dockerfiles_that_are_no_files() {
    let host = Host::new(Mode::Embedded);
    fs::create_dir_all(host.home().join("ctx")).unwrap();
    let link = host.home().join("ctx/Dockerfile");
    symlink("/dev/zero", &link).unwrap();
    for words in [&["build", "ctx"][..], &["build", "--check", "ctx"]] {
        let refused = host.dhow(words).fails(1);
        assert!(refused.contains("Dockerfile is not a regular file"), "{refused}");
    }
    let refused = host.dhow(&["build", "-f", "/dev/zero", "ctx"]).fails(1);
    assert!(refused.contains("/dev/zero: larger than"), "{refused}");
    fs::remove_file(&link).unwrap();
    host.program("mkfifo", &["ctx/Dockerfile"]).ok();
    for words in [
        &["lint", "ctx/Dockerfile"][..],
        &["build", "ctx"],
        &["build", "-f", "ctx/Dockerfile", "."],
        &["build", "--check", "ctx"],
        &["bake", "-f", "ctx/Dockerfile"],
    ] {
        let refused = host.dhow(words).fails(1);
        assert!(refused.contains("not a regular file"), "{words:?}: {refused}");
    }
    for words in [&["lint", "/dev/zero"][..], &["bake", "-f", "/dev/zero"]] {
        let refused = host.dhow(words).fails(1);
        assert!(refused.contains("larger than"), "{words:?}: {refused}");
    }
    // What the shell makes of a command is read as it comes.
    let piped = "printf 'FROM busybox:1\nCMD [\"true\"]\n'";
    let linted = host.program(
        "bash",
        &["-c", &format!("exec \"$0\" lint <({piped})"), &testkit::binary().display().to_string()],
    );
    linted.ok();
    fs::remove_file(&link).unwrap();
    fs::write(&link, "FROM busybox\n").unwrap();
    host.program("mkfifo", &["ctx/.dockerignore"]).ok();
    let refused = host.dhow(&["build", "ctx"]).fails(1);
    assert!(refused.contains("not a regular file"), "{refused}");
}

/// Words and paths that nobody can read to the end are told with their middle left out.
#[test]
fn endless_words() {
    let host = Host::new(Mode::Embedded);
    host.file("ctx/Dockerfile", "x".repeat(3 << 20));
    let path = "d/".repeat(1500);
    for words in [
        &["build", "ctx"][..],
        &["build", "--check", "ctx"],
        &["build", "-f", &path, "ctx"],
        &["build", &path],
        &["lint", &path],
        &["bake", "-f", &path],
    ] {
        let refused = host.dhow(words).fails(1);
        assert!(refused.len() < 2000 && refused.contains('…'), "{}: {refused:.3000}", words[0]);
    }
}

/// A server that has one answer for all.
fn server(status: &str, head: &str, content: &str) -> String {
    web(std::iter::repeat(web::answer(status, head, content.as_bytes())))
}

/// Servers that send a build to this machine's files, or name a file for it.
#[test]
fn urls_that_lead_elsewhere() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.program("ip", &["link", "set", "lo", "up"]).ok();
    let outside = host.file("outside", CANARY).display().to_string();
    for place in [format!("file://{outside}"), "gopher://127.0.0.1/".to_owned(), "//[".to_owned()] {
        let address = server("302 Found", &format!("Location: {place}\r\n"), "");
        let output = built(&host, &format!("FROM busybox\nADD http://{address}/x /x\nRUN cat /x\n"), &[]);
        assert!(output.code == 1 && !output.stderr.contains(CANARY), "{place}: {}", output.stderr);
        assert!(output.stderr.contains("Dockerfile:2"), "{place}: {}", output.stderr);
    }
    let address = server("302 Found", "Location: /again\r\n", "");
    let output = built(&host, &format!("FROM busybox\nADD http://{address}/x /x\n"), &[]);
    assert!(output.code == 1 && output.stderr.contains("redirect"), "{}", output.stderr);
    for name in ["../../../outside", "/outside", "..", "a\\..\\b", "%2e%2e%2foutside"] {
        let head = format!("Content-Disposition: attachment; filename=\"{name}\"\r\n");
        let address = server("200 OK", &head, "taken");
        let output =
            built(&host, &format!("FROM busybox\nADD http://{address}/named /in/\n"), &["-o", "out"]);
        let made = fs::read_dir(host.home().join("out/in")).map_or(0, Iterator::count);
        assert!(output.code == 1 || made == 1, "{name}: {}", output.stderr);
        let _ = fs::remove_dir_all(host.home().join("out"));
        assert_eq!(fs::read_to_string(&outside).unwrap(), CANARY);
    }
    let refused = built(&host, &format!("FROM busybox\nADD file://{outside} /x\n"), &[]);
    assert!(refused.code == 1 && !refused.stderr.contains(CANARY), "{}", refused.stderr);
}

/// A cache that somebody else wrote: names that lead out, contents that are not what they are called.
#[test]
fn caches_of_strangers() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let dockerfile =
        "FROM busybox\nRUN --mount=type=cache,target=/c echo kept > /c/file && echo made > /made\n";
    let export = "type=local,dest=cache,mode=max,mounts=true";
    assert_eq!(built(&host, dockerfile, &["--cache-to", export]).code, 0);
    let blobs = host.home().join("cache/blobs/sha256");
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    // Writes a document under its new digest into the descriptor that names it.
    let replace = |descriptor: &mut Value, document: &Value| {
        let bytes = document.to_string();
        let file = host.file("document", &bytes);
        let sum = host.program("sha256sum", &[file.to_str().unwrap()]).ok();
        let sum = sum.split(' ').next().unwrap();
        fs::write(blobs.join(sum), &bytes).unwrap();
        descriptor["digest"] = format!("sha256:{sum}").into();
        descriptor["size"] = bytes.len().into();
    };
    let index = host.home().join("cache/index.json");
    let whole = read(&index);
    let empty = host.home().join("elsewhere");
    let import = |what: &str| {
        let mut command = host.command();
        command.env("DHOW_ROOT", &empty).args(["build", "--progress", "plain", "--cache-from"]);
        command.args(["type=local,src=cache", "-o", "out", "scratch"]);
        let output = testkit::Typed::new(command).run();
        assert_eq!(output.code, 0, "{what}: {}", output.stderr);
        assert!(!host.home().join("escaped").exists() && !empty.join("escaped").exists(), "{what}");
        let _ = fs::remove_dir_all(&empty);
        output.stderr
    };
    host.file("scratch/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    for name in ["../escaped", "../../escaped", "/tmp/escaped", "x", "..", ""] {
        let mut index_document = whole.clone();
        let mut manifest = read(&blobs.join(digest(&whole["manifests"][0])));
        let mut document = read(&blobs.join(digest(&manifest["config"])));
        let mounts = document["mounts"].as_object_mut().expect("mounts are in it");
        let (_, descriptor) = mounts.clone().into_iter().next().expect("one");
        mounts.clear();
        mounts.insert(name.to_owned(), descriptor);
        replace(&mut manifest["config"], &document);
        replace(&mut index_document["manifests"][0], &manifest);
        fs::write(&index, index_document.to_string()).unwrap();
        let told = import(name);
        assert!(told.contains("is no cache mount"), "{name}: {told}");
    }
    // Documents that say nothing, or the wrong thing.
    let texts = ["", "{}", "null", "[]", "{\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}"];
    for text in texts {
        fs::write(&index, text).unwrap();
        import(text);
    }
    fs::write(&index, whole.to_string()).unwrap();
    for entry in fs::read_dir(&blobs).unwrap() {
        fs::write(entry.unwrap().path(), "other").unwrap();
    }
    let told = import("blobs");
    assert!(told.contains("not imported"), "{told}");
}
