use api::networks::{ConnectRequest, CreateRequest, DisconnectRequest, Ipam, IpamConfig};

use super::*;
use crate::{Kind, networks};

fn named(name: &str, subnet: &str) -> CreateRequest {
    let config = IpamConfig { subnet: subnet.into(), ..IpamConfig::default() };
    CreateRequest {
        name: name.into(),
        ipam: (!subnet.is_empty()).then(|| Ipam { config: vec![config], ..Ipam::default() }),
        ..CreateRequest::default()
    }
}

async fn names(engine: &Engine, pairs: &[(&str, &str)]) -> Vec<String> {
    networks::list(engine, filters(pairs)).await.unwrap().into_iter().map(|n| n.name).collect()
}

#[test]
fn three_networks_are_always_there() {
    alone(async |f| {
        let first: Vec<_> = networks::list(&f.engine, Filters::default()).await.unwrap();
        let again = networks::list(&open(&f.dir).await, Filters::default()).await.unwrap();
        assert_eq!(first, again);
        let mut drivers: Vec<_> = first.iter().map(|n| format!("{} {}", n.name, n.driver)).collect();
        drivers.sort();
        assert_eq!(drivers, ["bridge bridge", "host host", "none null"]);
        for name in ["bridge", "host", "none"] {
            assert_eq!(networks::remove(&f.engine, name).await.unwrap_err().kind, Kind::Forbidden);
            assert_eq!(networks::create(&f.engine, named(name, "")).await.unwrap_err().kind, Kind::Forbidden);
        }
    });
}

#[test]
fn subnets_do_not_overlap() {
    alone(async |f| {
        networks::create(&f.engine, named("front", "10.9.0.0/16")).await.unwrap();
        networks::create(&f.engine, named("back", "")).await.unwrap();
        let e = networks::create(&f.engine, named("again", "10.9.5.0/24")).await.unwrap_err();
        assert!(e.message.contains("Pool overlaps with other one on this address space"), "{e}");
        let e = networks::create(&f.engine, named("front", "")).await.unwrap_err();
        assert_eq!((e.kind, e.message.as_str()), (Kind::Conflict, "network with name front already exists"));
        let front = networks::inspect(&f.engine, "front", "").await.unwrap();
        assert_eq!((front.ipam.config[0].gateway.as_str(), front.scope.as_str()), ("10.9.0.1", "local"));
        let bridge = networks::inspect(&f.engine, "bridge", "").await.unwrap();
        let back = networks::inspect(&f.engine, "back", "").await.unwrap();
        assert_ne!(bridge.ipam.config[0].subnet, back.ipam.config[0].subnet);
        assert_eq!(networks::inspect(&f.engine, &front.id[..10], "").await.unwrap().name, "front");
        assert_eq!(networks::inspect(&f.engine, "front", "swarm").await.unwrap_err().kind, Kind::NotFound);
        assert_eq!(names(&f.engine, &[("type", "custom")]).await, ["front", "back"]);
        assert_eq!(names(&f.engine, &[("name", "fro"), ("driver", "bridge")]).await, ["front"]);
    });
}

/// Each chose its subnet when nothing on the machine had one.
#[test]
fn roots_that_begin_at_once_have_subnets_of_their_own() {
    alone(async |f| {
        let subnet = |engine: &Engine| {
            networks::find(engine, networks::DEFAULT).unwrap().plan().unwrap().bridge.subnets
        };
        let mut others = vec![f.engine.clone()];
        let dirs: Vec<TempDir> = (0..7).map(|_| tempfile::tempdir().unwrap()).collect();
        for dir in &dirs {
            others.push(open(dir).await);
        }
        assert!(
            others.iter().all(|other| subnet(other) == subnet(&f.engine)),
            "there is nothing to tell them apart"
        );
        std::thread::scope(|scope| {
            for engine in &others {
                scope.spawn(|| {
                    let network = networks::find(engine, networks::DEFAULT).unwrap();
                    let plan = networks::settled(engine, network).unwrap().plan().unwrap();
                    assert_eq!(plan.bridge.subnets, subnet(engine));
                    ::network::ensure_network(&plan, &engine.config().root).unwrap();
                });
            }
        });
        let mut found: Vec<String> = others.iter().map(|other| subnet(other)[0].net.to_string()).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), others.len(), "{found:?}");
        // What is up stays as it is, and what the network says of itself is what it has.
        let before = networks::inspect(&f.engine, "bridge", "").await.unwrap();
        let again = networks::settled(&f.engine, networks::find(&f.engine, "bridge").unwrap()).unwrap();
        assert_eq!(again.network().ipam, before.ipam);
        assert_eq!(before.ipam.config[0].subnet, subnet(&f.engine)[0].net.to_string());
    });
}

#[test]
fn containers_that_do_not_run_change_networks() {
    alone(async |f| {
        for name in ["front", "back"] {
            networks::create(&f.engine, named(name, "")).await.unwrap();
        }
        f.create("web", |_, host| host.network_mode = "front".into()).await;
        let connect = || ConnectRequest { container: "web".into(), endpoint_config: None };
        networks::connect(&f.engine, "back", connect()).await.unwrap();
        assert_eq!(networks::connect(&f.engine, "back", connect()).await.unwrap_err().kind, Kind::Forbidden);
        assert_eq!(networks::connect(&f.engine, "host", connect()).await.unwrap_err().kind, Kind::Forbidden);
        let joined: Vec<_> = f.inspect("web").await.network_settings.networks.into_keys().collect();
        assert_eq!(joined, ["back", "front"]);
        assert_eq!(networks::prune(&f.engine, Filters::default()).await.unwrap().networks_deleted.len(), 0);
        let disconnect = || DisconnectRequest { container: "web".into(), force: false };
        networks::disconnect(&f.engine, "front", disconnect()).await.unwrap();
        assert_eq!(
            networks::disconnect(&f.engine, "front", disconnect()).await.unwrap_err().kind,
            Kind::Forbidden
        );
        assert_eq!(f.inspect("web").await.host_config.network_mode, "back");
        assert_eq!(networks::prune(&f.engine, Filters::default()).await.unwrap().networks_deleted, ["front"]);
    });
}
