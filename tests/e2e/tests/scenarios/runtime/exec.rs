//! More processes in a container.

use serde_json::json;

use super::bundle::Bundle;

#[test]
fn processes_join_with_their_own_settings() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    let exec = |words: &[&str]| bundle.runtime(&[&["exec"], words].concat());
    assert_eq!(exec(&["@one", "hostname"]).ok(), "contained");
    assert_eq!(exec(&["-u", "5:6", "-g", "7", "@one", "id"]).ok(), "uid=5 gid=6 groups=7");
    assert_eq!(exec(&["-e", "A=b", "--cwd", "/tmp", "@one", "sh", "-c", "echo $A; pwd"]).ok(), "b\n/tmp");
    exec(&["@one", "sh", "-c", "exit 7"]).fails(7);
    exec(&["@one", "sh", "-c", "kill -9 $$"]).fails(137);
    let caps = exec(&["--cap", "CAP_CHOWN", "@one", "grep", "CapEff", "/proc/self/status"]).ok();
    assert_eq!(caps, "CapEff:\t0000000000000021");
    let privileges = exec(&["--no-new-privs", "@one", "grep", "NoNewPrivs", "/proc/self/status"]).ok();
    assert_eq!(privileges, "NoNewPrivs:\t1");
    let input = bundle.runtime(&["exec", "@one", "cat"]).input(b"through".to_vec()).ok();
    assert_eq!(input, "through");
}

#[test]
fn a_process_comes_as_a_document() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    let process =
        json!({"user": {"uid": 9, "gid": 9}, "args": ["id", "-u"], "env": ["PATH=/bin"], "cwd": "/"});
    std::fs::write(bundle.path("process.json"), process.to_string()).expect("write");
    let pid = bundle.path("pid");
    let words = ["exec", "--process", "process.json", "--pid-file", pid.to_str().expect("UTF-8"), "@one"];
    assert_eq!(bundle.runtime(&words).ok(), "9");
    std::fs::read_to_string(&pid).expect("read").parse::<u32>().expect("a number");
    std::fs::write(bundle.path("process.json"), r#"{"args": 5}"#).expect("write");
    assert!(bundle.runtime(&words).fails(255).contains("read process.json: invalid type"));
}

#[test]
fn what_cannot_be_executed_is_said_in_words_that_engines_know() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    for (program, says) in [
        (
            "nothing",
            r#"exec failed: unable to start container process: exec: \"nothing\": executable file not found in $PATH"#,
        ),
        ("/etc/passwd", r#"exec: \"/etc/passwd\": permission denied"#),
        ("/no/thing", r#"exec: \"/no/thing\": stat /no/thing: no such file or directory"#),
    ] {
        let error = bundle.runtime(&["exec", "@one", program]).fails(255);
        assert!(error.contains(says), "{error}");
        bundle.edit(|config| config["process"]["args"] = json!([program]));
        let error = bundle.runtime(&["run", "@two"]).fails(1);
        assert!(error.contains(says.trim_start_matches("exec failed: ")), "{error}");
        assert!(bundle.runtime(&["state", "@two"]).fails(1).contains("container does not exist"));
    }
    bundle.runtime(&["exec", "-u", "root", "@one", "true"]).fails(255);
}
