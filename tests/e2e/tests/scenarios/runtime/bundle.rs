//! A bundle around busybox, and a state root of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{Typed, binary, busybox, eventually};

/// A bundle, whose containers are deleted with it.
pub struct Bundle {
    home: tempfile::TempDir,
    /// Ends each container's name, so that no two tests make the same control group.
    mark: String,
}

impl Bundle {
    /// One whose program is a shell that runs `script`.
    pub fn new(script: &str) -> Self {
        let home = tempfile::Builder::new().prefix("dhow-test-").tempdir().expect("make a folder");
        let mark = home.path().file_name().expect("a name").to_string_lossy().into_owned();
        let bundle = Self { home, mark };
        fs::create_dir(bundle.path("rootfs")).expect("make the root");
        tar::Archive::new(&busybox()[..]).unpack(bundle.path("rootfs")).expect("unpack busybox");
        bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
        bundle
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A name for the machine of a container that a test calls so.
    pub fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.mark)
    }

    /// Changes `config.json`.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("config.json");
        let mut config = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).expect("JSON"),
            Err(_) => config(),
        };
        change(&mut config);
        fs::write(path, config.to_string()).expect("write the specification");
    }

    /// `dhow runtime` with these words; `@name` is the id of the container that is called so.
    pub fn runtime(&self, words: &[&str]) -> Typed {
        let mut command = Command::new(binary());
        command.arg("runtime").arg("--root").arg(self.path("state")).current_dir(self.home.path());
        for word in words {
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.id(name)),
                None => command.arg(word),
            };
        }
        Typed::new(command)
    }

    /// A container that waits for its start. What it writes is in the file `out`.
    pub fn create(&self, name: &str) {
        self.create_with(name, &[]);
    }

    /// As [`Bundle::create`], with these variables.
    pub fn create_with(&self, name: &str, variables: &[(&str, &str)]) {
        // Not through a pipe: the container would hold it open.
        let out = fs::File::create(self.path("out")).expect("make a file");
        let mut command = Command::new(binary());
        command.arg("runtime").arg("--root").arg(self.path("state")).arg("create");
        command.arg("--bundle").arg(self.home.path()).arg(self.id(name));
        command.envs(variables.iter().copied()).stdin(std::process::Stdio::null());
        command.stdout(out.try_clone().expect("a descriptor")).stderr(out);
        assert!(command.status().expect("run").success(), "{}", self.out());
    }

    pub fn out(&self) -> String {
        fs::read_to_string(self.path("out")).expect("read what it wrote")
    }

    pub fn state(&self, name: &str) -> Value {
        serde_json::from_str(&self.runtime(&["state", &format!("@{name}")]).ok()).expect("JSON")
    }

    pub fn status(&self, name: &str) -> String {
        self.state(name)["status"].as_str().expect("a text").to_owned()
    }

    pub fn await_status(&self, name: &str, status: &str) {
        eventually(&format!("{name} is {status}"), || self.status(name) == status);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let Ok(folders) = fs::read_dir(self.path("state")) else { return };
        for id in folders.flatten().filter_map(|folder| folder.file_name().into_string().ok()) {
            let mut command = Command::new(binary());
            command.arg("runtime").arg("--root").arg(self.path("state"));
            // What a test has left must not hide why it failed.
            let _ = command.args(["delete", "--force", &id]).status();
        }
    }
}

fn config() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}
        },
        "root": {"path": "rootfs"},
        "hostname": "contained",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
        }
    })
}
