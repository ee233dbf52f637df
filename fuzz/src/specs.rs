//! Short texts: options of the command line, query parameters, headers, files of a root file system.

use std::path::Path;

use api::Filters;
use cli::options;
use network::resolv;

use crate::parts;

/// Filters are read as they were written.
pub fn filters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filters) = Filters::parse(text) else { return };
    let again = Filters::parse(&filters.to_json()).expect("it can be read again");
    assert_eq!(again, filters);
}

/// `--publish`, `--expose` and the keys of port maps.
pub fn ports(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ports) = engine::containers::ports::parse(text) {
        assert!(ports.iter().all(|port| port.number > 0));
    }
    let words = [text.to_owned()];
    // What is no port is an error.
    let _ = (options::port::publish(&words), options::port::expose(&words));
}

/// `--volume`, `--mount`, `--tmpfs`, `--ulimit`, `--env-file`: a destination is absolute and leads nowhere else.
pub fn mounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bind) = engine::containers::bind::parse(text) {
        let clean =
            bind.destination.starts_with('/') && !bind.destination.split('/').any(|part| part == "..");
        assert!(clean, "{:?}", bind.destination);
    }
    // What is none of these is an error.
    let _ = options::mount::parse(text, Path::new("/"));
    let _ = options::volume::parse(text, Path::new("/"));
    let _ = options::mount::tmpfs(text);
    let _ = options::ulimit::parse(text);
    let _ = options::env::file(data, &|_| None);
}

/// `USER` and `--chown` with `/etc/passwd` and `/etc/group`: never an id that the kernel takes for another.
pub fn users(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let Ok(spec) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let (passwd, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let sound = |id: u32| id <= i32::MAX as u32;
    if let Ok(who) = oci::user::resolve(spec, &[], passwd, group) {
        assert!(sound(who.uid) && sound(who.gid) && who.groups.iter().all(|id| sound(*id)), "{who:?}");
        assert!(who.groups.contains(&who.gid), "{who:?}");
    }
    if let Ok((uid, gid)) = oci::user::owner(spec, passwd, group) {
        assert!(sound(uid) && sound(gid), "{uid}:{gid}");
    }
}

/// The host's `resolv.conf`, to a container's.
pub fn resolv_conf(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for mode in [resolv::Mode::Bridged, resolv::Mode::Host] {
        let made = resolv::resolv_conf(&text, &resolv::Options::default(), mode);
        let again = resolv::resolv_conf(&made.contents, &resolv::Options::default(), mode);
        assert_eq!(again, made, "a container's container has the same");
    }
}

/// `WWW-Authenticate`.
pub fn challenge(data: &[u8]) {
    let Some([first, second]) = parts(data) else { return };
    // What is no challenge is none.
    let _ = registry::challenge::parse([first, second].into_iter());
}

/// `--format`.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What is no template is an error.
    let _ = template::Template::parse(text);
}
