//! Files of the administrator's that say where a registry is, and who is asked in its place.

use std::fs;
use std::path::PathBuf;

use registry::{Begun, Places};

use super::*;

/// A folder in place of `/etc`, gone at the end.
struct Etc(PathBuf);

impl Etc {
    fn new(name: &str, file: &str, text: &str) -> Etc {
        let root = std::env::temp_dir().join(format!("registry-mirrors-{name}-{}", std::process::id()));
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        Etc(root)
    }

    fn client(&self) -> Client {
        Client::new(Config { places: Places::below(&self.0), ..Config::default() })
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HOSTS: &str = "dhow/certs.d/reg.test/hosts.toml";

fn app(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Says no to everybody, in a way that asks for a password.
fn greedy() -> Stub {
    Stub::new(|_| {
        Answer::error(401, "UNAUTHORIZED", "who are you").with("WWW-Authenticate", "Basic realm=mirror")
    })
}

fn has_it() -> Stub {
    Stub::new(|request| match request.path.split('?').next().unwrap_or_default() {
        path if path.contains("/blobs/") => Answer::ok("content"),
        path if path.contains("/manifests/") => manifest_answer(),
        path if path.ends_with("/tags/list") => Answer::ok(r#"{"tags":["1.0","1.1"]}"#),
        _ => Answer::ok("{}"),
    })
}

fn nothing() -> Stub {
    Stub::new(|_| Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"))
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_get_no_credentials() {
    let (empty, thief, home) = (nothing(), greedy(), has_it());
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}/sub\"]\n[host.\"http://{}/sub\".header]\nx-key = \"for the mirror\"\n",
        home.host, empty.host, thief.host, thief.host
    );
    let etc = Etc::new("order", HOSTS, &text);
    let repository = etc.client().repository(&app("reg.test/team/app:1.0"), Some(ann()));
    repository.resolve().await.unwrap();
    assert_eq!(read(repository.blob(&descriptor(b"content"))).await.unwrap(), b"content");
    let asked: Vec<String> = empty.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/v2/team/app/manifests/1.0?ns=reg.test"], "who has nothing is asked once");
    let asked = thief.requests();
    assert_eq!(asked[0].path, "/sub/v2/team/app/manifests/1.0?ns=reg.test");
    assert_eq!(asked[0].header("x-key"), Some("for the mirror"));
    for request in empty.requests().iter().chain(&asked) {
        assert_eq!(request.header("authorization"), None);
    }
    assert!(home.requests().iter().all(|request| request.header("x-key").is_none()));
    assert_eq!(home.requests_for("blobs").len(), 1);
}

#[tokio::test]
async fn what_a_mirror_has_is_not_asked_of_the_registry() {
    let (mirror, home) = (has_it(), nothing());
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}/proxy/hub\"]\noverride_path = true\n",
        home.host, mirror.host
    );
    let etc = Etc::new("has", HOSTS, &text);
    let repository = etc.client().repository(&app("reg.test/app"), None);
    repository.resolve().await.unwrap();
    assert_eq!(read(repository.blob(&descriptor(b"content"))).await.unwrap(), b"content");
    assert!(home.requests().is_empty());
    assert_eq!(mirror.requests()[0].path, "/proxy/hub/app/manifests/latest?ns=reg.test");
}

#[tokio::test]
async fn when_all_fail_each_reason_is_told() {
    let (empty, gone) = (nothing(), listener().local_addr().unwrap().to_string());
    let home = nothing();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{gone}\"]\n[host.\"http://{}\"]\n",
        home.host, empty.host
    );
    let etc = Etc::new("fail", HOSTS, &text);
    let error = etc.client().repository(&app("reg.test/app:nope"), None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string().replace(&gone, "GONE").replace(&empty.host, "EMPTY");
    assert!(
        text.starts_with(
            "manifest for reg.test/app:nope not found: manifest unknown: manifest unknown; mirrors were asked before: \
             http://GONE: Get \"http://GONE/v2/app/manifests/nope\": "
        ),
        "{text}"
    );
    assert!(text.ends_with("; http://EMPTY: 404 Not Found: manifest unknown: manifest unknown"), "{text}");
}

/// What goes wrong with a blob after a mirror has begun to give it, and how that is told.
#[tokio::test]
async fn a_mirror_that_breaks_off_is_followed_by_the_next() {
    let blob: &'static [u8] = [7; 100_000].as_slice();
    type Broken = fn(&[u8]) -> Answer;
    let broken: [(&str, Broken, &str); 4] = [
        ("cut", |blob| Answer::ok(blob).cut(40_000), "http://"),
        ("short", |blob| Answer::ok(&blob[..40_000]), "connection closed after 40000 bytes"),
        ("long", |blob| Answer::ok([blob, b"x"].concat()), "has 100001 bytes instead of 100000"),
        (
            "moved",
            |blob| Answer::new(206, blob).with("Content-Range", "bytes 5-9/10"),
            "does not start where",
        ),
    ];
    for (name, answer, reason) in broken {
        let mirror = Stub::new(move |_| answer(blob));
        let home = Stub::new(move |request| match request.header("range") {
            Some("bytes=40000-") => {
                Answer::new(206, &blob[40_000..]).with("Content-Range", "bytes 40000-99999/100000")
            }
            _ => Answer::ok(blob),
        });
        let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", home.host, mirror.host);
        let etc = Etc::new(&format!("breaks-{name}"), HOSTS, &text);
        let repository = etc.client().repository(&app("reg.test/app"), None);
        assert_eq!(read(repository.blob(&descriptor(blob))).await.unwrap(), blob, "{name}");
        assert_eq!((mirror.requests().len(), home.requests().len()), (1, 1), "{name}");

        let refusing = Stub::new(|_| Answer::error(404, "BLOB_UNKNOWN", "blob unknown"));
        let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", refusing.host, mirror.host);
        let etc = Etc::new(&format!("refuses-{name}"), HOSTS, &text);
        let repository = etc.client().repository(&app("reg.test/app"), None);
        let error = read(repository.blob(&descriptor(blob))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{name}");
        let told = format!("; mirrors were asked before: http://{}: ", mirror.host);
        let (_, told) =
            error.to_string().split_once(&told).map(|(a, b)| (a.to_owned(), b.to_owned())).expect(name);
        assert!(told.contains(reason), "{name}: {told}");
    }
}

#[tokio::test]
async fn a_mirror_with_another_manifest_is_followed_by_the_next() {
    let (mirror, home) = (Stub::new(|_| Answer::ok("{}")), has_it());
    let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", home.host, mirror.host);
    let etc = Etc::new("another", HOSTS, &text);
    let repository = etc.client().repository(&app("reg.test/app"), None);
    repository.manifest(&Digest::sha256(manifest().as_bytes())).await.unwrap();
    assert_eq!((mirror.requests().len(), home.requests().len()), (1, 1));
    // What it says of a tag can't be compared with anything but itself.
    let repository = etc.client().repository(&app("reg.test/app:1"), None);
    repository.resolve().await.unwrap();
    assert_eq!((mirror.requests().len(), home.requests().len()), (2, 2));
    assert!(!repository.give_up_mirrors("it is given up already"));
}

#[tokio::test]
async fn hosts_are_asked_for_what_they_can() {
    let (digests, tags, home) = (has_it(), has_it(), nothing());
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        home.host, digests.host, tags.host
    );
    let etc = Etc::new("can", HOSTS, &text);
    let repository = etc.client().repository(&app("reg.test/app:1"), None);
    repository.resolve().await.unwrap();
    assert_eq!((digests.requests().len(), tags.requests().len()), (0, 1));
    repository.manifest(&Digest::sha256(manifest().as_bytes())).await.unwrap();
    assert_eq!((digests.requests().len(), tags.requests().len()), (1, 1));
    assert!(repository.tags().await.is_err(), "lists are the registry's own");
    assert_eq!(home.requests().len(), 1);
    let written = etc.client().writable(&app("reg.test/app:1"), None);
    assert!(!written.has_blob(&Digest::sha256(b"content")).await.unwrap());
    assert_eq!(home.requests().len(), 2, "what is written is compared with the registry alone");
}

#[tokio::test]
async fn another_location_has_another_name_and_scope() {
    let home = guarded(listener(), |_| manifest_answer());
    let text = format!(
        "[[registry]]\nprefix = 'reg.test/team'\nlocation = '{}/theirs/of-reg'\ninsecure = true\n",
        home.host
    );
    let etc = Etc::new("location", "containers/registries.conf", &text);
    etc.client().repository(&app("reg.test/team/app:1"), Some(ann())).resolve().await.unwrap();
    let token = &home.requests_for("/token")[0];
    assert!(token.path.contains("scope=repository%3Atheirs%2Fof-reg%2Fapp%3Apull"), "{}", token.path);
    assert_eq!(token.header("authorization"), Some(BASIC), "the location is the registry");
    assert_eq!(home.requests_for("manifests")[0].path, "/v2/theirs/of-reg/app/manifests/1");
}

#[tokio::test]
async fn a_blocked_registry_is_not_asked() {
    let home = has_it();
    let text = format!("[[registry]]\nlocation = '{}'\nblocked = true\n", home.host);
    let etc = Etc::new("blocked", "containers/registries.conf", &text);
    let reference = app(&format!("{}/app", home.host));
    let error = etc.client().repository(&reference, None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Settings);
    assert!(error.to_string().contains("/app is blocked in "), "{error}");
    assert!(home.requests().is_empty());
}

#[tokio::test]
async fn a_mirror_of_the_hub_stands_in_for_it() {
    let mirror = has_it();
    let text = format!(r#"{{"registry-mirrors": ["http://{}/"]}}"#, mirror.host);
    let etc = Etc::new("hub", "docker/daemon.json", &text);
    let client = etc.client();
    client.repository(&app("nginx"), Some(ann())).resolve().await.unwrap();
    let asked = &mirror.requests()[0];
    assert_eq!(asked.path, "/v2/library/nginx/manifests/latest");
    assert_eq!(asked.header("authorization"), None, "a password is for the Hub");
    assert_eq!(client.mirrors().unwrap(), [format!("http://{}/", mirror.host)]);
}

#[tokio::test]
async fn tags_that_may_have_been_meant() {
    let stub = Stub::new(|request| match request.path.split('?').next().unwrap_or_default() {
        path if path.ends_with("/tags/list") => {
            Answer::ok(r#"{"tags":["8","11","17-jdk-alpine","17-jdk","21-jre-alpine","latest"]}"#)
        }
        _ => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    });
    let error = repository(&stub, "java:17-jre-alpine", None).resolve().await.unwrap_err();
    assert_eq!(error.hint().unwrap(), "no tag 17-jre-alpine; near: 17-jdk-alpine, 21-jre-alpine");
    assert!(error.to_string().ends_with(" not found: manifest unknown: manifest unknown"), "{error}");
    let silent = nothing();
    let error = repository(&silent, "java:17", None).resolve().await.unwrap_err();
    assert_eq!(error.hint(), None);
}

#[tokio::test]
async fn a_registry_without_search_is_searched_by_its_catalog() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        path if path.starts_with("/v1/search") => Answer::new(404, "404 page not found"),
        "/v2/_catalog?n=1000" => Answer::ok(r#"{"repositories":["team/app","other"]}"#)
            .with("Link", r#"</v2/_catalog?last=other&n=1000>; rel="next""#),
        "/v2/_catalog?last=other&n=1000" => Answer::ok(r#"{"repositories":["zapp"]}"#),
        _ => Answer::new(500, ""),
    });
    let client = Client::new(Config::default());
    let names = async |limit: usize| {
        let found = client.search(&format!("{}/app", stub.host), limit, None).await.unwrap();
        found.into_iter().map(|found| found.name.replace(&stub.host, "R")).collect::<Vec<_>>()
    };
    assert_eq!(names(25).await, ["R/team/app", "R/zapp"]);
    assert_eq!(names(1).await, ["R/team/app"]);
}

#[tokio::test]
async fn a_registry_with_search_answers_itself() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v1/search?q=app&n=2" => Answer::ok(
            r#"{"num_results":3,"results":[{"name":"app","description":"a\u001b[31mb","star_count":7,"is_official":true},{"name":"b"},{"name":"c"}]}"#,
        ),
        _ => Answer::ok("{}"),
    });
    let found = Client::new(Config::default()).search(&format!("{}/app", stub.host), 2, None).await.unwrap();
    assert_eq!(found.len(), 2, "not more than was asked for");
    assert_eq!((found[0].star_count, found[0].is_official), (7, true));
    assert_eq!(found[0].description, "a [31mb");
}

