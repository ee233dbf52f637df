//! `RUN --device`: which of the devices that vendors describe a step gets, and whether the build may have them. The words
//! and the rules are BuildKit's: a kind alone is its first device, `kind=*` all of them, and a name that no device has may
//! be the class that devices carry in an annotation.

use super::Error;
use dockerfile::Span;
use runtime::cdi::Registry;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

const CLASS: &str = "org.mobyproject.buildkit.device.class";
const ALLOWED: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices that a build may use (`--allow device…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedDevices {
    all: bool,
    /// Names as a Dockerfile has them, and what they stand for where that is another.
    names: BTreeMap<String, Option<String>>,
}

impl AllowedDevices {
    /// Allows what follows `device=`: `vendor.com/class=name[,alias=name]`; empty is all.
    pub fn allow(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            self.all = true;
            return Ok(());
        }
        let (name, rest) = text.split_once(',').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match rest.map(|rest| rest.split_once('=').unwrap_or((rest, ""))) {
            None => drop(self.names.insert(name.to_owned(), None)),
            Some(("alias", alias)) if !alias.is_empty() => {
                self.names.insert(alias.to_owned(), Some(name.to_owned()));
            }
            Some((key, _)) => return Err(format!("unknown device config key {key:?}")),
        }
        Ok(())
    }
}

/// What is known of devices: their vendors' files are read when the first one is asked for.
pub struct Devices<'a> {
    asked_about: Option<(&'a AllowedDevices, &'a [PathBuf])>,
    known: OnceLock<Registry>,
}

/// A device as an instruction asks for it, variables expanded.
pub(super) struct Asked {
    pub name: String,
    pub required: bool,
    pub span: Span,
}

impl<'a> Devices<'a> {
    /// The devices of these directories, as far as they are allowed.
    pub fn new(allowed: &'a AllowedDevices, directories: &'a [PathBuf]) -> Self {
        Devices { asked_about: Some((allowed, directories)), known: OnceLock::new() }
    }

    /// Nothing is asked about them, and no step gets any: where nothing runs.
    pub fn unknown() -> Self {
        Devices { asked_about: None, known: OnceLock::new() }
    }

    /// The whole names of the devices that a step gets.
    pub(super) fn resolve(&self, asked: &[Asked]) -> Result<Vec<String>, Error> {
        let Some((allowed, directories)) = self.asked_about.filter(|_| !asked.is_empty()) else {
            return Ok(Vec::new());
        };
        let known = self.known.get_or_init(|| Registry::read(directories));
        let mut given = Vec::new();
        for device in asked {
            let alias = allowed.names.get(&device.name).and_then(Option::as_deref);
            let found = find(known, alias.unwrap_or(&device.name), device)?;
            if alias.is_none() {
                check(allowed, known, &found, device)?;
            }
            given.extend(found.into_iter().map(str::to_owned));
        }
        let mut seen = std::collections::BTreeSet::new();
        given.retain(|name| seen.insert(name.clone()));
        Ok(given)
    }
}

/// Whether the build may have them.
fn check(allowed: &AllowedDevices, known: &Registry, found: &[&str], device: &Asked) -> Result<(), Error> {
    let granted = |name: &&str| {
        allowed.all
            || known
                .annotation(name, ALLOWED)
                .is_some_and(|value| matches!(value, "true" | "1" | "t" | "True" | "TRUE" | "T"))
            || allowed.names.iter().any(|(own, of)| of.is_none() && matching(known, own).contains(name))
    };
    let forbidden: Vec<&str> = found.iter().copied().filter(|name| !granted(name)).collect();
    let message = match forbidden.as_slice() {
        [] => return Ok(()),
        [one] => format!("device {one} is requested by the build but not allowed"),
        several => format!("devices {} are requested by the build but not allowed", several.join(", ")),
    };
    Err(Error::at(message, device.span).help(format!("allow it with --allow device={}", device.name)))
}

fn find<'k>(known: &'k Registry, name: &str, device: &Asked) -> Result<Vec<&'k str>, Error> {
    let found = matching(known, name);
    if found.is_empty() && name.starts_with('/') {
        let error = Error::at(format!("invalid device {name:?}"), device.span);
        return Err(error.help("write `--device=vendor.com/class=name[,required]`"));
    }
    if !found.is_empty() || !device.required {
        return Ok(found);
    }
    let error = Error::at(format!("required device {name:?} is not registered"), device.span);
    Err(match known.problems() {
        [] => error,
        problems => {
            let one =
                |problem: &runtime::cdi::Problem| format!("{}: {}", problem.path.display(), problem.reason);
            error.help(format!(
                "files that could not be used: {}",
                problems.iter().map(one).collect::<Vec<_>>().join("; ")
            ))
        }
    })
}

/// The devices that a name means.
fn matching<'k>(known: &'k Registry, name: &str) -> Vec<&'k str> {
    let (kind, device) = name.split_once('=').unwrap_or((name, ""));
    let of_kind = || known.names().filter(|whole| whole.split_once('=').is_some_and(|(own, _)| own == kind));
    let found: Vec<&str> = match device {
        "" => of_kind().take(1).collect(),
        "*" => of_kind().collect(),
        _ => of_kind().filter(|whole| *whole == name).collect(),
    };
    match found.is_empty() {
        true => known.names().filter(|whole| known.annotation(whole, CLASS) == Some(name)).collect(),
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"cdiVersion":"0.6.0","kind":"v.com/d","devices":[
        {"name":"0","containerEdits":{"env":["A=0"]}},
        {"name":"1","annotations":{"org.mobyproject.buildkit.device.class":"fast"},"containerEdits":{"env":["A=1"]}},
        {"name":"2","annotations":{"org.mobyproject.buildkit.device.class":"fast",
            "org.mobyproject.buildkit.device.autoallow":"true"},"containerEdits":{"env":["A=2"]}}]}"#;

    fn resolve(allow: &[&str], asked: &[(&str, bool)]) -> Result<Vec<String>, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("v.json"), FILE).unwrap();
        let mut allowed = AllowedDevices::default();
        allow.iter().try_for_each(|text| allowed.allow(text))?;
        let directories = [home.path().to_owned()];
        let asked: Vec<Asked> = asked
            .iter()
            .map(|(name, required)| Asked {
                name: (*name).to_owned(),
                required: *required,
                span: Span::default(),
            })
            .collect();
        Devices::new(&allowed, &directories).resolve(&asked).map_err(|error| match error {
            Error::At { message, .. } => message,
            Error::NoTarget { name, .. } => name,
        })
    }

    #[test]
    fn names_mean_devices() {
        for (name, want) in [
            ("v.com/d=1", "v.com/d=1"),
            ("v.com/d", "v.com/d=0"),
            ("v.com/d=*", "v.com/d=0 v.com/d=1 v.com/d=2"),
            ("fast", "v.com/d=1 v.com/d=2"),
            ("v.com/d=fast", ""),
            ("v.com/d=none", ""),
        ] {
            assert_eq!(resolve(&[""], &[(name, false)]).unwrap().join(" "), want, "{name}");
        }
        assert_eq!(
            resolve(&[""], &[("v.com/d=none", true)]).unwrap_err(),
            "required device \"v.com/d=none\" is not registered"
        );
        assert_eq!(resolve(&[""], &[("/dev/kvm", false)]).unwrap_err(), "invalid device \"/dev/kvm\"");
        assert_eq!(resolve(&[""], &[("v.com/d=0", true), ("v.com/d", true)]).unwrap(), ["v.com/d=0"]);
    }

    #[test]
    fn devices_are_allowed() {
        let not = "is requested by the build but not allowed";
        assert_eq!(resolve(&[], &[("v.com/d=0", false)]).unwrap_err(), format!("device v.com/d=0 {not}"));
        assert_eq!(resolve(&[], &[("v.com/d=2", false)]).unwrap(), ["v.com/d=2"]);
        let several = resolve(&["fast"], &[("v.com/d=*", false)]).unwrap_err();
        assert_eq!(several, format!("device v.com/d=0 {not}"));
        assert_eq!(resolve(&["v.com/d=0"], &[("v.com/d=0", true)]).unwrap(), ["v.com/d=0"]);
        let alias = ["v.com/d=0,alias=w.com/any=x"];
        assert_eq!(resolve(&alias, &[("w.com/any=x", true)]).unwrap(), ["v.com/d=0"]);
        assert!(resolve(&alias, &[("v.com/d=0", true)]).unwrap_err().contains(not));
        assert!(resolve(&["v.com/d=0,name=x"], &[]).unwrap_err().contains("unknown device config key"));
    }
}
