//! A table of processes in the form of `ps`, read from `/proc`.
//!
//! `docker top` runs the host's `ps` and picks the container's lines. Here the same columns are made from `/proc`, so
//! no helper binary is needed: `-ef` (the default), `aux`, and `-o` with a list of columns. Other arguments of `ps`
//! are an error that says so.

use std::collections::HashMap;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::{Error, Result};

/// Ticks of `/proc/<pid>/stat` a second; the kernel's ABI fixes it to 100 on every Linux that we run on.
const HZ: u64 = 100;

/// A column: how `-o` calls it, and its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    User,
    Uid,
    Gid,
    Pid,
    Ppid,
    Pgid,
    Sid,
    C,
    Pcpu,
    Pmem,
    Vsz,
    Rss,
    Tty,
    Stat,
    State,
    Stime,
    Time,
    Etime,
    Nice,
    Priority,
    Threads,
    Comm,
    Args,
}

/// A chosen column with its heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    column: Column,
    title: String,
}

/// What `/proc` says about one process.
#[derive(Debug, Clone, Default)]
pub struct Process {
    pid: i32,
    ppid: i32,
    pgid: i32,
    sid: i32,
    uid: u32,
    gid: u32,
    state: char,
    tty: u32,
    foreground: bool,
    leader: bool,
    threads: i64,
    nice: i64,
    priority: i64,
    cpu_ticks: u64,
    start_ticks: u64,
    vsz_kib: u64,
    rss_kib: u64,
    locked: bool,
    comm: String,
    args: String,
}

/// What the columns need to know about the machine.
pub struct Machine {
    /// Seconds since boot.
    pub uptime: f64,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Now.
    pub now: Timestamp,
    /// User names by id.
    pub users: HashMap<u32, String>,
}

/// The columns that `ps_args` ask for; empty means `-ef`.
pub fn headings(ps_args: &str) -> Result<Vec<Heading>> {
    use Column::*;
    let words: Vec<&str> = ps_args.split_whitespace().collect();
    let titled = |list: &[(Column, &str)]| {
        list.iter().map(|(column, title)| Heading { column: *column, title: (*title).to_owned() }).collect()
    };
    let full = [
        (User, "UID"),
        (Pid, "PID"),
        (Ppid, "PPID"),
        (C, "C"),
        (Stime, "STIME"),
        (Tty, "TTY"),
        (Time, "TIME"),
        (Args, "CMD"),
    ];
    let bsd = [
        (User, "USER"),
        (Pid, "PID"),
        (Pcpu, "%CPU"),
        (Pmem, "%MEM"),
        (Vsz, "VSZ"),
        (Rss, "RSS"),
        (Tty, "TTY"),
        (Stat, "STAT"),
        (Stime, "START"),
        (Time, "TIME"),
        (Args, "COMMAND"),
    ];
    if let Some(list) = custom(&words) {
        let headings = list.iter().map(|name| named(name)).collect::<Result<Vec<_>>>()?;
        if !headings.iter().any(|h| h.column == Pid) {
            return Err(Error::invalid("Couldn't find PID field in ps output"));
        }
        return Ok(headings);
    }
    match words.as_slice() {
        [] | ["-ef" | "-f" | "-fe"] | ["-e", "-f"] => Ok(titled(&full)),
        ["aux" | "-aux" | "ax" | "u" | "axu" | "auxww" | "auxw"] => Ok(titled(&bsd)),
        ["-e" | "-A" | "-a"] => Ok(titled(&[(Pid, "PID"), (Tty, "TTY"), (Time, "TIME"), (Comm, "CMD")])),
        _ => Err(Error::invalid(format!(
            "ps arguments {ps_args:?} are not supported: use -ef, aux or -o with a list of columns"
        ))),
    }
}

/// The names after `-o`, `-eo`, `-o…` or `o`, if that is what the words say.
fn custom(words: &[&str]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let list = match *word {
            "-o" | "-eo" | "-ao" | "-Ao" | "o" | "axo" | "-axo" | "--format" => words.next()?,
            "-e" | "-A" | "-a" | "ax" => continue,
            _ => word.strip_prefix("-o").or_else(|| word.strip_prefix("-eo"))?,
        };
        names.extend(list.split(',').filter(|n| !n.is_empty()).map(str::to_owned));
    }
    (!names.is_empty()).then_some(names)
}

