//! A connection to systemd: its own socket, which takes root and needs no broker, else the bus of the machine. One thread,
//! one call at a time; each waits no longer than [`PATIENCE`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Error;
use super::wire::{self, Call, Kind, Message, PRELUDE, Writer};

/// How long systemd may take for an answer or a job. runc's.
const PATIENCE: Duration = Duration::from_secs(30);

const BROKER: &str = "org.freedesktop.DBus";

#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    signals: VecDeque<Message>,
    /// Signals come only to those who ask.
    brokered: bool,
}

/// What systemd, or the broker, has said no to: the name of the error and its words.
#[derive(Debug)]
pub struct Refusal {
    pub name: String,
    pub words: String,
}

/// The sockets of the manager that answers to a user, with whether a broker is behind them.
fn sockets(uid: u32) -> [(PathBuf, bool); 2] {
    if uid == 0 {
        return [("/run/systemd/private".into(), false), ("/run/dbus/system_bus_socket".into(), true)];
    }
    let home = PathBuf::from(format!("/run/user/{uid}"));
    [(home.join("systemd/private"), false), (home.join("bus"), true)]
}

impl Bus {
    /// The manager of this process' user: systemd of the machine for root.
    pub fn connect() -> Result<Bus, Error> {
        Bus::first_of(&sockets(rustix::process::geteuid().as_raw()))
    }

    fn first_of(sockets: &[(PathBuf, bool)]) -> Result<Bus, Error> {
        let mut refused = None;
        for (socket, brokered) in sockets {
            match UnixStream::connect(socket) {
                Ok(stream) => return Bus::over(stream, *brokered),
                // What a service that is gone leaves behind is as good as nothing.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                Err(source) => {
                    refused.get_or_insert(Error::Connect { socket: socket.clone(), source });
                }
            }
        }
        let tried = sockets.iter().map(|(socket, _)| socket.display().to_string()).collect::<Vec<_>>();
        Err(refused.unwrap_or(Error::NotRunning { tried: tried.join(" nor ") }))
    }

    /// Introduces us to whoever is at the other end.
    pub fn over(stream: UnixStream, brokered: bool) -> Result<Bus, Error> {
        let mut bus = Bus { stream, serial: 0, signals: VecDeque::new(), brokered };
        bus.authenticate()?;
        if brokered {
            bus.broker("Hello", "", &[])?;
        }
        Ok(bus)
    }

    /// SASL's EXTERNAL: the kernel vouches for our user id, which is said in hexadecimal digits of its decimal ones. All
    /// in one write: systemd leaves a message lying that it has read together with `BEGIN`.
    fn authenticate(&mut self) -> Result<(), Error> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte, deadline)?;
            line.push(byte[0]);
            if line.len() > 512 {
                return Err(Error::Protocol { reason: "an endless greeting".to_owned() });
            }
        }
        if !line.starts_with(b"OK ") {
            let reason = String::from_utf8_lossy(&line).trim().to_owned();
            return Err(Error::Protocol { reason: format!("user {uid} is not let in: {reason}") });
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.stream.set_write_timeout(Some(PATIENCE)).and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|source| Error::Talk { source: timely(source) })
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<(), Error> {
        let mut filled = 0;
        let fail = |source| Error::Talk { source };
        while filled < buffer.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(fail(io::ErrorKind::TimedOut.into()));
            }
            self.stream.set_read_timeout(Some(left)).map_err(fail)?;
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => return Err(fail(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(timely(e))),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, Error> {
        let bad = |e: wire::Malformed| Error::Protocol { reason: e.to_string() };
        let mut prelude = [0; PRELUDE];
        self.read(&mut prelude, deadline)?;
        let mut bytes = vec![0; wire::length(&prelude).map_err(bad)?];
        bytes[..PRELUDE].copy_from_slice(&prelude);
        self.read(&mut bytes[PRELUDE..], deadline)?;
        Message::decode(&bytes).map_err(bad)
    }

    /// Calls and waits for the answer; signals that arrive before it are kept.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Result<Message, Refusal>, Error> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.encode(serial))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                Kind::Reply if message.answers == Some(serial) => return Ok(Ok(message)),
                Kind::Error if message.answers == Some(serial) => {
                    return Ok(Err(Refusal { words: message.words(), name: message.error }));
                }
                Kind::Signal => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    fn broker(&mut self, member: &str, signature: &str, body: &[u8]) -> Result<(), Error> {
        let call = Call {
            destination: BROKER,
            path: "/org/freedesktop/DBus",
            interface: BROKER,
            member,
            signature,
            body,
        };
        match self.call(&call)? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Error::Protocol { reason: format!("{}: {}", refusal.name, refusal.words) }),
        }
    }

    /// Asks for the signals of an interface. Whether they have to be asked for at all: only of a broker.
    pub fn listen(&mut self, interface: &str, member: &str) -> Result<bool, Error> {
        if self.brokered {
            let mut body = Writer::default();
            body.text(&format!("type='signal',interface='{interface}',member='{member}'"));
            self.broker("AddMatch", "s", &body.into_bytes())?;
        }
        Ok(self.brokered)
    }

    /// Waits for a signal that `wanted` recognises.
    pub fn signal<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Result<T, Error> {
        if let Some(found) = self.signals.drain(..).find_map(|message| wanted(&message)) {
            return Ok(found);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(deadline)?;
            if message.kind == Kind::Signal
                && let Some(found) = wanted(&message)
            {
                return Ok(found);
            }
        }
    }
}

/// A socket's time-out reads like a socket that isn't ready.
fn timely(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_systemd_the_error_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let error = Bus::first_of(&[(folder.path().join("absent"), false), (stale, true)]).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("absent nor ") && said.contains("--systemd-cgroup"), "{said}");
    }

    #[test]
    fn every_user_has_a_manager() {
        assert_eq!(sockets(0)[0].0.to_str(), Some("/run/systemd/private"));
        assert_eq!(sockets(1000)[1].0.to_str(), Some("/run/user/1000/bus"));
    }
}
