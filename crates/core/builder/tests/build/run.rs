//! `RUN`, and the image that comes out.

use crate::fixture::{Fixture, text};
use builder::{Env, Error, Event, ImageRequest, NetMode};
use std::sync::Arc;

#[test]
fn a_build_from_end_to_end() {
    let f = Fixture::new();
    f.file("hello.txt", "hello\n");
    let file = "\
FROM base AS build
WORKDIR /src
COPY hello.txt .
RUN cat hello.txt > out && echo built
FROM base AS unused
RUN exit 1
FROM base
ENV A=b
COPY --from=build /src/out /usr/share/
CMD [\"cat\", \"/usr/share/out\"]
";
    let outcome = f.build(file);
    let built = outcome.ok();
    assert_eq!(text(&f.rootfs(built), "/usr/share/out"), "hello\n");
    assert_eq!(outcome.log(), "built\n");
    let is_told = |event: &&Event| matches!(event, Event::StepStatus { name, .. } if name.starts_with("writing image sha256:"));
    assert_eq!(outcome.events.iter().filter(is_told).count(), 1);
    let config = f.config(built);
    assert_eq!(config.config.cmd, Some(vec!["cat".into(), "/usr/share/out".into()]));
    assert_eq!(config.config.env, ["PATH=/bin", "A=b"]);
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    let history: Vec<_> = config.history.iter().map(|h| (h.created_by.as_str(), h.empty_layer)).collect();
    assert_eq!(
        history,
        [
            ("busybox", false),
            ("ENV A=b", true),
            ("COPY /src/out /usr/share/ # buildkit", false),
            ("CMD [\"cat\" \"/usr/share/out\"]", true),
        ]
    );
    assert_eq!(f.store().resolve("result", None).unwrap().id, crate::fixture::image(built).image_id);
    assert_eq!(f.store().check(false).unwrap(), []);
}

#[test]
fn a_failing_run_points_at_its_line() {
    let f = Fixture::new();
    let outcome = f.build("FROM base\n\nRUN echo before && \\\n    uv add x\n");
    let Error::Step(step) = outcome.err() else { panic!("{:?}", outcome.built) };
    assert_eq!(step.process.as_ref().map(|p| p.code), Some(127));
    assert_eq!((step.place.span.line, step.place.span.end_line), (3, 4));
    assert!(step.output.contains("before") && step.output.contains("uv: not found"), "{}", step.output);
    assert!(step.hint.as_ref().unwrap().starts_with("uv: not found"));
    let report = outcome.err().report();
    let want = "\
Dockerfile:3
--------------------
   1 |     FROM base
   2 |     
   3 | >>> RUN echo before && \\
   4 | >>>     uv add x
--------------------
process \"/bin/sh -c echo before &&     uv add x\" did not complete successfully: exit code: 127
";
    assert!(report.starts_with(want), "{report}");
    assert!(matches!(outcome.events.last(), Some(Event::StepError { .. })));
}

#[test]
fn a_program_that_is_not_there() {
    let f = Fixture::new();
    let outcome = f.build("FROM base\nRUN [\"uv\", \"x\"]\n");
    let Error::Step(step) = outcome.err() else { panic!() };
    assert_eq!(step.process.as_ref().map(|p| p.code), Some(127));
    assert!(step.hint.as_ref().unwrap().starts_with("uv: not found"));
}

#[test]
fn nothing_of_the_sandbox_stays_in_the_layer() {
    let f = Fixture::new();
    let outcome =
        f.build("FROM base\nRUN cat /etc/resolv.conf && hostname && ls / > /listing && test -c /dev/null\n");
    let built = outcome.ok();
    assert!(outcome.log().contains("192.0.2.1"));
    assert_eq!(f.top_layer(built), ["listing"]);
}

#[test]
fn a_run_in_an_empty_image_leaves_nothing_but_its_files() {
    let f = Fixture::new();
    std::fs::copy("/usr/bin/busybox", f.context().join("busybox")).unwrap();
    let outcome = f.build("FROM scratch\nCOPY busybox /\nRUN [\"/busybox\", \"touch\", \"/made\"]\n");
    assert_eq!(f.top_layer(outcome.ok()), ["made"]);
}

#[test]
fn user_workdir_env_and_shell() {
    let f = Fixture::new();
    let file = "\
FROM base
ARG WHO=world
ENV GREETING=\"hello $WHO\"
USER app
WORKDIR /home/app/sub
SHELL [\"/bin/sh\", \"-e\", \"-c\"]
RUN echo \"$GREETING\" && id && pwd && touch mine && stat -c '%u:%g' . mine
";
    let outcome = f.build(file);
    outcome.ok();
    let log = outcome.log();
    assert!(log.contains("hello world\n"), "{log}");
    assert!(
        log.contains("uid=1000(app) gid=1001(app) groups=50(staff),1001(app)")
            || log.contains("uid=1000(app) gid=1001(app)"),
        "{log}"
    );
    assert!(log.contains("/home/app/sub\n1000:1001\n1000:1001\n"), "{log}");
}

#[test]
fn unknown_user() {
    let f = Fixture::new();
    let outcome = f.build("FROM base\nUSER nobody-here\nRUN true\n");
    let Error::Step(step) = outcome.err() else { panic!() };
    assert_eq!(step.message, "unable to find user nobody-here: no matching entries in passwd file");
}

#[test]
fn scripts_in_heredocs() {
    let f = Fixture::new();
    let file = "FROM base\nRUN <<EOF\necho one\necho two > /two\nEOF\nRUN <<EOF\n#!/bin/sh\necho \"I am $0\"\nEOF\n\
                COPY <<EOF /etc/conf\nvalue=$HOME-x\nEOF\n";
    let outcome = f.build(file);
    let built = outcome.ok();
    assert!(outcome.log().starts_with("one\nI am /dev/pipes/EOF\n"));
    assert_eq!(text(&f.rootfs(built), "/two"), "two\n");
    assert_eq!(text(&f.rootfs(built), "/etc/conf"), "value=-x\n");
}

#[test]
fn networks_of_a_run() {
    let f = Fixture::new();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut env = f.env();
    let (inner, seen) = (env.network.clone(), asked.clone());
    env.network = std::sync::Arc::new(move |mode: &NetMode| {
        seen.lock().unwrap().push(mode.clone());
        inner(mode)
    });
    let file = "FROM base\nRUN true\nRUN --network=none true 1\nRUN --network=host true 2\n";
    f.build_in(&env, file, |r| {
        r.network = NetMode::Bridge;
        r.allow_host_network = true;
    })
    .ok();
    assert_eq!(*asked.lock().unwrap(), [NetMode::Bridge, NetMode::None, NetMode::Host]);
}

#[test]
fn cancelling_kills_the_process() {
    let f = Fixture::new();
    f.file("Dockerfile", "FROM base\nRUN echo started && sleep 1000\n");
    let mut request = builder::Request { network: NetMode::None, ..Default::default() };
    request.tags = Vec::new();
    let cancel = request.cancel.clone();
    let began = std::time::Instant::now();
    let built = builder::build(&f.env(), builder::Context::Dir(f.context()), &request, &mut |e| {
        if matches!(&e, Event::StepLog { text, .. } if text.contains("started")) {
            cancel.cancel();
        }
    });
    assert!(matches!(built, Err(Error::Cancelled)), "{built:?}");
    assert!(began.elapsed().as_secs() < 60);
}

#[test]
fn a_failure_stops_the_other_stages() {
    let f = Fixture::new();
    let file = "FROM base AS slow\nRUN sleep 1000\nFROM base AS bad\nRUN exit 3\nFROM scratch\nCOPY --from=slow /tmp /a\n\
                COPY --from=bad /tmp /b\n";
    let outcome = f.build(file);
    let Error::Step(step) = outcome.err() else { panic!("{:?}", outcome.built) };
    assert_eq!(step.process.as_ref().map(|p| p.code), Some(3));
}

#[test]
fn mounts_of_a_run() {
    let f = Fixture::new();
    f.file("in/a.txt", "a").file("in/b.md", "b").file(".dockerignore", "**/*.md\n");
    let file = "\
FROM base AS other
RUN mkdir /out && echo other > /out/x
FROM base
RUN --mount=type=bind,source=in,target=/in ls /in > /seen && ! touch /in/new
RUN --mount=type=bind,source=in,target=/in,rw touch /in/new
RUN --mount=type=bind,from=other,source=/out,target=/o cat /o/x > /from-other
RUN --mount=type=cache,target=/cache,mode=0700 echo kept >> /cache/log && wc -l /cache/log
RUN --mount=type=tmpfs,target=/t touch /t/x && stat -f -c %T /t
RUN --mount=type=secret,id=token cat /run/secrets/token && stat -c %a /run/secrets/token
RUN --mount=type=secret,id=token,env=TOKEN test \"$TOKEN\" = s3cret
";
    let secret = |r: &mut builder::Request| {
        r.secrets.insert("token".into(), b"s3cret".to_vec());
    };
    let outcome = f.build_with(file, secret);
    let built = outcome.ok();
    let root = f.rootfs(built);
    assert_eq!(text(&root, "/seen"), "a.txt\n");
    assert_eq!(text(&root, "/from-other"), "other\n");
    for gone in ["/in", "/o", "/cache", "/t", "/run"] {
        assert!(root.lstat(gone).is_err(), "{gone} is in the image");
    }
    let log = outcome.log();
    assert!(log.contains("1 /cache/log") && log.contains("tmpfs") && log.contains("s3cret400"), "{log}");
    assert!(!f.context().join("in/new").exists());
    // The cache mount outlives the build.
    let again = f.build_with(file, |r| {
        secret(r);
        r.extra_hosts.push(("db".into(), "192.0.2.7".into()));
    });
    again.ok();
    assert!(again.log().contains("2 /cache/log"), "{}", again.log());
    assert_eq!(std::fs::read_dir(f.dir.path().join("run")).map_or(0, Iterator::count), 0);
}

#[test]
fn secrets_leave_no_trace() {
    let f = Fixture::new();
    let file = "FROM base\nRUN --mount=type=secret,id=t,env=T --mount=type=secret,id=t,target=/x test -n \"$T\" && test -s /x\n";
    let canary = b"canary-6f1d2c";
    let outcome = f.build_with(file, |r| {
        r.secrets.insert("t".into(), canary.to_vec());
    });
    outcome.ok();
    let told = format!("{:?}", outcome.events);
    assert!(!told.contains("canary-6f1d2c"));
    let found =
        std::process::Command::new("grep").args(["-rl", "canary-6f1d2c"]).arg(f.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // Another secret is no reason to run again.
    let again = f.build_with(file, |r| {
        r.secrets.insert("t".into(), b"other".to_vec());
    });
    assert_eq!(again.ok().ran, 0);
}

#[test]
fn secrets_are_in_memory_wherever_the_run_folder_is() {
    let file = "FROM base\nRUN --mount=type=secret,id=t,target=/s/x,mode=0440,uid=5 ls -ln /s/x && stat -c %a,%u,%g /s/x | grep '^440,5,0$' && ! sh -c ': >/s/x' 2>/dev/null\n\
                RUN --mount=type=secret,id=t grep ' /run/secrets/t ' /proc/self/mountinfo\n";
    let f = Fixture::new();
    let outcome = f.build_with(file, |r| {
        r.secrets.insert("t".into(), b"s3cret".to_vec());
    });
    outcome.ok();
    let told = format!("{:?}", outcome.events);
    // Before, what is mounted nowhere can't be cloned.
    let release = rustix::system::uname();
    let mut release =
        release.release().to_str().unwrap().split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let is_new = (release.next(), release.next()) >= (Some(6), Some(15));
    assert!(!is_new || told.contains(" - tmpfs "), "{told}");
}

#[test]
fn the_socket_of_an_ssh_agent() {
    let f = Fixture::new();
    let file = "FROM base\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\n";
    let socket = f.dir.path().join("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    f.build_with(file, |r| {
        r.ssh.insert("default".into(), socket.clone());
    })
    .ok();
    f.build("FROM base\nRUN --mount=type=ssh test -z \"$SSH_AUTH_SOCK\"\n").ok();
    let outcome = f.build("FROM base\nRUN --mount=type=ssh,required true\n");
    assert_eq!(outcome.err().to_string(), "no SSH key \"default\" forwarded from the client");
}

#[test]
fn steps_have_control_groups_that_go_with_them() {
    let f = Fixture::new();
    let mut env = f.env();
    let parent = format!("/dhow-builder-test-{}", std::process::id());
    env.cgroup_prefix = format!("{parent}/build-");
    let outcome = f.build_in(&env, "FROM base\nRUN cat /proc/self/cgroup && sleep 0 &\n", |_| {});
    outcome.ok();
    let group = runtime::cgroup::Cgroup::new(&parent).unwrap();
    assert!(group.pids().unwrap().is_empty());
    let left = |dir: &std::path::Path| {
        let entries =
            std::fs::read_dir(dir.join(parent.trim_start_matches('/'))).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("build-")).count()
    };
    for dir in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert_eq!(left(&dir.path()), 0, "{}", dir.path().display());
    }
    group.delete(std::time::Duration::from_secs(5)).unwrap();
}

