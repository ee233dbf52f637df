use std::ffi::CString;
use std::path::Path;

use super::*;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn run(steps: &[Step]) -> (Child, Message) {
    let child = spawn(&Spawn { namespaces: 0, user: None, cgroup: None, steps }).unwrap();
    child.go().unwrap();
    let message = child.receive().unwrap();
    (child, message)
}

fn shell(script: &str) -> Vec<Step> {
    vec![
        Step::ResetSignals,
        Step::LookPath { candidates: vec![c("/nowhere/sh"), c("/bin/sh")], search: true, own: None },
        Step::Exec { argv: Argv::new(["sh", "-c", script]).unwrap(), envp: Argv::new([""; 0]).unwrap() },
    ]
}

#[test]
fn a_program_runs_and_the_end_of_file_tells() {
    let (child, message) = run(&shell("exit 7"));
    assert!(matches!(message, Message::End));
    let pidfd = child.release().unwrap();
    assert_eq!(wait(pidfd.as_fd()).unwrap(), Exit::Code(7));
}

#[test]
fn the_failing_step_and_its_errno_come_back() {
    let steps = [Step::ResetSignals, Step::Chdir { path: c("/nowhere"), ignore_denied: false }];
    let (_child, message) = run(&steps);
    match message {
        Message::Failed { step: 1, errno, .. } => assert_eq!(errno, libc::ENOENT),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_that_is_dropped_before_its_program_is_gone() {
    let steps = [Step::Ready];
    let (child, message) = run(&steps);
    assert!(matches!(message, Message::Ready));
    let pid = child.pid();
    drop(child);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn no_descriptor_is_left_open() {
    let extra = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&extra, rustix::io::FdFlags::empty()).unwrap();
    let mut steps = vec![Step::CloseFds { first: 3 }];
    steps.extend(shell(&format!("test ! -e /proc/$$/fd/{}", extra.as_raw_fd())));
    let (child, message) = run(&steps);
    assert!(matches!(message, Message::End), "{message:?}");
    assert_eq!(wait(child.release().unwrap().as_fd()).unwrap(), Exit::Code(0));
}

#[test]
fn targets_know_their_parents() {
    let target = Target::new(Path::new("/a//b/./c"), false).unwrap();
    assert_eq!((target.path, target.parent, target.name), (c("a/b/c"), c("a/b"), c("c")));
    assert_eq!(Target::new(Path::new("a"), false).unwrap().parent, c("."));
    assert!(Target::new(Path::new("/a/../b"), false).is_err());
    let root = Target::new(Path::new("/"), false).unwrap();
    assert!(root.is_root() && root.path == c("."));
}
