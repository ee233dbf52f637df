//! Frontends: what a file names that it wants to be read by (`# syntax=`). Nothing is run for it: every version of Docker's own is
//! served by this crate.

use crate::ast::Directives;
use crate::error::Error;

/// Whether a frontend reads Dockerfiles, as Docker's own does and what is made of it, from whatever registry.
pub fn reads_dockerfiles(frontend: &str) -> bool {
    let name = frontend.split(['@', ' ']).next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.starts_with("dockerfile")
}

/// The error of a file that may be in another language.
pub(crate) fn explained(error: Error, directives: &Directives) -> Error {
    match &directives.syntax {
        Some(syntax) if !reads_dockerfiles(&syntax.text) => error.help(format!(
            "the file asks to be read by the frontend {}; frontends are not run here, and all files are read as Dockerfiles",
            syntax.text
        )),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, parse};

    #[test]
    fn dockers_own_is_known_by_its_name() {
        for own in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile-upstream:master",
            "localhost:5000/docker/dockerfile:1@sha256:0",
            "docker/dockerfile:experimental",
        ] {
            assert!(reads_dockerfiles(own), "{own}");
        }
        for other in ["", "tonistiigi/buildah-ish", "localhost:5000/x", "dockerfile/other:1"] {
            assert!(!reads_dockerfiles(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_dockerfile_is_told_why() {
        let help = |syntax: &str| {
            let text = format!("# syntax={syntax}\napiVersion: v1\n");
            parse(&text, Options::default()).unwrap_err().help
        };
        assert!(help("cmd/mopy").unwrap().contains("asks to be read by the frontend cmd/mopy"));
        assert!(!help("docker/dockerfile:1").is_some_and(|help| help.contains("frontend")));
    }
}
