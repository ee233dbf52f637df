//! Further processes in a running container.

use std::net::Shutdown;

use monitor::client::Error;
use monitor::protocol::FailureKind;

use crate::fixture::{Fixture, eventually, read_frames, read_until, type_in};

fn running() -> Fixture {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("sleep 1000"));
    fixture
}

#[test]
fn output_and_exit_code_come_back() {
    let fixture = running();
    let mut connection = fixture.connect();
    connection.exec_create(fixture.exec("one", "echo out; echo err >&2; exit 3")).unwrap();
    let state = connection.exec_inspect("one").unwrap();
    assert_eq!((state.running, state.exit_code), (false, None));
    let stream = connection.exec_attach("one", None, None).unwrap();
    assert_eq!(read_frames(stream), ("out\n".to_owned(), "err\n".to_owned()));
    let state = fixture.connect().exec_inspect("one").unwrap();
    assert_eq!((state.running, state.exit_code), (false, Some(3)));
    assert_eq!(
        fixture.events(),
        [
            "start",
            "exec_create: sh -c echo out; echo err >&2; exit 3",
            "exec_start: sh -c echo out; echo err >&2; exit 3",
            "exec_die"
        ]
    );
    assert_eq!(fixture.log(), "");
}

#[test]
fn input_goes_in_and_its_end_too() {
    let fixture = running();
    let mut connection = fixture.connect();
    let mut create = fixture.exec("one", "cat; echo end");
    create.stdin = true;
    connection.exec_create(create).unwrap();
    let mut stream = connection.exec_attach("one", None, None).unwrap();
    type_in(&mut stream, b"hello\n");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_frames(stream).0, "hello\nend\n");
}

#[test]
fn a_terminal_has_a_size_from_the_start() {
    let fixture = running();
    let mut connection = fixture.connect();
    let mut create = fixture.exec("one", "read line; stty size; read line; stty size");
    (create.tty, create.stdin, create.process.terminal) = (true, true, true);
    connection.exec_create(create).unwrap();
    let mut stream = connection.exec_attach("one", Some((30, 90)), None).unwrap();
    type_in(&mut stream, b"\n");
    read_until(&mut stream, "30 90\r\n");
    fixture.connect().exec_resize("one", 10, 20).unwrap();
    type_in(&mut stream, b"\n");
    read_until(&mut stream, "10 20\r\n");
}

#[test]
fn several_run_at_once_and_detached() {
    let fixture = running();
    let mut connection = fixture.connect();
    for id in ["one", "two", "three"] {
        connection.exec_create(fixture.exec(id, &format!("echo > /tmp/{id}; exit 1"))).unwrap();
        assert!(connection.exec_detached(id).unwrap().pid > 0);
    }
    for id in ["one", "two", "three"] {
        eventually("it exits", || fixture.connect().exec_inspect(id).unwrap().exit_code == Some(1));
        assert!(fixture.rootfs().join("tmp").join(id).exists());
    }
}

#[test]
fn a_missing_command_is_127() {
    let fixture = running();
    let mut connection = fixture.connect();
    let mut create = fixture.exec("one", "");
    create.process.args = vec!["no-such-program".into()];
    connection.exec_create(create).unwrap();
    match fixture.connect().exec_attach("one", None, None).unwrap_err() {
        Error::Failed(failure) => {
            assert_eq!((failure.kind, failure.exit_code), (FailureKind::Start, Some(127)))
        }
        other => panic!("{other}"),
    }
    assert_eq!(connection.exec_inspect("one").unwrap().exit_code, Some(127));
}

#[test]
fn what_is_unknown_or_done_is_refused() {
    let fixture = running();
    let kind = |result: Result<_, Error>| match result {
        Err(Error::Failed(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    let mut connection = fixture.connect();
    assert_eq!(kind(connection.exec_inspect("none").map(drop)), FailureKind::NoSuchExec);
    connection.exec_create(fixture.exec("one", "true")).unwrap();
    assert_eq!(kind(connection.exec_create(fixture.exec("one", "true"))), FailureKind::ExecConflict);
    connection.exec_detached("one").unwrap();
    assert_eq!(kind(connection.exec_detached("one").map(drop)), FailureKind::ExecConflict);
    connection.stop(None, Some(0)).unwrap();
    assert_eq!(kind(connection.exec_create(fixture.exec("two", "true"))), FailureKind::NotRunning);
}

#[test]
fn it_ends_with_the_container() {
    let fixture = running();
    let mut connection = fixture.connect();
    connection.exec_create(fixture.exec("one", "echo here; sleep 1000")).unwrap();
    let stream = connection.exec_attach("one", None, None).unwrap();
    fixture.connect().stop(None, Some(0)).unwrap();
    read_frames(stream);
}

#[test]
fn a_daemon_that_it_leaves_behind_neither_holds_it_up_nor_dies() {
    let fixture = running();
    let mut connection = fixture.connect();
    // The daemon speaks when its parent's stream has been given up.
    let script = "(while ! test -e /tmp/go; do sleep 0.01; done; echo late; echo more; touch /tmp/survived) & echo started";
    connection.exec_create(fixture.exec("one", script)).unwrap();
    let stream = connection.exec_attach("one", None, None).unwrap();
    assert_eq!(read_frames(stream).0, "started\n");
    std::fs::write(fixture.rootfs().join("tmp/go"), "").unwrap();
    eventually("the daemon lives on", || fixture.rootfs().join("tmp/survived").exists());
}
