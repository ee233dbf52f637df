use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::Config;

/// A folder in place of `/etc`, gone at the end.
struct Etc(PathBuf);

impl Etc {
    fn new(name: &str, files: &[(&str, &str)]) -> Etc {
        let root = std::env::temp_dir().join(format!("registry-settings-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Etc(root)
    }

    fn settings(&self) -> Result<Settings, InvalidSettings> {
        Settings::read(&Config { places: Places::below(&self.0), ..Config::default() })
    }

    /// The routes of a name as texts: address, what is allowed, and marks.
    fn routes(&self, domain: &str, path: &str) -> Vec<String> {
        let routes = self.settings().unwrap().routes(domain, path).unwrap();
        routes.iter().map(|route| self.shown(route)).collect()
    }

    fn shown(&self, route: &Route) -> String {
        let mut text = format!("{} {}", route.root, route.path);
        for (is, mark) in [
            (route.can.pull, " pull"),
            (route.can.resolve, " resolve"),
            (route.can.push, " push"),
            (route.tls.unverified, " unverified"),
            (route.plain == Plain::Allowed, " plain"),
            (route.is_registry, " registry"),
        ] {
            text.push_str(if is { mark } else { "" });
        }
        if let Some(namespace) = &route.namespace {
            text.push_str(&format!(" ns={namespace}"));
        }
        for file in &route.tls.authorities {
            text.push_str(&format!(" ca={}", file.strip_prefix(&self.0).unwrap_or(file).display()));
        }
        text
    }

    /// The error of reading and asking for `reg.lan:5000/app`, without the folder's name.
    fn error(&self) -> String {
        let routes = |settings: Settings| settings.routes("reg.lan:5000", "app");
        let error = match self.settings() {
            Err(error) => error,
            Ok(settings) => match routes(settings) {
                Err(Error::Settings(error)) => error,
                Err(error) => return self.without_root(&error.to_string()),
                Ok(_) => panic!("it is read"),
            },
        };
        self.without_root(&error.to_string())
    }

    fn without_root(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_files_a_registry_is_where_its_name_says() {
    let etc = Etc::new("none", &[]);
    assert_eq!(
        etc.routes("docker.io", "library/nginx"),
        ["https://registry-1.docker.io/v2/ library/nginx pull resolve push registry"]
    );
    assert_eq!(etc.routes("ghcr.io", "a/b"), ["https://ghcr.io/v2/ a/b pull resolve push registry"]);
    assert_eq!(
        etc.routes("localhost:5000", "app"),
        ["https://localhost:5000/v2/ app pull resolve push unverified plain registry"]
    );
    assert!(Settings::read(&Config::default()).unwrap().routes("ghcr.io", "a").is_ok());
}

#[test]
fn dockers_mirrors_are_the_hubs() {
    let etc = Etc::new(
        "docker",
        &[(
            "docker/daemon.json",
            r#"{"registry-mirrors": ["https://m.lan/hub"], "insecure-registries": ["reg.lan:5000", "10.0.0.0/8"], "debug": true}"#,
        )],
    );
    assert_eq!(
        etc.routes("docker.io", "library/nginx"),
        [
            "https://m.lan/hub/v2/ library/nginx pull resolve",
            "https://registry-1.docker.io/v2/ library/nginx pull resolve push registry"
        ]
    );
    assert_eq!(
        etc.routes("reg.lan:5000", "app"),
        ["https://reg.lan:5000/v2/ app pull resolve push unverified plain registry"]
    );
    assert_eq!(etc.routes("quay.io", "a").len(), 1);
    let settings = etc.settings().unwrap();
    assert_eq!(settings.insecure(), ["reg.lan:5000", "10.0.0.0/8"]);
    assert_eq!(settings.mirrors()[0].as_str(), "https://m.lan/hub");
}

#[test]
fn hosts_in_the_order_of_the_file() {
    let toml = r#"
server = "https://upstream.lan"
skip_verify = true

[host."https://z.lan:8443/cache"]
  capabilities = ["pull", "resolve"]
  ca = "z.crt"
  [host."https://z.lan:8443/cache".header]
    x-custom = ["1", "2"]
[host."http://a.lan"]
  capabilities = ["pull"]
  dial_timeout = "1m1.5s"
[host."https://whole.lan/api/registry"]
  override_path = true
  ca = ["/abs.crt", "rel.crt"]
  client = [["c.pem", "k.pem"]]
"#;
    let etc = Etc::new("hosts", &[("containerd/certs.d/reg.lan:5000/hosts.toml", toml)]);
    let folder = "containerd/certs.d/reg.lan:5000";
    assert_eq!(
        etc.routes("reg.lan:5000", "team/app"),
        [
            format!("https://z.lan:8443/cache/v2/ team/app pull resolve ns=reg.lan:5000 ca={folder}/z.crt"),
            "http://a.lan/v2/ team/app pull unverified ns=reg.lan:5000".to_owned(),
            format!(
                "https://whole.lan/api/registry/ team/app pull resolve push ns=reg.lan:5000 ca=/abs.crt ca={folder}/rel.crt"
            ),
            "https://upstream.lan/v2/ team/app pull resolve push unverified registry".to_owned(),
        ]
    );
    let routes = etc.settings().unwrap().routes("reg.lan:5000", "team/app").unwrap();
    assert_eq!(routes[0].headers.get_all("x-custom").iter().count(), 2);
    assert!(!format!("{:?}", routes[0].headers).contains("\"1\""), "headers may be secrets");
    assert_eq!(routes[1].tls.dial, Some(Duration::from_millis(61_500)));
    let pair = ["c.pem", "k.pem"].map(|name| etc.0.join(folder).join(name));
    assert_eq!(routes[2].tls.identity, Some(pair.into()));
    assert_eq!(etc.routes("other.lan", "app").len(), 1);
}

#[test]
fn whose_hosts_toml_counts() {
    let host = |address: &str| format!("[host.\"https://{address}\"]\ncapabilities = [\"pull\"]\n");
    let (own, other, default) = (host("own.lan"), host("other.lan"), host("default.lan"));
    let etc = Etc::new(
        "whose",
        &[
            ("dhow/certs.d/reg.lan:5000/hosts.toml", own.as_str()),
            ("containerd/certs.d/reg.lan:5000/hosts.toml", &other),
            ("containerd/certs.d/docker.io/hosts.toml", &other),
            ("containerd/certs.d/plain.lan_444_/hosts.toml", &other),
            ("dhow/certs.d/_default/hosts.toml", &default),
            ("docker/daemon.json", r#"{"registry-mirrors": ["https://m.lan"]}"#),
        ],
    );
    assert!(etc.routes("reg.lan:5000", "app")[0].starts_with("https://own.lan/"));
    assert!(etc.routes("docker.io", "app")[0].starts_with("https://other.lan/"));
    assert!(etc.routes("plain.lan:444", "app")[0].starts_with("https://other.lan/"));
    assert!(etc.routes("ghcr.io", "app")[0].starts_with("https://default.lan/"));
    assert!(etc.routes("ghcr.io", "app")[1].starts_with("https://ghcr.io/"));
    assert!(etc.routes("docker.io", "app")[1].starts_with("https://registry-1.docker.io/"));
}

#[test]
fn podmans_registries() {
    let toml = r#"
unqualified-search-registries = ["docker.io", "quay.io"]
short-name-mode = "enforcing"

[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "m.lan/hub"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "plain.lan:5000"
insecure = true
pull-from-mirror = "tag-only"

[[registry]]
prefix = "docker.io/team"
location = "reg.lan:5000/theirs"
insecure = true
mirror-by-digest-only = true
mirror = [{ location = "d.lan" }]

[[registry]]
prefix = "*.corp.example"
location = "reg.lan/corp"

[[registry]]
prefix = "evil.example"
location = "evil.example"
blocked = true
"#;
    let drop_in = "[[registry]]\nprefix = \"*.corp.example\"\nlocation = \"later.lan/corp\"\n";
    let etc = Etc::new(
        "podman",
        &[
            ("containers/registries.conf", toml),
            ("containers/registries.conf.d/90-later.conf", drop_in),
            ("containers/registries.conf.d/notes.txt", "not read"),
        ],
    );
    assert_eq!(
        etc.routes("docker.io", "library/nginx"),
        [
            "https://m.lan/v2/ hub/library/nginx pull",
            "https://plain.lan:5000/v2/ library/nginx resolve unverified plain",
            "https://registry-1.docker.io/v2/ library/nginx pull resolve push registry",
        ]
    );
    assert_eq!(
        etc.routes("docker.io", "team/app"),
        [
            "https://d.lan/v2/ app pull",
            "https://reg.lan:5000/v2/ theirs/app pull resolve push unverified plain registry",
        ]
    );
    assert_eq!(
        etc.routes("docker.io", "teamster/app").last().unwrap(),
        "https://registry-1.docker.io/v2/ teamster/app pull resolve push registry"
    );
    assert_eq!(
        etc.routes("a.corp.example", "x/y"),
        ["https://later.lan/v2/ corp/x/y pull resolve push registry"]
    );
    let blocked = etc.settings().unwrap().routes("evil.example", "app").unwrap_err();
    let text = etc.without_root(&blocked.to_string());
    assert_eq!(text, "evil.example/app is blocked in containers/registries.conf");
}

#[test]
fn podmans_older_lists() {
    let toml = "[registries.search]\nregistries = ['docker.io']\n[registries.insecure]\nregistries = ['reg.lan:5000']\n[registries.block]\nregistries = ['evil.example']\n";
    let etc = Etc::new("old", &[("containers/registries.conf", toml)]);
    assert_eq!(
        etc.routes("reg.lan:5000", "app"),
        ["https://reg.lan:5000/v2/ app pull resolve push unverified plain registry"]
    );
    assert!(matches!(etc.settings().unwrap().routes("evil.example", "a"), Err(Error::Blocked { .. })));
}

#[test]
fn certificates_of_all_trees() {
    let etc = Etc::new(
        "certificates",
        &[
            ("docker/certs.d/reg.lan:5000/ca.crt", ""),
            ("docker/certs.d/reg.lan:5000/client.cert", ""),
            ("docker/certs.d/reg.lan:5000/client.key", ""),
            ("dhow/certs.d/reg.lan:5000/own.crt", ""),
            ("docker/certs.d/docker.io/hub.crt", ""),
        ],
    );
    let routes = etc.settings().unwrap().routes("reg.lan:5000", "app").unwrap();
    let names: Vec<_> =
        routes[0].tls.authorities.iter().map(|path| path.strip_prefix(&etc.0).unwrap()).collect();
    assert_eq!(
        names,
        [Path::new("dhow/certs.d/reg.lan:5000/own.crt"), Path::new("docker/certs.d/reg.lan:5000/ca.crt")]
    );
    let pair = ["client.cert", "client.key"].map(|name| etc.0.join("docker/certs.d/reg.lan:5000").join(name));
    assert_eq!(routes[0].tls.identity, Some(pair.into()));
    assert!(etc.routes("docker.io", "x")[0].ends_with("ca=docker/certs.d/docker.io/hub.crt"));
    assert!(etc.routes("reg.lan", "x")[0].ends_with("registry"));
}

/// File, line and key.
#[test]
fn errors_say_where() {
    let table = [
        ("docker/daemon.json", "{\n\"registry-mirrors\": 5}", "docker/daemon.json:2: registry-mirrors: "),
        ("docker/daemon.json", "{", "docker/daemon.json:1: "),
        (
            "docker/daemon.json",
            r#"{"registry-mirrors": ["ftp://x"]}"#,
            "docker/daemon.json: registry-mirrors: invalid mirror: unsupported scheme \"ftp\"",
        ),
        (
            "docker/daemon.json",
            r#"{"registry-mirrors": ["https://u:p@x"]}"#,
            "docker/daemon.json: registry-mirrors: invalid mirror: username/password not allowed in URI",
        ),
        (
            "containers/registries.conf",
            "\n\n[[registry]]\nlocation = 5\n",
            "containers/registries.conf:4: registry[0].location: ",
        ),
        ("containers/registries.conf", "a = [\n", "containers/registries.conf:"),
        (
            "containers/registries.conf",
            "[[registry]]\ninsecure = true\n",
            "containers/registries.conf: registry[0]: location or prefix must be set",
        ),
        (
            "containers/registries.conf",
            "[[registry]]\nlocation = 'https://x'\n",
            "containers/registries.conf: registry[0]: \"https://x\": a host and a path are wanted",
        ),
        (
            "containers/registries.conf",
            "[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation = 'y'\npull-from-mirror = 'often'\n",
            "containers/registries.conf:5: registry[0].mirror[0].pull-from-mirror: unknown variant `often`",
        ),
        (
            "dhow/certs.d/reg.lan:5000/hosts.toml",
            "server = 1",
            "dhow/certs.d/reg.lan:5000/hosts.toml:1: server: ",
        ),
        (
            "dhow/certs.d/reg.lan:5000/hosts.toml",
            "[host.\"https://m\"]\ncapabilities = [\"fly\"]",
            "dhow/certs.d/reg.lan:5000/hosts.toml:2: host.https://m.capabilities[0]: unknown variant `fly`",
        ),
        (
            "dhow/certs.d/reg.lan:5000/hosts.toml",
            "[host.\"ftp://m\"]\n",
            "dhow/certs.d/reg.lan:5000/hosts.toml: host.\"ftp://m\": \"ftp://m\" is no address of a web server",
        ),
        (
            "dhow/certs.d/reg.lan:5000/hosts.toml",
            "[host.\"https://u:secret@m\"]\n",
            "dhow/certs.d/reg.lan:5000/hosts.toml: host.\"m\": an address must not have a password",
        ),
        (
            "dhow/certs.d/reg.lan:5000/hosts.toml",
            "dial_timeout = 'soon'",
            "dhow/certs.d/reg.lan:5000/hosts.toml: server: dial_timeout: invalid duration \"soon\"",
        ),
        (
            "docker/certs.d/reg.lan:5000/client.cert",
            "",
            "missing key docker/certs.d/reg.lan:5000/client.key for client certificate docker/certs.d/reg.lan:5000/client.cert. CA certificates must use the extension .crt",
        ),
        (
            "docker/certs.d/reg.lan:5000/client.key",
            "",
            "missing client certificate docker/certs.d/reg.lan:5000/client.cert for key docker/certs.d/reg.lan:5000/client.key",
        ),
    ];
    for (number, (path, text, expected)) in table.iter().enumerate() {
        let etc = Etc::new(&format!("errors-{number}"), &[(path, text)]);
        let error = etc.error();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
    let etc = Etc::new("large", &[("docker/daemon.json", &" ".repeat(2 << 20))]);
    assert_eq!(etc.error(), "docker/daemon.json: larger than 1048576 bytes");
}

#[test]
fn which_hosts_may_be_insecure() {
    let insecure = ["10.0.0.0/8", "reg.lan", "reg.corp:5000"].map(str::to_owned).to_vec();
    let settings = Settings::read(&Config { insecure, ..Config::default() }).unwrap();
    for (host, port) in [
        ("localhost", Some(5000)),
        ("127.9.9.9", None),
        ("[::1]", Some(5000)),
        ("10.1.2.3", Some(80)),
        ("reg.lan", Some(1)),
        ("reg.corp", Some(5000)),
    ] {
        assert!(settings.is_insecure(host, port), "{host}");
    }
    for (host, port) in
        [("docker.io", None), ("11.1.2.3", None), ("reg.corp", None), ("localhost.evil.example", None)]
    {
        assert!(!settings.is_insecure(host, port), "{host}");
    }
}
