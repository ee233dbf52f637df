//! Endpoints come, reach what they may, and leave nothing.

use super::{Host, NEIGHBOUR, Space, UPLINK, endpoint, ip, network};
use crate::firewall::has_tables;
use crate::{
    Network, attach, claim, create_namespace, ensure_network, link, remove_abandoned, remove_network,
    remove_orphan, remove_unknown, survey, withdraw,
};
use std::collections::BTreeSet;
use std::os::fd::AsFd;

#[test]
fn containers_reach_each_other_and_the_outside() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let _web = web.space.serve(80);
    let _outside = host.neighbour.serve(9000);
    assert_eq!(other.space.ask("172.17.0.2:80").unwrap().ip(), ip("172.17.0.3"));
    assert_eq!(host.space.ask("172.17.0.2:80").unwrap().ip(), ip("172.17.0.1"));
    let seen = other.space.ask(&format!("{NEIGHBOUR}:9000")).unwrap();
    assert_eq!(seen.ip(), ip(UPLINK), "the neighbour sees this machine's address");
}

#[test]
fn without_masquerade_the_container_shows_its_address() {
    let host = Host::new();
    let mut net = network("dhow0", &["172.17.0.0/16"]);
    net.bridge.masquerade = false;
    let (_, other) = host.with_two(&net);
    let _outside = host.neighbour.serve(9000);
    assert_eq!(other.space.ask(&format!("{NEIGHBOUR}:9000")).unwrap().ip(), ip("172.17.0.3"));
}

#[test]
fn the_interface_is_as_described() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &[]));
    let read = |path: &str| {
        let path = path.to_owned();
        web.space.run(|| std::fs::read_to_string(path)).unwrap().trim().to_owned()
    };
    assert_eq!(read("/proc/sys/net/ipv6/conf/eth0/disable_ipv6"), "1");
    assert_eq!(read("/proc/sys/net/ipv6/conf/eth0/accept_ra"), "0");
    let find = || crate::bridge::find(&mut crate::bridge::route_socket().unwrap(), "eth0");
    let link = web.space.run(find).unwrap().unwrap();
    assert_eq!(link.kind, "veth");
    assert_eq!(link.alias, None, "the container does not see our names");
}

#[test]
fn teardown_leaves_nothing() {
    let host = Host::new();
    let before = links(&host.space);
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let found = host.space.run(survey).unwrap();
    assert_eq!(found.bridges.len(), 1);
    assert_eq!(found.bridges[0].id, net.id);
    assert_eq!(found.ports.len(), 2);
    assert_eq!(found.published.len(), 1);
    assert_eq!(found.published[0].endpoint_id, web.endpoint.id);
    assert_eq!(found.published[0].target, "172.17.0.2:80".parse().unwrap());
    assert_eq!(found.firewall_networks, [("dhow0".to_owned(), net.id.clone())]);
    for container in [&web, &other, &web] {
        host.detach(container);
    }
    let found = host.space.run(survey).unwrap();
    assert!(found.ports.is_empty() && found.published.is_empty(), "{found:?}");
    assert!(host.space.run(has_tables));
    for _ in 0..2 {
        host.space.run(|| remove_network(&net)).unwrap();
    }
    assert_eq!(host.space.run(survey).unwrap(), crate::Survey::default());
    assert!(!host.space.run(has_tables));
    assert_eq!(links(&host.space), before);
}

#[test]
fn orphans_go_by_their_id() {
    let host = Host::new();
    let before = links(&host.space);
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    // In this order the last one is an endpoint, with a port that is published still.
    for id in [&other.endpoint.id, &net.id, &web.endpoint.id] {
        assert!(host.space.run(has_tables));
        host.space.run(|| remove_orphan(id)).unwrap();
    }
    assert_eq!(host.space.run(survey).unwrap(), crate::Survey::default());
    assert!(!host.space.run(has_tables));
    assert_eq!(links(&host.space), before);
}

#[test]
fn bridges_of_removed_roots_go() {
    let host = Host::new();
    let root = tempfile::tempdir().unwrap();
    let (used, idle, other) = ("dhow0", "dhow1", "dhow2");
    let of = |ifname: &str, subnet: &str| network(ifname, &[subnet]);
    let gone = root.path().join("root");
    std::fs::create_dir(&gone).unwrap();
    let (used, idle, other) =
        (of(used, "172.17.0.0/16"), of(idle, "172.18.0.0/16"), of(other, "172.19.0.0/16"));
    let (_web, _) = host.with_two(&used);
    for (network, root) in [(&used, &*gone), (&idle, &gone), (&other, root.path())] {
        host.space.run(|| ensure_network(network, root)).unwrap();
    }
    let ids = |ifnames: &[&Network]| {
        let found = host.space.run(survey).unwrap().bridges;
        let mut found: Vec<String> = found.into_iter().map(|bridge| bridge.id).collect();
        found.sort();
        assert_eq!(found, ifnames.iter().map(|network| network.id.clone()).collect::<Vec<_>>());
    };
    assert_eq!(host.space.run(remove_abandoned).unwrap(), 0);
    std::fs::remove_dir(&gone).unwrap();
    assert_eq!(host.space.run(remove_abandoned).unwrap(), 1);
    ids(&[&used, &other]);
    assert!(host.space.run(|| claim(&idle)).unwrap(), "its subnet is free");
    // A root at the place of another one does not know what that had.
    let known = |ids: &[&Network]| ids.iter().map(|network| network.id.clone()).collect();
    for (root, known, removed) in
        [(root.path(), known(&[&other]), 0), (&gone, known(&[]), 0), (root.path(), known(&[&idle]), 1)]
    {
        assert_eq!(host.space.run(|| remove_unknown(root, &known)).unwrap(), removed, "{known:?}");
    }
    ids(&[&used]);
}

