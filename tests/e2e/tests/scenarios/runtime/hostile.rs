//! Names and documents that nobody should trust.

use std::fs;

use serde_json::json;

use super::bundle::Bundle;

#[test]
fn ids_lead_nowhere() {
    let bundle = Bundle::new("true");
    let long = "x".repeat(4096);
    for id in ["", ".", "..", "../x", "a/b", "/etc", "a b", "a\nb", "\u{1b}[31m", "ä", long.as_str()] {
        for verb in ["create", "start", "state", "kill", "delete", "pause", "resume"] {
            let error = bundle.runtime(&[verb, "--", id]).fails(1);
            assert!(
                error.contains("container id cannot be empty")
                    || error.contains("invalid container ID format")
            );
        }
    }
    assert!(!bundle.path("x").exists());
    assert!(!bundle.path("state").exists());
}

#[test]
fn a_bundle_that_is_wrong_is_told_where() {
    let bundle = Bundle::new("true");
    let fails = |says: &str| {
        let error = bundle.runtime(&["create", "@one"]).fails(1);
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(fs::read_dir(bundle.path("state")).map_or(0, Iterator::count), 0);
    };
    let whole = fs::read_to_string(bundle.path("config.json")).expect("read");
    bundle.edit(|config| config["process"]["args"] = json!(7));
    fails("config.json: process.args: invalid type");
    fs::write(bundle.path("config.json"), &whole[..whole.len() / 2]).expect("write");
    fails("config.json: ");
    fs::write(bundle.path("config.json"), "[".repeat(100_000)).expect("write");
    fails("config.json: ");
    fs::write(bundle.path("config.json"), &whole).expect("write");
    bundle.edit(|config| config["root"]["path"] = json!("nowhere"));
    fails("invalid rootfs: stat ");
    bundle.edit(|config| config["ociVersion"] = json!("2.0.0"));
    fails("ociVersion: version");
    fs::remove_file(bundle.path("config.json")).expect("remove");
    fails("JSON specification file");
    let elsewhere = bundle.runtime(&["create", "--bundle", "/no/such/bundle", "@one"]).fails(1);
    assert!(elsewhere.contains("/no/such/bundle"), "{elsewhere}");
}

#[test]
fn a_record_of_another_process_kills_nobody() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create("one");
    let path = bundle.path("state").join(bundle.id("one")).join("state.json");
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    // As if the number had been handed out again, to this test.
    let pid = std::mem::replace(&mut record["init"]["pid"], json!(std::process::id()));
    let recorded = fs::read(&path).expect("read");
    fs::write(&path, record.to_string()).expect("write");
    assert_eq!(bundle.status("one"), "stopped");
    assert!(bundle.runtime(&["kill", "@one", "KILL"]).fails(1).contains("container not running"));
    fs::write(&path, recorded).expect("write");
    assert_eq!(bundle.state("one")["pid"], pid);
    bundle.runtime(&["delete", "@one"]).ok();
}
