//! `dhow registry serve` as a process: what it has acknowledged survives it, whenever it is killed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use testkit::{Host, Mode};

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(host: &Host, root: &Path) -> Self {
        Self::with(host, root, &[])
    }

    fn with(host: &Host, root: &Path, arguments: &[&str]) -> Self {
        let mut command = host.command();
        command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"]).arg(root).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start the registry");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("read a line");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().expect("kill our own child");
        self.child.wait().expect("a child that was not waited for");
    }
}

/// Status and body; none when the server went away meanwhile.
fn ask(address: &str, method: &str, target: &str, kind: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = String::from_utf8_lossy(&answer[..end]).split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}

fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    format!("sha256:{}", sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Pushes an image of one layer; none when it was not acknowledged whole.
fn push(address: &str, number: usize) -> Option<()> {
    const KIND: &str = "application/vnd.oci.image.manifest.v1+json";
    let layer = format!("layer {number} ").repeat(10_000).into_bytes();
    for blob in [b"{}".as_slice(), &layer] {
        let target = format!("/v2/app/blobs/uploads/?digest={}", digest(blob));
        ask(address, "POST", &target, "", blob).filter(|(status, _)| *status == 201)?;
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": KIND,
        "config": { "mediaType": "x/config", "digest": digest(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "x/layer", "digest": digest(&layer), "size": layer.len() }],
    });
    let target = format!("/v2/app/manifests/v{number}");
    let answer = ask(address, "PUT", &target, KIND, manifest.to_string().as_bytes());
    answer.filter(|(status, _)| *status == 201).map(drop)
}

/// What a tag leads to is there and right.
fn check(address: &str, tag: &str) {
    let (status, manifest) =
        ask(address, "GET", &format!("/v2/app/manifests/{tag}"), "", b"").expect("an answer");
    assert_eq!(status, 200, "{tag}");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let (status, content) =
        ask(address, "GET", &format!("/v2/app/blobs/{layer}"), "", b"").expect("an answer");
    assert_eq!((status, digest(&content).as_str()), (200, layer), "{tag}");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let host = Host::new(Mode::Embedded);
    let root = host.home().join("registry");
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for _ in 0..12 {
        let server = Server::start(&host, &root);
        let address = server.address.clone();
        let killed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(fastrand::u64(5..120)));
            server.kill();
        });
        loop {
            number += 1;
            match push(&address, number) {
                Some(()) => acknowledged.push(format!("v{number}")),
                None => break,
            }
        }
        killed.join().expect("the thread ends");
    }
    let server = Server::start(&host, &root);
    let (_, list) = ask(&server.address, "GET", "/v2/app/tags/list", "", b"").expect("an answer");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
    let tags: Vec<&str> =
        list["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()).collect();
    for tag in &acknowledged {
        assert!(tags.contains(&tag.as_str()), "{tag} was acknowledged");
    }
    for tag in tags {
        check(&server.address, tag);
    }
    let said = host.dhow(&["registry", "gc", "--root", "registry", "--gc-grace", "0s"]).ok();
    assert!(said.contains("Total reclaimed space:"), "{said}");
    for tag in &acknowledged {
        check(&server.address, tag);
    }
    server.kill();
}

#[test]
fn who_has_a_password_logs_in() {
    let host = Host::new(Mode::Embedded);
    let users = host.dhow(&["registry", "passwd", "ann"]).input("secret\n").ok();
    assert!(users.starts_with("ann:$2"), "{users}");
    host.file("htpasswd", users + "\n");
    let root = host.home().join("registry");
    let server = Server::with(&host, &root, &["--htpasswd", "htpasswd", "--auth", "token"]);
    let login = |password: &str| {
        host.dhow(&["login", "-u", "ann", "--password-stdin", &server.address]).input(password).run().code
    };
    assert_ne!(login("wrong"), 0);
    assert_eq!(login("secret"), 0);
    host.busybox();
    let image = format!("{}/app:v1", server.address);
    host.dhow(&["tag", "busybox", &image]).ok();
    host.dhow(&["push", &image]).ok();
    host.dhow(&["logout", &server.address]).ok();
    let refused = host.dhow(&["pull", &image]).run();
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    for name in ["anonymous", "a:b", ""] {
        assert_eq!(host.dhow(&["registry", "passwd", name]).input("x\n").run().code, 1, "{name}");
    }
    assert_eq!(host.dhow(&["registry", "passwd", "ann"]).input("\n").run().code, 1);
    server.kill();
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let host = Host::new(Mode::Embedded);
    for (arguments, reason) in [
        ("", "--root DIR"),
        ("--root r --auth token", "need users: --htpasswd FILE"),
        ("--root r --auth other", "it is basic or token"),
        ("--root r --tls-cert c", "go together"),
        ("--root r --quota x=y", "--quota x=y"),
        ("--root r --gc-interval soon", "--gc-interval soon"),
        ("--root r --upstream ftp://x", "https or http"),
        ("--root r --upstream-user x --upstream y", "go together"),
        ("--root r --htpasswd absent", "absent"),
        ("--root r --webhook nowhere", "no address of http or https"),
    ] {
        let said = host.type_in(&format!("registry serve {arguments}")).run();
        assert_eq!(said.code, 1, "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(reason), "{arguments}: {}", said.stderr);
    }
    assert!(host.type_in("registry serve --help").ok().contains("--htpasswd"));
    let unknown = host.type_in("registry nonsense").run();
    assert!(unknown.stderr.contains("registry nonsense"), "{}", unknown.stderr);
    let nothing = host.type_in("registry gc --root absent").run();
    assert!(nothing.stderr.contains("there is no registry"), "{}", nothing.stderr);
}
