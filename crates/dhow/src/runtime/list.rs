//! `list`: the containers below the root.

use std::io;

use clap::ValueEnum;
use runtime::containers::{self, Listed, State};

use super::{Failure, Globals};

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(globals: &Globals, args: &Args) -> Result<(), Failure> {
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut states = Vec::new();
    for listed in containers::list(&globals.root)? {
        match listed {
            Ok(Listed { state, owner }) => states.push(State { owner: user(&names, owner), ..state }),
            Err((id, error)) => {
                let text = format!("load container {id}: {}\n", super::chain(&error));
                // Nobody is left to be told that standard error is closed.
                let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            }
        }
    }
    let text = match args.format {
        _ if args.quiet => states.iter().map(|state| format!("{}\n", state.id)).collect(),
        Format::Table => table(&states),
        Format::Json => json(&states)?,
    };
    super::print(&text)
}

/// As Go writes a list: none is `null`.
pub fn json(list: &[impl serde::Serialize]) -> Result<String, Failure> {
    let text = if list.is_empty() { Ok("null".to_owned()) } else { serde_json::to_string(list) };
    text.map(|text| text + "\n").map_err(|error| Failure::of("write JSON", &error))
}

/// A user's name, or its number behind a `#`.
fn user(passwd: &str, uid: u32) -> String {
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    named.map_or_else(|| format!("#{uid}"), str::to_owned)
}

/// Columns are at least twelve characters wide and three apart.
fn table(states: &[State]) -> String {
    let titles = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(titles).chain(states.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(12).max(cell.chars().count() + 3);
        }
    }
    let line = |row: &[String; 6]| {
        let [cells @ .., last] = row;
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<String>() + last + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use runtime::containers::Status;

    use super::*;

    #[test]
    fn columns_are_runcs() {
        let state = State {
            oci_version: "1.0.0".to_owned(),
            id: "c1".to_owned(),
            pid: 24761,
            status: Status::Running,
            bundle: "/tmp/docs/b".into(),
            rootfs: "/tmp/docs/b/rootfs".into(),
            created: "2026-11-21T05:28:16.961809737Z".to_owned(),
            annotations: std::collections::BTreeMap::new(),
            owner: "root".to_owned(),
        };
        let lines = "ID          PID         STATUS      BUNDLE        CREATED                          OWNER\n\
             c1          24761       running     /tmp/docs/b   2026-11-21T05:28:16.961809737Z   root\n";
        assert_eq!(table(&[state]), lines);
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn owners_have_names() {
        let passwd = "root:x:0:0::/root:/bin/sh\nodd\na:x:7:7::/a:";
        assert_eq!([0, 7, 8].map(|uid| user(passwd, uid)), ["root", "a", "#8"]);
    }
}
