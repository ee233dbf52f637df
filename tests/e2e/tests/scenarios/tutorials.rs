//! Dockerfiles as tutorials write them, built for real: their bases come by their own names from a registry that is Docker
//! Hub as far as this machine can tell, and are stand-ins whose tools do with a shell what the real ones do.

use std::path::{Path, PathBuf};

use testkit::{Host, Mode};

use crate::hub::Hub;

/// Targets of the stand-ins and the names that tutorials know them by.
const STAND_INS: &[(&str, &[&str])] = &[
    (
        "tools",
        &[
            "node:18-alpine",
            "node:18",
            "python:3.11-slim",
            "python:3.11",
            "golang:1.21",
            "maven:3.9-openjdk-17",
            "openjdk:17-jre-slim",
            "postgres:15",
            "ubuntu:22.04",
        ],
    ),
    ("nginx", &["nginx:alpine"]),
];

fn tutorial(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tutorials/{name}.Dockerfile"))
}

/// One context for all of them, as small as it can be.
fn application(host: &Host) {
    for (name, content) in [
        (".dockerignore", "node_modules\n*.secret\n"),
        ("left.secret", "nobody sees it\n"),
        ("node_modules/old", "nobody sees it\n"),
        ("package.json", "{}\n"),
        ("package-lock.json", "{}\n"),
        ("server.js", "echo node ${GREETING:-serves}\ntest ! -e node_modules/old && test ! -e left.secret\n"),
        ("requirements.txt", "flask\nredis\n"),
        ("app.py", "echo python serves\n"),
        ("go.mod", "module app\n"),
        ("go.sum", ""),
        ("main.go", "package main\n"),
        ("pom.xml", "<project/>\n"),
        ("src/Main.java", "echo java serves $JAVA_OPTS\n"),
        ("nginx.conf", "server {}\n"),
        ("docker-entrypoint.sh", "#!/bin/sh\nexec \"$@\"\n"),
    ] {
        host.file(&format!("app/{name}"), content);
    }
}

/// Dockerfiles, options, and what the image says when it runs.
const BUILT: &[(&str, &[&str], &str)] = &[
    ("node-simple", &[], "node serves"),
    ("node-comments", &[], "node hello"),
    ("node-user", &[], "clerk\nnode serves"),
    ("node-stages", &[], "node serves"),
    ("node-targets", &[], "node serves"),
    ("node-targets", &["--target", "test"], "node serves"),
    ("node-arguments", &[], "1.0.0-production 3000"),
    (
        "node-arguments",
        &["--build-arg", "NODE_ENV=development", "--build-arg", "COMMIT=abc"],
        "1.0.0-development 3000",
    ),
    ("python-simple", &[], "python serves"),
    ("python-stages", &[], "flask\nredis\npython serves"),
    ("go-scratch", &[], "alone"),
    ("java-stages", &[], "java serves -Xmx64m"),
    ("nginx-site", &[], "echo node ${GREETING:-serves}\ntest ! -e node_modules/old && test ! -e left.secret"),
    ("volumes-and-scripts", &[], "served"),
    ("legacy-words", &[], "production fast and loose"),
    ("two-images", &[], "python serves"),
];

/// Dockerfiles that are none, and the words that say so.
const REFUSED: &[(&str, &[&str])] = &[
    ("placeholder", &["placeholder.Dockerfile:2", "invalid reference format", "FROM <image>:<tag>"]),
    ("prose", &["prose.Dockerfile:1", "FROM requires either one or three arguments"]),
    ("unknown-image", &["docker.io/library/somebodys-own-app:latest"]),
];

#[test]
fn dockerfiles_of_tutorials_build() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    application(&host);
    let hub = Hub::new(&host);
    for (target, names) in STAND_INS {
        hub.publish(&tutorial("stand-in"), target, names);
    }
    let build = |name: &str, more: &[&str]| hub.build(name, &tutorial(name), "app", more);
    for (name, options, says) in BUILT {
        let built = build(name, options);
        assert_eq!(built.code, 0, "{name}: {}", built.stderr);
        assert_eq!(host.dhow(&["run", "--rm", "--network", "none", name]).ok(), *says, "{name}");
        let again = build(name, options);
        assert!(again.code == 0 && !again.stderr.contains("cache miss"), "{name}: {}", again.stderr);
    }
    // What is written behind an instruction is told, with its line.
    let told = build("node-comments", &["--no-cache"]).stderr;
    assert!(told.contains("node-comments.Dockerfile:4") || told.contains("(line 4)"), "{told}");
    let inspect = |name: &str, format: &str| host.dhow(&["inspect", "-f", format, name]).ok();
    assert_eq!(inspect("node-stages", "{{.Config.Healthcheck.Retries}} {{.Config.User}}"), "3 node");
    assert_eq!(
        inspect("node-arguments", "{{.Config.Labels.version}} {{.Config.Labels.commit}}"),
        "1.0.0 abc"
    );
    assert_eq!(inspect("nginx-site", "{{.Config.StopSignal}}"), "SIGQUIT");
    assert_eq!(inspect("legacy-words", "{{.Author}}"), "A Person <person@example.com>");
    for (name, words) in REFUSED {
        let refused = build(name, &[]);
        assert_eq!(refused.code, 1, "{name}");
        for word in *words {
            assert!(refused.stderr.contains(word), "{name}: {}", refused.stderr);
        }
    }
}