fn named(spec: &str) -> Result<Heading> {
    use Column::*;
    let (name, title) = spec.split_once('=').map_or((spec, None), |(n, t)| (n, Some(t)));
    let (column, heading) = match name {
        "user" | "euser" | "uname" | "ruser" => (User, "USER"),
        "uid" | "euid" | "ruid" => (Uid, "UID"),
        "gid" | "egid" | "rgid" => (Gid, "GID"),
        "pid" => (Pid, "PID"),
        "ppid" => (Ppid, "PPID"),
        "pgid" | "pgrp" => (Pgid, "PGID"),
        "sid" | "sess" | "session" => (Sid, "SID"),
        "c" => (C, "C"),
        "pcpu" | "%cpu" => (Pcpu, "%CPU"),
        "pmem" | "%mem" => (Pmem, "%MEM"),
        "vsz" | "vsize" => (Vsz, "VSZ"),
        "rss" | "rssize" => (Rss, "RSS"),
        "tty" | "tt" | "tname" => (Tty, "TT"),
        "stat" => (Stat, "STAT"),
        "s" | "state" => (State, "S"),
        "stime" | "start" | "start_time" | "lstart" => (Stime, "STIME"),
        "time" | "cputime" => (Time, "TIME"),
        "etime" => (Etime, "ELAPSED"),
        "ni" | "nice" => (Nice, "NI"),
        "pri" => (Priority, "PRI"),
        "nlwp" | "thcount" => (Threads, "NLWP"),
        "comm" | "ucmd" | "ucomm" => (Comm, "COMMAND"),
        "args" | "command" => (Args, "COMMAND"),
        "cmd" => (Args, "CMD"),
        _ => return Err(Error::invalid(format!("error: unknown user-defined format specifier \"{name}\""))),
    };
    Ok(Heading { column, title: title.unwrap_or(heading).to_owned() })
}

/// The titles of the table.
pub fn titles(headings: &[Heading]) -> Vec<String> {
    headings.iter().map(|h| h.title.clone()).collect()
}

/// One line of the table.
pub fn row(headings: &[Heading], p: &Process, m: &Machine) -> Vec<String> {
    headings.iter().map(|h| cell(h.column, p, m)).collect()
}

fn cell(column: Column, p: &Process, m: &Machine) -> String {
    let elapsed = (m.uptime - p.start_ticks as f64 / HZ as f64).max(0.0);
    let percent = if elapsed > 0.0 { p.cpu_ticks as f64 / HZ as f64 / elapsed * 100.0 } else { 0.0 };
    match column {
        Column::User => m.users.get(&p.uid).cloned().unwrap_or_else(|| p.uid.to_string()),
        Column::Uid => p.uid.to_string(),
        Column::Gid => p.gid.to_string(),
        Column::Pid => p.pid.to_string(),
        Column::Ppid => p.ppid.to_string(),
        Column::Pgid => p.pgid.to_string(),
        Column::Sid => p.sid.to_string(),
        Column::C => format!("{}", percent as u64),
        Column::Pcpu => format!("{percent:.1}"),
        Column::Pmem => format!("{:.1}", p.rss_kib as f64 * 100.0 / m.memory_kib.max(1) as f64),
        Column::Vsz => p.vsz_kib.to_string(),
        Column::Rss => p.rss_kib.to_string(),
        Column::Tty => tty(p.tty),
        Column::Stat => stat(p),
        Column::State => p.state.to_string(),
        Column::Stime => started(elapsed, m.now),
        Column::Time => clock(p.cpu_ticks / HZ),
        Column::Etime => etime(elapsed as u64),
        Column::Nice => p.nice.to_string(),
        Column::Priority => (39 - p.priority).to_string(),
        Column::Threads => p.threads.to_string(),
        Column::Comm => p.comm.clone(),
        Column::Args if p.args.is_empty() => format!("[{}]", p.comm),
        Column::Args => p.args.clone(),
    }
}

/// `pts/N`, `ttyN` or `?`, from the device number of `stat` (major in bits 8..20, minor split around it).
fn tty(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => "?".to_owned(),
    }
}

fn stat(p: &Process) -> String {
    let mut text = p.state.to_string();
    for (on, mark) in [
        (p.nice < 0, '<'),
        (p.nice > 0, 'N'),
        (p.locked, 'L'),
        (p.leader, 's'),
        (p.threads > 1, 'l'),
        (p.foreground, '+'),
    ] {
        if on {
            text.push(mark);
        }
    }
    text
}

/// `HH:MM` for today, `MonDD` this year, else the year, as `ps` shows a start time.
fn started(elapsed: f64, now: Timestamp) -> String {
    let zone = TimeZone::system();
    let start = Timestamp::from_second(now.as_second() - elapsed as i64).unwrap_or(now);
    let (start, now): (Zoned, Zoned) = (start.to_zoned(zone.clone()), now.to_zoned(zone));
    if start.date() == now.date() {
        start.strftime("%H:%M").to_string()
    } else if start.year() == now.year() {
        start.strftime("%b%d").to_string()
    } else {
        start.strftime("%Y").to_string()
    }
}

