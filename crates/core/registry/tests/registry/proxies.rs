//! Requests that go through a proxy, and those that do not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use registry::Proxies;

use super::*;

/// Whatever the proxy is asked for, it is a registry.
fn proxy() -> Stub {
    Stub::new(|request| match request.method.as_str() {
        "CONNECT" => Answer::new(403, "plain only"),
        _ if request.path.ends_with("/v2/") => Answer::ok("{}"),
        _ => manifest_answer(),
    })
}

fn client(proxies: Proxies) -> Client {
    Client::new(Config { proxies, insecure: vec!["reg.test:5000".into()], ..Config::default() })
}

fn app() -> Reference {
    Reference::parse("reg.test:5000/app").unwrap()
}

#[tokio::test]
async fn a_registry_behind_a_proxy() {
    let stub = proxy();
    let proxies = Proxies { all: format!("http://ann:secret@{}", stub.host), ..Proxies::default() };
    client(proxies.clone()).repository(&app(), None).resolve().await.unwrap();
    let asked = stub.requests_for("manifests/latest").remove(0);
    assert_eq!(asked.path, "http://reg.test:5000/v2/app/manifests/latest");
    assert_eq!(asked.header("proxy-authorization"), Some(BASIC));
    // Its port is said as well: nobody answers to that name.
    let direct = Proxies { direct: "reg.test:5000".into(), ..proxies };
    let error = client(direct).repository(&app(), None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(stub.requests_for("manifests/latest").len(), 1);
}

#[tokio::test]
async fn the_proxies_of_a_file_come_first() {
    let stub = proxy();
    let etc = std::env::temp_dir().join(format!("dhow-registry-proxies-{}", std::process::id()));
    std::fs::create_dir_all(&etc).unwrap();
    let file = etc.join("daemon.json");
    std::fs::write(&file, format!(r#"{{"proxies": {{"http-proxy": "http://{}"}}}}"#, stub.host)).unwrap();
    let places = registry::Places { daemon_json: Some(file), ..registry::Places::default() };
    let proxies = Proxies { http: "http://127.0.0.1:1".into(), ..Proxies::default() };
    let insecure = vec!["reg.test:5000".into()];
    let client = Client::new(Config { proxies, places, insecure, ..Config::default() });
    client.repository(&app(), None).resolve().await.unwrap();
    assert_eq!(stub.requests_for("manifests/latest").len(), 1);
    std::fs::remove_dir_all(etc).unwrap();
}

#[tokio::test]
async fn an_address_that_is_none_is_told_and_passed_over() {
    let stub = proxy();
    let proxies = Proxies { all: "socks4://x".into(), ..Proxies::default() };
    let client = client(proxies);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = told.clone();
    client.tell(move |notice| log.lock().unwrap().push(notice.0));
    let here = Reference::parse(&format!("{}/app", stub.host)).unwrap();
    client.repository(&here, None).resolve().await.unwrap();
    let said = "ALL_PROXY is not an address of a proxy: what it is for goes directly";
    assert_eq!(*told.lock().unwrap(), [said.to_owned()]);
}

/// Takes one connection to `to`, whatever address is asked for (RFC 1928 without authentication).
fn socks(to: String) -> String {
    let listener = listener();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            let mut greeting = [0; 2];
            near.read_exact(&mut greeting).unwrap();
            near.read_exact(&mut vec![0; usize::from(greeting[1])]).unwrap();
            near.write_all(&[5, 0]).unwrap();
            let mut request = [0; 5];
            near.read_exact(&mut request).unwrap();
            assert_eq!(request[..4], [5, 1, 0, 3], "a name is looked up by the proxy");
            let mut name = vec![0; usize::from(request[4]) + 2];
            near.read_exact(&mut name).unwrap();
            assert!(name.starts_with(b"reg.test"));
            near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            let mut far = TcpStream::connect(&to).unwrap();
            let (mut back, mut forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
            std::thread::spawn(move || std::io::copy(&mut near, &mut far));
        }
    });
    host
}

#[tokio::test]
async fn a_proxy_that_speaks_socks() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => manifest_answer(),
    });
    let proxies = Proxies { all: format!("socks5://{}", socks(stub.host.clone())), ..Proxies::default() };
    client(proxies).repository(&app(), None).resolve().await.unwrap();
    assert_eq!(stub.requests_for("/v2/app/manifests/latest").len(), 1);
}
