//! Many processes in one call of the gateway: none waits for another, and what concerns one ends no other.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input as Said;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, ExecMessage, ExitMessage, FdMessage, InitMessage, Ref, ResizeMessage, SignalMessage, result,
};
use bollard_buildkit_proto::pb::{Mount, NetMode, SecretEnv};
use futures_util::stream;
use tokio::sync::mpsc::{Sender, channel};
use tonic::{Code, Streaming};

use super::containers::{Gateway, about, give_up, process};
use super::graphs::{definition, mount, order, source};
use super::{holdings, with_client};

const ID: &str = "build000000000045";
/// More than a call may have at a time.
const MANY: usize = 66;

struct Call {
    asking: Sender<ExecMessage>,
    told: Streaming<ExecMessage>,
    /// Who said so.
    begun: Vec<String>,
}

impl Call {
    async fn begin(gateway: &mut Gateway) -> Call {
        let (asking, receiver) = channel(16);
        let asked = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
        let told = gateway.exec_process(about(ID, asked)).await.unwrap().into_inner();
        Call { asking, told, begun: Vec::new() }
    }

    async fn say(&self, process: &str, input: Said) {
        let message = ExecMessage { process_id: process.to_owned(), input: Some(input) };
        self.asking.send(message).await.unwrap();
    }

    async fn typed(&self, process: &str, data: Vec<u8>) {
        self.say(process, Said::File(FdMessage { fd: 0, eof: false, data })).await;
    }

    /// The next end of a process, which has begun before.
    async fn exit(&mut self) -> (String, ExitMessage) {
        loop {
            let message = self.told.message().await.unwrap().expect("it goes on");
            match message.input.unwrap() {
                Said::Started(_) => self.begun.push(message.process_id),
                Said::Exit(exit) => {
                    assert!(
                        self.begun.contains(&message.process_id),
                        "clients take nothing before it has begun"
                    );
                    return (message.process_id, exit);
                }
                _ => {}
            }
        }
    }

    async fn run(&mut self, id: &str, init: InitMessage) -> ExitMessage {
        self.say(id, Said::Init(init)).await;
        let (ended, exit) = self.exit().await;
        assert_eq!(ended, id);
        exit
    }
}

#[test]
fn processes_of_a_call_do_not_wait_for_each_other() {
    let mut held = holdings();
    held.secrets.insert("bytes".to_owned(), vec![0xff]);
    with_client(held, |host, client| {
        host.busybox();
        let run = async move {
            let mut control = client.control.clone();
            let converse = async {
                let mut gateway = client.gateway.clone();
                container(&mut gateway).await;
                let mut call = Call::begin(&mut gateway).await;
                let deaf = InitMessage { fds: vec![0, 1, 2], ..process("c1", "sleep 1000") };
                call.say("deaf", Said::Init(deaf)).await;
                assert_eq!(call.run("next", process("c1", "true")).await.code, 0);
                // Whoever pipes one into the other does not take the output of the one before it knows of the other.
                assert_eq!(call.begun, ["next", "deaf"], "that a further one begins is told at once");
                for _ in 0..4 {
                    call.typed("deaf", vec![b'x'; 1 << 20]).await;
                }
                assert_eq!(call.run("second", process("c1", "true")).await.code, 0);
                one_by_one(&mut call).await;
                for at in 0..MANY {
                    assert_eq!(call.run(&format!("p{at}"), process("c1", "true")).await.code, 0);
                }
                call.say("deaf", Said::Signal(SignalMessage { name: "SIGKILL".to_owned() })).await;
                let (ended, exit) = call.exit().await;
                assert_eq!((ended.as_str(), exit.code), ("deaf", 137));
                call.typed("nobody", Vec::new()).await;
                let error = loop {
                    match call.told.message().await {
                        Ok(message) => drop(message.expect("it says why it ends")),
                        Err(status) => break status,
                    }
                };
                assert_eq!(error.code(), Code::NotFound, "{error}");
                give_up(&mut gateway, ID).await;
            };
            let (solved, ()) = tokio::join!(control.solve(order(&client, ID, &[])), converse);
            assert_eq!(solved.unwrap_err().message(), "enough");
        };
        (host, run)
    });
}

/// Of two that ask for it at once one makes it.
async fn container(gateway: &mut Gateway) {
    let busybox = source("docker-image://docker.io/library/busybox:latest");
    let definition = Some(definition(vec![(busybox, vec![])], 0));
    let asked = frontend::SolveRequest { definition, ..Default::default() };
    let solved = gateway.solve(about(ID, asked)).await.unwrap().into_inner().result.unwrap();
    let Some(result::Result::Ref(Ref { id, .. })) = solved.result else { panic!("no result") };
    let wanted = frontend::NewContainerRequest {
        container_id: "c1".to_owned(),
        mounts: vec![Mount { result_id: id, ..mount("/", -1, -1) }],
        network: NetMode::None.into(),
        ..Default::default()
    };
    let mut other = gateway.clone();
    let (one, two) = tokio::join!(
        gateway.new_container(about(ID, wanted.clone())),
        other.new_container(about(ID, wanted))
    );
    let codes = [one, two].map(|made| made.err().map(|status| status.code()));
    assert!(codes.contains(&None) && codes.contains(&Some(Code::AlreadyExists)), "{codes:?}");
}

/// What goes wrong with one process, and comes too late for one, is no other's.
async fn one_by_one(call: &mut Call) {
    call.say("second", Said::Signal(SignalMessage { name: "SIGTERM".to_owned() })).await;
    call.say("second", Said::Resize(ResizeMessage { rows: 24, cols: 80 })).await;
    call.typed("second", b"late".to_vec()).await;
    let why = |exit: ExitMessage| {
        let error = exit.error.expect("clients read why");
        (exit.code, error.message)
    };
    let (code, message) = why(call.run("lost", process("nothing", "true")).await);
    assert!(code == u32::MAX && message.contains("\"nothing\" previously released"), "{message}");
    let variable = SecretEnv { id: "bytes".to_owned(), name: "BYTES".to_owned(), optional: false };
    let init = InitMessage { secretenv: vec![variable], ..process("c1", "true") };
    let (code, message) = why(call.run("no-text", init).await);
    assert!(code == u32::MAX && message.contains("secret bytes is no UTF-8"), "{message}");
    let (code, message) = why(call.run("third", process("c1", "exit 3")).await);
    assert_eq!((code, message.as_str()), (3, "exit code: 3"));
}
