//! The proxies that requests go through: `HTTP_PROXY` and its like, and `proxies` of dockerd's `daemon.json`, by the rules of
//! Go's `httpproxy`, which all tools for containers share.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

/// Proxies as settings have them; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    pub http: String,
    pub https: String,
    /// For what nothing else is said for.
    pub all: String,
    /// Hosts that are reached directly, with commas between: names with all below them, `.names` below them alone, addresses,
    /// subnets, each with a port or without; `*` is all.
    pub direct: String,
}

impl Proxies {
    /// As variables of the environment have them, in large letters or in small ones.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let any = |name: &str| {
            let found = variable(name).filter(|text| !text.is_empty());
            found.or_else(|| variable(&name.to_lowercase())).unwrap_or_default()
        };
        // For a program that a web server starts, this one is what a stranger's header says.
        let http = if variable("REQUEST_METHOD").is_some() { String::new() } else { any("HTTP_PROXY") };
        Proxies { http, https: any("HTTPS_PROXY"), all: any("ALL_PROXY"), direct: any("NO_PROXY") }
    }

    /// These, and those of the others where nothing is said here.
    pub(crate) fn or(self, others: &Proxies) -> Proxies {
        let first = |own: String, other: &String| if own.is_empty() { other.clone() } else { own };
        Proxies {
            http: first(self.http, &others.http),
            https: first(self.https, &others.https),
            all: first(self.all, &others.all),
            direct: first(self.direct, &others.direct),
        }
    }

    /// Ready to be asked, and which of them are no addresses: there is no such proxy then.
    pub(crate) fn read(&self) -> (Routes, Vec<&'static str>) {
        let mut wrong = Vec::new();
        let mut read = |what, text: &str| {
            address(text).unwrap_or_else(|| {
                wrong.push(what);
                None
            })
        };
        let all = read("ALL_PROXY", &self.all);
        let (http, https) = (read("HTTP_PROXY", &self.http), read("HTTPS_PROXY", &self.https));
        let exempt = self.direct.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let exempt = exempt.map(Exempt::read).collect();
        (Routes { http: http.or_else(|| all.clone()), https: https.or(all), exempt }, wrong)
    }
}

/// Which request goes where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    http: Option<Url>,
    https: Option<Url>,
    exempt: Vec<Exempt>,
}

impl Routes {
    /// The proxy for a request; none where it goes directly.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let port = url.port_or_known_default();
        let is_exempt = self.exempt.iter().any(|exempt| exempt.covers(&host, address, port));
        (!is_exempt).then(|| proxy.clone())
    }
}

#[derive(Clone, Debug)]
struct Exempt {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    All,
    Net(IpNet),
    /// What ends with this, which begins with a dot; and the name itself, unless it was written so.
    Below {
        suffix: String,
        itself: bool,
    },
}

impl Exempt {
    fn read(entry: &str) -> Exempt {
        let entry = entry.to_lowercase();
        if entry == "*" {
            return Exempt { hosts: Hosts::All, port: None };
        }
        if let Ok(net) = entry.parse::<IpNet>() {
            return Exempt { hosts: Hosts::Net(net), port: None };
        }
        let (host, port) = match entry.rsplit_once(':') {
            // The colons of an address are not those of a port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (entry.as_str(), None),
            },
            _ => (entry.as_str(), None),
        };
        let host = host.trim_matches(['[', ']']);
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Net(address.into()),
            Err(_) => {
                let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
                match name.starts_with('.') {
                    true => Hosts::Below { suffix: name.to_owned(), itself: false },
                    false => Hosts::Below { suffix: format!(".{name}"), itself: true },
                }
            }
        };
        Exempt { hosts, port }
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::Net(net) => address.is_some_and(|address| net.contains(&address)),
            Hosts::Below { suffix, itself } => {
                address.is_none() && (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..]))
            }
        };
        is_host && (self.port.is_none() || self.port == port)
    }
}

