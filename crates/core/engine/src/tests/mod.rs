//! The engine's verbs together, on everything that needs no running container: those are the end-to-end tests' part.

mod checks;
mod containers;
mod files;
mod networks;
mod volumes;

use std::io;
use std::os::fd::AsFd;

use api::containers::{Config as ContainerConfig, CreateRequest, HostConfig, Inspect, StrSlice};
use api::filters::Filters;
use api::images::ImportOptions;
use archive::{Entry, Packer};
use bytes::Bytes;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{Config, Engine, containers as verbs, images};

/// Runs a test on an engine of its own, in a network namespace of its own.
fn alone<F: Future<Output = ()>>(test: impl FnOnce(Fixture) -> F + Send) {
    let work = || {
        // Threads start in the namespace of the one that starts them, so all of this runtime's are in it.
        let namespace = network::create_namespace().unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let engine = open(&dir).await;
            import(&engine).await;
            test(Fixture { dir, engine }).await;
        });
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

struct Fixture {
    dir: TempDir,
    engine: Engine,
}

/// A further engine on the same root.
async fn open(dir: &TempDir) -> Engine {
    let (root, run) = (dir.path().join("root"), dir.path().join("run"));
    Engine::open(Config::new(root, run, "/proc/self/exe")).await.unwrap()
}

/// An image `box:latest` with a few files and settings; nothing in it can run.
async fn import(engine: &Engine) {
    let mut packer = Packer::new(Vec::new());
    for dir in ["etc", "data", "opt"] {
        packer.append(&Entry::directory(dir, 0o755)).unwrap();
    }
    for (name, content) in [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"),
        ("data/seed", "seed"),
        ("opt/own", "0"),
    ] {
        packer.append_bytes(&Entry::file(name, 0o644, 0), content.as_bytes()).unwrap();
    }
    let bytes = packer.finish().unwrap();
    let body = futures_util::stream::iter([io::Result::Ok(Bytes::from(bytes))]);
    let changes = ["CMD [\"serve\"]", "ENV FROM=image", "EXPOSE 80", "LABEL kind=test", "VOLUME /anon"];
    let options = ImportOptions {
        from_src: "-".into(),
        repo: "box".into(),
        changes: changes.map(str::to_owned).to_vec(),
        ..ImportOptions::default()
    };
    let (sender, mut receiver) = mpsc::channel(64);
    let drain = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    images::import(engine, options, body, sender).await.unwrap();
    drain.await.unwrap();
}

/// A request for a container of the image, changed as a test wants it.
fn request(change: impl FnOnce(&mut ContainerConfig, &mut HostConfig)) -> CreateRequest {
    let mut request = CreateRequest::default();
    let mut host = HostConfig::default();
    request.config.image = "box".into();
    change(&mut request.config, &mut host);
    request.host_config = Some(host);
    request
}

fn words(list: &[&str]) -> StrSlice {
    StrSlice(Some(list.iter().map(|s| (*s).to_owned()).collect()))
}

fn filters(pairs: &[(&str, &str)]) -> Filters {
    let mut filters = Filters::default();
    for (key, value) in pairs {
        filters.add(*key, *value);
    }
    filters
}

impl Fixture {
    /// What a check of everything finds.
    async fn check(&self, repair: bool) -> Vec<crate::system::Finding> {
        let (progress, _) = tokio::sync::mpsc::channel(1);
        let options = crate::system::CheckOptions { repair, quick: false };
        crate::system::check(&self.engine, options, &Default::default(), progress).await.unwrap()
    }

    async fn create(&self, name: &str, change: impl FnOnce(&mut ContainerConfig, &mut HostConfig)) -> String {
        verbs::create(&self.engine, name, "", request(change)).await.unwrap().id
    }

    /// The error of a create.
    async fn refused(&self, change: impl FnOnce(&mut ContainerConfig, &mut HostConfig)) -> crate::Error {
        verbs::create(&self.engine, "refused", "", request(change)).await.unwrap_err()
    }

    async fn inspect(&self, name: &str) -> Inspect {
        verbs::inspect(&self.engine, name, false).await.unwrap()
    }

    /// Names of the containers that a list shows.
    async fn listed(&self, limit: i64, pairs: &[(&str, &str)]) -> Vec<String> {
        let options = api::containers::ListOptions { all: true, limit, size: false, filters: filters(pairs) };
        let lines = verbs::list(&self.engine, options).await.unwrap();
        lines.into_iter().map(|line| line.names[0].trim_start_matches('/').to_owned()).collect()
    }
}
