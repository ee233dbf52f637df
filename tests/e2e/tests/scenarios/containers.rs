//! The life of a container: run, see, stop, remove; names, ids, exit codes.

use testkit::Host;

in_every_mode! {
    output_and_exit_code
    exit_codes_of_what_cannot_run
    a_detached_container_lives_and_ends
    names_ids_and_conflicts
    list_filters_and_formats
    environment_user_and_folder
    limits_are_in_force
    pause_top_stats_and_update
    logs_as_asked_for
    input_is_passed_on
    what_is_missing_is_named
    wait_rename_and_prune
    the_stop_signal_is_the_images
    init_reaps_and_passes_signals_on
    a_cidfile_holds_the_id
    namespaces_of_others
    shared_memory_is_memory_and_limited
    images_with_odd_configurations_run
    what_stands_still_has_figures
}

fn namespaces_of_others(host: &Host) {
    host.busybox();
    // What an image exposes is no wish of the container's.
    host.dhow(&["import", "--change", "EXPOSE 80", "-", "exposing"]).input(testkit::busybox()).ok();
    host.type_in("run -d --name first -h first exposing sleep 1000").ok();
    assert_eq!(host.type_in("run --rm --network container:first exposing cat /etc/hostname").ok(), "first");
    let asked = host.type_in("run --rm --network container:first --expose 81 exposing true").fails(125);
    assert!(asked.contains("port exposing and the container type network mode"), "{asked}");
    assert!(host.type_in("run --rm --pid container:first exposing ps").ok().contains("sleep 1000"));
    host.type_in("run --rm --ipc host --uts host --pid host --network host busybox ls /dev/mqueue").ok();
    let missing = host.type_in("run --rm --volumes-from nobody busybox true").fails(125);
    assert!(
        missing.contains("No such container: nobody") && !missing.contains("Unable to find"),
        "{missing}"
    );
}

fn what_stands_still_has_figures(host: &Host) {
    host.busybox();
    let id = host.type_in("create --name still -e LEFT=x busybox").ok();
    let line = host.type_in("stats --no-stream --format {{.ID}}|{{.Name}}|{{.PIDs}} still").ok();
    assert_eq!(line, format!("{}|still|0", &id[..12]));
    assert_eq!(host.type_in("inspect -f json still").ok().get(..2), Some("[{"));
    let nothing = host.dhow(&["inspect", ""]).run();
    assert_eq!((nothing.code, nothing.stdout.trim()), (1, "[]"));
    assert!(nothing.stderr.contains("invalid container name or ID: value is empty"), "{}", nothing.stderr);
}

fn output_and_exit_code(host: &Host) {
    host.busybox();
    let output = host.dhow(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (7, "out\n", "err\n"));
    assert_eq!(host.type_in("ps -a -q").ok(), "");
}

fn exit_codes_of_what_cannot_run(host: &Host) {
    host.busybox();
    let missing = host.type_in("run --rm busybox no-such-program").fails(127);
    assert!(missing.contains("exec: \"no-such-program\": executable file not found in $PATH"), "{missing}");
    let folder = host.type_in("run --rm busybox /etc").fails(126);
    assert!(folder.contains("permission denied") || folder.contains("is a directory"), "{folder}");
    host.type_in("run --rm --no-such-flag busybox true").fails(125);
    let image = host.type_in("run --rm --pull never no-such-image true").fails(125);
    assert!(image.contains("No such image: no-such-image:latest"), "{image}");
    assert_eq!(host.type_in("ps -a -q").ok(), "");
}

