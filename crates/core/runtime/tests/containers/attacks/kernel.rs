//! What a container could do to the kernel that it shares: keys, other processes, parameters, rights.

use std::os::fd::AsFd;
use std::process::{Command, Stdio as Standard};

use oci::runtime::{NamespaceType, User};
use runtime::Stdio;

use super::{join, with_perl};
use crate::scene::{Scene, cleanup, finish, pipes};

/// The session keyring of whoever asks. Keys of the machine's user would be readable in a container that had the same.
const KEYRING: &str = r#"print syscall(250, 0, -3, 0), "\n";"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn the_machines_session_keyring() {
    let own = Command::new("perl").args(["-e", KEYRING]).output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    let mut scene = with_perl(&format!("{KEYRING} sleep 1000 if $ARGV[0]"));
    let first = scene.run().unwrap().output;
    assert!(first.trim().parse::<i64>().unwrap() > 0 && own.trim().parse::<i64>().unwrap() > 0);
    assert_ne!(first, own);
    scene.process().args.push("stay".to_owned());
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    scene.process().args.pop();
    let (reader, stdio) = pipes();
    let joined = join(&running, &cgroup, scene.spec.process.as_ref().unwrap(), stdio);
    let second = finish(&joined.unwrap(), reader).output;
    assert!(second != own && second != first, "{first} {second} {own}");
    sys::child::kill_and_reap(running.pidfd.as_fd());
    cleanup(Some(&cgroup));
}

/// Sharing the machine's process ids is no right over its processes.
#[test]
#[cfg(target_arch = "x86_64")]
fn processes_of_the_machine_are_not_traced() {
    let mut victim = Command::new("sleep").arg("1000").stdout(Standard::null()).spawn().unwrap();
    let pid = victim.id();
    let program = format!(
        r#"print syscall(101, 16, {pid}, 0, 0) < 0 ? "$!" : "attached", "\n";
        print sysopen(my $file, "/proc/{pid}/mem", 2) ? "open" : "$!", "\n";
        print opendir(my $dir, "/proc/{pid}/root") ? "open" : "$!", "\n";"#
    );
    let scene = with_perl(&program).without(NamespaceType::Pid);
    let capabilities = &scene.spec.process.as_ref().unwrap().capabilities.as_ref().unwrap().bounding;
    let profile = runtime::seccomp::docker_default(capabilities);
    let outcome = scene.seccomp(profile).run().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(outcome.output, "Operation not permitted\nPermission denied\nPermission denied\n");
}

/// Opens every file below /proc and /sys for writing, and names those that open. Nothing is written.
#[cfg(target_arch = "x86_64")]
const WRITABLE: &str = r#"
    my @dirs = ("/proc", "/sys");
    while (defined(my $dir = shift @dirs)) {
        opendir(my $list, $dir) or next;
        for my $name (readdir $list) {
            next if $name =~ /^\.\.?$/ or ($dir eq "/proc" and $name =~ /^(\d+|self|thread-self)$/);
            my $path = "$dir/$name";
            my $mode = (lstat $path)[2] // next;
            if (-l _) { next } elsif (-d _) { push @dirs, $path }
            elsif (($mode & 0170000) == 0100000 and $count++ >= 0 and sysopen(my $file, $path, 1 | 04000)) {
                # Many open that have nothing to write to: their modes say so, and so does a write of nothing.
                my $nothing = "";
                print "$path\n" if $mode & 0222 or syscall(1, fileno $file, $nothing, 0) >= 0;
            }
        }
    }
    print "of $count\n";
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn parameters_of_the_machine_are_not_written() {
    let outcome = with_perl(WRITABLE).run().unwrap();
    let (last, writable) =
        outcome.output.lines().collect::<Vec<_>>().split_last().map(|(l, w)| (*l, w.to_vec())).unwrap();
    let count: u32 = last.strip_prefix("of ").unwrap().parse().unwrap();
    assert!(count > 1000, "{outcome:?}");
    // Pressure files take thresholds to be woken at; they change nothing.
    let strange: Vec<_> = writable.iter().filter(|path| !path.starts_with("/proc/pressure/")).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

/// CVE-2022-24769 and its kin: what is inheritable, or comes along as a group, outlives the change of user.
#[test]
fn rights_that_come_along_unseen() {
    let script = "grep -e CapInh -e CapAmb -e Groups /proc/self/status | tr -s '\\t ' ' '";
    let mut scene = Scene::script(&format!("{script}; sleep 1000"));
    let none = "0000000000000000";
    for (uid, gid, groups, expected) in
        [(0, 0, vec![], ""), (0, 0, vec![0], "0 "), (1000, 1000, vec![], ""), (5, 6, vec![6, 7], "6 7 ")]
    {
        let user = User { uid, gid, additional_gids: groups, ..User::default() };
        let expected = format!("Groups: {expected}\nCapInh: {none}\nCapAmb: {none}\n");
        let mut once = Scene::script(script);
        once.process().user = user.clone();
        assert_eq!(once.run().unwrap().output.replace(": \n", ":\n"), expected.replace(": \n", ":\n"));
        scene.process().user = User::default();
        let created = scene.create(Stdio::Null).unwrap();
        let cgroup = created.cgroup.clone().unwrap();
        let running = created.start().unwrap();
        let mut process = once.spec.process.clone().unwrap();
        process.user = user;
        let (reader, stdio) = pipes();
        let joined = join(&running, &cgroup, &process, stdio);
        let output = finish(&joined.unwrap(), reader).output;
        assert_eq!(output.replace(": \n", ":\n"), expected.replace(": \n", ":\n"));
        sys::child::kill_and_reap(running.pidfd.as_fd());
        cleanup(Some(&cgroup));
    }
}
