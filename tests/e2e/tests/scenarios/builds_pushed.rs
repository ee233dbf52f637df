//! Builds whose result goes to registries and nowhere else: layers that these have are not fetched, and what lacks layers does not
//! stay.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::Host;
use testkit::registry::{self, Registry};

in_every_mode! {
    layers_that_the_registry_has_are_not_fetched
    several_platforms_and_what_is_attested_of_them
    what_the_registry_lacks_is_fetched_and_sent
    what_a_cache_has_is_sent_from_there
}

const FIGURES: &str = "127.0.0.1:9187";
/// Bytes of the base's layer, which do not compress.
const LARGE: usize = 2 << 20;

struct Far {
    registry: Registry,
}

impl Far {
    /// A registry that counts.
    fn start(host: &Host) -> Far {
        host.busybox();
        let root = host.home().join("registry");
        Far { registry: Registry::start(host, &root, &["--metrics-addr", FIGURES]) }
    }

    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.registry.address)
    }

    /// Bytes that it has sent.
    fn sent(&self) -> usize {
        let answer = registry::ask(FIGURES, "GET", "/metrics", "", b"").unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("dhow_registry_sent_bytes_total "));
        line.unwrap().parse().unwrap()
    }

    /// Builds, and says how many bytes the registry had to send for it.
    fn build(&self, host: &Host, file: &str, words: &str) -> (testkit::Output, usize) {
        let before = self.sent();
        host.file("ctx/Dockerfile", file);
        let built = host.type_in(&format!("build --progress plain {words} ctx")).run();
        (built, self.sent() - before)
    }
}

/// Takes away all that is here.
fn forget(host: &Host) {
    host.type_in("image prune -af").ok();
    host.type_in("builder prune -af").ok();
    assert_eq!(host.type_in("images -aq").ok(), "");
}

/// What the last build says of itself.
fn told(host: &Host) -> Value {
    serde_json::from_slice(&fs::read(host.home().join("told")).unwrap()).unwrap()
}

/// What it says that the registry knows its result by.
fn digest(host: &Host) -> String {
    told(host)["containerimage.digest"].as_str().unwrap().to_owned()
}

/// A file of the registry that is called so.
fn find(below: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(below).ok()?.flatten().map(|entry| entry.path()).find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.file_name().is_some_and(|own| own == name).then_some(path),
    })
}

fn raw(host: &Host, name: &str) -> Value {
    serde_json::from_str(&host.type_in(&format!("buildx imagetools inspect --raw {name}")).ok()).unwrap()
}

const BASE: &str =
    "FROM busybox\nRUN head -c 2097152 /dev/urandom > /large\nCMD [\"cat\", \"/etc/passwd\"]\n";

fn layers_that_the_registry_has_are_not_fetched(host: &Host) {
    let far = Far::start(host);
    let (base, app) = (far.name("team/base"), far.name("app"));
    assert_eq!(far.build(host, BASE, &format!("-t {base} --push")).0.code, 0);
    // What was made here stays here, and is named as the registry has it, for which its layers were compressed.
    assert!(host.type_in("images").ok().contains("team/base"));
    let file = format!("FROM {base}\nLABEL a=b\n");
    assert_eq!(far.build(host, &file, "-t here --metadata-file told").0.code, 0);
    let needs = &told(host)["buildx.build.provenance"]["buildDefinition"]["resolvedDependencies"];
    let root =
        host.type_in(&format!("buildx imagetools inspect --format {{{{.Manifest.Digest}}}} {base}")).ok();
    assert_eq!(format!("sha256:{}", needs[0]["digest"]["sha256"].as_str().unwrap()), root);
    forget(host);
    host.type_in(&format!("pull -q {base}")).ok();
    let asked = "--metadata-file told";
    let (built, _) = far.build(host, &file, &format!("-t {} {asked} --push", far.name("other")));
    assert_eq!(built.code, 0, "{}", built.stderr);
    let expected = digest(host);
    forget(host);

    for how in ["--push", "-o type=registry", "-o type=image,push=true,store=false"] {
        let (built, sent) = far.build(host, &file, &format!("-t {app} {asked} --iidfile id {how}"));
        assert_eq!(built.code, 0, "{}", built.stderr);
        assert!(built.stderr.contains(&format!("pushing {app}")), "{}", built.stderr);
        assert_eq!(digest(host), expected, "{how}");
        assert!(sent < LARGE / 2, "{how}: {sent}");
        assert_eq!(host.type_in("images -aq").ok(), "", "{how}");
    }
    host.type_in("system check").ok();
    let record = host.type_in("buildx history inspect").ok();
    assert!(record.contains("completed") || record.contains("Completed"), "{record}");
    // By its digest alone.
    let how = format!("-o type=image,name={},push-by-digest=true,push=true,store=false", far.name("bare"));
    let (built, sent) = far.build(host, &file, &format!("{asked} {how}"));
    assert_eq!((built.code, digest(host)), (0, expected.clone()), "{}", built.stderr);
    assert!(sent < LARGE / 2, "{sent}");
    assert!(registry::tags(&far.registry.address, "bare").is_empty());

    // It is whole there.
    let id = fs::read_to_string(host.home().join("id")).unwrap();
    assert!(host.dhow(&["run", "--rm", &app]).ok().contains("root"));
    assert_eq!(host.type_in(&format!("image inspect -f {{{{.Id}}}} {app}")).ok(), id);
    assert_eq!(host.type_in(&format!("image inspect -f {{{{.Config.Labels.a}}}} {app}")).ok(), "b");
    // Its name means something here now, and goes on to mean what is built.
    let file = format!("FROM {base}\nLABEL a=c\n");
    assert_eq!(far.build(host, &file, &format!("-t {app} --push")).0.code, 0);
    assert_eq!(host.type_in(&format!("image inspect -f {{{{.Config.Labels.a}}}} {app}")).ok(), "c");
}

