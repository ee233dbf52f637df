//! Networks that steps have one after the other.

use crate::fixture::Fixture;
use builder::{NetHandle, NetMode};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many networks a build takes; with `left`, something stays in each of them.
fn networks(dockerfile: &str, left: bool) -> usize {
    let f = Fixture::new();
    let made = Arc::new(AtomicUsize::new(0));
    let mut env = f.env();
    let (inner, count) = (env.network.clone(), made.clone());
    env.network = Arc::new(move |mode: &NetMode| {
        count.fetch_add(1, Ordering::SeqCst);
        let handle = inner(mode)?;
        let listen = || TcpListener::bind("0.0.0.0:0");
        let socket = match &handle.netns {
            Some(namespace) if left => Some(sys::netns::within(namespace.as_fd(), listen)??),
            _ => None,
        };
        Ok(NetHandle { keep: Box::new(socket), ..handle })
    });
    f.build_in(&env, dockerfile, |request| {
        request.network = NetMode::Bridge;
        request.allow_insecure = true;
    })
    .ok();
    made.load(Ordering::SeqCst)
}

#[test]
fn a_network_in_which_nothing_is_left_is_used_again() {
    let file = "FROM base\nRUN true 1\nRUN true 2\nRUN --mount=type=tmpfs,target=/mnt true 3\n";
    assert_eq!(networks(file, false), 1);
    assert_eq!(networks(file, true), 3);
}

#[test]
fn nobody_gets_the_network_of_who_may_do_everything() {
    assert_eq!(networks("FROM base\nRUN true 1\nRUN --security=insecure true 2\nRUN true 3\n", false), 2);
    let file = "FROM base\nRUN --security=insecure true 1\nRUN --security=insecure true 2\n";
    assert_eq!(networks(file, false), 2);
}
