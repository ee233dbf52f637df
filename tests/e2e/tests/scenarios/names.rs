//! Names of containers on networks.

use std::net::UdpSocket;

use testkit::Host;

in_every_mode! {
    containers_call_each_other_by_name
    the_default_bridge_has_no_names
    names_come_and_go_with_networks
    names_follow_restart_and_rename
    other_names_are_asked_of_servers
    internal_networks_ask_nobody
    a_server_of_names_in_a_container
    lost_names_are_found_again
    steps_of_a_build_know_the_names_of_their_network
}

/// Runs a container that stays, with these further arguments.
fn stay(host: &Host, name: &str, arguments: &[&str]) {
    host.dhow(&[&["run", "-d", "--name", name], arguments, &["busybox", "sleep", "1000"]].concat()).ok();
}

/// What `from` is told about a name: all addresses (or names, for an address), or nothing.
fn told(host: &Host, from: &str, name: &str) -> Vec<String> {
    let output = host.dhow(&["exec", from, "nslookup", name]).run();
    // The first two lines are about the server.
    let answer = output.stdout.lines().skip(3);
    let mut told: Vec<String> = answer
        .filter_map(|line| {
            line.strip_prefix("Address: ").or(line.split_once("name = ").map(|(_, name)| name))
        })
        .map(|word| word.trim().to_owned())
        .collect();
    told.sort();
    told
}

fn address(host: &Host, container: &str, network: &str) -> String {
    let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    host.dhow(&["inspect", "-f", &template, container]).ok()
}

fn reaches(host: &Host, from: &str, name: &str) -> bool {
    host.dhow(&["exec", from, "ping", "-c", "1", "-W", "5", name]).run().code == 0
}

fn containers_call_each_other_by_name(host: &Host) {
    host.busybox();
    host.type_in("network create front").ok();
    stay(host, "web", &["--network", "front", "--network-alias", "www", "--hostname", "box"]);
    stay(host, "db_1", &["--network", "front", "--network-alias", "www", "--network-alias", "db"]);
    let (web, db) = (address(host, "web", "front"), address(host, "db_1", "front"));
    assert_eq!(
        host.type_in("exec web cat /etc/resolv.conf").ok().lines().next(),
        Some("nameserver 127.0.0.11")
    );
    for from in ["web", "db_1"] {
        for name in ["web", "WEB", "box", "web.front"] {
            assert_eq!(told(host, from, name), [web.as_str()], "{name} from {from}");
        }
        for name in ["db_1", "db", "db.front"] {
            assert_eq!(told(host, from, name), [db.as_str()], "{name} from {from}");
        }
        assert_eq!(told(host, from, "www").len(), 2);
        assert_eq!(told(host, from, &db), ["db_1.front"]);
        assert!(reaches(host, from, "web") && reaches(host, from, "db"));
        assert_eq!(told(host, from, "nobody"), [""; 0]);
    }
    let id = host.dhow(&["inspect", "-f", "{{.Id}}", "web"]).ok();
    assert_eq!(told(host, "db_1", &id[..12]), [web.as_str()]);
    let names = "{{json .NetworkSettings.Networks.front.DNSNames}}";
    let names = host.dhow(&["inspect", "-f", names, "web"]).ok();
    assert_eq!(names, format!("[\"web\",\"www\",\"{}\",\"box\"]", &id[..12]));
    host.type_in("rm -f db_1").ok();
    assert_eq!(told(host, "web", "db"), [""; 0]);
    assert_eq!(told(host, "web", "www"), [web.as_str()]);
}

fn the_default_bridge_has_no_names(host: &Host) {
    host.busybox();
    stay(host, "web", &[]);
    stay(host, "db", &[]);
    assert!(!host.type_in("exec db cat /etc/resolv.conf").ok().contains("127.0.0.11"));
    assert!(!reaches(host, "db", "web"));
    assert!(reaches(host, "db", &address(host, "web", "bridge")));
    let refused = host.type_in("run --rm --network-alias www busybox true").fails(125);
    assert!(refused.contains("aliases are only supported for user-defined networks"), "{refused}");
}

fn names_come_and_go_with_networks(host: &Host) {
    host.busybox();
    for network in ["front", "back"] {
        host.type_in(&format!("network create {network}")).ok();
    }
    stay(host, "web", &["--network", "front"]);
    stay(host, "db", &["--network", "back"]);
    stay(host, "late", &[]);
    assert_eq!(told(host, "web", "db"), [""; 0]);
    host.type_in("network connect --alias store back web").ok();
    assert_eq!(told(host, "web", "db"), [address(host, "db", "back")]);
    assert_eq!(told(host, "db", "store"), [address(host, "web", "back")]);
    assert!(reaches(host, "db", "web"));
    // One that was on the default bridge alone asks for names from now on.
    host.type_in("network connect front late").ok();
    assert!(host.type_in("exec late cat /etc/resolv.conf").ok().contains("nameserver 127.0.0.11"));
    assert_eq!(told(host, "late", "web"), [address(host, "web", "front")]);
    assert_eq!(told(host, "web", "late"), [address(host, "late", "front")]);
    assert_eq!(told(host, "late", "db"), [""; 0]);
    host.type_in("network disconnect back web").ok();
    assert_eq!(told(host, "web", "db"), [""; 0]);
    assert_eq!(told(host, "db", "store"), [""; 0]);
    host.type_in("network disconnect front late").ok();
    assert!(!host.type_in("exec late cat /etc/resolv.conf").ok().contains("127.0.0.11"));
    assert_eq!(told(host, "web", "late"), [""; 0]);
    host.type_in("network connect front late").ok();
    assert_eq!(told(host, "late", "web"), [address(host, "web", "front")]);
}

