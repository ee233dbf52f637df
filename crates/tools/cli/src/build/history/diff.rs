use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::build::{BuildRecord, BuildStepRecord};

use crate::context::Cli;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

/// Compares two builds: those named, or the one named with the newest, or the newest with the one before it.
pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (old, new) = match &args.args[..] {
        [old, new, ..] => (old.as_str(), new.as_str()),
        [old] => (old.as_str(), ""),
        [] => ("^1", ""),
    };
    let old = client::builds::inspect(cli.client()?, old).await?;
    let new = client::builds::inspect(cli.client()?, new).await?;
    cli.print(&differences(&old, &new))?;
    Ok(0)
}

fn differences(old: &BuildRecord, new: &BuildRecord) -> String {
    let mut text = format!("--- {} {}\n+++ {} {}\n", old.id, old.name, new.id, new.name);
    let mut field = |name: &str, old: &str, new: &str| {
        if old != new {
            if !old.is_empty() {
                let _ = writeln!(text, "-{name}: {old}");
            }
            if !new.is_empty() {
                let _ = writeln!(text, "+{name}: {new}");
            }
        }
    };
    field("status", &old.status, &new.status);
    field("target", &old.target, &new.target);
    field("platform", &old.platform, &new.platform);
    field("tags", &old.tags.join(", "), &new.tags.join(", "));
    for (what, old, new) in
        [("build argument", &old.build_args, &new.build_args), ("label", &old.labels, &new.labels)]
    {
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let value = |from: &BTreeMap<String, String>| from.get(name).cloned().unwrap_or_default();
            field(&format!("{what} {name}"), &value(old), &value(new));
        }
    }
    field("image", &old.image, &new.image);
    let of = |record: &BuildRecord| -> Vec<BuildStepRecord> {
        record.steps.iter().filter(|step| !step.instruction.is_empty()).cloned().collect()
    };
    for (mark, step) in lines(&of(old), &of(new)) {
        let name = step.name.lines().next().unwrap_or_default();
        let _ = writeln!(text, "{mark}{} {name}", step.status);
        for reason in step.reasons.iter().filter(|_| mark != '-') {
            let _ = writeln!(text, "     {reason}");
        }
    }
    text
}

/// The steps of both in one list: those that only one has are marked, the others as they are in the new one.
fn lines<'s>(old: &'s [BuildStepRecord], new: &'s [BuildStepRecord]) -> Vec<(char, &'s BuildStepRecord)> {
    let same =
        |a: &BuildStepRecord, b: &BuildStepRecord| a.stage == b.stage && a.instruction == b.instruction;
    // The length of the longest common part of what follows, for every pair of places.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match same(&old[i], &new[j]) {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && same(&old[i], &new[j]) {
            out.push((' ', &new[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', &old[i]));
            i += 1;
        } else {
            out.push(('+', &new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_new_and_what_is_gone() {
        let step = |instruction: &str, status: &str| BuildStepRecord {
            name: instruction.into(),
            instruction: instruction.into(),
            status: status.into(),
            ..BuildStepRecord::default()
        };
        let record = |id: &str, version: &str, steps: Vec<BuildStepRecord>| BuildRecord {
            id: id.into(),
            status: "completed".into(),
            build_args: BTreeMap::from([("VERSION".to_owned(), version.to_owned())]),
            steps,
            ..BuildRecord::default()
        };
        let old = record(
            "a",
            "1",
            vec![step("FROM x", "CACHED"), step("RUN old", "DONE"), step("RUN end", "DONE")],
        );
        let new = record(
            "b",
            "2",
            vec![step("FROM x", "CACHED"), step("RUN new", "DONE"), step("RUN end", "DONE")],
        );
        let wanted = "--- a \n+++ b \n-build argument VERSION: 1\n+build argument VERSION: 2\n CACHED FROM x\n-DONE RUN old\n+DONE RUN new\n DONE RUN end\n";
        assert_eq!(differences(&old, &new), wanted);
        assert_eq!(differences(&old, &old).lines().filter(|l| l.starts_with(['-', '+'])).count(), 2);
    }
}
