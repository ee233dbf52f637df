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
    several_platforms_pass_over_what_is_here_for_one
    a_base_for_another_machine_is_found_again
    an_index_in_an_index_is_what_it_leads_to
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
    // For another machine alone it is the registry's, and the name goes on meaning what runs here.
    built(host, &file, "--platform linux/arm64 -o out");
    assert_eq!(fs::read_to_string(host.home().join("out/who")).unwrap(), "new");
    assert_eq!(id(), own);
    host.type_in("system check").ok();
}

/// The image of this name that was made here is for this machine alone, and the registry's is another one.
fn several_platforms_pass_over_what_is_here_for_one(host: &Host) {
    let registry = DockerRegistry::start(host);
    let (app, other) = ("127.0.0.1:5000/app:1", "127.0.0.1:5000/other:1");
    let both = ["--platform linux/amd64,linux/arm64", "--platform linux/arm64,linux/amd64"];
    for (who, words) in
        [("new", format!("-t {app} --push {}", both[0])), ("own", format!("-t {app} -t {other}"))]
    {
        host.file("ctx/version", who);
        built(host, "FROM scratch\nCOPY version /who\n", &words);
    }
    let id = || host.type_in(&format!("image inspect --format {{{{.Id}}}} {app}")).ok();
    let own = id();
    let read = |path: &str| fs::read_to_string(host.home().join("out").join(path)).unwrap();
    let file = format!("FROM {app}\n");
    for platforms in both {
        let passed = build(host, &file, &format!("{platforms} -o out"));
        assert_eq!(passed.code, 0, "{}", passed.stderr);
        assert_eq!([read("linux_amd64/who"), read("linux_arm64/who")], ["new", "new"]);
        let told = format!("{app} here has only linux/amd64: {} of its registry", digest(host, app));
        assert_eq!(passed.stderr.matches(&told).count(), 1, "{}", passed.stderr);
    }
    let cross =
        format!("FROM --platform=$BUILDPLATFORM {app} AS tools\n{file}COPY --from=tools /who /tools\n");
    built(host, &cross, "--platform linux/arm64 -o out");
    assert_eq!([read("who"), read("tools")], ["new", "new"]);
    built(host, &cross, "-o out");
    assert_eq!(([read("who"), read("tools")], id()), (["own".to_owned(), "own".to_owned()], own));
    // What it had goes on being taken where it cannot be asked. Where it has nothing, that is said.
    let refused = |platforms: &str| {
        let refused = build(host, &format!("FROM {other}\n"), &format!("{platforms} -o out"));
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        let told = format!(
            "{other} here has only linux/amd64, and this build wants it for linux/amd64, linux/arm64"
        );
        assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    };
    both.into_iter().for_each(refused);
    drop(registry);
    both.into_iter().for_each(refused);
    built(host, &file, &format!("{} -o out", both[0]));
    assert_eq!(read("linux_amd64/who"), "new");
    host.type_in("system check").ok();
}

/// No name here leads to it, as the name means what runs here.
fn a_base_for_another_machine_is_found_again(host: &Host) {
    let registry = DockerRegistry::start(host);
    let app = "127.0.0.1:5000/app:1";
    let push = |version: &str| {
        host.file("ctx/version", version);
        let name = app.replace(":1", &format!(":{version}"));
        let words = format!("-t {name} --push --platform linux/amd64,linux/arm64");
        built(host, "FROM scratch\nCOPY version /who\n", &words);
        host.type_in(&format!("buildx imagetools create -t {app} {name}")).ok();
    };
    let forget = || {
        host.type_in("image prune -af").ok();
        host.type_in("builder prune -af").ok();
        assert_eq!(host.type_in("images -aq").ok(), "");
    };
    push("old");
    forget();
    let (file, arm) = (format!("FROM {app}\n"), "--platform linux/arm64 -o out");
    let made = |words: &str| {
        built(host, &file, words);
        fs::read_to_string(host.home().join("out/who")).unwrap()
    };
    assert_eq!(made(arm), "old");
    assert!(host.dhow(&["image", "inspect", app]).run().code != 0, "the name means nothing that runs here");
    push("new");
    assert_eq!(made(arm), "old");
    assert_eq!(made(&format!("--pull {arm}")), "new");
    drop(registry);
    assert_eq!(made(arm), "new");
    // What is forgotten has to be asked for.
    forget();
    assert_eq!(build(host, &file, arm).code, 1);
    host.type_in("system check").ok();
}

