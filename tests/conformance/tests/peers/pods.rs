//! What podman asks of a runtime and Docker does not: pods, user namespaces of its choice, services that say when they are
//! ready, documents of Kubernetes.

use std::os::unix::net::UnixDatagram;

use testkit::eventually;

use crate::Client;
use crate::podman::Podman;

/// A container without an engine's network.
const RUN: [&str; 3] = ["run", "--network", "none"];

/// All subjects, each of which leaves no container.
pub fn whole(podman: &Podman) {
    let path = "ENV PATH=/bin:/usr/bin";
    let image = |change: &str, name: &str| {
        podman
            .client(&["import", "--change", path, "--change", change, "-", name])
            .input(testkit::busybox())
            .ok();
    };
    image("CMD [\"sh\"]", "busybox");
    image("ENTRYPOINT [\"sleep\", \"1000\"]", Podman::INFRA);
    pods(podman);
    users(podman);
    services(podman);
    health(podman);
    checkpoints(podman);
    kubernetes(podman);
}

fn type_in(podman: &Podman, line: &str) -> String {
    podman.client(&line.split_whitespace().collect::<Vec<_>>()).ok()
}

/// Removes the container. Podman's own helper may be unmounting what belongs to it at the same moment, and then it says that
/// something is busy, with any runtime.
fn remove(podman: &Podman) {
    let once = || podman.client(&["rm", "-f", "-i", "-t", "0", "one"]).run();
    eventually("the container is removed", || once().code == 0);
}

/// The output of a script in a container that is gone afterwards.
#[track_caller]
fn script(podman: &Podman, options: &[&str], script: &str) -> String {
    podman.client(&[&RUN[..], &["--rm"], options, &["busybox", "sh", "-c", script]].concat()).ok()
}

fn pods(podman: &Podman) {
    type_in(podman, "pod create --name pod --network none --hostname shared --share ipc,uts,net,pid");
    podman.client(&["run", "-d", "--pod", "pod", "--name", "one", "busybox", "sleep", "2000"]).ok();
    let seen = "hostname; touch /dev/shm/seen; ps -o args | grep -c '^sleep [12]000'";
    let other = ["run", "--rm", "--pod", "pod", "busybox", "sh", "-c", seen];
    assert_eq!(podman.client(&other).ok(), "shared\n2");
    assert_eq!(type_in(podman, "exec one ls /dev/shm"), "seen");
    let state = || type_in(podman, "pod inspect --format {{.State}} pod");
    assert_eq!(state(), "Running");
    type_in(podman, "pod pause pod");
    assert_eq!(state(), "Paused");
    type_in(podman, "pod unpause pod");
    type_in(podman, "pod stop -t 0 pod");
    assert_eq!(state(), "Exited");
    type_in(podman, "pod start pod");
    assert_eq!(state(), "Running");
    type_in(podman, "pod kill pod");
    type_in(podman, "pod rm -f -t 0 pod");
}

fn users(podman: &Podman) {
    let map = "tr -s ' ' < /proc/self/uid_map | cut -d' ' -f2,4; touch /x && stat -c %u /x";
    assert_eq!(script(podman, &["--userns", "auto:size=1000"], map), "0 1000\n0");
    type_in(podman, "run -d --name one --network none --userns auto:size=2000 busybox sleep 1000");
    type_in(podman, "cp /etc/passwd one:/tmp/copied");
    assert_eq!(type_in(podman, "exec one stat -c %u /tmp/copied"), "0");
    assert_eq!(type_in(podman, "exec -u 1000 one id -u"), "1000");
    assert_eq!(script(podman, &["--userns", "container:one"], map), "0 2000\n0");
    remove(podman);
}

/// A service manager's socket: of podman's own about its helper, or of the program's.
fn services(podman: &Podman) {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("socket");
    let manager = UnixDatagram::bind(&path).expect("make a socket");
    manager.set_read_timeout(Some(testkit::PATIENCE)).expect("set a timeout");
    let hear = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("be told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let run = |mode: &str, script: &str| {
        let options = ["-d", "--name", "one", "--sdnotify", mode, "busybox", "sh", "-c", script];
        podman
            .client(&[&RUN[..], &options].concat())
            .env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
            .ok();
    };
    run("conmon", "echo socket: $NOTIFY_SOCKET; exec sleep 1000");
    let told = hear();
    assert!(told.contains("MAINPID=") && told.contains("READY=1"), "{told}");
    eventually("it has begun", || type_in(podman, "logs one") == "socket:");
    remove(podman);
    // Where it is in the container is the runtime's business.
    run("container", "test -S $NOTIFY_SOCKET && echo there; exec sleep 1000");
    let told = hear();
    assert!(told.contains("MAINPID=") && !told.contains("READY=1"), "{told}");
    eventually("it has found its socket", || type_in(podman, "logs one") == "there");
    remove(podman);
}

fn health(podman: &Podman) {
    let health = ["-d", "--name", "one", "--health-cmd", "test -e /tmp/well", "--health-interval", "disable"];
    podman.client(&[&RUN[..], &health, &["busybox", "sleep", "1000"]].concat()).ok();
    assert_eq!(podman.client(&["healthcheck", "run", "one"]).run().code, 1);
    type_in(podman, "exec one touch /tmp/well");
    type_in(podman, "healthcheck run one");
    remove(podman);
}

fn checkpoints(podman: &Podman) {
    type_in(podman, "run -d --name one --network none busybox sleep 1000");
    let refused = podman.client(&["container", "checkpoint", "one"]).run();
    assert_ne!(refused.code, 0);
    assert_eq!(type_in(podman, "exec one echo alive"), "alive");
    remove(podman);
}

fn kubernetes(podman: &Podman) {
    let document = "
apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  hostNetwork: true
  containers:
  - name: first
    image: localhost/tools-of-pods
    command: [sh, -c, 'id -u; touch /x; sleep 1000']
    securityContext:
      readOnlyRootFilesystem: true
      runAsUser: 1000
    resources:
      limits:
        memory: 64Mi
  - name: second
    image: localhost/tools-of-pods
    command: [sh, -c, 'echo second; exec sleep 1000']
";
    // It looks for a folder by an image's name, which it would build.
    type_in(podman, "tag busybox localhost/tools-of-pods");
    podman.client(&["kube", "play", "-"]).input(document).ok();
    eventually("both have spoken", || {
        type_in(podman, "logs kube-second") == "second"
            && podman.client(&["logs", "kube-first"]).run().stdout.starts_with("1000")
    });
    let told = podman.client(&["logs", "kube-first"]).run();
    let told = format!("{}{}", told.stdout, told.stderr);
    assert!(told.contains("Read-only file system"), "{told}");
    let limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null";
    let limit = podman.client(&["exec", "kube-first", "sh", "-c", limit]).run().stdout;
    assert_eq!(limit.trim(), "67108864");
    podman.client(&["kube", "down", "-"]).input(document).ok();
}
