//! A user without privileges: everything is made in a user namespace of the container's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::{Typed, binary, busybox, eventually};

/// Somebody with a bundle of their own, who may run a copy of the binary.
struct User {
    home: tempfile::TempDir,
    id: u32,
}

fn own(path: &Path, id: u32) {
    for entry in fs::read_dir(path).expect("read a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            own(&entry.path(), id);
        }
        std::os::unix::fs::lchown(entry.path(), Some(id), Some(id)).expect("give a file away");
    }
    chown(path, Some(id), Some(id)).expect("give a folder away");
}

impl User {
    fn new(id: u32) -> User {
        let home = tempfile::Builder::new().prefix("dhow-test-").tempdir().expect("make a folder");
        fs::copy(binary(), home.path().join("dhow")).expect("copy the binary");
        fs::set_permissions(home.path().join("dhow"), PermissionsExt::from_mode(0o755)).expect("set a mode");
        fs::create_dir(home.path().join("rootfs")).expect("make a folder");
        tar::Archive::new(&busybox()[..]).unpack(home.path().join("rootfs")).expect("unpack busybox");
        own(home.path(), id);
        let user = User { home, id };
        user.runtime(&["spec", "--rootless"]).ok();
        user.edit(|config| config["process"]["terminal"] = json!(false));
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.path("config.json")).expect("read the specification");
        let mut config = serde_json::from_slice(&text).expect("JSON");
        change(&mut config);
        fs::write(self.path("config.json"), config.to_string()).expect("write the specification");
    }

    fn command(&self, words: &[&str]) -> Command {
        let id = self.id.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(self.path("dhow"))
            .arg("runtime");
        command.args(words).env_remove("XDG_RUNTIME_DIR").current_dir(self.home.path());
        command
    }

    fn runtime(&self, words: &[&str]) -> Typed {
        Typed::new(self.command(&[&["--root", "state"], words].concat()))
    }

    fn runs(&self, args: &[&str]) -> String {
        self.edit(|config| config["process"]["args"] = json!(args));
        self.runtime(&["run", "one"]).ok()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.command(&["--root", "state", "delete", "--force", "one"]).output();
    }
}

#[test]
fn a_user_runs_a_container_and_is_root_in_it() {
    let user = User::new(1000);
    assert_eq!(user.runs(&["sh", "-c", "id -u; id -g"]), "0\n0");
    let map = user.runs(&["cat", "/proc/self/uid_map"]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1000", "1"]);
    assert_eq!(user.runs(&["cat", "/proc/self/setgroups"]), "deny");
    assert_eq!(user.runs(&["sh", "-c", "test -d /sys/kernel && echo $$"]), "1");
    user.edit(|config| config["root"]["readonly"] = json!(false));
    user.runs(&["touch", "/made"]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(user.path("rootfs/made")).expect("look").uid(), 1000);
}

#[test]
fn every_verb_works_for_a_user() {
    let user = User::new(1000);
    user.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let out = fs::File::create(user.path("out")).expect("make a file");
    let mut create = user.command(&["--root", "state", "create", "one"]);
    create.stdin(Stdio::null()).stdout(out.try_clone().expect("a descriptor")).stderr(out);
    let created = create.status().expect("run").success();
    assert!(created, "{}", fs::read_to_string(user.path("out")).expect("read"));
    let state = || serde_json::from_str::<Value>(&user.runtime(&["state", "one"]).ok()).expect("JSON");
    assert_eq!(state()["status"], "created");
    user.runtime(&["start", "one"]).ok();
    assert_eq!(state()["status"], "running");
    assert!(user.runtime(&["list"]).ok().contains("running"));
    assert_eq!(user.runtime(&["exec", "one", "id", "-u"]).ok(), "0");
    let pids = user.runtime(&["exec", "one", "sh", "-c", "echo $$; cat /proc/1/comm"]).ok();
    assert!(pids.ends_with("\nsleep") && !pids.starts_with("1\n"), "{pids}");
    let pid = state()["pid"].to_string();
    assert!(user.runtime(&["ps", "one"]).ok().contains(&pid));
    let told = user.runtime(&["pause", "one"]).fails(1);
    assert!(told.contains("container has no control group: the freezer needs one"), "{told}");
    user.runtime(&["kill", "one", "KILL"]).ok();
    eventually("it has ended", || state()["status"] == "stopped");
    user.runtime(&["delete", "one"]).ok();
    assert_eq!(fs::read_dir(user.path("state")).expect("read").count(), 0);
}

#[test]
fn hooks_of_a_user_run_where_the_runtime_was_called() {
    let user = User::new(1000);
    let kinds = ["prestart", "createRuntime", "poststart", "poststop"];
    user.edit(|config| {
        config["process"]["args"] = json!(["true"]);
        for kind in kinds {
            let script = "cat > $0; readlink /proc/self/ns/user /proc/self/ns/mnt >> $0; id -u >> $0; ls /proc/self/fd >> $0";
            let file = user.path(kind).display().to_string();
            let env = ["PATH=/usr/bin:/bin"];
            config["hooks"][kind] =
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script, file], "env": env, "timeout": 20}]);
        }
    });
    user.runtime(&["run", "one"]).ok();
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("read a link");
    let expected = format!("{}\n{}\n1000\n0\n1\n2\n3\n", own("user").display(), own("mnt").display());
    for kind in kinds {
        let text = fs::read_to_string(user.path(kind)).expect(kind);
        let (state, rest) = text.split_at(text.rfind('}').expect("a state") + 1);
        let state: Value = serde_json::from_str(state).expect("JSON");
        assert_eq!((&state["id"], rest.trim_start()), (&json!("one"), &*expected), "{kind}");
    }
    // One that fails says why, and nothing is left.
    user.edit(|config| {
        config["hooks"]["createRuntime"][0]["args"] = json!(["sh", "-c", "echo no >&2; exit 3"])
    });
    let told = user.runtime(&["run", "one"]).fails(1);
    assert!(told.contains("createRuntime hook /bin/sh: exit status: 3: no"), "{told}");
    assert_eq!(fs::read_dir(user.path("state")).expect("read").count(), 0);
}

#[test]
fn what_a_user_may_not_have_is_told() {
    let user = User::new(1000);
    user.edit(|config| config["process"]["args"] = json!(["true"]));
    let nowhere = Typed::new(user.command(&["create", "one"])).fails(1);
    assert!(nowhere.contains("XDG_RUNTIME_DIR, where a user's containers are kept, is not set"), "{nowhere}");
    assert!(nowhere.contains("--root"), "{nowhere}");
    let text = fs::read(user.path("config.json")).expect("read");
    user.edit(|config| config["process"]["user"]["additionalGids"] = json!([5]));
    let told = user.runtime(&["run", "one"]).fails(1);
    assert!(told.contains("cannot set any additional groups in a rootless container"), "{told}");
    fs::write(user.path("config.json"), &text).expect("write");
    // Ids that nobody has given to this user.
    user.edit(|config| config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 5, "size": 2}]));
    let told = user.runtime(&["run", "one"]).fails(1);
    assert!(told.contains("newuidmap"), "{told}");
    fs::write(user.path("config.json"), &text).expect("write");
    user.edit(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != "user");
        config["linux"]["uidMappings"] = json!(null);
        config["linux"]["gidMappings"] = json!(null);
    });
    let told = user.runtime(&["run", "one"]).fails(1);
    assert!(told.contains("rootless container requires user namespaces"), "{told}");
    assert_eq!(fs::read_dir(user.path("state")).expect("read").count(), 0);
}
