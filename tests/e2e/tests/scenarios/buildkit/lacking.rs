//! Messages that clients write, without each of their fields: to every method of the gateway, and graphs with every operation.
//! Each is answered or refused by what serves it; the daemon goes on (CVE-2024-23650).

use std::ops::Range;

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{FileRange, ReadFileRequest, Ref, result};
use bollard_buildkit_proto::pb::{Definition, Op};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use testkit::PATIENCE;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use super::client::Client;
use super::containers::{about, give_up};
use super::graphs::{definition, order, source};
use super::malformed::{CONTROL, GATEWAY, SERVED, call};
use super::whole::{
    BUSYBOX, answers, container, operations, released, requests, solve_request, whole, whole_order,
};
use super::{holdings, with_client};

/// Orders that are solved at a time.
const AT_ONCE: usize = 8;

/// Where a field is in a message as it is sent.
struct Field {
    whole: Range<usize>,
    /// Of one that says how long it is.
    content: Option<Range<usize>>,
}

/// The fields of what is a message.
fn fields(message: &[u8]) -> Option<Vec<Field>> {
    let mut found = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let begin = message.len() - rest.len();
        // Keys and numbers are written as lengths are.
        let key = prost::decode_length_delimiter(&mut rest).ok().filter(|key| key >> 3 > 0)?;
        let mut content = None;
        match key & 7 {
            0 => drop(prost::decode_length_delimiter(&mut rest).ok()?),
            1 => rest = rest.get(8..)?,
            2 => {
                let length = prost::decode_length_delimiter(&mut rest).ok()?;
                let start = message.len() - rest.len();
                content = Some(start..start.checked_add(length)?);
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
        found.push(Field { whole: begin..message.len() - rest.len(), content });
    }
    Some(found)
}

/// A message without each of its fields, one at a time, and without those of the messages in it: also of a text that looks like
/// one.
fn lacking(message: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for Field { whole, content } in fields(message).unwrap_or_default() {
        let (before, after) = (&message[..whole.start], &message[whole.end..]);
        all.push([before, after].concat());
        let Some(content) = content else { continue };
        let key = &message[whole.start..content.start - prost::length_delimiter_len(content.len())];
        for inner in lacking(&message[content]) {
            let mut length = Vec::new();
            prost::encode_length_delimiter(inner.len(), &mut length).unwrap();
            all.push([before, key, &length, &inner, after].concat());
        }
    }
    all
}

#[test]
fn a_message_is_taken_apart() {
    let message = ReadFileRequest {
        file_path: "/etc/hosts".to_owned(),
        range: Some(FileRange { offset: -1, length: 3 }),
        mount_index: 300,
        ..Default::default()
    };
    let all: Vec<_> =
        lacking(&message.encode_to_vec()).iter().map(|m| ReadFileRequest::decode(&**m).unwrap()).collect();
    let range = |offset, length| Some(FileRange { offset, length });
    assert_eq!(
        all,
        [
            ReadFileRequest { file_path: String::new(), ..message.clone() },
            ReadFileRequest { range: None, ..message.clone() },
            ReadFileRequest { range: range(0, 3), ..message.clone() },
            ReadFileRequest { range: range(-1, 0), ..message.clone() },
            ReadFileRequest { mount_index: 0, ..message },
        ]
    );
}

/// The graph with each operation lacking something. It is what others refer to all the same.
fn graphs() -> Vec<Definition> {
    let all = operations();
    let mut graphs = vec![whole(all.clone())];
    for (at, (op, _)) in all.iter().enumerate() {
        let message = Op { op: Some(op.clone()), ..Op::default() }.encode_to_vec();
        for message in lacking(&message) {
            let Ok(Op { op: Some(op), .. }) = Op::decode(&*message) else { continue };
            let mut all = all.clone();
            all[at].0 = op;
            graphs.push(definition(all, 0));
        }
    }
    graphs
}

/// The result of a graph that nothing is done to.
async fn result_of(client: &Client, build: &str) -> String {
    let asked = solve_request(definition(vec![(source(BUSYBOX), vec![])], 0));
    let solved = client.gateway.clone().solve(about(build, asked)).await.unwrap().into_inner();
    let Some(result::Result::Ref(Ref { id, .. })) = solved.result.unwrap().result else {
        panic!("no result")
    };
    id
}

/// Asks the gateway: an answer, or a refusal by what serves the method.
async fn ask(client: &Client, build: &str, method: &str, message: Vec<u8>) -> Result<(), Status> {
    let path: PathAndQuery = format!("{GATEWAY}{method}").parse().unwrap();
    let answer = call(client, &path, about(build, message), PATIENCE).await;
    match answer.unwrap_or_else(|| panic!("{method} hangs")) {
        Ok(_) => Ok(()),
        Err(status) => {
            let early = ["unknown job", "buildid"];
            assert!(!early.iter().any(|early| status.message().contains(early)), "{method}: {status}");
            Err(status)
        }
    }
}

/// What a call needs and what would be in its way: each container is made, and each first process is run, anew.
async fn prepare(client: &Client, build: &str, id: &str, method: &str) {
    if matches!(method, "NewContainer" | "ExecProcess") {
        ask(client, build, "ReleaseContainer", released()).await.unwrap();
    }
    if method == "ExecProcess" {
        ask(client, build, "NewContainer", container(id)).await.unwrap();
    }
}

#[test]
fn every_field_of_what_the_gateway_takes_may_be_absent() {
    const ID: &str = "build000000000051";
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let mut control = client.control.clone();
            let converse = async {
                let id = result_of(&client, ID).await;
                for (method, message) in requests(&id) {
                    for message in lacking(&message) {
                        prepare(&client, ID, &id, method).await;
                        let _ = ask(&client, ID, method, message).await;
                    }
                    prepare(&client, ID, &id, method).await;
                    // It is understood when it is whole.
                    ask(&client, ID, method, message)
                        .await
                        .unwrap_or_else(|error| panic!("{method}: {error}"));
                }
                give_up(&mut client.gateway.clone(), ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run)
    });
}

