//! What a start costs: figures for people (`--nocapture`), and a bound that only a blunder exceeds.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use runtime::Stdio;

use crate::scene::{Scene, cleanup};

#[test]
fn a_start_takes_milliseconds() {
    let caps = runtime::defaults::CAPABILITIES.map(str::to_owned).to_vec();
    let mut phases: [Vec<Duration>; 4] = Default::default();
    let scene = Scene::new(&["true"]).seccomp(runtime::seccomp::docker_default(&caps));
    for _ in 0..40 {
        let begin = Instant::now();
        let created = scene.create(Stdio::Null).unwrap();
        let cgroup = created.cgroup.clone();
        phases[0].push(begin.elapsed());
        let running = created.start().unwrap();
        phases[1].push(begin.elapsed());
        assert_eq!(sys::child::wait(running.pidfd.as_fd()).unwrap().code(), 0);
        phases[2].push(begin.elapsed());
        cleanup(cgroup.as_ref());
        phases[3].push(begin.elapsed());
    }
    for (name, mut times) in ["created", "executed", "ended", "cleaned up"].into_iter().zip(phases) {
        times.sort();
        println!("{name:>10}: least {:?}, median {:?}", times[0], times[times.len() / 2]);
        assert!(times[0] < Duration::from_secs(1), "{name}: {:?}", times[0]);
    }
}
