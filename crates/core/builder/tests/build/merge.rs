//! Builds at once that come to the same step: it runs once, for as long as one of them wants it.

use crate::fixture::Fixture;
use builder::{Built, CancelToken, Context, Error, Event, NetMode, Request};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// A step that notes that it begins, and then waits for a file.
const WAITS: &str = "FROM base
RUN --mount=type=cache,target=/c echo x >> /c/starts; echo begun; until test -e /c/go; do sleep 0.05; done; echo ended; touch /made
";
const PATIENCE: Duration = Duration::from_secs(60);

/// A build on a thread of its own.
struct Running {
    cancel: CancelToken,
    said: Receiver<String>,
    ends: JoinHandle<Result<Built, Error>>,
}

fn start(f: &Fixture) -> Running {
    let request = Request { network: NetMode::None, ..Request::default() };
    let (cancel, env, context) = (request.cancel.clone(), f.env(), f.context());
    let (say, said) = channel();
    let ends = spawn(move || {
        builder::build(&env, Context::Dir(context), &request, &mut |event| {
            if let Event::StepLog { text, .. } = event {
                // Who has heard enough is gone.
                let _ = say.send(text);
            }
        })
    });
    Running { cancel, said, ends }
}

impl Running {
    /// Waits until a step says this.
    #[track_caller]
    fn says(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        while let Ok(text) = self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if text.contains(wanted) {
                return;
            }
        }
        panic!("nobody said {wanted:?}");
    }

    #[track_caller]
    fn ends_cancelled(self) {
        let ended = self.ends.join().unwrap();
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    }
}

/// The directory of the cache mount.
fn cache(f: &Fixture) -> PathBuf {
    let holds = |path: &Path| path.join("starts").exists();
    let entries = std::fs::read_dir(f.root().join("cache-mounts")).unwrap();
    entries.map(|entry| entry.unwrap().path()).find(|path| holds(path)).expect("the step has begun")
}

fn starts(f: &Fixture) -> usize {
    std::fs::read_to_string(cache(f).join("starts")).unwrap().lines().count()
}

#[test]
fn a_step_goes_on_for_the_build_that_waits_for_it() {
    let f = Fixture::new();
    f.file("Dockerfile", WAITS);
    let first = start(&f);
    first.says("begun");
    let second = start(&f);
    second.says("another build is at this step");
    // What the step said before anybody else came.
    second.says("begun");
    first.cancel.cancel();
    first.says("it goes on for another build");
    std::fs::write(cache(&f).join("go"), "").unwrap();
    second.says("ended");
    let built = second.ends.join().unwrap().unwrap();
    assert_eq!(starts(&f), 1);
    assert_eq!((built.ran, built.cached > 0), (0, true), "the second build has run nothing");
    first.ends_cancelled();
}

#[test]
fn a_step_ends_with_the_last_that_wants_it() {
    let f = Fixture::new();
    f.file("Dockerfile", WAITS);
    let first = start(&f);
    first.says("begun");
    let (second, third) = (start(&f), start(&f));
    second.says("another build is at this step");
    third.says("another build is at this step");
    first.cancel.cancel();
    first.says("it goes on for another build");
    second.cancel.cancel();
    second.ends_cancelled();
    assert!(!first.ends.is_finished(), "one still wants it");
    third.cancel.cancel();
    third.ends_cancelled();
    // Nothing lets the step end by itself.
    first.ends_cancelled();
    assert_eq!(starts(&f), 1);
}
