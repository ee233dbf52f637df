//! Who reaches whom, with real connections.

use super::{Host, NEIGHBOUR, Space, UPLINK, down, endpoint, ip, network, veth};
use crate::{Network, publish, remove_tables};
use sys::netns;

#[test]
fn a_published_port_is_reached_from_everywhere() {
    reached_from_everywhere("0");
}

#[test]
fn a_published_port_is_reached_when_bridged_frames_are_filtered() {
    reached_from_everywhere("1");
}

fn reached_from_everywhere(br_netfilter: &str) {
    let host = Host::new();
    host.filter_bridged_frames(br_netfilter);
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, other) = host.with_two(&net);
    let elsewhere = network("dhow-b", &["172.18.0.0/16"]);
    host.ensure(&elsewhere);
    let stranger = host.attach(&elsewhere, endpoint(&elsewhere, 2, &[]));
    let _web = web.space.serve(80);
    let lan = format!("{UPLINK}:8080");
    assert_eq!(host.neighbour.ask(&lan).unwrap().ip(), ip(NEIGHBOUR), "the client's address is kept");
    host.space.ask(&lan).unwrap();
    assert_eq!(host.space.ask("127.0.0.1:8080").unwrap().ip(), ip("172.17.0.1"));
    host.space.ask("127.1.2.3:8080").unwrap();
    host.space.ask("172.17.0.1:8080").unwrap();
    // More than once: the first packet that goes back through the same bridge must not make the kernel
    // tell the container of a shorter way.
    for address in [lan.as_str(), "172.17.0.1:8080"].repeat(4) {
        other.space.ask(address).unwrap();
        web.space.ask(address).unwrap();
        stranger.space.ask(address).unwrap();
    }
    host.detach(&web);
    assert!(host.neighbour.is_cut_off_from(&lan));
    assert!(host.space.is_cut_off_from("127.0.0.1:8080"));
}

#[test]
fn an_unpublished_port_is_not_reached_from_outside() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, _) = host.with_two(&net);
    let _web = web.space.serve(80);
    let _private = web.space.serve(81);
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
    // The neighbour has a route to the container, and nothing but the firewall stands between.
    assert!(host.neighbour.is_cut_off_from("172.17.0.2:81"));
    assert!(host.neighbour.is_cut_off_from("172.17.0.2:80"));
}

#[test]
fn bridges_are_isolated_from_each_other() {
    let host = Host::new();
    let (net, elsewhere) = (network("dhow0", &["172.17.0.0/16"]), network("dhow-b", &["172.18.0.0/16"]));
    let (web, _) = host.with_two(&net);
    host.ensure(&elsewhere);
    let stranger = host.attach(&elsewhere, endpoint(&elsewhere, 2, &[]));
    let _web = web.space.serve(80);
    let _stranger = stranger.space.serve(80);
    assert!(stranger.space.is_cut_off_from("172.17.0.2:80"));
    assert!(web.space.is_cut_off_from("172.18.0.2:80"));
}

#[test]
fn a_port_on_loopback_stays_there() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &["127.0.0.1:8080:80"]));
    let _web = web.space.serve(80);
    host.space.ask("127.0.0.1:8080").unwrap();
    assert!(host.neighbour.is_cut_off_from(&format!("{UPLINK}:8080")));
    // A neighbour on the same link who sends packets for 127.0.0.1 to this machine: his own loopback
    // interface is down, so that he does not keep them.
    let intruder = Space(netns::create(|| Ok(())).unwrap());
    host.space.netlink(vec![veth("up1", "eth0", &intruder)]);
    host.space.address("up1", "198.51.100.1/24");
    intruder.address("eth0", "198.51.100.2/24");
    intruder.default_route("eth0", "198.51.100.1");
    intruder.sysctl("ipv4/conf/eth0/route_localnet", "1");
    intruder.ask("198.51.100.1:8080").unwrap_err();
    assert!(intruder.is_cut_off_from("127.0.0.1:8080"));
}

#[test]
fn a_container_does_not_reach_the_hosts_loopback() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &[]));
    let _private = host.space.serve_at("127.0.0.1:9000").unwrap();
    // What a container with CAP_NET_ADMIN can do: no loopback of its own, everything to the gateway.
    web.space.netlink(vec![down(1)]);
    web.space.sysctl("ipv4/conf/eth0/route_localnet", "1");
    assert!(web.space.is_cut_off_from("127.0.0.1:9000"));
}

