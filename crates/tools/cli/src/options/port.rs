//! `-p [[ip:][host]:]container[/protocol]` and `--expose`, ranges included.

use std::collections::{BTreeMap, BTreeSet};

use api::containers::{NameSet, PortBinding, PortMap};

/// What `-p` says, in the documents' form: the exposed ports and where the host publishes them.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Published {
    pub exposed: NameSet,
    pub bindings: PortMap,
}

/// All `-p` flags of a command line.
pub fn publish(specs: &[String]) -> Result<Published, String> {
    let mut bindings: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
    let mut exposed = BTreeSet::new();
    for spec in specs {
        let pairs = if spec.contains('=') { long(spec)? } else { short(spec)? };
        for (port, binding) in pairs {
            exposed.insert(port.clone());
            bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    Ok(Published { exposed: exposed.into_iter().collect(), bindings })
}

/// All `--expose` flags: `80`, `80/udp`, `3000-3005`.
pub fn expose(specs: &[String]) -> Result<BTreeSet<String>, String> {
    let mut exposed = BTreeSet::new();
    for spec in specs {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (range, protocol) = split_protocol(spec);
        let (start, end) = parse_range(&range)
            .map_err(|error| format!("invalid range format for --expose: {range}, error: {error}"))?;
        check_protocol(&protocol)?;
        exposed.extend((start..=end).map(|port| format!("{port}/{protocol}")));
    }
    Ok(exposed)
}

/// `80/UDP` as number text and lower-case protocol; TCP is the default.
pub fn split_protocol(spec: &str) -> (String, String) {
    match spec.split_once('/') {
        None => (spec.to_owned(), "tcp".to_owned()),
        Some((port, "")) => (port.to_owned(), "tcp".to_owned()),
        Some((port, protocol)) => (port.to_owned(), protocol.to_lowercase()),
    }
}

fn check_protocol(protocol: &str) -> Result<(), String> {
    match protocol {
        "tcp" | "udp" | "sctp" => Ok(()),
        other => Err(format!("invalid proto: {other}")),
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let reason = if digits { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseUint: parsing {}: {reason}", template::quote(text))
    })
}

fn parse_range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let Some((start, end)) = text.split_once('-') else {
        let port = number(text)?;
        return Ok((port, port));
    };
    let (first, last) = (number(start)?, number(end)?);
    match last < first {
        true => Err(format!("invalid range specified for port: {text}")),
        false => Ok((first, last)),
    }
}

type Pairs = Vec<(String, PortBinding)>;

fn short(spec: &str) -> Result<Pairs, String> {
    let (ip, host, container) = split_parts(spec);
    let ip = check_ip(ip)?;
    let (container, protocol) = split_protocol(container);
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (start, end) = parse_range(&container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let hosts = match host {
        "" => None,
        host => Some(parse_range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    check_protocol(&protocol)?;
    pair(Ranges {
        ip,
        hosts,
        host_text: host,
        container: (start, end),
        container_text: &container,
        protocol: &protocol,
    })
}

struct Ranges<'a> {
    ip: String,
    hosts: Option<(u16, u16)>,
    host_text: &'a str,
    container: (u16, u16),
    container_text: &'a str,
    protocol: &'a str,
}

fn pair(ranges: Ranges<'_>) -> Result<Pairs, String> {
    let Ranges { ip, hosts, host_text, container: (start, end), container_text, protocol } = ranges;
    let width = end - start;
    if let Some((first, last)) = hosts
        && last - first != width
        // One container port may take any port of a range of host ports.
        && start != end
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container_text} and {host_text}"
        ));
    }
    Ok((0..=width)
        .map(|offset| {
            let host_port = match hosts {
                None => String::new(),
                Some((first, last)) if start == end && first != last => format!("{first}-{last}"),
                Some((first, _)) => (first + offset).to_string(),
            };
            (format!("{}/{protocol}", start + offset), PortBinding { host_ip: ip.clone(), host_port })
        })
        .collect())
}

/// `ip:host:container` from the right, so that an IPv6 address keeps its colons.
fn split_parts(spec: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = spec.rsplit_once(':') else { return ("", "", spec) };
    match rest.rsplit_once(':') {
        None => ("", rest, container),
        Some((ip, host)) => (ip, host, container),
    }
}

