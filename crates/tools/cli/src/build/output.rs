//! `--output`: what is to be had of a build, in buildx's words.

use std::collections::BTreeMap;

use api::build::Registries;

use crate::error::Error;
use crate::options::mount::csv;

/// Where a result goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files in a directory.
    Local,
    /// Files in a tar.
    Tar,
    /// A layout in a tar, or in a directory.
    Oci,
    /// An archive for `load`, or the server's images.
    Docker,
    /// The server's images.
    Image,
    /// Nowhere: the cache is filled.
    CacheOnly,
}

impl Kind {
    /// The exporter's name.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Local => "local",
            Kind::Tar => "tar",
            Kind::Oci => "oci",
            Kind::Docker => "docker",
            Kind::Image => "image",
            Kind::CacheOnly => "cacheonly",
        }
    }
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub kind: Kind,
    /// A path, or `-`.
    pub dest: Option<String>,
    pub push: bool,
    /// `store=false`: the image does not stay on the server.
    pub passes: bool,
    pub by_digest: bool,
    /// `registry.insecure=true`: plain HTTP will do, and certificates that nobody has signed.
    pub insecure: bool,
    /// `mode=delete`: what is in the directory and not in the result goes.
    pub delete: bool,
    /// What names of attestations among files begin with.
    pub attestation_prefix: String,
    /// `attestation-inline=true`: what is attached only to images that leave is attached to this one too.
    pub inline: bool,
    /// `name=`, in place of `--tag`.
    pub names: Vec<String>,
    /// A directory for each platform; with several there always is.
    pub split: Option<bool>,
    /// `tar=false`: a directory and no archive.
    pub directory: bool,
    pub export: Wishes,
}

/// What an output asks of how the image is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    pub compression: Option<String>,
    pub level: Option<u32>,
    pub force: bool,
    /// `oci-mediatypes=`.
    pub oci: Option<bool>,
    /// `oci-artifact=`.
    pub artifact: Option<bool>,
    /// `compatibility-version=`; 0 is that of now.
    pub compatibility: u32,
    /// `source-date-epoch=`; empty fixes nothing.
    pub epoch: Option<String>,
    pub rewrite_timestamp: bool,
    pub canonical_names: bool,
    pub dangling_prefix: String,
    pub annotations: Vec<String>,
}

impl Output {
    fn new(kind: Kind) -> Output {
        Output {
            kind,
            dest: None,
            push: false,
            passes: false,
            by_digest: false,
            insecure: false,
            delete: false,
            attestation_prefix: String::new(),
            inline: false,
            names: Vec::new(),
            split: None,
            directory: false,
            export: Wishes::default(),
        }
    }

    /// `--push`.
    pub fn registry() -> Output {
        Output { push: true, ..Output::new(Kind::Image) }
    }

    /// `--load`, and what is done if nothing is said.
    pub fn store() -> Output {
        Output::new(Kind::Docker)
    }

    /// Whether the image stays on the server under its names.
    pub fn keeps(&self) -> bool {
        match self.kind {
            Kind::Image => !self.passes,
            Kind::Docker => self.dest.is_none(),
            Kind::Local | Kind::Tar | Kind::Oci | Kind::CacheOnly => false,
        }
    }

    /// Whether it goes to registries.
    pub fn pushes(&self) -> bool {
        self.kind == Kind::Image && (self.push || self.by_digest)
    }

    /// Whether it asks for anything of how the image is written.
    pub fn is_shaped(&self) -> bool {
        self.export != Wishes::default() || self.inline || self.by_digest || self.insecure
    }

    /// Whether it is one file that has a name.
    pub fn is_file(&self) -> bool {
        let is_archive = matches!(self.kind, Kind::Tar | Kind::Oci | Kind::Docker) && !self.directory;
        is_archive && !matches!(self.dest.as_deref(), None | Some("" | "-"))
    }

