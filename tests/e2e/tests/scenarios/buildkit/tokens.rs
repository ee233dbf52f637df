//! A client that keeps its password: it fetches tokens itself (`moby.filesync.v1.Auth`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use testkit::{Host, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Request, Response, Status};

use super::client::Holdings;
use super::files::file;
use super::with_client;

/// Who the client is, and what it was asked.
pub struct Account {
    name: &'static str,
    password: &'static str,
    manner: Manner,
    asked: Mutex<Vec<&'static str>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It keeps its password.
    Keeps,
    /// It does not want to, though it could.
    Tells,
    /// It shows a key that is not its own.
    Lies,
}

impl Account {
    fn note(&self, method: &'static str) {
        self.asked.lock().unwrap().push(method);
    }

    /// By the salt, as clients make it.
    fn pair(&self, salt: &[u8]) -> Ed25519KeyPair {
        let seed: [u8; 32] = salt.try_into().unwrap();
        Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
    }
}

/// Serves the account of what a client holds.
#[derive(Clone)]
pub struct Accounts(pub Arc<Holdings>);

impl Accounts {
    fn account(&self) -> Result<&Account, Status> {
        self.0.account.as_ref().ok_or_else(|| Status::unimplemented("no account"))
    }
}

#[tonic::async_trait]
impl Auth for Accounts {
    async fn credentials(
        &self,
        _: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let account = self.account()?;
        account.note("Credentials");
        let (username, secret) = (account.name.to_owned(), account.password.to_owned());
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let (account, wanted) = (self.account()?, request.into_inner());
        account.note("FetchToken");
        assert_eq!(wanted.host, "127.0.0.1:5000");
        let place = wanted.realm.strip_prefix("http://127.0.0.1:5000").unwrap();
        let scopes: String = wanted.scopes.iter().map(|scope| format!("&scope={scope}")).collect();
        let who = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("{}:{}", account.name, account.password),
        );
        let service = wanted.service;
        let head = format!(
            "GET {place}?service={service}{scopes} HTTP/1.0\r\nHost: 127.0.0.1:5000\r\nAuthorization: Basic {who}\r\n\r\n"
        );
        let mut stream = TcpStream::connect("127.0.0.1:5000").await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if !head.contains(" 200 ") {
            return Err(Status::unauthenticated("the token server says no"));
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let token = body["token"].as_str().unwrap().to_owned();
        Ok(Response::new(FetchTokenResponse { token, expires_in: 60, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let account = self.account()?;
        if account.manner == Manner::Tells {
            return Err(Status::unavailable("client side tokens disabled"));
        }
        let public_key = account.pair(&request.into_inner().salt).public_key().as_ref().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let (account, wanted) = (self.account()?, request.into_inner());
        let pair = match account.manner {
            Manner::Lies => account.pair(&[9; 32]),
            _ => account.pair(&wanted.salt),
        };
        let signed = [pair.sign(&wanted.payload).as_ref(), &wanted.payload].concat();
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}

const BASE: &str = "127.0.0.1:5000/base:1";

/// Builds on an image of a registry that wants tokens, and pushes there; what the client was asked, or what went wrong.
fn built(manner: Manner, password: &'static str) -> Result<Vec<&'static str>, String> {
    let recipe = vec![file("Dockerfile", &format!("FROM {BASE}\nCMD true\n"))];
    let directories = HashMap::from([("dockerfile".to_owned(), recipe), ("context".to_owned(), Vec::new())]);
    let account = Account { name: "ann", password, manner, asked: Mutex::default() };
    let holdings = Holdings { directories, account: Some(account), ..Holdings::default() };
    let (sender, receiver) = std::sync::mpsc::channel();
    with_client(holdings, |host: Host, client| {
        host.busybox();
        host.file("htpasswd", host.type_in("registry passwd ann").input("the-password\n").ok() + "\n");
        let serve = "registry serve --addr 127.0.0.1:5000 --root registry --htpasswd htpasswd --auth token";
        let mut server = host.type_in(serve).start();
        eventually("the registry listens", || std::net::TcpStream::connect("127.0.0.1:5000").is_ok());
        host.dhow(&["login", "-u", "ann", "--password-stdin", "127.0.0.1:5000"]).input("the-password").ok();
        host.type_in(&format!("tag busybox {BASE}")).ok();
        host.type_in(&format!("push {BASE}")).ok();
        host.type_in(&format!("rmi {BASE} busybox")).ok();
        let run = async move {
            let wanted = [("name", "127.0.0.1:5000/app:1"), ("push", "true")];
            let order = client.order("build000000000071", &[], &[("moby", &wanted)]);
            let (solved, _) = client.solve(order).await;
            let asked = client.holdings.account.as_ref().unwrap().asked.lock().unwrap().clone();
            let outcome = solved.map(|_| asked).map_err(|status| status.message().to_owned());
            server.kill().and_then(|()| server.wait()).unwrap();
            sender.send(outcome).unwrap();
        };
        (host, run)
    });
    receiver.recv().unwrap()
}

#[test]
fn a_client_keeps_its_password() {
    let asked = built(Manner::Keeps, "the-password").unwrap();
    // One to pull, one to push.
    assert!(asked.len() >= 2 && asked.iter().all(|method| *method == "FetchToken"), "{asked:?}");
}

#[test]
fn a_client_that_fetches_no_tokens_says_who_it_is() {
    let asked = built(Manner::Tells, "the-password").unwrap();
    assert!(!asked.is_empty() && asked.iter().all(|method| *method == "Credentials"), "{asked:?}");
}

#[test]
fn tokens_that_cannot_be_had_are_explained() {
    let error = built(Manner::Keeps, "wrong").unwrap_err();
    assert!(error.contains("the token server says no"), "{error}");
    let error = built(Manner::Lies, "the-password").unwrap_err();
    assert!(error.contains("127.0.0.1:5000"), "{error}");
}
