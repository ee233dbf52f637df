//! From a profile to instructions.

use oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};

use super::numbers::{self, Row};
use super::{Abi, X32_BIT, answer};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const KILL_PROCESS: u32 = 0x8000_0000;

/// An instruction: code, jump if true, jump if false, operand, as `struct sock_filter` has them in memory.
fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let [c0, c1] = code.to_ne_bytes();
    let [k0, k1, k2, k3] = k.to_ne_bytes();
    u64::from_ne_bytes([c0, c1, jt, jf, k0, k1, k2, k3])
}

fn ret(answer: u32) -> u64 {
    instruction(RETURN, 0, 0, answer)
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Answer(u32),
    /// The first set of comparisons that all hold gives its answer.
    Rules {
        rules: Vec<(Vec<SeccompArg>, u32)>,
        /// Arguments have 32 bits.
        narrow: bool,
    },
}

/// A profile whose names have been looked up: there are hundreds, and every table is built from them.
struct Known<'p> {
    profile: &'p Seccomp,
    rules: Vec<(&'p SeccompRule, Vec<&'static Row>)>,
}

/// The whole program. Where a section is not for the call at hand it is jumped over.
pub(super) fn program(profile: &Seccomp, abis: &[Abi]) -> Vec<u64> {
    let rows = |rule: &SeccompRule| rule.names.iter().filter_map(|name| numbers::row(name)).collect();
    let rules = profile.syscalls.iter().map(|rule| (rule, rows(rule))).collect();
    let known = Known { profile, rules };
    let mut code = vec![instruction(LOAD, 0, 0, ARCHITECTURE)];
    let mut audits: Vec<u32> = Vec::new();
    for abi in abis {
        if !audits.contains(&abi.audit()) {
            audits.push(abi.audit());
        }
    }
    for audit in audits {
        let own: Vec<Abi> = abis.iter().copied().filter(|abi| abi.audit() == audit).collect();
        // Conditional jumps reach 255 instructions, plain ones any.
        code.push(instruction(JUMP_EQUAL, 1, 0, audit));
        let at = code.len();
        code.extend([0, instruction(LOAD, 0, 0, NUMBER)]);
        calls(&known, &own, &mut code);
        code[at] = instruction(JUMP, 0, 0, (code.len() - at - 1) as u32);
    }
    code.push(ret(KILL_PROCESS));
    code
}

/// Appends the calls of the tables that share an architecture.
fn calls(known: &Known<'_>, abis: &[Abi], code: &mut Vec<u64>) {
    let profile = known.profile;
    let mut ranges: Vec<(u32, Outcome)> = Vec::new();
    for abi in abis {
        table(known, *abi, &mut ranges);
    }
    let x86_64 = abis.contains(&Abi::X86_64);
    if x86_64 && !abis.contains(&Abi::X32) {
        ranges.push((X32_BIT, Outcome::Answer(KILL_PROCESS)));
    }
    if !x86_64 && abis.contains(&Abi::X32) {
        ranges.insert(0, (0, Outcome::Answer(KILL_PROCESS)));
    }
    // Neighbours of the same outcome are one range.
    ranges.sort_by_key(|(start, _)| *start);
    ranges.dedup_by(|next, last| next.1 == last.1);
    search(&ranges, answer(profile.default_action, profile.default_errno_ret), code);
}

/// Appends the ranges of one table, each by its first number.
fn table(known: &Known<'_>, abi: Abi, ranges: &mut Vec<(u32, Outcome)>) {
    let profile = known.profile;
    let default = Outcome::Answer(answer(profile.default_action, profile.default_errno_ret));
    let outcomes = outcomes(known, abi);
    let mut next = if abi == Abi::X32 { X32_BIT } else { 0 };
    ranges.push((next, default.clone()));
    for (number, outcome) in outcomes {
        if number > next {
            ranges.push((next, default.clone()));
        }
        ranges.push((number, outcome));
        next = number + 1;
    }
    let lenient = matches!(profile.default_action, SeccompAction::Allow | SeccompAction::Log);
    let newest = known.rules.iter().flat_map(|(_, rows)| rows).filter_map(|row| abi.number(row)).max();
    match newest {
        Some(newest) if !lenient => {
            if next <= newest {
                ranges.push((next, default));
            }
            let unknown = answer(SeccompAction::Errno, Some(libc::ENOSYS as u32));
            ranges.push((newest + 1, Outcome::Answer(unknown)));
        }
        _ => ranges.push((next, default)),
    }
    // A range that begins where another does is overruled by the later one.
    ranges.reverse();
    ranges.sort_by_key(|(start, _)| *start);
    ranges.dedup_by_key(|(start, _)| *start);
}

