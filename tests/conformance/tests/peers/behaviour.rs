//! What a container sees and how it ends, whoever starts it: our engine, or another one with our runtime beneath.
//!
//! No networks, no builds, no names: those are an engine's. Every function is one subject and leaves no container.

use testkit::{Output, eventually};

use crate::Client;

/// Reads the first of some files that exists: versions of control groups name them differently.
const FIRST: &str = "first() { for file; do if [ -e $file ]; then cat $file; return; fi; done; }; ";

/// All subjects.
pub fn whole(client: &impl Client) {
    client.client(&["import", "--change", "CMD [\"sh\"]", "-", "busybox"]).input(testkit::busybox()).ok();
    streams(client);
    refusals(client);
    signals(client);
    executions(client);
    terminals(client);
    pauses(client);
    limits(client);
    memory(client);
    privileges(client);
    filters(client);
    files(client);
    devices(client);
    namespaces(client);
    users(client);
}

/// A container without a network that is removed when it ends.
fn run(client: &impl Client, options: &[&str], command: &[&str]) -> Output {
    client.client(&[&["run", "--rm", "--network", "none"], options, &["busybox"], command].concat()).run()
}

/// The output of a script in a container that must succeed.
#[track_caller]
fn script(client: &impl Client, options: &[&str], script: &str) -> String {
    let output = run(client, options, &["sh", "-c", script]);
    assert_eq!(output.code, 0, "{options:?} {script}\n{}{}", output.stdout, output.stderr);
    output.stdout.trim().to_owned()
}

/// Starts `one`, which stays.
fn start(client: &impl Client, options: &[&str], command: &[&str]) {
    let fixed = ["run", "-d", "--name", "one", "--network", "none", "--stop-timeout", "0"];
    client.client(&[&fixed, options, &["busybox"], command].concat()).ok();
}

fn type_in(client: &impl Client, line: &str) -> String {
    client.client(&line.split_whitespace().collect::<Vec<_>>()).ok()
}

#[track_caller]
fn state(client: &impl Client, field: &str) -> String {
    client.client(&["inspect", "-f", &format!("{{{{.State.{field}}}}}"), "one"]).ok()
}

/// Waits until `one` says that it is ready for signals.
fn ready(client: &impl Client) {
    eventually("one is ready", || type_in(client, "logs one").contains("ready"));
}

fn streams(client: &impl Client) {
    let output = run(client, &[], &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (3, "out\n", "err\n"));
    let cat = ["run", "--rm", "-i", "--network", "none", "busybox", "cat"];
    assert_eq!(client.client(&cat).input("through").ok(), "through");
    // The fourth is the folder that is listed.
    assert_eq!(script(client, &[], "exec ls /proc/self/fd"), "0\n1\n2\n3");
}