/// The address of a proxy, which may be written without its scheme; none for what is none, and none of an empty text.
fn address(text: &str) -> Option<Option<Url>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "http",
        "https" => "https",
        // As with Go, it is the proxy that looks names up. Desktops write the first.
        "socks" | "socks5" | "socks5h" => "socks5h",
        _ => return None,
    };
    let mut url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
    if url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    url.set_path("");
    Some(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(direct: &str, url: &str) -> bool {
        let proxies = Proxies { all: "p.lan:3128".into(), direct: direct.into(), ..Proxies::default() };
        let found = proxies.read().0.proxy_for(&Url::parse(url).unwrap());
        assert!(found.as_ref().is_none_or(|url| url.as_str() == "http://p.lan:3128/"), "{found:?}");
        found.is_some()
    }

    #[test]
    fn hosts_that_are_reached_directly() {
        for (direct, url) in [
            ("", "http://localhost:5000/"),
            ("", "http://127.1.2.3/"),
            ("", "http://[::1]:5000/"),
            ("*", "https://reg.lan/"),
            ("other, reg.lan", "https://reg.lan/"),
            ("reg.lan", "https://a.REG.lan./"),
            (".reg.lan", "https://a.reg.lan/"),
            ("*.reg.lan", "https://a.reg.lan/"),
            ("reg.lan:443", "https://reg.lan/"),
            ("10.1.2.3:5000", "http://10.1.2.3:5000/"),
            ("10.0.0.0/8", "http://10.1.2.3:5000/"),
            ("fd00::1", "http://[fd00::1]/"),
            ("[fd00::1]:5000", "http://[fd00::1]:5000/"),
        ] {
            assert!(!proxied(direct, url), "{direct} {url}");
        }
        for (direct, url) in [
            ("", "https://reg.lan/"),
            ("eg.lan", "https://reg.lan/"),
            (".reg.lan", "https://reg.lan/"),
            ("reg.lan:5000", "https://reg.lan/"),
            ("10.1.2.3:5000", "http://10.1.2.3:5001/"),
            ("[fd00::1]:5000", "http://[fd00::1]/"),
        ] {
            assert!(proxied(direct, url), "{direct} {url}");
        }
    }

    #[test]
    fn the_proxy_of_a_scheme() {
        let given = [("HTTP_PROXY", "HTTP://a:1"), ("https_proxy", "socks5://b:2"), ("no_proxy", "c")];
        let variable = |name: &str| {
            let found = given.iter().find(|(own, _)| *own == name)?;
            Some(found.1.to_owned())
        };
        let proxies = Proxies::of_environment(variable);
        let (routes, wrong) = proxies.read();
        assert!(wrong.is_empty());
        let proxy = |url: &str| Some(routes.proxy_for(&Url::parse(url).unwrap())?.to_string());
        assert_eq!(proxy("http://x/").unwrap(), "http://a:1/");
        assert_eq!(proxy("https://x/").unwrap(), "socks5h://b:2");
        assert_eq!(proxy("https://c/"), None);
        let hosted = |name: &str| if name == "REQUEST_METHOD" { Some("GET".into()) } else { variable(name) };
        assert_eq!(Proxies::of_environment(hosted).http, "");
        let own = Proxies { https: "d:3".into(), ..Proxies::default() }.or(&proxies);
        assert_eq!((own.http.as_str(), own.https.as_str()), ("HTTP://a:1", "d:3"));
        for wrong in ["http://", ":", "a b", "socks4://x", "foo://bar"] {
            let proxies = Proxies { http: wrong.into(), https: "socks://d:4/".into(), ..Proxies::default() };
            let (routes, told) = proxies.read();
            assert_eq!(told, ["HTTP_PROXY"], "{wrong}");
            let proxy = |url: &str| Some(routes.proxy_for(&Url::parse(url).unwrap())?.to_string());
            assert_eq!((proxy("http://x/"), proxy("https://x/").as_deref()), (None, Some("socks5h://d:4")));
        }
    }
}
