//! What builds keep elsewhere, and builds that are compared with themselves.

use std::fs;

use testkit::Host;
use testkit::bucket::{KEY, ObjectStore, SECRET};

in_every_mode! {
    a_cache_travels_through_a_bucket
    a_bucket_that_refuses_is_explained
    a_build_is_compared_with_itself
}

const FILE: &str =
    "FROM busybox\nRUN --mount=type=cache,target=/k echo kept >>/k/f; echo ran >/a\nCOPY ctx-file /\n";

/// Another machine: nothing is shared but the network.
fn elsewhere(host: &Host, arguments: &[&str]) -> testkit::Typed {
    let mut command = host.command();
    command.env("DHOW_ROOT", host.home().join("elsewhere")).args(arguments);
    testkit::Typed::new(command)
}

fn a_cache_travels_through_a_bucket(host: &Host) {
    let store = ObjectStore::start();
    // What is old is sent again, lest the bucket's rules remove it.
    store.forget_times();
    host.busybox();
    host.file("ctx/Dockerfile", FILE);
    host.file("ctx/ctx-file", "1");
    host.file(
        ".aws/credentials",
        format!("[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"),
    );
    let cache =
        format!("type=s3,bucket=b,region=eu-test-1,endpoint_url={},prefix=p/,name=one;two", store.url());
    let to = format!("{cache},mode=max,mounts=true");
    store.fall_ill(2);
    host.dhow(&["build", "--cache-to", &to, "ctx"]).ok();
    let keys = store.keys();
    assert!(keys.contains(&"b/p/manifests/one".to_owned()) && keys.contains(&"b/p/manifests/two".to_owned()));
    assert!(keys.iter().filter(|key| key.starts_with("b/p/blobs/sha256:")).count() >= 4, "{keys:?}");
    // What is there is not sent again.
    store.take_log();
    host.dhow(&["build", "--cache-to", &to, "ctx"]).ok();
    let log = store.take_log();
    // But the cache mount and the document that names it.
    assert!(log.iter().filter(|line| line.starts_with("PUT /b/p/blobs/")).count() <= 2, "{log:?}");
    host.dhow(&["save", "-o", "base.tar", "busybox"]).ok();
    elsewhere(host, &["load", "-i", "base.tar"]).ok();
    let seen = elsewhere(host, &["build", "--progress=plain", "--cache-from", &cache, "ctx"]).run();
    assert_eq!((seen.code, seen.stderr.matches(" CACHED").count()), (0, 3), "{}", seen.stderr);
    // The directories of cache mounts came along.
    host.file("ctx/look", "FROM busybox\nRUN --mount=type=cache,target=/k cat /k/f\n");
    let seen = elsewhere(host, &["build", "--progress=plain", "-f", "ctx/look", "ctx"]).run();
    assert!(seen.stderr.contains("kept"), "{}", seen.stderr);
    elsewhere(host, &["system", "check"]).ok();
    fs::remove_dir_all(host.home().join("elsewhere")).unwrap();
}

fn a_bucket_that_refuses_is_explained(host: &Host) {
    let store = ObjectStore::start();
    host.busybox();
    host.file("ctx/Dockerfile", FILE);
    host.file("ctx/ctx-file", "1");
    let cache = format!("type=s3,bucket=b,region=eu-test-1,endpoint_url={}", store.url());
    let build = |spec: &str| {
        let command = host.dhow(&["build", "--cache-to", spec, "ctx"]);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", "very-wrong")
    };
    let error = build(&cache).fails(1);
    assert!(error.contains("SignatureDoesNotMatch: the signature"), "{error}");
    assert!(!error.contains("very-wrong") && !error.contains("X-Amz"), "{error}");
    build(&format!("{cache},ignore-error=true")).ok();
    let given = format!("{cache},access_key_id={KEY},secret_access_key={SECRET}");
    build(&given).ok();
    // What is not there is no reason not to build.
    let seen = host.dhow(&["build", "--cache-from", &format!("{given},name=none"), "ctx"]).run();
    assert!(seen.code == 0 && seen.stderr.contains("none of that name in the bucket"), "{}", seen.stderr);
    for (spec, want) in [
        (
            "type=gha,token=t,url=u",
            "cache type \"gha\" is not supported: there are local, registry, s3 and inline",
        ),
        ("type=azblob,account_url=x", "cache type \"azblob\" is not supported"),
        ("type=s3,region=r", "needs bucket="),
        ("type=s3,bucket=b", "needs region="),
        ("type=s3,bucket=b,region=r,nonsense=1", "has no attribute \"nonsense\""),
        ("type=local,dest=x,bucket=b", "has no attribute \"bucket\""),
        ("type=local,dest=x,mounts=perhaps", "neither true nor false"),
    ] {
        let error = host.dhow(&["build", "--cache-to", spec, "ctx"]).fails(1);
        assert!(error.contains(want), "{spec}: {error}");
    }
    // The secret is nowhere: not in records, logs, the database or the cache.
    host.program("grep", &["-rqF", SECRET, "root"]).fails(1);
}

fn a_build_is_compared_with_itself(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo same >/same\n");
    let fixed = "type=image,rewrite-timestamp=true";
    let build = |arguments: &[&str]| {
        let words = [&["build", "--verify"], arguments, &["ctx"]].concat();
        host.dhow(&words)
    };
    build(&["-t", "good", "-o", fixed]).env("SOURCE_DATE_EPOCH", "1700000000").ok();
    assert_eq!(host.dhow(&["run", "--rm", "good", "cat", "/same"]).ok(), "same");
    let error = build(&["-t", "bad"]).fails(1);
    assert!(error.contains("the build is not reproducible") && error.contains("/same: mtime "), "{error}");
    assert!(error.contains("config: created: ") && error.contains("hint: set SOURCE_DATE_EPOCH"), "{error}");
    host.file("ctx/Dockerfile", "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/id\n");
    let error = build(&["-t", "bad", "-o", fixed]).env("SOURCE_DATE_EPOCH", "1700000000").fails(1);
    assert!(error.contains("): /id: content of line 1: \""), "{error}");
    assert!(host.type_in("image inspect bad").fails(1).contains("bad"), "it has no name");
}
