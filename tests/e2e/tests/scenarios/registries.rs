//! Registries as a person meets them: passwords, files of the administrator's, and registries that mean harm.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::{Certificate, DockerRegistry, Host, Mode, eventually};

#[path = "../../../../crates/core/registry/tests/stub/mod.rs"]
mod stub;

use stub::{Answer, Request, Stub};

in_every_mode! {
    names_and_passwords
    mirrors_and_other_places
    what_is_looked_for
}

/// `ann:secret`
const BASIC: &str = "Basic YW5uOnNlY3JldA==";

/// A registry that wants to know who asks.
fn locked() -> Stub {
    Stub::new(|request| match request.header("authorization") {
        Some(BASIC) if request.path == "/v2/" => Answer::ok("{}"),
        Some(BASIC) => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        _ => Answer::error(401, "UNAUTHORIZED", "authentication required")
            .with("WWW-Authenticate", "Basic realm=\"locked\""),
    })
}

fn config(host: &Host) -> Value {
    serde_json::from_slice(&fs::read(host.home().join(".docker/config.json")).unwrap()).unwrap()
}

fn names_and_passwords(host: &Host) {
    let stub = locked();
    let server = stub.host.as_str();
    let log_in = |arguments: &[&str], input: &str| {
        host.dhow(&[&["login"], arguments, &[server]].concat()).input(input).run()
    };
    let wrong = log_in(&["-u", "ann", "--password-stdin"], "guess\n");
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("unauthorized: authentication required"), "{}", wrong.stderr);
    assert!(!host.home().join(".docker").exists(), "what is wrong is not kept");
    let right = log_in(&["-u", "ann", "--password-stdin"], "secret\r\n");
    assert_eq!((right.code, right.stdout.as_str()), (0, "Login Succeeded\n"), "{}", right.stderr);
    assert!(
        right.stderr.contains("\nWARNING! Your credentials are stored unencrypted in '"),
        "{}",
        right.stderr
    );
    assert_eq!(config(host), json!({"auths": {server: {"auth": "YW5uOnNlY3JldA=="}}}));
    let file = host.home().join(".docker/config.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // They are used, and used again.
    let again = log_in(&[], "");
    assert_eq!((again.code, again.stdout.as_str()), (0, "Login Succeeded\n"), "{}", again.stderr);
    assert!(again.stderr.starts_with("Authenticating with existing credentials... [Username: ann]\n"));
    assert!(!again.stderr.contains("stored unencrypted"), "it was said before");
    let missing = host.dhow(&["pull", &format!("{server}/app:1")]).fails(1);
    assert!(missing.contains("manifest unknown"), "{missing}");
    let warned = log_in(&["-u", "ann", "-p", "secret"], "");
    assert!(
        warned
            .stderr
            .starts_with("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    );

    // Other people's keys stay, and so does a link.
    fs::rename(&file, host.home().join("real.json")).unwrap();
    fs::write(
        host.home().join("real.json"),
        format!("{{\"x\": [1], \"auths\": {{\"https://{server}\": {{\"auth\": \"YW5uOnNlY3JldA==\"}}}}}}"),
    )
    .unwrap();
    symlink(host.home().join("real.json"), &file).unwrap();
    let found = host.dhow(&["pull", &format!("{server}/app:1")]).fails(1);
    assert!(found.contains("manifest unknown"), "an address counts as its host: {found}");
    assert_eq!(log_in(&["-u", "ann", "--password-stdin"], "secret").code, 0);
    assert_eq!(config(host)["x"], json!([1]));
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(host.dhow(&["logout", server]).ok(), format!("Removing login credentials for {server}"));
    assert_eq!(config(host), json!({"x": [1], "auths": {}}), "under all its names");
    assert_eq!(host.dhow(&["logout", server]).ok(), format!("Removing login credentials for {server}"));
    let denied = host.dhow(&["pull", &format!("{server}/app:1")]).fails(1);
    assert!(denied.contains("pull access denied"), "{denied}");

    for (arguments, input, expected) in [
        (&["--password-stdin"][..], "x", "the --password-stdin option requires --username to be set"),
        (&["-u", "ann", "--password-stdin"], "", "password is empty"),
        (&["-u", "ann", "-p", ""], "", "password is empty"),
        (
            &["-u", "a", "-p", "b", "--password-stdin"],
            "x",
            "cannot specify both --password and --password-stdin",
        ),
        (&["-u", "ann"], "", "Error: Cannot perform an interactive login from a non TTY device"),
    ] {
        let refused = log_in(arguments, input);
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
    }
    // What can't be read is not replaced.
    fs::write(host.home().join("real.json"), "{").unwrap();
    let refused = log_in(&["-u", "ann", "--password-stdin"], "secret");
    assert!(
        refused.code == 1 && refused.stderr.contains("Error parsing config file ("),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read(host.home().join("real.json")).unwrap(), b"{");
}

/// Whatever is logged of what goes on: neither the password, nor what it is sent as, nor the token that it is exchanged for.
#[test]
fn secrets_stay_out_of_logs() {
    let host = Host::new(Mode::Embedded);
    let tokens = Stub::new(|request| match request.header("authorization") {
        Some(BASIC) => Answer::ok(r#"{"token":"canary-token","refresh_token":"canary-refresh"}"#),
        _ => Answer::error(401, "UNAUTHORIZED", "who are you"),
    });
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let stub = Stub::new(move |request| match request.header("authorization") {
        Some("Bearer canary-token") if request.path == "/v2/" => Answer::ok("{}"),
        Some("Bearer canary-token") => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        _ => Answer::error(401, "UNAUTHORIZED", "who are you").with("WWW-Authenticate", &realm),
    });
    host.dhow(&["login", "-u", "ann", "--password-stdin", &stub.host]).input("secret").ok();
    let socket = host.home().join("logs.sock");
    let log = host.home().join("daemon.log");
    let mut daemon = host.command();
    daemon.args(["-D", "daemon", "-H"]).arg(format!("unix://{}", socket.display()));
    let mut daemon = daemon.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    eventually("the daemon listens", || UnixStream::connect(&socket).is_ok());
    let mut said = String::new();
    for arguments in [
        &["-D", "pull"][..],
        &["-D", "-H", &format!("unix://{}", socket.display()), "pull"],
        &["-D", "-l", "debug", "push"],
    ] {
        host.dhow(&["tag", "nothing", "x"]).run();
        let ran = host.dhow(&[arguments, &[&format!("{}/app:1", stub.host)]].concat()).run();
        assert_ne!(ran.code, 0);
        said.push_str(&format!("{}{}", ran.stdout, ran.stderr));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    said.push_str(&fs::read_to_string(&log).unwrap());
    let asked = |stub: &Stub| {
        stub.requests().iter().filter(|request| request.header("authorization").is_some()).count()
    };
    assert!(asked(&tokens) > 0 && asked(&stub) > 0, "they were used");
    for secret in ["canary-token", "canary-refresh", "YW5uOnNlY3JldA", "ann:secret", "\"secret\""] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

/// Keeps each document in a file, as a helper for a keyring would.
const HELPER: &str = r#"#!/bin/sh
input=$(cat)
file() { printf %s "$KEYRING/$(printf %s "$1" | tr /: __)"; }
case $1 in
get) cat "$(file "$input")" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
store) server=${input#*ServerURL\":\"}; printf %s "$input" > "$(file "${server%%\"*}")" ;;
erase) rm -f "$(file "$input")" ;;
list) printf '{'; first=
    for kept in "$KEYRING"/*; do
        [ -e "$kept" ] || continue
        server=$(sed 's/.*ServerURL":"\([^"]*\)".*/\1/' "$kept")
        printf '%s"%s":"x"' "$first" "$server"; first=,
    done; printf '}' ;;
esac
"#;

#[test]
fn passwords_in_the_care_of_helpers() {
    let host = &Host::new(Mode::Embedded);
    let stub = locked();
    let server = stub.host.as_str();
    for (name, text) in [("toy", HELPER), ("bad", "#!/bin/sh\necho no luck with $1\nexit 3\n")] {
        let file = host.file(&format!("bin/docker-credential-{name}"), text);
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(host.home().join("keyring")).unwrap();
    let path = format!("{}:/usr/bin:/bin", host.home().join("bin").display());
    let keyring = host.home().join("keyring").display().to_string();
    let dhow = |arguments: &[&str], input: &str| {
        host.dhow(arguments).env("PATH", &path).env("KEYRING", &keyring).input(input).run()
    };
    let settings = |value: Value| drop(host.file(".docker/config.json", value.to_string()));

    settings(json!({"credsStore": "toy"}));
    let kept = dhow(&["login", "-u", "ann", "--password-stdin", server], "secret");
    assert_eq!((kept.code, kept.stderr.as_str()), (0, ""), "{}", kept.stdout);
    assert_eq!(
        config(host),
        json!({"credsStore": "toy", "auths": {server: {}}}),
        "no password is in the file"
    );
    let used = dhow(&["pull", &format!("{server}/app:1")], "");
    assert!(used.stderr.contains("manifest unknown"), "{}", used.stderr);
    // A build takes all that there are.
    host.file("ctx/Dockerfile", format!("FROM {server}/base:1\n"));
    let built = dhow(&["build", "ctx"], "");
    assert!(built.stderr.contains("manifest unknown"), "{}", built.stderr);
    assert_eq!(dhow(&["logout", server], "").code, 0);
    assert_eq!(fs::read_dir(&keyring).unwrap().count(), 0);
    let nobody = dhow(&["pull", &format!("{server}/app:1")], "");
    assert!(nobody.stderr.contains("pull access denied"), "{}", nobody.stderr);

    // A token to be exchanged has a name of its own.
    settings(json!({"credHelpers": {server: "toy"}, "credsStore": "bad"}));
    let token = json!({"ServerURL": server, "Username": "<token>", "Secret": "again"});
    fs::write(Path::new(&keyring).join(server.replace(':', "_")), token.to_string()).unwrap();
    dhow(&["pull", &format!("{server}/app:1")], "");

    settings(json!({"credsStore": "bad"}));
    let refused = dhow(&["login", "-u", "ann", "--password-stdin", server], "secret");
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("Error saving credentials: error storing credentials - err: exit status 3, out: `no luck with store`"),
        "{}",
        refused.stderr
    );
    let without = dhow(&["pull", &format!("{server}/app:1")], "");
    assert!(
        without.stderr.contains("WARNING: error getting credentials - err: exit status 3"),
        "{}",
        without.stderr
    );
    assert!(without.stderr.contains("pull access denied"), "{}", without.stderr);
    let left = dhow(&["logout", server], "");
    assert_eq!(left.code, 0);
    assert!(left.stderr.contains("WARNING: could not erase credentials:"), "{}", left.stderr);
    for (name, expected) in [
        ("missing", "exec: \"docker-credential-missing\": executable file not found in $PATH"),
        ("../bin/docker-credential-toy", "is no name of a program"),
    ] {
        settings(json!({"credsStore": name}));
        let refused = dhow(&["login", "-u", "ann", "--password-stdin", server], "secret");
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{}", refused.stderr);
    }
    // Those of the process come first.
    let auths = json!({"auths": {server: {"auth": "YW5uOnNlY3JldA=="}}}).to_string();
    let own = host.dhow(&["pull", &format!("{server}/app:1")]).env("DOCKER_AUTH_CONFIG", &auths).run();
    assert!(own.stderr.contains("manifest unknown"), "{}", own.stderr);
}

fn digest(bytes: &[u8]) -> String {
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{sum}")
}

/// An image of one layer, each document with the path that it has in a registry.
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Value,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Each has another layer than all before.
fn image() -> Image {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let content = NUMBER.fetch_add(1, Ordering::SeqCst).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", content.as_bytes()).unwrap();
    let layer = tar.into_inner().unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": digest(&layer), "size": layer.len()}],
    });
    Image { layer, config, manifest }
}

