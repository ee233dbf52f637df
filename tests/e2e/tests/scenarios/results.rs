//! Results of builds while they are handed out: what they leave, what others keep of them, what becomes of them when their client
//! dies; and what else must not stay once nobody holds it.

use std::fs;
use std::io::Read as _;
use std::process::{Child, ChildStdout};

use testkit::{DockerRegistry, Host};

use crate::bases::lose;

in_every_mode! {
    what_several_builds_hand_out_leaves_nothing
    what_others_keep_meanwhile_stays
    a_client_that_is_killed_leaves_nothing
    what_is_pushed_is_what_was_built
    a_base_that_is_removed_goes_with_a_build_that_is_interrupted
    pulls_that_fail_leave_nothing
}

/// More than waits between a build and its reader.
const SIZE: u64 = 4 << 20;

/// A context whose image has files that nobody has made before.
fn context(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", format!("FROM busybox\nRUN head -c {SIZE} /dev/urandom > /data\n"));
}

/// A build that hands its result out, and goes on when its reader does.
struct HandingOut {
    building: Child,
    stream: ChildStdout,
}

impl HandingOut {
    fn begin(host: &Host, words: &str) -> Self {
        let mut building = host.type_in(&format!("build {words} ctx")).start();
        let mut stream = building.stdout.take().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        Self { building, stream }
    }

    #[track_caller]
    fn ends(mut self) {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        let mut told = String::new();
        self.building.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(self.building.wait().unwrap().success(), "{told}");
        assert!(bytes.len() as u64 >= SIZE);
    }
}

/// The documents of all images, of which those that are only lent are not listed.
fn documents(host: &Host) -> usize {
    assert_eq!(host.type_in("images -aq").ok().lines().count(), 1);
    fs::read_dir(host.root().join("blobs/sha256")).unwrap().count()
}

fn what_several_builds_hand_out_leaves_nothing(host: &Host) {
    context(host);
    let before = documents(host);
    let tar = "-o type=tar,dest=-";
    for first_ends_first in [true, false] {
        let [first, second] = [HandingOut::begin(host, tar), HandingOut::begin(host, tar)];
        let [soon, late] = if first_ends_first { [first, second] } else { [second, first] };
        soon.ends();
        host.type_in("image prune -f").ok();
        assert_eq!(documents(host), before + 2);
        late.ends();
        assert_eq!(documents(host), before);
        host.type_in("system check").ok();
    }
}

fn what_others_keep_meanwhile_stays(host: &Host) {
    context(host);
    let has_data = |image: &str| {
        host.dhow(&["run", "--rm", "--network", "none", image, "test", "-s", "/data"]).ok();
    };
    // Another build of the same, which is no less than any that keeps its result.
    let handing = HandingOut::begin(host, "-o type=tar,dest=-");
    let id = host.type_in("build -q ctx").ok();
    handing.ends();
    has_data(&id);
    // Its archive, of which an index has the name.
    host.type_in("image prune -f").ok();
    let outputs = "-o type=oci,dest=a.tar -o type=tar,dest=-";
    let handing = HandingOut::begin(host, &format!("-t named:1 --provenance=true {outputs}"));
    host.type_in("load -q -i a.tar").ok();
    handing.ends();
    has_data("named:1");
    host.type_in("system check").ok();
}

fn a_client_that_is_killed_leaves_nothing(host: &Host) {
    context(host);
    let before = documents(host);
    let mut handing = HandingOut::begin(host, "-o type=tar,dest=-");
    assert_eq!(documents(host), before + 2);
    handing.building.kill().unwrap();
    handing.building.wait().unwrap();
    if !host.socket(0).exists() {
        // There is nobody but who comes next.
        host.type_in("image prune -f").ok();
    }
    testkit::eventually("its result is gone", || documents(host) == before);
    let leases = || fs::read_dir(host.root().join("leases")).unwrap().count();
    testkit::eventually("nobody holds anything", || leases() == 0);
    host.type_in("system check").ok();
}

/// Whoever clears up, or takes the name for something else, before the build comes to push.
fn what_is_pushed_is_what_was_built(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let app = "127.0.0.1:5000/app:1";
    let handing = HandingOut::begin(host, &format!("-t {app} -o type=tar,dest=- -o type=registry"));
    host.type_in("image prune -af").ok();
    assert_eq!(host.type_in(&format!("images -q {app}")).ok().lines().count(), 1);
    host.busybox();
    host.type_in(&format!("tag busybox {app}")).ok();
    handing.ends();
    host.type_in(&format!("rmi {app}")).ok();
    host.dhow(&["run", "--rm", "--network", "none", app, "test", "-s", "/data"]).ok();
}

fn a_base_that_is_removed_goes_with_a_build_that_is_interrupted(host: &Host) {
    context(host);
    let layers = || fs::read_dir(host.root().join("layers")).unwrap().count();
    let before = layers();
    host.type_in("build -q -t base ctx").ok();
    host.type_in("builder prune -af").ok();
    assert_eq!(layers(), before + 1);
    host.file("ctx/Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c touch /c/begun && sleep 600\n");
    let mut building = host.type_in("build -q ctx").start();
    let has_begun = || {
        let caches = fs::read_dir(host.root().join("cache-mounts")).ok()?;
        let mut caches = caches.flatten().map(|cache| cache.path());
        caches.find(|cache| cache.join("begun").exists() || cache.join("files/begun").exists())
    };
    testkit::eventually("the step runs", || has_begun().is_some());
    host.type_in("rmi -f base").ok();
    assert_eq!(layers(), before + 1);
    host.program("kill", &["-INT", &building.id().to_string()]).ok();
    assert!(!building.wait().unwrap().success());
    testkit::eventually("the layer that only the build had is gone", || layers() == before);
    host.type_in("system check").ok();
}

fn pulls_that_fail_leave_nothing(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let app = "127.0.0.1:5000/app:1";
    host.file("ctx/more", "more");
    let file = fs::read_to_string(host.home().join("ctx/Dockerfile")).unwrap();
    host.file("ctx/Dockerfile", format!("{file}COPY more /\n"));
    host.type_in(&format!("build -q -t {app} --push ctx")).ok();
    host.type_in(&format!("rmi {app}")).ok();
    host.type_in("builder prune -af").ok();
    lose(host, app);
    for _ in 0..5 {
        host.type_in(&format!("pull -q {app}")).fails(1);
        host.type_in("system check").ok();
    }
}
