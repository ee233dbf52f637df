//! What clients are told of results, and results that they put together.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, Attestation, Attestations, InTotoSubject, Ref, RefMap, ReturnRequest, result,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use testkit::eventually;

use super::containers::about;
use super::files::file;
use super::graphs::{definition, order, written};
use super::{Client, holdings, with_client};

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

/// A result that is one file.
async fn with_file(client: &Client, id: &str, path: &str, text: &str) -> Ref {
    let graph = definition(vec![(written(path, text), vec![])], 0);
    let asked = frontend::SolveRequest { definition: Some(graph), ..Default::default() };
    let solved = client.gateway.clone().solve(about(id, asked)).await.unwrap().into_inner().result.unwrap();
    let Some(result::Result::Ref(part)) = solved.result else { panic!("no result") };
    Ref { def: None, ..part }
}

/// Names of platforms, as a client has them for its results.
pub fn platforms(architectures: &[&str]) -> Vec<u8> {
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
                    refs.insert(name.to_owned(), with_file(&client, ID, "/f", name).await);
                }
                let said = [("frontend.said", "yes"), ("said", "no"), ("containerimage.config", "{}")];
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

/// Has a result made that has one file, of which this is said.
async fn described(
    client: &Client,
    id: &str,
    exporter: (&str, &[(&str, &str)]),
    said: &[(&str, &str)],
) -> Result<HashMap<String, String>, tonic::Status> {
    let converse = async {
        let part = with_file(client, id, "/f", "text").await;
        let metadata =
            said.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        let result = Some(result::Result::Ref(part));
        let result = frontend::Result { metadata, result, ..Default::default() };
        let answer = ReturnRequest { result: Some(result), error: None };
        client.gateway.clone().r#return(about(id, answer)).await.unwrap();
    };
    let mut control = client.control.clone();
    let (solved, ()) = tokio::join!(control.solve(order(client, id, &[exporter])), converse);
    solved.map(|solved| solved.into_inner().exporter_response)
}

#[test]
fn what_a_client_says_of_its_result_is_looked_at() {
    with_client(holdings(), |host, client| {
        let mut inspect = host.command();
        inspect.args(["image", "inspect", "-f", "{{.Created}}", "dated:1"]);
        let run = async move {
            let image = ("image", &[("name", "wrong:1")][..]);
            let platforms = |id: &str, os: &str| {
                let platform = json!({ "ID": id, "Platform": { "os": os, "architecture": os } });
                json!({ "Platforms": [platform] }).to_string()
            };
            let nameless = platforms("", "linux");
            let empty = platforms("p", "");
            let cases = [
                ("containerimage.config", "null", "invalid null image config for export"),
                (
                    "containerimage.config",
                    r#"{"os":"linux"}"#,
                    "os and architecture must be specified together",
                ),
                ("refs.platforms", "null", "invalid empty platforms index for exporter"),
                ("refs.platforms", nameless.as_str(), "invalid empty platform key for exporter"),
                ("refs.platforms", empty.as_str(), "invalid platform value"),
                ("source.date.epoch", "soon", "invalid SOURCE_DATE_EPOCH from frontend: \"soon\""),
            ];
            for (number, (key, value, why)) in cases.into_iter().enumerate() {
                let id = format!("build00000000008{number}");
                let error = described(&client, &id, image, &[(key, value)]).await.unwrap_err();
                assert!(error.message().contains(why), "{error}");
            }
            // Whose files alone are wanted needs no configuration.
            let local: (&str, &[(&str, &str)]) = ("local", &[]);
            let nothing = [("containerimage.config", "null")];
            described(&client, "build000000000088", local, &nothing).await.unwrap();
            let image = ("image", &[("name", "dated:1")][..]);
            let time = [("source.date.epoch", "1445412480")];
            described(&client, "build000000000089", image, &time).await.unwrap();
            let created = tokio::process::Command::from(inspect).output().await.unwrap().stdout;
            assert_eq!(String::from_utf8_lossy(&created).trim(), "2015-10-21T07:28:00Z");
        };
        (host, run)
    });
}

#[test]
fn layers_are_no_newer_than_a_client_says_of_its_result() {
    with_client(holdings(), |host, client| {
        let [mut create, mut cp] = [host.command(), host.command()];
        create.args(["create", "--name", "dated", "dated:1", "/f"]);
        cp.args(["cp", "dated:/f", "-"]);
        let run = async move {
            let image = ("image", &[("name", "dated:1"), ("rewrite-timestamp", "true")][..]);
            let time = [("source.date.epoch", "1445412480")];
            described(&client, "build000000000079", image, &time).await.unwrap();
            let created = tokio::process::Command::from(create).output().await.unwrap();
            assert!(created.status.success(), "{created:?}");
            let archive = tokio::process::Command::from(cp).output().await.unwrap().stdout;
            let mut archive = tar::Archive::new(&archive[..]);
            let file = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(file.header().mtime().unwrap(), 1_445_412_480);
        };
        (host, run)
    });
}

