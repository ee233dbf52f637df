//! Base images of builds: what is fetched of them, and when.
//!
//! What a registry has lost cannot have been fetched: so it is seen which layers a build does not ask for.

use std::fs;

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    layers_that_nobody_needs_stay_where_they_are
    a_build_changes_no_names_but_its_own
    all_platforms_are_of_one_version
    a_base_that_is_removed_meanwhile_stays_with_its_build
    a_result_stays_until_it_is_handed_out
}

const TOOLS: &str = "127.0.0.1:5000/tools:1";
const FINAL: &str = "127.0.0.1:5000/final:1";

fn build(host: &Host, file: &str, words: &str) -> testkit::Output {
    host.file("ctx/Dockerfile", file);
    host.type_in(&format!("build --progress plain {words} ctx")).run()
}

#[track_caller]
fn built(host: &Host, file: &str, words: &str) {
    let built = build(host, file, words);
    assert_eq!(built.code, 0, "{}", built.stderr);
}

/// Takes the topmost layer of an image away from the registry.
pub(crate) fn lose(host: &Host, name: &str) {
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

/// The digest that a registry has something under.
fn digest(host: &Host, name: &str) -> String {
    let words = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false", &format!("docker://{name}")];
    host.program("skopeo", &words).ok()
}

fn who(host: &Host, name: &str) -> String {
    host.dhow(&["run", "--rm", name, "cat", "/who"]).ok()
}

fn a_build_changes_no_names_but_its_own(host: &Host) {
    host.busybox();
    let _registry = DockerRegistry::start(host);
    let app = "127.0.0.1:5000/app:1";
    let mut digests = Vec::new();
    for version in ["old", "new"] {
        let words = format!("-t {app} --push");
        built(host, &format!("FROM busybox\nRUN echo {version} > /who\n"), &words);
        digests.push(digest(host, app));
    }
    host.type_in(&format!("rmi {app}")).ok();
    let pinned = format!("FROM {app}@{}\nRUN true\n", digests[0]);
    // Neither a name that nobody has given here, nor one that means something else here.
    built(host, &pinned, "-t pinned");
    assert_eq!(who(host, "pinned"), "old");
    assert_eq!(host.type_in(&format!("images -q {app}")).ok(), "");
    host.type_in("rmi pinned").ok();
    built(host, "FROM busybox\nRUN echo own > /who\n", &format!("-t {app}"));
    built(host, &pinned, "-t pinned");
    assert_eq!((who(host, "pinned"), who(host, app)), ("old".to_owned(), "own".to_owned()));
    // What was made here stays under its name even if the registry is asked.
    built(host, &format!("FROM {app}\nRUN true\n"), "--pull -t pulled");
    assert_eq!((who(host, "pulled"), who(host, app)), ("new".to_owned(), "own".to_owned()));
    // What came from there is renewed.
    host.type_in(&format!("rmi {app}")).ok();
    built(host, &format!("FROM {app}\nRUN true\n"), "-t fetched");
    host.type_in(&format!("pull -q {app}")).ok();
    let words = ["copy", "--dest-tls-verify=false", "--src-tls-verify=false"];
    let from = format!("docker://127.0.0.1:5000/app@{}", digests[0]);
    host.program("skopeo", &[&words[..], &[&from, &format!("docker://{app}")]].concat()).ok();
    built(host, &format!("FROM {app}\nRUN true\n"), "-t again");
    assert_eq!((who(host, "again"), who(host, app)), ("new".to_owned(), "new".to_owned()));
    built(host, &format!("FROM {app}\nRUN true\n"), "--pull -t renewed");
    assert_eq!((who(host, "renewed"), who(host, app)), ("old".to_owned(), "old".to_owned()));
    host.type_in("system check").ok();
}

fn all_platforms_are_of_one_version(host: &Host) {
    let _registry = DockerRegistry::start(host);
    let (app, both) = ("127.0.0.1:5000/app", "--platform linux/amd64,linux/arm64");
    host.file("ctx/own", "own");
    for version in ["old", "new"] {
        host.file("ctx/version", version);
        let words = format!("{both} -t {app}:{version} --push");
        built(host, "FROM scratch\nCOPY version /who\n", &words);
    }
    let means = |version: &str| {
        host.type_in(&format!("buildx imagetools create -t {app}:1 {app}:{version}")).ok();
    };
    let made = || {
        let read = |of: &str| fs::read_to_string(host.home().join(format!("out/linux_{of}/who"))).unwrap();
        [read("amd64"), read("arm64")]
    };
    means("old");
    host.type_in("image prune -af").ok();
    host.type_in(&format!("pull -q {app}:1")).ok();
    let id = || host.type_in(&format!("image inspect --format {{{{.Id}}}} {app}:1")).ok();
    let before = id();
    means("new");
    let file = format!("FROM {app}:1\n");
    built(host, &file, &format!("{both} -o out"));
    assert_eq!((made(), id()), (["old".to_owned(), "old".to_owned()], before));
    built(host, &file, &format!("{both} --pull -o out"));
    assert_eq!(made(), ["new", "new"]);

    // One that was made here has one platform alone, and the registry's is another image.
    built(host, "FROM scratch\nCOPY own /who\n", &format!("-t {app}:1"));
    let own = id();
    let refused = build(host, &file, &format!("{both} -o out"));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("has nothing for linux/arm64"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--pull"), "{}", refused.stderr);
    // For another machine alone it is the registry's, and the name goes on meaning what runs here.
    built(host, &file, "--platform linux/arm64 -o out");
    assert_eq!(fs::read_to_string(host.home().join("out/who")).unwrap(), "new");
    assert_eq!(id(), own);
    host.type_in("system check").ok();
}

/// Somebody clears up while a step runs.
fn a_base_that_is_removed_meanwhile_stays_with_its_build(host: &Host) {
    host.busybox();
    let _registry = DockerRegistry::start(host);
    built(host, "FROM busybox\nRUN echo base > /base\n", &format!("-t {FINAL} --push"));
    for remove in ["image prune -af".to_owned(), format!("rmi {FINAL}")] {
        host.type_in(&format!("rmi {FINAL}")).run();
        host.type_in("builder prune -af").ok();
        let waits = "RUN --mount=type=cache,target=/c mkfifo /c/go && cat /c/go && rm /c/go\n";
        host.file("ctx/Dockerfile", format!("FROM {FINAL}\n{waits}"));
        let mut building = host.type_in("build -q -t app ctx").start();
        let go = || {
            let caches = fs::read_dir(host.root().join("cache-mounts")).ok()?;
            let places =
                caches.flatten().flat_map(|cache| [cache.path().join("go"), cache.path().join("files/go")]);
            places.into_iter().find(|path| path.exists())
        };
        testkit::eventually("the step waits", || go().is_some());
        host.type_in(&remove).run();
        fs::write(go().unwrap(), "go").unwrap();
        assert!(building.wait().unwrap().success());
        host.type_in("system check").ok();
        host.dhow(&["save", "-o", "app.tar", "app"]).ok();
        host.dhow(&["run", "--rm", "app", "cat", "/base"]).ok();
    }
}

/// Somebody clears up while a result without a name is handed out.
fn a_result_stays_until_it_is_handed_out(host: &Host) {
    use std::io::Read as _;
    host.busybox();
    let size: u64 = 4 << 20;
    host.file("ctx/Dockerfile", format!("FROM busybox\nRUN head -c {size} /dev/urandom > /data\n"));
    // The first output waits for its reader, the others for the first.
    let outputs = "-o type=tar,dest=- -o type=oci,dest=a.tar -o type=docker,dest=b.tar -o files";
    let mut building =
        host.type_in(&format!("build --provenance=mode=max --sbom=true {outputs} ctx")).start();
    let mut stream = building.stdout.take().unwrap();
    let mut bytes = vec![0; 1];
    stream.read_exact(&mut bytes).unwrap();
    host.type_in("image prune -f").ok();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(building.wait().unwrap().success());
    for file in ["a.tar", "b.tar", "files/data"] {
        assert!(fs::metadata(host.home().join(file)).unwrap().len() >= size, "{file}");
    }
    assert_eq!(host.type_in("images -aq").ok().lines().count(), 1);
    host.type_in("system check").ok();
}