#[test]
fn a_required_secret() {
    let f = Fixture::new();
    let outcome = f.build("FROM base\nRUN --mount=type=secret,id=x,required cat /run/secrets/x\n");
    assert_eq!(outcome.err().to_string(), "secret x: not found");
}

#[test]
fn squash_makes_one_layer() {
    let f = Fixture::new();
    let file = "FROM base\nRUN mkdir /d && echo 1 > /d/a && echo 2 > /d/b\nRUN rm /d/a /bin/wc && rm -r /home\n\
                RUN mkdir -p /home/new && echo 3 > /d/c\nCMD [\"x\"]\n";
    let outcome = f.build_with(file, |r| r.squash = true);
    let built = outcome.ok();
    let config = f.config(built);
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    let root = f.rootfs(built);
    assert_eq!((text(&root, "/d/b"), text(&root, "/d/c")), ("2\n".into(), "3\n".into()));
    for gone in ["/d/a", "/bin/wc", "/home/app"] {
        assert!(root.lstat(gone).is_err(), "{gone}");
    }
    assert!(root.lstat("/home/new").is_ok());
    let layers = config.history.iter().filter(|h| !h.empty_layer).count();
    assert_eq!((layers, config.history.last().unwrap().comment.as_str()), (2, "merge 3 layers"));
}