/// Puts a file together with what is attested of it, which are files too, and hands it out as files.
async fn attested(
    client: &Client,
    id: &str,
    said: Vec<(&str, &str, Attestation)>,
) -> Result<(), tonic::Status> {
    let converse = async {
        let mut attestation = Vec::new();
        for (path, text, one) in said {
            attestation.push(Attestation { r#ref: Some(with_file(client, id, path, text).await), ..one });
        }
        let made = with_file(client, id, "/greeting", "hello").await;
        let key = "linux/amd64".to_owned();
        let result = frontend::Result {
            metadata: HashMap::from([("refs.platforms".to_owned(), platforms(&["amd64"]))]),
            attestations: HashMap::from([(key.clone(), Attestations { attestation })]),
            result: Some(result::Result::Refs(RefMap { refs: HashMap::from([(key, made)]) })),
        };
        let answer = ReturnRequest { result: Some(result), error: None };
        client.gateway.clone().r#return(about(id, answer)).await.map(drop)
    };
    let mut control = client.control.clone();
    let order = order(client, id, &[("local", &[("attestation-prefix", "its-")])]);
    let (solved, returned) = tokio::join!(control.solve(order), converse);
    returned.and(solved.map(drop))
}

#[test]
fn what_a_client_attests_lies_beside_its_files() {
    with_client(holdings(), |host, client| {
        let run = async move {
            let said = Attestation {
                path: "/said.json".to_owned(),
                in_toto_predicate_type: "https://example.com/said".to_owned(),
                in_toto_subjects: vec![InTotoSubject { name: "also".to_owned(), ..Default::default() }],
                ..Default::default()
            };
            let bundle = Attestation { kind: 1, path: "/".to_owned(), ..Default::default() };
            let listed = json!({
                "predicateType": "list",
                "predicate": [1],
                "subject": [{ "name": "it", "digest": { "sha1": "00" } }],
            });
            let text = listed.to_string();
            let all = vec![("/said.json", "{}", said.clone()), ("/listed.json", text.as_str(), bundle)];
            attested(&client, "build000000000092", all).await.unwrap();
            let received = client.holdings.take_received().into_iter();
            let within = |path: String| path.strip_prefix("linux_amd64/").unwrap().to_owned();
            let received: HashMap<_, _> = received.map(|(path, bytes)| (within(path), bytes)).collect();
            assert_eq!((received.len(), received["greeting"].as_slice()), (3, &b"hello"[..]), "{received:?}");
            let read = |name: &str| serde_json::from_slice::<serde_json::Value>(&received[name]).unwrap();
            let hex: String = Sha256::digest(b"hello").iter().map(|byte| format!("{byte:02x}")).collect();
            let subject = |name: &str| json!({ "name": name, "digest": { "sha256": hex } });
            let told = read("its-said.json");
            assert_eq!(told["subject"], json!([subject("greeting"), subject("also")]));
            assert_eq!(
                (&told["predicateType"], &told["predicate"]),
                (&json!("https://example.com/said"), &json!({}))
            );
            assert_eq!(read("its-listed.json")["subject"], listed["subject"]);
            let own =
                Attestation { in_toto_predicate_type: "https://slsa.dev/provenance/v1".to_owned(), ..said };
            let refused = attested(&client, "build000000000093", vec![("/said.json", "{}", own)]).await;
            assert!(refused.unwrap_err().message().contains("only the builder says how something was built"));
        };
        (host, run)
    });
}

/// One solve of a Dockerfile within a conversation.
async fn solved(client: &Client, id: &str, options: &[(&str, &str)], base: Option<Ref>) -> Ref {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let asked = frontend::SolveRequest {
        frontend: "dockerfile.v0".to_owned(),
        frontend_opt: options.collect(),
        frontend_inputs: base.into_iter().map(|base| ("base".to_owned(), base.def.unwrap())).collect(),
        ..Default::default()
    };
    let given = client.gateway.clone().solve(about(id, asked)).await.unwrap().into_inner().result.unwrap();
    let Some(result::Result::Ref(part)) = given.result else { panic!("no result") };
    part
}

#[test]
fn provenance_tells_which_requests_gave_the_inputs() {
    const ID: &str = "build000000000094";
    let mut held = holdings();
    let recipes = held.directories.get_mut("dockerfile").unwrap();
    recipes.push(file("Base", "FROM scratch AS base\nARG A\nCOPY a.txt /b\n"));
    recipes.push(file("Top", "FROM scratch\nCOPY --from=linked /b /c\n"));
    with_client(held, |host, client| {
        let run = async move {
            let converse = async {
                let base = [("filename", "Base"), ("target", "base"), ("build-arg:A", "hidden")];
                let base = solved(&client, ID, &base, None).await;
                let top = [("filename", "Top"), ("context:linked", "input:base")];
                let result = Some(result::Result::Ref(solved(&client, ID, &top, Some(base)).await));
                let result = Some(frontend::Result { result, ..Default::default() });
                let answer = ReturnRequest { result, error: None };
                client.gateway.clone().r#return(about(ID, answer)).await.unwrap();
            };
            let attributes = [("attest:provenance", "mode=min"), ("whole", "yes")];
            let order = client.order(ID, &attributes, &[("local", &[])]);
            let mut control = client.control.clone();
            let (solved, ()) =
                tokio::join!(control.solve(SolveRequest { frontend: String::new(), ..order }), converse);
            solved.unwrap();
            let received: HashMap<_, _> = client.holdings.take_received().into_iter().collect();
            let told: serde_json::Value = serde_json::from_slice(&received["provenance.json"]).unwrap();
            let request = &told["predicate"]["buildDefinition"]["externalParameters"]["request"];
            assert_eq!(request["args"]["context:linked"], "input:base");
            let input = &request["inputs"]["base"];
            assert_eq!(
                (&input["configSource"]["path"], &input["request"]["root"]),
                (&json!("Base"), &json!(null))
            );
            assert_eq!(input["request"]["args"]["target"], "base");
            assert_eq!(request["root"]["request"]["args"]["whole"], "yes");
            assert!(!told.to_string().contains("hidden"), "{told}");
            let complete = &told["predicate"]["runDetails"]["metadata"]["buildkit_completeness"];
            assert_eq!(complete["request"], false);
        };
        (host, run)
    });
}
