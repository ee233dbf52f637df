//! Networks with two address families.

use super::{Host, endpoint, ip, network};

#[test]
fn an_ipv6_network_works_like_the_other() {
    let host = Host::new();
    host.space.address("up0", "2001:db8::1/64");
    host.neighbour.address("eth0", "2001:db8::2/64");
    host.neighbour.default_route("eth0", "2001:db8::1");
    let net = network("dhow0", &["172.17.0.0/16", "fd00:17::/64"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &["[::]:8080:80", "0.0.0.0:8080:80"]));
    let other = host.attach(&net, endpoint(&net, 3, &[]));
    let _servers = [web.space.serve(80), web.space.serve(81), host.neighbour.serve(9000)];
    assert_eq!(other.space.ask("[fd00:17::2]:80").unwrap().ip(), ip("fd00:17::3"));
    assert_eq!(host.neighbour.ask("[2001:db8::1]:8080").unwrap().ip(), ip("2001:db8::2"));
    host.space.ask("[2001:db8::1]:8080").unwrap();
    other.space.ask("[fd00:17::1]:8080").unwrap();
    host.space.ask("127.0.0.1:8080").unwrap();
    assert_eq!(other.space.ask("[2001:db8::2]:9000").unwrap().ip(), ip("2001:db8::1"));
    assert!(host.neighbour.is_cut_off_from("[fd00:17::2]:81"));
    let accepts = |ifname: &str| {
        let path = crate::sysctl::of_interface6(ifname).join("accept_ra");
        host.space.run(|| std::fs::read_to_string(path)).unwrap().trim().to_owned()
    };
    assert_eq!((accepts("up0").as_str(), accepts("dhow0").as_str()), ("2", "0"));
    host.detach(&web);
    assert!(host.neighbour.is_cut_off_from("[2001:db8::1]:8080"));
}

#[test]
fn an_ipv4_container_has_no_ipv6() {
    let host = Host::new();
    let net = network("dhow0", &["172.17.0.0/16"]);
    host.ensure(&net);
    let web = host.attach(&net, endpoint(&net, 2, &[]));
    let table = web.space.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6")).unwrap();
    assert!(!table.contains("eth0"), "{table}");
    let table = host.space.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6")).unwrap();
    assert!(!table.contains("dhow0") && !table.contains("veth"), "{table}");
}
