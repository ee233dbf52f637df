//! `run`, which stays; terminals; logs.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use testkit::eventually;

use super::bundle::Bundle;

#[test]
fn run_becomes_its_program() {
    let bundle = Bundle::new("cat; echo to err >&2; exit 3");
    let output = bundle.runtime(&["run", "@one"]).input(b"in and out".to_vec()).run();
    assert_eq!((output.code, output.stdout.as_str()), (3, "in and out"));
    assert!(output.stderr.contains("to err"));
    bundle.runtime(&["state", "@one"]).fails(1);
    bundle.runtime(&["run", "--keep", "@one"]).fails(3);
    assert_eq!(bundle.status("one"), "stopped");
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", "kill -9 $$"]));
    // The init of a pid namespace is not killed from within.
    bundle.runtime(&["run", "@two"]).ok();
}

#[test]
fn a_terminal_is_sent_to_who_asked_for_it() {
    let bundle = Bundle::new("stty size; read line; echo got $line");
    bundle.edit(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    });
    let refused = bundle.runtime(&["create", "@one"]).fails(1);
    assert!(refused.contains("without setting console socket"), "{refused}");
    let socket = bundle.path("console");
    let listener = UnixListener::bind(&socket).expect("listen");
    bundle.runtime(&["create", "--console-socket", socket.to_str().expect("UTF-8"), "@one"]).ok();
    let (stream, _) = listener.accept().expect("accept");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let received =
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::empty());
    assert!(received.expect("receive").bytes > 0);
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let mut master = fs::File::from(fds.next().expect("a message").next().expect("a descriptor"));
    bundle.runtime(&["start", "@one"]).ok();
    let mut text = String::new();
    let mut until = |word: &str, master: &mut fs::File| {
        let mut buffer = [0; 256];
        while !text.contains(word) {
            let n = master.read(&mut buffer).expect("read the terminal");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    until("33 77", &mut master);
    master.write_all(b"typed\n").expect("type");
    until("got typed", &mut master);
    bundle.await_status("one", "stopped");
}

#[test]
fn a_terminal_of_run_is_passed_through() {
    let bundle = Bundle::new("test -t 0 && test -t 1 && echo a terminal; exit 4");
    bundle.edit(|config| config["process"]["terminal"] = json!(true));
    let output = bundle.runtime(&["run", "@one"]).run();
    assert_eq!((output.code, output.stdout.trim()), (4, "a terminal"));
}

/// A service manager's socket in the bundle's folder, and its name.
fn manager(bundle: &Bundle) -> (UnixDatagram, String) {
    let path = bundle.path("manager").to_string_lossy().into_owned();
    let manager = UnixDatagram::bind(&path).expect("listen");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set a limit");
    (manager, path)
}

/// Says what the program of a container would, on the socket that it finds.
fn say(bundle: &Bundle, message: &str) {
    eventually("the container's socket", || {
        let pid = bundle.state("one")["pid"].as_i64().expect("a number");
        let inside = format!("/proc/{pid}/root/run/notify/notify.sock");
        UnixDatagram::unbound().expect("a socket").send_to(message.as_bytes(), inside).is_ok()
    });
}

#[test]
fn a_service_manager_is_told_when_the_program_is_ready() {
    let bundle = Bundle::new("echo $NOTIFY_SOCKET; exec sleep 1000");
    let (manager, socket) = manager(&bundle);
    let mut buffer = [0; 256];
    bundle.create_with("one", &[("NOTIFY_SOCKET", &socket)]);
    std::thread::scope(|scope| {
        let started = scope.spawn(|| bundle.runtime(&["start", "@one"]).env("NOTIFY_SOCKET", &socket).ok());
        say(&bundle, "STATUS=half way\n");
        assert!(!started.is_finished());
        say(&bundle, "STATUS=there\nREADY=1\n");
        started.join().expect("start");
    });
    let length = manager.recv(&mut buffer).expect("a message");
    let pid = bundle.state("one")["pid"].clone();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("READY=1\nMAINPID={pid}"));
    eventually("the variable", || bundle.out() == "/run/notify/notify.sock\n");
    bundle.runtime(&["delete", "--force", "@one"]).ok();
    assert!(!bundle.path("state").join(bundle.id("one")).exists());
}

#[test]
fn nobody_waits_for_a_program_that_ends_without_a_word() {
    let bundle = Bundle::new("exit 5");
    let (manager, socket) = manager(&bundle);
    manager.set_nonblocking(true).expect("set");
    for words in [&["run", "@one"][..], &["run", "--detach", "@one"]] {
        let output = bundle.runtime(words).env("NOTIFY_SOCKET", &socket).run();
        assert_eq!(output.code, if words.len() == 2 { 5 } else { 0 }, "{}", output.stderr);
    }
    assert!(manager.recv(&mut [0; 256]).is_err());
}

#[test]
fn engines_read_errors_in_the_log() {
    let bundle = Bundle::new("true");
    let error = bundle.runtime(&["--log", "log", "--log-format", "json", "start", "@none"]).fails(1);
    assert_eq!(error.trim(), "container does not exist");
    let log = fs::read_to_string(bundle.path("log")).expect("read");
    let line: Value = serde_json::from_str(log.trim()).expect("one line of JSON");
    assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("container does not exist")));
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
}

#[test]
fn it_says_what_it_is() {
    let bundle = Bundle::new("true");
    let version = bundle.runtime(&["--version"]).ok();
    assert!(version.starts_with("dhow-runtime version ") && version.contains("\nspec: 1."), "{version}");
    let link = bundle.path("dhow-runtime");
    std::os::unix::fs::symlink(testkit::binary(), &link).expect("link");
    let linked = std::process::Command::new(link).arg("--version").output().expect("run");
    assert_eq!(String::from_utf8_lossy(&linked.stdout).trim(), version);
    assert!(bundle.runtime(&["checkpoint", "x"]).fails(1).contains("not supported"));
}

#[test]
fn descriptors_are_handed_on_only_when_asked() {
    let bundle = Bundle::new("ls /proc/self/fd | sort -n | tail -n +4; echo $LISTEN_FDS");
    let file = fs::File::create(bundle.path("kept")).expect("make");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("keep it over exec");
    // `ls` itself opens the folder as 3.
    assert_eq!(bundle.runtime(&["run", "@one"]).ok(), "3");
    // Variables for another process, as an engine has that was started by its socket, are not for us.
    let run = |pid: &str| {
        let mut shell = std::process::Command::new("sh");
        let script = format!(
            "LISTEN_PID={pid} LISTEN_FDS=1 exec {} runtime --root {} run -b {} {} 3<{}",
            testkit::binary().display(),
            bundle.path("state").display(),
            bundle.path(".").display(),
            bundle.id("two"),
            bundle.path("kept").display(),
        );
        let output = shell.args(["-c", &script]).output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(run("1"), "3");
    assert_eq!(run("$$"), "3\n4\n1");
    let missing = bundle.runtime(&["create", "--preserve-fds", "4294967295", "@one"]).fails(1);
    assert!(missing.contains("(of 4294967295): stat /proc/self/fd/"), "{missing}");
}
