//! From an empty engine to a served page and back, as the tutorials teach it.

use crate::Client;

/// Every step of the journey, in order.
pub fn whole(client: &impl Client) {
    image(client);
    foreground(client);
    detached(client);
    published(client);
    exec_and_copy(client);
    volumes(client);
    build(client);
    save_and_load(client);
    streams(client);
    clean(client);
}

fn run(client: &impl Client, arguments: &[&str]) -> String {
    client.client(arguments).ok()
}

fn image(client: &impl Client) {
    client.client(&["import", "--change", "CMD [\"sh\"]", "-", "busybox"]).input(testkit::busybox()).ok();
    run(client, &["tag", "busybox", "box:1"]);
    assert_eq!(run(client, &["images", "-q", "box"]).len(), 12);
    assert_eq!(run(client, &["inspect", "-f", "{{json .Config.Cmd}}", "busybox"]), "[\"sh\"]");
    assert!(run(client, &["history", "busybox"]).contains("Imported from -"));
    run(client, &["version"]);
    assert!(run(client, &["info", "--format", "{{.OSType}}"]).contains("linux"));
}

fn foreground(client: &impl Client) {
    let output =
        client.client(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (3, "out\n", "err\n"));
    assert_eq!(client.client(&["run", "--rm", "busybox", "no-such"]).run().code, 127);
    assert_eq!(client.client(&["run", "--rm", "busybox", "/etc"]).run().code, 126);
    assert_eq!(client.client(&["run", "--rm", "--cap-add", "NONSENSE", "busybox", "true"]).run().code, 125);
    assert_eq!(client.client(&["run", "--rm", "-i", "busybox", "cat"]).input("through").ok(), "through");
    assert_eq!(run(client, &["ps", "-aq"]), "");
}

fn detached(client: &impl Client) {
    let id = run(
        client,
        &["run", "-d", "--name", "one", "-m", "64m", "-l", "tier=web", "busybox", "sleep", "1000"],
    );
    assert_eq!(id.len(), 64);
    assert_eq!(run(client, &["ps", "-q", "--no-trunc", "--filter", "label=tier=web"]), id);
    assert!(run(client, &["ps"]).contains("\"sleep 1000\""));
    assert_eq!(
        run(client, &["inspect", "-f", "{{.HostConfig.Memory}} {{.State.Status}}", "one"]),
        "67108864 running"
    );
    assert!(run(client, &["top", "one"]).contains("sleep 1000"));
    assert_eq!(run(client, &["stats", "--no-stream", "--format", "{{.Name}}", "one"]), "one");
    run(client, &["pause", "one"]);
    assert!(run(client, &["ps"]).contains("(Paused)"));
    run(client, &["unpause", "one"]);
    run(client, &["rename", "one", "uno"]);
    run(client, &["update", "--memory", "96m", "--memory-swap", "96m", "uno"]);
    run(client, &["restart", "-t", "0", "uno"]);
    assert_ne!(client.client(&["rm", "uno"]).run().code, 0);
    run(client, &["stop", "-t", "0", "uno"]);
    assert_eq!(run(client, &["wait", "uno"]), "137");
    assert_eq!(run(client, &["rm", "uno"]), "uno");
}

fn published(client: &impl Client) {
    let script = "echo page > /var/www/index.html; exec httpd -f -p 80 -h /var/www";
    run(client, &["run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", "busybox", "sh", "-c", script]);
    assert_eq!(run(client, &["port", "web", "80"]), "127.0.0.1:8080");
    testkit::eventually("the page is served", || {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect("127.0.0.1:8080") else { return false };
        let mut answer = String::new();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.ends_with("page\n")
    });
    assert!(run(client, &["network", "inspect", "bridge"]).contains("web"));
}

