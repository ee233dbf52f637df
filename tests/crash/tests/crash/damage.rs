//! Files that were damaged while nothing ran: told on use or by a check, mended by a repair where there is a way, no
//! panic, and nothing else affected.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::{Host, Mode};

use crate::machine::Machine;
use crate::settings;

/// How a file is damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Truncate,
    Zero,
    Empty,
}

const ALL: [Damage; 4] = [Damage::Flip, Damage::Truncate, Damage::Zero, Damage::Empty];

impl Damage {
    fn strike(self, path: &Path, random: &mut fastrand::Rng) {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len();
        let place = random.usize(..length.max(1));
        match self {
            Damage::Flip => bytes[place] ^= 1 << random.u32(..7),
            Damage::Truncate => bytes.truncate(place),
            Damage::Zero => {
                let end = (place + 4096).min(length);
                bytes[place..end].fill(0);
            }
            Damage::Empty => bytes.clear(),
        }
        fs::write(path, bytes).unwrap();
    }
}

struct Site {
    host: Host,
    random: fastrand::Rng,
}

impl Site {
    /// A machine with an image of its own, an archive of it, a container that ran, and one that runs.
    fn new() -> Self {
        let host = Host::new(Mode::Embedded);
        Machine::new(&host);
        host.file("ctx/Dockerfile", "FROM busybox\nRUN echo made > /made\nCOPY copied /\n");
        host.file("ctx/copied", "copied\n".repeat(1000));
        host.type_in("build -q -t other ctx").ok();
        host.type_in("builder prune -af").ok();
        host.type_in("save -o other.tar other").ok();
        host.type_in("network create front").ok();
        host.type_in("run -d --name live --network front busybox sleep 1000").ok();
        Self { host, random: fastrand::Rng::with_seed(settings::seed()) }
    }

    /// What has nothing to do with what is damaged works as before.
    fn the_rest_works(&self, what: &str) {
        assert_eq!(self.host.type_in("run --rm --network none busybox echo fine").ok(), "fine", "{what}");
        assert_eq!(self.host.type_in("exec live echo fine").ok(), "fine", "{what}");
    }

    /// A check tells of it, a repair leaves nothing to tell of.
    fn is_found_and_mended(&self, name: &str, what: &str) {
        let check = self.host.type_in("system check").run();
        assert!(check.code == 1 && check.stdout.contains(name), "{what}: {}{}", check.stdout, check.stderr);
        Machine::watching(&self.host).repair().unwrap_or_else(|found| panic!("{what}: {found}"));
    }
}

#[test]
fn blobs_and_layers() {
    let mut site = Site::new();
    let root = site.host.root();
    for damage in sampled(&mut site) {
        for what in ["blob", "diff/copied", "layer.json"] {
            let id = site.host.type_in("inspect -f {{.Id}} other").ok();
            let (path, name) = match what {
                "blob" => {
                    let hex = id.trim_start_matches("sha256:");
                    (root.join("blobs/sha256").join(hex), format!("blob {id}"))
                }
                // Of a layer that was built here: only that can be packed again to the same bytes.
                within => {
                    let layer = newest_layer(&root);
                    let chain = layer.file_name().unwrap().to_str().unwrap();
                    (layer.join(within), format!("layer sha256:{chain}"))
                }
            };
            let what = format!("{damage:?} of {}", path.display());
            let intact = fs::read(&path).unwrap();
            damage.strike(&path, &mut site.random);
            if fs::read(&path).unwrap() == intact {
                continue;
            }
            site.the_rest_works(&what);
            for line in [
                "inspect other",
                "run --pull never --rm --network none other true",
                "images",
                "history other",
            ] {
                let output = site.host.type_in(line).run();
                assert!(!output.stderr.contains("panicked"), "{what}: {line}: {}", output.stderr);
                assert!(output.code == 0 || !output.stderr.trim().is_empty(), "{what}: {line} says nothing");
            }
            site.is_found_and_mended(&name, &what);
            site.the_rest_works(&what);
            // What was lost can be brought back: by an archive, and by building it again.
            site.host.type_in("load -i other.tar").ok();
            let contents = site.host.type_in("run --rm --network none other cat /made /copied").ok();
            assert_eq!(contents.lines().count(), 1001, "{what}");
            site.host.type_in("rmi other").ok();
            site.host.type_in("build -q -t other ctx").ok();
            site.host.type_in("builder prune -af").ok();
            let contents = site.host.type_in("run --rm --network none other cat /made /copied").ok();
            assert_eq!(contents.lines().count(), 1001, "{what}");
            Machine::watching(&site.host).repair().unwrap_or_else(|found| panic!("{what}: {found}"));
        }
    }
}

