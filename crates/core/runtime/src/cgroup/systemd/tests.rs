//! The driver against a peer that speaks as systemd does, at the other end of a socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use oci::runtime::{Memory, Pids};

use super::wire::{Kind, PRELUDE, Value};
use super::*;

/// What the peer answers to a call: bytes of any number of messages.
type Script = Box<dyn FnMut(&Message) -> Vec<u8> + Send>;

/// Speaks SASL, then answers calls; gives those that it got.
fn peer(mut script: Script, expected_uid: u32) -> (UnixStream, JoinHandle<Vec<Message>>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let handle = std::thread::spawn(move || {
        let line = |theirs: &mut UnixStream| {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                theirs.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            String::from_utf8(line).unwrap()
        };
        let hex: String = expected_uid.to_string().bytes().map(|b| format!("{b:02x}")).collect();
        assert_eq!(line(&mut theirs), format!("\0AUTH EXTERNAL {hex}\r\n"));
        // No message may be on its way when this is read.
        assert_eq!(line(&mut theirs), "BEGIN\r\n");
        theirs.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").unwrap();
        let mut calls = Vec::new();
        loop {
            let mut prelude = [0; PRELUDE];
            if theirs.read_exact(&mut prelude).is_err() {
                return calls;
            }
            let mut bytes = prelude.to_vec();
            bytes.resize(wire::length(&prelude).unwrap(), 0);
            theirs.read_exact(&mut bytes[PRELUDE..]).unwrap();
            let call = Message::decode(&bytes).unwrap();
            assert_eq!(call.kind, Kind::Call);
            let answer = script(&call);
            calls.push(call);
            // The caller may have what it wants already, and be gone.
            let _ = theirs.write_all(&answer);
        }
    });
    (ours, handle)
}

fn reply(call: &Message, signature: &str, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut body = Writer::default();
    fill(&mut body);
    wire::encode(2, 1, Some(call.serial), &[(8, "g", signature)], &body.into_bytes())
}

fn refusal(call: &Message, name: &str, words: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(words);
    wire::encode(3, 1, Some(call.serial), &[(4, "s", name), (8, "g", "s")], &body.into_bytes())
}

fn removed(job: &str, unit: &str, result: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.u32(1);
    [job, unit, result].iter().for_each(|text| body.text(text));
    let fields =
        [(1, "o", OBJECT), (2, "s", MANAGER), (3, "s", "JobRemoved"), (7, "s", ":1.1"), (8, "g", "uoss")];
    wire::encode(4, 2, None, &fields, &body.into_bytes())
}

/// What every systemd answers.
fn common(call: &Message) -> Vec<u8> {
    match call.member.as_str() {
        "Get" => {
            let mut reader = call.reader();
            let (interface, name) = (reader.text().unwrap(), reader.text().unwrap());
            assert_eq!(interface, MANAGER);
            let value = match name.as_str() {
                "Version" => "252.39-1~deb12u1",
                "ControlGroup" => "",
                other => panic!("{other}"),
            };
            reply(call, "v", |w| w.variant(&Value::Text(value.to_owned())))
        }
        "Hello" => reply(call, "s", |w| w.text(":1.7")),
        "AddMatch" | "Subscribe" | "ResetFailedUnit" | "SetUnitProperties" => reply(call, "", |_| {}),
        other => panic!("{other}"),
    }
}

fn systemd(brokered: bool, script: Script) -> (Systemd, JoinHandle<Vec<Message>>) {
    let (stream, handle) = peer(script, rustix::process::geteuid().as_raw());
    (Systemd::over(Bus::over(stream, brokered).unwrap(), true).unwrap(), handle)
}

fn scope() -> Scope {
    Scope::parse("user-a.slice:dhow:c", "c").unwrap()
}

fn start(systemd: &mut Systemd, resources: &Resources) -> Result<Keeper, Error> {
    let annotations =
        BTreeMap::from([("org.systemd.property.CollectMode".to_owned(), "'inactive'".to_owned())]);
    systemd.start(&scope(), About { id: "c", annotations: &annotations }, resources)
}

