//! Our registry, as clients of registries use it: each pushes, and each pulls what every other one has pushed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Host, Mode, Typed};

use crate::dockerd::Dockerd;

/// The user `ann`, whose password is `secret`.
const USERS: &str = "ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// A registry that serves on the machine of a test.
struct Registry {
    child: Child,
    /// `127.0.0.1:port`.
    address: String,
}

impl Registry {
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut command = host.command();
        command
            .args(["registry", "serve", "--addr", "127.0.0.1:0", "--root"])
            .arg(host.home().join("registry"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start the registry");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("read where it serves");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Everybody who pushes and pulls, with storage of their own.
struct Clients {
    host: Host,
    docker: Dockerd,
}

const CLIENTS: [&str; 5] = ["dhow", "docker", "podman", "buildah", "skopeo"];

impl Clients {
    fn new(host: Host) -> Self {
        host.busybox();
        host.dhow(&["save", "-o", "image.tar", "busybox"]).ok();
        for name in CLIENTS {
            // Some want the file that they write to be there.
            host.file(&format!("{name}-auth.json"), "{}");
        }
        let docker = Dockerd::start(host.home());
        Self { host, docker }
    }

    /// A command of one of them.
    fn client(&self, name: &str, arguments: &[&str]) -> Typed {
        let home = self.host.home().display().to_string();
        let (root, run) = (format!("{home}/{name}/root"), format!("{home}/{name}/run"));
        match name {
            "dhow" => self.host.dhow(arguments).env("DOCKER_CONFIG", &format!("{home}/dhow")),
            "docker" => self
                .host
                .program("docker", arguments)
                .env("DOCKER_HOST", &format!("unix://{}", self.docker.socket.display()))
                .env("DOCKER_CONFIG", &format!("{home}/docker")),
            "skopeo" => self.host.program("skopeo", &[&["--insecure-policy"], arguments].concat()),
            _ => {
                let places = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
                self.host.program(name, &[&places[..], arguments].concat()).env("XDG_RUNTIME_DIR", &run)
            }
        }
        .env("REGISTRY_AUTH_FILE", &format!("{home}/{name}-auth.json"))
    }

    /// Gives each the same image, under this name.
    fn load(&self, name: &str, image: &str) {
        match name {
            "skopeo" => {}
            "buildah" => {
                self.client(name, &["pull", "docker-archive:image.tar"]).ok();
                self.client(name, &["tag", "busybox", image]).ok();
            }
            _ => {
                self.client(name, &["load", "-i", "image.tar"]).ok();
                self.client(name, &["tag", "busybox", image]).ok();
            }
        }
    }

    fn push(&self, name: &str, image: &str) -> Typed {
        let remote = format!("docker://{image}");
        match name {
            "skopeo" => {
                let from = "docker-archive:image.tar";
                self.client(name, &["copy", "--dest-tls-verify=false", from, &remote])
            }
            "podman" | "buildah" => self.client(name, &["push", "--tls-verify=false", image, &remote]),
            _ => self.client(name, &["push", image]),
        }
    }

    fn pull(&self, name: &str, image: &str) -> Typed {
        match name {
            "skopeo" => {
                let (from, to) =
                    (format!("docker://{image}"), format!("dir:{}", self.host.home().join("copy").display()));
                self.client(name, &["copy", "--src-tls-verify=false", &from, &to])
            }
            "podman" | "buildah" => self.client(name, &["pull", "--tls-verify=false", image]),
            _ => self.client(name, &["pull", image]),
        }
    }
}

#[test]
fn everybody_pulls_what_everybody_pushes() {
    let clients = Clients::new(Host::new(Mode::Embedded));
    let registry = Registry::start(&clients.host, &[]);
    let image = |name: &str| format!("{}/team/app:{name}", registry.address);
    for name in CLIENTS {
        clients.load(name, &image(name));
        clients.push(name, &image(name)).ok();
    }
    for name in CLIENTS {
        for other in CLIENTS {
            clients.pull(name, &image(other)).ok();
        }
    }
    let remote = format!("docker://{}/team/app", registry.address);
    let tags = clients.client("skopeo", &["list-tags", "--tls-verify=false", &remote]).ok();
    for name in CLIENTS {
        assert!(tags.contains(&format!("\"{name}\"")), "{name} in {tags}");
    }
    let run = clients.client("dhow", &["run", "--rm", &image("skopeo"), "echo", "works"]).ok();
    assert_eq!(run, "works");
    let remote = format!("docker://{}", image("podman"));
    clients.client("skopeo", &["delete", "--tls-verify=false", &remote]).ok();
    clients.pull("docker", &image("podman")).fails(1);
}

#[test]
fn everybody_logs_in_by_password_and_by_token() {
    for scheme in ["basic", "token"] {
        let clients = Clients::new(Host::new(Mode::Embedded));
        let users = clients.host.file("htpasswd", USERS);
        let rules = clients.host.file("access", "ann team/* all\nanonymous public/* pull\n");
        let (users, rules) = (users.display().to_string(), rules.display().to_string());
        let registry =
            Registry::start(&clients.host, &["--htpasswd", &users, "--access", &rules, "--auth", scheme]);
        for name in CLIENTS {
            let image = format!("{}/team/app:{name}", registry.address);
            clients.load(name, &image);
            let refused = clients.push(name, &image).run();
            assert_ne!(refused.code, 0, "{name} {scheme}: nobody pushes without a password");
            let login = |password: &str| {
                let insecure = ["--tls-verify=false"];
                let insecure = if ["dhow", "docker"].contains(&name) { &[][..] } else { &insecure[..] };
                let words = ["login", "-u", "ann", "--password-stdin", &registry.address];
                clients.client(name, &[&words[..1], insecure, &words[1..]].concat()).input(password).run()
            };
            assert_ne!(login("wrong").code, 0, "{name} {scheme}");
            let said = login("secret");
            assert_eq!(said.code, 0, "{name} {scheme}: {}{}", said.stdout, said.stderr);
            clients.push(name, &image).ok();
            clients.pull(name, &image).ok();
            let elsewhere = format!("{}/other/app:{name}", registry.address);
            if name != "skopeo" {
                clients.client(name, &["tag", &image, &elsewhere]).ok();
            }
            assert_ne!(
                clients.push(name, &elsewhere).run().code,
                0,
                "{name} {scheme}: there ann has no right"
            );
        }
    }
}

#[test]
fn docker_pulls_through_a_cache() {
    let clients = Clients::new(Host::new(Mode::Embedded));
    let far = Registry::start(&clients.host, &[]);
    let pushed = format!("{}/team/app:v1", far.address);
    clients.load("dhow", &pushed);
    clients.push("dhow", &pushed).ok();
    let root = clients.host.home().join("cache").display().to_string();
    let upstream = format!("http://{}", far.address);
    let cache = Registry::start(&clients.host, &["--root", &root, "--upstream", &upstream]);
    let image = format!("{}/team/app:v1", cache.address);
    clients.pull("docker", &image).ok();
    drop(far);
    clients.client("docker", &["rmi", &image]).ok();
    clients.pull("docker", &image).ok();
    clients.pull("skopeo", &image).ok();
    clients.pull("dhow", &image).ok();
}