/// What one rule says of one call: what its arguments must be, and the answer.
type Word = (u32, Vec<SeccompArg>, u32);

/// The calls with rules, by number.
fn outcomes(known: &Known<'_>, abi: Abi) -> Vec<(u32, Outcome)> {
    let profile = known.profile;
    let default = answer(profile.default_action, profile.default_errno_ret);
    let mut words: Vec<Word> = Vec::new();
    for (rule, rows) in &known.rules {
        let rule_answer = answer(rule.action, rule.errno_ret);
        // It says nothing, and must not hide a rule that says something.
        if rule_answer == default {
            continue;
        }
        let sets = alternatives(&rule.args);
        for number in rows.iter().filter_map(|row| abi.number(row)) {
            words.extend(sets.iter().map(|args| (number, args.clone(), rule_answer)));
        }
        if abi == Abi::X86 {
            multiplexed(rule, rule_answer, &mut words);
        }
    }
    words.sort_by_key(|(number, ..)| *number);
    words.chunk_by(|a, b| a.0 == b.0).map(|words| (words[0].0, outcome(words, abi.narrow()))).collect()
}

/// Of all that is said of a call, in the order of the rules, the first that looks at no argument decides.
fn outcome(words: &[Word], narrow: bool) -> Outcome {
    match words.iter().find(|(_, args, _)| args.is_empty()) {
        Some((.., answer)) => Outcome::Answer(*answer),
        None => {
            let rules = words.iter().map(|(_, args, answer)| (args.clone(), *answer)).collect();
            Outcome::Rules { rules, narrow }
        }
    }
}

/// Calls of sockets by `socketcall` and of System V IPC by `ipc`, which 32-bit x86 has beside their own numbers: what is
/// denied must not be had by the other door. Its arguments are behind a pointer or elsewhere, so a rule that looks at
/// some and is to allow counts for the call's own number alone, and one that is to deny counts for all.
fn multiplexed(rule: &SeccompRule, rule_answer: u32, words: &mut Vec<Word>) {
    if !rule.args.is_empty() && matches!(rule.action, SeccompAction::Allow | SeccompAction::Log) {
        return;
    }
    // The kernel takes the upper half of ipc's number for a version.
    for (door, table, mask) in [("socketcall", &SOCKET_CALLS[..], u32::MAX), ("ipc", &IPC_CALLS[..], 0xffff)]
    {
        let Some(number) = numbers::row(door).and_then(|row| Abi::X86.number(row)) else { continue };
        for name in &rule.names {
            if let Ok(at) = table.binary_search_by(|(known, _)| (*known).cmp(name)) {
                let code = table[at].1;
                let arg =
                    SeccompArg { index: 0, value: mask.into(), value_two: code, op: SeccompOp::MaskedEqual };
                words.push((number, vec![arg], rule_answer));
            }
        }
    }
}

/// `linux/net.h`, by name.
const SOCKET_CALLS: [(&str, u64); 20] = [
    ("accept", 5),
    ("accept4", 18),
    ("bind", 2),
    ("connect", 3),
    ("getpeername", 7),
    ("getsockname", 6),
    ("getsockopt", 15),
    ("listen", 4),
    ("recv", 10),
    ("recvfrom", 12),
    ("recvmmsg", 19),
    ("recvmsg", 17),
    ("send", 9),
    ("sendmmsg", 20),
    ("sendmsg", 16),
    ("sendto", 11),
    ("setsockopt", 14),
    ("shutdown", 13),
    ("socket", 1),
    ("socketpair", 8),
];

/// `linux/ipc.h`, by name.
const IPC_CALLS: [(&str, u64); 12] = [
    ("msgctl", 14),
    ("msgget", 13),
    ("msgrcv", 12),
    ("msgsnd", 11),
    ("semctl", 3),
    ("semget", 2),
    ("semop", 1),
    ("semtimedop", 4),
    ("shmat", 21),
    ("shmctl", 24),
    ("shmdt", 22),
    ("shmget", 23),
];

/// Comparisons of different arguments must all hold. Where one argument is compared twice any of them will
/// do: that is how libseccomp's users have always taken such rules.
fn alternatives(args: &[SeccompArg]) -> Vec<Vec<SeccompArg>> {
    let twice =
        args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
    if twice { args.iter().map(|arg| vec![*arg]).collect() } else { vec![args.to_vec()] }
}