fn refusals(client: &impl Client) {
    for (program, code, words) in [
        ("no-such", 127, "exec: \"no-such\": executable file not found in $PATH"),
        ("/no/such", 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
        ("/etc", 126, "exec: \"/etc\": "),
    ] {
        let output = run(client, &[], &[program]);
        assert_eq!(output.code, code, "{program}: {}", output.stderr);
        assert!(output.stderr.contains(words), "{program}: {}", output.stderr);
    }
}

fn signals(client: &impl Client) {
    start(
        client,
        &[],
        &["sh", "-c", "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.1; done"],
    );
    ready(client);
    assert_eq!(state(client, "Running"), "true");
    type_in(client, "stop -t 20 one");
    assert_eq!(state(client, "ExitCode"), "9");
    assert!(type_in(client, "logs one").ends_with("bye"));
    assert_eq!(state(client, "Pid"), "0");
    type_in(client, "start one");
    eventually("one is ready again", || type_in(client, "logs one").matches("ready").count() == 2);
    type_in(client, "kill one");
    assert_eq!(type_in(client, "wait one"), "137");
    assert_eq!(state(client, "ExitCode"), "137");
    type_in(client, "rm one");
}

fn executions(client: &impl Client) {
    start(client, &["-m", "64m"], &["sleep", "1000"]);
    let output = client.client(&["exec", "one", "sh", "-c", "echo out; echo err >&2; exit 4"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (4, "out\n", "err\n"));
    assert_eq!(client.client(&["exec", "-i", "one", "cat"]).input("through").ok(), "through");
    let who = "echo $(id -u) $(id -g) $PWD $A; grep CapEff /proc/self/status";
    let told = client.client(&["exec", "-u", "app", "-w", "/tmp", "-e", "A=b", "one", "sh", "-c", who]).ok();
    assert_eq!(told, "1000 1000 /tmp b\nCapEff:\t0000000000000000");
    let groups = "cat /proc/1/cgroup > /tmp/1; cat /proc/self/cgroup > /tmp/2; cmp /tmp/1 /tmp/2; grep Seccomp: /proc/self/status";
    assert_eq!(client.client(&["exec", "one", "sh", "-c", groups]).ok(), "Seccomp:\t2");
    client.client(&["exec", "-d", "one", "sh", "-c", "sleep 0.1; echo done > /tmp/done"]).ok();
    eventually("the detached process is done", || {
        client.client(&["exec", "one", "cat", "/tmp/done"]).run().stdout == "done\n"
    });
    // Older engines say 126.
    let missing = client.client(&["exec", "one", "no-such"]).run();
    assert!([126, 127].contains(&missing.code), "{}", missing.code);
    let told = format!("{}{}", missing.stdout, missing.stderr);
    assert!(told.contains("exec: \"no-such\": executable file not found in $PATH"), "{told}");
    assert_eq!(client.client(&["exec", "one", "sh", "-c", "kill -9 $$"]).run().code, 137);
    type_in(client, "rm -f one");
}

fn terminals(client: &impl Client) {
    let script = "tty; test -c /dev/console && echo console; echo over > /dev/tty";
    let output = run(client, &["-t", "-u", "1000"], &["sh", "-c", script]);
    assert_eq!((output.code, &*output.stdout), (0, "/dev/pts/0\r\nconsole\r\nover\r\n"), "{}", output.stderr);
    start(client, &[], &["sleep", "1000"]);
    let output = client.client(&["exec", "-t", "one", "sh", "-c", "tty; exit 6"]).run();
    assert_eq!((output.code, &*output.stdout), (6, "/dev/pts/0\r\n"), "{}", output.stderr);
    type_in(client, "rm -f one");
}

fn pauses(client: &impl Client) {
    start(client, &[], &["sleep", "1000"]);
    type_in(client, "pause one");
    assert_eq!(state(client, "Paused"), "true");
    assert_ne!(client.client(&["exec", "one", "true"]).run().code, 0);
    type_in(client, "unpause one");
    assert_eq!(state(client, "Paused"), "false");
    type_in(client, "exec one true");
    type_in(client, "pause one");
    type_in(client, "rm -f one");
}

fn limits(client: &impl Client) {
    let files = "cd /sys/fs/cgroup; first pids.max pids/pids.max; first cpu.max cpu/cpu.cfs_quota_us; \
                 first cpuset.cpus cpuset/cpuset.cpus";
    let options = ["--pids-limit", "77", "--cpus", "0.5", "--cpuset-cpus", "0"];
    let told = script(client, &options, &format!("{FIRST}{files}"));
    assert!(["77\n50000\n0", "77\n50000 100000\n0"].contains(&&*told), "{told}");
    let ulimits = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=4096:4096"];
    let options = [&ulimits[..], &["--oom-score-adj", "321", "--sysctl", "kernel.msgmax=9000"]].concat();
    let files = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj /proc/sys/kernel/msgmax";
    assert_eq!(script(client, &options, files), "100\n200\n321\n9000");
}

fn memory(client: &impl Client) {
    let limit =
        format!("{FIRST}cd /sys/fs/cgroup; first memory.max memory/memory.limit_in_bytes; exec sleep 1000");
    start(client, &["-m", "64m", "--memory-swap", "128m"], &["sh", "-c", &limit]);
    eventually("one tells its limit", || type_in(client, "logs one") == "67108864");
    type_in(client, "update --memory 96m one");
    let again = format!("{FIRST}cd /sys/fs/cgroup; first memory.max memory/memory.limit_in_bytes");
    assert_eq!(client.client(&["exec", "one", "sh", "-c", &again]).ok(), "100663296");
    type_in(client, "rm -f one");
}

/// A process that takes more than it may. podman does not notice it on every machine.
pub fn exhaustion(client: &impl Client) {
    start(client, &["-m", "8m", "--memory-swap", "8m"], &["tail", "/dev/zero"]);
    assert_eq!(type_in(client, "wait one"), "137");
    // Engines hear of it from the kernel by another way than of the end.
    eventually("one was killed for its memory", || state(client, "OOMKilled") == "true");
    type_in(client, "rm one");
}

/// The effective capabilities of a process with these options.
fn capabilities(client: &impl Client, options: &[&str]) -> u64 {
    let told = script(client, options, "grep CapEff /proc/self/status");
    u64::from_str_radix(told.trim_start_matches("CapEff:\t"), 16).expect("a hexadecimal number")
}

fn privileges(client: &impl Client) {
    const CHOWN: u64 = 1;
    const NET_ADMIN: u64 = 1 << 12;
    let default = capabilities(client, &[]);
    assert_eq!(default & (CHOWN | NET_ADMIN), CHOWN);
    assert_eq!(capabilities(client, &["--cap-drop", "ALL"]), 0);
    assert_eq!(capabilities(client, &["--cap-drop", "ALL", "--cap-add", "CHOWN"]), CHOWN);
    assert_eq!(capabilities(client, &["--cap-add", "NET_ADMIN"]), default | NET_ADMIN);
    assert_eq!(capabilities(client, &["-u", "1000"]), 0);
    let privileged = capabilities(client, &["--privileged"]);
    assert_eq!(privileged & NET_ADMIN, NET_ADMIN);
    let status = "grep NoNewPrivs /proc/self/status";
    assert_eq!(script(client, &["--security-opt", "no-new-privileges"], status), "NoNewPrivs:\t1");
}

fn filters(client: &impl Client) {
    let mode = "grep Seccomp: /proc/self/status";
    assert_eq!(script(client, &[], mode), "Seccomp:\t2");
    assert_eq!(script(client, &["--security-opt", "seccomp=unconfined"], mode), "Seccomp:\t0");
    let folder = tempfile::tempdir().expect("make a folder");
    let profile = folder.path().join("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(&profile, text).expect("write a file");
    let option = format!("seccomp={}", profile.display());
    let refused = "mkdir /x 2>&1; kill -USR1 $$ 2>&1; kill -0 $$ && echo alive";
    let told = script(client, &["--security-opt", &option], refused);
    assert!(told.contains("Operation not supported") || told.contains("not supported"), "{told}");
    assert!(told.contains("Operation not permitted") && told.ends_with("alive"), "{told}");
}

fn files(client: &impl Client) {
    let folder = tempfile::tempdir().expect("make a folder");
    std::fs::write(folder.path().join("file"), "kept").expect("write a file");
    let source = folder.path().display();
    let (bind, fixed) = (format!("{source}:/bind"), format!("{source}:/fixed:ro"));
    let written = "cat /fixed/file; echo x > /fixed/x || echo fixed; echo y > /bind/y; \
                   touch /x || echo root; touch /scratch/x && ls -ld /scratch | cut -c1-10; \
                   touch /dev/shm/x && echo shm";
    let options = ["--read-only", "--tmpfs", "/scratch:size=1m,mode=700", "-v", &bind, "-v", &fixed];
    let told = script(client, &options, &format!("({written}) 2>/dev/null"));
    assert_eq!(told, "keptfixed\nroot\ndrwx------\nshm");
    assert_eq!(std::fs::read_to_string(folder.path().join("y")).expect("it was written"), "y\n");
    let hidden = "cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware | grep -c .; \
                  (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo fixed";
    let told = script(client, &[], hidden);
    assert!(told.starts_with('0') && told.ends_with("fixed"), "{told}");
}

fn devices(client: &impl Client) {
    // The log of the kernel may be opened for writing by anybody whom the control group lets.
    let options = ["--device", "/dev/kmsg:/dev/other:w"];
    let told = script(
        client,
        &options,
        ": > /dev/other && echo opened; (: < /dev/other) 2>/dev/null || echo refused",
    );
    assert_eq!(told, "opened\nrefused");
    let present = "for name in null zero full random urandom tty ptmx pts shm mqueue fd stdin stdout stderr; \
                   do test -e /dev/$name || test -L /dev/$name || echo $name is missing; done; \
                   mknod /dev/other c 1 11 && (cat /dev/other) 2>&1 | grep -c 'not permitted'";
    assert_eq!(script(client, &[], present), "1");
}

fn namespaces(client: &impl Client) {
    assert_eq!(script(client, &["-h", "host"], "hostname"), "host");
    assert_ne!(script(client, &["--pid", "host"], "echo $$"), "1");
    start(client, &["--ipc", "shareable"], &["sleep", "1000"]);
    let shared = "ps -o args | grep -c '^sleep 1000'; touch /dev/shm/seen";
    assert_eq!(script(client, &["--pid", "container:one", "--ipc", "container:one"], shared), "1");
    assert_eq!(type_in(client, "exec one ls /dev/shm"), "seen");
    type_in(client, "rm -f one");
}

fn users(client: &impl Client) {
    let who = "echo $(id -u) $(id -g) $(id -G) $HOME; echo x > /dev/stderr";
    assert_eq!(script(client, &["-u", "app"], who), "1000 1000 1000 50 /home/app");
    assert_eq!(script(client, &["-u", "4444:5555", "--group-add", "99"], who), "4444 5555 5555 99 /");
}
