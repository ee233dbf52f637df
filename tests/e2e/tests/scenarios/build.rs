//! Builds from Dockerfiles.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testkit::{Host, Mode};

in_every_mode! {
    a_multi_stage_build
    the_cache_answers
    a_failing_step_is_shown
    every_instruction_counts
    context_and_ignore_file
    heredocs_and_arguments
    archives_are_unpacked
    trailing_comments_work
    errors_name_the_line
    an_interrupted_build_leaves_nothing
    a_failed_step_can_be_entered
    builds_are_remembered_and_explained
    the_cache_is_listed_and_pruned_by_filters
    the_context_is_where_its_path_leads
    copies_share_what_is_the_same_and_links_change_their_base
}

/// A disk of its own below a host's home, whose file system lets files share their blocks.
struct Disk(PathBuf);

impl Disk {
    fn mount(host: &Host) -> Disk {
        let path = host.home().join("disk");
        fs::create_dir(&path).unwrap();
        fs::File::create(host.home().join("image")).unwrap().set_len(1 << 30).unwrap();
        host.program("mkfs.xfs", &["-q", "image"]).ok();
        host.program("mount", &["-o", "loop", "image", "disk"]).ok();
        Disk(path)
    }

    /// Bytes that are taken, those that are only in memory so far too.
    fn used(&self, host: &Host) -> u64 {
        host.program("sync", &["-f", "disk"]).ok();
        let told = host.program("df", &["-B1", "--output=used", "disk"]).ok();
        told.lines().last().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        let is_done = unmounted.is_ok_and(|status| status.success());
        assert!(is_done || std::thread::panicking(), "{} stays mounted", self.0.display());
    }
}

#[test]
fn copies_take_no_room_where_files_can_share_it() {
    let host = Host::new(Mode::Embedded);
    let disk = Disk::mount(&host);
    let (length, mut word) = (64 << 20, 1u64);
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.extend_from_slice(&word.to_le_bytes());
    }
    host.file("disk/ctx/large", content);
    host.file(
        "disk/ctx/Dockerfile",
        "FROM scratch AS one\nCOPY large /a\nFROM scratch\nCOPY --from=one a /b\n",
    );
    let before = disk.used(&host);
    let root = disk.0.join("root").display().to_string();
    host.dhow(&["build", "-q", "disk/ctx"]).env("DHOW_ROOT", &root).ok();
    let taken = disk.used(&host).saturating_sub(before);
    assert!(taken < length as u64 / 4, "{taken} of {length}");
}

fn copies_share_what_is_the_same_and_links_change_their_base(host: &Host) {
    host.busybox();
    for number in 0..80 {
        host.file(&format!("ctx/f{number}"), format!("{number}\n"));
    }
    host.file("ctx/linked", "linked\n");
    let dockerfile = "FROM busybox\nARG N\nRUN echo $N > /n\nCOPY --link linked /linked/\nCOPY . /all\n";
    host.file("ctx/Dockerfile", dockerfile);
    let build = |name: &str, number: &str| {
        let number = format!("N={number}");
        host.dhow(&["build", "-q", "--explain", "-t", name, "--build-arg", &number, "ctx"]).run().stderr
    };
    build("one", "1");
    let explained = build("two", "2");
    assert!(explained.contains("put on another base without copying"), "{explained}");
    host.file("ctx/f3", "changed\n");
    let explained = build("three", "2");
    assert!(explained.contains("file /f3 changed"), "{explained}");
    let seen = || {
        let line = "run --rm --network none three cat /n /linked/linked /all/f3 /all/f4";
        assert_eq!(host.type_in(line).ok(), "2\nlinked\nchanged\n4");
    };
    seen();
    // Archives are those of the whole layers, also when nothing but this image is left of the builds.
    for line in ["rmi one two", "builder prune -af", "system check", "save -o three.tar three"] {
        host.type_in(line).ok();
    }
    seen();
    host.type_in("rmi -f three").ok();
    host.type_in("load -i three.tar").ok();
    seen();
    host.type_in("system check").ok();
}

