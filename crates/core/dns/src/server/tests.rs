//! The server between a client and upstreams, all on ports of loopback that nobody else has.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver};

use hickory_proto::op::{Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::endpoints::{self, Endpoint, VERSION};
use crate::forward::{frame, unframed};

const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    dir: tempfile::TempDir,
    server: Server,
    address: SocketAddr,
    stream_address: SocketAddr,
}

impl Scene {
    fn new(upstreams: &[SocketAddr]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stream_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let upstreams = upstreams.iter().map(|&address| Upstream { address, inside: false }).collect();
        let config = Config { dir: dir.path().into(), container: "self".into(), upstreams };
        let server = Server::new(&config, udp.into(), tcp.into(), None).unwrap();
        let scene = Scene { dir, server, address, stream_address };
        scene.write(false);
        scene
    }

    fn write(&self, internal: bool) {
        let endpoint = |container: &str, names: &[&str], addresses: &[&str]| Endpoint {
            container: container.into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let endpoints = vec![
            endpoint("self", &["web", "www"], &["10.0.0.2"]),
            endpoint("other", &["db", "www"], &["10.0.0.3", "fd00::3"]),
        ];
        let network = endpoints::Network { version: VERSION, name: "front".into(), internal, endpoints };
        endpoints::write(self.dir.path(), "1", Some(&network)).unwrap();
    }

    /// Works until the check gives something.
    fn until<T>(&mut self, mut check: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(Instant::now() < deadline, "in time");
            let mut ready = [rustix::event::PollFd::new(&self.server, rustix::event::PollFlags::IN)];
            let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            rustix::event::poll(&mut ready, Some(&pause)).unwrap();
            self.server.work();
        }
    }

    fn send(&mut self, packet: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.send(packet).unwrap();
        let mut buffer = vec![0; MAX];
        let n = self.until(|| socket.recv(&mut buffer).ok());
        buffer[..n].to_vec()
    }

    fn ask(&mut self, name: &str, kind: RecordType) -> String {
        let reply = self.send(&question(name, kind));
        told(&reply)
    }

    fn ask_stream(&mut self, packets: &[Vec<u8>], end: bool) -> Vec<String> {
        let mut stream = TcpStream::connect(self.stream_address).unwrap();
        for packet in packets {
            stream.write_all(&frame(packet).unwrap()).unwrap();
        }
        if end {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        let (mut inbox, mut replies) = (Vec::new(), Vec::new());
        let mut buffer = [0; 4096];
        self.until(|| {
            match stream.read(&mut buffer) {
                Ok(0) => return Some(()),
                Ok(n) => inbox.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
            replies.extend(unframed(&mut inbox).map(|reply| told(&reply)));
            (!end && replies.len() == packets.len()).then_some(())
        });
        replies
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(0x4321, MessageType::Query, OpCode::Query);
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// The code of an answer and its records.
fn told(reply: &[u8]) -> String {
    let reply = Message::from_vec(reply).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.message_type), (0x4321, MessageType::Response));
    let records = reply.answers.iter().map(|record| format!(" {}", record.data));
    format!("{:?}{}", reply.metadata.response_code, records.collect::<String>())
}

/// Sockets of both kinds on one port, which for the second may belong to another test.
fn both() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        match TcpListener::bind(socket.local_addr().unwrap()) {
            Ok(listener) => return (socket, listener),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::AddrInUse),
        }
    }
}

/// Answers each question once as told: with an address, a code or not at all. Tells which ids it has seen.
fn upstream(answers: &'static [Say]) -> (SocketAddr, Receiver<u16>) {
    let (socket, listener) = both();
    let address = socket.local_addr().unwrap();
    let (seen, ids) = mpsc::channel();
    let seen_too = seen.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        for answer in answers {
            let Ok((n, from)) = socket.recv_from(&mut buffer) else { return };
            let _ = seen.send(u16::from_be_bytes([buffer[0], buffer[1]]));
            for reply in say(answer, &buffer[..n]) {
                socket.send_to(&reply, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut inbox, mut buffer) = (Vec::new(), [0; 4096]);
            let query = loop {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => inbox.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
                if let Some(query) = unframed(&mut inbox) {
                    break query;
                }
            };
            let _ = seen_too.send(u16::from_be_bytes([query[0], query[1]]));
            for byte in say(&Say::Address([192, 0, 2, 53]), &query).iter().flat_map(|r| frame(r).unwrap()) {
                stream.write_all(&[byte]).unwrap();
            }
        }
    });
    (address, ids)
}