/// Ends a conversation by one of the answers, which lacks its field of this number: whether it has one.
async fn end(client: &Client, which: usize, number: usize) -> bool {
    let build = format!("build{which}{number:011}");
    let converse = async {
        let id = result_of(client, &build).await;
        let message = lacking(&answers(&id)[which]).into_iter().nth(number);
        let found = message.is_some();
        let message = message.unwrap_or_else(|| answers(&id)[which].clone());
        let _ = ask(client, &build, "Return", message).await;
        found
    };
    let order = order(client, &build, &[]);
    let mut control = client.control.clone();
    let (_, found) = tokio::join!(control.solve(order), converse);
    found
}

#[test]
fn every_field_of_what_ends_a_conversation_may_be_absent() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            for which in 0..2 {
                let mut number = 0;
                while end(&client, which, number).await {
                    number += 1;
                }
                assert!(number > 3, "{number}");
            }
        };
        (host, run)
    });
}

#[test]
fn every_field_of_an_order_may_be_absent() {
    with_client(holdings(), |host, client| {
        host.busybox();
        let run = async move {
            let path: PathAndQuery = format!("{CONTROL}Solve").parse().unwrap();
            let solve = |message, patience| call(&client, &path, Request::new(message), patience);
            let graphs = graphs().into_iter().enumerate().map(|(number, definition)| {
                let id = format!("build{number:012}");
                let order = SolveRequest { definition: Some(definition), ..order(&client, &id, &[]) };
                solve(order.encode_to_vec(), PATIENCE)
            });
            let answers: Vec<_> = stream::iter(graphs).buffered(AT_ONCE).collect().await;
            assert!(matches!(answers[0], Some(Ok(_))), "the whole graph: {:?}", answers[0]);
            assert!(answers.iter().all(Option::is_some), "one hangs");
            let whole = whole_order(&client).encode_to_vec();
            let orders = lacking(&whole).into_iter().enumerate().map(|(number, message)| {
                // Each is another build.
                let name = SolveRequest { r#ref: format!("build1{number:011}"), ..Default::default() };
                // Without a graph it is the beginning of a conversation, which nobody has.
                solve([message, name.encode_to_vec()].concat(), SERVED)
            });
            stream::iter(orders).buffered(AT_ONCE).for_each(async |_| ()).await;
            let answer = solve(whole, PATIENCE).await;
            assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
        };
        (host, run)
    });
}