/// `..` leads out of what a link leads to, and out of nothing that is not there.
fn the_context_is_where_its_path_leads(host: &Host) {
    host.file("a/Dockerfile", "FROM scratch\nLABEL is=a\n");
    host.file("a/b/kept", "");
    host.file("c/Dockerfile", "FROM scratch\nLABEL is=c\n");
    host.file("Dockerfile", "FROM scratch\nLABEL is=here\n");
    std::os::unix::fs::symlink("../a/b", host.home().join("c/link")).unwrap();
    for words in [&["c/link/.."][..], &["-f", "c/link/../Dockerfile", "c"]] {
        host.dhow(&[&["build", "-q", "-t", "found"], words].concat()).ok();
        assert_eq!(host.dhow(&["inspect", "-f", "{{.Config.Labels.is}}", "found"]).ok(), "a", "{words:?}");
    }
    for context in ["nosuch/..", "http://127.0.0.1:1/r.git#:sub/../../.."] {
        host.dhow(&["build", "-q", context]).fails(1);
    }
}

fn the_cache_is_listed_and_pruned_by_filters(host: &Host) {
    host.busybox();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c echo c > /c/f; echo l > /layer\n",
    );
    host.dhow(&["build", "-t", "kept", "ctx"]).ok();
    let verbose = host.type_in("buildx du --verbose").ok();
    for part in ["exec.cachemount", "regular", "Mutable:      true", "RUN --mount", "Total:"] {
        assert!(verbose.contains(part), "{part}: {verbose}");
    }
    let count = |filter: &str| {
        let listed = host.dhow(&["buildx", "du", "--format", "json", "--filter", filter]).ok();
        listed.lines().filter(|line| !line.is_empty()).count()
    };
    assert_eq!((count("type=exec.cachemount"), count("type=regular")), (1, 1));
    assert_eq!(count("description~=cached mount /c from exec /bin/sh -c echo c .* with id \"/c\""), 1);
    assert_eq!((count("type!=regular"), count("description~=RUN .*mount"), count("until=24h")), (1, 1, 0));
    assert!(host.dhow(&["buildx", "du", "--filter", "description~=("]).fails(1).contains("description~"));
    // More than there is may stay.
    host.type_in("builder prune -af --keep-storage 1g").ok();
    host.type_in("builder prune -af --max-used-space 1g").ok();
    host.type_in("builder prune -af --filter shared=false --filter type=regular --filter unused-for=0s").ok();
    assert_eq!((count("mutable=true"), count("mutable=false")), (1, 1));
    host.type_in("buildx prune -f --filter type=exec.cachemount").ok();
    assert_eq!((count("mutable=true"), count("mutable=false")), (0, 1));
    host.type_in("builder prune -af --max-used-space 1").ok();
    assert_eq!(count("mutable=false"), 0);
    assert!(host.dhow(&["builder", "prune", "-f", "--filter", "no=such"]).fails(1).contains("no"));
}

