//! Base images of builds: what is fetched of them, and when.
//!
//! What a registry has lost cannot have been fetched: so it is seen which layers a build does not ask for.

use std::fs;

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    layers_that_nobody_needs_stay_where_they_are
}

const TOOLS: &str = "127.0.0.1:5000/tools:1";
const FINAL: &str = "127.0.0.1:5000/final:1";

fn build(host: &Host, file: &str, words: &str) -> testkit::Output {
    host.file("ctx/Dockerfile", file);
    host.type_in(&format!("build --progress plain {words} ctx")).run()
}

/// Takes the topmost layer of an image away from the registry.
fn lose(host: &Host, name: &str) {
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")];
    let manifest: Value = serde_json::from_str(&host.program("skopeo", &raw).ok()).unwrap();
    let layer = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap();
    let hex = layer.trim_start_matches("sha256:");
    let folder = format!("registry/docker/registry/v2/blobs/sha256/{}/{hex}", &hex[..2]);
    fs::remove_dir_all(host.home().join(folder)).unwrap();
}

fn layers_that_nobody_needs_stay_where_they_are(host: &Host) {
    host.busybox();
    let _registry = DockerRegistry::start(host);
    for name in [TOOLS, FINAL] {
        assert_eq!(
            build(host, &format!("FROM busybox\nRUN echo {name} > /base\n"), &format!("-t {name}")).code,
            0
        );
        host.dhow(&["push", name]).ok();
    }
    let file =
        format!("FROM {TOOLS} AS tools\nRUN cp /base /tool\nFROM {FINAL}\nCOPY --from=tools /tool /tool\n");
    let to = "--cache-to type=registry,ref=127.0.0.1:5000/cache:1,mode=max";
    assert_eq!(build(host, &file, &format!("-t app {to}")).code, 0);
    let forget = || {
        host.type_in("image prune -af").ok();
        host.type_in("builder prune -af").ok();
        assert_eq!(host.type_in("images -aq").ok(), "");
    };
    forget();

    lose(host, TOOLS);
    let from = "--cache-from type=registry,ref=127.0.0.1:5000/cache:1";
    let built = build(host, &file, &format!("-t app {from}"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(built.stderr.contains("its layers are not needed"), "{}", built.stderr);
    assert_eq!(host.dhow(&["run", "--rm", "app", "cat", "/tool", "/base"]).ok(), format!("{TOOLS}\n{FINAL}"));
    let names = host.type_in("images --format {{.Repository}}").ok();
    assert!(names.contains("final") && !names.contains("tools"), "{names}");
    host.type_in("system check").ok();

    // For the cache alone nothing is fetched at all, and nothing is left.
    forget();
    lose(host, FINAL);
    let built = build(host, &file, &format!("-o type=cacheonly {from}"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert_eq!(host.type_in("images -aq").ok(), "");

    // What is needed and does not come is an error of its line.
    let built = build(host, &file.replace("/base", "/base /bin/sh"), from);
    assert_eq!(built.code, 1, "{}", built.stderr);
    assert!(built.stderr.contains(&format!("FROM {TOOLS} AS tools")), "{}", built.stderr);
    assert_eq!(host.type_in("images -aq").ok(), "");
    // The process may have ended before what it had begun to fetch was taken away: the next one does that.
    forget();
    host.type_in("system check").ok();
}
