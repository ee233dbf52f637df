//! Operations that are tried under all circumstances, and what may come of each.

use testkit::Host;

/// An operation and what may come of it.
pub struct Operation {
    /// What is typed before, each time; behind `sh` it is for the shell.
    pub before: &'static [&'static str],
    pub line: &'static str,
    /// What it ends with when nothing is broken.
    pub code: i32,
    /// What tells the states apart.
    pub probe: &'static str,
    /// What the probe says when the operation is done.
    pub done: &'static str,
    /// What else it may say when it was not.
    pub undone: &'static [&'static str],
    /// What need not reach the disk for the operation to be done: a part of the path of the file.
    pub indifferent: &'static [&'static str],
    /// Takes away everything that there may be, so that the machine is as it was before.
    pub after: &'static [&'static str],
}

const STATE: &str = "container inspect -f {{.State.Status}} box";
/// A status that a power cut takes back says that the container ran, which it does not any more: the same as its end.
const STATUS: &[&str] = &["/containers/"];
/// Neither does it keep its place in networks, which is all that a start or a stop changes in the database: its log is
/// synced when it is copied back, and not for their sake.
const UPTIME: &[&str] = &["/containers/", "state.db-wal"];
const CLEAR: &[&str] = &["rm -f -v box"];

pub const CREATE: Operation = Operation {
    before: &[],
    line: "create --name box -v /anonymous -p 8080:80 busybox sleep 1000",
    code: 0,
    probe: STATE,
    done: "created",
    undone: &[""],
    indifferent: &[],
    after: CLEAR,
};

pub const START: Operation = Operation {
    before: &["create --name box -v /anonymous -p 8080:80 busybox sleep 1000"],
    line: "start box",
    code: 0,
    probe: STATE,
    done: "running",
    // Exited: its monitor was killed.
    undone: &["created", "exited"],
    indifferent: UPTIME,
    after: CLEAR,
};

pub const STOP: Operation = Operation {
    before: &["run -d --name box -v /anonymous -p 8080:80 busybox sleep 1000"],
    line: "stop -t 0 box",
    code: 0,
    probe: STATE,
    done: "exited",
    undone: &["running"],
    indifferent: UPTIME,
    after: CLEAR,
};

pub const REMOVE: Operation = Operation {
    before: &["run -d --name box -v /anonymous -p 8080:80 busybox sleep 1000"],
    line: "rm -f -v box",
    code: 0,
    probe: STATE,
    done: "",
    undone: &["running", "exited"],
    indifferent: STATUS,
    after: CLEAR,
};

pub const RUN_AND_REMOVE: Operation = Operation {
    before: &[],
    line: "run --rm --name box -v /anonymous -p 8080:80 busybox true",
    code: 0,
    probe: STATE,
    done: "",
    // Created: the client was killed before it could start it.
    undone: &["created"],
    // The container is gone in the end; that the last of several transactions is durable says that all are.
    indifferent: UPTIME,
    after: CLEAR,
};

pub const BUILD: Operation = Operation {
    before: &[],
    line: "build -q -t built ctx",
    code: 0,
    probe: "run --pull never --rm --network none built cat /made /copied",
    done: "made copied",
    undone: &[""],
    indifferent: &[],
    after: &["rmi built", "builder prune -af"],
};

/// Its last layer lies over the one of the build before, the one before that is put on another base.
pub const REBUILD: Operation = Operation {
    before: &["build -q -t first many"],
    line: "build -q -t built -f many/Two many",
    code: 0,
    probe: "run --pull never --rm --network none built cat /made /linked/copied /many/f7",
    done: "two copied 7",
    undone: &[""],
    indifferent: &[],
    after: &["rmi built", "rmi first", "builder prune -af"],
};

pub const COMMIT: Operation = Operation {
    before: &["run -d --name box --network none busybox sleep 1000"],
    line: "commit box committed",
    code: 0,
    probe: "run --pull never --rm --network none committed echo whole",
    done: "whole",
    undone: &[""],
    indifferent: &[],
    after: &["rm -f box", "rmi committed"],
};

pub const LOAD: Operation = Operation {
    before: &[],
    line: "load -i image.tar",
    code: 0,
    probe: "run --pull never --rm --network none loaded cat /made /copied",
    done: "made copied",
    undone: &[""],
    indifferent: &[],
    after: &["rmi loaded"],
};

pub const REMOVE_IMAGE: Operation = Operation {
    before: &["load -i image.tar"],
    line: "rmi loaded",
    done: "",
    undone: &["made copied"],
    ..LOAD
};