fn members(calls: &[Message]) -> Vec<&str> {
    calls.iter().map(|call| call.member.as_str()).collect()
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_scope_is_started_with_its_limits_and_its_job_awaited() {
    let (mut systemd, handle) = systemd(
        true,
        Box::new(|call| match call.member.as_str() {
            // Another job's end, ours, and only then the answer that names ours.
            "StartTransientUnit" => [
                removed("/job/1", "other.scope", "failed"),
                removed("/job/2", "dhow-c.scope", "done"),
                reply(call, "o", |w| w.text("/job/2")),
            ]
            .concat(),
            _ => common(call),
        }),
    );
    let path = systemd.path(&scope()).unwrap();
    assert_eq!(path, "/user.slice/user-a.slice/dhow-c.scope");
    let memory = Memory { limit: Some(1 << 20), ..Memory::default() };
    let keeper = start(&mut systemd, &Resources { memory: Some(memory), ..Resources::default() }).unwrap();
    let pid = keeper._child.pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop((keeper, systemd));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let calls = handle.join().unwrap();
    assert_eq!(members(&calls), ["Hello", "Get", "AddMatch", "Subscribe", "Get", "StartTransientUnit"]);
    let call = calls.last().unwrap();
    assert_eq!((call.signature.as_str(), call.interface.as_str()), ("ssa(sv)a(sa(sv))", MANAGER));
    let mut reader = call.reader();
    assert_eq!((reader.text().unwrap(), reader.text().unwrap()), ("dhow-c.scope".into(), "fail".into()));
    for text in ["Slice", "user-a.slice", "PIDs", "Delegate", "MemoryMax", "CollectMode", "inactive"] {
        assert!(contains(&call.body, text), "{text}");
    }
}

#[test]
fn the_private_socket_is_asked_for_no_signals() {
    let (systemd, handle) = systemd(false, Box::new(common));
    drop(systemd);
    assert_eq!(members(&handle.join().unwrap()), ["Get"]);
}

#[test]
fn a_job_that_fails_is_told_with_its_unit_and_undone() {
    let (mut systemd, handle) = systemd(
        false,
        Box::new(|call| match call.member.as_str() {
            "StartTransientUnit" => {
                [reply(call, "o", |w| w.text("/job/3")), removed("/job/3", "dhow-c.scope", "failed")].concat()
            }
            "StopUnit" => {
                refusal(call, "org.freedesktop.systemd1.NoSuchUnit", "Unit dhow-c.scope not loaded.")
            }
            _ => common(call),
        }),
    );
    let error = start(&mut systemd, &Resources::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("unable to start unit dhow-c.scope: its job ended as \"failed\""), "{said}");
    drop(systemd);
    assert_eq!(members(&handle.join().unwrap()), ["Get", "StartTransientUnit", "StopUnit"]);
}

#[test]
fn a_refusal_is_told_in_systemds_words() {
    let (mut systemd, _handle) = systemd(
        false,
        Box::new(|call| match call.member.as_str() {
            "StartTransientUnit" => {
                refusal(call, "org.example.No", "Cannot set property X, or unknown property.")
            }
            _ => common(call),
        }),
    );
    let said = start(&mut systemd, &Resources::default()).unwrap_err().to_string();
    assert_eq!(said, "unable to start unit dhow-c.scope: Cannot set property X, or unknown property.");
}

#[test]
fn a_failed_unit_of_the_same_name_is_forgotten_first() {
    let mut attempts = 0;
    let (mut systemd, handle) = systemd(
        false,
        Box::new(move |call| match call.member.as_str() {
            "StartTransientUnit" if attempts == 0 => {
                attempts += 1;
                refusal(call, "org.freedesktop.systemd1.UnitExists", "Unit was already loaded.")
            }
            "StartTransientUnit" => {
                [reply(call, "o", |w| w.text("/job/4")), removed("/job/4", "dhow-c.scope", "done")].concat()
            }
            _ => common(call),
        }),
    );
    start(&mut systemd, &Resources::default()).unwrap();
    drop(systemd);
    let calls = handle.join().unwrap();
    assert_eq!(members(&calls)[1..], ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
}

#[test]
fn limits_change_and_the_scope_ends() {
    let (mut systemd, handle) = systemd(
        false,
        Box::new(|call| match call.member.as_str() {
            "StopUnit" => {
                [reply(call, "o", |w| w.text("/job/5")), removed("/job/5", "dhow-c.scope", "done")].concat()
            }
            _ => common(call),
        }),
    );
    let pids = Resources { pids: Some(Pids { limit: 9 }), ..Resources::default() };
    systemd.update("dhow-c.scope", &pids).unwrap();
    // Nothing that systemd has a property for.
    systemd.update("dhow-c.scope", &Resources::default()).unwrap();
    systemd.stop("dhow-c.scope").unwrap();
    drop(systemd);
    let calls = handle.join().unwrap();
    assert_eq!(members(&calls)[1..], ["SetUnitProperties", "StopUnit", "ResetFailedUnit"]);
    assert_eq!(calls[1].signature, "sba(sv)");
    assert!(contains(&calls[1].body, "TasksMax"));
}

#[test]
fn a_peer_that_hangs_up_or_speaks_nonsense_is_an_error() {
    let (mut gone, _handle) = systemd(
        false,
        Box::new(|call| match call.member.as_str() {
            "StopUnit" => vec![b'x'; PRELUDE],
            _ => common(call),
        }),
    );
    assert!(matches!(gone.stop("c.scope"), Err(Error::Protocol { .. })));
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(matches!(Bus::over(ours, false), Err(Error::Talk { .. })));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
    assert!(matches!(Bus::over(ours, false), Err(Error::Protocol { .. })));
}

#[test]
fn paths_of_the_systemd_form() {
    let of = |path| Scope::parse(path, "c").map(|scope| (scope.slice, scope.unit));
    let pair = |slice: &str, unit: &str| (slice.to_owned(), unit.to_owned());
    assert_eq!(of("").unwrap(), pair("system.slice", "dhow-c.scope"));
    assert_eq!(of("machine.slice:libpod:1").unwrap(), pair("machine.slice", "libpod-1.scope"));
    assert_eq!(of(":docker:x").unwrap(), pair("system.slice", "docker-x.scope"));
    assert_eq!(of("-.slice::x").unwrap(), pair("-.slice", "x.scope"));
    for bad in ["/docker/x", "a.slice:b", "a.slice:b:", "a.slice:b:c:d", "a.slice:b:c.slice", "a.slice:b:c/d"]
    {
        assert!(matches!(of(bad), Err(Error::Path { .. })), "{bad}");
    }
    for bad in ["a:b:c", "a--b.slice:b:c", "-a.slice:b:c", "a-.slice:b:c", ".slice:b:c"] {
        assert!(matches!(of(bad), Err(Error::Slice { .. })), "{bad}");
    }
}

#[test]
fn every_dash_of_a_slice_is_a_level() {
    assert_eq!(expand("-.slice").unwrap(), "");
    assert_eq!(expand("a.slice").unwrap(), "/a.slice");
    assert_eq!(expand("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
}