fn several_platforms_and_what_is_attested_of_them(host: &Host) {
    let far = Far::start(host);
    let (base, app) = (far.name("base"), far.name("app"));
    let mut bytes = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(LARGE as u64).read_to_end(&mut bytes).unwrap();
    host.file("ctx/large", bytes);
    let platforms = "--platform linux/amd64,linux/arm64 --provenance mode=max --metadata-file told --push";
    let (built, _) = far.build(host, "FROM scratch\nCOPY large /\n", &format!("-t {base} {platforms}"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    let root = digest(host);
    forget(host);

    let file = format!("FROM {base}\nENV A=b\n");
    let (built, sent) = far.build(host, &file, &format!("-t {app} {platforms}"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(sent < LARGE / 2, "{sent}");
    assert_eq!(host.type_in("images -aq").ok(), "");
    let index = raw(host, &app);
    let members = index["manifests"].as_array().unwrap();
    assert_eq!(members.len(), 4, "{index}");
    let note = members.iter().find(|member| member["platform"]["os"] == "unknown").unwrap();
    let place = app.trim_end_matches(":1");
    let statement = raw(host, &format!("{place}@{}", note["digest"].as_str().unwrap()));
    let layer = statement["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let text = fs::read_to_string(find(&host.home().join("registry"), &layer).unwrap()).unwrap();
    let statement: Value = serde_json::from_str(&text).unwrap();
    // The base is named as its registry has it, and the layers are told that nobody has fetched.
    let hex = root.trim_start_matches("sha256:");
    let needs = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(needs[0]["digest"]["sha256"], hex, "{needs}");
    let own = raw(host, &format!("{place}@{}", members[0]["digest"].as_str().unwrap()));
    assert!(text.contains(own["layers"][0]["digest"].as_str().unwrap()), "{text}");
    host.type_in(&format!("pull -q --platform linux/arm64 {app}")).ok();
    host.type_in("system check").ok();
}

fn what_the_registry_lacks_is_fetched_and_sent(host: &Host) {
    let far = Far::start(host);
    let root = host.home().join("another");
    let another = Registry::start(host, &root, &[]);
    let base = far.name("base");
    assert_eq!(far.build(host, BASE, &format!("-t {base} --push")).0.code, 0);
    let manifest = raw(host, &base);
    let layer = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_owned();
    forget(host);
    let file = format!("FROM {base}\nLABEL a=b\n");
    let app = format!("{}/app:1", another.address);
    let (built, sent) = far.build(host, &file, &format!("-t {app} --push"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!((LARGE..LARGE * 2).contains(&sent), "{sent}");
    assert_eq!(raw(host, &app)["layers"], manifest["layers"]);
    // All of it is here now, so it stays.
    assert!(host.type_in("images").ok().contains("app"));
    assert!(host.dhow(&["run", "--rm", &app]).ok().contains("root"));
    forget(host);

    // What is nowhere is an error of the line that wants it.
    let layer = layer.trim_start_matches("sha256:");
    let lost = find(&host.home().join("registry"), layer).unwrap();
    fs::remove_file(lost).unwrap();
    let (built, _) = far.build(host, &file, &format!("-t {} --push", far.name("app")));
    assert_eq!(built.code, 1, "{}", built.stderr);
    assert!(built.stderr.contains(&format!("FROM {base}")), "{}", built.stderr);
    assert!(registry::tags(&far.registry.address, "app").is_empty());
    forget(host);
    host.type_in("system check").ok();
}

fn what_a_cache_has_is_sent_from_there(host: &Host) {
    let far = Far::start(host);
    let (base, cache, app) = (far.name("base"), far.name("team/cache"), far.name("app"));
    assert_eq!(far.build(host, BASE, &format!("-t {base} --push")).0.code, 0);
    let file = format!(
        "FROM {base} AS tools\nRUN head -c 2097152 /dev/urandom > /tool\n\
         FROM {base}\nCOPY --from=tools /tool /\nRUN wc -c < /tool > /count\nCMD [\"cat\", \"/count\"]\n"
    );
    for (mode, how) in [("max", ""), ("min", ""), ("max", "--provenance mode=max")] {
        forget(host);
        let asked = format!("{how} --metadata-file told --push");
        let to = format!("--cache-to type=registry,ref={cache},mode={mode}");
        let (built, _) = far.build(host, &file, &format!("-t {} {asked} {to}", far.name("whole")));
        assert_eq!(built.code, 0, "{}", built.stderr);
        let expected = raw(host, &far.name("whole"));
        forget(host);
        let from = format!("--cache-from type=registry,ref={cache}");
        let (built, sent) = far.build(host, &file, &format!("-t {app} {asked} {from}"));
        assert_eq!(built.code, 0, "{}", built.stderr);
        assert!(sent < LARGE / 2, "{mode}: {sent}: {}", built.stderr);
        assert_eq!(host.type_in("images -aq").ok(), "");
        let given = raw(host, &app);
        // What is attested has times of its own.
        match how {
            "" => assert_eq!(given, expected, "{mode}"),
            _ => assert_eq!(given["manifests"][0], expected["manifests"][0]),
        }
        assert_eq!(host.dhow(&["run", "--rm", &app]).ok(), "2097152");
    }
    host.type_in("system check").ok();
}
