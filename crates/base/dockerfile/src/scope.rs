//! Where build arguments are visible.
//!
//! `ARG` before the first `FROM` is global: `FROM` sees it, a stage only after a bare `ARG name` of its own. The
//! platform arguments are global too. Proxy arguments are predefined: a `RUN` sees those that the caller gives,
//! declared or not, and they never enter a cache key.

use crate::ast::{ArgDecl, Dockerfile, Kind};
use crate::error::Error;
use crate::expand::{Budget, Expander};
use oci::Platform;
use std::collections::BTreeMap;

/// Arguments that need no `ARG`.
pub const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What TARGETSTAGE is: the stage that is asked for, else the name of the last one.
pub fn target_stage<'a>(file: &'a Dockerfile, wanted: Option<&'a str>) -> &'a str {
    let last = || file.stages.last()?.from.name.as_ref().map(|name| name.text.as_str());
    wanted.filter(|wanted| !wanted.is_empty()).or_else(last).unwrap_or("default")
}

/// The platform arguments of a build, of which this is the stage that is built ([`target_stage`]).
pub fn platform_args(build: &Platform, target: &Platform, stage: &str) -> BTreeMap<String, String> {
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("BUILD", build), ("TARGET", target)] {
        let variant = platform.variant.clone().unwrap_or_default();
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}OSVERSION"), platform.os_version.clone().unwrap_or_default());
        args.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        args.insert(format!("{prefix}VARIANT"), variant);
    }
    args.insert("TARGETSTAGE".into(), stage.into());
    args
}

/// Global arguments of a build.
#[derive(Debug, Default)]
pub struct Globals {
    /// What the caller gave.
    pub given: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    platform: BTreeMap<String, String>,
    /// What expansions of the file may still cost.
    pub budget: Budget,
}

impl Globals {
    /// Evaluates the `ARG`s before the first `FROM`, in order.
    pub fn evaluate(
        file: &Dockerfile,
        given: &BTreeMap<String, String>,
        platform: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let budget = Budget::default();
        let mut globals = Self { given: given.clone(), values: BTreeMap::new(), platform, budget };
        for instruction in &file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let value =
                    globals.declared(arg, file.directives.escape, &|n| globals.get(n).map(String::from))?;
                if let Some(value) = value {
                    globals.values.insert(arg.name.clone(), value);
                }
            }
        }
        Ok(globals)
    }

    /// The value that `FROM` sees. A platform argument that the caller gives wins over the computed one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let platform = || match self.platform.contains_key(name) {
            true => self.given.get(name).or_else(|| self.platform.get(name)),
            false => None,
        };
        self.values.get(name).or_else(platform).map(String::as_str)
    }

    /// Gives an argument that was given or declared another value.
    pub fn settle(&mut self, name: &str, value: &str) {
        for known in [&mut self.given, &mut self.values].into_iter().filter_map(|all| all.get_mut(name)) {
            value.clone_into(known);
        }
    }

    /// Names that `FROM` sees.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(self.platform.keys()).map(String::as_str)
    }

    /// The value of a declaration: given by the caller, else its default, else the global of that name.
    pub fn declared(
        &self,
        arg: &ArgDecl,
        escape: char,
        lookup: &crate::expand::Lookup<'_>,
    ) -> Result<Option<String>, Error> {
        let failed = |e: crate::expand::Error| Error::new(e.to_string(), arg.span);
        let given = self.given.get(&arg.name).map(String::as_str);
        let (None, Some(default)) = (given, &arg.value) else {
            let value = given.or_else(|| self.get(&arg.name));
            self.budget.draw(value.map_or(0, str::len)).map_err(failed)?;
            return Ok(value.map(String::from));
        };
        let expanded = Expander::new(escape, lookup, &self.budget).word(default);
        expanded.map(|e| Some(e.text)).map_err(failed)
    }

    /// Proxy arguments that the caller gave. Programs look for either spelling, so one stands for both.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        let other = |name: &str| match name.starts_with(|c: char| c.is_ascii_uppercase()) {
            true => name.to_ascii_lowercase(),
            false => name.to_ascii_uppercase(),
        };
        PROXY_ARGS.iter().filter_map(move |name| {
            let value = self.given.get(*name).or_else(|| self.given.get(&other(name)));
            value.map(|value| (*name, value.as_str()))
        })
    }

    /// Given arguments that no `ARG` of the file consumes, which is worth a warning.
    pub fn unconsumed<'a>(&'a self, file: &'a Dockerfile) -> Vec<&'a str> {
        let declared: Vec<&str> = file.declared().collect();
        let free = |name: &&str| {
            !declared.contains(name)
                && !PROXY_ARGS.contains(name)
                && !self.platform.contains_key(*name)
                && !name.starts_with("BUILDKIT_")
                && *name != "SOURCE_DATE_EPOCH"
        };
        self.given.keys().map(String::as_str).filter(free).collect()
    }
}
