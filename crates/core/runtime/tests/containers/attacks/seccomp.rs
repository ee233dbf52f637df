//! Docker's default filter, as a process in a container meets it: every system call by its number.
//!
//! What the filter denies gives an error number here that no call has of itself, so that it is not mistaken for what the kernel
//! refuses. Numbers are those of x86_64.
#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};

use super::with_perl;

/// The error number of a denied call.
const DENIED: i64 = 2222;
const ENOSYS: i64 = libc::ENOSYS as i64;

/// The last call that the profile knows: newer ones look to programs as if the kernel had none.
const LAST: u32 = 466;

/// What is denied to a container with Docker's capabilities whatever the arguments are (moby's default profile, 2026-06).
const REFUSED: &str = "103 134 136 139 153 155-156 163-185 212 227 236-239 246 248-250 256 272 279 298 300 304 308 312-313 \
    320-321 323 337-423 425-433 438 440 442-443 450 459-461";

/// What comes back with a capability.
const WITH: [(&str, &str); 13] = [
    ("CAP_BPF", "321"),
    ("CAP_DAC_READ_SEARCH", "304"),
    ("CAP_PERFMON", "298"),
    ("CAP_SYSLOG", "103"),
    ("CAP_SYS_ADMIN", "103 165-166 170-171 179 212 272 298 300 308 321 428-433 442-443 459-461"),
    ("CAP_SYS_BOOT", "169"),
    ("CAP_SYS_MODULE", "175-176 313"),
    ("CAP_SYS_NICE", "237-239 450"),
    ("CAP_SYS_PACCT", "163"),
    ("CAP_SYS_PTRACE", "312 438 440"),
    ("CAP_SYS_RAWIO", "172-173"),
    ("CAP_SYS_TIME", "164 227"),
    ("CAP_SYS_TTY_CONFIG", "153"),
];

/// The kernel makes them itself and lets them past every filter.
const PROBES: [u32; 2] = [335, 336];

/// They wait for a signal when all their arguments are zero; and one that writes back all disks of the machine.
const WAITING: [u32; 4] = [23, 34, 270, 271];
const SYNC: u32 = 162;

/// Makes each call in a process of its own, with arguments that do nothing: a line with the error number, zero for success,
/// or `-` if the call ended the process.
const CALL: &str = r#"
    use Time::HiRes; use POSIX; $| = 1;
    while (my $line = <STDIN>) {
        my ($name, @call) = split " ", $line;
        pipe(my $in, my $out);
        my $child = fork() // die "fork: $!";
        if ($child == 0) {
            $SIG{ALRM} = "DEFAULT"; Time::HiRes::ualarm($name =~ /^w/ ? 300_000 : 20_000_000);
            my $result = syscall($call[0], map { $_ + 0 } @call[1 .. 6]);
            my $error = $result == -1 ? $! + 0 : 0;
            syswrite $out, "$error\n";
            POSIX::_exit(0);
        }
        close $out;
        my $said = <$in> // "-\n";
        waitpid $child, 0;
        print "$name $said";
    }
"#;

fn numbers(text: &str) -> BTreeSet<u32> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    text.split_whitespace().flat_map(range).collect()
}

/// What the calls, each a name, a number and arguments, gave in a container whose filter is made for `capabilities`.
fn calls(capabilities: &[String], calls: &[String]) -> BTreeMap<String, Option<i64>> {
    let mut profile = runtime::seccomp::docker_default(capabilities);
    profile.default_errno_ret = Some(DENIED as u32);
    let scene = with_perl(&CALL.replace("<STDIN>", "<$calls>").replacen(
        "use Time",
        "open my $calls, '<', '/tmp/calls'; use Time",
        1,
    ));
    std::fs::write(scene.rootfs().join("tmp/calls"), calls.join("\n") + "\n").unwrap();
    let outcome = scene.seccomp(profile).run().unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let results: BTreeMap<_, _> = outcome
        .output
        .lines()
        .map(|line| {
            let (name, result) = line.split_once(' ').unwrap();
            (name.to_owned(), result.parse().ok())
        })
        .collect();
    assert_eq!(results.len(), calls.len(), "{}", outcome.output);
    results
}

