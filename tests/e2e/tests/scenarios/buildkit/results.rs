//! What clients are told of results, and results that they put together.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{self, Ref, RefMap, ReturnRequest, result};
use serde_json::json;
use testkit::eventually;

use super::containers::about;
use super::graphs::{definition, order, written};
use super::{holdings, with_client};

/// The first line of what a registry says of a manifest.
fn asked_for(digest: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:5000").unwrap();
    let head = "Host: 127.0.0.1:5000\r\nAccept: */*\r\nConnection: close";
    write!(stream, "GET /v2/app/manifests/{digest} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn what_is_pushed_is_told_by_the_digest_that_the_registry_has() {
    with_client(holdings(), |host, client| {
        host.program("ip", &["link", "set", "lo", "up"]).ok();
        let mut server = host.type_in("registry serve --addr 127.0.0.1:5000 --root registry").start();
        eventually("the registry listens", || TcpStream::connect("127.0.0.1:5000").is_ok());
        let run = async move {
            let wanted = [("name", "127.0.0.1:5000/app:1"), ("push", "true")];
            let order = SolveRequest {
                definition: Some(definition(vec![(written("/f", "some text"), vec![])], 0)),
                ..order(&client, "build000000000090", &[("image", &wanted)])
            };
            let answer = client.solve(order).await.0.unwrap().exporter_response;
            let digest = &answer["containerimage.digest"];
            assert_eq!(asked_for(digest), "HTTP/1.1 200 OK", "{answer:?}");
            server.kill().and_then(|()| server.wait()).unwrap();
        };
        (host, run)
    });
}

/// Names of platforms, as a client has them for its results.
fn platforms(architectures: &[&str]) -> Vec<u8> {
    let platform = |name: &&str| json!({ "ID": format!("linux/{name}"), "Platform": { "os": "linux", "architecture": name } });
    json!({ "Platforms": architectures.iter().map(platform).collect::<Vec<_>>() }).to_string().into_bytes()
}

#[test]
fn a_client_says_for_which_platforms_its_results_are() {
    const ID: &str = "build000000000091";
    with_client(holdings(), |host, client| {
        let mut inspect = host.command();
        inspect.args(["image", "inspect", "many:1"]);
        let run = async move {
            let mut control = client.control.clone();
            let epoch = ("build-arg:SOURCE_DATE_EPOCH".to_owned(), "1445412480".to_owned());
            let order = SolveRequest {
                frontend_attrs: HashMap::from([epoch]),
                ..order(&client, ID, &[("local", &[]), ("image", &[("name", "many:1")])])
            };
            let converse = async {
                let mut gateway = client.gateway.clone();
                let mut refs = HashMap::new();
                for name in ["linux/amd64", "linux/arm64"] {
                    let graph = definition(vec![(written("/f", name), vec![])], 0);
                    let asked = frontend::SolveRequest { definition: Some(graph), ..Default::default() };
                    let solved = gateway.solve(about(ID, asked)).await.unwrap().into_inner().result.unwrap();
                    let Some(result::Result::Ref(Ref { id, .. })) = solved.result else {
                        panic!("no result")
                    };
                    refs.insert(name.to_owned(), Ref { id, def: None });
                }
                let said = [("frontend.said", "yes"), ("said", "no"), ("containerimage.config", "null")];
                let mut metadata: HashMap<_, _> =
                    said.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
                metadata.insert("refs.platforms".to_owned(), platforms(&["amd64", "arm64", "s390x"]));
                let result = Some(result::Result::Refs(RefMap { refs }));
                let result = frontend::Result { metadata, result, ..Default::default() };
                let answer = ReturnRequest { result: Some(result), error: None };
                gateway.r#return(about(ID, answer)).await.unwrap();
            };
            let (solved, ()) = tokio::join!(control.solve(order), converse);
            let answer = solved.unwrap().into_inner().exporter_response;
            assert_eq!((answer["frontend.said"].as_str(), answer.get("said")), ("yes", None));
            let mut received = client.holdings.take_received();
            received.sort();
            let files = ["amd64", "arm64"].map(|name| (format!("linux_{name}/f"), format!("linux/{name}")));
            let files = files.map(|(path, text)| (path, text.into_bytes()));
            assert_eq!(received, files, "and one that has nothing");
            let image = tokio::process::Command::from(inspect).output().await.unwrap().stdout;
            let image: serde_json::Value = serde_json::from_slice(&image).unwrap();
            assert_eq!(image[0]["Created"], "2015-10-21T07:28:00Z", "{image}");
        };
        (host, run)
    });
}