fn a_detached_container_lives_and_ends(host: &Host) {
    host.busybox();
    let id = host.type_in("run -d --name web busybox sleep 1000").ok();
    assert_eq!(id.len(), 64);
    let line = host.type_in("ps").ok();
    assert!(line.contains(&id[..12]) && line.contains("Up ") && line.ends_with("web"), "{line}");
    assert_eq!(host.type_in("inspect -f {{.State.Running}} web").ok(), "true");
    let refused = host.type_in("rm web").fails(1);
    assert!(
        refused.contains("cannot remove container \"web\"") || refused.contains("container is running"),
        "{refused}"
    );
    assert_eq!(host.type_in("stop -t 0 web").ok(), "web");
    assert_eq!(host.type_in("ps -q").ok(), "");
    assert_eq!(
        host.dhow(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"]).ok(),
        "exited 137"
    );
    assert_eq!(host.type_in("start web").ok(), "web");
    assert_eq!(host.type_in("ps -q").ok(), &id[..12]);
    assert_eq!(host.type_in("rm -f web").ok(), "web");
    let gone = host.type_in("inspect web").run();
    assert_eq!((gone.code, gone.stdout.trim()), (1, "[]"));
    assert!(gone.stderr.contains("No such object: web"), "{}", gone.stderr);
}

fn names_ids_and_conflicts(host: &Host) {
    host.busybox();
    let id = host.type_in("create --name one busybox true").ok();
    let conflict = host.type_in("create --name one busybox true").fails(1);
    assert!(conflict.contains("The container name \"/one\" is already in use by container"), "{conflict}");
    assert!(host.type_in("create --name .bad busybox true").fails(1).contains("Invalid container name"));
    assert_eq!(host.dhow(&["inspect", "-f", "{{.Id}}", &id[..5]]).ok(), id);
    let random = host.type_in("create busybox true").ok();
    let name = host.dhow(&["inspect", "-f", "{{.Name}}", &random]).ok();
    assert!(name.starts_with('/') && name.contains('_'), "{name}");
    host.type_in("rm one").ok();
    host.type_in("create --name one busybox true").ok();
}

fn list_filters_and_formats(host: &Host) {
    host.busybox();
    host.type_in("run -d --name web --label environment=production busybox sleep 1000").ok();
    host.type_in("run --name done --label environment=test busybox true").ok();
    let names = |filter: &str| {
        let mut lines: Vec<_> = host
            .dhow(&["ps", "-a", "--filter", filter, "--format", "{{.Names}}"])
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines.join(" ")
    };
    assert_eq!(names("name=web"), "web");
    assert_eq!(names("status=exited"), "done");
    assert_eq!(names("label=environment=production"), "web");
    assert_eq!(names("label=environment"), "done web");
    assert_eq!(names("ancestor=busybox"), "done web");
    assert_eq!(names("exited=0"), "done");
    assert_eq!(host.dhow(&["ps", "-l", "--format", "{{.Names}}"]).ok(), "done");
    let table = host.dhow(&["ps", "--format", "table {{.Names}}\t{{.Image}}"]).ok();
    assert_eq!(table, "NAMES     IMAGE\nweb       busybox");
    let header = host.type_in("ps").ok();
    assert!(header.starts_with("CONTAINER ID   IMAGE     COMMAND        CREATED"), "{header}");
    let json: serde_json::Value =
        serde_json::from_str(&host.dhow(&["ps", "--format", "json"]).ok()).expect("one object a line");
    assert_eq!(json["Names"], "web");
    host.type_in("ps --filter nonsense=1").fails(1);
}

fn environment_user_and_folder(host: &Host) {
    host.busybox();
    // A name that the user has not set takes the image's variable away.
    host.dhow(&["import", "--change", "ENV GIVEN=1", "-", "giving"]).input(testkit::busybox()).ok();
    let seen = host.dhow(&["run", "--rm", "-e", "GIVEN", "giving", "sh", "-c", "echo [$GIVEN]"]).ok();
    assert_eq!(seen, "[]");
    let file = host.file("env", "# a comment\nFROM_FILE=yes\nINHERITED\n");
    let output = host
        .dhow(&[
            "run",
            "--rm",
            "-e",
            "ONE=1",
            "-e",
            "INHERITED",
            "--env-file",
            file.to_str().unwrap(),
            "-w",
            "/var/made",
            "-u",
            "app",
            "-h",
            "box",
            "busybox",
            "sh",
            "-c",
            "echo $ONE $INHERITED $FROM_FILE $(pwd) $(id -u):$(id -g) $(hostname) $HOME",
        ])
        .env("INHERITED", "taken")
        .ok();
    assert_eq!(output, "1 taken yes /var/made 1000:1000 box /home/app");
    let groups = host.type_in("run --rm -u app busybox id -G").ok();
    assert_eq!(groups, "1000 50");
    assert_eq!(host.type_in("run --rm -u 12:34 busybox id -u").ok(), "12");
    host.type_in("run --rm -u nobody-here busybox id").fails(125);
    host.type_in("run --rm -u 4294967296 busybox id").fails(125);
    assert_eq!(host.type_in("run --rm --entrypoint echo busybox a b").ok(), "a b");
}

fn limits_are_in_force(host: &Host) {
    host.busybox();
    let id =
        host.type_in("run -d -m 64m --memory-swap 64m --cpus 0.5 --pids-limit 20 busybox sleep 1000").ok();
    let limits = host
        .dhow(&[
            "inspect",
            "-f",
            "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
            &id,
        ])
        .ok();
    assert_eq!(limits, "67108864 500000000 20");
    let seen = host
        .dhow(&[
            "exec",
            &id,
            "sh",
            "-c",
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max",
        ])
        .ok();
    assert_eq!(seen.lines().last(), Some("67108864"));
    // A fork bomb ends at the limit: the shell says that it cannot fork.
    let bomb = host.dhow(&["exec", &id, "sh", "-c", "for i in $(seq 40); do sleep 5 & done; wait"]).run();
    assert!(bomb.stderr.contains("fork"), "{}", bomb.stderr);
    let killed = host
        .dhow(&[
            "run",
            "--name",
            "greedy",
            "-m",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
            "sh",
            "-c",
            "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ${#x}",
        ])
        .run();
    assert_ne!(killed.code, 0);
    assert_eq!(host.dhow(&["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]).ok(), "true");
}

fn pause_top_stats_and_update(host: &Host) {
    host.busybox();
    host.type_in("run -d --name one busybox sleep 1000").ok();
    assert_eq!(host.type_in("pause one").ok(), "one");
    assert!(host.type_in("ps").ok().contains("(Paused)"));
    host.type_in("exec one true").fails(1);
    assert_eq!(host.type_in("unpause one").ok(), "one");
    let top = host.type_in("top one").ok();
    assert!(top.starts_with("UID") && top.contains("sleep 1000"), "{top}");
    let stats = host.dhow(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"]).ok();
    assert_eq!(stats, "one 1");
    let header = host.type_in("stats --no-stream").ok();
    assert!(header.contains("MEM USAGE / LIMIT") && header.contains("one"), "{header}");
    assert_eq!(host.type_in("update --memory 128m --memory-swap 128m one").ok(), "one");
    assert_eq!(host.type_in("inspect -f {{.HostConfig.Memory}} one").ok(), "134217728");
    assert_eq!(host.type_in("diff one").ok(), "");
    host.type_in("exec one touch /tmp/new").ok();
    assert_eq!(host.type_in("diff one").ok(), "C /tmp\nA /tmp/new");
}

fn logs_as_asked_for(host: &Host) {
    host.busybox();
    host.dhow(&[
        "run",
        "--name",
        "talk",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2",
    ])
    .ok();
    let all = host.type_in("logs talk").run();
    assert_eq!(all.stdout, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert_eq!(all.stderr, "oops\n");
    assert_eq!(host.type_in("logs --tail 2 talk").run().stdout, "line 5\n");
    let stamped = host.type_in("logs -t --tail 3 talk").run().stdout;
    assert!(stamped.lines().all(|line| line.as_bytes()[4] == b'-' && line.contains("Z line ")), "{stamped}");
    assert_eq!(host.type_in("logs --since 2100-01-01T00:00:00Z talk").run().stdout, "");
    assert_eq!(host.type_in("logs --until 2001-01-01T00:00:00Z talk").run().stdout, "");
    // Following a container that ends, ends.
    host.dhow(&["run", "-d", "--name", "later", "busybox", "sh", "-c", "echo first; read line; echo last"])
        .ok();
    assert_eq!(host.type_in("logs -f later").ok().lines().last(), Some("last"));
    assert!(host.type_in("logs nobody").fails(1).contains("No such container: nobody"));
}

fn input_is_passed_on(host: &Host) {
    host.busybox();
    let output = host.type_in("run --rm -i busybox wc -c").input("x".repeat(1_000_000)).ok();
    assert_eq!(output, "1000000");
    let echoed = host.type_in("run --rm -i busybox cat").input("y".repeat(3_000_000)).run();
    assert_eq!((echoed.code, echoed.stdout.len()), (0, 3_000_000));
    assert_eq!(host.type_in("run --rm busybox cat").input("not for it").ok(), "");
    host.type_in("create -i --name later busybox cat").ok();
    assert_eq!(host.type_in("start -a -i later").input("hello").ok(), "hello");
}

fn what_is_missing_is_named(host: &Host) {
    for line in ["start", "stop", "kill", "rm", "logs", "pause", "top", "restart", "wait", "port", "diff"] {
        let error = host.type_in(&format!("{line} nothing-here")).fails(1);
        assert!(error.contains("No such container: nothing-here"), "{line}: {error}");
    }
    let error = host.type_in("exec nothing-here true").fails(1);
    assert!(error.contains("No such container: nothing-here"), "{error}");
    // Several names: the rest is done, the exit code tells.
    host.busybox();
    host.type_in("create --name there busybox true").ok();
    let output = host.type_in("rm nothing-here there").run();
    assert_eq!((output.code, output.stdout.trim()), (1, "there"));
}

fn wait_rename_and_prune(host: &Host) {
    host.busybox();
    host.dhow(&["run", "-d", "--name", "short", "-i", "busybox", "sh", "-c", "exit 3"]).ok();
    assert_eq!(host.type_in("wait short").ok(), "3");
    host.type_in("rename short long").ok();
    assert!(
        host.dhow(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).ok().starts_with("long Exited (3)")
    );
    host.type_in("run -d --name stays busybox sleep 1000").ok();
    let question = host.type_in("container prune").input("n\n").run();
    assert!(
        question.stdout.contains("WARNING! This will remove all stopped containers."),
        "{}",
        question.stdout
    );
    assert!(host.type_in("container prune -f").ok().starts_with("Deleted Containers:"));
    assert_eq!(host.dhow(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "stays");
}

fn the_stop_signal_is_the_images(host: &Host) {
    host.busybox();
    host.dhow(&[
        "run",
        "-d",
        "--name",
        "polite",
        "--stop-signal",
        "SIGUSR1",
        "busybox",
        "sh",
        "-c",
        "trap 'echo usr1; exit 9' USR1; echo ready; while :; do sleep 0.05; done",
    ])
    .ok();
    host.wait_for_log("polite", "ready");
    host.type_in("stop polite").ok();
    assert_eq!(host.type_in("inspect -f {{.State.ExitCode}} polite").ok(), "9");
    assert_eq!(host.type_in("logs polite").ok(), "ready\nusr1");
    host.type_in("start polite").ok();
    eventually_logs_twice(host);
    host.type_in("kill polite").ok();
    assert_eq!(host.type_in("wait polite").ok(), "137");
}

fn eventually_logs_twice(host: &Host) {
    testkit::eventually("it is ready again", || {
        host.type_in("logs polite").ok().matches("ready").count() == 2
    });
}

fn init_reaps_and_passes_signals_on(host: &Host) {
    host.busybox();
    host.type_in("run -d --name small --init busybox sleep 1000").ok();
    let first = host.dhow(&["exec", "small", "cat", "/proc/1/comm"]).ok();
    assert_eq!(first, "docker-init");
    host.dhow(&["stop", "-t", "30", "small"]).ok();
    assert_eq!(host.type_in("inspect -f {{.State.ExitCode}} small").ok(), "143");
    assert_eq!(host.dhow(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 5"]).run().code, 5);
}

fn a_cidfile_holds_the_id(host: &Host) {
    host.busybox();
    let path = host.home().join("cid");
    let id = host.dhow(&["run", "-d", "--cidfile", path.to_str().unwrap(), "busybox", "true"]).ok();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), id);
    host.dhow(&["run", "--cidfile", path.to_str().unwrap(), "busybox", "true"]).fails(125);
}

fn shared_memory_is_memory_and_limited(host: &Host) {
    host.busybox();
    let run = "run -d --network none --ipc";
    host.type_in(&format!("{run} shareable --shm-size 2m --name one busybox sleep 1000")).ok();
    host.type_in(&format!("{run} container:one --name two busybox sleep 1000")).ok();
    let fill = "echo shared > /dev/shm/said; dd if=/dev/zero of=/dev/shm/big bs=64k count=80 2>/dev/null; \
                grep -c ' /dev/shm .* - tmpfs .*size=2048k' /proc/self/mountinfo";
    for name in ["one", "two"] {
        assert_eq!(host.dhow(&["exec", name, "sh", "-c", fill]).ok(), "1");
        let size: u64 = host.type_in(&format!("exec {name} stat -c %s /dev/shm/big")).ok().parse().unwrap();
        assert!((1 << 20..2 << 20).contains(&size), "{size}");
    }
    // It goes with the last that has it, and nothing of it lies on the machine.
    assert_eq!(host.program("find", &[".", "-name", "big"]).ok(), "");
    host.type_in("rm -f one").ok();
    assert_eq!(host.type_in("exec two cat /dev/shm/said").ok(), "shared");
    let gone = host.type_in("run --rm --ipc container:two busybox true").fails(125);
    assert!(gone.contains("non-shareable IPC"), "{gone}");
}

/// Docker overlooks in an image what it refuses of a request.
fn images_with_odd_configurations_run(host: &Host) {
    host.busybox();
    host.dhow(&["save", "-o", "image.tar", "busybox"]).ok();
    let edit = |name: &str, change: &str| {
        let script = r#"
import hashlib, io, json, sys, tarfile
name, change = sys.argv[1:]
files = {m.name: f.read() for t in [tarfile.open("image.tar")] for m in t if (f := t.extractfile(m))}
[item] = json.loads(files["manifest.json"])
config = json.loads(files[item["Config"]])
exec(change, {"c": config, "o": config.setdefault("config", {})})
item["Config"], item["RepoTags"] = "config.json", [name]
files["config.json"] = json.dumps(config).encode()
files["manifest.json"] = json.dumps([item]).encode()
with tarfile.open(name + ".tar", "w") as out:
    for name in ["manifest.json", "config.json", *item["Layers"]]:
        info = tarfile.TarInfo(name); info.size = len(files[name])
        out.addfile(info, io.BytesIO(files[name]))
"#;
        host.program("python3", &["-c", script, name, change]).ok();
        host.type_in(&format!("load -q -i {name}.tar"))
    };
    let odd = "o.update(Env=['PATH=/a', '', 'PATH=/bin'], StopSignal='SIGBOGUS', ExposedPorts={'99999/tcp': {}}, \
               Volumes={'../../x': {}}, Healthcheck={'Test': ['CMD', 'true'], 'Interval': 1}, Cmd='ls')";
    edit("odd", odd).ok();
    let told =
        host.dhow(&["run", "--rm", "--network", "none", "odd", "sh", "-c", "echo $PATH; test -d /x"]).ok();
    assert_eq!(told, "/bin");
    assert!(host.type_in("run --rm --network none odd").ok().contains("bin"));
    edit("arm", "c.update(architecture='arm64')").ok();
    let warned = host.type_in("run --rm --network none arm true").run();
    let words =
        "WARNING: The requested image's platform (linux/arm64) does not match the detected host platform";
    assert!(cfg!(target_arch = "aarch64") || warned.stderr.contains(words), "{}", warned.stderr);
    assert_eq!(warned.code, 0);
    let refused = edit("win", "c.update(os='windows')").fails(1);
    assert!(refused.contains("cannot load windows image on linux"), "{refused}");
}