#[test]
fn source_date_epoch() {
    let f = Fixture::new();
    let file = "FROM base\nRUN echo x > /x\nENV A=b\n";
    let set = |r: &mut builder::Request| {
        r.source_date_epoch = Some(Some(1_600_000_000));
        r.rewrite_timestamp = true;
        r.no_cache = true;
    };
    let first = f.build_with(file, set);
    let second = f.build_with(file, set);
    assert_eq!(first.result().image_id, second.result().image_id);
    let config = f.config(first.ok());
    assert_eq!(config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    assert_eq!(f.rootfs(first.ok()).lstat("/x").unwrap().st_mtime, 1_600_000_000);
}

#[test]
fn no_escape_through_mount_points() {
    let f = Fixture::new();
    let canary = f.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    // The step replaces the parent of a mount point with a link out of the container.
    let file = format!(
        "FROM base\nRUN --mount=type=tmpfs,target=/a/b/c rm -rf /x; mkdir /x; ln -s {} /x/y; mv /a /old 2>/dev/null; ln -s {} /a 2>/dev/null; true\n",
        canary.display(),
        f.dir.path().display()
    );
    f.build(&file).ok();
    assert!(canary.exists());
}

/// What failed steps leave is kept for a while: the last few, also of builds at once, and none for longer than a day.
#[test]
fn failed_steps_are_kept_for_a_while() {
    let f = Fixture::new();
    let fail = |number: usize| {
        let file = format!("FROM base\nRUN echo {number} > /n; exit {number}\n");
        let source = builder::DockerfileSource::Text {
            name: "Dockerfile".into(),
            bytes: file.into_bytes(),
            ignore: None,
        };
        let request =
            builder::Request { dockerfile: source, network: NetMode::None, ..builder::Request::default() };
        let failed =
            builder::build(&f.env(), builder::Context::Dir(f.context()), &request, &mut |_| {}).unwrap_err();
        let hint = failed.hint().unwrap();
        hint.rsplit(' ').next().unwrap().to_owned()
    };
    let first: Vec<String> = (1..=4).map(fail).collect();
    let both: Vec<String> = std::thread::scope(|scope| {
        let other = scope.spawn(|| (5..=6).map(fail).collect::<Vec<_>>());
        let own: Vec<String> = (7..=8).map(fail).collect();
        own.into_iter().chain(other.join().unwrap()).collect()
    });
    let env = f.env();
    let is_kept = |id: &String| builder::kept(&env, id).unwrap().is_some();
    assert!(!first[..3].iter().any(is_kept) && is_kept(&first[3]) && both.iter().all(is_kept));
    // A day and more later.
    env.db
        .write(|tx| {
            for mut entry in state::cache::recent_below(tx, "failed step", 10)? {
                entry.created = "2024-01-01T00:00:00Z".into();
                state::cache::put(tx, &entry)?;
            }
            Ok::<_, state::Error>(())
        })
        .unwrap();
    builder::forget_kept(&env).unwrap();
    assert!(!both.iter().any(is_kept));
    let layers = std::fs::read_dir(f.root().join("layers")).unwrap().count();
    env.store.gc().unwrap();
    assert!(std::fs::read_dir(f.root().join("layers")).unwrap().count() < layers);
}

#[test]
fn a_command_that_is_too_long_says_so() {
    let f = Fixture::new();
    let outcome = f.build(&format!("FROM base\nRUN : {}\n", "x".repeat(200_000)));
    let error = outcome.err().chain();
    assert!(error.to_lowercase().contains("argument list too long") && error.len() < 20_000, "{error}");
    let Error::Step(step) = outcome.err() else { panic!("{error}") };
    assert!(step.hint.as_ref().is_some_and(|hint| hint.contains("COPY <<EOF")), "{:?}", step.hint);
}

#[test]
fn no_more_layers_than_the_kernel_takes() {
    let f = Fixture::new();
    f.file("f", "x");
    let copies = |flag: &str, count: usize| {
        let lines = (0..count).map(|i| format!("COPY {flag} f /f{i}\n"));
        format!("FROM base\n{}", lines.collect::<String>())
    };
    // One is the base's own, and one is left for what lies below every container.
    let built = f.build(&copies("", 498)).ok().clone();
    assert_eq!(text(&f.rootfs(&built), "f497"), "x");
    for flag in ["", "--link"] {
        let outcome = f.build(&copies(flag, 499));
        let error = outcome.err().report();
        assert!(error.contains("more than 499 layers") && error.contains("COPY --from=<stage>"), "{error}");
    }
}

#[test]
fn a_cache_that_is_mounted_twice_is_one_and_waits_for_nobody() {
    let f = Fixture::new();
    let mount =
        |target: &str, sharing: &str| format!("--mount=type=cache,id=k,target={target},sharing={sharing}");
    for (one, other) in [("locked", "locked"), ("shared", "locked"), ("private", "shared")] {
        let (a, b) = (mount("/a", one), mount("/b", other));
        let outcome = f.build(&format!("FROM base\nRUN {a} {b} echo {one} {other} >/a/x && cat /b/x\n"));
        outcome.ok();
        assert!(outcome.log().contains(&format!("{one} {other}")), "{}", outcome.log());
    }
}

/// What is said while a base image comes stands under the step that waits for it.
#[test]
fn pulls_of_base_images_are_told() {
    let f = Fixture::new();
    let env = f.env();
    let find = env.images.clone();
    let images = Arc::new(move |wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)| {
        told("1.0MB / 2.0MB".to_owned());
        find(wanted, told)
    });
    let outcome = f.build_in(&Env { images, ..env }, "FROM base\nLABEL a=b\n", |_| {});
    outcome.built.as_ref().unwrap();
    let step = outcome.events.iter().find_map(|event| match event {
        Event::StepStarted { id, name, .. }
            if name == "[internal] load metadata for docker.io/library/base:latest" =>
        {
            Some(*id)
        }
        _ => None,
    });
    let line = "1.0MB / 2.0MB\n";
    let is_told =
        |event: &Event| matches!(event, Event::StepLog { id, text, .. } if Some(*id) == step && text == line);
    assert!(outcome.events.iter().any(is_told), "{:?}", outcome.events);
}

#[test]
fn a_layer_that_cannot_be_made_has_a_place() {
    let f = Fixture::new();
    f.file("Dockerfile", "FROM base\nRUN echo said\n");
    let (layers, away) = (f.root().join("layers"), f.root().join("away"));
    let request = builder::Request { network: NetMode::None, ..builder::Request::default() };
    // Gone when the step has said something, and before its layer is made.
    let mut tell = |event| {
        if let Event::StepLog { .. } = event {
            std::fs::rename(&layers, &away).unwrap();
        }
    };
    let failed =
        builder::build(&f.env(), builder::Context::Dir(f.context()), &request, &mut tell).unwrap_err();
    assert_eq!(failed.place().unwrap().span.line, 2);
    assert!(failed.chain().starts_with("make layer: "), "{}", failed.chain());
}
