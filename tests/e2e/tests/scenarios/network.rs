//! Published ports, the default bridge, host and none.

use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::{Host, Mode};

in_every_mode! {
    a_published_port_answers
    random_and_exposed_ports
    a_port_has_one_owner
    containers_see_each_other
    none_has_only_loopback
    host_is_the_hosts
    network_commands
    what_nobody_is_on_is_taken_off_the_machine
}

/// A web server in busybox that answers `answer` on port 80.
fn serve(host: &Host, arguments: &[&str], answer: &str) -> String {
    let script = format!("echo {answer} > /var/www/index.html; exec httpd -f -v -p 80 -h /var/www");
    host.dhow(&[&["run", "-d"], arguments, &["busybox", "sh", "-c", &script]].concat()).ok()
}

fn get(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.trim().to_owned())
}

fn eventually_answers(address: &str, answer: &str) {
    testkit::eventually(address, || get(address).as_deref() == Some(answer));
}

fn a_published_port_answers(host: &Host) {
    host.busybox();
    serve(host, &["--name", "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80"], "hello");
    eventually_answers("127.0.0.1:8080", "hello");
    eventually_answers("127.0.0.1:8081", "hello");
    assert!(host.dhow(&["ps", "--format", "{{.Ports}}"]).ok().contains("0.0.0.0:8080->80/tcp"));
    assert!(host.type_in("port web").ok().contains("80/tcp -> 0.0.0.0:8080"));
    assert_eq!(
        host.dhow(&["port", "web", "80/tcp"]).ok().lines().filter(|l| l.contains("127.0.0.1:8081")).count(),
        1
    );
    let address = host.dhow(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"]).ok();
    eventually_answers(&format!("{address}:80"), "hello");
    host.type_in("stop -t 0 web").ok();
    assert!(TcpStream::connect("127.0.0.1:8080").is_err());
    host.type_in("start web").ok();
    eventually_answers("127.0.0.1:8080", "hello");
}

fn random_and_exposed_ports(host: &Host) {
    host.busybox();
    serve(host, &["--name", "one", "-p", "80"], "one");
    serve(host, &["--name", "two", "--expose", "80", "-P"], "two");
    for name in ["one", "two"] {
        let address =
            host.dhow(&["port", name, "80"]).ok().lines().next().unwrap().replace("0.0.0.0", "127.0.0.1");
        eventually_answers(&address, name);
    }
}

fn a_port_has_one_owner(host: &Host) {
    host.busybox();
    serve(host, &["--name", "first", "-p", "8080:80"], "first");
    let refused = host.type_in("run -d --name second -p 8080:80 busybox sleep 1000").fails(125);
    assert!(refused.contains("8080") && refused.contains("already"), "{refused}");
    // The container is there, created, as Docker leaves it; when the port is free it starts.
    host.type_in("rm -f first").ok();
    host.type_in("start second").ok();
    let listener = std::net::TcpListener::bind("0.0.0.0:8090").unwrap();
    let refused = host.type_in("run --rm -p 8090:80 busybox true").fails(125);
    assert!(refused.contains("address already in use") || refused.contains("already allocated"), "{refused}");
    drop(listener);
}

fn containers_see_each_other(host: &Host) {
    host.busybox();
    serve(host, &["--name", "web"], "inside");
    let address = host.dhow(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"]).ok();
    testkit::eventually("the neighbour answers", || {
        host.dhow(&["run", "--rm", "busybox", "wget", "-q", "-O", "-", &format!("http://{address}/")])
            .run()
            .stdout
            == "inside\n"
    });
    assert_eq!(host.dhow(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", &address]).run().code, 0);
    let hosts = host.dhow(&["exec", "web", "cat", "/etc/hosts"]).ok();
    assert!(hosts.contains("127.0.0.1\tlocalhost") && hosts.contains(&address), "{hosts}");
}

fn none_has_only_loopback(host: &Host) {
    host.busybox();
    let interfaces = host.dhow(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]).ok();
    assert_eq!(interfaces, "lo");
    let up =
        host.dhow(&["run", "--rm", "--network", "none", "busybox", "ping", "-c", "1", "127.0.0.1"]).run();
    assert_eq!(up.code, 0);
}

fn host_is_the_hosts(host: &Host) {
    host.busybox();
    let listener = std::net::TcpListener::bind("127.0.0.1:8070").unwrap();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"host\n").unwrap());
    let answer = host.dhow(&["run", "--rm", "--network", "host", "busybox", "nc", "127.0.0.1", "8070"]).ok();
    assert_eq!(answer, "host");
    server.join().unwrap();
}

fn network_commands(host: &Host) {
    host.busybox();
    let names = host.dhow(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"]).ok();
    for line in ["bridge bridge", "host host", "none null"] {
        assert!(names.lines().any(|name| name == line), "{names}");
    }
    assert_eq!(host.type_in("network create front --subnet 10.99.0.0/24").ok().len(), 64);
    host.type_in("run -d --name in-front --network front busybox sleep 1000").ok();
    let address =
        host.dhow(&["inspect", "-f", "{{.NetworkSettings.Networks.front.IPAddress}}", "in-front"]).ok();
    assert!(address.starts_with("10.99.0."), "{address}");
    assert!(host.type_in("network rm front").fails(1).contains("active endpoints"));
    assert!(host.type_in("network inspect front").ok().contains("in-front"));
    host.type_in("rm -f in-front").ok();
    assert_eq!(host.type_in("network rm front").ok(), "front");
    assert!(host.type_in("network rm bridge").fails(1).contains("pre-defined network"));
}

#[test]
fn thousands_of_ports_are_published_or_refused_with_the_reason() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nEXPOSE 1-2000/tcp 1-2000/udp\n");
    host.type_in("build -q -t many ctx").ok();
    host.type_in("run -d --name many -P many sleep 1000").ok();
    assert_eq!(host.type_in("port many").ok().lines().count(), 4000);
    host.type_in("rm -f many").ok();
    let script = "ulimit -n 1000; exec \"$@\"";
    let dhow = host.command();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(dhow.get_program()).args(["run", "--rm", "-P", "many", "true"]);
    command.envs(dhow.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = testkit::Typed::new(command).fails(125);
    assert!(told.contains("Too many open files") && told.contains("raise the limit (ulimit -n)"), "{told}");
}

#[test]
fn without_a_free_subnet_all_else_works() {
    let host = Host::new(Mode::Embedded);
    host.program("ip", &["link", "set", "lo", "up"]).ok();
    let routes = ["172.16.0.0/12", "192.168.0.0/16"];
    for route in routes {
        host.program("ip", &["route", "add", route, "dev", "lo"]).ok();
    }
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    host.type_in("build -q -t made ctx").ok();
    host.type_in("system check").ok();
    host.type_in("info").ok();
    assert_eq!(host.type_in("network ls --format {{.Name}}").ok(), "host\nnone");
    assert_eq!(host.type_in("run --rm --network none made cat /Dockerfile").ok().lines().count(), 2);
    host.file("run/Dockerfile", "FROM busybox\nRUN true\n");
    for command in ["run --rm made true", "build run"] {
        let told = host.type_in(command).run();
        let why = "network bridge: all predefined address pools have been fully subnetted";
        assert!(told.code != 0 && told.stderr.contains(why), "{command}: {}", told.stderr);
    }
    for route in routes {
        host.program("ip", &["route", "del", route, "dev", "lo"]).ok();
    }
    host.type_in("run --rm made true").ok();
    host.type_in("build -q run").ok();
    assert_eq!(host.type_in("network ls --format {{.Name}}").ok().lines().count(), 3);
}

#[test]
fn ports_of_ipv6_addresses_answer_or_are_refused() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.program("ip", &["address", "add", "2001:db8::1/128", "dev", "lo", "nodad"]).ok();
    host.type_in("network create --ipv6 six").ok();
    serve(&host, &["--network", "six", "-p", "[::]:8100:80", "-p", "[2001:db8::1]:8101:80"], "six");
    for address in ["[2001:db8::1]:8100", "[2001:db8::1]:8101"] {
        eventually_answers(address, "six");
    }
    for (network, address, reason, hint) in [
        ("bridge", "[::]", "the container has no IPv6 address", "created with --ipv6"),
        ("bridge", "[2001:db8::1]", "the container has no IPv6 address", "created with --ipv6"),
        ("six", "[::1]", "the kernel leads nothing from ::1 to a container", "publish on 127.0.0.1"),
        ("six", "[::ffff:127.0.0.1]", "this is an IPv4 address", "publish on 127.0.0.1"),
        ("six", "[2001:db8::2]", "cannot assign requested address", "no interface of this machine"),
    ] {
        let publish = format!("run --rm --network {network} -p {address}:8102:80 busybox true");
        let told = host.type_in(&publish).fails(125);
        assert!(told.contains(reason) && told.contains(hint), "{publish}: {told}");
    }
}

fn what_nobody_is_on_is_taken_off_the_machine(host: &Host) {
    host.busybox();
    let bridges = || {
        let interfaces = std::fs::read_to_string("/proc/thread-self/net/dev").expect("list");
        interfaces.lines().filter(|line| line.trim_start().starts_with("dhow-")).count()
    };
    host.type_in("run -d --name held busybox sleep 1000").ok();
    host.type_in("network prune -f").ok();
    assert_eq!(bridges(), 1);
    host.type_in("rm -f held").ok();
    host.type_in("network prune -f").ok();
    assert_eq!(bridges(), 0);
    assert_eq!(host.type_in("network ls -q --filter name=bridge").ok().lines().count(), 1);
    serve(host, &["-p", "8080:80"], "again");
    eventually_answers("127.0.0.1:8080", "again");
}
