//! `docker commit`.

use std::collections::BTreeMap;

use api::IdResponse;
use api::containers::{CommitOptions, Config};
use oci::Platform;
use oci::image::{ContainerConfig, Descriptor, History, ImageConfig};
use store::{Lease, Store};

use super::{changes, reference};
use crate::containers::record::{self, Record};
use crate::error::{Context as _, Result};
use crate::{Engine, containers, events};

/// Makes an image of what a container has changed. A running container is paused meanwhile, if that is asked for.
pub async fn commit(engine: &Engine, options: CommitOptions) -> Result<IdResponse> {
    let reference = options.container.clone();
    let record = engine.blocking(move |engine| record::find(engine, &reference)).await?;
    engine
        .blocking(move |engine| {
            let _paused = if options.pause { containers::hold_still(engine, &record)? } else { None };
            commit_blocking(engine, &record, &options)
        })
        .await
}

fn commit_blocking(engine: &Engine, record: &Record, options: &CommitOptions) -> Result<IdResponse> {
    let tag = reference::target(&options.repo, &options.tag)?;
    let store = engine.store();
    let lease = store.lease(&format!("commit {}", record.id))?;
    let (mut config, mut layers) = base(store, &lease, record)?;

    let container = &record.document.config;
    let mut changed = portable(options.config.as_ref().unwrap_or(container));
    changes::apply(&mut changed, &options.changes)?;
    let explicit = options.config.is_some().then(|| portable(container));
    config.config = match explicit {
        Some(below) => merged(changed, &below),
        None => changed,
    };

    let now = jiff::Timestamp::now().to_string();
    let mut step = History {
        created: Some(now.clone()),
        created_by: container.cmd.as_slice().join(" "),
        author: options.author.clone(),
        comment: options.comment.clone(),
        empty_layer: true,
    };
    let upper = engine.container_dir(&record.id).join("upper");
    let mut entries = std::fs::read_dir(&upper).during(format_args!("read {}", upper.display()))?;
    if entries.next().is_some() {
        let layer = store.layer_from_copy(&lease, record.layer.as_ref(), &upper)?;
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        layers.push(store.descriptor(&layer));
        step.empty_layer = false;
    }
    config.history.push(step);
    (config.created, config.author, config.comment) =
        (Some(now), options.author.clone(), options.comment.clone());
    let put = store.make_image(&lease, &config, layers, record.image_id.as_ref(), tag.as_slice())?;

    let id = put.image.id.to_string();
    if let Some(tag) = &tag {
        let attributes = BTreeMap::from([("name".to_owned(), tag.familiar())]);
        events::emit(engine, "image", "tag", &id, &attributes);
    }
    let name = tag.map(|tag| tag.familiar()).unwrap_or_default();
    let extra = [("comment", options.comment.as_str()), ("imageID", &id), ("imageRef", &name)];
    events::emit_container(engine, "commit", record, &extra);
    Ok(IdResponse { id })
}

/// The configuration and the layers of the container's image. An image that was removed by force is gone, but its
/// layers aren't as long as the container is there.
fn base(store: &Store, lease: &Lease, record: &Record) -> Result<(ImageConfig, Vec<Descriptor>)> {
    if let Some(chain) = &record.layer {
        store.use_layer(lease, chain)?;
    }
    if let Some(id) = &record.image_id
        && let Ok(image) = store.resolve(&id.to_string(), None)
    {
        return Ok((image.config, image.manifest.layers));
    }
    let mut config = ImageConfig::new(&Platform::host());
    let mut layers = store.chain(record.layer.as_ref())?;
    layers.reverse();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let descriptors = layers.iter().map(|layer| store.descriptor(layer)).collect();
    Ok((config, descriptors))
}

/// The part of a container's configuration that its image would have.
fn portable(config: &Config) -> ContainerConfig {
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.0.clone(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.0.clone(),
        cmd: config.cmd.0.clone(),
        healthcheck: config.healthcheck.clone(),
        args_escaped: config.args_escaped,
        volumes: config.volumes.0.clone(),
        working_dir: config.working_dir.clone(),
        on_build: config.on_build.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        shell: config.shell.0.clone(),
    }
}

/// A configuration with what it leaves open taken from another.
fn merged(own: ContainerConfig, below: &ContainerConfig) -> ContainerConfig {
    let mut config = Config {
        user: own.user,
        env: own.env,
        working_dir: own.working_dir,
        on_build: own.on_build,
        labels: own.labels,
        stop_signal: own.stop_signal,
        healthcheck: own.healthcheck,
        args_escaped: own.args_escaped,
        ..Config::default()
    };
    config.exposed_ports.0 = own.exposed_ports;
    config.volumes.0 = own.volumes;
    (config.entrypoint.0, config.cmd.0, config.shell.0) = (own.entrypoint, own.cmd, own.shell);
    containers::merge::merge(&mut config, below);
    portable(&config)
}
