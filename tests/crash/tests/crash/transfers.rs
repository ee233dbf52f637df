//! Pulls and pushes over connections that are cut at random places, and pulls that are killed at random moments: in the end the
//! image is the one that was sent, what had come before is not asked for again, and nothing is left over.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use testkit::{DockerRegistry, Host, Mode, eventually};

use crate::settings;

const REGISTRY: &str = "127.0.0.1:5000";
const SENT: &str = "127.0.0.1:5000/faults:1";
/// How many bytes a connection may bring at most before it is cut.
const CUT_WITHIN: u64 = 6 << 20;
/// What documents, headers and a part of a stretch that was under way may cost beside content.
const OVERHEAD: u64 = 1 << 20;

/// What a pull that is killed may have in memory of a large layer: stretches that came before their turn.
const LOST: u64 = 32 << 20;

/// A way to the registry on which connections break.
struct Proxy {
    /// How many bytes each connection may bring or take; none for all.
    within: Mutex<Option<(u64, fastrand::Rng)>>,
    /// Connections that were cut.
    cuts: AtomicU64,
    /// Bytes that came from the registry.
    brought: AtomicU64,
}

impl Proxy {
    /// Listens until the test's process ends.
    fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has one").to_string();
        let proxy =
            Arc::new(Self { within: Mutex::default(), cuts: AtomicU64::new(0), brought: AtomicU64::new(0) });
        let own = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(REGISTRY) else { continue };
                let left = own
                    .within
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .map(|(most, random)| random.u64(1..*most));
                let left = Arc::new(Mutex::new(left));
                for (from, to, down) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (Ok(from), Ok(to), own, left) = (from, to, own.clone(), left.clone()) else {
                        continue;
                    };
                    thread::spawn(move || own.carry(from, to, &left, down));
                }
            }
        });
        (proxy, address)
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, left: &Mutex<Option<u64>>, down: bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            let (allowed, cut) = {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                match &mut *left {
                    None => (count, false),
                    Some(left) => {
                        let allowed = (*left).min(count as u64);
                        *left -= allowed;
                        (allowed as usize, allowed < count as u64)
                    }
                }
            };
            if to.write_all(&buffer[..allowed]).is_err() {
                break;
            }
            if down {
                self.brought.fetch_add(allowed as u64, Ordering::SeqCst);
            }
            if cut {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Bytes that came from the registry until now.
    fn brought(&self) -> u64 {
        self.brought.load(Ordering::SeqCst)
    }

    fn cut_within(&self, most: Option<u64>, seed: u64) {
        let within = most.map(|most| (most, fastrand::Rng::with_seed(seed)));
        *self.within.lock().unwrap_or_else(PoisonError::into_inner) = within;
    }
}

/// An image with a layer that is large enough for several connections, one of many files, and a small one; its id.
fn send(host: &Host, random: &mut fastrand::Rng) -> String {
    let mut large = vec![0; 40 << 20];
    random.fill(&mut large);
    host.file("ctx/large", &large);
    host.file("ctx/small", &large[..3 << 20]);
    for number in 0..300 {
        host.file(&format!("ctx/many/f{number}"), format!("{number}\n").repeat(number));
    }
    host.file("ctx/Dockerfile", "FROM scratch\nCOPY large /\nCOPY many /many\nCOPY small /\n");
    host.type_in(&format!("build -q -t {SENT} ctx")).ok();
    host.type_in(&format!("push -q {SENT}")).ok();
    let id = id(host, SENT);
    host.type_in(&format!("rmi {SENT}")).ok();
    host.type_in("builder prune -af").ok();
    assert_eq!(everything(host), Vec::<String>::new());
    id
}

fn id(host: &Host, name: &str) -> String {
    host.type_in(&format!("image inspect -f {{{{.Id}}}} {name}")).ok()
}

/// What a pull that was killed leaves for the next one is called so.
const PART: &str = "ingest/partial-";

/// What lies in the folders of work in progress.
fn everything(host: &Host) -> Vec<String> {
    let names = ["ingest", "leases", "blobs/sha256", "layers"].map(|folder| {
        let entries = fs::read_dir(host.root().join(folder)).expect("the store is there");
        entries.flatten().map(move |entry| format!("{folder}/{}", entry.file_name().display()))
    });
    names.into_iter().flatten().collect()
}

/// The same without what is kept for the next pull.
fn work(host: &Host) -> Vec<String> {
    everything(host).into_iter().filter(|path| !path.starts_with(PART)).collect()
}

/// Bytes that a pull that went wrong has kept.
fn kept(host: &Host) -> u64 {
    let sizes = ["ingest", "blobs/sha256"].map(|folder| {
        let entries = fs::read_dir(host.root().join(folder)).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok()).filter(|metadata| metadata.is_file());
        files.map(|metadata| metadata.len()).sum::<u64>()
    });
    sizes.iter().sum()
}

/// The image is the one that was sent, and goes without a trace.
fn is_right(host: &Host, name: &str, sent: &str) {
    is_whole(host, name, sent);
    assert_eq!(everything(host), Vec::<String>::new());
}