#[test]
fn everything_may_be_repeated() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    host.ensure(&net);
    let again = Space(create_namespace().unwrap());
    host.space.run(|| attach(&net, &web.endpoint, again.0.as_fd())).unwrap();
    let _web = again.serve(80);
    assert_eq!(other.space.ask("172.17.0.2:80").unwrap().ip(), ip("172.17.0.3"));
    assert_eq!(host.space.run(survey).unwrap().ports.len(), 2);
}

#[test]
fn the_link_goes_with_its_namespace() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &[]));
    drop(web);
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while !host.space.run(survey).unwrap().ports.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the host's end is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let space = Space(create_namespace().unwrap());
    let lonely = endpoint(&net, 2, &["0.0.0.0:8080:80"]);
    let error = host.space.run(|| attach(&net, &lonely, space.0.as_fd())).unwrap_err();
    assert_eq!(error.to_string(), "bridge dhow0 does not exist");
    host.ensure(&net);
    let mut wrong = lonely.clone();
    wrong.gateways = vec![ip("10.9.9.9")];
    let error = host.space.run(|| attach(&net, &wrong, space.0.as_fd())).unwrap_err();
    assert_eq!(error.to_string(), "configure eth0");
    let found = host.space.run(survey).unwrap();
    assert!(found.ports.is_empty() && found.published.is_empty(), "{found:?}");
    host.space.run(|| attach(&net, &lonely, space.0.as_fd())).unwrap();
}

#[test]
fn a_bridge_takes_over_new_subnets() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let moved = network("dhow0", &["172.20.0.0/16"]);
    host.ensure(&moved);
    let routes = host.space.run(crate::host_routes).unwrap();
    assert!(routes.contains(&"172.20.0.0/16".parse().unwrap()), "{routes:?}");
    assert!(!routes.contains(&"172.17.0.0/16".parse().unwrap()), "{routes:?}");
    assert!(routes.contains(&"203.0.113.0/24".parse().unwrap()), "{routes:?}");
}

#[test]
fn a_bridge_of_somebody_else_is_used_and_left_alone() {
    let host = Host::new();
    host.space.netlink(vec![link::bridge("br0", crate::Mac([2, 0, 0, 0, 0, 1]), 1500)]);
    host.space.address("br0", "192.0.2.1/24");
    let net = network("br0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let _web = web.space.serve(80);
    other.space.ask("172.17.0.2:80").unwrap();
    host.space.ask("127.0.0.1:8080").unwrap();
    host.space.run(|| remove_network(&net)).unwrap();
    let routes = host.space.run(crate::host_routes).unwrap();
    assert!(routes.contains(&"192.0.2.0/24".parse().unwrap()), "{routes:?}");
}

#[test]
fn a_bridge_that_was_taken_down_comes_up_again() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let _web = web.space.serve(80);
    host.space.netlink(vec![super::down(host.space.index("dhow0"))]);
    host.ensure(&net);
    other.space.ask("172.17.0.2:80").unwrap();
}

#[test]
fn two_engines_at_once() {
    let host = Host::new();
    let networks = [network("dhow0", &["172.17.0.0/16"]), network("dhow-b", &["172.18.0.0/16"])];
    std::thread::scope(|scope| {
        for worker in 0..8u8 {
            let net = &networks[usize::from(worker % 2)];
            let host = &host;
            scope.spawn(move || {
                for round in 0..5u8 {
                    host.ensure(net);
                    let number = 10 + worker * 5 + round;
                    let port = format!("0.0.0.0:{}:80", 8000 + u16::from(number));
                    let container = host.attach(net, endpoint(net, number, &[&port]));
                    let found = host.space.run(survey).unwrap();
                    assert!(found.published.iter().any(|port| port.endpoint_id == container.endpoint.id));
                    host.detach(&container);
                }
            });
        }
    });
    let found = host.space.run(survey).unwrap();
    assert_eq!((found.bridges.len(), found.ports.len(), found.published.len()), (2, 0, 0));
}

fn links(space: &Space) -> BTreeSet<String> {
    let listed = space.run(|| crate::bridge::route_socket().unwrap().dump(&link::all_links()).unwrap());
    listed.iter().filter_map(link::parse_link).map(|link| link.name).collect()
}

#[test]
fn a_withdrawn_endpoint_is_silent_at_once() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let _web = web.space.serve(80);
    other.space.ask("172.17.0.2:80").unwrap();
    host.space.run(|| withdraw(&web.endpoint)).unwrap();
    assert!(other.space.is_cut_off_from("172.17.0.2:80"));
    assert!(web.space.is_cut_off_from("172.17.0.1:8080"));
    assert!(host.space.run(survey).unwrap().published.is_empty());
    let mut heir = endpoint(&net, 2, &["0.0.0.0:8080:80"]);
    heir.id = "ffffffffffff".into();
    let heir = host.attach(&net, heir);
    let _heir = heir.space.serve(80);
    other.space.ask("172.17.0.2:80").unwrap();
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
    host.space.run(|| withdraw(&web.endpoint)).unwrap();
    drop(web);
}