fn exec_and_copy(client: &impl Client) {
    let output = client.client(&["exec", "web", "sh", "-c", "echo out; echo err >&2; exit 4"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (4, "out\n", "err\n"));
    assert_eq!(client.client(&["exec", "-i", "web", "cat"]).input("through").ok(), "through");
    assert_eq!(
        run(
            client,
            &["exec", "-u", "app", "-w", "/tmp", "-e", "A=b", "web", "sh", "-c", "echo $(id -u) $PWD $A"]
        ),
        "1000 /tmp b"
    );
    // Older engines say 126.
    assert!([126, 127].contains(&client.client(&["exec", "web", "no-such"]).run().code));
    run(client, &["cp", "web:/etc/passwd", "copied"]);
    run(client, &["cp", "copied", "web:/tmp/back"]);
    assert!(run(client, &["exec", "web", "cat", "/tmp/back"]).starts_with("root:"));
    assert!(run(client, &["diff", "web"]).contains("A /tmp/back"));
    assert!(client.client(&["export", "web"]).run().bytes.len() > 500_000);
    run(client, &["commit", "web", "committed"]);
    assert!(run(client, &["run", "--rm", "committed", "cat", "/tmp/back"]).starts_with("root:"));
}

fn volumes(client: &impl Client) {
    run(client, &["volume", "create", "data"]);
    run(client, &["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file"]);
    let mount = "type=volume,source=data,target=/data,readonly";
    assert_eq!(run(client, &["run", "--rm", "--mount", mount, "busybox", "cat", "/data/file"]), "kept");
    assert!(run(client, &["volume", "ls"]).contains("data"));
    run(client, &["volume", "rm", "data"]);
    assert!(
        run(
            client,
            &[
                "run",
                "--rm",
                "--read-only",
                "--tmpfs",
                "/scratch",
                "busybox",
                "sh",
                "-c",
                "touch /scratch/x && touch /x || echo kept"
            ]
        )
        .contains("kept")
    );
}

fn build(client: &impl Client) {
    let dockerfile = "FROM busybox AS first\nARG WHO=nobody\nRUN echo hello $WHO > /greeting\n\
                      FROM busybox\nCOPY --from=first /greeting /greeting\nCMD [\"cat\", \"/greeting\"]\n";
    let build = |extra: &[&str]| {
        client.client(&[&["build", "-t", "greeting"], extra, &["-"]].concat()).input(dockerfile).run()
    };
    let output = build(&["--build-arg", "WHO=world"]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    assert_eq!(run(client, &["run", "--rm", "greeting"]), "hello world");
    let id = run(client, &["images", "-q", "greeting"]);
    assert_eq!(build(&["--build-arg", "WHO=world"]).code, 0);
    assert_eq!(run(client, &["images", "-q", "greeting"]), id);
    let quiet = client.client(&["build", "-q", "-t", "greeting", "--build-arg", "WHO=world", "-"]);
    assert_eq!(quiet.input(dockerfile).ok(), run(client, &["inspect", "-f", "{{.Id}}", "greeting"]));
    let failed = client.client(&["build", "-"]).input("FROM busybox\nRUN exit 6\n").run();
    assert_ne!(failed.code, 0);
    assert!(
        format!("{}{}", failed.stdout, failed.stderr).contains("6"),
        "{}{}",
        failed.stdout,
        failed.stderr
    );
}

fn save_and_load(client: &impl Client) {
    run(client, &["save", "-o", "saved.tar", "greeting"]);
    let id = run(client, &["inspect", "-f", "{{.Id}}", "greeting"]);
    run(client, &["rmi", "greeting"]);
    assert!(run(client, &["load", "-i", "saved.tar"]).contains("greeting:latest"));
    assert_eq!(run(client, &["inspect", "-f", "{{.Id}}", "greeting"]), id);
}

fn streams(client: &impl Client) {
    run(client, &["run", "--name", "talk", "busybox", "sh", "-c", "for i in 1 2 3; do echo line $i; done"]);
    assert_eq!(run(client, &["logs", "talk"]), "line 1\nline 2\nline 3");
    assert_eq!(run(client, &["logs", "--tail", "1", "talk"]), "line 3");
    assert_eq!(run(client, &["start", "-a", "talk"]), "line 1\nline 2\nline 3");
    let since = "2001-01-01T00:00:00Z";
    // Clients send whole seconds: what happened in this one is told in the next.
    testkit::eventually("the events are told", || {
        let asked = [
            "events",
            "--since",
            since,
            "--until",
            "0s",
            "--filter",
            "container=talk",
            "--format",
            "{{.Action}}",
        ];
        let events = run(client, &asked);
        events.contains("start") && events.contains("die")
    });
}

fn clean(client: &impl Client) {
    run(client, &["rm", "-f", "web", "talk"]);
    // Older engines keep the container of a failed build step.
    run(client, &["container", "prune", "-f"]);
    assert_eq!(run(client, &["ps", "-aq"]), "");
    assert!(run(client, &["system", "df"]).contains("Images"));
    run(client, &["image", "prune", "-f"]);
    run(client, &["rmi", "box:1"]);
    run(client, &["network", "create", "front"]);
    run(client, &["network", "rm", "front"]);
}
