//! The registry server: killed at random moments while it takes, gives back and collects, what it has acknowledged is there
//! and nothing else is; on a full disk it says so, keeps nothing half-done, and goes on when there is room.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use testkit::registry::{Answer, MANIFEST, Registry, ask, digest, manifest, pull, push, tags};
use testkit::{Host, Mode, eventually};

use crate::limits::{Disk, fill};
use crate::settings;

/// Everything is collected that can be, all the time; what was relied on within the grace is under way.
const BUSY: &[&str] = &["--gc-interval", "20ms", "--gc-grace", "3s", "--gc-untagged"];

/// A client that has a repository to itself, and what it knows of it.
struct Worker {
    name: String,
    random: fastrand::Rng,
    next: usize,
    /// The tags that were acknowledged, and what each leads to.
    tags: BTreeMap<String, usize>,
    /// The tag of which it is not known whether it was written or removed, and to what it may lead now.
    doubt: Option<(String, Option<usize>)>,
}

/// What the layer of this number is: some are in several images, some in one.
fn layer(number: usize) -> Vec<u8> {
    format!("layer {number} ").repeat(1 + number % 5 * 4000).into_bytes()
}

impl Worker {
    fn new(name: &str, seed: u64) -> Self {
        let (random, tags) = (fastrand::Rng::with_seed(seed), BTreeMap::new());
        Self { name: name.to_owned(), random, next: 0, tags, doubt: None }
    }

    /// Changes things until the server is gone.
    fn work(&mut self, address: &str) {
        loop {
            let known: Vec<&String> = self.tags.keys().collect();
            let old = self.random.choice(known).cloned();
            let done = match (self.random.u8(..10), old) {
                (0..2, Some(tag)) => self.remove(address, &tag),
                (2..4, Some(tag)) => self.write(address, &tag),
                (4, Some(tag)) => self.remove_manifest(address, &tag),
                _ => {
                    let tag = format!("v{}", self.next);
                    self.write(address, &tag)
                }
            };
            if done.is_none() {
                return;
            }
        }
    }

    fn write(&mut self, address: &str, tag: &str) -> Option<()> {
        let number = self.next;
        self.next += 1;
        self.doubt = Some((tag.to_owned(), Some(number)));
        push(address, &self.name, tag, &layer(number))?;
        self.tags.insert(tag.to_owned(), number);
        self.doubt = None;
        Some(())
    }

    fn remove(&mut self, address: &str, tag: &str) -> Option<()> {
        self.delete(address, tag, tag)
    }

    /// Removes an image by its digest; no other tag leads to it.
    fn remove_manifest(&mut self, address: &str, tag: &str) -> Option<()> {
        let number = self.tags[tag];
        self.delete(address, tag, &digest(manifest(&layer(number)).as_bytes()))
    }

    fn delete(&mut self, address: &str, tag: &str, reference: &str) -> Option<()> {
        self.doubt = Some((tag.to_owned(), None));
        let target = format!("/v2/{}/manifests/{reference}", self.name);
        let answer = ask(address, "DELETE", &target, "", b"")?;
        assert_eq!(answer.status, 202, "{target}: {}", String::from_utf8_lossy(&answer.body));
        self.tags.remove(tag);
        self.doubt = None;
        Some(())
    }

    /// Compares what is there with what was acknowledged; what was in doubt is known then.
    fn check(&mut self, address: &str) {
        let found = tags(address, &self.name);
        if let Some((tag, number)) = self.doubt.take() {
            let before = self.tags.get(&tag).copied();
            let now = found.contains(&tag).then(|| pull(address, &self.name, &tag));
            let now = now.map(|bytes| {
                let may = [before, number].into_iter().flatten().find(|number| layer(*number) == bytes);
                may.unwrap_or_else(|| panic!("{}:{tag} is neither {before:?} nor {number:?}", self.name))
            });
            assert!([before, number].contains(&now), "{}:{tag}: {before:?}, {number:?}, {now:?}", self.name);
            match now {
                Some(number) => self.tags.insert(tag, number),
                None => self.tags.remove(&tag),
            };
        }
        let mut found = found;
        found.sort_unstable();
        let known: Vec<&String> = self.tags.keys().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), known, "{}", self.name);
        for (tag, number) in &self.tags {
            assert!(pull(address, &self.name, tag) == layer(*number), "{}:{tag}", self.name);
        }
    }
}

#[test]
fn what_a_registry_has_acknowledged_survives_any_kill() {
    let host = Host::new(Mode::Embedded);
    let root = host.home().join("registry");
    let seed = settings::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut workers: Vec<Worker> =
        ["app", "team/app", "team/other"].iter().map(|name| Worker::new(name, random.u64(..))).collect();
    for _ in 0..settings::kills() {
        let server = Registry::start(&host, &root, BUSY);
        let address = server.address.clone();
        let after = Duration::from_millis(random.u64(5..250));
        thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(|| worker.work(&address));
            }
            thread::sleep(after);
            server.kill();
        });
        let server = Registry::start(&host, &root, &["--read-only"]);
        for worker in &mut workers {
            worker.check(&server.address);
        }
    }
    let server =
        Registry::start(&host, &root, &["--gc-grace", "0s", "--gc-interval", "50ms", "--gc-untagged"]);
    let mut expected: Vec<String> = workers.iter().flat_map(wanted).collect();
    expected.sort_unstable();
    expected.dedup();
    eventually("nothing else is there", || files(&root) == expected);
    for worker in &mut workers {
        worker.check(&server.address);
    }
}

