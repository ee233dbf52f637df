//! `events`: a line of JSON for each reading of what a container uses, and for each time that it ran out of memory.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use runtime::cgroup::{Cgroup, OomEvents};
use runtime::containers::{Container, Error, Status};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::Serialize;

use super::{Failure, Globals};

mod stats;

use stats::Stats;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Time between two readings
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_hyphen_values = true)]
    interval: String,
    /// Print one reading and no more
    #[arg(long)]
    stats: bool,
    #[arg(value_name = "CONTAINER")]
    id: String,
}

#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    typ: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let container = globals.open(&args.id)?;
    let interval = interval(&args.interval)?;
    let stopped = || Failure::new(format!("container with id {} is not running", args.id));
    if container.status()? == Status::Stopped {
        return Err(stopped());
    }
    let cgroup = container.cgroup()?.ok_or(Error::NoCgroup { what: "an account of what is used" })?;
    let spec = container.spec()?;
    let rdt = spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
    let read = || -> Result<(), Failure> {
        let fail = |source| Error::Cgroup { path: cgroup.path().to_owned(), source };
        let schemata = rdt.map(|rdt| runtime::resctrl::current(&args.id, rdt)).unwrap_or_default();
        let stats = Stats::new(cgroup.stats().map_err(fail)?, cgroup.account(), schemata);
        print(&Event { typ: "stats", id: &args.id, data: Some(stats) })
    };
    if args.stats {
        return read();
    }
    follow(&container, &cgroup, interval, read)
}

/// A Go duration that is some time.
fn interval(text: &str) -> Result<Duration, Failure> {
    let bad = |error| Failure::new(format!("invalid value {text:?} for flag -interval: {error}"));
    let nanos = api::duration::parse(text).map_err(bad)?;
    match u64::try_from(nanos) {
        Ok(nanos @ 1..) => Ok(Duration::from_nanos(nanos)),
        _ => Err(Failure::new("duration interval must be greater than 0")),
    }
}

/// Until the end of the container, whose last want of memory is told too.
fn follow(
    container: &Container,
    cgroup: &Cgroup,
    interval: Duration,
    read: impl Fn() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some((_, init)) = container.init()? else { return Ok(()) };
    // A machine without that controller still has the others.
    let mut wants = cgroup.oom_events().ok();
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(&init, wants.as_ref(), next)?;
        if let Some(wants) = &mut wants
            && wants
                .happened()
                .map_err(|error| Failure::of("read the notice of the memory controller", &error))?
        {
            print(&Event { typ: "oom", id: container.id(), data: None })?;
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            read()?;
            next += interval;
        }
    }
}

/// Waits for any of them; whether the init has ended.
fn wait(init: &impl AsFd, wants: Option<&OomEvents>, until: Instant) -> Result<bool, Failure> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut polled = vec![PollFd::new(init, PollFlags::IN)];
    polled.extend(wants.map(|wants| PollFd::new(wants, PollFlags::IN)));
    match rustix::event::poll(&mut polled, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(polled.first().is_some_and(|init| !init.revents().is_empty())),
        Err(error) => Err(Failure::of("wait for the container", &std::io::Error::from(error))),
    }
}

fn print(event: &Event<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string(event).map_err(|error| Failure::of("write JSON", &error))?;
    super::print(&(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_gos_and_some_time() {
        assert_eq!(interval("1m0.5s").unwrap(), Duration::from_millis(60_500));
        for bad in ["0", "-1s"] {
            assert_eq!(interval(bad).unwrap_err().text, "duration interval must be greater than 0");
        }
        assert!(interval("5").unwrap_err().text.starts_with("invalid value \"5\" for flag -interval"));
    }
}