enum Say {
    Address([u8; 4]),
    Code(ResponseCode),
    Nothing,
    /// Answers that a guesser sends, before the right one.
    Guesses,
    Truncated,
}

fn say(answer: &Say, query: &[u8]) -> Vec<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.queries.clone_from(&query.queries);
    let name = query.queries[0].name().clone();
    let right = |address: [u8; 4]| {
        let mut reply = reply.clone();
        reply.add_answer(Record::from_rdata(name.clone(), 1, RData::A(A(address.into()))));
        reply
    };
    let messages = match answer {
        Say::Nothing => vec![],
        Say::Address(address) => vec![right(*address)],
        Say::Code(code) => {
            reply.metadata.response_code = *code;
            vec![reply]
        }
        Say::Truncated => {
            reply.metadata.truncation = true;
            vec![reply]
        }
        Say::Guesses => {
            let mut other_id = right([6, 6, 6, 6]);
            other_id.metadata.id ^= 1;
            let mut other_name = right([6, 6, 6, 7]);
            other_name.queries[0].name = Name::from_ascii("evil.example.").unwrap();
            let mut no_answer = right([6, 6, 6, 8]);
            no_answer.metadata.message_type = MessageType::Query;
            vec![other_id, other_name, no_answer, right([192, 0, 2, 1])]
        }
    };
    let mut packets: Vec<Vec<u8>> = messages.iter().map(|message| message.to_vec().unwrap()).collect();
    if matches!(answer, Say::Guesses) {
        packets.insert(0, vec![0; 3]);
    }
    packets
}

#[test]
fn names_and_addresses_of_the_networks() {
    let mut scene = Scene::new(&[]);
    let table = [
        ("web.", RecordType::A, "NoError 10.0.0.2"),
        ("WEB.", RecordType::A, "NoError 10.0.0.2"),
        ("web.", RecordType::AAAA, "NoError"),
        ("web.", RecordType::MX, "NoError"),
        ("db.front.", RecordType::AAAA, "NoError fd00::3"),
        ("3.0.0.10.in-addr.arpa.", RecordType::PTR, "NoError db.front."),
        ("4.0.0.10.in-addr.arpa.", RecordType::PTR, "ServFail"),
        ("nobody.", RecordType::A, "ServFail"),
        (".", RecordType::NS, "ServFail"),
    ];
    for (name, kind, expected) in table {
        assert_eq!(scene.ask(name, kind), expected, "{name}");
    }
    let answers: Vec<String> = (0..4).map(|_| scene.ask("www.", RecordType::A)).collect();
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[1], answers[3]);
    assert_ne!(answers[0], answers[1]);
}

#[test]
fn over_a_stream() {
    let (address, _ids) = upstream(&[]);
    let mut scene = Scene::new(&[address]);
    let packets = [
        question("web.", RecordType::A),
        question("www.example.", RecordType::A),
        question("db.", RecordType::AAAA),
    ];
    let expected = ["NoError 10.0.0.2", "NoError 192.0.2.53", "NoError fd00::3"];
    assert_eq!(scene.ask_stream(&packets, false), expected);
    assert_eq!(scene.ask_stream(&packets, true), expected);
    // What is no question ends the connection.
    assert_eq!(scene.ask_stream(&[vec![0x80; 40]], true), [""; 0]);
}

