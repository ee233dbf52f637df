//! Repositories that `ADD` opens with what the build's client has.

use crate::fixture::Fixture;
use builder::Env;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A server that knows nothing: where it listens, and the head of the first request to it.
fn server() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let first = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while request.read_line(&mut head).is_ok_and(|count| count > 2) {}
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        head
    });
    (place, first)
}

#[test]
fn secrets_are_asked_for_by_host() {
    let f = Fixture::new();
    let (place, first) = server();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (ids, own) = (asked.clone(), format!("GIT_AUTH_TOKEN.{place}"));
    let secrets = move |id: &str| {
        ids.lock().unwrap().push(id.to_owned());
        Ok((id == own).then(|| b"t0ken\n".to_vec()))
    };
    let env = Env { secrets: Some(Arc::new(secrets)), ..f.env() };
    let built = f.build_in(&env, &format!("FROM scratch\nADD http://{place}/a.git /a\n"), |_| {});
    assert!(built.built.is_err(), "there is no repository");
    let head = first.join().unwrap();
    // `x-access-token:t0ken`
    assert!(head.contains("Authorization: basic eC1hY2Nlc3MtdG9rZW46dDBrZW4="), "{head}");
    let asked = asked.lock().unwrap();
    assert!(asked.contains(&format!("GIT_AUTH_HEADER.{place}")) && asked.len() == 4, "{asked:?}");
}
