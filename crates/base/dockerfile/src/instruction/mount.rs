//! `RUN --mount=type=…,key=value,…`.

use crate::ast::{Mount, MountKind, Sharing};
use crate::error::Error;
use crate::span::Span;
use crate::suggest::suggest;

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "id",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "sharing",
    "mode",
    "uid",
    "gid",
    "size",
    "required",
    "env",
];

pub(crate) fn parse(text: &str, span: Span) -> Result<Mount, Error> {
    let mut mount = Mount {
        kind: MountKind::Bind,
        from: None,
        source: None,
        target: None,
        id: None,
        readonly: None,
        sharing: Sharing::Shared,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        required: false,
        env: None,
        span,
    };
    let fields = csv(text);
    // The type comes first in meaning, wherever it stands.
    for field in &fields {
        if let Some(kind) = field.strip_prefix("type=") {
            mount.kind = self::kind(kind, span)?;
        }
    }
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        set(&mut mount, field, &key, value)?;
    }
    require_target(&mount)?;
    Ok(mount)
}

fn kind(name: &str, span: Span) -> Result<MountKind, Error> {
    Ok(match name {
        "bind" => MountKind::Bind,
        "cache" => MountKind::Cache,
        "tmpfs" => MountKind::Tmpfs,
        "secret" => MountKind::Secret,
        "ssh" => MountKind::Ssh,
        _ => {
            let error = Error::new(format!("unsupported mount type {name:?}"), span);
            return Err(error.help("one of bind, cache, tmpfs, secret, ssh"));
        }
    })
}

fn set(mount: &mut Mount, field: &str, key: &str, value: Option<&str>) -> Result<(), Error> {
    let span = mount.span;
    let bad = |what: &str| Error::new(format!("invalid value for {key}: {what}"), span);
    match (key, value) {
        ("readonly" | "ro", v) => mount.readonly = Some(flag(key, v, span)?),
        ("readwrite" | "rw", v) => mount.readonly = Some(!flag(key, v, span)?),
        ("required", v) if matches!(mount.kind, MountKind::Secret | MountKind::Ssh) => {
            mount.required = flag(key, v, span)?;
        }
        (key, None) => return Err(no_value(field, key, span)),
        ("type", Some(_)) => {}
        ("from", Some(v)) => mount.from = Some(v.into()),
        ("source" | "src", Some(v)) => mount.source = Some(v.into()),
        ("target" | "dst" | "destination", Some(v)) => mount.target = Some(v.into()),
        ("id", Some(v)) => mount.id = Some(v.into()),
        ("env", Some(v)) if mount.kind == MountKind::Secret => mount.env = Some(v.into()),
        ("sharing", Some(v)) if mount.kind == MountKind::Cache => {
            mount.sharing = match v {
                "shared" => Sharing::Shared,
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                _ => return Err(Error::new(format!("unsupported sharing value {v:?}"), span)),
            };
        }
        ("mode", Some(v)) => mount.mode = Some(u32::from_str_radix(v, 8).map_err(|_| bad(v))?),
        ("uid", Some(v)) => mount.uid = Some(v.parse().map_err(|_| bad(v))?),
        ("gid", Some(v)) => mount.gid = Some(v.parse().map_err(|_| bad(v))?),
        ("size", Some(v)) if mount.kind == MountKind::Tmpfs => {
            mount.size = Some(size(v).ok_or_else(|| bad(v))?);
        }
        (key, Some(_)) => {
            let hint = suggest(key, &KEYS).map(|s| format!(" (did you mean {s}?)")).unwrap_or_default();
            return Err(Error::new(format!("unexpected key '{key}' in '{field}'{hint}"), span));
        }
    }
    Ok(())
}

fn no_value(field: &str, key: &str, span: Span) -> Error {
    let hint = suggest(key, &KEYS).map(|s| format!(" (did you mean {s}?)")).unwrap_or_default();
    Error::new(format!("invalid field '{field}' must be a key=value pair{hint}"), span)
}

fn flag(key: &str, value: Option<&str>, span: Span) -> Result<bool, Error> {
    match value {
        None => Ok(true),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(v) => Err(Error::new(format!("invalid value for {key}: {v}"), span)),
    }
}

/// A size with Docker's binary suffixes.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or(text.strip_suffix('b')).unwrap_or(&text);
    let (digits, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn require_target(mount: &Mount) -> Result<(), Error> {
    // A bind without a target lands in the working directory.
    let optional = matches!(mount.kind, MountKind::Secret | MountKind::Ssh | MountKind::Bind);
    if mount.target.as_deref().unwrap_or("").is_empty() && !optional {
        return Err(Error::new("mount target is required", mount.span).help("add `target=/path`"));
    }
    if mount.kind == MountKind::Secret
        && mount.id.is_none()
        && mount.source.is_none()
        && mount.target.is_none()
    {
        let error = Error::new("invalid secret mount. one of source, target required", mount.span);
        return Err(error.help("add `id=name`"));
    }
    Ok(())
}

/// Comma-separated fields; a field in double quotes may hold commas.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields.retain(|f| !f.trim().is_empty());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Mount, String> {
        parse(text, Span::default()).map_err(|e| e.message)
    }

    #[test]
    fn typed_options() {
        let cache =
            parsed("type=cache,target=/root/.cache,id=pip,sharing=locked,mode=0755,uid=1,gid=2").unwrap();
        assert_eq!((cache.kind, cache.sharing, cache.mode), (MountKind::Cache, Sharing::Locked, Some(0o755)));
        assert_eq!((cache.uid, cache.gid, cache.id.as_deref()), (Some(1), Some(2), Some("pip")));
        let bind = parsed("target=/src,rw,from=build,source=out").unwrap();
        assert_eq!((bind.kind, bind.readonly), (MountKind::Bind, Some(false)));
        assert_eq!(parsed("type=tmpfs,target=/t,size=64m").unwrap().size, Some(64 << 20));
        assert!(parsed("type=secret,id=x,required").unwrap().required);
        assert_eq!(parsed("type=secret,id=x,env=TOKEN").unwrap().env.as_deref(), Some("TOKEN"));
        assert_eq!(parsed("type=ssh").unwrap().kind, MountKind::Ssh);
    }

    #[test]
    fn mistakes() {
        for (text, want) in [
            ("type=foo,target=/x", "unsupported mount type \"foo\""),
            ("type=cache", "mount target is required"),
            ("type=cache,target=/x,sharing=maybe", "unsupported sharing value \"maybe\""),
            ("type=cache,tarqet=/x", "unexpected key 'tarqet' in 'tarqet=/x' (did you mean target?)"),
            ("type=bind,target", "invalid field 'target' must be a key=value pair"),
            ("type=tmpfs,target=/x,size=much", "invalid value for size: much"),
        ] {
            assert_eq!(parsed(text), Err(want.to_string()), "{text}");
        }
    }
}
