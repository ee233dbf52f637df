//! Where a redirect may lead. Registries send blob requests to object stores, so other hosts are fine; an
//! unencrypted one or one inside of this machine is not.

use crate::error::Problem;
use reqwest::Url;
use std::net::IpAddr;

/// The target of a redirect from `from`, if it may be followed.
pub(crate) fn target(from: &Url, location: Option<&str>) -> Result<Url, Problem> {
    let to = location.and_then(|location| from.join(location).ok()).ok_or(Problem::BadRedirect)?;
    if !matches!(to.scheme(), "http" | "https") || to.host_str().is_none() {
        return Err(Problem::BadRedirect);
    }
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(Problem::Downgrade(origin_text(&to)));
    }
    if is_internal(&to) && !is_internal(from) {
        return Err(Problem::InternalTarget(origin_text(&to)));
    }
    Ok(to)
}

/// Whether credentials for one may be sent to the other.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// Whether the host is written as an address that only this machine or its own link reaches: loopback, and
/// the link-local ones where clouds keep their metadata servers.
pub(crate) fn is_internal(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match literal {
        Ok(address) => is_internal_address(address),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether only this machine or its own link reaches the address. Amazon's metadata server has one of its own for IPv6, and
/// Alibaba's is in the carriers' range.
pub(crate) fn is_internal_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.octets()[0] == 0
                || address.octets() == [100, 100, 100, 200]
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// Host and port as names of registries have them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

/// Scheme, host and port: what an error may show of an address that was not meant for people.
pub(crate) fn origin_text(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str) -> Result<String, Problem> {
        target(&Url::parse(from).unwrap(), Some(location)).map(String::from)
    }

    #[test]
    fn what_is_followed() {
        let from = "https://r.example/v2/a/blobs/x";
        assert_eq!(follow(from, "https://cdn.example/y?sig=1").unwrap(), "https://cdn.example/y?sig=1");
        assert_eq!(follow(from, "/other").unwrap(), "https://r.example/other");
        assert_eq!(follow(from, "../z").unwrap(), "https://r.example/v2/a/z");
        assert_eq!(
            follow("http://127.0.0.1:5000/v2/", "http://127.0.0.1:9000/x").unwrap(),
            "http://127.0.0.1:9000/x"
        );
        assert_eq!(follow("http://r.example/", "https://r.example/").unwrap(), "https://r.example/");
    }

    #[test]
    fn what_is_refused() {
        let from = "https://r.example/v2/";
        assert!(matches!(follow(from, "http://r.example/v2/"), Err(Problem::Downgrade(_))));
        for location in ["file:///etc/passwd", "ftp://x/", "data:,x", "https://"] {
            assert_eq!(follow(from, location), Err(Problem::BadRedirect), "{location}");
        }
        for host in [
            "169.254.169.254",
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "0.0.0.0",
            "100.100.100.200",
            "[fd00:ec2::254]",
        ] {
            let refused = follow(from, &format!("https://{host}/latest/meta-data"));
            assert!(matches!(refused, Err(Problem::InternalTarget(_))), "{host}");
        }
        assert_eq!(target(&Url::parse(from).unwrap(), None), Err(Problem::BadRedirect));
    }
}