/// The files that a worker's images are.
fn wanted(worker: &Worker) -> Vec<String> {
    let folder = format!("repositories/{}", worker.name.replace('/', "+"));
    let blob = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        format!("blobs/sha256/{}/{hex}", &hex[..2])
    };
    let mut files = Vec::new();
    for (tag, number) in &worker.tags {
        files.push(format!("{folder}/tags/{tag}"));
        let layer = layer(*number);
        files.push(format!("{folder}/manifests/{}", digest(manifest(&layer).as_bytes())));
        for digest in [digest(b"{}"), digest(&layer)] {
            files.push(format!("{folder}/blobs/{digest}"));
            files.push(blob(&digest));
        }
    }
    files
}

/// The files of a registry, but its lock.
fn files(root: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        // One may be collected meanwhile.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path.strip_prefix(root).expect("below it").display().to_string()),
            }
        }
    }
    found.retain(|path| path != "lock");
    found.sort_unstable();
    found
}

/// Says that there is no room, as the specification says it.
#[track_caller]
fn is_full(answer: &Option<Answer>) {
    let answer = answer.as_ref().expect("an answer");
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 507, "{text}");
    assert!(text.contains(r#""code":"UNAVAILABLE","message":"the registry's storage is full""#), "{text}");
}

#[test]
fn a_registry_on_a_full_disk_says_so_and_goes_on() {
    let mut disk = Disk::default();
    let host = Host::new(Mode::Embedded);
    let root = disk.mount(host.home(), "registry", "48m");
    let server = Registry::start(&host, &root, &["--gc-interval", "0"]);
    let address = server.address.as_str();
    push(address, "app", "small", b"small").expect("there is room");
    let before = files(&root);
    let large = vec![3; 64 << 20];
    // In one request, in one chunk, and in chunks of which the first find room.
    is_full(&server.ask("POST", &format!("/v2/app/blobs/uploads/?digest={}", digest(&large)), "", &large));
    for parts in [1, 8] {
        let begun = server.ask("POST", "/v2/app/blobs/uploads/", "", b"").expect("an answer");
        let place = begun.head.lines().find_map(|line| line.strip_prefix("location: ")).expect("a place");
        let answers = large.chunks(large.len() / parts).map(|part| server.ask("PATCH", place, "", part));
        is_full(
            &answers
                .into_iter()
                .find(|answer| answer.as_ref().is_none_or(|found| found.status != 202))
                .flatten(),
        );
        assert_eq!(
            server.ask("GET", place, "", b"").expect("an answer").status,
            404,
            "its room was given back"
        );
    }
    assert_eq!(files(&root), before, "nothing half-done stays");
    push(address, "app", "other", &large[..1 << 20]).expect("there is room again");
    let said = pushed(&host, address);
    assert!(said.contains("507 Insufficient Storage: unavailable: the registry's storage is full"), "{said}");

    let (before, ballast) = (files(&root), root.join("tmp/ballast"));
    fill(&ballast, 0);
    let document = manifest(b"small");
    is_full(&server.ask("POST", &format!("/v2/app/blobs/uploads/?digest={}", digest(b"x")), "", b"x"));
    is_full(&server.ask("POST", "/v2/app/blobs/uploads/", "", b""));
    is_full(&server.ask("PUT", "/v2/app/manifests/more", MANIFEST, document.as_bytes()));
    // What is there can be had, and removed.
    assert_eq!(pull(address, "app", "small"), b"small");
    assert_eq!(server.ask("DELETE", "/v2/app/manifests/other", "", b"").expect("an answer").status, 202);
    std::fs::remove_file(&ballast).unwrap();
    let kept: Vec<String> = before.into_iter().filter(|path| !path.ends_with("tags/other")).collect();
    assert_eq!(files(&root), kept, "nothing half-done stays");
    push(address, "app", "other", &large[..1 << 20]).expect("all is well");
    assert_eq!(tags(address, "app"), ["other", "small"]);
}

/// What `dhow push` says of an image that finds no room.
fn pushed(host: &Host, address: &str) -> String {
    let mut large = vec![0; 60 << 20];
    fastrand::Rng::with_seed(1).fill(&mut large);
    host.file("ctx/large", &large);
    host.file("ctx/Dockerfile", "FROM scratch\nCOPY large /\n");
    let name = format!("{address}/app:large");
    host.type_in(&format!("build -q -t {name} ctx")).ok();
    let output = host.type_in(&format!("push {name}")).run();
    assert_ne!(output.code, 0);
    output.stderr
}
