//! The tiny init, outside of a container.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

fn init(script: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_monitor-under-test"))
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn code(program: &str) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitor-under-test"));
    command.args(["--", program]).stderr(Stdio::null()).status().unwrap().code()
}

#[test]
fn it_ends_with_the_commands_code() {
    assert_eq!(init("exit 3").wait().unwrap().code(), Some(3));
    assert_eq!(init("kill -9 $$").wait().unwrap().code(), Some(137));
    assert_eq!(code("no-such-program"), Some(127));
    assert_eq!(code("/etc/passwd"), Some(126));
}

#[test]
fn it_hands_signals_on() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::USR1, "USR1"), (Signal::WINCH, "WINCH")] {
        let mut child = init(&format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.01; done"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "{name}");
    }
}
