//! A container that may trace processes looks at each one that joins it, from the first moment on.

use std::os::fd::AsFd;

use runtime::Stdio;
use sys::child::Exit;

use super::{Trap, join, with_perl};
use crate::scene::{cleanup, eventually};

/// Looks through all ways out of every process that it sees for the canary, until there is a file `/tmp/stop`. Tells in files
/// of its own what it has found, and of how many processes.
const ONLOOKER: &str = r#"
my ($canary, %seen) = @ARGV;
my $up = "/.." x 20;
open(my $began, ">", "/tmp/began"); close($began);
until (-e "/tmp/stop") {
    opendir(my $proc, "/proc"); my @pids = grep { /^\d+$/ && $_ != 1 } readdir($proc); closedir($proc);
    for my $pid (@pids) {
        $seen{$pid} = 1;
        my @ways = ("root", "cwd");
        if (open(my $environ, "<", "/proc/$pid/environ")) {
            local $/; my $text = <$environ> // ""; close($environ);
            if ($text =~ /CARGO/) { open(my $out, ">>", "/tmp/found"); print $out "environ\n"; close($out); }
        }
        if (opendir(my $fds, "/proc/$pid/fd")) { push @ways, map { "fd/$_" } grep { /^\d+$/ } readdir($fds); closedir($fds); }
        for my $way (@ways) {
            next unless -e "/proc/$pid/$way$up$canary";
            open(my $out, ">>", "/tmp/found"); print $out "$way ", readlink("/proc/$pid/$way") // "?", "\n"; close($out);
        }
    }
}
open(my $out, ">", "/tmp/seen"); print $out scalar(keys %seen); close($out);
"#;

#[test]
fn a_tracer_finds_no_way_out_through_those_who_join() {
    let trap = Trap::new();
    let mut scene = with_perl(ONLOOKER);
    let process = scene.process();
    process.args.push(trap.canary().to_str().unwrap().to_owned());
    let all = process.capabilities.as_mut().unwrap();
    for set in [&mut all.bounding, &mut all.effective, &mut all.permitted] {
        set.push("CAP_SYS_PTRACE".to_owned());
    }
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    let file = |name: &str| scene.rootfs().join("tmp").join(name);
    eventually("the onlooker's begin", || file("began").exists());
    let mut process = scene.spec.process.clone().unwrap();
    process.args = vec!["true".to_owned()];
    for _ in 0..100 {
        let joined = join(&running, &cgroup, &process, Stdio::Null).unwrap();
        assert_eq!(sys::child::wait(joined.pidfd.as_fd()).unwrap(), Exit::Code(0));
    }
    std::fs::write(file("stop"), "").unwrap();
    assert_eq!(sys::child::wait(running.pidfd.as_fd()).unwrap(), Exit::Code(0));
    cleanup(Some(&cgroup));
    assert_eq!(std::fs::read_to_string(file("found")).unwrap_or_default(), "");
    // It did look at the right moments: that many are seen before their program runs, or while it does.
    let seen: u32 = std::fs::read_to_string(file("seen")).unwrap().parse().unwrap();
    assert!(seen > 10, "{seen} of 100");
}
