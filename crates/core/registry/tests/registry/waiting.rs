//! Registries that want us to wait, that are unwell, and that never come to an end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use registry::Patience;

use super::*;

/// Answers the first request for a manifest by `first`, and then as it should.
fn once(first: Answer) -> Stub {
    let count = AtomicUsize::new(0);
    Stub::new(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => first.clone(),
        _ => manifest_answer(),
    })
}

#[tokio::test]
async fn a_limit_is_waited_for_and_told() {
    let stub = once(Answer::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "2"));
    let client = Client::new(Config::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    client.tell(move |notice| log.lock().unwrap().push(notice.0));
    let start = Instant::now();
    let reference = Reference::parse(&format!("{}/app", stub.host)).unwrap();
    client.repository(&reference, None).resolve().await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [format!("Waiting 2 seconds for http://{}: 429 Too Many Requests", stub.host)]);
}

/// However long a registry says, and whatever was waited before.
#[tokio::test]
async fn a_limit_longer_than_time_is_not_waited_for() {
    let count = AtomicUsize::new(0);
    let stub = Stub::new(move |_| {
        let wait = if count.fetch_add(1, Ordering::SeqCst) == 0 { "1" } else { "18446744073709551615" };
        Answer::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", wait)
    });
    let error = repository(&stub, "app", None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited);
    assert_eq!(stub.requests_for("manifests").len(), 2);
}

#[tokio::test]
async fn a_limit_of_hours_is_told_and_not_waited_for() {
    let stub = Stub::new(|_| {
        Answer::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
            .with("Retry-After", "7200")
            .with("RateLimit-Limit", "100;w=21600")
            .with("RateLimit-Remaining", "0;w=21600")
            .with("Docker-RateLimit-Source", "192.0.2.7")
    });
    let start = Instant::now();
    let error = repository(&stub, "app", None).resolve().await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(error.kind(), Kind::RateLimited);
    assert_eq!(error.to_string(), "toomanyrequests: You have reached your pull rate limit.");
    assert_eq!(
        error.hint().unwrap(),
        "the limit is 100 requests in 6 hours, 0 are left, counted for 192.0.2.7, \
         the registry wants us to come back in 2 hours; log in to raise the limit, or try again later"
    );
    assert_eq!(stub.requests_for("manifests").len(), 1);
}

/// A server that never stops answering, a byte at a time, is not waited for for ever.
#[tokio::test]
async fn answers_that_drip() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => Answer::ok(vec![b' '; 1 << 20])
            .with("Content-Type", MANIFEST_TYPE)
            .drip(Duration::from_millis(20)),
    });
    let patience = Patience { document: Duration::from_millis(500), ..Patience::default() };
    let client = Client::new(Config { patience, ..Config::default() });
    let start = Instant::now();
    let reference = Reference::parse(&format!("{}/app", stub.host)).unwrap();
    let error = client.repository(&reference, None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(client.repository(&reference, None).tags().await.is_err());
}

/// Nor is a blob of which just enough comes not to be called silent.
#[tokio::test]
async fn blobs_that_drip() {
    let stub = Stub::new(|request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => Answer::ok(vec![b' '; 1 << 20]).drip(Duration::from_millis(20)),
    });
    let patience = Patience { silence: Duration::from_millis(500), ..Patience::default() };
    let client = Client::new(Config { patience, ..Config::default() });
    let reference = Reference::parse(&format!("{}/app", stub.host)).unwrap();
    let blob = client.repository(&reference, None).blob(&descriptor(&[b' '; 1 << 20]));
    let read = tokio::time::timeout(Duration::from_secs(20), read(blob)).await.expect("it ends");
    let error = read.unwrap_err();
    assert!(error.to_string().contains(" bytes came in "), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn servers_that_say_nothing() {
    let silent = listener();
    let host = silent.local_addr().unwrap().to_string();
    let patience = Patience { silence: Duration::from_millis(300), ..Patience::default() };
    let client = Client::new(Config { patience, ..Config::default() });
    let reference = Reference::parse(&format!("{host}/app")).unwrap();
    let start = Instant::now();
    let error = client.repository(&reference, None).resolve().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(silent);
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let stub = Stub::new(move |request| match request.path.as_str() {
        "/v2/" => Answer::ok("{}"),
        _ => match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::new(502, "bad gateway"),
            1 => Answer::new(503, "").with("Retry-After", "0"),
            _ => manifest_answer(),
        },
    });
    repository(&stub, "app", None).resolve().await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
}
