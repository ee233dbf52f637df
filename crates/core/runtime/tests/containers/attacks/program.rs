//! The runtime's own program, which every process of a container is before its `execve` (CVE-2019-5736).

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use oci::runtime::NamespaceType;
use runtime::Stdio;

use super::{join, with_perl};
use crate::scene::{Scene, cleanup, finish, pipes};

#[test]
fn an_image_that_executes_proc_self_exe() {
    for interpreter in [None, Some("/proc/self/exe"), Some("/bin/link"), Some("/proc/thread-self/exe")] {
        let scene = Scene::new(&["/entry"]);
        let entry = scene.rootfs().join("entry");
        symlink("/proc/self/exe", scene.rootfs().join("bin/link")).unwrap();
        match interpreter {
            None => symlink("/proc/self/exe", &entry).unwrap(),
            Some(interpreter) => {
                std::fs::write(&entry, format!("#!{interpreter} x\n")).unwrap();
                std::fs::set_permissions(&entry, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                    .unwrap();
            }
        }
        let error = scene.run().unwrap_err();
        assert!(error.to_string().contains("the container runtime itself"), "{error}");
        assert_eq!(error.exit_code(), 126);
    }
}

/// Bound read-only, as `--init` does it, the same file may be run: nobody can write to it there, and the way over
/// `/proc/self/exe` of the runtime is closed as before.
#[test]
fn our_program_bound_into_a_container_is_read_only() {
    let own = std::fs::canonicalize("/proc/self/exe").unwrap();
    let at = "/bin/own";
    let script = format!("{at} --list > /tmp/list; wc -l < /tmp/list; echo x >> {at}; chmod 700 {at}");
    let scene = Scene::script(&script).mount("bind", &own, at, &["bind", "ro"]);
    let before = std::fs::metadata(&own).unwrap();
    let outcome = scene.run().unwrap();
    let lines: usize = outcome.output.lines().next().unwrap().parse().unwrap();
    assert!(lines > 10, "{outcome:?}");
    // While it runs that is the kernel's first reason to refuse a write.
    assert!(outcome.output.contains("can't create /bin/own"), "{outcome:?}");
    assert!(outcome.output.contains("chmod: /bin/own: Read-only file system"), "{outcome:?}");
    let after = std::fs::metadata(&own).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

/// Tries everything that leads from a process to the files of the machine.
const LOOK: &str = r#"
    for my $pid (map { m{(\d+)$} } grep { $_ ne "/proc/$$" } glob "/proc/[1-9]*") {
        open(my $status, "<", "/proc/$pid/status") or next;
        my @ids = grep { /^Uid/ } <$status>;
        for my $name ("exe", "root", "cwd", "fd/0", "mem", "environ", "task/$pid/exe") {
            my $path = "/proc/$pid/$name";
            print "$path ", (-d $path ? opendir(my $dir, $path) : sysopen(my $file, $path, 0)) ? "open" : "$!", "\n";
        }
    }
"#;

/// Who shares a pid namespace with a container that is made sees its init before it has executed its program.
#[test]
fn an_init_in_another_containers_pid_namespace_gives_nothing_away() {
    let victim = Scene::script("sleep 1000");
    let created = victim.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone();
    let running = created.start().unwrap();
    let joining = |mut scene: Scene| {
        let pid = scene.linux().namespaces.iter_mut().find(|n| n.typ == NamespaceType::Pid);
        pid.unwrap().path = Some(format!("/proc/{}/ns/pid", running.pid).into());
        scene
    };
    let waits = joining(Scene::new(&["true"]));
    let waiting = waits.create(Stdio::Null).unwrap();
    let looks = joining(with_perl(LOOK));
    let outcome = looks.run().unwrap();
    // Of the first container's init, which runs with the same rights, it may see everything; of the other's nothing.
    assert!(outcome.output.contains("/proc/1/exe open"), "{outcome:?}");
    let others = outcome.output.lines().filter(|line| !line.starts_with("/proc/1/"));
    let others: Vec<_> = others.collect();
    assert!(others.iter().any(|line| line.contains("/exe ")), "{outcome:?}");
    assert!(others.iter().all(|line| line.ends_with("Permission denied")), "{others:?}");
    let group = waiting.cgroup.clone();
    drop(waiting);
    cleanup(group.as_ref());
    sys::child::kill_and_reap(running.pidfd.as_fd());
    cleanup(cgroup.as_ref());
}

/// A process that joins a container is seen there at once; whoever lies in wait must not get hold of its program.
#[test]
fn a_process_that_joins_gives_nothing_away() {
    let own = std::fs::metadata("/proc/self/exe").unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&own);
    let program = format!(
        r#"$| = 1; print "ready\n"; my $seen = 0;
        while (!-e "/tmp/stop") {{
            for my $pid (map {{ m{{(\d+)$}} }} glob "/proc/[1-9]*") {{
                next if $pid == $$; $seen++ or open(my $mark, ">", "/tmp/seen");
                for my $name ("exe", "task/$pid/exe") {{
                    sysopen(my $file, "/proc/$pid/$name", 0) or next;
                    print "caught\n" if (stat $file)[1] == {inode};
                }}
            }}
        }}
        print $seen ? "looked\n" : "saw nobody\n";"#
    );
    let scene = with_perl(&program);
    let (reader, stdio) = pipes();
    let created = scene.create(stdio).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    let mut process = scene.spec.process.clone().unwrap();
    process.args = vec!["/bin/true".to_owned()];
    for round in 0..60 {
        if round == 58 {
            // At least one of them stays until it is seen.
            let wait = "until test -e /tmp/seen; do sleep 0.01; done";
            process.args = ["/bin/sh", "-c", wait].map(str::to_owned).to_vec();
        }
        if round == 59 {
            process.args = vec!["/bin/touch".to_owned(), "/tmp/stop".to_owned()];
        }
        let joined = join(&running, &cgroup, &process, Stdio::Null);
        sys::child::wait(joined.unwrap().pidfd.as_fd()).unwrap();
    }
    let outcome = finish(&running, reader);
    assert_eq!(outcome.output, "ready\nlooked\n");
    cleanup(Some(&cgroup));
}
