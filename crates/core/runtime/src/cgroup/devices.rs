//! The device controller: rules to lines of version 1, and to a BPF program of version 2.

use std::io::Write as _;
use std::path::Path;

use oci::runtime::DeviceRule;
use sys::bpf::{self, Instruction};

use super::Error;

/// A rule with its wildcards resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    /// `None` is both.
    pub typ: Option<char>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Bits: 1 make, 2 read, 4 write, as the BPF program gets them.
    pub access: u32,
}

pub(super) const ALL: u32 = 7;

impl Rule {
    /// It decides, whatever is asked.
    pub fn is_total(&self) -> bool {
        (self.typ, self.major, self.minor, self.access) == (None, None, None, ALL)
    }

    pub fn letters(&self) -> String {
        let names = [(2, 'r'), (4, 'w'), (1, 'm')];
        names.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect()
    }
}

/// What is given, between a denial of all and what every container has.
pub(super) fn rules(given: &[DeviceRule]) -> Result<Vec<Rule>, Error> {
    // What no rule names is denied, also where the group above has everything.
    let mut list = vec![Rule { allow: false, typ: None, major: None, minor: None, access: ALL }];
    list.extend(given.iter().map(rule).collect::<Result<Vec<_>, _>>()?);
    // What was allowed after the last denial holds already.
    let settled = list.iter().rposition(|rule| !rule.allow).map_or(0, |last| last + 1);
    for default in crate::defaults::allowed_devices() {
        let default = rule(&default)?;
        if !list[settled..].contains(&default) {
            list.push(default);
        }
    }
    Ok(list)
}

fn rule(rule: &DeviceRule) -> Result<Rule, Error> {
    let bad = |reason: String| Error::Device { reason };
    let typ = match rule.typ.as_deref() {
        None | Some("" | "a") => None,
        Some("c" | "u") => Some('c'),
        Some("b") => Some('b'),
        Some(other) => return Err(bad(format!("type {other:?}: it is one of a, b, c and u"))),
    };
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| bad(format!("number {n}"))),
    };
    let mut access = 0;
    for letter in rule.access.chars() {
        access |= match letter {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => return Err(bad(format!("access {:?}: its letters are r, w and m", rule.access))),
        };
    }
    let access = if rule.access.is_empty() { ALL } else { access };
    Ok(Rule { allow: rule.allow, typ, major: number(rule.major)?, minor: number(rule.minor)?, access })
}

/// Writes the rules one by one, in order: a first rule that denies all leaves no moment in which more is open
/// than before.
pub(super) fn apply_v1(directory: &Path, given: &[DeviceRule]) -> Result<(), Error> {
    let open = |name: &str| {
        let file = directory.join(name);
        let opened = std::fs::OpenOptions::new().write(true).open(&file);
        opened.map_err(|source| Error::Call { attempt: format!("open {}", file.display()), source })
    };
    let (mut allow, mut deny) = (open("devices.allow")?, open("devices.deny")?);
    for rule in rules(given)? {
        let file = if rule.allow { &mut allow } else { &mut deny };
        for line in lines(&rule) {
            file.write_all(line.as_bytes()).map_err(|source| Error::Call {
                attempt: format!("write device rule {line:?} of {}", directory.display()),
                source,
            })?;
        }
    }
    Ok(())
}

/// The kernel takes `a` as everything, whatever follows: a rule for both types that says more is one for each.
fn lines(rule: &Rule) -> Vec<String> {
    let types = match rule.typ {
        Some(typ) => vec![typ],
        None if rule.is_total() => return vec!["a".to_owned()],
        None => vec!['b', 'c'],
    };
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let line = |typ| format!("{typ} {}:{} {}", number(rule.major), number(rule.minor), rule.letters());
    types.into_iter().map(line).collect()
}

/// Loads the program and puts it in the place of the one before.
pub(super) fn apply_v2(directory: &Path, given: &[DeviceRule]) -> Result<(), Error> {
    let attempt = |what: &str| format!("{what} the device filter of {}", directory.display());
    let program = bpf::load_device_filter(&program(&rules(given)?))
        .map_err(|source| Error::Call { attempt: attempt("load"), source })?;
    let cgroup =
        std::fs::File::open(directory).map_err(|source| Error::Call { attempt: attempt("open"), source })?;
    bpf::replace_device_filter(&cgroup, &program)
        .map_err(|source| Error::Call { attempt: attempt("attach"), source })
}

// Registers of the program; 1 is the context, 0 the answer.
const TYPE: u8 = 2;
/// What is asked for and no rule has decided yet.
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// For each kind of access the last rule that matches decides, so they are asked from the last to the first: one that allows
/// takes what it allows from what is asked, and nothing left is a yes; one that denies any of the rest is a no. So a rule to
/// read and one to write are together one to do both, as version 1 has it. What none matches is denied.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    use bpf::{and, exit, load_context, mov, mov_register, shift_right};
    let mut code = vec![
        load_context(TYPE, 0),
        mov_register(ACCESS, TYPE),
        shift_right(ACCESS, 16),
        and(TYPE, 0xffff),
        load_context(MAJOR, 4),
        load_context(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        code.extend(tests(rule));
        code.extend([mov(0, i32::from(rule.allow)), exit()]);
        if rule.is_total() {
            // It decides for all the rest, and the verifier refuses what can't be reached.
            return code;
        }
    }
    code.extend([mov(0, 0), exit()]);
    code
}

