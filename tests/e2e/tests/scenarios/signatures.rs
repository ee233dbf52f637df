//! Who has signed an image, and what a machine's policy says about it; what else is attached to images.

use std::fs;

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    images_are_signed
    a_policy_decides_what_runs
    files_are_attached
}

const APP: &str = "127.0.0.1:5000/team/app:1";

/// An image in the registry and a key; the variable has its password.
fn begin(host: &Host) {
    host.busybox();
    host.type_in(&format!("tag busybox {APP}")).ok();
    host.type_in(&format!("push -q {APP}")).ok();
    key(host, "team");
}

fn key(host: &Host, name: &str) {
    let mut command = host.command();
    command.args(["image", "generate-key-pair", name]).env("COSIGN_PASSWORD", "secret");
    assert!(command.output().unwrap().status.success());
}

fn sign(host: &Host, arguments: &[&str]) -> (bool, String) {
    let mut command = host.command();
    command.args(["image", "sign"]).args(arguments).env("COSIGN_PASSWORD", "secret");
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn images_are_signed(host: &Host) {
    let _registry = DockerRegistry::start(host);
    begin(host);
    let private = fs::read_to_string(host.home().join("team.key")).unwrap();
    assert!(private.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"), "{private}");
    let again = host.type_in("image generate-key-pair team").fails(1);
    assert!(again.contains("COSIGN_PASSWORD") || again.contains("exists"), "{again}");
    let none = host.type_in(&format!("image verify --key team.pub {APP}")).fails(1);
    assert!(none.contains("no signatures found for"), "{none}");
    let (done, told) = sign(host, &["--key", "team.key", "-a", "by=ci", APP]);
    assert!(done && told.contains("Pushed signature to 127.0.0.1:5000/team/app:sha256-"), "{told}");
    let claims: Value = serde_json::from_str(
        host.type_in(&format!("image verify --key team.pub {APP}")).ok().lines().last().unwrap(),
    )
    .unwrap();
    assert_eq!(claims[0]["critical"]["identity"]["docker-reference"], APP);
    assert_eq!(claims[0]["optional"]["by"], "ci");
    host.type_in(&format!("image verify --key team.pub -a by=ci {APP}")).ok();
    host.type_in(&format!("image verify --key team.pub -a by=me {APP}")).fails(1);

    // A second key beside the first one.
    key(host, "other");
    let other = host.type_in(&format!("image verify --key other.pub {APP}")).fails(1);
    assert!(other.contains("it has 1, and none by key"), "{other}");
    assert!(sign(host, &["--key", "other.key", APP]).0);
    host.type_in(&format!("image verify --key other.pub {APP}")).ok();
    host.type_in(&format!("image verify --key team.pub {APP}")).ok();
    // What the tag stands for now is not what was signed.
    host.file("ctx/Dockerfile", "FROM busybox\nLABEL a=b\n");
    host.type_in(&format!("build -q -t {APP} --push ctx")).ok();
    assert!(
        host.type_in(&format!("image verify --key team.pub {APP}")).fails(1).contains("no signatures found")
    );
    for (words, want) in [
        ("sign 127.0.0.1:5000/team/app:1".to_owned(), "image sign needs --key"),
        (format!("sign --key team.pub {APP}"), "a PEM block \"PUBLIC KEY\" where"),
        (format!("sign --key team.key {APP}"), "COSIGN_PASSWORD"),
        (format!("sign --key awskms:///x {APP}"), "keys in awskms are not supported"),
        (format!("verify --key nothing {APP}"), "nothing"),
    ] {
        let refused = host.type_in(&format!("image {words}")).fails(1);
        assert!(refused.contains(want), "{words}: {refused}");
    }
}

fn a_policy_decides_what_runs(host: &Host) {
    let _registry = DockerRegistry::start(host);
    begin(host);
    host.type_in(&format!("rmi {APP}")).ok();
    let key = host.home().join("team.pub");
    let policy = format!(
        "{{\"default\":[{{\"type\":\"insecureAcceptAnything\"}}],\"transports\":{{\"docker\":{{\
         \"127.0.0.1:5000/team\":[{{\"type\":\"sigstoreSigned\",\"keyPath\":{:?}}}],\
         \"127.0.0.1:5000/bad\":[{{\"type\":\"reject\"}}],\
         \"127.0.0.1:5000/gpg\":[{{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/k\"}}]}}}}}}",
        key.display().to_string()
    );
    fs::create_dir_all(host.home().join("etc").join("dhow")).unwrap();
    fs::write(host.home().join("etc").join("dhow/policy.json"), policy).unwrap();
    let refused = host.type_in(&format!("pull {APP}")).fails(1);
    assert!(refused.contains("it asks for a signature, and the image has none"), "{refused}");
    assert!(!host.type_in("images").ok().contains("team/app"), "nothing of it is here");
    // Names that the policy says nothing of are as before.
    host.type_in("run --rm busybox true").ok();

    assert!(sign(host, &["--key", "team.key", APP]).0);
    host.type_in(&format!("pull {APP}")).ok();
    assert_eq!(host.type_in(&format!("run --rm {APP} echo runs")).ok(), "runs");
    // Not by another name in the namespace, which nobody has signed.
    host.type_in(&format!("tag {APP} 127.0.0.1:5000/team/app:2")).ok();
    let refused = host.type_in("run --rm --pull never 127.0.0.1:5000/team/app:2 true").fails(125);
    assert!(refused.contains("has signed 127.0.0.1:5000/team/app:1, and not this image"), "{refused}");
    host.type_in("rmi 127.0.0.1:5000/team/app:2").ok();
    // Nor what was made here.
    host.file("ctx/Dockerfile", "FROM busybox\nLABEL a=b\n");
    host.type_in("build -q -t 127.0.0.1:5000/team/own ctx").ok();
    let refused = host.type_in("run --rm 127.0.0.1:5000/team/own true").fails(125);
    assert!(refused.contains("the image has none"), "{refused}");
    // Nor is anything built on it, or with files of it.
    for line in
        ["FROM 127.0.0.1:5000/team/own\nRUN true", "FROM busybox\nCOPY --from=127.0.0.1:5000/team/own / /x"]
    {
        host.file("on/Dockerfile", format!("{line}\n"));
        let refused = host.type_in("build on").fails(1);
        assert!(refused.contains("the image has none"), "{refused}");
    }
    for (name, want) in
        [("bad/x", "it rejects this image"), ("gpg/x", "it asks for signedBy, which can't be checked here")]
    {
        let refused = host.type_in(&format!("pull 127.0.0.1:5000/{name}")).fails(1);
        assert!(refused.contains(want), "{refused}");
    }
    // Without a name, what holds for all counts.
    host.file("nameless/Dockerfile", "FROM busybox\nLABEL name=none\n");
    let id = host.type_in("build -q nameless").ok();
    host.type_in(&format!("run --rm {id} true")).ok();
    fs::write(host.home().join("etc").join("dhow/policy.json"), "{\"default\":[{\"type\":\"reject\"}]}")
        .unwrap();
    let refused = host.type_in(&format!("run --rm {id} true")).fails(125);
    assert!(refused.contains("it has no name"), "{refused}");
    // A file that can't be understood lets nothing in.
    fs::write(host.home().join("etc").join("dhow/policy.json"), "{\"default\":[]}").unwrap();
    let refused = host.type_in("run --rm busybox true").fails(125);
    assert!(refused.contains("a list of requirements must not be empty"), "{refused}");
}

fn files_are_attached(host: &Host) {
    let _registry = DockerRegistry::start(host);
    begin(host);
    host.file("sbom.json", "{\"packages\":[]}");
    let attach = |words: &str| host.type_in(&format!("image attach {words}"));
    let digest = attach(&format!(
        "--artifact-type application/spdx+json -a by=ci {APP} sbom.json:application/spdx+json"
    ))
    .ok();
    assert!(digest.starts_with("sha256:"), "{digest}");
    attach(&format!("--artifact-type text/notes {APP}")).ok();
    let listed = host.type_in(&format!("image attached {APP}")).ok();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("application/spdx+json") && listed.contains("by=ci"), "{listed}");
    assert_eq!(
        host.type_in(&format!("image attached -q --artifact-type application/spdx+json {APP}")).ok(),
        digest
    );
    host.type_in(&format!("image attached --artifact-type application/spdx+json -o got {APP}")).ok();
    assert_eq!(fs::read_to_string(host.home().join("got/sbom.json")).unwrap(), "{\"packages\":[]}");
    let twice = host.type_in(&format!("image attached -o got {APP}")).fails(1);
    assert!(twice.contains("sbom.json"), "nothing is overwritten: {twice}");
    assert!(attach(&format!("{APP} sbom.json")).fails(1).contains("needs --artifact-type"));
    assert!(
        attach(&format!("--artifact-type sbom {APP} sbom.json"))
            .fails(1)
            .contains("is no type of an artifact")
    );
}
