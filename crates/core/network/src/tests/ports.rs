//! Host ports are had by one at a time.

use super::{Host, UPLINK, endpoint, ip, network, request};
use crate::model::{PortMap, Protocol};
use crate::ports::{Error, Request, reserve};
use std::net::{TcpListener, UdpSocket};

#[test]
fn a_taken_port_names_who_has_it() {
    let host = Host::new();
    let _listener = host.space.run(|| TcpListener::bind("127.0.0.1:8080")).unwrap();
    let error = host.space.run(|| reserve(&request("0.0.0.0:8080:80"))).unwrap_err();
    assert_eq!(error.to_string(), "failed to bind host port for 0.0.0.0:8080/tcp: address already in use");
    let hint = error.hint().unwrap();
    assert!(hint.ends_with(&format!("(pid {})", std::process::id())), "{hint}");
    let _socket = host.space.run(|| UdpSocket::bind("0.0.0.0:5353")).unwrap();
    let error = host.space.run(|| reserve(&request("127.0.0.1:5353:53/udp"))).unwrap_err();
    assert!(matches!(error, Error::InUse { owner: Some(_), .. }), "{error:?}");
    host.space.run(|| reserve(&request("0.0.0.0:5353:53"))).unwrap();
}

#[test]
fn another_containers_port_is_already_allocated() {
    let host = Host::new();
    let first = host.space.run(|| reserve(&request("0.0.0.0:8080:80"))).unwrap();
    let text = "Bind for 0.0.0.0:8080 failed: port is already allocated";
    let error = host.space.run(|| reserve(&request("0.0.0.0:8080:80"))).unwrap_err();
    assert_eq!(error.to_string(), text, "not published yet");
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let _web = host.attach(&net, endpoint(&net, 2, &["0.0.0.0:8080:80"]));
    let error = host.space.run(|| reserve(&request("0.0.0.0:8080:81"))).unwrap_err();
    assert_eq!(error.to_string(), text);
    drop(first);
    host.space.run(|| reserve(&request("0.0.0.0:8080:80"))).unwrap();
}

#[test]
fn a_reservation_keeps_servers_away() {
    let host = Host::new();
    let reserved = host.space.run(|| reserve(&request("0.0.0.0:8080:80"))).unwrap();
    assert_eq!(reserved.map, super::port_map("0.0.0.0:8080:80"));
    // std sets SO_REUSEADDR as servers do.
    host.space.run(|| TcpListener::bind("127.0.0.1:8080")).unwrap_err();
    drop(reserved);
    host.space.run(|| TcpListener::bind("127.0.0.1:8080")).unwrap();
}

#[test]
fn ranges_and_free_choice() {
    let host = Host::new();
    let range = Request { host_ports: 8000..=8002, ..request("0.0.0.0:8000:80") };
    let take = || host.space.run(|| reserve(&range));
    let taken = [take().unwrap(), take().unwrap(), take().unwrap()];
    assert_eq!(taken.each_ref().map(|reservation| reservation.map.host_port), [8000, 8001, 8002]);
    assert_eq!(
        take().unwrap_err().to_string(),
        "Bind for 0.0.0.0 failed: all ports from 8000 to 8002 are in use"
    );
    let any = host.space.run(|| reserve(&request("0.0.0.0:0:80"))).unwrap();
    assert_ne!(any.map.host_port, 0);
}

#[test]
fn an_address_must_be_the_machines() {
    let host = Host::new();
    let error = host.space.run(|| reserve(&request("192.0.2.7:80:80"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to bind host port for 192.0.2.7:80/tcp: cannot assign requested address"
    );
    assert_eq!(error.hint().unwrap(), "no interface of this machine has the address 192.0.2.7");
}

#[test]
fn sctp_is_refused_where_the_kernel_has_none() {
    let host = Host::new();
    let sctp = Request { protocol: Protocol::Sctp, ..request("0.0.0.0:8080:80") };
    match host.space.run(|| reserve(&sctp)) {
        Ok(reservation) => assert_eq!(reservation.map.host_ip, ip("0.0.0.0")),
        Err(error) => assert_eq!(
            error.to_string(),
            "cannot publish a port over sctp: this kernel does not support the protocol"
        ),
    }
}

#[test]
fn thousands_of_ports_are_published_and_withdrawn_at_once() {
    const PORTS: u16 = 10_000;
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let mut many = endpoint(&net, 2, &["0.0.0.0:20000:80"]);
    let first = many.ports[0].clone();
    many.ports.extend((1..PORTS).map(|n| PortMap { host_port: first.host_port + n, ..first.clone() }));
    let web = host.attach(&net, many);
    let _server = web.space.serve(80);
    for port in [20_000, 20_000 + PORTS - 1] {
        host.neighbour.ask(&format!("{UPLINK}:{port}")).unwrap();
    }
    let published = || host.space.run(|| crate::published_ports().unwrap().len());
    assert_eq!(published(), usize::from(PORTS));
    host.detach(&web);
    assert_eq!(published(), 0);
}
