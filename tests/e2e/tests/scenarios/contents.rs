//! What images hold: layers, waste, differences; here, and in a registry without pulling.

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    layers_and_what_they_waste
    images_are_compared
    registries_are_looked_into
}

/// An image with a file that is replaced, one that is removed, and a directory that goes with all it has.
fn wasteful(host: &Host) {
    host.busybox();
    host.file("ctx/big", "x".repeat(100_000));
    host.file("ctx/other", "y".repeat(50_000));
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY big /d/one\nCOPY other /d/two\nCOPY other /d/one\nRUN rm /d/two\nRUN rm -r /d && mkdir /d\n",
    );
    host.type_in("build -q -t wasteful ctx").ok();
}

fn layers_and_what_they_waste(host: &Host) {
    wasteful(host);
    let tree: Value =
        serde_json::from_str(&host.type_in("image tree --format json --files wasteful").ok()).unwrap();
    let layers = tree["Layers"].as_array().unwrap();
    let of = |layer: usize| {
        ["Size", "Added", "Changed", "Removed", "Wasted"].map(|name| layers[layer][name].as_u64().unwrap())
    };
    assert_eq!(of(1), [100_000, 1, 0, 0, 100_000]);
    assert_eq!(of(2), [50_000, 1, 0, 0, 50_000]);
    assert_eq!(of(3), [50_000, 0, 1, 0, 50_000]);
    assert_eq!(of(4), [0, 0, 0, 1, 0]);
    assert_eq!(of(5), [0, 0, 0, 1, 0]);
    assert_eq!(tree["Wasted"], 200_000);
    assert_eq!(
        tree["Waste"][0],
        serde_json::json!({ "Path": "/d/one", "Bytes": 150_000, "Times": 2, "Removed": true })
    );
    assert_eq!(
        layers[3]["List"][0],
        serde_json::json!({ "Path": "/d/one", "Change": "Changed", "Size": 50_000 })
    );
    assert!(layers[1]["CreatedBy"].as_str().unwrap().contains("COPY big"), "{}", layers[1]);

    let text = host.type_in("image tree --waste wasteful").ok();
    assert!(text.starts_with("wasteful (linux/amd64): ") && text.contains("200kB wasted"), "{text}");
    assert!(text.contains("150kB     2      /d/one (removed)"), "{text}");
    assert_eq!(host.type_in("image tree -q wasteful").ok().lines().count(), 6);
    assert_eq!(
        host.dhow(&["image", "tree", "--format", "{{.Files}}", "wasteful"]).ok().lines().nth(1),
        Some("1")
    );
    host.type_in("image tree --lowest-efficiency 0.1 --highest-wasted 1MB wasteful").ok();
    let refused = host.type_in("image tree --highest-wasted 100kB wasteful").fails(1);
    assert!(refused.contains("200kB are wasted in wasteful, more than 102.4kB"), "{refused}");
    let refused = host.type_in("image tree --lowest-efficiency 0.999 wasteful").fails(1);
    assert!(refused.contains("the efficiency of wasteful is 0."), "{refused}");
    for (words, want) in [
        ("--lowest-efficiency 7 wasteful", "--lowest-efficiency 7: not between 0 and 1"),
        ("--highest-wasted much wasteful", "--highest-wasted much: not a size"),
        ("127.0.0.1:1/nowhere:1", "127.0.0.1:1/nowhere:1"),
    ] {
        let refused = host.type_in(&format!("image tree {words}")).fails(1);
        assert!(refused.contains(want), "{refused}");
    }
}

fn images_are_compared(host: &Host) {
    host.busybox();
    host.file("one/Dockerfile", "FROM busybox\nCOPY . /d\nENV A=1 B=2\n");
    host.file("one/same", "same");
    host.file("one/gone", "gone");
    host.file("one/text", "old");
    host.file(
        "two/Dockerfile",
        "FROM busybox\nCOPY same came /d/\nCOPY --chmod=700 text /d/\nENV A=1 B=3\nUSER 7\n",
    );
    host.file("two/same", "same");
    host.file("two/came", "came");
    host.file("two/text", "newer");
    host.type_in("build -q -t one one").ok();
    host.type_in("build -q -t two two").ok();
    assert_eq!(
        host.type_in("image diff -q one two").ok(),
        "D /d/Dockerfile\nA /d/came\nD /d/gone\nC /d/text"
    );
    let text = host.type_in("image diff one two").ok();
    for want in
        ["Layers  2 -> 3, 1 shared", "- Env.B 2\n+ Env.B 3\n", "+ User 7", "+2B /d/text (content, mode)"]
    {
        assert!(text.contains(want), "{want}: {text}");
    }
    assert!(!text.contains("Env.A"), "{text}");
    let found: Value = serde_json::from_str(&host.type_in("image diff --format json one two").ok()).unwrap();
    assert_eq!(found["Files"].as_array().unwrap().len(), 4);
    assert!(host.type_in("image diff one one").ok().ends_with("No file and no setting differs."));
    assert!(host.type_in("image diff one").fails(1).contains("requires 2 arguments"));
}

fn registries_are_looked_into(host: &Host) {
    let _registry = DockerRegistry::start(host);
    wasteful(host);
    host.type_in("tag wasteful 127.0.0.1:5000/wasteful:1").ok();
    host.type_in("push -q 127.0.0.1:5000/wasteful:1").ok();
    let here = host.type_in("image tree --waste -q wasteful").ok();
    let compared =
        host.type_in("image diff --remote 127.0.0.1:5000/wasteful:1 127.0.0.1:5000/wasteful:1").ok();
    assert!(
        compared.contains("6 shared") && compared.ends_with("No file and no setting differs."),
        "{compared}"
    );
    host.type_in("rmi -f wasteful 127.0.0.1:5000/wasteful:1").ok();
    let there: Value =
        serde_json::from_str(&host.type_in("image tree --format json 127.0.0.1:5000/wasteful:1").ok())
            .unwrap();
    assert_eq!(
        (&there["Wasted"], there["Layers"].as_array().unwrap().len()),
        (&200_000.into(), here.lines().count())
    );
    assert!(there["Layers"][1]["Compressed"].as_u64().unwrap() < 100_000);
    // Nothing of it is kept.
    assert!(!host.type_in("images").ok().contains("wasteful"));
    host.type_in("system check").ok();
}