#[tokio::test]
async fn a_mount_needs_leave_for_both_repositories() {
    let stub = guarded(listener(), |request| match request.path.contains("/blobs/uploads/") {
        true => Answer::new(201, ""),
        false => manifest_answer(),
    });
    let reference = app(&format!("{}/app", stub.host));
    let repository = Client::new(Config::default()).writable(&reference, Some(ann()));
    repository.resolve().await.unwrap();
    let begun = repository.begin_blob(Some((&Digest::sha256(b"x"), "base"))).await.unwrap();
    assert!(matches!(begun, Begun::Mounted));
    let tokens: Vec<String> = stub.requests_for("/token").into_iter().map(|request| request.path).collect();
    assert_eq!(tokens.len(), 2);
    assert!(tokens[0].contains("scope=repository%3Aapp%3Apull%2Cpush&client_id"), "{tokens:?}");
    assert!(
        tokens[1].contains("scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull&client_id"),
        "{tokens:?}"
    );
}

#[tokio::test]
async fn one_token_serves_all_of_a_command() {
    let stub = guarded(listener(), |_| manifest_answer());
    let client = Client::new(Config::default());
    for tag in ["1", "2", "3"] {
        let reference = app(&format!("{}/app:{tag}", stub.host));
        client.repository(&reference, Some(ann())).resolve().await.unwrap();
    }
    assert_eq!(stub.requests_for("/token").len(), 1);
    let other = Credentials { username: "bob".into(), ..ann() };
    client.repository(&app(&format!("{}/app", stub.host)), Some(other)).resolve().await.unwrap();
    assert_eq!(stub.requests_for("/token").len(), 2, "a token is its owner's");
}

#[tokio::test]
async fn login_brings_a_token_to_come_again_with() {
    let listener = listener();
    let host = listener.local_addr().unwrap().to_string();
    let stub = Stub::on(listener, move |request| {
        if request.path.starts_with("/token") {
            return Answer::ok(r#"{"token":"t0ken","refresh_token":"again"}"#);
        }
        match request.header("authorization") {
            Some("Bearer t0ken") => Answer::ok("{}"),
            _ => Answer::new(401, "")
                .with("WWW-Authenticate", &format!(r#"Bearer realm="http://{host}/token",service="s""#)),
        }
    });
    let token = Client::new(Config::default()).login(&stub.host, ann()).await.unwrap();
    assert_eq!(token.as_deref(), Some("again"));
    assert_eq!(
        stub.requests_for("/token")[0].path,
        "/token?service=s&client_id=dhow&account=ann&offline_token=true"
    );
}