fn a_failed_step_can_be_entered(host: &Host) {
    host.busybox();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox AS other\nRUN mkdir /made && echo tool > /made/tool && chmod 700 /made/tool && chown -R app /made\n\
         FROM busybox\nENV GREETING=hello\nWORKDIR /work\nUSER app\n\
         RUN --mount=type=cache,target=/cache,mode=777 --mount=from=other,source=/made,target=/opt/tools \
           --mount=from=other,source=/made/tool,target=/etc/tool --network=none \
           echo $GREETING > /tmp/said; echo kept > /cache/c; exit 3\n",
    );
    let options = [
        "--add-host",
        "hh:9.9.9.9",
        "--add-host=gw:host-gateway",
        "--ulimit",
        "nofile=77",
        "--shm-size",
        "1m",
    ];
    let error = host.dhow(&[&["build"], &options[..], &["ctx"]].concat()).fails(1);
    let id = error.rsplit("dhow build shell ").next().unwrap().trim();
    let look = "pwd; id -un; echo $GREETING; cat /tmp/said /cache/c /opt/tools/tool /etc/tool; stat -c %A:%U /opt/tools/tool; ls /sys/class/net; grep -c 9.9.9.9 /etc/hosts; grep -w gw /etc/hosts; ulimit -n; \
                grep -o size=1024k /proc/mounts";
    let seen = host.dhow(&["build", "shell", id, "sh", "-c", look]).ok();
    let gateway =
        host.dhow(&["network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}"]).ok();
    assert_eq!(
        seen,
        format!(
            "/work\napp\nhello\nhello\nkept\ntool\ntool\n-rwx------:app\nlo\n1\n{gateway}\tgw\n77\nsize=1024k"
        )
    );
    // Without a command it is the step's shell, whose exit code is the answer; it can be entered as often as one likes.
    assert_eq!(host.dhow(&["build", "shell", id]).input("exit 5\n").run().code, 5);
    // One that is not named is the last one, unless a folder has that name.
    host.dhow(&["build", "--build-arg", "X=1", "ctx"]).fails(1);
    for words in ["build shell", "buildx shell", "builder shell"] {
        let ended = host.dhow(&words.split(' ').collect::<Vec<_>>()).input("cat /tmp/said; exit 6\n").run();
        assert_eq!((ended.code, ended.stdout.trim()), (6, "hello"), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("also kept: {id} (RUN --mount=")), "{}", ended.stderr);
    }
    assert!(host.dhow(&["build", "shell", "nope"]).fails(1).contains("kept are"));
    assert_eq!(host.type_in("ps -aq").ok(), "");
    assert!(!host.type_in("images -a").ok().contains("<none>"), "the image of the shell is gone");
    host.type_in("builder prune -af").ok();
    let error = host.dhow(&["build", "shell", id, "true"]).fails(1);
    assert!(error.contains(&format!("no failed step {id} is kept")), "{error}");
    host.type_in("system check").ok();
}