    /// Reads `type=…,key=value`, a directory, or `-`.
    pub fn parse(text: &str) -> Result<Output, Error> {
        let fields = csv(text)?;
        if let [only] = fields.as_slice()
            && !only.contains('=')
        {
            let kind = if only == "-" { Kind::Tar } else { Kind::Local };
            return Ok(Output { dest: Some(only.clone()), ..Output::new(kind) });
        }
        let mut pairs = Vec::with_capacity(fields.len());
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Error::new(format!("invalid value {field}, expected key=value")))?;
            pairs.push((key.trim().to_lowercase(), value));
        }
        let word = pairs.iter().find(|(key, _)| key == "type").map(|(_, value)| *value);
        let mut output = match word {
            None => return Err(Error::new("type is required for output")),
            Some("local") => Output::new(Kind::Local),
            Some("tar") => Output::new(Kind::Tar),
            Some("oci") => Output::new(Kind::Oci),
            Some("docker") => Output::new(Kind::Docker),
            Some("image") => Output::new(Kind::Image),
            Some("registry") => Output::registry(),
            Some("cacheonly") => Output::new(Kind::CacheOnly),
            Some(other) => return Err(Error::new(format!("unknown output type {}", template::quote(other)))),
        };
        for (key, value) in pairs.iter().filter(|(key, _)| key != "type") {
            output.set(key, value)?;
        }
        output.check()?;
        // Layouts have had OCI's types at all times.
        let is_layout = output.kind == Kind::Oci && output.export.compatibility != 0;
        output.export.oci = output.export.oci.or(is_layout.then_some(true));
        Ok(output)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let image = matches!(self.kind, Kind::Oci | Kind::Docker | Kind::Image);
        match key {
            "dest" => self.dest = Some(value.to_owned()),
            "platform-split" if matches!(self.kind, Kind::Local | Kind::Tar) => {
                self.split = Some(boolean(key, value)?);
            }
            "mode" if self.kind == Kind::Local => {
                self.delete = match value {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(self.refused(key, &format!("{value} is neither copy nor delete"))),
                }
            }
            "attestation-prefix" if matches!(self.kind, Kind::Local | Kind::Tar) => {
                value.clone_into(&mut self.attestation_prefix);
            }
            "tar" if matches!(self.kind, Kind::Oci | Kind::Docker) => self.directory = !boolean(key, value)?,
            "name" if image => self.names = value.split(',').map(|name| name.trim().to_owned()).collect(),
            "buildinfo" | "buildinfo-attrs" if image => {
                if boolean(key, value)? {
                    return Err(self.refused(
                        key,
                        "there is none any more; how an image was made is said by --provenance",
                    ));
                }
            }
            "source-date-epoch" if self.kind != Kind::CacheOnly => {
                if !value.is_empty() && value.parse::<i64>().is_err() {
                    return Err(self.refused(key, &format!("{value} is no number of seconds")));
                }
                self.export.epoch = Some(value.to_owned());
            }
            "context" if self.kind == Kind::Docker => {
                if !matches!(value, "" | "default") {
                    return Err(self.refused(key, "there is one context, \"default\""));
                }
            }
            "rewrite-timestamp" if self.kind != Kind::CacheOnly => {
                self.export.rewrite_timestamp = boolean(key, value)?
            }
            _ if self.kind == Kind::Image && self.set_image(key, value)? => {}
            _ if image && self.set_layers(key, value)? => {}
            _ => return self.annotation(key, value),
        }
        Ok(())
    }

    /// What only images of the engine or of a registry have; whether it is such a key.
    fn set_image(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        match key {
            "push" => self.push = boolean(key, value)?,
            "push-by-digest" => self.by_digest = boolean(key, value)?,
            "registry.insecure" => self.insecure = boolean(key, value)?,
            // An image that is made here is always unpacked.
            "unpack" => drop(boolean(key, value)?),
            "store" => self.passes = !boolean(key, value)?,
            "name-canonical" => self.export.canonical_names = boolean(key, value)?,
            "dangling-name-prefix" => value.clone_into(&mut self.export.dangling_prefix),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How layers and documents are written; whether it is such a key.
    fn set_layers(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        match key {
            "compression" => {
                if !matches!(value, "uncompressed" | "gzip" | "estargz" | "zstd") {
                    let words = "there are uncompressed, gzip, estargz and zstd";
                    return Err(self.refused(key, &format!("{value} is not supported: {words}")));
                }
                self.export.compression = Some(value.to_owned());
            }
            "compression-level" => {
                let wrong =
                    || self.refused(key, &format!("{value} is no level: gzip has 0 to 9, zstd 0 to 22"));
                self.export.level = Some(value.parse().map_err(|_| wrong())?);
            }
            "force-compression" => self.export.force = boolean(key, value)?,
            "oci-mediatypes" => self.export.oci = Some(boolean(key, value)?),
            "attestation-inline" => self.inline = boolean(key, value)?,
            "oci-artifact" => self.export.artifact = Some(boolean(key, value)?),
            // Images with layers that must not be handed on are neither pulled nor loaded: no base has one.
            "prefer-nondist-layers" => drop(boolean(key, value)?),
            "compatibility-version" => {
                let wrong = || self.refused(key, &format!("{value} is not supported: there are 20 and 30"));
                self.export.compatibility =
                    value.parse().ok().filter(|version| matches!(version, 20 | 30)).ok_or_else(wrong)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn refused(&self, key: &str, why: &str) -> Error {
        Error::new(format!("{} exporter: {key}: {why}", self.kind.word()))
    }

    /// `annotation.key`, `annotation-index.key`, `annotation-manifest[linux/amd64].key`.
    fn annotation(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let unsupported =
            || Error::new(format!("{} exporter has no attribute {}", self.kind.word(), template::quote(key)));
        let rest = key.strip_prefix("annotation").ok_or_else(unsupported)?;
        let (level, name) = rest.split_once('.').ok_or_else(unsupported)?;
        let level = match (level.strip_prefix('-'), level) {
            (Some(level), _) => level.to_owned(),
            (None, platform) => format!("manifest{platform}"),
        };
        self.export.annotations.push(format!("{level}:{name}={value}"));
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.kind == Kind::Local && self.dest.as_deref().is_none_or(str::is_empty) {
            return Err(Error::new("dest is required for local output"));
        }
        if self.kind == Kind::Local && self.dest.as_deref() == Some("-") {
            return Err(Error::new("dest cannot be stdout for local output"));
        }
        if matches!(self.kind, Kind::Image | Kind::CacheOnly) && self.dest.is_some() {
            return Err(Error::new(format!("{} exporter has no attribute \"dest\"", self.kind.word())));
        }
        let most = if self.export.compression.as_deref() == Some("zstd") { 22 } else { 9 };
        if let Some(level) = self.export.level.filter(|level| *level > most) {
            let reason = format!("{level} is no level: gzip has 0 to 9, zstd 0 to 22");
            return Err(self.refused("compression-level", &reason));
        }
        if self.export.oci == Some(false) && self.export.artifact == Some(true) {
            return Err(self.refused("oci-artifact", "it conflicts with oci-mediatypes=false"));
        }
        if self.export.oci == Some(false) && self.export.compression.as_deref() == Some("estargz") {
            return Err(self.refused("compression", "estargz conflicts with oci-mediatypes=false"));
        }
        if self.directory && matches!(self.dest.as_deref(), None | Some("-" | "")) {
            return Err(Error::new(format!(
                "dest is required for {} output that is no tar",
                self.kind.word()
            )));
        }
        Ok(())
    }
}

impl Output {
    /// Whether it goes to standard output.
    pub fn is_piped(&self) -> bool {
        match self.kind {
            Kind::Tar | Kind::Oci => matches!(self.dest.as_deref(), None | Some("-")),
            Kind::Docker => self.dest.as_deref() == Some("-"),
            Kind::Local | Kind::Image | Kind::CacheOnly => false,
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" | "True" | "TRUE" | "t" | "T" | "1" | "" => Ok(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(false),
        _ => Err(Error::new(format!("{key}: {} is neither true nor false", template::quote(value)))),
    }
}

/// What all outputs together ask of how the image is written; they must not contradict each other.
pub fn wishes(outputs: &[Output]) -> Result<Wishes, Error> {
    let mut all = Wishes::default();
    let mut seen = BTreeMap::new();
    for output in outputs.iter().filter(|o| !matches!(o.kind, Kind::Local | Kind::Tar | Kind::CacheOnly)) {
        let own = &output.export;
        let about = (&own.compression, own.level, own.force, own.oci, own.artifact, own.compatibility);
        if let Some(other) = seen.insert("image", about)
            && other != about
        {
            return Err(Error::new(
                "outputs ask for different compression or media types: build once for each of them",
            ));
        }
        all.compression.clone_from(&own.compression);
        (all.level, all.force) = (own.level, own.force);
        (all.oci, all.artifact, all.compatibility) = (own.oci, own.artifact, own.compatibility);
        all.annotations.extend(own.annotations.iter().cloned());
        all.canonical_names |= own.canonical_names;
        if !own.dangling_prefix.is_empty() {
            all.dangling_prefix.clone_from(&own.dangling_prefix);
        }
    }
    all.rewrite_timestamp = outputs.iter().any(|output| output.export.rewrite_timestamp);
    let mut epochs = outputs.iter().map(|output| &output.export.epoch);
    all.epoch = epochs.next().cloned().flatten();
    if epochs.any(|epoch| *epoch != all.epoch) {
        return Err(Error::new("outputs have different source-date-epoch: build once for each of them"));
    }
    Ok(all)
}

/// The registries that the result goes to, if it goes nowhere else; outputs without names of their own have these.
pub fn registries(outputs: &[Output], names: &[String]) -> Option<Registries> {
    let how = |output: &Output| (output.by_digest, output.insecure);
    let first = outputs.first()?;
    if !outputs.iter().all(|output| output.pushes() && how(output) == how(first)) {
        return None;
    }
    let own = outputs.iter().map(|output| if output.names.is_empty() { names } else { &output.names });
    let (by_digest, insecure) = how(first);
    Some(Registries { names: own.flatten().cloned().collect(), by_digest, insecure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Output {
        Output::parse(text).unwrap_or_else(|e| panic!("{text}: {}", e.message))
    }

    #[test]
    fn short_and_long_forms() {
        assert_eq!((parsed("out").kind, parsed("out").dest.as_deref()), (Kind::Local, Some("out")));
        assert_eq!(parsed("-").kind, Kind::Tar);
        for (text, is_piped) in [
            ("-", true),
            ("type=oci", true),
            ("type=oci,dest=x", false),
            ("type=docker", false),
            ("x", false),
        ] {
            assert_eq!(parsed(text).is_piped(), is_piped, "{text}");
        }
        assert_eq!(parsed("type=oci,dest=x.tar,tar=true").kind, Kind::Oci);
        assert!(parsed("type=registry").push && parsed("type=docker").keeps());
        assert!(!parsed("type=docker,dest=x").keeps());
        assert!(!parsed("type=image,name=a,store=false,push=true,compression=estargz").keeps());
        let image = parsed("type=image,\"name=a,b:1\",push=true,compression=zstd,oci-mediatypes=false");
        assert_eq!(image.names, ["a", "b:1"]);
        assert!(image.push && image.export.oci == Some(false));
        let many = parsed(
            "type=registry,name-canonical=true,push-by-digest=true,registry.insecure=true,unpack=true,store=true,buildinfo=false,dangling-name-prefix=x",
        );
        assert!(many.insecure && many.by_digest && many.export.canonical_names);
        assert_eq!(many.export.dangling_prefix, "x");
        assert!(
            parsed("type=local,dest=x,mode=delete").delete && !parsed("type=local,dest=x,mode=copy").delete
        );
        assert_eq!(parsed("type=oci,dest=x,compatibility-version=20").export.oci, Some(true));
        let before = parsed("type=image,compatibility-version=20,oci-artifact=0,source-date-epoch=");
        assert_eq!((before.export.compatibility, before.export.oci), (20, None));
        assert_eq!((before.export.artifact, before.export.epoch.as_deref()), (Some(false), Some("")));
        assert!(parsed("type=docker,attestation-inline=true,prefer-nondist-layers=true").inline);
        let notes =
            parsed("type=image,annotation.k=v,annotation-index.a.b=c,annotation-manifest[linux/amd64].x=y");
        assert_eq!(notes.export.annotations, ["manifest:k=v", "index:a.b=c", "manifest[linux/amd64]:x=y"]);
    }

    #[test]
    fn what_is_refused() {
        for (text, want) in [
            ("type=nope", "unknown output type"),
            ("type=local", "dest is required"),
            ("type=local,dest=-", "dest cannot be stdout"),
            ("dest=x", "type is required"),
            ("type=image,dest=x", "image exporter has no attribute \"dest\""),
            ("type=image,wrong=1", "image exporter has no attribute \"wrong\""),
            ("type=local,dest=x,mode=move", "local exporter: mode: move is neither copy nor delete"),
            ("type=image,compression=lz4", "image exporter: compression: lz4 is not supported"),
            (
                "type=oci,dest=x,compression=estargz,oci-mediatypes=false",
                "oci exporter: compression: estargz conflicts",
            ),
            ("type=oci,dest=x,compression=zstd,compression-level=23", "oci exporter: compression-level: 23"),
            ("type=image,compression-level=10", "image exporter: compression-level: 10"),
            ("type=registry,buildinfo=true", "image exporter: buildinfo: "),
            ("type=docker,context=other", "docker exporter: context: "),
            (
                "type=oci,dest=x,oci-artifact=true,oci-mediatypes=false",
                "oci exporter: oci-artifact: it conflicts",
            ),
            (
                "type=image,compatibility-version=10",
                "image exporter: compatibility-version: 10 is not supported",
            ),
            (
                "type=local,dest=x,source-date-epoch=now",
                "local exporter: source-date-epoch: now is no number",
            ),
            ("type=local,dest=x,oci-artifact=true", "local exporter has no attribute"),
            ("type=oci,dest=x,name-canonical=true", "oci exporter has no attribute"),
            ("type=cacheonly,rewrite-timestamp=true", "cacheonly exporter has no attribute"),
            ("type=tar,push=true", "has no attribute"),
            ("type=image,push=perhaps", "neither true nor false"),
            ("type=oci,tar=false", "dest is required"),
        ] {
            let error = Output::parse(text).unwrap_err().message;
            assert!(error.contains(want), "{text}: {error}");
        }
        let outputs = [parsed("type=oci,dest=a,compression=gzip"), parsed("type=image,compression=zstd")];
        assert!(wishes(&outputs).is_err());
    }
}
