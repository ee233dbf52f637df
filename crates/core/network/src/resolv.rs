//! `/etc/resolv.conf` of a container (man 5 resolv.conf): the host's, changed by what the user asked for and
//! without the servers that a container cannot reach.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Where systemd-resolved keeps the servers that its stub at 127.0.0.53 forwards to.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The servers when the host names none that a container can reach.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// What the user asked for (`--dns`, `--dns-search`, `--dns-option`). Each replaces the host's when it is
/// not empty; a search domain `.` means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// Where the container's questions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To servers that are reached through the container's own network: loopback ones are left out.
    Bridged,
    /// To the same servers as the host's.
    Host,
    /// To this server inside of the container's network namespace, which asks [`Resolv::upstreams`] from the host's.
    Embedded(IpAddr),
}

/// A container's resolver configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolv {
    /// Contents of the file.
    pub contents: String,
    /// The servers outside of the container.
    pub upstreams: Vec<IpAddr>,
}

/// The host's configuration: what is behind systemd-resolved's stub when `/etc/resolv.conf` names nothing
/// else, unless the stub can be asked. A host without the file has an empty one.
pub fn host_resolv_conf(mode: Mode) -> String {
    let contents = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let host = parse(&contents);
    let only_stub = host.servers == [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53))];
    let is_asked = matches!(mode, Mode::Embedded(_));
    match std::fs::read_to_string(BEHIND_STUB) {
        Ok(behind) if only_stub && !is_asked => behind,
        _ => contents,
    }
}

/// The container's configuration. `host` is the text of the host's.
pub fn resolv_conf(host: &str, asked: &Options, mode: Mode) -> Resolv {
    let host = parse(host);
    let search = if asked.search.is_empty() { host.search } else { asked.search.clone() };
    let mut options = if asked.options.is_empty() { host.options } else { asked.options.clone() };
    let upstreams = upstreams(host.servers, &asked.servers, mode);
    let servers = match mode {
        Mode::Embedded(server) => {
            // Names of containers have no dots: the embedded server must see them as they are.
            if !options.iter().any(|option| option.starts_with("ndots:")) {
                options.push("ndots:0".into());
            }
            vec![server]
        }
        Mode::Bridged | Mode::Host => upstreams.clone(),
    };
    Resolv { contents: render(&servers, &search, &options), upstreams }
}

fn upstreams(host: Vec<IpAddr>, asked: &[IpAddr], mode: Mode) -> Vec<IpAddr> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let reachable = |server: &IpAddr| match mode {
        Mode::Host => true,
        Mode::Embedded(_) => !server.is_unspecified(),
        Mode::Bridged => !server.is_loopback() && !server.is_unspecified(),
    };
    let servers: Vec<IpAddr> = host.into_iter().filter(reachable).collect();
    match (servers.is_empty(), mode) {
        (true, Mode::Bridged | Mode::Embedded(_)) => FALLBACK.map(IpAddr::V4).to_vec(),
        _ => servers,
    }
}

fn render(servers: &[IpAddr], search: &[String], options: &[String]) -> String {
    let mut contents = String::new();
    for server in servers {
        let _ = writeln!(contents, "nameserver {server}");
    }
    let search: Vec<&str> = search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        let _ = writeln!(contents, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(contents, "options {}", options.join(" "));
    }
    contents
}

/// The parts that matter; a scoped address (`fe80::1%eth0`) is one that only the host can use.
fn parse(contents: &str) -> Options {
    let mut parsed = Options::default();
    for line in contents.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let words: Vec<String> = words.map(str::to_owned).collect();
        match keyword {
            "nameserver" => parsed.servers.extend(words.first().and_then(|word| word.parse::<IpAddr>().ok())),
            // The last one counts, and `domain` is an old way to say it.
            "search" | "domain" => parsed.search = words,
            "options" => parsed.options.extend(words),
            _ => {}
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2 # office\n\
                        nameserver fe80::1%eth0\nsearch corp.example lan\noptions edns0 trust-ad\n";

    #[test]
    fn loopback_servers_stay_on_the_host() {
        let resolv = resolv_conf(HOST, &Options::default(), Mode::Bridged);
        assert_eq!(resolv.contents, "nameserver 10.0.0.2\nsearch corp.example lan\noptions edns0 trust-ad\n");
        let resolv = resolv_conf(HOST, &Options::default(), Mode::Host);
        assert!(resolv.contents.starts_with("nameserver 127.0.0.53\nnameserver 10.0.0.2\n"));
    }

    #[test]
    fn a_host_without_reachable_servers_gets_public_ones() {
        let resolv = resolv_conf("nameserver 127.0.0.1\n", &Options::default(), Mode::Bridged);
        assert_eq!(resolv.contents, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let resolv = resolv_conf("", &Options::default(), Mode::Host);
        assert_eq!(resolv.contents, "");
    }

    #[test]
    fn the_user_is_asked_first() {
        let asked = Options {
            servers: vec!["9.9.9.9".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        let resolv = resolv_conf(HOST, &asked, Mode::Bridged);
        assert_eq!(resolv.contents, "nameserver 9.9.9.9\noptions ndots:2\n");
    }

    #[test]
    fn the_embedded_server_asks_the_others() {
        let server = "127.0.0.11".parse().unwrap();
        let resolv = resolv_conf(HOST, &Options::default(), Mode::Embedded(server));
        assert_eq!(
            resolv.contents,
            "nameserver 127.0.0.11\nsearch corp.example lan\noptions edns0 trust-ad ndots:0\n"
        );
        let host: [IpAddr; 2] = ["127.0.0.53", "10.0.0.2"].map(|server| server.parse().unwrap());
        assert_eq!(resolv.upstreams, host, "it asks from the host");
    }
}