impl Image {
    fn manifest(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// What an honest registry answers.
    fn answer(&self, request: &Request) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        let head = |answer: Answer| match request.method.as_str() {
            "HEAD" => answer.cut(0),
            _ => answer,
        };
        match path {
            _ if path.ends_with(&digest(&self.layer)) => Answer::ok(&self.layer),
            _ if path.ends_with(&digest(&self.config)) => Answer::ok(&self.config),
            _ if path.contains("/manifests/") => {
                head(Answer::ok(self.manifest()).with("Content-Type", MANIFEST))
            }
            _ => Answer::ok("{}"),
        }
    }
}

fn mirrors_and_other_places(host: &Host) {
    let own = image();
    let honest = Stub::new(move |request| own.answer(request));
    let gone = Stub::new(|_| Answer::error(404, "NAME_UNKNOWN", "not here"));
    let hosts = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        honest.host, gone.host
    );
    host.file("etc/dhow/certs.d/reg.test/hosts.toml", hosts);
    host.type_in("pull reg.test/app:1").ok();
    assert!(!gone.requests().is_empty() && !honest.requests().is_empty());
    let repository = host.dhow(&["image", "inspect", "-f", "{{.RepoTags}}", "reg.test/app:1"]).ok();
    assert_eq!(repository, "[reg.test/app:1]", "the name is the one that was typed");

    host.file(
        "etc/docker/daemon.json",
        json!({"registry-mirrors": [format!("http://{}", honest.host)]}).to_string(),
    );
    host.type_in("pull hello").ok();
    assert!(host.type_in("info").ok().contains(&format!("Registry Mirrors:\n  http://{}/\n", honest.host)));
    assert!(!honest.requests_for("/v2/library/hello/").is_empty());

    host.file("etc/containers/registries.conf", format!(
        "[[registry]]\nprefix = 'corp.test'\nlocation = '{}/corp'\ninsecure = true\n[[registry]]\nlocation = 'evil.test'\nblocked = true\n",
        honest.host
    ));
    host.type_in("pull corp.test/team/app:1").ok();
    assert!(!honest.requests_for("/v2/corp/team/app/manifests/1").is_empty());
    let blocked = host.type_in("pull evil.test/app").fails(1);
    assert!(blocked.contains("evil.test/app is blocked in "), "{blocked}");

    host.file("etc/dhow/certs.d/bad.test/hosts.toml", "\nserver = 7\n");
    let wrong = host.type_in("pull bad.test/app").fails(1);
    assert!(wrong.contains("certs.d/bad.test/hosts.toml:2: server: invalid type"), "{wrong}");
}