/// A file of a layer that has changed comes back from the archive that the layer came in.
pub const RESTORE: Operation = Operation {
    before: &[
        "load -i image.tar",
        "sh for f in $(find \"$DHOW_ROOT\"/layers -name copied -size -2); do echo broken > $f; done",
        // Where layers are images.
        "sh find \"$DHOW_ROOT\"/layers -name layer.erofs -exec env LC_ALL=C sed -i s/copied/broken/g {} +",
    ],
    line: "system check --repair",
    undone: &["made broken", ""],
    ..LOAD
};

/// A manifest that is damaged takes its image along, as nobody knows where to get it again.
pub const QUARANTINE: Operation = Operation {
    before: &[
        "load -i image.tar",
        "sh for f in $(grep -l config.v1 \"$DHOW_ROOT\"/blobs/sha256/* | xargs grep -l $(cat top)); do echo >> $f; done",
    ],
    line: "system check --repair",
    done: "",
    undone: &[""],
    ..LOAD
};

/// An image without a name goes; the ones that have one are more than the limit, too, which is told.
pub const COLLECT: Operation = Operation {
    before: &["load -i image.tar", "tag busybox loaded"],
    line: "system collect --max 1",
    code: 1,
    probe: "images -f dangling=true --format {{.Repository}}",
    done: "",
    undone: &["<none>"],
    indifferent: &[],
    after: &["rmi loaded", "image prune -f"],
};

pub const PRUNE: Operation = Operation { line: "image prune -f", code: 0, ..COLLECT };

/// From the registry of [`crate::transfers`].
pub const PULL: Operation = Operation {
    line: "pull -q 127.0.0.1:5000/loaded:1",
    probe: PULLED,
    after: &["rmi 127.0.0.1:5000/loaded:1"],
    ..LOAD
};
const PULLED: &str = "run --pull never --rm --network none 127.0.0.1:5000/loaded:1 cat /made /copied";

/// What each of them is tried on, but for [`PULL`], which needs a registry.
pub const ALL: [&Operation; 14] = [
    &CREATE,
    &START,
    &STOP,
    &REMOVE,
    &RUN_AND_REMOVE,
    &BUILD,
    &REBUILD,
    &COMMIT,
    &LOAD,
    &REMOVE_IMAGE,
    &RESTORE,
    &QUARANTINE,
    &COLLECT,
    &PRUNE,
];

/// Makes the files that the operations need.
pub fn prepare(host: &Host) {
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo made > /made\nCOPY copied /\n");
    host.file("ctx/copied", "copied\n");
    for (name, made) in [("Dockerfile", "one"), ("Two", "two")] {
        let text =
            format!("FROM busybox\nRUN echo {made} > /made\nCOPY --link copied /linked/\nCOPY . /many\n");
        host.file(&format!("many/{name}"), &text);
    }
    host.file("many/Two.dockerignore", "f3\n");
    host.file("many/copied", "copied\n");
    for number in 0..80 {
        host.file(&format!("many/f{number}"), format!("{number}\n"));
    }
    host.type_in("build -q -t loaded ctx").ok();
    host.type_in("save -o image.tar loaded").ok();
    let top = host.dhow(&["image", "inspect", "-f", "{{index .RootFS.Layers 2}}", "loaded"]).ok();
    host.file("top", top.trim_start_matches("sha256:"));
    // Its archive of busybox stays with busybox.
    for line in ["rmi loaded", "builder prune -af", "load -i image.tar", "rmi loaded"] {
        host.type_in(line).ok();
    }
}

impl Operation {
    /// Makes what the operation is tried on.
    pub fn begin(&self, host: &Host) {
        for line in self.before {
            match line.strip_prefix("sh ") {
                Some(script) => {
                    let root = host.root();
                    let root = root.to_str().expect("UTF-8");
                    host.program("sh", &["-ec", script]).env("DHOW_ROOT", root).ok();
                }
                None => {
                    host.type_in(line).ok();
                }
            }
        }
    }

    /// Where it says why it failed, in small letters. What a check finds is its output, and that it could not look is a part of
    /// that.
    pub fn told(&self, stdout: &str, stderr: &str) -> String {
        let found = if self.line.starts_with("system check") { stdout } else { "" };
        format!("{stderr}{found}").to_lowercase()
    }

    /// What there is now, in the words of [`Operation::done`].
    pub fn state(&self, host: &Host) -> String {
        let output = host.type_in(self.probe).run();
        let words: Vec<_> = output.stdout.split_whitespace().filter(|_| output.code == 0).collect();
        words.join(" ")
    }

    /// Whether this state may be seen after the operation ended so; `disturbed` by something.
    pub fn allows(&self, state: &str, code: i32, disturbed: bool) -> bool {
        state == self.done || (disturbed && code != 0 && self.undone.contains(&state))
    }
}
