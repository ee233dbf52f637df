//! Caches in images of clients' graphs.

use std::collections::HashMap;
use std::net::TcpStream;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{self, Ref, RefMap, ReturnRequest, result};
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, CacheOptionsEntry, PruneRequest, SolveRequest,
};
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{
    Definition, ExecOp, FileAction, FileActionCopy, FileOp, Input, Meta, Op, op,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use testkit::eventually;

use super::client::Client;
use super::containers::about;
use super::graphs::{definition, mount, order, source};
use super::results::platforms;
use super::whole::BUSYBOX;
use super::{holdings, with_client};

/// What is pushed, and its cache with it.
const NAME: &str = "127.0.0.1:5000/app:1";

/// Two processes, each of which writes a file into a directory that is mounted, which is the result.
fn graph() -> Definition {
    let process = |script: &str, wd: i64| {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        let meta = Meta { args, cwd: "/wd".to_owned(), ..Meta::default() };
        let mounts = vec![mount("/", 0, 0), mount("/wd", wd, 1)];
        Some(op::Op::Exec(ExecOp { meta: Some(meta), mounts, ..ExecOp::default() }))
    };
    let mut def: Vec<Vec<u8>> = Vec::new();
    let input = |def: &[Vec<u8>], number: usize, index| {
        let hex: String = Sha256::digest(&def[number]).iter().map(|byte| format!("{byte:02x}")).collect();
        Input { digest: format!("sha256:{hex}"), index }
    };
    let add = |def: &mut Vec<Vec<u8>>, inputs: &[(usize, i64)], op| {
        let inputs = inputs.iter().map(|(number, index)| input(def, *number, *index)).collect();
        def.push(Op { inputs, op, ..Op::default() }.encode_to_vec());
    };
    add(&mut def, &[], Some(source(BUSYBOX)));
    add(&mut def, &[(0, 0)], process("echo -n foobar > const", -1));
    add(&mut def, &[(0, 0), (1, 1)], process("head -c 100 /dev/urandom | sha256sum > unique", 1));
    add(&mut def, &[(2, 1)], None);
    Definition { def, ..Definition::default() }
}

#[test]
fn caches_in_images_hold_what_processes_left_in_their_mounts() {
    with_client(holdings(), |host, client| {
        host.busybox();
        host.program("ip", &["link", "set", "lo", "up"]).ok();
        let mut server = host.type_in("registry serve --addr 127.0.0.1:5000 --root registry").start();
        eventually("the registry listens", || TcpStream::connect("127.0.0.1:5000").is_ok());
        let run = async move {
            let order = |id: &str| SolveRequest {
                definition: Some(graph()),
                cache: Some(CacheOptions {
                    exports: vec![cache("inline", &[])],
                    imports: vec![cache("registry", &[("ref", NAME)])],
                    ..CacheOptions::default()
                }),
                ..order(&client, id, &[("image", &[("name", NAME), ("push", "true")])])
            };
            let first = client.solve(order("build000000000060")).await.0.unwrap().exporter_response;
            prune(&client).await;
            let again = client.solve(order("build000000000061")).await.0.unwrap().exporter_response;
            assert_eq!(first["containerimage.digest"], again["containerimage.digest"]);
            server.kill().and_then(|()| server.wait()).unwrap();
        };
        (host, run)
    });
}

/// Two files that a process makes, each a layer on nothing.
fn copies(architecture: &str) -> Definition {
    let script = format!("echo -n {architecture} > /arch && head -c 100 /dev/urandom | sha256sum > /unique");
    let copy = |input, secondary_input, path: &str| {
        let copy = FileActionCopy {
            src: path.to_owned(),
            dest: "/".to_owned(),
            timestamp: -1,
            mode: -1,
            ..FileActionCopy::default()
        };
        let action = FileAction { input, secondary_input, output: 0, action: Some(Action::Copy(copy)) };
        op::Op::File(FileOp { actions: vec![action] })
    };
    let args = ["sh", "-c", &script].map(String::from).to_vec();
    let meta = Some(Meta { args, cwd: "/".to_owned(), ..Meta::default() });
    let process = op::Op::Exec(ExecOp { meta, mounts: vec![mount("/", 0, 0)], ..ExecOp::default() });
    let ops = vec![
        (source(BUSYBOX), vec![]),
        (process, vec![0]),
        (copy(-1, 0, "/unique"), vec![1]),
        (copy(0, 1, "/arch"), vec![2, 1]),
    ];
    definition(ops, 0)
}

#[test]
fn caches_of_several_platforms_are_the_same_when_they_come_back() {
    with_client(holdings(), |host, client| {
        host.busybox();
        host.program("ip", &["link", "set", "lo", "up"]).ok();
        let mut server = host.type_in("registry serve --addr 127.0.0.1:5000 --root registry").start();
        eventually("the registry listens", || TcpStream::connect("127.0.0.1:5000").is_ok());
        let run = async move {
            let mut digests = Vec::new();
            for id in ["build000000000062", "build000000000063"] {
                let exports = vec![cache("inline", &[])];
                let order = SolveRequest {
                    cache: Some(CacheOptions { exports, ..CacheOptions::default() }),
                    ..order(&client, id, &[("image", &[("name", NAME), ("push", "true")])])
                };
                let converse = async {
                    let solve = async |asked| {
                        let solved = client.gateway.clone().solve(about(id, asked)).await.unwrap();
                        match solved.into_inner().result.unwrap().result {
                            Some(result::Result::Ref(part)) => Ref { def: None, ..part },
                            _ => panic!("no result"),
                        }
                    };
                    // As clients read Dockerfiles.
                    let files = Some(definition(vec![(source("local://context"), vec![])], 0));
                    solve(frontend::SolveRequest { definition: files, ..Default::default() }).await;
                    let mut refs = HashMap::new();
                    for architecture in ["amd64", "arm"] {
                        let asked = frontend::SolveRequest {
                            definition: Some(copies(architecture)),
                            cache_imports: vec![import("registry", &[("ref", NAME)])],
                            ..Default::default()
                        };
                        refs.insert(format!("linux/{architecture}"), solve(asked).await);
                    }
                    let metadata =
                        HashMap::from([("refs.platforms".to_owned(), platforms(&["amd64", "arm"]))]);
                    let result = Some(result::Result::Refs(RefMap { refs }));
                    let result = Some(frontend::Result { metadata, result, ..Default::default() });
                    let answer = ReturnRequest { result, error: None };
                    client.gateway.clone().r#return(about(id, answer)).await.unwrap();
                };
                let mut control = client.control.clone();
                let (solved, ()) = tokio::join!(control.solve(order), converse);
                let answer = solved.unwrap().into_inner().exporter_response;
                digests.push(answer["containerimage.digest"].clone());
                prune(&client).await;
            }
            assert_eq!(digests[0], digests[1]);
            server.kill().and_then(|()| server.wait()).unwrap();
        };
        (host, run)
    });
}

fn cache(kind: &str, attrs: &[(&str, &str)]) -> CacheOptionsEntry {
    CacheOptionsEntry { r#type: kind.to_owned(), attrs: attributes(attrs) }
}

fn import(kind: &str, attrs: &[(&str, &str)]) -> frontend::CacheOptionsEntry {
    frontend::CacheOptionsEntry { r#type: kind.to_owned(), attrs: attributes(attrs) }
}

fn attributes(attrs: &[(&str, &str)]) -> HashMap<String, String> {
    attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn prune(client: &Client) {
    let all = PruneRequest { all: true, ..PruneRequest::default() };
    let mut pruned = client.control.clone().prune(all).await.unwrap().into_inner();
    while pruned.message().await.unwrap().is_some() {}
}