fn what_is_looked_for(host: &Host) {
    let stub = Stub::new(|request| {
        match request.path.as_str() {
        "/v1/search?q=web&n=25" => Answer::ok(
            json!({"results": [
                {"name": "web", "description": "a server for the web that has a rather long description", "star_count": 42, "is_official": true},
                {"name": "my/web", "description": "mine", "star_count": 2},
            ]})
            .to_string(),
        ),
        path if path.starts_with("/v1/") => Answer::new(404, ""),
        "/v2/_catalog?n=1000" => Answer::ok(r#"{"repositories":["team/app","team/other"]}"#),
        _ => Answer::ok("{}"),
    }
    });
    let search = |arguments: &[&str], words: &str| {
        let term = format!("{}/{words}", stub.host);
        host.dhow(&[&["search"], arguments, &[&term]].concat()).run()
    };
    let all = search(&[], "web").stdout;
    let lines: Vec<Vec<&str>> = all.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
    assert!(lines[1].ends_with(&["42", "[OK]"]) && all.contains("rather long …"), "{all}");
    assert!(search(&["--no-trunc"], "web").stdout.contains("rather long description"));
    let names = |arguments: &[&str]| search(&[arguments, &["--format", "{{.Name}}"]].concat(), "web").stdout;
    let json = search(&["--format", "json"], "web").stdout;
    assert!(json.contains(r#""IsOfficial":"true""#) && json.contains(r#""IsOfficial":"false""#), "{json}");
    assert_eq!(names(&["-f", "is-official=true"]), "web\n");
    assert_eq!(names(&["-f", "is-official=false"]), "my/web\n");
    assert_eq!(names(&["-f", "stars=3"]), "web\n");
    assert_eq!(names(&["-f", "stars=43"]), "");
    let listed = search(&["--format", "{{.Name}}"], "app").stdout;
    assert_eq!(listed, format!("{}/team/app\n", stub.host));
    for (arguments, expected) in [
        (&["--limit", "101"][..], "limit 101 is outside the range of [1, 100]"),
        (&["--limit", "-1"], "limit -1 is outside the range of [1, 100]"),
        (&["-f", "color=red"], "invalid filter 'color'"),
        (&["-f", "stars=many"], "invalid filter 'stars=[many]'"),
        (&["-f", "is-official=maybe"], "invalid filter 'is-official=[maybe]'"),
    ] {
        let refused = search(arguments, "web");
        assert!(refused.code == 1 && refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
    }
}

/// Who is spoken to by way of a proxy, and what a proxy's password is shown to: nobody.
#[test]
fn proxies() {
    let host = &Host::new(Mode::Embedded);
    let own = image();
    let proxy = Stub::new(move |request| own.answer(request));
    host.file("etc/dhow/certs.d/up.test/hosts.toml", "server = \"http://up.test\"\n");
    let address = format!("http://bob:s3cret@{}", proxy.host);
    for (variable, tag) in [("HTTP_PROXY", "1"), ("http_proxy", "2")] {
        host.dhow(&["pull", &format!("up.test/app:{tag}")]).env(variable, &address).ok();
        let asked = proxy.requests_for(&format!("/manifests/{tag}"));
        assert!(asked[0].path.starts_with("http://up.test/v2/app/"), "{}", asked[0].path);
        assert_eq!(asked[0].header("proxy-authorization"), Some("Basic Ym9iOnMzY3JldA=="));
    }
    let past =
        host.dhow(&["pull", "up.test/app:3"]).env("HTTP_PROXY", &address).env("NO_PROXY", "up.test").run();
    assert!(past.code == 1 && proxy.requests_for("/manifests/3").is_empty(), "{}", past.stderr);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broken = format!("http://bob:s3cret@{closed}");
    let failed = host.dhow(&["pull", "up.test/app:4"]).env("http_proxy", &broken).fails(1);
    assert!(failed.contains("up.test") && !failed.contains("s3cret"), "{failed}");

    // Containers and builds have their own.
    host.busybox();
    host.file(
        ".docker/config.json",
        json!({"proxies": {"default": {"httpProxy": "http://p.test:1", "noProxy": "a.test"}}}).to_string(),
    );
    let told = host.dhow(&["run", "--rm", "-e", "no_proxy=mine", "busybox", "env"]).ok();
    let lines: Vec<&str> = told.lines().filter(|line| line.to_lowercase().contains("_proxy")).collect();
    assert_eq!(lines.len(), 4, "{told}");
    for line in
        ["HTTP_PROXY=http://p.test:1", "http_proxy=http://p.test:1", "NO_PROXY=a.test", "no_proxy=mine"]
    {
        assert!(lines.contains(&line), "{told}");
    }
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo $HTTP_PROXY $no_proxy > /told\n");
    host.dhow(&["build", "-q", "-t", "told", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm told cat /told").ok(), "http://p.test:1 a.test");
    let history = host.type_in("history --no-trunc told").ok();
    assert!(!history.contains("p.test"), "{history}");
}

/// What a person reads whose registry speaks no TLS, or has a certificate that nobody knows; and what the advice is worth.
#[test]
fn what_to_do_about_it() {
    let host = &Host::new(Mode::Embedded);
    host.program("ip", &["address", "add", "10.99.0.1/32", "dev", "lo"]).ok();
    let own = image();
    let plain = Stub::on(TcpListener::bind("10.99.0.1:0").unwrap(), move |request| own.answer(request));
    let pull = |server: &str| host.dhow(&["pull", "-q", &format!("{server}/app:1")]).run();
    let refused = pull(&plain.host).stderr;
    assert!(refused.contains("http: server gave HTTP response to HTTPS client"), "{refused}");
    let advice = format!("write server = \"http://{0}\" into /etc/dhow/certs.d/{0}/hosts.toml", plain.host);
    assert!(refused.contains(&advice), "{refused}");
    host.file(
        &format!("etc/dhow/certs.d/{}/hosts.toml", plain.host),
        format!("server = \"http://{}\"\n", plain.host),
    );
    assert_eq!(pull(&plain.host).stdout, format!("{}/app:1\n", plain.host));

    let certificates =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/core/registry/tests/certificates");
    let certificate = |name: &str| certificates.join(name);
    let (key, shown) = (certificate("address.key"), certificate("address.crt"));
    let known = Certificate { certificate: &shown, key: &key };
    let _registry = DockerRegistry::at(host, "10.99.0.1:5443", Some(&known));
    let refused = pull("10.99.0.1:5443").stderr;
    assert!(
        refused.contains("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{refused}"
    );
    assert!(refused.contains("into /etc/dhow/certs.d/10.99.0.1:5443/ca.crt"), "{refused}");
    host.file("etc/docker/certs.d/10.99.0.1:5443/ca.crt", fs::read(certificate("address.crt")).unwrap());
    let found = pull("10.99.0.1:5443").stderr;
    assert!(found.contains("manifest unknown"), "{found}");
}

type Behaviour = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// What a hostile registry does, and the words that it ends with.
fn hostilities(elsewhere: &str) -> Vec<(&'static str, Behaviour, &'static str)> {
    /// The honest answers, but for what the closure has one of its own for.
    fn but(change: impl Fn(&Image, &Request) -> Option<Answer> + Send + Sync + 'static) -> Behaviour {
        let own = image();
        Box::new(move |request| change(&own, request).unwrap_or_else(|| own.answer(request)))
    }
    /// An image with another manifest.
    fn described(change: impl Fn(&mut Value)) -> Behaviour {
        let mut own = image();
        change(&mut own.manifest);
        Box::new(move |request| own.answer(request))
    }
    fn document(media_type: &'static str, bytes: impl AsRef<[u8]>) -> Behaviour {
        let bytes = bytes.as_ref().to_vec();
        Box::new(move |request| match request.path.contains("/manifests/") {
            true => Answer::ok(&bytes).with("Content-Type", media_type),
            false => Answer::ok("{}"),
        })
    }
    let is = |request: &Request, kind: &str| request.method == "GET" && request.path.contains(kind);
    let is_layer = |own: &Image, request: &Request| request.path.ends_with(&digest(&own.layer));
    let is_config = |own: &Image, request: &Request| request.path.ends_with(&digest(&own.config));
    let deep = format!(r#"{{"schemaVersion":2,"x":{}1{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
    let both = {
        let mut both = image().manifest;
        both["manifests"] = json!([]);
        both.to_string()
    };
    let away = |place: &'static str| {
        but(move |own, request| {
            (is_layer(own, request)).then(|| Answer::new(307, "").with("Location", place))
        })
    };
    let realm = |realm: String| -> Behaviour {
        Box::new(move |_| {
            Answer::new(401, "").with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\",service=\"x\""))
        })
    };
    vec![
        (
            "manifest by another digest",
            but(move |_, request| {
                is(request, "/manifests/").then(|| {
                    Answer::ok(image().manifest())
                        .with("Content-Type", MANIFEST)
                        .with("Docker-Content-Digest", &digest(b"x"))
                })
            }),
            "does not match its digest",
        ),
        (
            "manifest without an end",
            but(move |_, request| is(request, "/manifests/").then(|| Answer::ok(vec![b' '; 4096]).endless())),
            "answer is longer than 4194304 bytes",
        ),
        ("manifest of 5 MiB", document(MANIFEST, vec![b' '; 5 << 20]), "answer is longer than 4194304 bytes"),
        ("deep JSON", document(MANIFEST, deep), "invalid manifest"),
        ("no JSON", document(MANIFEST, "<html>"), "invalid manifest"),
        ("two documents in one", document(MANIFEST, both), "invalid manifest"),
        ("another type", document(INDEX, image().manifest()), "does not fit the document"),
        (
            "10,000 layers",
            described(|manifest| {
                manifest["layers"] = (0..10_000).map(|n| json!({"mediaType": LAYER, "digest": digest(format!("{n}").as_bytes()), "size": 1})).collect();
            }),
            "has 10000 layers",
        ),
        ("an index in an index in an index", nested(8), "index in an index"),
        (
            "configuration with another content",
            but(move |own, request| {
                is_config(own, request).then(|| Answer::ok(vec![b'x'; own.config.len()]))
            }),
            "does not match its digest",
        ),
        (
            "configuration that is longer",
            but(move |own, request| is_config(own, request).then(|| Answer::ok(vec![b'x'; 1 << 20]))),
            "bytes instead of",
        ),
        (
            "configuration without an end",
            but(move |own, request| is_config(own, request).then(|| Answer::ok(vec![b'x'; 4096]).endless())),
            "bytes instead of",
        ),
        (
            "configuration of 1 TiB",
            described(|manifest| manifest["config"]["size"] = json!(1u64 << 40)),
            "is larger than",
        ),
        (
            "layer with another content",
            but(move |own, request| is_layer(own, request).then(|| Answer::ok(vec![0; own.layer.len()]))),
            "does not match its digest",
        ),
        (
            "layer that is longer",
            but(move |own, request| {
                is_layer(own, request).then(|| Answer::ok(vec![0; own.layer.len() + 512]))
            }),
            "",
        ),
        (
            "layer without an end",
            but(move |own, request| is_layer(own, request).then(|| Answer::ok(vec![0; 4096]).endless())),
            "",
        ),
        (
            "layer that is shorter",
            but(move |own, request| is_layer(own, request).then(|| Answer::ok(&own.layer[..512]))),
            "closed after",
        ),
        ("layer of another size", described(|manifest| manifest["layers"][0]["size"] = json!(1)), ""),
        (
            "layer elsewhere",
            described(|manifest| {
                manifest["layers"][0]["mediaType"] =
                    json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
                manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:1/x"]);
            }),
            "addresses in manifests are not followed",
        ),
        (
            "fewer layers than the configuration has",
            described(|manifest| manifest["layers"] = json!([])),
            "layer",
        ),
        (
            "a digest that is a path",
            described(|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd")),
            "invalid manifest",
        ),
        (
            "broken range",
            but(move |own, request| {
                is_layer(own, request).then(|| match request.header("range") {
                    None => Answer::ok(&own.layer).cut(512),
                    Some(_) => Answer::new(206, &own.layer).with("Content-Range", "bytes 7-9/10"),
                })
            }),
            "does not start where it was asked to",
        ),
        (
            "redirects in a circle",
            but(move |own, request| {
                is_layer(own, request).then(|| Answer::new(302, "").with("Location", &request.path))
            }),
            "stopped after 10 redirects",
        ),
        ("redirect to a file", away("file:///etc/passwd"), "redirect without a valid location"),
        (
            "redirect to this machine",
            away("http://127.0.0.1:1/x"),
            "refused: it is an address of this machine",
        ),
        (
            "redirect to a metadata server",
            away("http://169.254.169.254/latest/meta-data"),
            "refused: it is an address of this machine",
        ),
        (
            "redirect to this machine by name",
            away("http://localhost:1/x"),
            "refused: it is an address of this machine",
        ),
        (
            "token server in clear elsewhere",
            realm(format!("http://{elsewhere}/token")),
            "is not trusted: it is not reached by https",
        ),
        (
            "token server that is this machine",
            realm("https://127.0.0.1:1/token".into()),
            "refused: it is an address of this machine",
        ),
        ("token server that is no address", realm("token".into()), "authentication scheme is not supported"),
        (
            "never satisfied",
            Box::new(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic")),
            "pull access denied",
        ),
        (
            "a refusal without an end",
            Box::new(|_| Answer::new(403, vec![b' '; 4096]).endless()),
            "answer is longer than",
        ),
        (
            "a slow refusal",
            Box::new(|_| Answer::new(403, vec![b' '; 300]).drip(Duration::from_millis(1))),
            "pull access denied",
        ),
        (
            "words for the terminal",
            Box::new(|_| Answer::error(400, "X", r"\u001b]0;title\u0007")),
            "400 Bad Request",
        ),
    ]
}

/// An index whose only member is an index, so many times.
fn nested(times: usize) -> Behaviour {
    let own = image();
    let platform: Value = serde_json::from_slice(&own.config).unwrap();
    let platform = json!({"os": "linux", "architecture": platform["architecture"]});
    let mut documents = vec![(MANIFEST, own.manifest())];
    for _ in 0..times {
        let (media_type, inner) = documents.last().unwrap();
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": media_type, "digest": digest(inner), "size": inner.len(), "platform": platform}],
        });
        documents.push((INDEX, index.to_string().into_bytes()));
    }
    Box::new(move |request| {
        let (last, rest) = documents.split_last().unwrap();
        let wanted = rest.iter().find(|(_, bytes)| request.path.ends_with(&digest(bytes)));
        match request.path.contains("/manifests/") {
            true => {
                let (media_type, bytes) = wanted.unwrap_or(last);
                Answer::ok(bytes).with("Content-Type", media_type)
            }
            false => own.answer(request),
        }
    })
}

/// Each ends with a clear error within a moment; the daemon stays small, and nothing of it is kept.
#[test]
fn hostile_registries() {
    let host = &Host::new(Mode::Daemon);
    // An address that is not this machine's own, as far as anybody can see.
    let address = "10.99.0.1";
    host.program("ip", &["address", "add", "10.99.0.1/32", "dev", "lo"]).ok();
    let daemon =
        rustix::net::sockopt::socket_peercred(UnixStream::connect(host.socket(0)).unwrap()).unwrap().pid;
    let thief = Stub::new(|_| Answer::ok(r#"{"token":"x"}"#));
    let (mut longest, mut wrong) = (Duration::ZERO, Vec::new());
    for (number, (name, behaviour, expected)) in
        hostilities(&thief.host.replace("127.0.0.1", "10.98.0.1")).into_iter().enumerate()
    {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let stub = Stub::on(listener, behaviour);
        let domain = format!("hostile{number}.test");
        host.file(
            &format!("etc/dhow/certs.d/{domain}/hosts.toml"),
            format!("server = \"http://{}\"\n", stub.host),
        );
        host.file(
            ".docker/config.json",
            json!({"auths": {&domain: {"auth": "YW5uOnNlY3JldA=="}}}).to_string(),
        );
        let start = Instant::now();
        let refused = host.dhow(&["pull", &format!("{domain}/app:1")]).run();
        longest = longest.max(start.elapsed());
        let said = &refused.stderr;
        if refused.code != 1 || !said.contains(expected) || said.contains(['\u{1b}', '\u{7}']) {
            wrong.push(format!("{name}: {}{said}", refused.stdout));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    let log = fs::read_to_string(host.home().join("daemon0.log")).unwrap();
    assert!(!log.contains("secret") && !log.contains("YW5uOnNlY3JldA"), "{log}");
    assert!(thief.requests().is_empty(), "nobody is led astray");
    assert_eq!(host.type_in("images -aq").ok(), "");
    assert_eq!(fs::read_dir(host.root().join("layers")).map(Iterator::count).unwrap_or(0), 0);
    for entry in fs::read_dir(host.root().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            digest(&fs::read(&path).unwrap()),
            format!("sha256:{name}"),
            "what is kept is what it is called"
        );
    }
    host.type_in("system prune -f").ok();
    assert_eq!(
        fs::read_dir(host.root().join("blobs/sha256")).unwrap().count(),
        0,
        "and nothing is kept for good"
    );
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.as_raw_nonzero())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 150 << 10, "{kib} KiB");
}
