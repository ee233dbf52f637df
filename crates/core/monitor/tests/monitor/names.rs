//! Questions for names of a container in a network namespace of its own; the upstream is this process.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use dns::endpoints::{self, Endpoint, Network};
use monitor::protocol::Condition;
use monitor::{RestartName, RestartPolicy, State};
use network::names::Sockets;

use crate::fixture::{Fixture, eventually};

struct Scene {
    fixture: Fixture,
    namespace: OwnedFd,
}

impl Scene {
    fn new() -> Scene {
        let fixture = Fixture::new();
        let resolv = fixture.rootfs().join("etc/resolv.conf");
        std::fs::write(resolv, "nameserver 127.0.0.11\noptions ndots:0\n").unwrap();
        std::fs::create_dir_all(fixture.path("networks")).unwrap();
        let scene = Scene { fixture, namespace: network::create_namespace().unwrap() };
        scene.write("db");
        scene
    }

    /// Puts the container and another one of this name into a network.
    fn write(&self, other: &str) {
        let endpoint = |container: &str, names: &[&str], address: &str| Endpoint {
            container: container.into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            addresses: vec![address.parse().unwrap()],
        };
        let endpoints = vec![
            endpoint(&self.fixture.id, &["web"], "10.9.0.2"),
            endpoint("other", &[other, "alias"], "10.9.0.3"),
        ];
        let network =
            Network { version: endpoints::VERSION, name: "front".into(), internal: false, endpoints };
        endpoints::write(&self.fixture.path("networks"), "1", Some(&network)).unwrap();
    }

    fn dns(&self, upstream: SocketAddr) -> dns::Config {
        dns::Config {
            dir: self.fixture.path("networks"),
            container: self.fixture.id.clone(),
            upstreams: vec![dns::Upstream { address: upstream, inside: false }],
        }
    }

    fn sockets(&self) -> Sockets {
        network::names::listen(self.namespace.as_fd()).unwrap()
    }

    fn start(&self, config: &monitor::Config) {
        let sockets = config.dns.is_some().then(|| self.sockets());
        let held: Vec<_> = sockets.iter().flat_map(|s| [s.udp.as_fd(), s.tcp.as_fd()]).collect();
        self.fixture.connect().start(config, Some(self.namespace.as_fd()), &held, None).unwrap();
    }

    fn run(&self, config: &monitor::Config) -> i32 {
        let wait = self.fixture.connect().wait(Condition::NextExit).unwrap();
        self.start(config);
        wait.join().unwrap().exit_code
    }
}

/// Answers every question for an A record with 192.0.2.7, by hand; other types have no records.
fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let mut reply = buffer[..n].to_vec();
            (reply[2], reply[3]) = (0x81, 0x80);
            if reply[n - 4..] == [0, 1, 0, 1] {
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

#[test]
fn a_container_asks() {
    let scene = Scene::new();
    let mut config = scene.fixture.shell(
        "for name in web DB alias.front www.example.com; do nslookup $name; done; nslookup 10.9.0.3; true",
    );
    config.dns = Some(scene.dns(upstream()));
    assert_eq!(scene.run(&config), 0);
    let log = scene.fixture.log();
    for words in ["10.9.0.2", "10.9.0.3", "192.0.2.7", "name = db.front"] {
        assert!(log.contains(words), "{words} in {log}");
    }
    assert!(!log.contains("can't"), "{log}");
}

#[test]
fn answers_follow_the_files_and_survive_restarts() {
    let scene = Scene::new();
    let mut config = scene.fixture.shell("until nslookup late; do :; done; echo found; exit 1");
    config.dns = Some(scene.dns("127.0.0.1:1".parse().unwrap()));
    config.restart = RestartPolicy { name: RestartName::OnFailure, max_retries: 1 };
    scene.start(&config);
    scene.fixture.wait_for_output("SERVFAIL");
    scene.write("late");
    eventually("the second run has found it too", || scene.fixture.log().matches("found").count() == 2);
    scene.fixture.wait_for_state(State::Exited);
}

#[test]
fn a_running_container_is_given_names() {
    let scene = Scene::new();
    let config = scene.fixture.shell("until nslookup db; do :; done; echo found");
    scene.start(&config);
    let sockets = scene.sockets();
    let dns = scene.dns("127.0.0.1:1".parse().unwrap());
    scene.fixture.connect().names(&dns, [sockets.udp.as_fd(), sockets.tcp.as_fd()]).unwrap();
    drop(sockets);
    scene.fixture.wait_for_output("found");
    scene.fixture.wait_for_state(State::Exited);
    let sockets = scene.sockets();
    let refused = scene.fixture.connect().names(&dns, [sockets.udp.as_fd(), sockets.tcp.as_fd()]);
    assert!(refused.is_err(), "it does not run");
}
