//! UDP has no connections, but the kernel remembers flows.

use super::{Host, PATIENCE, Space, UPLINK, endpoint, network};
use std::net::UdpSocket;

fn bound(space: &Space, address: &str) -> UdpSocket {
    let socket = space.run(|| UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn reaches(from: &UdpSocket, to: &str, at: &UdpSocket) -> bool {
    from.send_to(b"ping", to).unwrap();
    let mut buffer = [0; 16];
    at.recv_from(&mut buffer).is_ok()
}

#[test]
fn a_flow_that_was_there_first_finds_the_container() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let client = bound(&host.neighbour, "0.0.0.0:4000");
    let address = format!("{UPLINK}:5353");
    let witness = bound(&host.space, "0.0.0.0:5353");
    assert!(reaches(&client, &address, &witness), "the flow exists before the port is published");
    let dns = host.attach(&net, endpoint(&net, 2, &["0.0.0.0:5353:53/udp"]));
    let server = bound(&dns.space, "0.0.0.0:53");
    assert!(reaches(&client, &address, &server));
    host.detach(&dns);
    assert!(reaches(&client, &address, &witness), "and it finds back");
}

#[test]
fn answers_come_from_the_published_address() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let dns = host.attach(&net, endpoint(&net, 2, &["0.0.0.0:5353:53/udp"]));
    let server = bound(&dns.space, "0.0.0.0:53");
    for (space, address) in
        [(&host.neighbour, format!("{UPLINK}:5353")), (&host.space, "127.0.0.1:5353".into())]
    {
        let client = bound(space, "0.0.0.0:0");
        let mut buffer = [0; 16];
        client.send_to(b"ping", &address).unwrap();
        let (_, peer) = server.recv_from(&mut buffer).unwrap();
        server.send_to(b"pong", peer).unwrap();
        let (_, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from.to_string(), address);
    }
}
