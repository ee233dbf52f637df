//! The address where a container asks for names.

use super::{PATIENCE, Space};
use crate::{create_namespace, names};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

const SERVER: &str = "127.0.0.11:53";

#[test]
fn questions_find_the_newest_sockets() {
    let container = Space(create_namespace().unwrap());
    // What serves names in the container itself has port 53, before and after.
    let own =
        container.run(|| (UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap()));
    let old = names::listen(container.0.as_fd()).unwrap();
    let new = names::listen(container.0.as_fd()).unwrap();
    drop((own, old));
    let own =
        container.run(|| (UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap()));
    let (udp, tcp) = (UdpSocket::from(new.udp), TcpListener::from(new.tcp));

    let client = container.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for socket in [&client, &udp] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut buffer = [0; 16];
    client.send_to(b"ping", SERVER).unwrap();
    let (_, peer) = udp.recv_from(&mut buffer).unwrap();
    udp.send_to(b"pong", peer).unwrap();
    let (_, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(from.to_string(), SERVER);

    let mut asking = container.run(|| TcpStream::connect(SERVER)).unwrap();
    let (mut asked, _) = tcp.accept().unwrap();
    asking.write_all(b"ping").unwrap();
    asked.read_exact(&mut buffer[..4]).unwrap();
    assert_eq!(&buffer[..4], b"ping");

    // Other addresses are the container's own.
    own.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"mine", "127.0.0.1:53").unwrap();
    assert_eq!(own.0.recv_from(&mut buffer).unwrap().0, 4);
}
