//! `RUN --mount=type=…,key=value,…`.

use crate::ast::{Mount, MountFlag, MountKind, Sharing};
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

impl MountFlag {
    /// What it says, its values expanded.
    pub fn resolve<E: From<Error>>(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Mount, E> {
        let mut fields = Vec::new();
        for field in csv(&self.text) {
            fields.push(match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(expand(value)?)),
                None => (field.to_ascii_lowercase(), None),
            });
        }
        Ok(mount(&fields, self.span)?)
    }

    /// What it says as it stands, without looking at variables.
    pub fn plain(&self) -> Result<Mount, Error> {
        self.resolve(|value| Ok::<_, Error>(value.to_string()))
    }

    /// Where it is from, as it stands.
    pub fn origin(&self) -> Option<String> {
        let mut fields = csv(&self.text).into_iter();
        fields.find_map(|field| {
            let (key, value) = field.split_once('=')?;
            key.eq_ignore_ascii_case("from").then(|| value.to_string())
        })
    }

    /// The values of its options.
    pub fn values(&self) -> Vec<String> {
        let fields = csv(&self.text);
        fields.iter().filter_map(|field| field.split_once('=')).map(|(_, value)| value.to_string()).collect()
    }
}

type Field = (String, Option<String>);

fn mount(fields: &[Field], span: Span) -> Result<Mount, Error> {
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
    // The type comes first in meaning, wherever it stands.
    for (key, value) in fields {
        if let ("type", Some(kind)) = (key.as_str(), value) {
            mount.kind = self::kind(kind, span)?;
        }
    }
    for (key, value) in fields {
        set(&mut mount, key, value.as_deref())?;
    }
    check(&mount)?;
    Ok(mount)
}

fn kind(name: &str, span: Span) -> Result<MountKind, Error> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "cache" => MountKind::Cache,
        "tmpfs" => MountKind::Tmpfs,
        "secret" => MountKind::Secret,
        "ssh" => MountKind::Ssh,
        other => {
            let hint = did_you_mean(other, &KINDS);
            let error = Error::new(format!("unsupported mount type {name:?}{hint}"), span);
            return Err(error.help("one of bind, cache, tmpfs, secret, ssh"));
        }
    })
}

const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

fn did_you_mean(word: &str, known: &[&str]) -> String {
    suggest(word, known).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

fn kind_name(kind: MountKind) -> &'static str {
    match kind {
        MountKind::Bind => "bind",
        MountKind::Cache => "cache",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Secret => "secret",
        MountKind::Ssh => "ssh",
    }
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>) -> Result<(), Error> {
    let span = mount.span;
    let bad = |value: &str| Error::new(format!("invalid value for {key}: {value}"), span);
    let foreign =
        |kind| Error::new(format!("unexpected key '{key}' for mount type '{}'", kind_name(kind)), span);
    match (key, value) {
        ("readonly" | "ro", v) => mount.readonly = Some(flag(key, v, span)?),
        ("readwrite" | "rw", v) => mount.readonly = Some(!flag(key, v, span)?),
        ("required", v) if matches!(mount.kind, MountKind::Secret | MountKind::Ssh) => {
            mount.required = flag(key, v, span)?;
        }
        ("required", _) => return Err(foreign(mount.kind)),
        (key, None) => return Err(no_value(key, span)),
        ("type", Some(_)) => {}
        ("from", Some(v)) => mount.from = Some(v.into()),
        ("source" | "src", Some(v)) => mount.source = Some(v.into()),
        ("target" | "dst" | "destination", Some(v)) => mount.target = Some(v.into()),
        ("id", Some(v)) => mount.id = Some(v.into()),
        ("env", Some(v)) if mount.kind == MountKind::Secret => mount.env = Some(v.into()),
        ("sharing", Some(_)) if mount.kind != MountKind::Cache => {
            let message = format!("invalid cache sharing set for {} mount", kind_name(mount.kind));
            return Err(Error::new(message, span));
        }
        ("sharing", Some(v)) => mount.sharing = sharing(v, span)?,
        ("mode" | "uid" | "gid", Some(_)) if matches!(mount.kind, MountKind::Bind | MountKind::Tmpfs) => {
            let message = format!("{key} not allowed for {:?} type mounts", kind_name(mount.kind));
            return Err(Error::new(message, span));
        }
        ("mode", Some(v)) => mount.mode = Some(u32::from_str_radix(v, 8).map_err(|_| bad(v))?),
        ("uid", Some(v)) => mount.uid = Some(v.parse().map_err(|_| bad(v))?),
        ("gid", Some(v)) => mount.gid = Some(v.parse().map_err(|_| bad(v))?),
        ("size", Some(v)) if mount.kind == MountKind::Tmpfs => {
            let size = oci::units::ram_in_bytes(v.trim()).ok();
            mount.size = Some(size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| bad(v))?);
        }
        ("size" | "env", Some(_)) => return Err(foreign(mount.kind)),
        (key, Some(v)) => {
            let hint = did_you_mean(key, &KEYS);
            return Err(Error::new(format!("unexpected key '{key}' in '{key}={v}'{hint}"), span));
        }
    }
    Ok(())
}