fn names_follow_restart_and_rename(host: &Host) {
    host.busybox();
    host.type_in("network create front").ok();
    stay(host, "web", &["--network", "front"]);
    stay(host, "db", &["--network", "front", "--network-alias", "store"]);
    host.type_in("stop -t 0 db").ok();
    assert_eq!(told(host, "web", "db"), [""; 0]);
    host.type_in("start db").ok();
    host.type_in("restart -t 0 web").ok();
    for (from, name, to) in [("web", "db", "db"), ("web", "store", "db"), ("db", "web", "web")] {
        assert_eq!(told(host, from, name), [address(host, to, "front")], "{name}");
    }
    host.type_in("rename db base").ok();
    assert_eq!(told(host, "web", "base"), [address(host, "base", "front")]);
    assert_eq!(told(host, "web", "store"), [address(host, "base", "front")]);
    assert_eq!(told(host, "web", "db"), [""; 0]);
    // A restart of the policy's keeps network and names.
    stay(host, "again", &["--network", "front", "--restart", "always"]);
    let again = address(host, "again", "front");
    host.dhow(&["exec", "again", "kill", "1"]).run();
    host.dhow(&["exec", "again", "kill", "-9", "1"]).run();
    testkit::eventually("the container asks again", || told(host, "again", "web").len() == 1);
    assert_eq!(told(host, "web", "again"), [again]);
}

/// A server in the machine that knows every name: its address is 192.0.2.7.
fn serve_every_name() {
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let mut reply = buffer[..n].to_vec();
            (reply[2], reply[3]) = (0x81, 0x80);
            if reply[n - 4..] == [0, 1, 0, 1] {
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
}

fn other_names_are_asked_of_servers(host: &Host) {
    host.busybox();
    host.type_in("network create front --subnet 10.99.0.0/24").ok();
    stay(host, "web", &["--network", "front", "--dns", "10.99.0.1"]);
    serve_every_name();
    assert_eq!(told(host, "web", "www.example.com"), ["192.0.2.7"]);
    assert_eq!(told(host, "web", "web"), [address(host, "web", "front")]);
}

fn internal_networks_ask_nobody(host: &Host) {
    host.busybox();
    host.type_in("network create --internal inside --subnet 10.99.0.0/24").ok();
    stay(host, "web", &["--network", "inside", "--dns", "10.99.0.1"]);
    serve_every_name();
    assert_eq!(told(host, "web", "www.example.com"), [""; 0]);
    assert_eq!(told(host, "web", "web"), [address(host, "web", "inside")]);
    // With a way out they are asked.
    host.type_in("network connect bridge web").ok();
    assert_eq!(told(host, "web", "www.example.com"), ["192.0.2.7"]);
    host.type_in("network disconnect bridge web").ok();
    assert_eq!(told(host, "web", "www.example.com"), [""; 0]);
}

fn a_server_of_names_in_a_container(host: &Host) {
    host.busybox();
    host.type_in("network create front").ok();
    stay(host, "web", &["--network", "front"]);
    // Port 53 of every address is the container's own.
    let script = "while :; do echo mine | nc -l -p 53; done";
    host.dhow(&["run", "-d", "--name", "own", "--network", "front", "busybox", "sh", "-c", script]).ok();
    testkit::eventually("the container's server answers", || {
        host.dhow(&["exec", "web", "nc", "-w", "5", "own", "53"]).run().stdout == "mine\n"
    });
    assert_eq!(told(host, "own", "web"), [address(host, "web", "front")]);
}

fn lost_names_are_found_again(host: &Host) {
    host.busybox();
    let network = host.type_in("network create front").ok();
    stay(host, "web", &["--network", "front"]);
    let folder = host.home().join("run/networks");
    let file = folder.join(format!("{network}.endpoints"));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(folder.join("gone.endpoints"), "{}").unwrap();
    assert_eq!(told(host, "web", "web"), [""; 0]);
    let found = host.type_in("system check").run();
    assert!(found.stdout.contains(&network[..12]) && found.stdout.contains("names"), "{}", found.stdout);
    host.type_in("system check --repair").run();
    assert_eq!(told(host, "web", "web"), [address(host, "web", "front")]);
    assert!(!folder.join("gone.endpoints").exists());
    assert!(!host.type_in("system check").run().stdout.contains("names"));
}

fn steps_of_a_build_know_the_names_of_their_network(host: &Host) {
    host.busybox();
    host.type_in("network create backend").ok();
    stay(host, "mirror", &["--network", "backend", "--network-alias", "mirror.example"]);
    host.file("context/Dockerfile", "FROM busybox\nRUN ping -c1 mirror && ping -c1 mirror.example\n");
    host.type_in("build --network backend -t built context").ok();
}