/// What leads to the answer of a rule, or over its two instructions to the next one.
fn tests(rule: &Rule) -> Vec<Instruction> {
    use bpf::{and, equal_or_skip, mov_register, nonzero_or_skip, zero_or_skip};
    const ANSWER: i16 = 2;
    let some = if rule.access == ALL {
        Vec::new()
    } else if rule.allow {
        vec![and(ACCESS, (ALL & !rule.access) as i32), zero_or_skip(ACCESS, ANSWER)]
    } else {
        let rest = [mov_register(SCRATCH, ACCESS), and(SCRATCH, rule.access as i32)];
        rest.into_iter().chain([nonzero_or_skip(SCRATCH, ANSWER)]).collect()
    };
    let typ = rule.typ.map(|typ| (TYPE, if typ == 'b' { 1 } else { 2 }));
    let major = rule.major.map(|major| (MAJOR, major as i32));
    let device: Vec<(u8, i32)> =
        [typ, major, rule.minor.map(|minor| (MINOR, minor as i32))].into_iter().flatten().collect();
    let last = device.len() + some.len();
    let skip = |at: usize| (last - at - 1) as i16 + ANSWER;
    let device =
        device.iter().enumerate().map(|(at, (register, value))| equal_or_skip(*register, *value, skip(at)));
    device.chain(some).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use sys::child::{Message, Spawn, Step, spawn};

    use super::*;

    fn rule(allow: bool, typ: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        let typ = Some(typ.to_owned());
        DeviceRule { allow, typ, major: Some(major), minor: Some(minor), access: access.to_owned() }
    }

    fn deny_all() -> DeviceRule {
        DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() }
    }

    #[test]
    fn lines_of_version_1() {
        let given = [rule(true, "c", 10, 229, "rw"), rule(true, "b", 8, -1, "m")];
        let found: Vec<String> = rules(&given).unwrap().iter().take(3).flat_map(lines).collect();
        assert_eq!(found, ["a", "c 10:229 rw", "b 8:* m"]);
        let both = super::rule(&rule(true, "a", 10, -1, "rw")).unwrap();
        assert_eq!(lines(&both), ["b 10:* rw", "c 10:* rw"], "the kernel would open everything");
        assert!(rules(&[rule(true, "x", 1, 1, "r")]).is_err());
        assert!(rules(&[rule(true, "c", 1, 1, "rx")]).is_err());
    }

    /// Whether a process in the group may open a device for writing.
    fn may_write(group: &Path, device: &std::ffi::CStr) -> bool {
        let steps = [Step::WriteFile { path: device.to_owned(), content: b"x".to_vec() }, Step::Ready];
        let directory = std::fs::File::open(group).unwrap();
        let child =
            spawn(&Spawn { namespaces: 0, user: None, cgroup: Some(directory.as_fd()), steps: &steps })
                .unwrap();
        child.go().unwrap();
        match child.receive().unwrap() {
            Message::Ready => true,
            Message::Failed { errno: libc::EPERM, .. } => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_filter_of_version_2_is_loaded_obeyed_and_replaced() {
        let Some(mountpoint) = super::super::layout().unwrap().v2 else { return };
        let group = mountpoint.join(format!("dhow-test-devices-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        assert!(may_write(&group, c"/dev/kmsg"));
        apply_v2(&group, &[deny_all()]).unwrap();
        assert!(!may_write(&group, c"/dev/kmsg"));
        assert!(may_write(&group, c"/dev/null"));
        apply_v2(&group, &[deny_all(), rule(true, "c", 1, 11, "r")]).unwrap();
        assert!(!may_write(&group, c"/dev/kmsg"));
        apply_v2(&group, &[deny_all(), rule(true, "c", 1, 11, "w")]).unwrap();
        assert!(may_write(&group, c"/dev/kmsg"));
        apply_v2(&group, &[rule(true, "a", -1, -1, ""), rule(false, "c", 1, 11, "w")]).unwrap();
        assert!(!may_write(&group, c"/dev/kmsg"));
        std::fs::remove_dir(&group).unwrap();
    }

    #[test]
    fn while_it_is_replaced_nothing_is_open() {
        use std::io::{BufRead, BufReader, Write};
        use std::process::{Command, Stdio};
        let Some(mountpoint) = super::super::layout().unwrap().v2 else { return };
        let group = mountpoint.join(format!("dhow-test-replaced-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let script =
            "read go; while if (: >/dev/kmsg) 2>/dev/null; then echo open; else echo shut; fi; do :; done";
        let mut tries = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(group.join("cgroup.procs"), tries.id().to_string()).unwrap();
        apply_v2(&group, &[deny_all()]).unwrap();
        tries.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut said = BufReader::new(tries.stdout.take().unwrap()).lines();
        for minor in 100..200 {
            apply_v2(&group, &[deny_all(), rule(true, "c", 240, minor, "rw")]).unwrap();
            assert_eq!(said.next().unwrap().unwrap(), "shut");
        }
        apply_v2(&group, &[rule(true, "a", -1, -1, "")]).unwrap();
        assert!(said.any(|line| line.unwrap() == "open"), "the device would have been there");
        tries.kill().unwrap();
        tries.wait().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        super::super::remove(&group, deadline).unwrap();
    }
}