fn sharing(value: &str, span: Span) -> Result<Sharing, Error> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        other => {
            let hint = did_you_mean(other, &["shared", "private", "locked"]);
            let error = Error::new(format!("unsupported sharing value {value:?}{hint}"), span);
            return Err(error.help("one of shared, private, locked"));
        }
    })
}

fn no_value(key: &str, span: Span) -> Error {
    let hint = did_you_mean(key, &KEYS);
    Error::new(format!("invalid field '{key}' must be a key=value pair{hint}"), span)
}

pub(super) fn flag(key: &str, value: Option<&str>, span: Span) -> Result<bool, Error> {
    match value {
        None => Ok(true),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(v) => Err(Error::new(format!("invalid value for {key}: {v}"), span)),
    }
}

/// What options mean together.
fn check(mount: &Mount) -> Result<(), Error> {
    let span = mount.span;
    // A bind without a target lands in the working directory.
    let optional = matches!(mount.kind, MountKind::Secret | MountKind::Ssh | MountKind::Bind);
    if mount.target.as_deref().unwrap_or("").is_empty() && !optional {
        return Err(Error::new("mount target is required", span).help("add `target=/path`"));
    }
    if mount.kind != MountKind::Secret {
        return Ok(());
    }
    if mount.from.is_some() {
        return Err(Error::new("secret mount should not have a from", span));
    }
    if mount.source.is_some() && mount.id.is_some() {
        return Err(Error::new("both source and id can't be set", span).help("id is the secret's name"));
    }
    if mount.id.is_none() && mount.source.is_none() && mount.target.is_none() {
        let error = Error::new("invalid secret mount. one of source, target required", span);
        return Err(error.help("add `id=name`"));
    }
    Ok(())
}

/// Comma-separated fields; a field in double quotes may hold commas.
pub(super) fn csv(text: &str) -> Vec<String> {
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
        MountFlag { text: text.into(), span: Span::default() }.plain().map_err(|e| e.message)
    }

    #[test]
    fn typed_options() {
        let cache =
            parsed("type=cache,target=/root/.cache,id=pip,sharing=locked,mode=0755,uid=1,gid=2").unwrap();
        assert_eq!((cache.kind, cache.sharing, cache.mode), (MountKind::Cache, Sharing::Locked, Some(0o755)));
        assert_eq!((cache.uid, cache.gid, cache.id.as_deref()), (Some(1), Some(2), Some("pip")));
        let bind = parsed("target=/src,rw,from=build,source=out").unwrap();
        assert_eq!((bind.kind, bind.readonly), (MountKind::Bind, Some(false)));
        for (text, bytes) in [("64m", 64 << 20), ("1.5g", 3 << 29), ("0.5KiB", 512), (".5k", 512), ("7", 7)] {
            let mount = parsed(&format!("type=tmpfs,target=/t,size={text}"));
            assert_eq!(mount.unwrap().size, Some(bytes), "{text}");
        }
        assert!(parsed("type=secret,id=x,required").unwrap().required);
        assert_eq!(parsed("type=secret,id=x,env=TOKEN").unwrap().env.as_deref(), Some("TOKEN"));
        assert_eq!(parsed("type=ssh").unwrap().kind, MountKind::Ssh);
    }

    #[test]
    fn variables_in_every_option() {
        let flag = MountFlag { text: "type=$t,target=/x,mode=${m},ro=$r".into(), span: Span::default() };
        let value = |text: &str| {
            Ok::<_, Error>(text.replace("$t", "cache").replace("${m}", "0700").replace("$r", "true"))
        };
        let mount = flag.resolve(value).unwrap();
        assert_eq!((mount.kind, mount.mode, mount.readonly), (MountKind::Cache, Some(0o700), Some(true)));
        assert_eq!(flag.values(), ["$t", "/x", "${m}", "$r"]);
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
            ("type=tmpfs,target=/x,size=1.2.3g", "invalid value for size: 1.2.3g"),
            ("type=tmpfs,target=/x,size=-1g", "invalid value for size: -1g"),
            ("type=tmpfs,target=/x,size=99999999t", "invalid value for size: 99999999t"),
            ("type=chache,target=/x", "unsupported mount type \"chache\" (did you mean cache?)"),
            ("type=bind,target=/x,uid=1", "uid not allowed for \"bind\" type mounts"),
            ("type=bind,target=/x,required", "unexpected key 'required' for mount type 'bind'"),
            ("type=cache,target=/x,size=1m", "unexpected key 'size' for mount type 'cache'"),
            ("type=tmpfs,target=/x,sharing=locked", "invalid cache sharing set for tmpfs mount"),
            ("type=secret,id=x,from=y", "secret mount should not have a from"),
            ("type=secret,id=x,source=y", "both source and id can't be set"),
            ("type=secret", "invalid secret mount. one of source, target required"),
        ] {
            assert_eq!(parsed(text), Err(want.to_string()), "{text}");
        }
    }
}