#[test]
fn records_of_containers_and_names() {
    let mut site = Site::new();
    let (root, run) = (site.host.root(), site.host.home().join("run"));
    let network = site.host.type_in("network inspect -f {{.Id}} front").ok();
    for damage in sampled(&mut site) {
        let id = site.host.type_in("run -d --name ended --network front busybox true").ok();
        site.host.type_in("wait ended").ok();
        for path in [
            root.join("containers").join(&id).join("status.json"),
            run.join("networks").join(format!("{network}.endpoints")),
            root.join("events.ndjson"),
        ] {
            let what = format!("{damage:?} of {}", path.display());
            damage.strike(&path, &mut site.random);
            for line in ["ps -a", "inspect ended", "logs ended", "events --since 1 --until 0s", "start ended"]
            {
                let output = site.host.type_in(line).run();
                assert!(!output.stderr.contains("panicked"), "{what}: {line}: {}", output.stderr);
                assert!(output.code == 0 || !output.stderr.trim().is_empty(), "{what}: {line} says nothing");
            }
            site.the_rest_works(&what);
            Machine::watching(&site.host).repair().unwrap_or_else(|found| panic!("{what}: {found}"));
            site.host.type_in("start -a ended").ok();
        }
        assert_eq!(site.host.type_in("exec live nslookup live 127.0.0.11").run().code, 0, "{damage:?}");
        site.host.type_in("rm -f ended").ok();
    }
}

#[test]
fn the_database() {
    let mut site = Site::new();
    let root = site.host.root();
    let names = ["state.db", "state.db-wal", "state.db-shm"];
    let read = |name: &str| fs::read(root.join(name)).unwrap_or_default();
    let intact = names.map(read);
    let circumstances: Vec<_> =
        (0..24).map(|round| (ALL[round % 4], names[usize::from(round % 3 == 0)])).collect();
    // In a sample each damage once.
    for &(damage, name) in &circumstances[..if settings::every() == 1 { 24 } else { 4 }] {
        let path = root.join(name);
        let what = format!("{damage:?} of {}", path.display());
        damage.strike(&path, &mut site.random);
        for line in
            ["ps -a", "images", "inspect live", "volume ls", "network ls", "system check", "system df"]
        {
            let output = site.host.type_in(line).run();
            assert!(!output.stderr.contains("panicked"), "{what}: {line}: {}", output.stderr);
            assert!(output.code <= 1, "{what}: {line}: {} {}", output.code, output.stderr);
            let told = output.code == 0 || !output.stderr.trim().is_empty();
            assert!(told, "{what}: {line} says nothing");
        }
        for (name, bytes) in names.iter().zip(&intact) {
            fs::write(root.join(name), bytes).unwrap();
        }
        // Put back it is as it was: nobody has written anything else meanwhile, and what runs did not notice.
        site.the_rest_works(&what);
        for (name, bytes) in names.iter().zip(&intact) {
            fs::write(root.join(name), bytes).unwrap();
        }
    }
}

/// All, or in a sample one.
fn sampled(site: &mut Site) -> Vec<Damage> {
    match settings::every() {
        1 => ALL.to_vec(),
        _ => vec![ALL[site.random.usize(..ALL.len())]],
    }
}

/// The layer that has the file of the image `other`.
fn newest_layer(root: &Path) -> PathBuf {
    let layers = fs::read_dir(root.join("layers")).unwrap().flatten().map(|entry| entry.path());
    layers.into_iter().find(|layer| layer.join("diff/copied").exists()).expect("the layer of a COPY")
}