#[test]
fn other_names_are_asked_of_upstreams() {
    let (address, ids) = upstream(&[
        Say::Address([192, 0, 2, 1]),
        Say::Code(ResponseCode::NXDomain),
        Say::Guesses,
        Say::Truncated,
        Say::Nothing,
        Say::Address([192, 0, 2, 2]),
    ]);
    let mut scene = Scene::new(&[address]);
    assert_eq!(scene.ask("www.example.", RecordType::A), "NoError 192.0.2.1");
    assert_eq!(scene.ask("none.example.", RecordType::A), "NXDomain");
    assert_eq!(scene.ask("Www.Example.", RecordType::A), "NoError 192.0.2.1");
    let truncated = scene.send(&question("long.example.", RecordType::A));
    assert!(Message::from_vec(&truncated).unwrap().metadata.truncation);
    // One that was lost is asked again.
    assert_eq!(scene.ask("lost.example.", RecordType::A), "NoError 192.0.2.2");
    let ids: Vec<u16> = ids.try_iter().collect();
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().any(|id| *id != 0x4321), "ids are ours");
}

#[test]
fn the_next_upstream_helps() {
    let (bad, _ids) = upstream(&[Say::Code(ResponseCode::Refused), Say::Code(ResponseCode::ServFail)]);
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, _ids) = upstream(&[Say::Address([192, 0, 2, 9])]);
    let mut scene = Scene::new(&[bad, closed, good]);
    assert_eq!(scene.ask("www.example.", RecordType::A), "NoError 192.0.2.9");
    let mut scene = Scene::new(&[bad, closed]);
    assert_eq!(scene.ask("www.example.", RecordType::A), "ServFail");
    let mut scene = Scene::new(&[closed]);
    assert_eq!(scene.ask("www.example.", RecordType::A), "ServFail");
    // Nobody listens there for streams either.
    assert_eq!(scene.ask_stream(&[question("www.example.", RecordType::A)], true), ["ServFail"]);
}

#[test]
fn internal_networks_ask_nobody() {
    let (address, ids) = upstream(&[Say::Address([192, 0, 2, 1])]);
    let mut scene = Scene::new(&[address]);
    scene.write(true);
    assert_eq!(scene.ask("www.example.", RecordType::A), "ServFail");
    assert_eq!(scene.ask("db.", RecordType::A), "NoError 10.0.0.3");
    assert_eq!(ids.try_iter().count(), 0);
    scene.write(false);
    assert_eq!(scene.ask("www.example.", RecordType::A), "NoError 192.0.2.1");
}

#[test]
fn too_many_questions_are_refused() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut scene = Scene::new(&[silent.local_addr().unwrap()]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(scene.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 512];
    for _ in 0..EXCHANGES {
        socket.send(&question("www.example.", RecordType::A)).unwrap();
    }
    assert_eq!(scene.ask("web.", RecordType::A), "NoError 10.0.0.2", "and names of the networks are not");
    let server = &mut scene.server;
    while server.exchanges.len() < EXCHANGES {
        server.work();
    }
    assert_eq!(scene.ask("www.example.", RecordType::A), "Refused");
    // Those who wait are told when their time is up.
    let n = scene.until(|| socket.recv(&mut buffer).ok());
    assert_eq!(told(&buffer[..n]), "ServFail");
}

#[test]
fn more_connections_than_are_served_wait() {
    let mut scene = Scene::new(&[]);
    let idle: Vec<TcpStream> =
        (0..CLIENTS).map(|_| TcpStream::connect(scene.stream_address).unwrap()).collect();
    let server = &mut scene.server;
    while server.clients.len() < CLIENTS {
        server.work();
    }
    let mut late = TcpStream::connect(scene.stream_address).unwrap();
    late.write_all(&frame(&question("web.", RecordType::A)).unwrap()).unwrap();
    late.set_nonblocking(true).unwrap();
    assert_eq!(scene.ask("web.", RecordType::A), "NoError 10.0.0.2");
    assert!(!scene.server.accepting);
    drop(idle);
    let mut buffer = [0; 512];
    let n = scene.until(|| late.read(&mut buffer).ok());
    assert_eq!(told(&buffer[2..n]), "NoError 10.0.0.2");
}
