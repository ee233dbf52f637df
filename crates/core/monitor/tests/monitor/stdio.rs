//! Attaching, typing, detaching.

use std::io::{Read, Write};
use std::net::Shutdown;

use monitor::State;
use monitor::protocol::Attach;

use crate::fixture::{Fixture, eventually, everything, read_frames, read_until, type_in};

#[test]
fn who_attaches_before_the_start_misses_nothing() {
    let fixture = Fixture::new();
    let (stream, _) = fixture.connect().attach(everything()).unwrap();
    fixture.start(&fixture.shell("echo out; echo err >&2"));
    assert_eq!(read_frames(stream), ("out\n".to_owned(), "err\n".to_owned()));
}

#[test]
fn a_client_gets_the_streams_that_it_asked_for() {
    let fixture = Fixture::new();
    let (stream, _) = fixture.connect().attach(Attach { stderr: true, ..Attach::default() }).unwrap();
    fixture.start(&fixture.shell("echo out; echo err >&2"));
    assert_eq!(read_frames(stream), (String::new(), "err\n".to_owned()));
}

#[test]
fn input_ends_with_the_first_client_that_ends_it() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("cat; echo end");
    (config.open_stdin, config.stdin_once) = (true, true);
    let (mut stream, _) = fixture.connect().attach(everything()).unwrap();
    // Typed before the start already.
    type_in(&mut stream, b"one\n");
    stream.shutdown(Shutdown::Write).unwrap();
    fixture.start(&config);
    assert_eq!(read_frames(stream).0, "one\nend\n");
}

#[test]
fn much_input_goes_through() {
    let fixture = Fixture::new();
    let mut config = fixture.config(&["cat"]);
    (config.open_stdin, config.stdin_once) = (true, true);
    config.log.driver = monitor::LogDriver::None;
    let (mut stream, _) = fixture.connect().attach(everything()).unwrap();
    fixture.start(&config);
    let text: String = (0..400_000).map(|n| format!("{n}\n")).collect();
    let reader = stream.try_clone().unwrap();
    let typed = text.clone();
    let writer = std::thread::spawn(move || {
        stream.write_all(typed.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let got = read_frames(reader).0;
    writer.join().unwrap();
    assert!(got == text, "{} of {} bytes came back", got.len(), text.len());
}

#[test]
fn an_open_input_outlives_its_clients() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("while read line; do echo \"got $line\"; done");
    config.open_stdin = true;
    fixture.start(&config);
    for word in ["one", "two"] {
        let (mut stream, _) = fixture.connect().attach(Attach { stdin: true, ..Attach::default() }).unwrap();
        type_in(&mut stream, format!("{word}\n").as_bytes());
        drop(stream);
        fixture.wait_for_output(&format!("got {word}"));
    }
}

#[test]
fn a_slow_client_gets_everything() {
    const BYTES: usize = 20 << 20;
    let fixture = Fixture::new();
    let mut config = fixture.shell(&format!("yes | head -c {BYTES}"));
    config.log.driver = monitor::LogDriver::None;
    let (mut stream, _) = fixture.connect().attach(everything()).unwrap();
    fixture.start(&config);
    let mut header = [0; 8];
    stream.read_exact(&mut header).unwrap();
    let first = u32::from_be_bytes(header[4..].try_into().unwrap()) as usize;
    stream.read_exact(&mut vec![0; first]).unwrap();
    // Until it is read, the container cannot get rid of the rest.
    assert_eq!(fixture.status().state, State::Running);
    assert_eq!(first + read_frames(stream).0.len(), BYTES);
}

#[test]
fn output_in_a_hurry_is_complete_in_log_and_stream() {
    let fixture = Fixture::new();
    let (stream, _) = fixture.connect().attach(everything()).unwrap();
    let mut config = fixture.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    config.log.max_size = 0;
    fixture.start(&config);
    let want: String = (0..20000).map(|n| format!("line {n}\n")).collect();
    assert!(read_frames(stream).0 == want);
    assert!(fixture.log() == want);
}

#[test]
fn a_terminal_echoes_and_has_a_size() {
    let fixture = Fixture::new();
    let (mut stream, _) = fixture.connect().attach(everything()).unwrap();
    let mut config =
        fixture.terminal("stty size; read line; echo \"<$line>\"; stty size; read line; stty size");
    config.spec.process.as_mut().unwrap().console_size =
        Some(oci::runtime::ConsoleSize { height: 24, width: 80 });
    fixture.start(&config);
    read_until(&mut stream, "24 80\r\n");
    type_in(&mut stream, b"hello\n");
    let got = read_until(&mut stream, "24 80\r\n");
    assert!(got.contains("hello\r\n<hello>\r\n"), "{got:?}");
    fixture.connect().resize(50, 132).unwrap();
    type_in(&mut stream, b"\n");
    read_until(&mut stream, "50 132\r\n");
    eventually("it exits", || fixture.status().state == State::Exited);
    assert!(fixture.log().contains("<hello>\r\n"));
}

#[test]
fn the_detach_keys_end_the_stream_and_not_the_container() {
    let fixture = Fixture::new();
    let (mut stream, _) = fixture.connect().attach(everything()).unwrap();
    fixture.start(&fixture.terminal("echo ready; sleep 1000"));
    read_until(&mut stream, "ready");
    type_in(&mut stream, b"\x10\x11");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(fixture.status().state, State::Running);
    eventually("it is told", || fixture.events().contains(&"detach".to_owned()));
}

#[test]
fn attaching_later_brings_what_comes_later() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("echo before; read line; echo after");
    config.open_stdin = true;
    fixture.start(&config);
    fixture.wait_for_output("before");
    let (mut stream, tty) = fixture.connect().attach(everything()).unwrap();
    assert_eq!(tty, Some(false));
    type_in(&mut stream, b"\n");
    assert_eq!(read_frames(stream).0, "after\n");
}

#[test]
fn a_daemon_in_the_container_does_not_hold_its_end_up() {
    let fixture = Fixture::new();
    let exit = fixture.run(&fixture.shell("sleep 1000 & echo started"));
    assert_eq!(exit.exit_code, 0);
    assert_eq!(fixture.log(), "started\n");
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("sleep 1000"));
    let descriptors = format!("/proc/{}/fd", fixture.monitor_pid().as_raw_nonzero());
    let count = || std::fs::read_dir(&descriptors).unwrap().count();
    let before = count();
    for _ in 0..500 {
        drop(fixture.connect().attach(everything()).unwrap());
    }
    eventually("all descriptors are closed", || count() <= before);
}
