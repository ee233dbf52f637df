//! Platforms: `os/architecture[/variant]` (OCI image-spec, image-index.md), normalised as containerd does,
//! and the choice of the best manifest of an index.

use crate::nullable;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an image was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH, for example `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// GOOS, for example `linux`.
    #[serde(default)]
    pub os: String,
    /// Version of the system (Windows only).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the system that the image needs (Windows only).
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "nullable::default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the processor, for example `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a string names no platform; the texts are containerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part with characters that no platform has.
    #[error(
        "\"{0}\" is an invalid component of \"{1}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component(String, String),
    /// One word that is neither a system nor an architecture.
    #[error("\"{0}\": unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts, or wildcards.
    #[error("\"{0}\": cannot parse platform specifier: invalid argument")]
    Form(String),
}

const SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];
const ARCHITECTURES: [&str; 17] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64",
    "ppc64le", "riscv", "riscv64", "s390x", "sparc64", "wasm",
];

/// How far the older architecture that a processor runs is below its own: further than any variant.
const OLDER: u32 = 1000;

impl Platform {
    /// A platform without version or features, normalised.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, variant) = normal_architecture(architecture, variant.unwrap_or(""));
        Platform {
            architecture,
            os: normal_system(os),
            os_version: None,
            os_features: Vec::new(),
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// The platform of this machine.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform::new("linux", architecture, None)
    }

    /// The same platform in its usual spelling (`x86_64` is `amd64`, `arm64/v8` is `arm64`).
    pub fn normalized(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Platform::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// Whether an image made for `image` is what somebody who asked for `self` gets: the same system and architecture, and the
    /// same variant or an older compatible one; or else the older architecture that the processor runs too, as containerd
    /// has it.
    pub fn matches(&self, image: &Platform) -> bool {
        self.distance(image).is_some()
    }

    /// The index of the best candidate for `self`: an exact variant before an older one, the first of equals.
    /// A candidate that names no platform never matches.
    pub fn best<'a>(&self, candidates: impl IntoIterator<Item = Option<&'a Platform>>) -> Option<usize> {
        candidates
            .into_iter()
            .enumerate()
            .filter_map(|(index, candidate)| Some((self.distance(candidate?)?, index)))
            .min()
            .map(|(_, index)| index)
    }

    /// How far `image` is below what `self` can run: 0 is exact, none is not at all.
    fn distance(&self, image: &Platform) -> Option<u32> {
        let (want, have) = (self.normalized(), image.normalized());
        if want.os != have.os {
            return None;
        }
        match (want.architecture.as_str(), have.architecture.as_str()) {
            ("amd64", "386") => return Some(OLDER),
            ("arm64", "arm") => {
                let older = Platform::new(&want.os, "arm", Some("v8"));
                return older.distance(&have).map(|distance| OLDER + distance);
            }
            (one, other) if one != other => return None,
            _ => {}
        }
        let level = |variant: &Option<String>, default| match variant.as_deref() {
            None => Some(default),
            Some(text) => text.strip_prefix('v').and_then(|number| number.parse::<u32>().ok()),
        };
        let default = match want.architecture.as_str() {
            "amd64" => 1,
            "arm" => 7,
            "arm64" => 8,
            _ => return (want.variant == have.variant).then_some(0),
        };
        match (level(&want.variant, default), level(&have.variant, default)) {
            (Some(want), Some(have)) => want.checked_sub(have),
            _ => (want.variant == have.variant).then_some(0),
        }
    }
}

fn normal_system(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is missing is the host's.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        if text.contains('*') {
            return Err(PlatformError::Form(text.to_owned()));
        }
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        for part in &parts {
            if !valid(part) {
                return Err(PlatformError::Component((*part).to_owned(), text.to_owned()));
            }
        }
        let host = Platform::host();
        match parts[..] {
            [word] => {
                let system = normal_system(word);
                if SYSTEMS.contains(&system.as_str()) {
                    return Ok(Platform::new(&system, &host.architecture, host.variant.as_deref()));
                }
                let platform = Platform::new(&host.os, word, None);
                if ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    Ok(platform)
                } else {
                    Err(PlatformError::Unknown(text.to_owned()))
                }
            }
            [os, architecture] => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, Some(variant))),
            _ => Err(PlatformError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_normalises() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        assert_eq!(platform("linux"), Platform::host());
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in ["", "linux/", "a/b/c/d", "bogus", "linux/amd64/../x", "linux/*"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn chooses_the_closest_variant() {
        let list =
            ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/amd64"].map(platform);
        let best = |text: &str| platform(text).best(list.iter().map(Some));
        assert_eq!(best("linux/arm/v7"), Some(2));
        assert_eq!(best("linux/arm/v6"), Some(1));
        assert_eq!(best("linux/arm64/v8"), Some(3));
        assert_eq!(best("linux/amd64/v3"), Some(4));
        assert_eq!(best("linux/s390x"), None);
        assert_eq!(platform("linux/amd64").best([None, Some(&platform("linux/amd64"))]), Some(1));
    }

    #[test]
    fn an_older_architecture_is_better_than_none() {
        let list = ["linux/s390x", "linux/386", "linux/arm/v6", "linux/arm/v7"].map(platform);
        let best = |text: &str| platform(text).best(list.iter().map(Some));
        assert_eq!(best("linux/amd64"), Some(1));
        assert_eq!(best("linux/amd64/v3"), Some(1));
        assert_eq!(best("linux/arm64"), Some(3));
        assert_eq!(best("linux/arm/v5"), None);
        assert_eq!(best("linux/386"), Some(1));
        assert!(!platform("linux/386").matches(&platform("linux/amd64")));
        assert!(!platform("linux/amd64").matches(&platform("windows/386")));
        let both = ["linux/386", "linux/amd64"].map(platform);
        assert_eq!(platform("linux/amd64/v4").best(both.iter().map(Some)), Some(1));
    }

    #[test]
    fn a_stronger_variant_does_not_match() {
        assert!(!platform("linux/amd64").matches(&platform("linux/amd64/v3")));
        assert!(platform("linux/amd64/v3").matches(&platform("linux/amd64")));
    }
}
