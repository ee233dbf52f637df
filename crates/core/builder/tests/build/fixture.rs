//! A store of its own with a base image around Debian's static busybox, and a context to fill. Needs root.

use builder::{
    Built, BuiltResult, Context, Env, Error, Event, Image, ImageRequest, NetHandle, NetMode, Request, Stream,
};
use oci::image::ImageConfig;
use oci::{Platform, Reference};
use state::Db;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

const APPLETS: [&str; 24] = [
    "sh", "ls", "cat", "echo", "test", "touch", "mkdir", "rm", "stat", "id", "pwd", "env", "true", "false",
    "sleep", "head", "grep", "find", "hostname", "ln", "mv", "cp", "ps", "wc",
];

/// Everything of one test; the directory goes with it.
pub struct Fixture {
    pub dir: tempfile::TempDir,
}

/// A finished build and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub built: Result<Built, Error>,
    pub events: Vec<Event>,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Self::bare();
        fixture.import_base();
        fixture
    }

    /// One that has nothing at all.
    pub fn bare() -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let fixture = Self { dir };
        std::fs::create_dir(fixture.context()).unwrap();
        std::fs::create_dir(fixture.root()).unwrap();
        fixture
    }

    /// Another machine: the same files, and nothing that is changed on one is on the other.
    pub fn twin(&self) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        for name in ["root", "context"] {
            let (from, mut copy) = (self.dir.path().join(name), std::process::Command::new("cp"));
            assert!(copy.arg("-a").arg(from).arg(dir.path()).status().expect("run cp").success());
        }
        Self { dir }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    /// A context file.
    pub fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.context().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn store(&self) -> Store {
        let db = Db::open(self.root().join("state.db")).unwrap();
        Store::open(self.root(), &db).unwrap()
    }

    /// `base:latest`, one layer.
    fn import_base(&self) {
        let store = self.store();
        let lease = store.lease("test").unwrap();
        let dir = lease.scratch();
        for name in ["bin", "etc", "tmp", "root", "home/app"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        std::fs::set_permissions(dir.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        // By another process: a child of this one that is forked meanwhile would hold the file open for writing, and
        // nobody could execute it (ETXTBSY).
        let copied =
            std::process::Command::new("cp").arg("/usr/bin/busybox").arg(dir.join("bin/busybox")).status();
        assert!(copied.expect("run cp").success(), "busybox-static is installed");
        for name in APPLETS {
            symlink("busybox", dir.join("bin").join(name)).unwrap();
        }
        std::fs::write(
            dir.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(dir.join("etc/group"), "root:x:0:\napp:x:1001:\nstaff:x:50:app\n").unwrap();
        let layer = store.layer_from_dir(&lease, None, &dir).unwrap();
        let mut config = ImageConfig::new(&Platform::host());
        config.created = Some("2024-01-01T00:00:00Z".into());
        config.config.env = vec!["PATH=/bin".into()];
        config.rootfs.diff_ids = vec![layer.diff_id.clone()];
        config.history = vec![oci::image::History {
            created: config.created.clone(),
            created_by: "busybox".into(),
            ..Default::default()
        }];
        let tags = [Reference::parse("base").unwrap()];
        store.make_image(&lease, &config, vec![store.descriptor(&layer)], None, &tags).unwrap();
    }

    /// Surroundings as a process of its own would have them: nothing is shared with earlier ones but the disk.
    pub fn env(&self) -> Env {
        let store = self.store();
        let images = store.clone();
        Env {
            db: store.db().clone(),
            store,
            cache_mounts: self.root().join("cache-mounts"),
            run: self.dir.path().join("run"),
            network: Arc::new(|mode: &NetMode| {
                let netns = match mode {
                    NetMode::Host => None,
                    _ => Some(sys::netns::create(|| Ok(()))?),
                };
                let resolv_conf = "nameserver 192.0.2.1\n".to_string();
                Ok(NetHandle { netns, resolv_conf, hosts: Vec::new(), keep: Box::new(()) })
            }),
            images: Arc::new(move |wanted: &ImageRequest, _told| {
                let image = images.resolve(&wanted.reference, Some(&wanted.platform))?;
                Ok(Image::here(image.digest, image.manifest, image.config))
            }),
            fetch: None,
            local_repositories: true,
            policy: None,
            secrets: None,
            agents: None,
            client: Default::default(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            earlier: Arc::default(),
            outlet: None,
            held: None,
            cgroup_prefix: String::new(),
            workers: 4,
            gate: None,
            cdi: vec![self.dir.path().join("cdi")],
        }
    }

    /// Builds the context with this Dockerfile.
    pub fn build(&self, dockerfile: &str) -> Outcome {
        self.build_with(dockerfile, |_| {})
    }

    pub fn build_with(&self, dockerfile: &str, change: impl FnOnce(&mut Request)) -> Outcome {
        self.build_in(&self.env(), dockerfile, change)
    }

    pub fn build_in(&self, env: &Env, dockerfile: &str, change: impl FnOnce(&mut Request)) -> Outcome {
        self.file("Dockerfile", dockerfile);
        let mut request = Request { network: NetMode::None, ..Request::default() };
        request.tags = vec![Reference::parse("result").unwrap()];
        change(&mut request);
        let mut events = Vec::new();
        let built = builder::build(env, Context::Dir(self.context()), &request, &mut |e| events.push(e));
        Outcome { built, events }
    }

    /// The file system of an image, readable.
    pub fn rootfs(&self, built: &Built) -> sys::root::Root {
        let store = self.store();
        let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
        let overlay = store.overlay(image.chain().as_ref(), None, None).unwrap();
        sys::root::Root::from_fd(overlay.mount().unwrap()).unwrap()
    }

    pub fn config(&self, built: &Built) -> ImageConfig {
        self.store().resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap().config
    }

    /// A file of a layer, counted from the lowest.
    pub fn layer_file(&self, built: &Built, layer: usize, path: &str) -> std::fs::Metadata {
        let store = self.store();
        let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
        let mut dirs = store.layer_dirs(&image.chain().unwrap()).unwrap();
        dirs.reverse();
        std::fs::symlink_metadata(dirs[layer].join(path)).unwrap()
    }

    /// The files of the topmost layer, sorted.
    pub fn top_layer(&self, built: &Built) -> Vec<String> {
        let store = self.store();
        let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
        let dirs = store.layer_dirs(&image.chain().unwrap()).unwrap();
        let mut found = Vec::new();
        list(&dirs[0], &dirs[0], &mut found);
        found.sort();
        found
    }
}

fn list(top: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path().strip_prefix(top).unwrap().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            list(top, &entry.path(), found);
        }
    }
}

impl Outcome {
    /// The result of a build that has to work.
    #[track_caller]
    pub fn ok(&self) -> &Built {
        match &self.built {
            Ok(built) => built,
            Err(error) => panic!("{}\n{}", error.report(), self.log()),
        }
    }

    /// The image of a build that has to work.
    #[track_caller]
    pub fn result(&self) -> &BuiltResult {
        image(self.ok())
    }

    #[track_caller]
    pub fn err(&self) -> &Error {
        self.built.as_ref().expect_err("the build has to fail")
    }

    /// Output of all steps.
    pub fn log(&self) -> String {
        let text = |e: &Event| match e {
            Event::StepLog { text, stream: Stream::Stdout | Stream::Stderr, .. } => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    pub fn warnings(&self) -> Vec<&str> {
        let mut rules = Vec::new();
        for event in &self.events {
            if let Event::Warning { rule, .. } = event {
                rules.push(rule.as_str());
            }
        }
        rules
    }

    /// Why steps missed the cache.
    pub fn reasons(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for event in &self.events {
            if let Event::StepMissed { reasons, .. } = event {
                all.extend(reasons.iter().map(String::as_str));
            }
        }
        all
    }
}

/// The image of a build.
pub fn image(built: &Built) -> &BuiltResult {
    built.result.as_ref().expect("it was not for the cache alone")
}

/// Text of a file of an image.
pub fn text(root: &sys::root::Root, path: &str) -> String {
    let bytes = root.read_file(path, 1 << 20).unwrap_or_else(|e| panic!("{path}: {e}"));
    String::from_utf8(bytes).unwrap()
}
