//! `docker inspect` of a container.

use std::collections::BTreeMap;

use api::containers::{GraphDriver, Inspect, NetworkSettings};
use monitor::Status;

use super::record::{self, Record};
use super::{status, summary};
use crate::error::Result;
use crate::networks::{self, EndpointRecord};
use crate::{Engine, exec};

/// Everything about one container; with `size` also what it takes on disk.
pub async fn inspect(engine: &Engine, reference: &str, size: bool) -> Result<Inspect> {
    let reference = reference.to_owned();
    engine
        .brief(move |engine| {
            let record = record::find(engine, &reference)?;
            let status = record::observe(engine, &record.id)?.status;
            let endpoints = networks::endpoints_of(engine, &record.id)?;
            let mut document = document(engine, &record, &status, &endpoints)?;
            document.exec_ids =
                if status.pid != 0 { exec::of_container(engine, &record.id) } else { Vec::new() };
            if size {
                let (own, all) = summary::sizes(engine, &record);
                (document.size_rw, document.size_root_fs) = (Some(own), Some(all));
            }
            Ok(document)
        })
        .await
}

fn document(
    engine: &Engine,
    record: &Record,
    status: &Status,
    endpoints: &[EndpointRecord],
) -> Result<Inspect> {
    let dir = engine.container_dir(&record.id);
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut command = record.command().into_iter();
    let d = &record.document;
    let started = status.started_at.is_some();
    let etc = |name: &str| if started { file(name) } else { String::new() };
    Ok(Inspect {
        id: record.id.clone(),
        created: record.created_at().to_string(),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        state: status::document(status),
        image: record.image_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        resolv_conf_path: etc("resolv.conf"),
        hostname_path: etc("hostname"),
        hosts_path: etc("hosts"),
        log_path: if started && d.host_config.log_config.typ == "json-file" {
            file("log")
        } else {
            String::new()
        },
        name: format!("/{}", record.name),
        restart_count: i64::from(status.restart_count),
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        host_config: d.host_config.clone(),
        graph_driver: graph_driver(engine, record),
        mounts: d.mounts.iter().map(record::Mount::point).collect(),
        config: d.config.clone(),
        network_settings: network_settings(engine, record, status, endpoints)?,
        ..Inspect::default()
    })
}

/// The directories of the overlay. There is no merged one: the root file system is mounted in the container only.
fn graph_driver(engine: &Engine, record: &Record) -> GraphDriver {
    let dir = engine.container_dir(&record.id);
    let text = |p: std::path::PathBuf| p.to_string_lossy().into_owned();
    let lower = match &record.layer {
        Some(chain) => engine.store().layer_dirs(chain).unwrap_or_default(),
        None => Vec::new(),
    };
    let lower: Vec<String> = lower.into_iter().map(text).collect();
    GraphDriver {
        name: "overlay2".to_owned(),
        data: BTreeMap::from([
            ("ID".to_owned(), record.id.clone()),
            ("LowerDir".to_owned(), lower.join(":")),
            ("UpperDir".to_owned(), text(dir.join("upper"))),
            ("WorkDir".to_owned(), text(dir.join("work"))),
        ]),
    }
}

fn network_settings(
    engine: &Engine,
    record: &Record,
    status: &Status,
    endpoints: &[EndpointRecord],
) -> Result<NetworkSettings> {
    let by_name: BTreeMap<String, String> =
        networks::all(engine)?.into_iter().map(|n| (n.name, n.id)).collect();
    let all = summary::networks(record, endpoints, &by_name);
    let mut settings = NetworkSettings { networks: all, ..NetworkSettings::default() };
    if status.pid != 0 {
        settings.sandbox_key = format!("/proc/{}/ns/net", status.pid);
        settings.sandbox_id.clone_from(&record.id);
        settings.ports = summary::port_map(record, endpoints);
    }
    // Removed by Docker in API 1.52; scripts of many years read the default network's address here.
    if let Some(bridge) = settings.networks.get(networks::DEFAULT).cloned() {
        settings.endpoint_id = bridge.endpoint_id;
        settings.gateway = bridge.gateway;
        settings.ip_address = bridge.ip_address;
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway = bridge.ipv6_gateway;
        settings.global_ipv6_address = bridge.global_ipv6_address;
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.mac_address = bridge.mac_address;
    }
    Ok(settings)
}
