//! The same journey for every pair of client and engine, and the same behaviour of containers whoever starts them with our
//! runtime: what works in one must work in all.

mod archives;
mod behaviour;
mod builds;
mod containerd;
mod dockerd;
mod journey;
mod lists;
mod podman;
mod pods;
mod python;
mod registry;
mod skopeo;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testkit::{Host, Mode, Typed};

/// The client's commands, typed against one engine.
pub trait Client {
    /// A command with these arguments.
    fn client(&self, arguments: &[&str]) -> Typed;
}

/// A foreign `docker` against our daemon.
struct DockerToDhow(Host);

impl Client for DockerToDhow {
    fn client(&self, arguments: &[&str]) -> Typed {
        docker(&self.0, &self.0.socket(0), arguments)
    }
}

/// Our client against a foreign engine.
struct DhowToDockerd(Host, dockerd::Dockerd);

impl Client for DhowToDockerd {
    fn client(&self, arguments: &[&str]) -> Typed {
        self.0.dhow(arguments).env("DHOW_HOST", &format!("unix://{}", self.1.socket.display()))
    }
}

/// A foreign client against a foreign engine: the journey itself is right.
struct DockerToDockerd(Host, dockerd::Dockerd);

impl Client for DockerToDockerd {
    fn client(&self, arguments: &[&str]) -> Typed {
        docker(&self.0, &self.1.socket, arguments)
    }
}

fn docker(host: &Host, socket: &Path, arguments: &[&str]) -> Typed {
    host.program("docker", arguments)
        .env("DOCKER_HOST", &format!("unix://{}", socket.display()))
        .env("DOCKER_BUILDKIT", "0")
        .env("DOCKER_CONFIG", host.home().to_str().expect("UTF-8"))
}

/// Our runtime as others start it: a program with runc's command line.
fn runtime(host: &Host) -> PathBuf {
    let script = format!("#!/bin/sh\nexec {} runtime \"$@\"\n", testkit::binary().display());
    let path = host.file("dhow-runtime", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    path
}

#[test]
fn docker_drives_dhow() {
    journey::whole(&DockerToDhow(Host::new(Mode::Daemon)));
}

#[test]
fn containers_of_our_engine_behave() {
    let client = DockerToDhow(Host::new(Mode::Daemon));
    behaviour::whole(&client);
    behaviour::exhaustion(&client);
}

#[test]
fn dhow_drives_dockerd() {
    let host = Host::new(Mode::Embedded);
    let dockerd = dockerd::Dockerd::start(host.home());
    journey::whole(&DhowToDockerd(host, dockerd));
}

#[test]
fn docker_drives_dockerd() {
    let host = Host::new(Mode::Embedded);
    let dockerd = dockerd::Dockerd::start(host.home());
    journey::whole(&DockerToDockerd(host, dockerd));
}

#[test]
fn our_runtime_serves_dockerd() {
    let host = Host::new(Mode::Embedded);
    let runtime = runtime(&host);
    let dockerd = dockerd::Dockerd::with_runtime(host.home(), Some(&runtime));
    let client = DhowToDockerd(host, dockerd);
    journey::whole(&client);
    behaviour::whole(&client);
    behaviour::exhaustion(&client);
}

#[test]
fn our_runtime_serves_podman() {
    let host = Host::new(Mode::Embedded);
    let runtime = runtime(&host);
    let podman = podman::Podman::new(host, &runtime);
    behaviour::whole(&podman);
    pods::whole(&podman);
}
