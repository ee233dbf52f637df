//! Large blobs: over several connections where the registry gives parts, and whole where it does not.

use super::stub::{Answer, Request, Stub};
use super::{descriptor, read, repository};
use registry::{Error, Problem};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Enough for several stretches.
fn large() -> Vec<u8> {
    (0..10_000_000u32).flat_map(u32::to_le_bytes).collect()
}

/// The bytes of `bytes=5-9` and of `bytes=5-`.
fn wanted(request: &Request, length: usize) -> Option<(usize, usize)> {
    let (from, to) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().map_or(length, |to: usize| to + 1)))
}

fn part(content: &[u8], from: usize, to: usize) -> Answer {
    let range = format!("bytes {from}-{}/{}", to - 1, content.len());
    Answer::new(206, &content[from..to]).with("Content-Range", &range)
}

#[tokio::test]
async fn a_large_blob_comes_in_stretches_that_are_resumed_by_themselves() {
    let (content, count) = (large(), AtomicUsize::new(0));
    let served = content.clone();
    let stub = Stub::new(move |request| match wanted(request, served.len()) {
        Some((from, to)) => {
            // Every third connection breaks.
            let answer = part(&served, from, to);
            let third = count.fetch_add(1, Ordering::SeqCst) % 3 == 1;
            if third { answer.cut((to - from) / 2) } else { answer }
        }
        None => Answer::ok("{}"),
    });
    let repository = repository(&stub, "app", None);
    assert!(read(repository.blob(&descriptor(&content))).await.unwrap() == content);
    let asked: Vec<_> =
        stub.requests_for("blobs").iter().filter_map(|request| wanted(request, content.len())).collect();
    assert!(asked.len() > 5, "{asked:?}");
    assert!(asked.iter().all(|(from, to)| to - from <= 8 << 20), "{asked:?}");
    // What has come is not asked for again.
    let total: usize = asked.iter().map(|(from, to)| to - from).sum();
    assert!(total < 2 * content.len(), "{asked:?}");
}

#[tokio::test]
async fn a_registry_that_gives_no_parts_gives_all() {
    let content = large();
    for knows_first in [false, true] {
        let served = content.clone();
        // Of two servers behind one name one may know ranges and the other not.
        let stub = Stub::new(move |request| match wanted(request, served.len()) {
            Some((0, to)) if knows_first => part(&served, 0, to),
            _ => Answer::ok(&served),
        });
        let repository = repository(&stub, "app", None);
        assert!(read(repository.blob(&descriptor(&content))).await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_part_is_not_more_than_was_asked_for() {
    let content = large();
    let served = content.clone();
    let stub = Stub::new(move |request| match wanted(request, served.len()) {
        Some((from, to)) => {
            let range = format!("bytes {from}-{}/{}", to - 1, served.len());
            Answer::new(206, &served[from..]).with("Content-Range", &range)
        }
        None => Answer::ok("{}"),
    });
    let error = read(repository(&stub, "app", None).blob(&descriptor(&content))).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { problem: Problem::WrongRange, .. }), "{error:?}");
}

#[tokio::test]
async fn the_rest_of_a_blob_is_all_that_is_asked_for() {
    let stub = Stub::new(|request| match wanted(request, 7) {
        Some((from, to)) => part(b"content", from, to),
        None => Answer::ok("content"),
    });
    let blob = || repository(&stub, "app", None).blob(&descriptor(b"content"));
    assert_eq!(read(blob().rest(3)).await.unwrap(), b"tent");
    assert_eq!(read(blob().rest(7)).await.unwrap(), b"");
    let seen = stub.requests_for("blobs");
    assert_eq!(seen.iter().map(|request| request.header("range")).collect::<Vec<_>>(), [Some("bytes=3-")]);
}

#[tokio::test]
async fn a_long_wait_for_the_next_attempt_is_told() {
    let count = AtomicUsize::new(0);
    let stub = Stub::new(move |request| match wanted(request, 7) {
        Some((from, to)) => part(b"content", from, to),
        None if count.fetch_add(1, Ordering::SeqCst) < 3 => Answer::ok("content").cut(0),
        None => Answer::ok("content"),
    });
    let told: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let own = told.clone();
    let blob = repository(&stub, "app", None).blob(&descriptor(b"content"));
    let blob = blob.tell_waits(move |wait| own.lock().unwrap().push(wait));
    assert_eq!(read(blob).await.unwrap(), b"content");
    // The first two are over before anybody has read of them.
    assert_eq!(*told.lock().unwrap(), [Duration::from_millis(400)]);
}
