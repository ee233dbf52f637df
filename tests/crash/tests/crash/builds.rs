//! SIGKILL of builds at random moments: while they index a context, hold the locks of steps, fill caches of `RUN`, export
//! their cache and hand out their result.
//!
//! After each kill the machine is repaired by `system check` alone, and the next build, which takes what is there, gives
//! what a build from nothing gives. Nothing of a killed build stays.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use testkit::{Host, Mode, Typed};

use crate::machine::Machine;
use crate::settings;

/// Files of the context beside those that change: enough that the index is worth something.
const FILES: usize = 400;

const DOCKERFILE: &str = "\
FROM busybox AS one
COPY many /many
RUN --mount=type=cache,target=/cache mkdir -p /cache/d && cat /many/* > /cache/d/new && mv /cache/d/new /cache/d/all && \
    sort -u /cache/d/all > /sorted
FROM busybox AS two
ARG NUMBER
RUN --mount=type=cache,target=/count,sharing=locked echo $NUMBER > /count/last && cat /count/last > /number
FROM busybox
COPY --from=one /sorted /
COPY --from=two /number /
COPY changing /
RUN --mount=type=bind,target=/context cat /context/changing > /read
";

/// Ways that a build is asked for, one after another.
const WAYS: [&[&str]; 4] = [
    &["--cache-to", "type=local,dest=cache,mode=max,mounts=true", "--cache-from", "type=local,src=cache"],
    &["-o", "type=oci,dest=image.tar", "-o", "type=image"],
    &["--no-cache", "--cache-to", "type=local,dest=cache,mode=max,mounts=true"],
    &["--squash", "--no-cache-filter", "two"],
];

#[test]
fn builds_killed_at_random_moments_leave_a_cache_that_is_right() {
    // Each is followed by builds that end, and costs as much as many of other operations.
    let (seed, kills) = (settings::seed(), settings::kills().div_ceil(4));
    let mut random = fastrand::Rng::with_seed(seed);
    let host = Host::new(Mode::Embedded);
    for number in 0..FILES {
        host.file(&format!("ctx/many/{number}"), format!("{}\n", number % 97));
    }
    host.file("ctx/Dockerfile", DOCKERFILE);
    host.file("busybox.tar", testkit::busybox());
    let machine = Machine::new(&host);
    let before = machine.rests();
    let mut typical: BTreeMap<usize, Duration> = BTreeMap::new();
    for round in 0..kills {
        let way = random.usize(..WAYS.len());
        let text = format!("{}\n", random.u32(..4));
        host.file("ctx/changing", &text);
        let limit = typical.get(&way).copied().unwrap_or(Duration::from_millis(150));
        let delay = limit.mul_f64(random.f64() * 1.1);
        let what = format!("seed {seed}, round {round}: {:?} killed after {delay:?}", WAYS[way]);
        kill(&host, WAYS[way], &text, delay);
        machine.repair().unwrap_or_else(|found| panic!("{what}: not repaired: {found}"));
        let started = Instant::now();
        let built = build(&host, WAYS[way], &text).run();
        assert_eq!(built.code, 0, "{what}: {}", built.stderr);
        typical.insert(way, started.elapsed().min(limit * 4));
        let seen =
            host.type_in("run --rm --network none built /bin/busybox cat /number /changing /read").ok();
        assert_eq!(seen, format!("{text}{text}{text}").trim_end(), "{what}");
        let sorted = host.type_in("run --rm --network none built /bin/busybox wc -l /sorted").ok();
        assert_eq!(sorted, "97 /sorted", "{what}");
        if host.home().join("cache/index.json").exists() {
            elsewhere(&host, &text, &what);
        }
    }
    for line in ["rmi -f built", "builder prune -af", "image prune -f"] {
        host.type_in(line).ok();
    }
    if let Err(difference) = machine.returns_to(&before) {
        panic!("seed {seed}: after {kills} kills\n  {difference}");
    }
}

fn build(host: &Host, way: &[&str], text: &str) -> Typed {
    let number = format!("NUMBER={}", text.trim());
    host.dhow(&[&["build", "-t", "built", "--build-arg", &number][..], way, &["ctx"]].concat())
}

fn kill(host: &Host, way: &[&str], text: &str, delay: Duration) {
    let mut child = build(host, way, text).start();
    let started = Instant::now();
    while started.elapsed() < delay && child.try_wait().expect("our own child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait_with_output().expect("our own child");
}

/// An exported cache is whole whenever its index is there: another root takes its steps from it.
fn elsewhere(host: &Host, text: &str, what: &str) {
    // In a network that goes with it.
    let binary = testkit::binary();
    let command = |arguments: &[&str]| {
        let own = ["--net", binary.to_str().expect("UTF-8")];
        let typed = host.program("unshare", &[&own[..], arguments].concat());
        ["root", "run"].into_iter().fold(typed, |typed, name| {
            let folder = host.home().join("elsewhere").join(name).display().to_string();
            typed.env(&format!("DHOW_{}", name.to_uppercase()), &folder)
        })
    };
    command(&["import", "busybox.tar", "busybox"]).ok();
    let number = format!("NUMBER={}", text.trim());
    let from = ["--progress", "plain", "--cache-from", "type=local,src=cache", "-o", "out"];
    let output = command(&[&["build", "--build-arg", &number][..], &from, &["ctx"]].concat()).run();
    assert!(output.code == 0 && !output.stderr.contains("not imported"), "{what}: {}", output.stderr);
    for name in ["changing", "number", "read"] {
        assert_eq!(
            fs::read_to_string(host.home().join("out").join(name)).expect("it was built"),
            text,
            "{what}"
        );
    }
    for folder in ["elsewhere", "out"] {
        fs::remove_dir_all(host.home().join(folder)).expect("remove a folder");
    }
}
