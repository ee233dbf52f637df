//! `--mount type=…,source=…,target=…` and `--tmpfs`.

use std::path::Path;

use api::mounts::{BindOptions, Driver, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use super::volume::absolute;
use crate::flags::boolean;
use crate::format::units::ram_in_bytes;

/// Reads one `--mount`; a source that starts with a dot is relative to `directory`.
pub fn parse(spec: &str, directory: &Path) -> Result<Mount, String> {
    let mut mount = Mount { typ: "volume".to_owned(), ..Mount::default() };
    let mut parts = Parts::default();
    for field in csv(spec)? {
        let Some((key, value)) = field.split_once('=') else {
            match field.to_lowercase().as_str() {
                "readonly" | "ro" => mount.read_only = true,
                "volume-nocopy" => parts.volume().no_copy = true,
                "bind-nonrecursive" => return Err(DEPRECATED.to_owned()),
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            continue;
        };
        set(&mut mount, &mut parts, &key.to_lowercase(), value, &field, directory)?;
    }
    check(&mount, &parts)?;
    mount.bind_options = parts.bind;
    mount.volume_options = parts.volume;
    mount.image_options = parts.image;
    mount.tmpfs_options = parts.tmpfs;
    Ok(mount)
}

const DEPRECATED: &str = "bind-nonrecursive is deprecated, use bind-recursive=disabled instead";

#[derive(Default)]
struct Parts {
    bind: Option<BindOptions>,
    volume: Option<VolumeOptions>,
    image: Option<ImageOptions>,
    tmpfs: Option<TmpfsOptions>,
}

impl Parts {
    fn bind(&mut self) -> &mut BindOptions {
        self.bind.get_or_insert_default()
    }

    fn volume(&mut self) -> &mut VolumeOptions {
        self.volume.get_or_insert_default()
    }
}

fn set(
    mount: &mut Mount,
    parts: &mut Parts,
    key: &str,
    value: &str,
    field: &str,
    directory: &Path,
) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    let text = || value.to_owned();
    match key {
        "type" => mount.typ = value.to_lowercase(),
        "source" | "src" if value.starts_with('.') => {
            mount.source = absolute(value, directory).display().to_string();
        }
        "source" | "src" => mount.source = text(),
        "target" | "dst" | "destination" => mount.target = text(),
        "readonly" | "ro" => mount.read_only = boolean(value).map_err(|_| invalid())?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => parts.bind().propagation = value.to_lowercase(),
        "bind-nonrecursive" => return Err(DEPRECATED.to_owned()),
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => parts.bind().non_recursive = true,
            "writable" => parts.bind().read_only_non_recursive = true,
            "readonly" => parts.bind().read_only_force_recursive = true,
            _ => {
                let choice = "must be \"enabled\", \"disabled\", \"writable\", or \"readonly\"";
                return Err(format!("{} ({choice})", invalid()));
            }
        },
        "bind-create-mountpoint" => parts.bind().create_mountpoint = boolean(value).map_err(|_| invalid())?,
        "volume-subpath" => parts.volume().subpath = text(),
        "volume-nocopy" => parts.volume().no_copy = boolean(value).map_err(|_| invalid())?,
        "volume-label" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            parts.volume().labels.insert(name.to_owned(), value.to_owned());
        }
        "volume-driver" => driver(parts).name = text(),
        "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            driver(parts).options.insert(name.to_owned(), value.to_owned());
        }
        "image-subpath" => parts.image.get_or_insert_default().subpath = text(),
        "tmpfs-size" => {
            parts.tmpfs.get_or_insert_default().size_bytes = ram_in_bytes(value).map_err(|_| invalid())?;
        }
        "tmpfs-mode" => {
            parts.tmpfs.get_or_insert_default().mode =
                u32::from_str_radix(value, 8).map_err(|_| invalid())?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn driver(parts: &mut Parts) -> &mut Driver {
    parts.volume().driver_config.get_or_insert_default()
}

fn check(mount: &Mount, parts: &Parts) -> Result<(), String> {
    if mount.typ.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    let used = [
        (parts.volume.is_some(), "volume"),
        (parts.bind.is_some(), "bind"),
        (parts.image.is_some(), "image"),
        (parts.tmpfs.is_some(), "tmpfs"),
    ];
    for (used, kind) in used {
        if used && mount.typ != kind {
            return Err(format!("cannot mix '{kind}-*' options with mount type '{}'", mount.typ));
        }
    }
    let Some(bind) = &parts.bind else { return Ok(()) };
    let needs = |choice: &str, what: &str| {
        Err(format!("option 'bind-recursive={choice}' requires '{what}' to be specified in conjunction"))
    };
    if bind.read_only_non_recursive && !mount.read_only {
        return needs("writable", "readonly");
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return needs("readonly", "readonly");
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return needs("readonly", "bind-propagation=rprivate");
    }
    Ok(())
}

/// One line of comma-separated values; a field that holds a comma is quoted.
pub fn csv(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err("parse error: bare \" in non-quoted-field".to_owned());
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut tail = quoted;
        loop {
            let Some((part, after)) = tail.split_once('"') else {
                return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
            };
            field.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    tail = after;
                }
                None => {
                    tail = after;
                    break;
                }
            }
        }
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(after) => rest = after,
            None if tail.is_empty() => return Ok(fields),
            None => return Err("parse error: extraneous or missing \" in quoted-field".to_owned()),
        }
    }
}

/// `--tmpfs /path[:options]`.
pub fn tmpfs(spec: &str) -> (String, String) {
    let (path, options) = spec.split_once(':').unwrap_or((spec, ""));
    (path.to_owned(), options.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(spec: &str) -> Result<Mount, String> {
        parse(spec, Path::new("/work"))
    }

    #[test]
    fn good() {
        let mount = run("type=bind,source=./a,target=/b,readonly").unwrap();
        assert_eq!(
            (mount.typ.as_str(), mount.source.as_str(), mount.target.as_str()),
            ("bind", "/work/a", "/b")
        );
        assert!(mount.read_only);
        let mount = run("src=data,dst=/data,volume-opt=o=size=1,volume-label=a=b,volume-nocopy").unwrap();
        let options = mount.volume_options.unwrap();
        assert_eq!(mount.typ, "volume");
        assert!(options.no_copy);
        assert_eq!(options.driver_config.unwrap().options["o"], "size=1");
        let mount = run("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        assert_eq!(mount.tmpfs_options.map(|t| (t.size_bytes, t.mode)), Some((1 << 20, 0o1770)));
        let mount =
            run("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate").unwrap();
        assert!(mount.bind_options.unwrap().read_only_force_recursive);
        let mount = run("type=volume,dst=/b,\"volume-opt=o=a,b\"").unwrap();
        assert_eq!(mount.volume_options.unwrap().driver_config.unwrap().options["o"], "a,b");
    }

    #[test]
    fn bad() {
        let cases: &[(&str, &str)] = &[
            ("type=foo", "target is required"),
            ("type=,target=/x", "type is required"),
            ("bogus", "invalid field 'bogus' must be a key=value pair"),
            ("bogus=foo", "unexpected key 'bogus' in 'bogus=foo'"),
            ("target=/x,readonly=maybe", "invalid value for readonly: maybe"),
            ("type=bind,target=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("type=tmpfs,target=/x,tmpfs-size=zz", "invalid value for tmpfs-size: zz"),
            (
                "type=bind,src=/a,target=/x,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
            ("type=bind,src=/a,target=/x,bind-nonrecursive", DEPRECATED),
        ];
        for (spec, want) in cases {
            assert_eq!(run(spec).unwrap_err(), *want, "{spec}");
        }
    }
}
