//! Small web servers on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Answers each request with the next of these answers: where it listens, `127.0.0.1:port`. Nobody listens there after the last
/// one, or when the test's process has ended.
///
/// # Panics
/// When there is no port.
pub fn web(answers: impl Iterator<Item = Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listener has one").to_string();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            // A client that has gone away is not waited for.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    address
}

/// An answer: its status, lines of its head each with its end, its content.
pub fn answer(status: &str, head: &str, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), content].concat()
}

/// The answer that gives this content.
pub fn found(content: &[u8]) -> Vec<u8> {
    answer("200 OK", "", content)
}
