//! Who may do what: passwords, tokens, rules.

use crate::client::{Answer, World, sha256, world_of};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry_server::auth::{Config, Scheme};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const RULES: &str = "anonymous public/* pull\n* $user/* all\nann team/* push\nbob * pull\n";

fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn users() -> String {
    format!("ann:{}\nbob:{}\n", hash("ann's"), hash("bob's"))
}

async fn guarded(scheme: Scheme, rules: Option<&str>) -> World {
    let files = tempfile::tempdir().unwrap();
    let auth = config(files.path(), scheme, rules);
    let world = world_of(|config| config.auth = Some(auth)).await;
    // They are read again only when they change.
    std::mem::forget(files);
    world
}

fn config(folder: &Path, scheme: Scheme, rules: Option<&str>) -> Config {
    let htpasswd = folder.join("htpasswd");
    std::fs::write(&htpasswd, users()).unwrap();
    let access = rules.map(|rules| {
        std::fs::write(folder.join("access"), rules).unwrap();
        folder.join("access")
    });
    Config {
        htpasswd,
        access,
        anonymous_pull: false,
        scheme,
        url: None,
        token_life: Duration::from_secs(300),
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn as_user(world: &World, method: &str, target: &str, authorization: &str, body: &[u8]) -> Answer {
    world.send(method, target, &[("Authorization", authorization)], body).await
}

async fn token(world: &World, authorization: Option<&str>, scopes: &[&str]) -> (u16, Value) {
    let scopes: String = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
    let target = format!("/token?service=dhow-registry&offline_token=true{scopes}");
    let headers: Vec<(&str, &str)> = authorization.iter().map(|text| ("Authorization", *text)).collect();
    let answer = world.send("GET", &target, &headers, b"").await;
    (answer.status, answer.json())
}

fn bearer(document: &Value) -> String {
    format!("Bearer {}", document["token"].as_str().unwrap())
}

fn upload(name: &str, content: &[u8]) -> String {
    format!("/v2/{name}/blobs/uploads/?digest={}", sha256(content))
}

#[tokio::test]
async fn a_name_and_a_password() {
    let world = guarded(Scheme::Basic, None).await;
    for answer in [
        world.get("/v2/").await,
        world.get("/v2/a/tags/list").await,
        world.get("/v2/_catalog").await,
        as_user(&world, "GET", "/v2/", &basic("ann", "wrong"), b"").await,
        as_user(&world, "GET", "/v2/", &basic("eve", "ann's"), b"").await,
        as_user(&world, "GET", "/v2/", "Basic %%%", b"").await,
        as_user(&world, "GET", "/v2/", "Digest x", b"").await,
        as_user(&world, "GET", "/v2/", "Bearer x.y.z", b"").await,
        as_user(&world, "POST", &upload("a", b"x"), &basic("", ""), b"x").await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"));
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    let two = [("Authorization", basic("ann", "ann's")), ("Authorization", basic("bob", "bob's"))];
    let two: Vec<(&str, &str)> = two.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(world.send("GET", "/v2/", &two, b"").await.status, 401);
    let ann = basic("ann", "ann's");
    assert_eq!(as_user(&world, "GET", "/v2/", &ann, b"").await.status, 200);
    assert_eq!(as_user(&world, "POST", &upload("any/thing", b"x"), &ann, b"x").await.status, 201);
}

#[tokio::test]
async fn rules_say_who_may_do_what() {
    let world = guarded(Scheme::Basic, Some(RULES)).await;
    let (ann, bob) = (basic("ann", "ann's"), basic("bob", "bob's"));
    for (name, user, status) in [
        ("team/app", &ann, 201),
        ("ann/own", &ann, 201),
        ("bob/own", &bob, 201),
        ("team/app", &bob, 403),
        ("public/x", &ann, 403),
        ("other", &ann, 403),
    ] {
        let answer = as_user(&world, "POST", &upload(name, b"x"), user, b"x").await;
        assert_eq!(answer.status, status, "{name}");
        if status == 403 {
            assert_eq!((answer.code().as_str(), answer.header("www-authenticate")), ("DENIED", None));
        }
    }
    let blob = |name: &str| format!("/v2/{name}/blobs/{}", sha256(b"x"));
    assert_eq!(as_user(&world, "GET", &blob("team/app"), &bob, b"").await.status, 200);
    assert_eq!(as_user(&world, "GET", &blob("bob/own"), &ann, b"").await.status, 403);
    assert_eq!(as_user(&world, "DELETE", &blob("team/app"), &ann, b"").await.status, 403);
    assert_eq!(as_user(&world, "DELETE", &blob("ann/own"), &ann, b"").await.status, 202);
    // The list has what may be pulled, and nothing else.
    let list = as_user(&world, "GET", "/v2/_catalog", &ann, b"").await.json();
    assert_eq!(list["repositories"], serde_json::json!(["ann/own", "team/app"]));
    let list = world.get("/v2/_catalog").await.json();
    assert_eq!(list["repositories"], serde_json::json!([]));
    assert_eq!(world.get(&blob("public/x")).await.status, 404, "anybody may look there");
    assert_eq!(world.get(&blob("team/app")).await.status, 401);
}

#[tokio::test]
async fn a_blob_is_mounted_by_who_may_pull_it() {
    let world = guarded(Scheme::Basic, Some(RULES)).await;
    let (ann, bob) = (basic("ann", "ann's"), basic("bob", "bob's"));
    assert_eq!(as_user(&world, "POST", &upload("bob/secret", b"x"), &bob, b"x").await.status, 201);
    let mount =
        |name: &str, from: &str| format!("/v2/{name}/blobs/uploads/?mount={}&from={from}", sha256(b"x"));
    let answer = as_user(&world, "POST", &mount("ann/x", "bob/secret"), &ann, b"").await;
    assert_eq!(answer.status, 202, "it is uploaded, and nobody says whether it is there");
    let answer = as_user(&world, "POST", &mount("bob/x", "bob/secret"), &bob, b"").await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn an_upload_belongs_to_its_user() {
    let world = guarded(Scheme::Basic, None).await;
    let (ann, bob) = (basic("ann", "ann's"), basic("bob", "bob's"));
    let answer = as_user(&world, "POST", "/v2/a/blobs/uploads/", &ann, b"").await;
    let place = answer.header("location").unwrap().to_owned();
    for (method, target) in [("GET", place.clone()), ("PATCH", place.clone()), ("DELETE", place.clone())] {
        let answer = as_user(&world, method, &target, &bob, b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method}");
    }
    assert_eq!(as_user(&world, "GET", &place, &ann, b"").await.status, 204);
}

#[tokio::test]
async fn a_token_is_asked_for_and_used() {
    let world = guarded(Scheme::Token, Some(RULES)).await;
    let answer = world.send("POST", "/v2/team/app/blobs/uploads/", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"));
    let address = world.served.address;
    let challenge = format!(
        "Bearer realm=\"http://{address}/token\",service=\"dhow-registry\",scope=\"repository:team/app:pull,push\""
    );
    assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
    assert!(world.get("/v2/").await.header("www-authenticate").unwrap().starts_with("Bearer "));
    let ann = basic("ann", "ann's");
    let (status, document) = token(&world, Some(&ann), &["repository:team/app:pull,push,delete"]).await;
    assert_eq!((status, document["expires_in"].as_u64()), (200, Some(300)));
    let app = bearer(&document);
    assert_eq!(as_user(&world, "GET", "/v2/", &app, b"").await.status, 200);
    assert_eq!(as_user(&world, "POST", &upload("team/app", b"x"), &app, b"x").await.status, 201);
    let blob = format!("/v2/team/app/blobs/{}", sha256(b"x"));
    assert_eq!(as_user(&world, "GET", &blob, &app, b"").await.body, b"x");
    // Not what ann may not do, and not what the token is not for.
    let refused = as_user(&world, "DELETE", &blob, &app, b"").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "no token would do");
    let refused = as_user(&world, "POST", &upload("team/other", b"x"), &app, b"x").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().contains("repository:team/other:pull,push"));
    assert_eq!(as_user(&world, "POST", &upload("ann/own", b"x"), &app, b"x").await.status, 401);
    let (_, both) =
        token(&world, Some(&ann), &["repository:team/app:pull+repository:ann/own:*", "repository:bob/x:*"])
            .await;
    let both = bearer(&both);
    assert_eq!(as_user(&world, "POST", &upload("ann/own", b"x"), &both, b"x").await.status, 201);
    assert_eq!(as_user(&world, "GET", &blob, &both, b"").await.status, 200);
    assert_eq!(as_user(&world, "POST", &upload("bob/x", b"x"), &both, b"x").await.status, 403);
}

#[tokio::test]
async fn tokens_for_nobody_and_for_the_wrong() {
    let world = guarded(Scheme::Token, Some(RULES)).await;
    let (status, document) =
        token(&world, None, &["repository:public/x:pull", "repository:team/app:pull"]).await;
    assert_eq!(status, 200);
    assert_eq!(document.get("refresh_token"), None);
    let nobody = bearer(&document);
    assert_eq!(as_user(&world, "GET", "/v2/public/x/tags/list", &nobody, b"").await.status, 404);
    assert_eq!(as_user(&world, "GET", "/v2/team/app/tags/list", &nobody, b"").await.status, 401);
    for wrong in [basic("ann", "wrong"), basic("eve", "x"), nobody.clone()] {
        assert_eq!(token(&world, Some(&wrong), &[]).await.0, 401, "{wrong}");
    }
    let closed = guarded(Scheme::Token, None).await;
    assert_eq!(token(&closed, None, &["repository:a:pull"]).await.0, 401);
    // A token of another registry is none, whatever it says.
    assert_eq!(as_user(&closed, "GET", "/v2/", &nobody, b"").await.status, 401);
}

#[tokio::test]
async fn tokens_that_somebody_made() {
    let world = guarded(Scheme::Token, None).await;
    let ann = basic("ann", "ann's");
    let (_, document) = token(&world, Some(&ann), &["repository:a:pull"]).await;
    let good = document["token"].as_str().unwrap();
    let (text, signature) = good.rsplit_once('.').unwrap();
    let (_, claims) = text.split_once('.').unwrap();
    let mut more: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    more["access"] =
        serde_json::json!([{ "type": "repository", "name": "a", "actions": ["pull", "push", "delete"] }]);
    let more = URL_SAFE_NO_PAD.encode(more.to_string());
    let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let jwk = r#"{"alg":"EdDSA","typ":"JWT","jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}}"#;
    for forged in [
        format!("{}.{more}.", header(r#"{"alg":"none"}"#)),
        format!("{}.{more}.{signature}", header(r#"{"alg":"none","typ":"JWT"}"#)),
        format!("{}.{more}.{signature}", header(r#"{"alg":"HS256","typ":"JWT"}"#)),
        format!("{}.{more}.{signature}", header(jwk)),
        format!("{}.{more}.{signature}", text.split_once('.').unwrap().0),
        document["refresh_token"].as_str().unwrap().to_owned(),
        format!("{good}x"),
    ] {
        let answer = as_user(&world, "GET", "/v2/", &format!("Bearer {forged}"), b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"), "{forged}");
    }
    assert_eq!(as_user(&world, "GET", "/v2/", &format!("Bearer {good}"), b"").await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_lasts_as_long_as_the_password() {
    let files = tempfile::tempdir().unwrap();
    let auth = config(files.path(), Scheme::Token, None);
    let world = world_of(|config| config.auth = Some(auth)).await;
    let form = async |body: String| {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        world.send("POST", "/token", &kind, body.as_bytes()).await
    };
    let scope = "service=dhow-registry&scope=repository:a:pull,push";
    let answer =
        form(format!("grant_type=password&username=ann&password=ann%27s&access_type=offline&{scope}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let again = async || form(format!("grant_type=refresh_token&refresh_token={refresh}&{scope}")).await;
    let answer = again().await;
    assert_eq!(answer.status, 200);
    let access = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
    assert_eq!(as_user(&world, "POST", &upload("a", b"x"), &access, b"x").await.status, 201);
    for body in
        ["grant_type=password&username=ann&password=wrong", "grant_type=refresh_token&refresh_token=x"]
    {
        assert_eq!(form(body.to_owned()).await.status, 401, "{body}");
    }
    assert_eq!(form("grant_type=other".to_owned()).await.status, 400);
    std::fs::write(files.path().join("htpasswd"), format!("ann:{}", hash("new"))).unwrap();
    let changed = async {
        while again().await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the old password's token ends");
    std::fs::write(files.path().join("htpasswd"), format!("bob:{}", hash("bob's"))).unwrap();
    let removed = async {
        while as_user(&world, "GET", "/v2/", &access, b"").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), removed).await.expect("who was removed is nobody");
}

#[tokio::test]
async fn everybody_may_pull_where_that_is_wanted() {
    for scheme in [Scheme::Basic, Scheme::Token] {
        let files = tempfile::tempdir().unwrap();
        let auth = Config { anonymous_pull: true, ..config(files.path(), scheme, None) };
        let world = world_of(|config| config.auth = Some(auth)).await;
        assert_eq!(world.get("/v2/").await.status, 401, "whoever wants to log in is asked");
        let ann = basic("ann", "ann's");
        assert_eq!(as_user(&world, "POST", &upload("a", b"x"), &ann, b"x").await.status, 201);
        let blob = format!("/v2/a/blobs/{}", sha256(b"x"));
        assert_eq!(world.get(&blob).await.body, b"x");
        assert_eq!(as_user(&world, "GET", &blob, &basic("", ""), b"").await.body, b"x");
        assert_eq!(world.delete(&blob).await.status, 401);
        assert_eq!(world.send("POST", &upload("a", b"y"), &[], b"y").await.status, 401);
    }
}
