//! What is attached to an image travels with it: from a registry that keeps no lists of referrers to one that does, through the
//! store, and through an archive.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use testkit::{DockerRegistry, Host};

in_every_mode! {
    what_is_attached_travels
    what_is_no_image_is_kept
}

const APP: &str = "127.0.0.1:5000/team/app:1";

/// A registry of ours.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(host: &Host) -> Server {
        let mut command = host.command();
        command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--root", "registry-of-ours"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is attached to a name, and whether it is signed, if only under the name that it came from.
fn seen(host: &Host, name: &str) -> (usize, bool) {
    let listed = host.type_in(&format!("image attached -q {name}")).ok();
    let verified = host.type_in(&format!("image verify --key team.pub {name}")).run();
    (listed.lines().count(), verified.code == 0 || verified.stderr.contains("it has 1,"))
}

fn what_is_attached_travels(host: &Host) {
    let _registry = DockerRegistry::start(host);
    let ours = Server::start(host);
    host.busybox();
    host.type_in(&format!("tag busybox {APP}")).ok();
    host.type_in(&format!("push -q {APP}")).ok();
    let secret = |arguments: &[&str]| {
        let mut command = host.command();
        let done = command.args(["image"]).args(arguments).env("COSIGN_PASSWORD", "secret").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    secret(&["generate-key-pair", "team"]);
    secret(&["sign", "--key", "team.key", APP]);
    host.file("sbom.json", "{\"packages\":[]}");
    host.type_in(&format!(
        "image attach --artifact-type application/spdx+json {APP} sbom.json:application/spdx+json"
    ))
    .ok();
    assert_eq!(seen(host, APP), (1, true));

    // From registry to registry, and within one.
    let to = |path: &str| format!("{}/{path}", ours.address);
    for (target, options, expected) in [
        (to("copy:1"), "", (1, true)),
        ("127.0.0.1:5000/elsewhere/app:1".to_owned(), "", (1, true)),
        (to("bare:1"), "--referrers=false", (0, false)),
    ] {
        host.type_in(&format!("buildx imagetools create --prefer-index=false {options} -t {target} {APP}"))
            .ok();
        assert_eq!(seen(host, &target), expected, "{target}");
    }

    // Through the store: only if it is asked for, and then also through an archive.
    host.type_in(&format!("rmi {APP} busybox")).ok();
    host.type_in(&format!("pull -q {APP}")).ok();
    let pushed = |name: &str| {
        host.type_in(&format!("tag {APP} {name}")).ok();
        host.type_in(&format!("push -q {name}")).ok();
        let seen = seen(host, name);
        host.type_in(&format!("rmi {name}")).ok();
        seen
    };
    assert_eq!(pushed(&to("plain:1")), (0, false));
    host.type_in(&format!("pull -q --attached {APP}")).ok();
    assert_eq!(pushed(&to("pulled:1")), (1, true));
    assert_eq!(pushed("127.0.0.1:5000/other/app:1"), (1, true), "a registry without lists");
    host.type_in(&format!("save -o app.tar {APP}")).ok();
    host.type_in(&format!("rmi {APP}")).ok();
    assert_eq!(host.type_in("images -q").ok(), "");
    host.type_in("load -q -i app.tar").ok();
    assert_eq!(pushed(&to("loaded:1")), (1, true));
    assert_eq!(host.type_in(&format!("run --rm --network none {APP} echo runs")).ok(), "runs");
    host.type_in(&format!("rmi {APP}")).ok();
    assert_eq!(host.type_in("system check").run().code, 0);
    assert_eq!(
        std::fs::read_dir(host.root().join("blobs/sha256")).unwrap().count(),
        0,
        "it went with its image"
    );
}

/// A chart, as its own tool makes it: here it is attached to something else first, and then found by its digest.
fn what_is_no_image_is_kept(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    host.type_in(&format!("tag busybox {APP}")).ok();
    host.type_in(&format!("push -q {APP}")).ok();
    host.file("Chart.yaml", "name: app\n");
    let kind = "application/vnd.cncf.helm.config.v1+json";
    let digest = host.type_in(&format!("image attach --artifact-type {kind} {APP} Chart.yaml")).ok();
    let chart = "127.0.0.1:5000/team/chart:1";
    host.type_in(&format!(
        "buildx imagetools create --prefer-index=false -t {chart} 127.0.0.1:5000/team/app@{digest}"
    ))
    .ok();

    host.type_in(&format!("pull -q {chart}")).ok();
    let listed = host.type_in("images --digests --format {{.Repository}}:{{.Tag}}={{.Digest}}={{.ID}}").ok();
    let short = &digest["sha256:".len()..][..12];
    assert!(listed.contains(&format!("{chart}={digest}={short}")), "{listed}");
    let said = format!("{chart} is no image but an artifact of type {kind}: it can't be run");
    let refused = host.type_in(&format!("run --rm {chart} true")).fails(125);
    assert!(refused.contains(&said), "{refused}");
    let refused = host.dhow(&["build", "-"]).input(format!("FROM {chart}\n")).fails(1);
    assert!(refused.contains("is no image but an artifact"), "{refused}");

    host.type_in(&format!("save -o chart.tar {chart}")).ok();
    host.type_in(&format!("rmi {chart}")).ok();
    assert!(host.type_in("load -i chart.tar").ok().contains(&format!("Loaded image: {chart}")));
    host.type_in(&format!("tag {chart} 127.0.0.1:5000/other/chart:2")).ok();
    host.type_in("push -q 127.0.0.1:5000/other/chart:2").ok();
    let there = host
        .type_in("buildx imagetools inspect 127.0.0.1:5000/other/chart:2 --format {{.Manifest.Digest}}")
        .ok();
    assert_eq!(there.trim_matches('"'), digest);
    let removed = host.type_in(&format!("rmi {chart} {short}")).ok();
    assert!(removed.ends_with(&format!("Deleted: {digest}")), "{removed}");
    assert_eq!(host.type_in("images -q --filter reference=*/*/chart").ok(), "");
}
