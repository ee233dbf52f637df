//! What joining and leaving costs, and how soon an endpoint is reached. Prints; the bound is loose enough for any machine.

use super::{Host, NEIGHBOUR, Space, endpoint, network};
use crate::{attach, create_namespace, detach, ensure_network, withdraw};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[test]
fn attach_and_detach() {
    const ROUNDS: u8 = 30;
    const NAMES: [&str; 6] = ["namespace", "ensure again", "attach", "first answer", "withdraw", "detach"];
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let _outside = host.neighbour.serve(9000);
    let mut times = [const { Vec::new() }; 6];
    for round in 0..ROUNDS {
        let ends = endpoint(&net, 10 + round, &["0.0.0.0:8080:80"]);
        let mut clock = |at: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            times[at].push(start.elapsed());
        };
        let mut space = None;
        clock(0, &mut || space = Some(Space(create_namespace().unwrap())));
        let space = space.unwrap();
        let clock = &mut clock;
        netns(&host, || {
            clock(1, &mut || ensure_network(&net, "/".as_ref()).unwrap());
            clock(2, &mut || attach(&net, &ends, space.0.as_fd()).unwrap());
        });
        clock(3, &mut || assert!(space.ask(&format!("{NEIGHBOUR}:9000")).is_ok()));
        netns(&host, || {
            clock(4, &mut || withdraw(&ends).unwrap());
            clock(5, &mut || detach(&ends).unwrap());
        });
    }
    for (name, mut times) in NAMES.iter().zip(times) {
        times.sort();
        let (middle, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{name}: median {middle:?}, worst {worst:?}");
        assert!(middle < Duration::from_millis(500), "{name}: {middle:?}");
    }
}

fn netns(host: &Host, work: impl FnOnce() + Send) {
    host.space.run(work);
}