#[test]
fn an_internal_network_has_no_way_out_and_none_in() {
    let host = Host::new();
    let mut net = network("dhow-i", &["172.19.0.0/16"]);
    net.bridge.internal = true;
    let (web, other) = host.with_two(&net);
    let outer = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&outer);
    let open = host.attach(&outer, endpoint(&outer, 2, &["0.0.0.0:8081:80"]));
    let _servers = [web.space.serve(80), open.space.serve(80), host.neighbour.serve(9000)];
    other.space.ask("172.19.0.2:80").unwrap();
    host.space.ask("172.19.0.2:80").unwrap();
    // Also when somebody inside gives himself a route.
    other.space.default_route("eth0", "172.19.0.1");
    assert!(other.space.is_cut_off_from(&format!("{NEIGHBOUR}:9000")));
    assert!(other.space.is_cut_off_from("172.17.0.2:80"));
    assert!(other.space.is_cut_off_from("172.19.0.1:8081"));
    assert!(host.neighbour.is_cut_off_from(&format!("{UPLINK}:8080")));
}

#[test]
fn without_icc_endpoints_meet_only_at_published_ports() {
    let host = Host::new();
    host.filter_bridged_frames("0");
    let mut net = network("dhow0", &["172.17.0.0/16"]);
    net.bridge.icc = false;
    let (web, other) = host.with_two(&net);
    let _servers = [web.space.serve(80), web.space.serve(81), host.neighbour.serve(9000)];
    assert!(other.space.is_cut_off_from("172.17.0.2:80"));
    assert!(other.space.is_cut_off_from("172.17.0.2:81"));
    other.space.ask("172.17.0.1:8080").unwrap();
    other.space.ask(&format!("{NEIGHBOUR}:9000")).unwrap();
}

#[test]
fn a_subnet_is_one_networks_alone() {
    let host = Host::new();
    let claim = |net: &Network| host.space.run(|| crate::claim(net)).unwrap();
    let (one, other) = (network("one", &["172.17.0.0/16"]), network("other", &["172.17.128.0/17"]));
    assert!(claim(&one) && claim(&one), "what it has it may have");
    assert!(!claim(&other));
    assert!(!claim(&network("one", &["172.18.0.0/16"])), "it has another already");
    assert!(claim(&network("far", &["172.18.0.0/16"])));
    assert!(!claim(&network("routed", &["203.0.0.0/8"])), "the uplink's");
    host.ensure(&one);
    assert!(claim(&one) && !claim(&other));
    host.space.run(|| crate::remove_network(&one)).unwrap();
    assert!(claim(&other) && !claim(&one));
    let all: Vec<Network> = (0..8).map(|n| network(&format!("n{n}"), &["10.1.0.0/16"])).collect();
    let first = std::thread::scope(|scope| {
        let claims: Vec<_> = all.iter().map(|net| scope.spawn(|| claim(net))).collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).filter(|first| *first).count()
    });
    assert_eq!(first, 1, "one of those that ask at once");
}

#[test]
fn a_flushed_firewall_is_put_back() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, _) = host.with_two(&net);
    let _servers = [web.space.serve(80), web.space.serve(81)];
    host.space.run(remove_tables).unwrap();
    assert!(host.neighbour.is_cut_off_from(&format!("{UPLINK}:8080")));
    host.space.run(|| publish(&net, &web.endpoint)).unwrap();
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
    assert!(host.neighbour.is_cut_off_from("172.17.0.2:81"));
}

#[test]
fn a_stale_port_is_taken_over_and_not_withdrawn_by_its_old_owner() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, _) = host.with_two(&net);
    let next = host.attach(&net, endpoint(&net, 4, &["0.0.0.0:8080:80"]));
    let _next = next.space.serve(80);
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
    host.detach(&web);
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
}

#[test]
fn the_machine_does_not_become_a_router() {
    let host = Host::new();
    // A new namespace takes this over from the machine, where it may be on.
    host.space.sysctl("ipv4/ip_forward", "0");
    let second = Space(netns::create(|| Ok(())).unwrap());
    host.space.netlink(vec![veth("up1", "eth0", &second)]);
    host.space.address("up1", "198.51.100.1/24");
    second.address("eth0", "198.51.100.2/24");
    second.default_route("eth0", "198.51.100.1");
    let _server = second.serve(80);
    assert!(host.neighbour.is_cut_off_from("198.51.100.2:80"), "forwarding is off at first");
    let net = network("dhow0", &["172.17.0.0/16"]);
    let (web, _) = host.with_two(&net);
    let _web = web.space.serve(80);
    host.neighbour.ask(&format!("{UPLINK}:8080")).unwrap();
    assert!(host.neighbour.is_cut_off_from("198.51.100.2:80"), "and the neighbours must not notice");
}

#[test]
fn a_router_stays_one() {
    let host = Host::new();
    host.space.sysctl("ipv4/ip_forward", "1");
    let second = Space(netns::create(|| Ok(())).unwrap());
    host.space.netlink(vec![veth("up1", "eth0", &second)]);
    host.space.address("up1", "198.51.100.1/24");
    second.address("eth0", "198.51.100.2/24");
    second.default_route("eth0", "198.51.100.1");
    let _server = second.serve(80);
    host.ensure(&network("dhow0", &["172.17.0.0/16"]));
    assert_eq!(host.neighbour.ask("198.51.100.2:80").unwrap().ip(), ip(NEIGHBOUR));
}
