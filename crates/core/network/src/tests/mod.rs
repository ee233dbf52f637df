//! The effect on a real kernel. Each test makes a machine of its own out of network namespaces: a host with
//! an uplink, a neighbour behind it, and containers.

mod endpoints;
mod firewall;
mod ipv6;
mod names;
mod ports;
mod speed;
mod udp;

use crate::model::{Bridge, Endpoint, Mac, Network, PortMap, Protocol, Subnet};
use crate::{attach, create_namespace, detach, ensure_network, link, ports as host_ports};
use ipnet::IpNet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use sys::netlink::{CREATE, Message, Socket};
use sys::netns;

/// Long enough for anything that works.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is tried that must not work.
const SHORT: Duration = Duration::from_millis(300);

pub(super) const UPLINK: &str = "203.0.113.1";
pub(super) const NEIGHBOUR: &str = "203.0.113.2";

/// A network namespace.
pub(super) struct Space(pub OwnedFd);

impl Space {
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(self.0.as_fd(), work).unwrap()
    }

    pub fn netlink(&self, batch: Vec<Message>) {
        self.run(|| Socket::open(sys::netlink::Protocol::Route).unwrap().execute(batch)).unwrap();
    }

    fn index(&self, name: &str) -> u32 {
        let find = || crate::bridge::find(&mut crate::bridge::route_socket().unwrap(), name);
        self.run(find).unwrap().unwrap().index
    }

    pub fn address(&self, name: &str, address: &str) {
        let index = self.index(name);
        self.netlink(vec![link::up(index), link::address(index, address.parse().unwrap())]);
    }

    pub fn default_route(&self, name: &str, gateway: &str) {
        self.netlink(vec![link::default_route(self.index(name), ip(gateway))]);
    }

    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| std::fs::write(path, value)).unwrap();
    }

    /// Connects to a [`Server`]; the result is the peer address that the server saw.
    pub fn ask(&self, address: &str) -> io::Result<SocketAddr> {
        let address: SocketAddr = address.parse().unwrap();
        let stream = self.run(|| TcpStream::connect_timeout(&address, PATIENCE));
        answer(stream?)
    }

    /// A connection that must not come about.
    pub fn is_cut_off_from(&self, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        self.run(|| TcpStream::connect_timeout(&address, SHORT)).is_err()
    }

    /// Listens until it is dropped, on all addresses.
    pub fn serve(&self, port: u16) -> Server {
        self.serve_at(&format!("[::]:{port}")).or_else(|_| self.serve_at(&format!("0.0.0.0:{port}"))).unwrap()
    }

    pub fn serve_at(&self, address: &str) -> io::Result<Server> {
        let listener = self.run(|| TcpListener::bind(address))?;
        let waker = listener.try_clone()?;
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                // The peer may be gone already.
                let _ = write!(stream, "{peer}");
            }
        });
        Ok(Server { waker, thread: Some(thread) })
    }
}

fn answer(mut stream: TcpStream) -> io::Result<SocketAddr> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = String::new();
    stream.read_to_string(&mut seen)?;
    let seen: SocketAddr = seen.parse().map_err(io::Error::other)?;
    Ok(SocketAddr::new(seen.ip().to_canonical(), seen.port()))
}

pub(super) struct Server {
    waker: TcpListener,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.waker, rustix::net::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A machine and its neighbour, who knows a route to the containers.
pub(super) struct Host {
    pub space: Space,
    pub neighbour: Space,
}

impl Host {
    pub fn new() -> Host {
        let space = Space(netns::create(|| Ok(())).unwrap());
        let neighbour = Space(netns::create(|| Ok(())).unwrap());
        space.netlink(vec![link::up(1), veth("up0", "eth0", &neighbour)]);
        neighbour.netlink(vec![link::up(1)]);
        space.address("up0", &format!("{UPLINK}/24"));
        neighbour.address("eth0", &format!("{NEIGHBOUR}/24"));
        neighbour.default_route("eth0", UPLINK);
        Host { space, neighbour }
    }

    /// Some machines show bridged frames to the firewall, most do not. A kernel without br_netfilter
    /// cannot.
    pub fn filter_bridged_frames(&self, value: &str) {
        for name in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
            self.space.run(|| {
                if std::path::Path::new(&path).exists() {
                    std::fs::write(path, value).unwrap()
                }
            });
        }
    }

