//! What strangers write and a person takes in: images, archives, build contexts, and clients that want too much.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Host, Mode, Output, Terminal, eventually};

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, bytes.len()), name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn sha256(host: &Host, bytes: &[u8]) -> String {
    let file = host.file("summed", bytes);
    let sum = host.program("sha256sum", &[file.to_str().unwrap()]).ok();
    format!("sha256:{}", sum.split(' ').next().unwrap())
}

/// Loads an image of this configuration and these layers (with their digests).
fn load(host: &Host, name: &str, change: &Value, layers: &[(Vec<u8>, String)]) -> Output {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let diff_ids: Vec<&str> = layers.iter().map(|(_, digest)| digest.as_str()).collect();
    let mut config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [format!("{name}:latest")], "Layers": names}]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let mut files = vec![("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    files.extend(names.iter().zip(layers).map(|(name, (bytes, _))| (name.as_str(), &bytes[..])));
    host.dhow(&["load"]).input(archive(&files)).run()
}

fn build(host: &Host, dockerfile: &str) -> Output {
    host.file("build/Dockerfile", dockerfile);
    host.dhow(&["build", "-t", "built", host.home().join("build").to_str().unwrap()]).run()
}

/// What running an image ends with: all goes well, or these words.
const RUNS: &str = "";

fn configurations() -> Vec<(Value, &'static str)> {
    let huge = format!("BIG={}", "x".repeat(1 << 20));
    vec![
        (json!({"Env": ["A\0B=1"]}), "Env"),
        (json!({"Env": ["=1"]}), RUNS),
        (json!({"Env": ["A=1\nB=2", "NAME"]}), RUNS),
        (json!({"Env": [huge]}), "argument list too long"),
        (json!({"User": "ro\0ot"}), "User"),
        (json!({"User": "x".repeat(100_000)}), "unable to find user"),
        (json!({"User": "\u{1b}[2J"}), "unable to find user ?[2J"),
        (json!({"WorkingDir": "../../etc"}), "needs to be an absolute path"),
        (json!({"WorkingDir": "/proc/self/fd/7"}), "chdir to cwd"),
        (json!({"WorkingDir": "/a\0b"}), "WorkingDir"),
        (json!({"WorkingDir": format!("/{}", "x".repeat(5000))}), "File name too long"),
        (json!({"WorkingDir": "/a/../../b"}), RUNS),
        (json!({"Volumes": {"/": {}}}), RUNS),
        (json!({"Volumes": {"/a/../": {}}}), RUNS),
        (json!({"Volumes": {"/proc": {}}}), "cannot be mounted"),
        (json!({"Volumes": {"/proc/self/fd": {}}}), "cannot be mounted"),
        (json!({"Volumes": {"a/..": {}}}), RUNS),
        (json!({"Volumes": {"/a\0b": {}}}), "Volumes"),
        (json!({"Entrypoint": ["/bin/e\0cho"]}), "Entrypoint"),
        (json!({"Entrypoint": [""], "Cmd": [""]}), RUNS),
        (json!({"Entrypoint": ["/"]}), "is a directory"),
        (json!({"ExposedPorts": {"99999/tcp": {}, "80/\u{1b}[2J": {}, "-1": {}}}), RUNS),
        (json!({"Healthcheck": {"Test": ["CMD", "true"], "Interval": -1}}), RUNS),
        (json!({"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}}), RUNS),
        (json!({"Healthcheck": {"Test": ["EVIL"]}}), RUNS),
        (json!({"Healthcheck": {"Test": ["CMD", "tr\0ue"]}}), "Healthcheck"),
        (
            json!({"Healthcheck": {"Test": ["CMD", "true"], "Interval": i64::MAX, "Timeout": i64::MAX,
                "StartPeriod": i64::MAX, "StartInterval": i64::MAX, "Retries": i64::MAX}}),
            RUNS,
        ),
        (json!({"StopSignal": "SIGEVIL"}), RUNS),
        (json!({"StopSignal": "-9"}), RUNS),
        (json!({"Hostname": "a/b\0", "Domainname": "..", "Image": "/etc/passwd", "Shell": []}), RUNS),
        (json!(null), RUNS),
    ]
}

#[test]
fn configurations_of_images() {
    let host = Host::new(Mode::Daemon);
    let layer = testkit::busybox();
    let layers = [(layer.clone(), sha256(&host, &layer))];
    for (config, words) in configurations() {
        let shown: String = config.to_string().chars().take(120).collect();
        let loaded = load(&host, "evil", &json!({"config": config}), &layers);
        let nul = config.to_string().contains("\\u0000") && config.get("Hostname").is_none();
        if nul {
            let told = format!("invalid image configuration: {words} contains a NUL byte");
            assert!(loaded.code == 1 && loaded.stderr.contains(&told), "{shown}: {}", loaded.stderr);
            continue;
        }
        assert_eq!(loaded.code, 0, "{shown}: {}", loaded.stderr);
        host.type_in("image inspect evil").ok();
        host.type_in("history evil").ok();
        let ran = host.dhow(&["run", "--rm", "evil", "true"]).run();
        match words {
            RUNS => assert_eq!(ran.code, 0, "{shown}: {}", ran.stderr),
            words => {
                assert!((125..128).contains(&ran.code), "{shown}: {}", ran.stderr);
                assert!(ran.stderr.contains(words), "{shown}: {}", ran.stderr);
                assert!(!ran.stderr.contains(['\0', '\u{1b}']), "{shown}: {:?}", ran.stderr);
            }
        }
        assert_eq!(host.type_in("ps -aq").ok(), "", "{shown}");
        let built = build(&host, "FROM evil\nRUN true\n");
        assert!(built.code <= 1 && !built.stderr.contains("panicked"), "{shown}: {}", built.stderr);
    }
    assert_eq!(host.type_in("volume ls -q").ok(), "");
}

/// Names of users are looked for in files of the image: no more of them is read than such a file can have, and only of files
/// below its root.
#[test]
fn files_of_users_without_measure() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/large", "x:x:1:1::/:/bin/sh\n".repeat(200_000) + "app:x:5:5::/:/bin/sh\n");
    for (what, make) in [
        ("too long", "COPY large /etc/passwd"),
        ("without an end", "RUN rm -f /etc/passwd && ln -s /dev/zero /etc/passwd"),
        ("the machine's", "RUN rm -f /etc/passwd && ln -s /proc/1/root/etc/passwd /etc/passwd"),
        ("a pipe", "RUN rm -f /etc/passwd && mkfifo /etc/passwd"),
        ("a directory", "RUN rm -f /etc/passwd && mkdir /etc/passwd"),
    ] {
        host.file("ctx/Dockerfile", format!("FROM busybox\n{make}\n"));
        host.type_in("build -q -t users ctx").ok();
        let begun = Instant::now();
        let ran = host.type_in("run --rm -u app users id").run();
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{what}: {}{}", ran.stdout, ran.stderr);
        assert!(
            !ran.stderr.is_empty() && begun.elapsed() < Duration::from_secs(20),
            "{what}: {}",
            ran.stderr
        );
    }
}

/// CVE-2026-53488: what an image says of itself is no word to the engine.
#[test]
fn labels_and_triggers_of_images() {
    let host = Host::new(Mode::Embedded);
    let layer = testkit::busybox();
    let layers = [(layer.clone(), sha256(&host, &layer))];
    let labels = json!({"dhow.restart": "always", "dhow.monitor": "/evil", "io.containerd.restart.loguri": "binary:///evil",
        "containerd.io/restart.loguri": "binary:///evil", "com.docker.compose.project": "x", "devices": "all",
        "\u{1b}[2J": "\u{1b}[2J", "privileged": "true"});
    assert_eq!(load(&host, "evil", &json!({"config": {"Labels": labels}}), &layers).code, 0);
    host.type_in("create --name box evil true").ok();
    host.type_in("create --name plain --label a=b evil true").ok();
    let document = |name: &str| {
        let mut document: Value = serde_json::from_str(&host.dhow(&["inspect", name]).ok()).unwrap();
        document[0]["HostConfig"].take()
    };
    assert_eq!(document("box"), document("plain"));
    assert_eq!(document("box")["RestartPolicy"]["Name"], "no");
    let table = host.type_in("ps -a --format").run();
    assert_ne!(table.code, 0);
    let table = host.dhow(&["ps", "-a", "--format", "table {{.Labels}}"]).ok();
    assert!(table.contains("?[2J=?[2J") && !table.contains('\u{1b}'), "{table:?}");

    for trigger in ["ONBUILD RUN true", "FROM evil", "MAINTAINER x", "", "# syntax=evil", "RUN true\nFROM x"]
    {
        assert_eq!(load(&host, "evil", &json!({"config": {"OnBuild": [trigger]}}), &layers).code, 0);
        let built = build(&host, "FROM evil\n");
        assert!(built.code == 1 && built.stderr.contains("trigger"), "{trigger:?}: {}", built.stderr);
    }
    let refused = load(&host, "evil", &json!({"config": {"OnBuild": ["\0"]}}), &layers);
    assert!(
        refused.code == 1 && refused.stderr.contains("OnBuild contains a NUL byte"),
        "{}",
        refused.stderr
    );
    let outside = json!({"config": {"OnBuild": ["COPY /etc/passwd ../../../etc/shadow /got/"]}});
    assert_eq!(load(&host, "evil", &outside, &layers).code, 0);
    let built = build(&host, "FROM evil\n");
    assert!(built.code == 1 && built.stderr.contains("not found"), "{}", built.stderr);
}

#[test]
fn histories_dates_and_layers_without_measure() {
    let host = Host::new(Mode::Embedded);
    let layer = testkit::busybox();
    let mut layers = vec![(layer.clone(), sha256(&host, &layer))];
    let steps: Vec<Value> =
        (0..100_000).map(|step| json!({"created_by": format!("{step}"), "empty_layer": true})).collect();
    assert_eq!(load(&host, "evil", &json!({"history": steps}), &layers).code, 0);
    assert_eq!(host.type_in("history -q evil").ok().lines().count(), 100_001);
    host.type_in("run --rm evil true").ok();
    let built = build(&host, "FROM evil\nRUN true\n");
    assert!(built.code == 1 && built.stderr.contains("more than 10000 steps"), "{}", built.stderr);

    for date in
        ["0000-00-00T00:00:00Z", "99999-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "-1", "\u{1b}[2J", ""]
    {
        let step =
            json!({"created": date, "created_by": "\u{1b}]0;x\u{7}", "comment": "\u{9b}2J", "author": "\r"});
        let change = json!({"created": date, "author": "\u{1b}[2J", "history": [step]});
        assert_eq!(load(&host, "evil", &change, &layers).code, 0, "{date:?}");
        for command in ["history evil", "images", "image inspect evil", "run --rm evil true"] {
            let seen = host.type_in(command).ok();
            let commands = |c: char| c.is_control() && c != '\n';
            assert!(!seen.contains(commands), "{command} of {date:?}: {seen:?}");
        }
        assert_eq!(build(&host, "FROM evil\nRUN true\n").code, 0, "{date:?}");
    }

    let empty = archive(&[]);
    let digest = sha256(&host, &empty);
    layers.extend(vec![(empty, digest); 600]);
    assert_eq!(load(&host, "evil", &json!({}), &layers).code, 0);
    host.type_in("history evil").ok();
    let ran = host.type_in("run --rm evil true").run();
    assert!(ran.code == 125 && ran.stderr.contains("no more than 500"), "{}", ran.stderr);
    assert_eq!(host.type_in("ps -aq").ok(), "");
}

/// Places that archives try to write to: the first is where a link before it leads.
fn escapes(outside: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let target = outside.to_str().unwrap();
    let climbing = format!("../../../../../../../../../../../..{target}");
    let link = |kind: tar::EntryType, to: &str, then: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut first = header(kind, 0o777, 0);
        tar.append_link(&mut first, "link", to).unwrap();
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, 4), then, &b"evil"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    // The library refuses such names: they are put into the header as bytes.
    let named = |name: &str| {
        let mut header = header(tar::EntryType::Regular, 0o644, 4);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, &b"evil"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    use tar::EntryType::{Link, Symlink};
    vec![
        ("a file behind an absolute link", link(Symlink, target, "link/file")),
        ("a file behind a climbing link", link(Symlink, &climbing, "link/file")),
        ("a file in the place of a link", link(Symlink, &format!("{target}/file"), "link")),
        ("a file behind a link of /proc", link(Symlink, "/proc/self/root", &format!("link{target}/file"))),
        ("a hard link to the outside", link(Link, &format!("{target}/file"), "link")),
        ("a hard link that climbs", link(Link, &format!("{climbing}/file"), "link")),
        ("an absolute name", named(&format!("{target}/file"))),
        ("a climbing name", named(&format!("../../../../../../..{target}/file"))),
    ]
}

fn assert_untouched(canary: &Path, what: &str) {
    assert_eq!(std::fs::read_to_string(canary).unwrap(), "untouched", "{what}");
    assert_eq!(std::fs::read_dir(canary.parent().unwrap()).unwrap().count(), 1, "{what}");
}

/// Each archive by each way in: put into a container that is stopped and one that runs, as a build's context, added by
/// a build, imported, loaded.
#[test]
fn archives_that_write_elsewhere() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    // A path short enough for a name in an archive's header.
    let outside = tempfile::Builder::new().prefix("dhow-canary-").tempdir().unwrap();
    let canary = outside.path().join("file");
    std::fs::write(&canary, "untouched").unwrap();
    host.type_in("create --name stopped busybox true").ok();
    host.type_in("run -d --name running busybox sleep 1000").ok();
    host.file("build/Dockerfile", "FROM busybox\nADD evil.tar /x/\nRUN cat /x/link /x/link/file || true\n");
    for (what, bytes) in escapes(outside.path()) {
        host.file("build/evil.tar", &bytes);
        for container in ["stopped:/tmp", "running:/tmp"] {
            host.dhow(&["cp", "-", container]).input(&bytes[..]).run();
            assert_untouched(&canary, what);
        }
        let context = [&archive(&[("Dockerfile", b"FROM busybox\nCOPY . /x/\n")])[..], &bytes].concat();
        let mut whole = archive(&[("Dockerfile", b"FROM busybox\nCOPY . /x/\nRUN cat /x/link || true\n")]);
        // Without the blocks of zeros that end an archive the other one goes on.
        whole.truncate(whole.len() - 1024);
        whole.extend_from_slice(&bytes);
        for context in [context, whole] {
            let built = host.dhow(&["build", "--no-cache", "-"]).input(context).run();
            assert!(!built.stderr.contains("untouched"), "{what}: {}", built.stderr);
            assert_untouched(&canary, what);
        }
        let built = host.dhow(&["build", "--no-cache", host.home().join("build").to_str().unwrap()]).run();
        assert!(!built.stderr.contains("untouched"), "{what}: {}", built.stderr);
        assert_untouched(&canary, what);
        host.dhow(&["import", "-", "imported"]).input(&bytes[..]).run();
        host.dhow(&["load"]).input(&bytes[..]).run();
        assert_untouched(&canary, what);
    }
}

/// Programs that lie where a build or a load happens: what needs unpacking is unpacked by our own code.
#[test]
fn programs_in_a_context() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let owned = host.home().join("owned");
    let trap = format!("#!/bin/sh\necho run >> {}\n", owned.display());
    let names = ["xz", "unxz", "unpigz", "gzip", "gunzip", "zstd", "bzip2", "tar", "git", "mount", "cp"];
    for name in names {
        let path = host.file(&format!("build/{name}"), &trap);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folder = host.home().join("build");
    let member = host.file("member", "content");
    for (flag, extension) in [("-J", "xz"), ("-z", "gz"), ("-j", "bz2")] {
        let packed = folder.join(format!("x.tar.{extension}"));
        let arguments =
            [flag, "-cf", packed.to_str().unwrap(), "-C", host.home().to_str().unwrap(), "member"];
        host.program("tar", &arguments).ok();
    }
    assert!(member.exists());
    host.file(
        "build/Dockerfile",
        "FROM busybox\nADD x.tar.xz /xz/\nADD x.tar.gz /gz/\nADD x.tar.bz2 /bz2/\n",
    );
    let in_context = |arguments: &[&str]| {
        let mut command = host.command();
        command.current_dir(&folder).env("PATH", ".").args(arguments);
        command.output().unwrap()
    };
    let built = in_context(&["build", "-t", "built", "."]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_eq!(
        host.type_in("run --rm built cat /xz/member /gz/member /bz2/member").ok(),
        "contentcontentcontent"
    );
    for extension in ["xz", "gz", "bz2"] {
        let imported = in_context(&["import", &format!("x.tar.{extension}"), "imported"]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
    assert!(!owned.exists());
}

/// Names that containers and images make up are read by people, whose terminals would obey them.
#[test]
fn commands_for_a_terminal() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let name = "\u{1b}]0;owned\u{7}";
    let script = format!("touch '/tmp/{name}'; sleep 1000; true");
    let label = format!("{name}={name}");
    host.dhow(&["run", "-d", "--name", "box", "--label", &label, "busybox", "sh", "-c", &script, name]).ok();
    eventually("the file is there", || host.type_in("diff box").ok().contains(name));
    for command in ["diff box", "ps --no-trunc", "top box", "events --since 0 --until 0s", "history busybox"]
    {
        let mut typed = host.command();
        typed.args(command.split(' '));
        let (code, shown) = Terminal::new(&typed).ends();
        assert_eq!(code, 0, "{command}: {shown:?}");
        assert!(!shown.contains(name), "{command}: {shown:?}");
        assert!(command.starts_with("history") || shown.contains("owned"), "{command}: {shown:?}");
    }
    let refused = host.dhow(&["run", "--rm", "-u", name, "busybox", "true"]).fails(125);
    assert!(refused.contains("?]0;owned?") && !refused.contains(name), "{refused:?}");
}

/// What is too large is for whoever owns the disk to say.
#[test]
fn layers_larger_than_they_may_be() {
    let host = Host::new(Mode::Embedded);
    let limited = |size: &str, arguments: &[&str], input: &[u8]| {
        host.dhow(arguments).env("DHOW_LAYER_MAX", size).input(input).run()
    };
    let layer = archive(&[("file", &[0; 3 << 20])]);
    let refused = limited("1m", &["import", "-", "large"], &layer);
    assert!(refused.code == 1 && refused.stderr.contains("more than 1048576 bytes"), "{}", refused.stderr);
    let digest = sha256(&host, &layer);
    assert_eq!(load(&host, "large", &json!({}), &[(layer.clone(), digest)]).code, 0);
    host.type_in("save -o saved.tar large").ok();
    host.type_in("rmi large").ok();
    let refused = limited("1m", &["load", "-i", "saved.tar"], &[]);
    assert!(refused.code == 1 && refused.stderr.contains("more than 1048576 bytes"), "{}", refused.stderr);
    assert_eq!(host.type_in("images -q").ok(), "");
    assert_eq!(limited("8m", &["load", "-i", "saved.tar"], &[]).code, 0);
    host.file("ctx/Dockerfile", "FROM large\nADD large.tar /unpacked/\n");
    host.file("ctx/large.tar", &layer);
    let refused = limited("1m", &["build", "ctx"], &[]);
    assert!(refused.code == 1 && refused.stderr.contains("more than 1048576 bytes"), "{}", refused.stderr);
    assert_eq!(limited("8m", &["build", "ctx"], &[]).code, 0);
    for wrong in ["0", "-1", "much", "1.5.2g"] {
        let refused = limited(wrong, &["images"], &[]);
        assert!(
            refused.code != 0 && refused.stderr.contains("DHOW_LAYER_MAX"),
            "{wrong}: {}",
            refused.stderr
        );
    }
}

/// The process behind a socket.
fn daemon(socket: &Path) -> PathBuf {
    let stream = UnixStream::connect(socket).unwrap();
    let peer = rustix::net::sockopt::socket_peercred(&stream).unwrap();
    PathBuf::from(format!("/proc/{}", peer.pid.as_raw_nonzero()))
}

fn descriptors(process: &Path) -> usize {
    std::fs::read_dir(process.join("fd")).unwrap().count()
}

fn status(process: &Path, field: &str) -> u64 {
    let text = std::fs::read_to_string(process.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Connections that are handed over and then half closed or dropped: nothing of them stays.
#[test]
fn connections_that_are_left_half_closed() {
    const ROUNDS: usize = 200;
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.type_in("run -d -i --name box busybox sleep 1000").ok();
    let daemon = daemon(&host.socket(0));
    let pid = host.dhow(&["inspect", "--format", "{{.State.Pid}}", "box"]).ok();
    let monitor = PathBuf::from(format!("/proc/{}", status(&PathBuf::from(format!("/proc/{pid}")), "PPid")));
    let before = [descriptors(&daemon), descriptors(&monitor)];
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        let mut stream = UnixStream::connect(host.socket(0)).unwrap();
        let request = "POST /containers/box/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n\
            Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        match round % 3 {
            0 => drop(stream),
            1 => {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                held.push(stream);
            }
            _ => {
                stream.shutdown(std::net::Shutdown::Read).unwrap();
                drop(stream);
            }
        }
    }
    drop(held);
    eventually("all descriptors are given back", || {
        descriptors(&daemon) <= before[0] + 2 && descriptors(&monitor) <= before[1] + 2
    });
    eventually("no crowd of threads stays", || status(&daemon, "Threads") < 40);
    host.type_in("exec box true").ok();
}

/// What a client sends is passed on, never collected.
#[test]
fn bodies_larger_than_the_memory_for_them() {
    const LENGTH: u64 = 256 << 20;
    const BOUND_KIB: u64 = 128 << 10;
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.type_in("create --name box busybox true").ok();
    let daemon = daemon(&host.socket(0));
    let send = |head: &str, first: &[u8], length: u64| {
        let mut stream = UnixStream::connect(host.socket(0)).unwrap();
        let length = first.len() as u64 + length;
        let head =
            format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // It may have heard enough before the end.
        let mut body = first.chain(std::io::repeat(0).take(length - first.len() as u64));
        let _ = std::io::copy(&mut body, &mut stream);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let mut large = header(tar::EntryType::Regular, 0o644, 0);
    large.set_path("large").unwrap();
    large.set_size(LENGTH);
    large.set_cksum();
    let put = send("PUT /containers/box/archive?path=/tmp", large.as_bytes(), LENGTH + 1024);
    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    let dockerfile = archive(&[("Dockerfile", b"FROM busybox\n")]);
    let context = [&dockerfile[..dockerfile.len() - 1024], large.as_bytes()].concat();
    let built = send("POST /build?q=1", &context, LENGTH + 1024);
    assert!(built.contains("sha256:"), "{built}");
    for (body, length) in [(&b"{\"Image\":\""[..], 64 << 20), (b"[", 15 << 20)] {
        let head = "POST /containers/create HTTP/1.1\r\nContent-Type: application/json\r\nX:";
        let refused = send(head, body, length);
        assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    }
    let most = status(&daemon, "VmHWM");
    assert!(most < BOUND_KIB, "{most} KiB");
}

/// What a login or a service manager allows by default is raised by the daemon, and given back to what it starts.
#[test]
fn a_daemon_with_few_descriptors_takes_more() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("build/Dockerfile", "FROM busybox\nRUN ulimit -Sn > /limit\nCMD [\"cat\", \"/limit\"]\n");
    let socket = format!("unix://{}", host.home().join("few.sock").display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -Sn 512; exec \"$@\"", "sh"]).arg(host.command().get_program());
    command
        .args(["daemon", "--host", &socket])
        .envs(host.command().get_envs().filter_map(|(k, v)| Some((k, v?))));
    // As systemd starts it, which waits for it to be ready.
    let socket_of_manager = host.home().join("notify.sock");
    let manager = UnixDatagram::bind(&socket_of_manager).unwrap();
    manager.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
    command.env("NOTIFY_SOCKET", &socket_of_manager);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let daemon = Killed(command.spawn().unwrap());
    let path = host.home().join("few.sock");
    let mut told = [0; 16];
    let length = manager.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"READY=1");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.0.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
    let exe = std::fs::read_link(format!("/proc/{}/exe", daemon.0.id())).unwrap();
    assert_eq!(
        exe,
        Path::new("/"),
        "its copies on their way into a build step show a file that can be written to"
    );
    let open: Vec<UnixStream> = (0..600).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let typed = |line: &str| host.type_in(&format!("--host {socket} {line}")).ok();
    assert_eq!(typed("run --rm --network none busybox sh -c ulimit${IFS}-Sn"), "512");
    typed("build -q -t built build");
    assert_eq!(typed("run --rm --network none built"), "512");
    drop(open);
}

/// A process that ends with the test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
