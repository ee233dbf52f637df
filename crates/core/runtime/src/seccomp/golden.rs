//! Our programs beside libseccomp's, decision for decision.
//!
//! `golden.txt` was made once with libseccomp 2.5.4: for each profile (Docker's for three machines, and `odd.json`) a filter
//! was built as runc builds it, exported by `seccomp_export_bpf`, and run by an interpreter for every call that
//! libseccomp knows with 89 sets of arguments. After `= PROFILE ARCHITECTURE` come the decisions for arguments of
//! zero, as `first-last answer` (the holes are no calls), then for each other set that decides anything otherwise
//! `@arguments call=answer …`. All numbers are hexadecimal.

use std::collections::BTreeMap;

use oci::runtime::{Seccomp, SeccompAction};

use super::tests::interpret;
use super::{Abi, Arch, Program, compile, docker_default_for};

const GOLDEN: &str = include_str!("golden.txt");
const ODD: &str = include_str!("odd.json");
const ENOSYS: u32 = 0x0005_0026;

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

/// One section: the profile's name, the architecture, decisions by arguments and call.
struct Section {
    profile: String,
    abi: Abi,
    decisions: Vec<([u64; 6], BTreeMap<u32, u32>)>,
}

fn sections() -> Vec<Section> {
    let mut list: Vec<Section> = Vec::new();
    for line in GOLDEN.lines() {
        if let Some(head) = line.strip_prefix("= ") {
            let (profile, arch) = head.rsplit_once(' ').unwrap();
            let all = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm];
            let abi = all.into_iter().find(|abi| abi.name() == arch).unwrap();
            list.push(Section {
                profile: profile.to_owned(),
                abi,
                decisions: vec![([0; 6], BTreeMap::new())],
            });
            continue;
        }
        let section = list.last_mut().unwrap();
        if let Some(rest) = line.strip_prefix('@') {
            let (args, decisions) = rest.split_once(' ').unwrap();
            let args: Vec<u64> = args.split(',').map(hex).collect();
            let mut all = section.decisions[0].1.clone();
            for decision in decisions.split(' ') {
                let (number, answer) = decision.split_once('=').unwrap();
                all.insert(hex(number) as u32, hex(answer) as u32);
            }
            section.decisions.push((args.try_into().unwrap(), all));
        } else {
            let (range, answer) = line.split_once(' ').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            for number in hex(first)..=hex(last) {
                section.decisions[0].1.insert(number as u32, hex(answer) as u32);
            }
        }
    }
    list
}

fn profile(name: &str) -> (Seccomp, Arch) {
    let admin = ["CAP_SYS_ADMIN".to_owned()];
    match name {
        "docker" => (docker_default_for(&[], Arch::X86_64), Arch::X86_64),
        "docker admin" => (docker_default_for(&admin, Arch::X86_64), Arch::X86_64),
        "docker arm" => (docker_default_for(&[], Arch::Aarch64), Arch::Aarch64),
        odd => {
            let mut all: BTreeMap<String, Seccomp> = serde_json::from_str(ODD).unwrap();
            let mut profile = all.remove(odd).unwrap();
            if profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify) {
                profile.listener_path = "/run/agent".to_owned();
            }
            (profile, Arch::X86_64)
        }
    }
}

/// Calls newer than the profile are ENOSYS with us, as with runc, which does so before libseccomp's part.
fn newer(profile: &Seccomp, abi: Abi, number: u32, got: u32) -> bool {
    let named = profile
        .syscalls
        .iter()
        .flat_map(|rule| &rule.names)
        .filter_map(|name| super::tests::number(abi, name))
        .max();
    let lenient = matches!(profile.default_action, SeccompAction::Allow | SeccompAction::Log);
    !lenient && got == ENOSYS && named.is_some_and(|newest| number > newest)
}

#[test]
fn every_decision_is_libseccomps() {
    let mut programs: BTreeMap<String, (Seccomp, Program)> = BTreeMap::new();
    let (mut compared, mut wrong) = (0, Vec::new());
    for section in sections() {
        let (profile, program) = programs.entry(section.profile.clone()).or_insert_with(|| {
            let (profile, arch) = profile(&section.profile);
            let program = compile(&profile, arch).unwrap();
            (profile, program)
        });
        for (args, decisions) in &section.decisions {
            for (number, expected) in decisions {
                let got = interpret(program, section.abi.audit(), *number, *args);
                compared += 1;
                if got != *expected && !newer(profile, section.abi, *number, got) {
                    wrong.push(format!(
                        "{} {:?} {number:#x}({args:x?}): {got:#x} instead of {expected:#x}",
                        section.profile, section.abi
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(compared > 100_000, "{compared}");
}