/// The registry has the index again in another one, with and without a platform beside it.
fn an_index_in_an_index_is_what_it_leads_to(host: &Host) {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let _registry = DockerRegistry::start(host);
    let app = "127.0.0.1:5000/app";
    for of in ["amd64", "arm64"] {
        host.file("ctx/who", of);
        built(host, "FROM scratch\nCOPY who /\n", &format!("-t {app}:{of} --push --platform linux/{of}"));
    }
    host.type_in(&format!("buildx imagetools create -t {app}:inner {app}:amd64 {app}:arm64")).ok();
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{app}:inner")];
    let inner = host.program("skopeo", &raw).ok();
    let member = serde_json::json!({
        "mediaType": INDEX, "digest": digest(host, &format!("{app}:inner")), "size": inner.len(),
    });
    let mut beside = member.clone();
    beside["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
    host.type_in("image prune -af").ok();
    for (tag, member) in [("plain", member), ("beside", beside)] {
        let name = format!("{app}:{tag}");
        let outer =
            serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [member]}).to_string();
        let target = format!("/v2/app/manifests/{tag}");
        testkit::registry::ask("127.0.0.1:5000", "PUT", &target, INDEX, outer.as_bytes()).unwrap();
        let told = host.dhow(&["buildx", "imagetools", "inspect", "--format", "{{json .Image}}", &name]).ok();
        assert!(told.contains("linux/arm64"), "{told}");

        // In builds, again and again, and for several platforms where the index says of them all.
        let file = format!("FROM {name}\n");
        built(host, &file, "-t made");
        built(host, &file, "-t made");
        if tag == "plain" {
            built(host, &file, "--platform linux/amd64,linux/arm64 -o out");
            let read =
                |of: &str| fs::read_to_string(host.home().join(format!("out/linux_{of}/who"))).unwrap();
            assert_eq!([read("amd64"), read("arm64")], ["amd64", "arm64"]);
        }
        host.type_in("rmi made").ok();
        host.type_in("image prune -af").ok();
        assert_eq!(host.type_in("images -aq").ok(), "");

        host.type_in(&format!("pull -q {name}")).ok();
        host.type_in("system check").ok();
        let listed = host.type_in(&format!("images --format {{{{.Tag}}}} {app}")).ok();
        assert_eq!(listed, tag);
        assert_eq!(
            host.type_in(&format!("image inspect --format {{{{.Architecture}}}} {name}")).ok(),
            "amd64"
        );
        host.type_in("image prune -f").ok();
        host.type_in(&format!("create --name one {name} /x")).ok();
        host.type_in("rm one").ok();
        host.type_in(&format!("save -o saved.tar {name}")).ok();
        host.type_in(&format!("tag {name} {app}:sent")).ok();
        if tag == "plain" {
            host.type_in(&format!("pull -q --platform linux/arm64 {name}")).ok();
            host.type_in(&format!("push -q {app}:sent")).ok();
            assert_eq!(
                digest(host, &format!("{app}:sent")),
                digest(host, &name),
                "all of it is sent as it came"
            );
        }
        host.type_in(&format!("rmi {name} {app}:sent")).ok();
        assert_eq!(host.type_in("images -aq").ok(), "", "all platforms went");
        host.type_in("load -i saved.tar").ok();
        assert_eq!(
            host.type_in(&format!("image inspect --format {{{{.Architecture}}}} {name}")).ok(),
            "amd64"
        );
        host.type_in("system check").ok();
        host.type_in(&format!("rmi {name}")).ok();
        assert_eq!(host.type_in("images -aq").ok(), "");
    }
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
