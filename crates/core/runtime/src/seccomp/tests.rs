//! Compiled programs are run by an interpreter of the BPF subset that seccomp allows, and compared with the
//! profile's meaning.

use oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};

use super::{Abi, Arch, Program, answer, compile, docker_default_for};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

pub(super) fn number(abi: Abi, name: &str) -> Option<u32> {
    abi.number(super::numbers::row(name)?)
}

/// What the kernel would do: the `RET` value.
pub(super) fn interpret(program: &Program, abi: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(abi.to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    args.iter().for_each(|arg| data.extend(arg.to_ne_bytes()));
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let word = program.instructions[at].to_ne_bytes();
        let code = u16::from_ne_bytes([word[0], word[1]]);
        let k = u32::from_ne_bytes([word[4], word[5], word[6], word[7]]);
        at += 1;
        let jump = |condition: bool| usize::from(if condition { word[2] } else { word[3] });
        match code {
            0x20 => {
                let k = k as usize;
                accumulator = u32::from_ne_bytes([data[k], data[k + 1], data[k + 2], data[k + 3]]);
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return k,
            other => panic!("no seccomp instruction: {other:#x}"),
        }
    }
}

/// What a profile means for a call, by its text.
fn meaning(profile: &Seccomp, name: &str, args: [u64; 6], narrow: bool) -> u32 {
    let default = answer(profile.default_action, profile.default_errno_ret);
    let own = |rule: &&SeccompRule| {
        rule.names.iter().any(|n| n == name) && answer(rule.action, rule.errno_ret) != default
    };
    let rules: Vec<&SeccompRule> = profile.syscalls.iter().filter(own).collect();
    let holds = |arg: &SeccompArg| {
        let cut = |n: u64| if narrow { n & 0xffff_ffff } else { n };
        let (is, value, two) = (cut(args[arg.index as usize]), cut(arg.value), cut(arg.value_two));
        match arg.op {
            SeccompOp::Equal => is == value,
            SeccompOp::NotEqual => is != value,
            SeccompOp::Less => is < value,
            SeccompOp::LessOrEqual => is <= value,
            SeccompOp::Greater => is > value,
            SeccompOp::GreaterOrEqual => is >= value,
            SeccompOp::MaskedEqual => is & value == two,
        }
    };
    let plain = rules.iter().find(|rule| rule.args.is_empty());
    let decided = plain.or_else(|| rules.iter().find(|rule| rule.args.iter().all(holds)));
    decided.map_or(default, |rule| answer(rule.action, rule.errno_ret))
}

const INTERESTING: [u64; 14] =
    [0, 1, 8, 37, 38, 39, 40, 41, 0x2_0008, 0x1000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0026, u64::MAX];

/// Every call of every table with every interesting value gives what the profile says.
fn agree(profile: &Seccomp, arch: Arch) {
    let program = compile(profile, arch).unwrap();
    for abi in arch.abis() {
        if !profile.architectures.is_empty() && !profile.architectures.iter().any(|name| name == abi.name()) {
            continue;
        }
        for (name, _) in super::numbers::TABLE {
            let Some(number) = number(*abi, name) else { continue };
            for value in INTERESTING {
                for value in if abi.narrow() { [value & 0xffff_ffff] } else { [value] } {
                    let args = [value, value, 0, 0, 0, 0];
                    let got = interpret(&program, abi.audit(), number, args);
                    let expected = meaning(profile, name, args, abi.narrow());
                    let newer = got == ENOSYS && expected == answer(profile.default_action, None);
                    assert!(got == expected || newer, "{abi:?} {name}({value:#x}): {got:#x} {expected:#x}");
                }
            }
        }
    }
}

fn caps(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_tables_are_sorted_and_have_the_kernels_numbers() {
    assert!(super::numbers::TABLE.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(number(Abi::X86_64, "execve"), Some(59));
    assert_eq!(number(Abi::X86, "execve"), Some(11));
    assert_eq!(number(Abi::X32, "execve"), Some(0x4000_0208));
    assert_eq!(number(Abi::Aarch64, "execve"), Some(221));
    assert_eq!(number(Abi::Arm, "set_tls"), Some(983_045));
    assert_eq!(number(Abi::X86_64, "clone3"), Some(435));
    assert_eq!(number(Abi::Aarch64, "open"), None);
    assert_eq!(number(Abi::X86_64, "nosuch"), None);
    assert_eq!(libc::SYS_fsmount as u32, number(Abi::X86_64, "fsmount").unwrap());
}

#[test]
fn dockers_profile_says_what_it_should_on_every_architecture() {
    let all: Vec<String> = crate::capabilities::all().collect();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for caps in [caps(&[]), caps(&["CAP_SYS_ADMIN"]), caps(&["CAP_SYS_PTRACE", "CAP_BPF"]), all.clone()] {
            agree(&docker_default_for(&caps, arch), arch);
        }
    }
}

/// Call, first argument, capabilities, answer: the decisions that matter, written out.
#[test]
fn dockers_decisions() {
    const NONE: &[&str] = &[];
    const ADMIN: &[&str] = &["CAP_SYS_ADMIN"];
    let table: &[(&str, u64, &[&str], u32)] = &[
        ("read", 0, NONE, ALLOW),
        ("execve", 0, NONE, ALLOW),
        ("ptrace", 0, NONE, ALLOW),
        ("statmount", 0, NONE, ALLOW),
        ("mount", 0, NONE, EPERM),
        ("mount", 0, ADMIN, ALLOW),
        ("unshare", 0x1000_0000, NONE, EPERM),
        ("unshare", 0x1000_0000, ADMIN, ALLOW),
        ("setns", 0, NONE, EPERM),
        ("clone", 0x11, NONE, ALLOW),
        ("clone", 0x1000_0011, NONE, EPERM),
        ("clone", 0x0002_0000, NONE, EPERM),
        ("clone", 0x1000_0011, ADMIN, ALLOW),
        ("clone3", 0, NONE, ENOSYS),
        ("clone3", 0, ADMIN, ALLOW),
        ("socket", 2, NONE, ALLOW),
        ("socket", 38, NONE, EPERM),
        ("socket", 39, NONE, ALLOW),
        ("socket", 40, NONE, EPERM),
        ("socket", 41, NONE, ALLOW),
        ("socket", 45, NONE, ALLOW),
        ("socket", 0x1_0000_0026, NONE, EPERM),
        ("socket", 0xffff_ffff_0000_0028, ADMIN, EPERM),
        ("personality", 0, NONE, ALLOW),
        ("personality", 0xffff_ffff, NONE, ALLOW),
        ("personality", 0x0040_0000, NONE, EPERM),
        ("keyctl", 0, NONE, EPERM),
        ("add_key", 0, ADMIN, EPERM),
        ("request_key", 0, NONE, EPERM),
        ("userfaultfd", 0, NONE, EPERM),
        ("bpf", 0, NONE, EPERM),
        ("bpf", 0, &["CAP_BPF"], ALLOW),
        ("perf_event_open", 0, NONE, EPERM),
        ("perf_event_open", 0, &["CAP_PERFMON"], ALLOW),
        ("kexec_load", 0, ADMIN, EPERM),
        ("io_uring_setup", 0, NONE, EPERM),
        ("io_uring_enter", 0, ADMIN, EPERM),
        ("fsopen", 0, NONE, EPERM),
        ("open_tree", 0, NONE, EPERM),
        ("move_mount", 0, ADMIN, ALLOW),
        ("open_by_handle_at", 0, NONE, EPERM),
        ("open_by_handle_at", 0, &["CAP_DAC_READ_SEARCH"], ALLOW),
        ("init_module", 0, &["CAP_SYS_MODULE"], ALLOW),
        ("reboot", 0, &["CAP_SYS_BOOT"], ALLOW),
        ("reboot", 0, NONE, EPERM),
        ("chroot", 0, &["CAP_SYS_CHROOT"], ALLOW),
        ("settimeofday", 0, NONE, EPERM),
        ("syslog", 0, &["CAP_SYSLOG"], ALLOW),
        ("swapon", 0, ADMIN, EPERM),
        ("pivot_root", 0, ADMIN, EPERM),
        ("nfsservctl", 0, ADMIN, EPERM),
        ("arch_prctl", 0, NONE, ALLOW),
        ("modify_ldt", 0, NONE, ALLOW),
    ];
    for (name, arg, names, expected) in table {
        let program = compile(&docker_default_for(&caps(names), Arch::X86_64), Arch::X86_64).unwrap();
        let number = number(Abi::X86_64, name).unwrap();
        let got = interpret(&program, Abi::X86_64.audit(), number, [*arg, 0, 0, 0, 0, 0]);
        assert_eq!(got, *expected, "{name}({arg:#x}) with {names:?}");
    }
}

#[test]
fn newer_calls_are_unknown_and_foreign_architectures_killed() {
    let program = compile(&docker_default_for(&[], Arch::X86_64), Arch::X86_64).unwrap();
    let run = |abi: u32, number| interpret(&program, abi, number, [0; 6]);
    assert_eq!(run(Abi::X86_64.audit(), 4000), ENOSYS);
    assert_eq!(run(Abi::X86_64.audit(), 0x4000_0fff), ENOSYS);
    assert_eq!(run(Abi::X86.audit(), 4000), ENOSYS);
    assert_eq!(run(Abi::Aarch64.audit(), 0), KILL);
    let mut native = docker_default_for(&[], Arch::X86_64);
    native.architectures.clear();
    let program = compile(&native, Arch::X86_64).unwrap();
    assert_eq!(interpret(&program, Abi::X86_64.audit(), 0, [0; 6]), ALLOW);
    assert_eq!(interpret(&program, Abi::X86_64.audit(), 0x4000_0000, [0; 6]), KILL);
    assert_eq!(interpret(&program, Abi::X86.audit(), 3, [0; 6]), KILL);
}

#[test]
fn every_comparison_with_every_interesting_pair() {
    let ops = [
        SeccompOp::Equal,
        SeccompOp::NotEqual,
        SeccompOp::Less,
        SeccompOp::LessOrEqual,
        SeccompOp::Greater,
        SeccompOp::GreaterOrEqual,
        SeccompOp::MaskedEqual,
    ];
    for op in ops {
        for value in INTERESTING {
            for value_two in [0, 38, 0x1_0000_0026] {
                let arg = SeccompArg { index: 1, value, value_two, op };
                let rule = SeccompRule {
                    names: vec!["ioctl".to_owned()],
                    action: SeccompAction::Trace,
                    errno_ret: Some(7),
                    args: vec![
                        arg,
                        SeccompArg { index: 0, value: 0x26, value_two: 0, op: SeccompOp::NotEqual },
                    ],
                };
                let profile = Seccomp {
                    default_action: SeccompAction::Allow,
                    architectures: vec!["SCMP_ARCH_X86_64".to_owned(), "SCMP_ARCH_X86".to_owned()],
                    syscalls: vec![rule],
                    ..Seccomp::default()
                };
                agree(&profile, Arch::X86_64);
            }
        }
    }
}

#[test]
fn two_comparisons_of_one_argument_are_alternatives() {
    let equal = |value| SeccompArg { index: 0, value, value_two: 0, op: SeccompOp::Equal };
    let profile = Seccomp {
        default_action: SeccompAction::KillProcess,
        syscalls: vec![SeccompRule {
            names: vec!["personality".to_owned()],
            action: SeccompAction::Allow,
            errno_ret: None,
            args: vec![equal(1), equal(2)],
        }],
        ..Seccomp::default()
    };
    let program = compile(&profile, Arch::X86_64).unwrap();
    let run = |value| interpret(&program, Abi::X86_64.audit(), 135, [value, 0, 0, 0, 0, 0]);
    assert_eq!([run(1), run(2), run(3)], [ALLOW, ALLOW, KILL]);
}

#[test]
fn what_cannot_be_served_is_refused() {
    let with = |change: fn(&mut Seccomp)| {
        let mut profile = docker_default_for(&[], Arch::X86_64);
        change(&mut profile);
        compile(&profile, Arch::X86_64)
    };
    assert!(with(|p| p.default_action = SeccompAction::Notify).is_err());
    assert!(with(|p| p.flags.push("NOTHING".to_owned())).is_err());
    assert!(with(|p| p.syscalls[0].args.push(SeccompArg { index: 6, ..SeccompArg::default() })).is_err());
    let open = Seccomp { default_action: SeccompAction::Allow, ..Seccomp::default() };
    assert!(compile(&open, Arch::X86_64).unwrap().instructions.is_empty());
}

#[test]
fn the_default_profile_is_small() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = compile(&docker_default_for(&[], arch), arch).unwrap();
        assert!(program.instructions.len() < 1200, "{}", program.instructions.len());
    }
}
