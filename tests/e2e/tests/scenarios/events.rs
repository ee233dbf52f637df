//! What happened, as it is told.

use testkit::Host;

in_every_mode! {
    a_containers_life_in_events
}

fn a_containers_life_in_events(host: &Host) {
    host.busybox();
    host.type_in("run --name told busybox true").ok();
    host.type_in("rm told").ok();
    let lines = host
        .dhow(&[
            "events",
            "--since",
            "2001-01-01T00:00:00Z",
            "--until",
            "0s",
            "--filter",
            "container=told",
            "--format",
            "{{.Action}}",
        ])
        .run();
    assert_eq!(lines.code, 0, "{}", lines.stderr);
    let actions: Vec<_> = lines.stdout.lines().collect();
    for action in ["create", "start", "die", "destroy"] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    let images = host
        .dhow(&[
            "events",
            "--since",
            "2001-01-01T00:00:00Z",
            "--until",
            "0s",
            "--filter",
            "type=image",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    assert!(images.contains("import"), "{images}");
}
