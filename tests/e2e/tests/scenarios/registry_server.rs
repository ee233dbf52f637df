//! `dhow registry serve` as a process.

use testkit::registry::Registry;
use testkit::{Host, Mode};

#[test]
fn who_has_a_password_logs_in() {
    let host = Host::new(Mode::Embedded);
    let users = host.dhow(&["registry", "passwd", "ann"]).input("secret\n").ok();
    assert!(users.starts_with("ann:$2"), "{users}");
    host.file("htpasswd", users + "\n");
    let root = host.home().join("registry");
    let server = Registry::start(&host, &root, &["--htpasswd", "htpasswd", "--auth", "token"]);
    let login = |password: &str| {
        host.dhow(&["login", "-u", "ann", "--password-stdin", &server.address]).input(password).run().code
    };
    assert_ne!(login("wrong"), 0);
    assert_eq!(login("secret"), 0);
    host.busybox();
    let image = format!("{}/app:v1", server.address);
    host.dhow(&["tag", "busybox", &image]).ok();
    host.dhow(&["push", &image]).ok();
    host.dhow(&["logout", &server.address]).ok();
    let refused = host.dhow(&["pull", &image]).run();
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    for name in ["anonymous", "a:b", ""] {
        assert_eq!(host.dhow(&["registry", "passwd", name]).input("x\n").run().code, 1, "{name}");
    }
    assert_eq!(host.dhow(&["registry", "passwd", "ann"]).input("\n").run().code, 1);
    server.kill();
}

/// Neither end writes passwords or tokens down, however much it is asked to say.
#[test]
fn what_is_secret_is_not_logged() {
    let host = Host::new(Mode::Embedded);
    let users = host.dhow(&["registry", "passwd", "ann"]).input("canary-password\n").ok();
    host.file("htpasswd", users + "\n");
    let (root, log) = (host.home().join("registry"), host.home().join("registry.log"));
    let server = Registry::logged(&host, &root, &["--htpasswd", "htpasswd", "--auth", "token"], &log);
    let mut said = String::new();
    let login = ["--debug", "login", "-u", "ann", "--password-stdin", &server.address];
    said += &host.dhow(&login).input("canary-password").run().stderr;
    host.busybox();
    let image = format!("{}/app:v1", server.address);
    host.dhow(&["tag", "busybox", &image]).ok();
    for words in [["--debug", "push", &image], ["--debug", "rmi", &image], ["--debug", "pull", &image]] {
        let output = host.dhow(&words).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        said += &output.stderr;
    }
    said += &host.dhow(&["--debug", "push", &format!("{}/other", server.address)]).run().stderr;
    server.kill();
    let logged = std::fs::read_to_string(log).unwrap();
    assert!(logged.contains("refused"), "it says much: {logged}");
    // The password, the two as they travel, and how a token begins.
    for secret in ["canary-password", "YW5uOmNhbmFyeS1wYXNzd29yZA", "eyJ"] {
        assert!(!said.contains(secret) && !logged.contains(secret), "{secret}\n{said}\n{logged}");
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let host = Host::new(Mode::Embedded);
    for (arguments, reason) in [
        ("", "--root DIR"),
        ("--root r --auth token", "need users: --htpasswd FILE"),
        ("--root r --auth other", "it is basic or token"),
        ("--root r --htpasswd h --auth token --token-life 59s", "clients count on a minute at least"),
        ("--root r --tls-cert c", "go together"),
        ("--root r --quota x=y", "--quota x=y"),
        ("--root r --gc-interval soon", "--gc-interval soon"),
        ("--root r --upstream ftp://x", "https or http"),
        ("--root r --upstream x --upstream-max much", "--upstream-max much"),
        ("--root r --upstream-max 1g", "--upstream HOST"),
        ("--root r --upstream-user x --upstream y", "go together"),
        ("--root r --htpasswd absent", "absent"),
        ("--root r --webhook nowhere", "no address of http or https"),
    ] {
        let said = host.type_in(&format!("registry serve {arguments}")).run();
        assert_eq!(said.code, 1, "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(reason), "{arguments}: {}", said.stderr);
    }
    assert!(host.type_in("registry serve --help").ok().contains("--htpasswd"));
    let unknown = host.type_in("registry nonsense").run();
    assert!(unknown.stderr.contains("registry nonsense"), "{}", unknown.stderr);
    assert!(host.type_in("registry gc --help").ok().contains("--s3-bucket"));
    host.file("registry/tmp/x", "");
    let elsewhere =
        host.type_in("registry gc --root registry --s3-bucket b --s3-endpoint http://127.0.0.1:1").run();
    assert!(elsewhere.code == 1 && elsewhere.stderr.contains("127.0.0.1:1/b"), "{}", elsewhere.stderr);
    let nothing = host.type_in("registry gc --root absent").run();
    assert!(nothing.stderr.contains("there is no registry"), "{}", nothing.stderr);
}