fn plain(number: u32) -> String {
    let kind = if WAITING.contains(&number) { 'w' } else { 'c' };
    format!("{kind}{number} {number} 0 0 0 0 0 0")
}

fn denied(results: &BTreeMap<String, Option<i64>>) -> BTreeSet<u32> {
    let denied = results.iter().filter(|(_, result)| **result == Some(DENIED));
    denied.map(|(name, _)| name[1..].parse().unwrap()).collect()
}

fn capabilities(more: Option<&str>) -> Vec<String> {
    runtime::defaults::CAPABILITIES.iter().copied().chain(more).map(str::to_owned).collect()
}

#[test]
fn every_call_without_further_capabilities() {
    let asked: Vec<_> =
        (0..=LAST + 12).filter(|number| *number != SYNC && !PROBES.contains(number)).map(plain).collect();
    let results = calls(&capabilities(None), &asked);
    let denied = denied(&results);
    let expected = numbers(REFUSED);
    let (more, less): (Vec<_>, Vec<_>) =
        (denied.difference(&expected).collect(), expected.difference(&denied).collect());
    assert!(more.is_empty() && less.is_empty(), "denied as well: {more:?}; let through: {less:?}");
    // clone3 has its flags in memory, where no filter sees them.
    for number in std::iter::once(435).chain(LAST + 1..=LAST + 12) {
        assert_eq!(results[&format!("c{number}")], Some(ENOSYS), "{number}");
    }
}

#[test]
fn a_capability_brings_back_its_calls_and_no_other() {
    let all: BTreeSet<u32> = WITH.iter().flat_map(|(_, calls)| numbers(calls)).collect();
    let asked: Vec<_> = all.iter().copied().map(plain).collect();
    for (capability, given) in WITH {
        let denied = denied(&calls(&capabilities(Some(capability)), &asked));
        let expected: BTreeSet<u32> = all.difference(&numbers(given)).copied().collect();
        assert_eq!(denied, expected, "{capability}");
    }
}

/// CVE-2026-31431 and others: kernel subsystems that a socket opens, namespaces, and switches of the address space layout.
#[test]
fn arguments_decide() {
    const SOCKET: u32 = 41;
    const CLONE: u32 = 56;
    const PERSONALITY: u32 = 135;
    const HIGH: u64 = 1 << 32;
    let mut asked = Vec::new();
    let mut expected = Vec::new();
    let mut call = |number: u32, argument: u64, refused: bool| {
        let name = format!("c{}", asked.len());
        asked.push(format!("{name} {number} {argument} 0 0 0 0 0"));
        expected.push((name, format!("{number}({argument:#x})"), refused));
    };
    for family in 0..46 {
        call(SOCKET, family, matches!(family, 38 | 40));
    }
    // The kernel looks at the lower half alone.
    for family in [38, 40] {
        call(SOCKET, family | HIGH, true);
        call(SOCKET, family | 7 << 60, true);
    }
    for namespace in
        [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
    {
        // With the lowest bits clone(2) takes the number of a signal: there is no time namespace to be had.
        call(CLONE, namespace | if namespace == 0x80 { 0 } else { 17 }, namespace != 0x80);
        call(CLONE, namespace | 17 | HIGH, namespace != 0x80);
    }
    call(CLONE, 17, false);
    for allowed in [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        call(PERSONALITY, allowed, false);
    }
    for value in [0x4_0000, 0x40_0000, 0x10_0000, 0x9, 0x1, 0x400_0000, 0x2_0009, 0xffff_fffe] {
        call(PERSONALITY, value, true);
    }
    let results = calls(&capabilities(None), &asked);
    for (name, what, refused) in expected {
        assert_eq!(results[&name] == Some(DENIED), refused, "{what}: {:?}", results[&name]);
    }
}