    pub fn ensure(&self, network: &Network) {
        self.space.run(|| ensure_network(network, "/".as_ref())).unwrap();
    }

    pub fn attach(&self, network: &Network, endpoint: Endpoint) -> Container {
        let space = Space(create_namespace().unwrap());
        self.space.run(|| attach(network, &endpoint, space.0.as_fd())).unwrap();
        Container { space, endpoint }
    }

    pub fn detach(&self, container: &Container) {
        self.space.run(|| detach(&container.endpoint)).unwrap();
    }

    /// A network with two containers, of which the first publishes its port 80 as 8080 everywhere.
    pub fn with_two(&self, network: &Network) -> (Container, Container) {
        self.ensure(network);
        let web = self.attach(network, endpoint(network, 2, &["0.0.0.0:8080:80"]));
        let other = self.attach(network, endpoint(network, 3, &[]));
        (web, other)
    }
}

pub(super) struct Container {
    pub space: Space,
    pub endpoint: Endpoint,
}

/// A veth pair without a bridge.
fn veth(name: &str, peer: &str, space: &Space) -> Message {
    Message::new(16, CREATE, &[0; 16]).text(3, name).nest(18, |info| {
        info.text(1, "veth").nest(2, |data| {
            data.nest(1, |nested| nested.raw(&[0; 16]).text(3, peer).u32(28, space.0.as_raw_fd() as u32))
        })
    })
}

/// Takes an interface down.
pub(super) fn down(index: u32) -> Message {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[12] = 1;
    Message::new(19, 0, &header)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A network named after its interface.
pub(super) fn network(ifname: &str, subnets: &[&str]) -> Network {
    let subnets = subnets.iter().map(|net| {
        let net: IpNet = net.parse().unwrap();
        Subnet::whole(net)
    });
    Network {
        id: format!("{ifname}-network"),
        name: ifname.into(),
        bridge: Bridge {
            ifname: ifname.into(),
            subnets: subnets.collect(),
            mtu: 1500,
            internal: false,
            icc: true,
            masquerade: true,
        },
    }
}

/// An endpoint whose addresses end in `number`. Ports are written `host ip:host port:container port`, with
/// `/udp` behind when they are.
pub(super) fn endpoint(network: &Network, number: u8, ports: &[&str]) -> Endpoint {
    let address = |subnet: &Subnet| {
        let gateway = subnet.gateway;
        let address = match gateway {
            IpAddr::V4(gateway) => {
                let [a, b, c, _] = gateway.octets();
                IpAddr::from([a, b, c, number])
            }
            IpAddr::V6(gateway) => {
                let mut octets = gateway.octets();
                octets[15] = number;
                IpAddr::from(octets)
            }
        };
        IpNet::new(address, subnet.net.prefix_len()).unwrap()
    };
    let subnets = &network.bridge.subnets;
    let addresses: Vec<IpNet> = subnets.iter().map(address).collect();
    let gateways = subnets.iter().map(|subnet| subnet.gateway);
    Endpoint {
        // Interfaces are named from the first ten digits.
        id: hex(&[&[number], network.bridge.ifname.trim_start_matches("dhow").as_bytes(), &[0; 4]].concat()),
        ifname: "eth0".into(),
        mac: Mac::of_ip(addresses[0].addr()),
        addresses,
        gateways: if network.bridge.internal { vec![] } else { gateways.collect() },
        ports: ports.iter().map(|port| port_map(port)).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn port_map(text: &str) -> PortMap {
    let (text, protocol) = match text.strip_suffix("/udp") {
        Some(text) => (text, Protocol::Udp),
        None => (text, Protocol::Tcp),
    };
    let (host, container_port) = text.rsplit_once(':').unwrap();
    let host: SocketAddr = host.parse().unwrap();
    PortMap {
        protocol,
        container_port: container_port.parse().unwrap(),
        host_ip: host.ip(),
        host_port: host.port(),
    }
}

pub(super) fn request(text: &str) -> host_ports::Request {
    let map = port_map(text);
    host_ports::Request {
        protocol: map.protocol,
        container_port: map.container_port,
        host_ip: map.host_ip,
        host_ports: map.host_port..=map.host_port,
    }
}
