//! Applications in Node, Python, Go and Java, as tutorials package them, on bases that have the real tools.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use testkit::{Host, Mode, eventually};

use crate::hub::Hub;

const BASES: &[(&str, &[&str])] = &[
    ("node", &["node:18", "node:18-alpine"]),
    ("python", &["python:3.11", "python:3.11-slim"]),
    ("go", &["golang:1.21"]),
    ("java", &["eclipse-temurin:17-jdk", "eclipse-temurin:17-jre"]),
];

struct Application {
    folder: &'static str,
    build: &'static [&'static str],
    run: &'static [&'static str],
    /// The port that it listens on.
    port: u16,
    says: &'static str,
    /// What it ends with when it is stopped.
    code: &'static str,
    /// The file that is changed most, and a step ahead of it that a change does not repeat.
    source: &'static str,
    kept: &'static str,
}

const APPLICATIONS: &[Application] = &[
    Application {
        folder: "node",
        build: &[],
        run: &[],
        port: 3000,
        says: "node production as 1000",
        code: "0",
        source: "server.js",
        kept: "RUN npm ci",
    },
    Application {
        folder: "python",
        build: &[],
        run: &["--read-only", "--cap-drop", "ALL"],
        port: 8000,
        says: "python in /venv as 1001",
        code: "0",
        source: "orders.py",
        kept: "RUN python -m venv",
    },
    Application {
        folder: "go",
        build: &["--build-arg", "VERSION=1.2.3"],
        run: &["--read-only", "--security-opt", "no-new-privileges"],
        port: 8080,
        says: "go 1.2.3 as 65534",
        code: "0",
        source: "main.go",
        kept: "RUN go mod download",
    },
    Application {
        folder: "java",
        build: &[],
        // Half of the limit, less one of the two survivor spaces of the serial collector.
        run: &["--memory", "256m"],
        port: 8080,
        says: "java with 12",
        // 128 and SIGTERM: Java's own way.
        code: "143",
        source: "src/shop/Orders.java",
        kept: "RUN groupadd -r spring",
    },
];

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/applications")
}

/// What an HTTP server answers, if one is there.
fn answer(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Application {
    fn context(&self, host: &Host) {
        let target = host.home().join(self.folder);
        let source = files().join(self.folder);
        let (source, target) = (source.to_str().expect("UTF-8"), target.to_str().expect("UTF-8"));
        host.program("cp", &["-r", source, target]).ok();
    }

    fn is_built(&self, host: &Host, hub: &Hub<'_>) {
        let context = host.home().join(self.folder);
        let build = || hub.build(self.folder, &context.join("Dockerfile"), self.folder, self.build);
        let built = build();
        assert_eq!(built.code, 0, "{}: {}", self.folder, built.stderr);
        let again = build();
        assert!(again.code == 0 && !again.stderr.contains("cache miss"), "{}: {}", self.folder, again.stderr);

        let source = context.join(self.source);
        let text = std::fs::read_to_string(&source).expect("read the source");
        std::fs::write(&source, text + "\n").expect("change the source");
        let changed = build();
        assert_eq!(changed.code, 0, "{}: {}", self.folder, changed.stderr);
        let kept = changed.stderr.lines().find(|line| line.contains(self.kept)).expect("the step is told");
        let step = kept.split_whitespace().next().expect("a step has a number");
        assert!(changed.stderr.contains(&format!("{step} CACHED")), "{}: {}", self.folder, changed.stderr);
    }

    fn is_served(&self, host: &Host) {
        let publish = format!("{0}:{0}", self.port);
        let what = ["run", "-d", "--name", self.folder, "-p", &publish];
        host.dhow(&[&what[..], self.run, &[self.folder]].concat()).ok();
        let mut said = String::new();
        eventually(&format!("the application in {} answers", self.folder), || {
            said = answer(self.port).unwrap_or_default();
            said.contains(" 200 OK\r\n")
        });
        assert!(said.contains(self.says), "{said}");
        if self.folder == "node" {
            let health = || host.dhow(&["inspect", "-f", "{{.State.Health.Status}}", "node"]).ok();
            eventually("the application is healthy", || health() == "healthy");
        }
        host.dhow(&["stop", self.folder]).ok();
        let code = host.dhow(&["inspect", "-f", "{{.State.ExitCode}}", self.folder]).ok();
        assert_eq!(code, self.code, "{}", self.folder);
        host.dhow(&["rm", self.folder]).ok();
    }
}

#[test]
fn applications_of_four_languages_are_built_and_served() {
    let host = Host::new(Mode::Embedded);
    host.languages();
    let hub = Hub::new(&host);
    for (target, names) in BASES {
        hub.publish(&files().join("bases.Dockerfile"), target, names);
    }
    for application in APPLICATIONS {
        application.context(&host);
        application.is_built(&host, &hub);
        application.is_served(&host);
    }
    // Nothing but the program is in the smallest of them.
    let tree = host.dhow(&["image", "tree", "go"]).ok();
    assert!(tree.contains("orders") && !tree.contains("bin/"), "{tree}");
}