fn check_ip(ip: &str) -> Result<String, String> {
    if ip.is_empty() {
        return Ok(String::new());
    }
    let bare = match ip.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| format!("invalid IP address: {ip}"))?,
        None => ip,
    };
    match bare.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err(format!("invalid IP address: {ip}")),
    }
}

/// `published=8080,target=80,protocol=tcp,mode=host`.
fn long(spec: &str) -> Result<Pairs, String> {
    let (mut target, mut published, mut protocol) = (String::new(), String::new(), "tcp".to_owned());
    for field in spec.split(',') {
        let Some((key, value)) = field.split_once('=') else { return Err(format!("invalid field {field}")) };
        match key.to_lowercase().as_str() {
            "target" => target = value.to_owned(),
            "published" => published = value.to_owned(),
            "protocol" => protocol = value.to_lowercase(),
            "mode" if value == "host" => {}
            "mode" if value == "ingress" => {}
            "mode" => {
                return Err(format!(
                    "invalid publish mode value ({value}): must be either 'ingress' or 'host'"
                ));
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if target.is_empty() {
        return Err("missing mandatory field \"target\"".to_owned());
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid protocol value '{protocol}'"));
    }
    short(&match published.is_empty() {
        true => format!("{target}/{protocol}"),
        false => format!("{published}:{target}/{protocol}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &str) -> String {
        match publish(&[spec.to_owned()]) {
            Ok(published) => published
                .bindings
                .iter()
                .flat_map(|(port, bindings)| {
                    bindings.iter().flatten().map(move |b| format!("{}:{}->{port}", b.host_ip, b.host_port))
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn publish_table() {
        let cases: &[(&str, &str)] = &[
            ("80", ":->80/tcp"),
            ("8080:80", ":8080->80/tcp"),
            ("5353:53/udp", ":5353->53/udp"),
            ("5353:53/UDP", ":5353->53/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080->80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:->80/tcp"),
            ("[::1]:8080:80", "::1:8080->80/tcp"),
            ("::1:8080:80", "::1:8080->80/tcp"),
            ("8000-8002:80-82", ":8000->80/tcp :8001->81/tcp :8002->82/tcp"),
            ("8000-8010:80", ":8000-8010->80/tcp"),
            ("3000-3002", ":->3000/tcp :->3001/tcp :->3002/tcp"),
            ("published=8080,target=80,protocol=udp", ":8080->80/udp"),
            ("target=80", ":->80/tcp"),
            ("abc:xx", "error: invalid containerPort: xx"),
            ("abc:80", "error: invalid hostPort: abc"),
            ("8080:", "error: no port specified: 8080:<empty>"),
            ("", "error: no port specified: <empty>"),
            ("80/foo", "error: invalid proto: foo"),
            ("70000", "error: invalid containerPort: 70000"),
            (
                "8000-8001:80-82",
                "error: invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
            ),
            ("x.y.z:80:80", "error: invalid IP address: x.y.z"),
            ("published=1", "error: missing mandatory field \"target\""),
            ("target=80,foo=1", "error: invalid field key foo"),
        ];
        for (spec, want) in cases {
            assert_eq!(shown(spec), *want, "{spec}");
        }
    }

    #[test]
    fn several_bindings_of_one_port_are_kept() {
        let published = publish(&["80:80".into(), "8080:80".into()]).unwrap();
        assert_eq!(published.bindings["80/tcp"].as_ref().map(Vec::len), Some(2));
        assert_eq!(published.exposed.len(), 1);
    }

    #[test]
    fn expose_table() {
        let run = |spec: &str| {
            expose(&[spec.to_owned()]).map(|ports| ports.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(run("80").as_deref(), Ok("80/tcp"));
        assert_eq!(run("53/udp").as_deref(), Ok("53/udp"));
        assert_eq!(run("80-82").as_deref(), Ok("80/tcp 81/tcp 82/tcp"));
        assert_eq!(run("1:2").unwrap_err(), "invalid port format for --expose: 1:2");
        assert!(run("x").unwrap_err().starts_with("invalid range format for --expose: x, error:"));
    }
}