fn clock(seconds: u64) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h >= 24 { format!("{}-{:02}:{m:02}:{s:02}", h / 24, h % 24) } else { format!("{h:02}:{m:02}:{s:02}") }
}

fn etime(seconds: u64) -> String {
    if seconds < 3600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { clock(seconds) }
}

/// Reads one process below `proc`; `None` when it is gone.
pub fn read(proc: &Path, pid: i32) -> Option<Process> {
    use std::os::unix::fs::MetadataExt;
    let dir = proc.join(pid.to_string());
    let meta = std::fs::metadata(&dir).ok()?;
    let mut process = parse_stat(&std::fs::read_to_string(dir.join("stat")).ok()?)?;
    (process.uid, process.gid) = (meta.uid(), meta.gid());
    let cmdline = std::fs::read(dir.join("cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&cmdline).trim_end_matches('\0').replace('\0', " ");
    process.args = text.replace(|c: char| c.is_control(), "?");
    if let Ok(status) = std::fs::read_to_string(dir.join("status")) {
        let field = |name: &str| {
            status.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.split_whitespace().next())
        };
        process.locked = field("VmLck:").is_some_and(|v| v != "0");
        process.rss_kib = field("VmRSS:").and_then(|v| v.parse().ok()).unwrap_or(0);
        if let Some(uid) = status.lines().find_map(|l| l.strip_prefix("Uid:"))
            && let Some(effective) = uid.split_whitespace().nth(1).and_then(|v| v.parse().ok())
        {
            process.uid = effective;
        }
    }
    Some(process)
}

/// `/proc/<pid>/stat`: the command name stands in brackets and may itself contain any character.
fn parse_stat(text: &str) -> Option<Process> {
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let pid = text[..open].trim().parse().ok()?;
    let fields: Vec<&str> = text[close + 1..].split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
    let (pgid, sid) = (number(2) as i32, number(3) as i32);
    Some(Process {
        pid,
        ppid: number(1) as i32,
        pgid,
        sid,
        state: fields.first()?.chars().next()?,
        tty: number(4) as u32,
        foreground: number(5) == i64::from(pgid),
        leader: sid == pid,
        cpu_ticks: (number(11) + number(12)).max(0) as u64,
        priority: number(15),
        nice: number(16),
        threads: number(17),
        start_ticks: number(19).max(0) as u64,
        vsz_kib: number(20).max(0) as u64 / 1024,
        comm: text[open + 1..close].to_owned(),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "42 (a) b) (c) S 1 42 42 34816 42 4194560 1 0 0 0 250 50 0 0 20 0 3 0 9000 8192000 100 1";

    fn machine() -> Machine {
        Machine {
            uptime: 100.0,
            memory_kib: 1000,
            now: "2026-03-04T12:00:00Z".parse().unwrap(),
            users: HashMap::from([(0, "root".to_owned())]),
        }
    }

    #[test]
    fn default_columns() {
        let headings = headings("").unwrap();
        assert_eq!(titles(&headings), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let p = parse_stat(STAT).unwrap();
        let row = row(&headings, &p, &machine());
        assert_eq!(row[..4], ["root", "42", "1", "30"]);
        assert_eq!(row[5..], ["pts/0", "00:00:03", "[a) b) (c]"]);
    }

    #[test]
    fn chosen_columns() {
        let p = parse_stat(STAT).unwrap();
        let line = |args: &str| row(&headings(args).unwrap(), &p, &machine());
        assert_eq!(line("-o pid,comm,stat"), ["42", "a) b) (c", "Ssl+"]);
        assert_eq!(line("-eo pid -o vsz=MEM,etime"), ["42", "8000", "00:10"]);
        assert_eq!(titles(&headings("-eo pid,vsz=MEM").unwrap()), ["PID", "MEM"]);
        assert_eq!(titles(&headings("aux").unwrap()).len(), 11);
        assert_eq!(headings("-o comm").unwrap_err().message, "Couldn't find PID field in ps output");
        assert!(headings("-o pid,nope").is_err());
        assert!(headings("--sort=x").is_err());
    }

    #[test]
    fn our_own_process_is_readable() {
        let pid = std::process::id() as i32;
        let p = read(Path::new("/proc"), pid).unwrap();
        assert_eq!(p.pid, pid);
        assert!(p.rss_kib > 0);
    }
}