/// Appends a binary search, the number being loaded.
fn search(ranges: &[(u32, Outcome)], default: u32, code: &mut Vec<u64>) {
    match ranges {
        [] => code.push(ret(default)),
        [(_, Outcome::Answer(answer))] => code.push(ret(*answer)),
        [(_, Outcome::Rules { rules, narrow })] => code.extend(arguments(rules, default, *narrow)),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (at, pivot) = (code.len(), high[0].0);
            code.push(0);
            search(low, default, code);
            let length = code.len() - at - 1;
            match u8::try_from(length) {
                Ok(length) => code[at] = instruction(JUMP_GREATER_OR_EQUAL, length, 0, pivot),
                Err(_) => {
                    code[at] = instruction(JUMP_GREATER_OR_EQUAL, 0, 1, pivot);
                    code.insert(at + 1, instruction(JUMP, 0, 0, length as u32));
                }
            }
            search(high, default, code);
        }
    }
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum Goal {
    Next,
    Holds,
    Fails,
}

/// One instruction with open ends.
type Open = (u16, Goal, Goal, u32);

fn arguments(rules: &[(Vec<SeccompArg>, u32)], default: u32, narrow: bool) -> Vec<u64> {
    let mut code = Vec::new();
    for (args, answer) in rules {
        let parts: Vec<Vec<Open>> = args.iter().map(|arg| comparison(arg, narrow)).collect();
        let length: usize = parts.iter().map(Vec::len).sum();
        let mut at = 0;
        for part in parts {
            let end = at + part.len();
            for (code_word, jt, jf, k) in part {
                at += 1;
                let distance = |goal| match goal {
                    Goal::Next => 0,
                    Goal::Holds => (end - at) as u8,
                    // Past the answer, to the next rule.
                    Goal::Fails => (length - at + 1) as u8,
                };
                code.push(instruction(code_word, distance(jt), distance(jf), k));
            }
        }
        code.push(ret(*answer));
    }
    code.push(ret(default));
    code
}

/// Compares 64 bits by halves, or only the lower one where arguments have 32 bits.
fn comparison(arg: &SeccompArg, narrow: bool) -> Vec<Open> {
    use Goal::{Fails, Holds, Next};
    let (high, low) = ((arg.value >> 32) as u32, arg.value as u32);
    let little = u32::from(cfg!(target_endian = "little"));
    let offset = ARGUMENTS + 8 * arg.index;
    let load_high = (LOAD, Next, Next, offset + 4 * little);
    let load_low = (LOAD, Next, Next, offset + 4 * (1 - little));
    let wide = |upper: &[Open], lower: &[Open]| {
        let mut code = Vec::new();
        if !narrow {
            code.push(load_high);
            code.extend_from_slice(upper);
        }
        code.push(load_low);
        code.extend_from_slice(lower);
        code
    };
    let same_high = (JUMP_EQUAL, Next, Fails, high);
    match arg.op {
        SeccompOp::Equal => wide(&[same_high], &[(JUMP_EQUAL, Holds, Fails, low)]),
        SeccompOp::NotEqual => wide(&[(JUMP_EQUAL, Next, Holds, high)], &[(JUMP_EQUAL, Fails, Holds, low)]),
        SeccompOp::Greater => {
            wide(&[(JUMP_GREATER, Holds, Next, high), same_high], &[(JUMP_GREATER, Holds, Fails, low)])
        }
        SeccompOp::GreaterOrEqual => wide(
            &[(JUMP_GREATER, Holds, Next, high), same_high],
            &[(JUMP_GREATER_OR_EQUAL, Holds, Fails, low)],
        ),
        SeccompOp::Less => wide(
            &[(JUMP_GREATER, Fails, Next, high), (JUMP_EQUAL, Next, Holds, high)],
            &[(JUMP_GREATER_OR_EQUAL, Fails, Holds, low)],
        ),
        SeccompOp::LessOrEqual => wide(
            &[(JUMP_GREATER, Fails, Next, high), (JUMP_EQUAL, Next, Holds, high)],
            &[(JUMP_GREATER, Fails, Holds, low)],
        ),
        SeccompOp::MaskedEqual => {
            let (high_value, low_value) = ((arg.value_two >> 32) as u32, arg.value_two as u32);
            let mut code = Vec::new();
            if !narrow && (high != 0 || high_value != 0) {
                let tests = [load_high, (AND, Next, Next, high), (JUMP_EQUAL, Next, Fails, high_value)];
                code.extend(tests);
            }
            code.extend([load_low, (AND, Next, Next, low), (JUMP_EQUAL, Holds, Fails, low_value)]);
            code
        }
    }
}
