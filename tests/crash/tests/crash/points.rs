//! Every sync, name, mount and write of an operation is broken in turn; after each the outcome is the old state or the
//! new, never between, what was acknowledged is there, and nothing is left behind.

use std::collections::BTreeSet;
use std::path::Path;

use testkit::{DockerRegistry, Host, Mode};

use crate::machine::Machine;
use crate::operation::{self, Operation};
use crate::settings;
use crate::trace::{self, Class, Fault, Plan, Point, Run};

#[test]
fn create() {
    broken_everywhere(&operation::CREATE);
}

#[test]
fn start() {
    broken_everywhere(&operation::START);
}

#[test]
fn stop() {
    broken_everywhere(&operation::STOP);
}

#[test]
fn remove() {
    broken_everywhere(&operation::REMOVE);
}

#[test]
fn run_and_remove() {
    broken_everywhere(&operation::RUN_AND_REMOVE);
}

#[test]
fn build() {
    broken_everywhere(&operation::BUILD);
}

#[test]
fn rebuild() {
    broken_everywhere(&operation::REBUILD);
}

#[test]
fn commit() {
    broken_everywhere(&operation::COMMIT);
}

#[test]
fn load() {
    broken_everywhere(&operation::LOAD);
}

#[test]
fn remove_image() {
    broken_everywhere(&operation::REMOVE_IMAGE);
}

#[test]
fn restore() {
    broken_everywhere(&operation::RESTORE);
}

#[test]
fn quarantine() {
    broken_everywhere(&operation::QUARANTINE);
}

#[test]
fn collect() {
    broken_everywhere(&operation::COLLECT);
}

#[test]
fn prune() {
    broken_everywhere(&operation::PRUNE);
}

#[test]
fn pull() {
    let host = Host::new(Mode::Embedded);
    let machine = Machine::new(&host);
    operation::prepare(&host);
    let _registry = DockerRegistry::start(&host);
    for line in [
        "load -i image.tar",
        "tag loaded 127.0.0.1:5000/loaded:1",
        "push -q 127.0.0.1:5000/loaded:1",
        "rmi loaded 127.0.0.1:5000/loaded:1",
    ] {
        host.type_in(line).ok();
    }
    broken_everywhere_on(&host, &machine, &operation::PULL);
}

fn broken_everywhere(operation: &Operation) {
    let host = Host::new(Mode::Embedded);
    let machine = Machine::new(&host);
    operation::prepare(&host);
    broken_everywhere_on(&host, &machine, operation);
}

/// What is broken of `operation`, one after the other, until there are no more points.
fn broken_everywhere_on(host: &Host, machine: &Machine<'_>, operation: &Operation) {
    let (seed, every) = (settings::seed(), settings::every());
    let mut before = machine.rests();
    let (mut tried, mut wrong) = (0, Vec::new());
    for fault in [Fault::Kill, Fault::Fail] {
        // In a sample each seed takes other points.
        let first = 1 + usize::try_from((seed + fault as u64 * (every / 2)) % every).expect("small");
        for at in (first..).step_by(usize::try_from(every).expect("small")) {
            operation.begin(host);
            let mut command = host.command();
            command.args(operation.line.split_whitespace());
            let (scratch, data) = (host.home(), &*host.root());
            let others = &*monitors(machine);
            let run = trace::run(&command, &Plan { at, fault, scratch, data, others });
            if let Err(message) = judge(machine, operation, fault, &run, &before) {
                let message = format!("{fault:?} at {at}: {}\n  {message}", said(&run));
                eprintln!("{message}");
                wrong.push(message);
                before = machine.holds();
            }
            if run.hit.is_none() {
                break;
            }
            tried += 1;
        }
    }
    println!("{}: {tried} points tried", operation.line);
    assert!(wrong.is_empty(), "`{}` broken at {} points:\n{}", operation.line, wrong.len(), wrong.join("\n"));
}

/// The monitors that run.
fn monitors(machine: &Machine<'_>) -> Vec<i32> {
    let ids = machine.host.type_in("ps -q --no-trunc").ok();
    ids.split_whitespace().filter_map(|id| machine.monitor(id)).collect()
}

/// What was broken and what came of it.
fn said(run: &Run) -> String {
    let point = run.hit.as_ref().map_or_else(|| "nothing".to_owned(), Point::to_string);
    format!("{point}: exit code {}, {} points, {}", run.code, run.points, run.stderr.trim())
}

/// Repairs, compares with what may have come of it, takes it away, and looks for what is left.
fn judge(
    machine: &Machine<'_>,
    operation: &Operation,
    fault: Fault,
    run: &Run,
    before: &BTreeSet<String>,
) -> Result<(), String> {
    let mut wrong = vec![machine.repair()];
    let state = operation.state(machine.host);
    wrong.push(match operation.allows(&state, run.code, run.hit.is_some()) {
        true => Ok(()),
        false => Err(format!("its state is {state:?}")),
    });
    wrong.push(match &run.hit {
        Some(point) if fault == Fault::Fail => judge_message(operation, point, run, &machine.host.root()),
        None if run.code != operation.code => Err("it fails although nothing was broken".to_owned()),
        _ => Ok(()),
    });
    for line in operation.after {
        machine.host.type_in(line).run();
    }
    wrong.push(machine.returns_to(before));
    let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n  ")) }
}

/// A call that failed is told, with its reason, or it did not matter.
fn judge_message(operation: &Operation, point: &Point, run: &Run, root: &Path) -> Result<(), String> {
    let reasons = ["input/output error", "no space left", "disk i/o error", "database or disk is full"];
    let told = operation.told(&run.stdout, &run.stderr);
    if run.stderr.contains("panicked") {
        return Err("it panics".to_owned());
    }
    if run.code != 0 && run.code != operation.code && !reasons.iter().any(|reason| told.contains(reason)) {
        return Err("it does not say why it fails".to_owned());
    }
    // SQLite syncs the folder of its log once a process and does not look at the result: the log's name never changes.
    // The database itself is synced when its log is copied back; when that fails, the log is kept.
    let of_sqlite = [root, &root.join("state.db")].iter().any(|path| point.object == path.to_string_lossy());
    // Before it copies its log back it syncs it once more.
    let indifferent =
        of_sqlite || run.again || operation.indifferent.iter().any(|part| point.object.contains(part));
    if run.code == 0 && point.class == Class::Sync && !indifferent {
        return Err("acknowledged although it may not have reached the disk".to_owned());
    }
    Ok(())
}