/// The image is the one that was sent, file by file, and goes; what somebody has kept for the next pull stays.
fn is_whole(host: &Host, name: &str, sent: &str) {
    assert_eq!(id(host, name), sent);
    let problems = host.type_in("system check").run();
    assert_eq!(problems.code, 0, "{}{}", problems.stdout, problems.stderr);
    let left: Vec<_> = work(host)
        .into_iter()
        .filter(|path| path.starts_with("ingest") || path.starts_with("leases"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    host.type_in(&format!("rmi {name}")).ok();
    assert_eq!(work(host), Vec::<String>::new());
}

#[test]
fn connections_that_are_cut_cost_nothing_but_time() {
    let seed = settings::seed();
    let host = Host::new(Mode::Embedded);
    let _registry = DockerRegistry::start(&host);
    let sent = send(&host, &mut fastrand::Rng::with_seed(seed));
    let (proxy, address) = Proxy::start();
    let name = format!("{address}/faults:1");
    let mut round = 0;
    while proxy.cuts.load(Ordering::SeqCst) < settings::cuts() {
        proxy.cut_within(Some(CUT_WITHIN), seed + round);
        round += 1;
        // All tries of one stretch may be cut at once: then the next pull goes on.
        eventually("a pull comes to its end", || {
            let pull = host.type_in(&format!("pull -q {name}")).run();
            let told =
                pull.code == 0 || pull.stderr.contains("without progress") || pull.stderr.contains("Get ");
            assert!(told, "seed {seed}, round {round}: {}", pull.stderr);
            pull.code == 0
        });
        is_right(&host, &name, &sent);
    }
    println!("{} cuts in {round} pulls", proxy.cuts.load(Ordering::SeqCst));

    // The same on the way there: under another name, so that all of it has to be sent.
    host.type_in(&format!("pull -q {SENT}")).ok();
    let there = format!("{address}/there:1");
    host.type_in(&format!("tag {SENT} {there}")).ok();
    let before = proxy.cuts.load(Ordering::SeqCst);
    proxy.cut_within(Some(60 << 20), seed);
    eventually("a push comes to its end", || host.type_in(&format!("push -q {there}")).run().code == 0);
    println!("{} cuts of a push", proxy.cuts.load(Ordering::SeqCst) - before);
    proxy.cut_within(None, 0);
    host.type_in(&format!("rmi {SENT} {there}")).ok();
    host.type_in(&format!("pull -q {there}")).ok();
    is_right(&host, &there, &sent);
}

/// A registry behind a proxy, and what one pull of its image takes.
struct Transfer {
    host: Host,
    _registry: DockerRegistry,
    proxy: Arc<Proxy>,
    /// The image's name on the way through the proxy.
    name: String,
    /// The image's id.
    sent: String,
    seed: u64,
    random: fastrand::Rng,
    /// How long a pull takes that nobody disturbs.
    typical: Duration,
    /// The bytes that it brings.
    all: u64,
}

impl Transfer {
    fn new() -> Self {
        let seed = settings::seed();
        let mut random = fastrand::Rng::with_seed(seed);
        let host = Host::new(Mode::Embedded);
        let registry = DockerRegistry::start(&host);
        let sent = send(&host, &mut random);
        let (proxy, address) = Proxy::start();
        let name = format!("{address}/faults:1");
        let begun = Instant::now();
        host.type_in(&format!("pull -q {name}")).ok();
        let (typical, all) = (begun.elapsed(), proxy.brought());
        is_right(&host, &name, &sent);
        Self { host, _registry: registry, proxy, name, sent, seed, random, typical, all }
    }

    fn pull(&self) -> Child {
        self.host.type_in(&format!("pull -q {}", self.name)).start()
    }

    /// Kills a pull at some moment of the time that it would take.
    fn kill(&mut self, mut pull: Child) {
        thread::sleep(Duration::from_micros(self.random.u64(0..self.typical.as_micros() as u64)));
        pull.kill().expect("our own child");
        pull.wait().expect("a child that was not waited for");
    }

    /// Waits for a pull that nobody kills.
    fn finish(&self, pull: Child, kills: u64) {
        let output = pull.wait_with_output().expect("our own child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {}, {kills} kills: {said}", self.seed);
    }

    fn is_right(&self) {
        is_right(&self.host, &self.name, &self.sent);
    }

    /// Whoever is killed last may keep something that nobody needs any more.
    fn is_whole(&self) {
        is_whole(&self.host, &self.name, &self.sent);
    }
}

#[test]
fn a_pull_that_was_killed_is_gone_on_with() {
    let mut transfer = Transfer::new();
    let (mut kills, mut resumed) = (0, 0);
    while kills < settings::pull_kills() {
        // Some pulls are killed several times before they are left alone.
        for _ in 0..transfer.random.u64(1..5) {
            let pull = transfer.pull();
            transfer.kill(pull);
            kills += 1;
        }
        let (kept, before) = (kept(&transfer.host), transfer.proxy.brought());
        transfer.finish(transfer.pull(), kills);
        let brought = transfer.proxy.brought() - before;
        resumed += u64::from(kept > OVERHEAD);
        let most = (transfer.all + OVERHEAD).saturating_sub(kept);
        let seed = transfer.seed;
        assert!(brought <= most, "seed {seed}, {kills} kills: {kept} bytes were kept, and {brought} brought");
        transfer.is_right();
    }
    println!("{kills} kills, {resumed} pulls that went on with something");
}

#[test]
fn pulls_at_once_bring_everything_once_whoever_is_killed() {
    const DOOMED: u64 = 2;
    let mut transfer = Transfer::new();
    let mut kills = 0;
    while kills < settings::pull_kills() {
        let before = transfer.proxy.brought();
        let mut doomed: Vec<Child> = (0..DOOMED).map(|_| transfer.pull()).collect();
        let survivors = [transfer.pull(), transfer.pull()];
        transfer.random.shuffle(&mut doomed);
        for pull in doomed {
            transfer.kill(pull);
        }
        kills += DOOMED;
        for pull in survivors {
            transfer.finish(pull, kills);
        }
        let (seed, all) = (transfer.seed, transfer.all);
        let brought = transfer.proxy.brought() - before;
        let most = all + 2 * OVERHEAD + DOOMED * LOST;
        assert!(brought <= most, "seed {seed}, {kills} kills: {brought} bytes brought, of {all}");
        transfer.is_whole();
    }
}