fn builds_are_remembered_and_explained(host: &Host) {
    host.busybox();
    host.file("ctx/a", "1");
    let dockerfile =
        "FROM busybox AS other\nRUN exit 1\nFROM busybox\nARG V\nCOPY a /\nRUN echo $V; echo said\n";
    host.file("ctx/Dockerfile", dockerfile);
    host.dhow(&["build", "-t", "one", "--build-arg", "V=1", "ctx"]).ok();
    host.file("ctx/a", "2");
    let explained = host.dhow(&["build", "-q", "--explain", "--build-arg", "V=1", "ctx"]).run().stderr;
    for part in ["SKIPPED", "[other]", "CACHED", "file /a changed", "the step before changed"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let explained = host.dhow(&["build", "-q", "--explain", "--build-arg", "V=2", "ctx"]).run().stderr;
    assert!(explained.contains("variable V changed"), "{explained}");
    let list = host.type_in("build history ls").ok();
    assert_eq!(list.lines().count(), 4, "{list}");
    // What draws the graph of a build, or shows when its steps ran, reads these.
    let raw = host.type_in("build history logs --progress rawjson").ok();
    let mut vertexes = BTreeMap::new();
    for line in raw.lines() {
        let status: Value = serde_json::from_str(line).unwrap();
        for vertex in status["vertexes"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let inputs = vertex["inputs"].as_array().into_iter().flatten().map(text);
            vertexes.insert(text(&vertex["name"]), (text(&vertex["digest"]), inputs.collect::<Vec<_>>()));
        }
    }
    let step = |word: &str| vertexes.iter().find(|(name, _)| name.contains(word)).unwrap().1;
    let ((base, none), (copy, on_base), (_, on_copy)) =
        (step("1/3] FROM"), step("COPY a /"), step("RUN echo"));
    assert_eq!((&none[..], &on_base[..], &on_copy[..]), (&[][..], &[base.clone()][..], &[copy.clone()][..]));
    let trace: Value = serde_json::from_str(&host.type_in("build history trace").ok()).unwrap();
    let spans = trace["data"][0]["spans"].as_array().unwrap();
    let start = |span: &Value| span["startTime"].as_u64().unwrap();
    assert!(spans.iter().any(|span| span["operationName"].as_str().unwrap().contains("COPY a /")));
    assert!(spans.iter().all(|span| start(span) >= start(&spans[0])), "{trace}");
    let listed = |conditions: &[&str]| {
        let flags: Vec<&str> = conditions.iter().flat_map(|condition| ["--filter", condition]).collect();
        let all = host.dhow(&[&["buildx", "history", "ls", "-q"][..], &flags].concat()).ok();
        all.lines().count()
    };
    for (conditions, count) in [
        (&["status=completed"][..], 3),
        (&["status!=completed"], 0),
        (&["startedAt>1h", "duration<1h"], 3),
        (&["ref=none"], 0),
        (&["startedAt<=1h"], 0),
    ] {
        assert_eq!(listed(conditions), count, "{conditions:?}");
    }
    let refused = host.dhow(&["buildx", "history", "ls", "--filter", "colour=red"]).fails(1);
    assert!(refused.contains("there are ref, repository, status"), "{refused}");
    assert_eq!(
        host.dhow(&["build", "history", "inspect", "--format", "{{.Status}}{{.Target}}"]).ok(),
        "completed"
    );
    let newest = host.type_in("buildx history ls -q").ok().lines().next().unwrap().to_owned();
    let record: serde_json::Value = serde_json::from_str(
        &host.dhow(&["build", "history", "inspect", "--format", "json", &newest[..6]]).ok(),
    )
    .unwrap();
    assert_eq!((&record["Status"], &record["Ref"]), (&"completed".into(), &newest.as_str().into()));
    assert_eq!(record["BuildArgs"], serde_json::json!([{ "Name": "V", "Value": "2" }]));
    assert_eq!((&record["Context"], &record["Dockerfile"]), (&"ctx".into(), &"Dockerfile".into()));
    assert!(record["Duration"].as_i64().is_some_and(|took| took > 0), "{record}");
    let list = host.type_in("buildx history ls --format json").ok();
    let row: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    assert_eq!(row["ref"], format!("default/default/{newest}"));
    assert_eq!((&row["status"], &row["cached_steps"]), (&"Completed".into(), &record["NumCachedSteps"]));
    assert_eq!((&row["created_at"], &row["completed_at"]), (&record["StartedAt"], &record["CompletedAt"]));
    host.dhow(&["build", "-q", "--provenance=mode=min", "--build-context", "more=ctx", "ctx"]).ok();
    let record: serde_json::Value =
        serde_json::from_str(&host.dhow(&["buildx", "history", "inspect", "--format", "json"]).ok()).unwrap();
    assert_eq!(record["Attachments"][0]["Type"], "https://slsa.dev/provenance/v1");
    assert_eq!(record["NamedContexts"][0]["Name"], "more");
    let attached =
        |more: &[&str]| host.dhow(&[&["buildx", "history", "inspect", "attachment"][..], more].concat());
    let provenance = attached(&["--type", "provenance"]).ok();
    assert!(provenance.contains("\"buildDefinition\""), "{provenance}");
    let digest = record["Attachments"][0]["Digest"].as_str().unwrap();
    let id = record["Ref"].as_str().unwrap();
    assert_eq!(attached(&[id, digest]).ok(), provenance);
    host.dhow(&["buildx", "history", "export", "-o", "one.dockerbuild", id]).ok();
    host.dhow(&["buildx", "history", "export", "--all", "-o", "all.dockerbuild"]).ok();
    let member = |archive: &str, path: &str| -> serde_json::Value {
        let text = host.program("tar", &["-xzOf", archive, path]).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let blob = |archive: &str, descriptor: &serde_json::Value| {
        member(archive, &format!("blobs/sha256/{}", &descriptor["digest"].as_str().unwrap()[7..]))
    };
    let manifest = blob("one.dockerbuild", &member("one.dockerbuild", "index.json")["manifests"][0]);
    let told = blob("one.dockerbuild", &manifest["config"]);
    assert_eq!(
        (&told["Ref"], &told["FrontendAttrs"]["context:more"]),
        (&id.into(), &record["NamedContexts"][0]["Value"])
    );
    assert!(told["CompletedAt"]["seconds"].as_i64() > Some(1_700_000_000), "{told}");
    assert_eq!(told["Result"]["Attestations"][0]["digest"], digest);
    assert_eq!(manifest["layers"][0]["digest"], digest);
    assert!(blob("one.dockerbuild", &manifest["layers"][0])["buildDefinition"].is_object());
    let all = blob("all.dockerbuild", &member("all.dockerbuild", "index.json")["manifests"][0]);
    assert_eq!(all["manifests"].as_array().unwrap().len(), 4);
    assert!(attached(&["--type", "sbom"]).fails(1).contains("no matching attachment found"));
    assert!(attached(&[]).fails(1).contains("at least one of --type"));
    host.dhow(&["build", "history", "rm", id]).ok();
    assert!(host.type_in("build history logs").ok().contains("said"));
    let diff = host.type_in("build history diff").ok();
    assert!(diff.contains("-build argument V: 1\n+build argument V: 2"), "{diff}");
    assert_eq!(host.dhow(&["build", "history", "rm", &newest]).ok(), newest);
    host.type_in("build history rm --all").ok();
    // One that cannot begin has no record, and was killed by nobody.
    let refused = host.dhow(&["build", "--cache-to", "type=local,dest=cache,mode=wrong", "ctx"]).fails(1);
    assert!(refused.contains("unsupported cache mode"), "{refused}");
    assert_eq!(host.type_in("build history ls -q").ok(), "");
}

fn an_interrupted_build_leaves_nothing(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo going; exec >&- 2>&-; sleep 1000\n");
    let mut command = host.command();
    command.args(["build", "-t", "never", "ctx"]);
    let mut terminal = testkit::Terminal::new(&command);
    terminal.shows("going");
    terminal.types("\u{3}");
    let (code, screen) = terminal.ends();
    assert_eq!(code, 130, "{screen}");
    assert!(
        screen.contains("CANCELED [2/2] RUN echo going") && screen.contains("build canceled"),
        "{screen}"
    );
    // A daemon learns of it a moment later.
    testkit::eventually("nothing is left", || host.type_in("system check").run().code == 0);
}

fn a_multi_stage_build(host: &Host) {
    host.busybox();
    host.file("ctx/hello.txt", "hello\n");
    host.file(
        "ctx/Dockerfile",
        "FROM busybox AS build\nWORKDIR /src\nCOPY hello.txt .\nRUN tr a-z A-Z < hello.txt > out.txt\n\
         FROM busybox AS unused\nRUN exit 1\n\
         FROM busybox\nCOPY --from=build --chown=app:app --chmod=640 /src/out.txt /home/app/\nUSER app\nCMD [\"cat\", \"/home/app/out.txt\"]\n",
    );
    host.dhow(&["build", "-t", "hello", "-t", "hello:2", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm hello").ok(), "HELLO");
    assert_eq!(
        host.dhow(&["run", "--rm", "hello:2", "stat", "-c", "%U:%G %a", "/home/app/out.txt"]).ok(),
        "app:app 640"
    );
    host.dhow(&["build", "-t", "first", "--target", "build", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm first pwd").ok(), "/src");
    let id = host.dhow(&["build", "-q", "ctx"]).ok();
    assert_eq!(id, host.dhow(&["inspect", "-f", "{{.Id}}", "hello"]).ok());
}

fn the_cache_answers(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN head -c 16 /dev/urandom | sha256sum > /id\nCOPY file /file\nRUN cat /file > /copy\n");
    host.file("ctx/file", "one");
    let id = |host: &Host| {
        host.dhow(&["build", "-t", "cached", "ctx"]).ok();
        host.dhow(&["run", "--rm", "cached", "cat", "/id", "/copy"]).ok()
    };
    let first = id(host);
    assert_eq!(id(host), first);
    let plain = host.dhow(&["build", "--progress", "plain", "ctx"]).run();
    assert!(plain.stderr.contains("CACHED"), "{}", plain.stderr);
    host.file("ctx/file", "two");
    let second = id(host);
    assert_eq!(second.lines().next(), first.lines().next());
    assert!(second.ends_with("two"));
    host.dhow(&["build", "--no-cache", "-t", "cached", "ctx"]).ok();
    assert_ne!(host.dhow(&["run", "--rm", "cached", "cat", "/id"]).ok(), first.lines().next().unwrap());
}

fn a_failing_step_is_shown(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo fine\nRUN echo about to fail; exit 9\n");
    let error = host.dhow(&["build", "-t", "broken", "ctx"]).fails(1);
    assert!(error.contains("about to fail"), "{error}");
    assert!(error.contains("did not complete successfully: exit code: 9"), "{error}");
    assert!(error.contains("Dockerfile:3"), "{error}");
    assert_eq!(host.type_in("images -q broken").ok(), "");
    host.file("ctx/Dockerfile", "FROM busybox\nRUN uv add flask\n");
    let error = host.dhow(&["build", "--progress", "plain", "ctx"]).fails(1);
    assert!(error.contains("exit code: 127\nhint: ") && error.contains("uv"), "{error}");
}

fn every_instruction_counts(host: &Host) {
    host.busybox();
    host.dhow(&["build", "-t", "all", "-"])
        .input(
            "# escape=`\nARG TAG=latest\nFROM busybox:${TAG}\nMAINTAINER me@example.com\nLABEL a=1 b=\"two words\"\n\
             ENV ONE=1 TWO=\"2 ${ONE}\"\nENV OLD style value\nARG BUILT=by\nRUN echo `\n  $ONE-$TWO-$OLD-$BUILT > /said\n\
             EXPOSE 80 443/udp\nVOLUME [\"/data\"]\nWORKDIR /a\nWORKDIR b\nSTOPSIGNAL SIGQUIT\nSHELL [\"/bin/sh\", \"-ec\"]\n\
             HEALTHCHECK --interval=5s --retries=2 CMD test -e /said\nONBUILD RUN echo child > /child\n\
             USER app:app\nENTRYPOINT [\"echo\"]\nCMD [\"default\"]\n",
        )
        .ok();
    assert_eq!(host.type_in("run --rm all").ok(), "default");
    assert_eq!(host.type_in("run --rm all other").ok(), "other");
    assert_eq!(
        host.dhow(&["run", "--rm", "--entrypoint", "cat", "all", "/said"]).ok(),
        "1-2 -style value-by"
    );
    let config: serde_json::Value =
        serde_json::from_str(&host.dhow(&["inspect", "-f", "{{json .Config}}", "all"]).ok()).unwrap();
    assert_eq!(config["Labels"]["b"], "two words");
    assert_eq!(config["WorkingDir"], "/a/b");
    assert_eq!(config["User"], "app:app");
    assert_eq!(config["StopSignal"], "SIGQUIT");
    assert!(config["ExposedPorts"]["443/udp"].is_object());
    assert_eq!(config["Healthcheck"]["Retries"], 2);
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
    assert_eq!(config["OnBuild"][0], "RUN echo child > /child");
    // The trigger runs as the user that the parent set, who may not write there: it did run.
    let refused = host.dhow(&["build", "-t", "child", "-"]).input("FROM all\n").fails(1);
    assert!(refused.contains("/child"), "{refused}");
}

fn context_and_ignore_file(host: &Host) {
    host.busybox();
    for name in ["keep.txt", "drop.log", "deep/drop.log", "deep/keep.log", "secret/key", "README.md"] {
        host.file(&format!("ctx/{name}"), name);
    }
    host.file(
        "ctx/.dockerignore",
        "# what stays out\n**/*.log\n!deep/keep.log\nsecret/\nDockerfile.list\n.dockerignore\n",
    );
    host.file(
        "ctx/Dockerfile.list",
        "FROM busybox\nCOPY . /ctx\nRUN cd /ctx && find . -type f | sort\nCMD find /ctx -type f | sort\n",
    );
    host.dhow(&["build", "-f", "ctx/Dockerfile.list", "-t", "list", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm list").ok(), "/ctx/README.md\n/ctx/deep/keep.log\n/ctx/keep.txt");
    let error = host.dhow(&["build", "-"]).input("FROM busybox\nCOPY ../outside /\n").run();
    assert_ne!(error.code, 0);
    let error = host.dhow(&["build", "-f", "-", "ctx"]).input("FROM busybox\nCOPY missing.txt /\n").fails(1);
    assert!(error.contains("missing.txt") && error.contains("not found"), "{error}");
}

fn heredocs_and_arguments(host: &Host) {
    host.busybox();
    let dockerfile = "FROM busybox\nARG WHO=nobody\nARG MODE\nRUN <<EOF\necho \"hello $WHO\" > /who\necho \"${MODE:-none}\" >> /who\nEOF\n\
                      COPY <<-\"RAW\" /raw\n\tkept: $WHO\nRAW\n";
    host.dhow(&["build", "-t", "here", "--build-arg", "WHO=world", "-"]).input(dockerfile).ok();
    assert_eq!(
        host.dhow(&["run", "--rm", "here", "cat", "/who", "/raw"]).ok(),
        "hello world\nnone\nkept: $WHO"
    );
    host.dhow(&["build", "-t", "here", "--build-arg", "MODE=fast", "-"]).input(dockerfile).ok();
    assert_eq!(host.dhow(&["run", "--rm", "here", "cat", "/who"]).ok(), "hello nobody\nfast");
}

fn archives_are_unpacked(host: &Host) {
    host.busybox();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o600);
    archive.append_data(&mut header, "in/file", &b"bytes"[..]).unwrap();
    host.file("ctx/archive.tar", archive.into_inner().unwrap());
    host.file("ctx/Dockerfile", "FROM busybox\nADD archive.tar /out/\nCOPY archive.tar /plain/\n");
    host.dhow(&["build", "-t", "added", "ctx"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "added", "cat", "/out/in/file"]).ok(), "bytes");
    assert_eq!(host.dhow(&["run", "--rm", "added", "ls", "/plain"]).ok(), "archive.tar");
}

fn trailing_comments_work(host: &Host) {
    host.busybox();
    let output = host
        .dhow(&["build", "-t", "commented", "-"])
        .input("FROM busybox   # small\nWORKDIR /a\nWORKDIR b   # now in /a/b\nENV KEY=value  # do not\nCMD [\"sh\", \"-c\", \"pwd; echo $KEY\"]  # says it\n")
        .run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.to_lowercase().contains("warning"), "{}", output.stderr);
    assert_eq!(host.type_in("run --rm commented").ok(), "/a/b\nvalue");
}

fn errors_name_the_line(host: &Host) {
    host.busybox();
    let error = host.dhow(&["build", "-"]).input("FROM busybox\nRUN true\nRUNN false\n").fails(1);
    assert!(error.contains("unknown instruction: RUNN") && error.contains(":3"), "{error}");
    let error = host.dhow(&["build", "-"]).input("RUN true\n").fails(1);
    assert!(error.to_lowercase().contains("no build stage in current context"), "{error}");
    let error = host.dhow(&["build", "-"]).input("").fails(1);
    assert!(error.contains("no instructions"), "{error}");
    let error = host.dhow(&["build", "-"]).input("FROM no-such-image-here\n").fails(1);
    assert!(error.contains("no-such-image-here"), "{error}");
}
