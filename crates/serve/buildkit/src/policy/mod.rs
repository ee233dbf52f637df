//! What a build may take from elsewhere: the policies of its order, and after them the client's own, which is asked about each source
//! (`solver/llbsolver/policy.go`). What a client does not clearly allow is refused.

mod ask;
pub mod message;

use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{BoxError, Policies, Source};
use oci::{Platform, Reference};
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::frontend::attributes;

pub use ask::{Denied, ask};

const IMAGE: &str = "docker-image://";
const LOCAL: &str = "local://";
const GIT: &str = "git://";

/// The policies of a build.
pub fn policies(host: &Host, build: &Build) -> Result<Policies, Status> {
    let read = Policies::read(&attributes::policies(&build.order)).map_err(fault::status)?;
    Ok(read.asking(ask(host, build)).answered(host.made_here()))
}

/// Makes of a source what is to be taken in its place, or says why nothing may be.
pub async fn allowed(
    host: &Host,
    build: &Build,
    source: SourceOp,
    platform: Option<&Platform>,
) -> Result<SourceOp, Status> {
    let policies = policies(host, build)?;
    let is_answered = |name: &str| policies.is_answered(name);
    if policies.is_empty() || source.identifier.strip_prefix(IMAGE).is_some_and(is_answered) {
        return Ok(source);
    }
    let platform = platform.cloned();
    let (identifier, attributes) = (normal(&source), source.attrs);
    let mut source = Source { identifier, attributes, platform };
    let asked = tokio::task::spawn_blocking(move || policies.apply(&mut source).map(|_| source));
    let Source { identifier, attributes: attrs, .. } = asked
        .await
        .map_err(|e| Status::internal(format!("evaluate the source policy: {e}")))?
        .map_err(|error| Status::permission_denied(error.to_string()))?;
    Ok(SourceOp { identifier, attrs })
}

/// Whether a directory of the client may be used.
pub async fn local(host: &Host, build: &Build, name: &str) -> Result<(), Status> {
    let policies = policies(host, build)?;
    let name = name.to_owned();
    let asked = tokio::task::spawn_blocking(move || may_read(&policies, &name)).await;
    asked
        .map_err(|e| Status::internal(format!("evaluate the source policy: {e}")))?
        .map_err(|error| Status::permission_denied(error.to_string()))
}

/// The same from a thread that may block.
pub fn may_read(policies: &Policies, name: &str) -> Result<(), BoxError> {
    let identifier = format!("{LOCAL}{name}");
    let mut source = Source::named(identifier.clone());
    policies.apply(&mut source)?;
    match source.identifier == identifier {
        true => Ok(()),
        false => Err(format!("{identifier} cannot be converted to {}", source.identifier).into()),
    }
}

/// The image that is to be taken for one of this name.
pub async fn image(host: &Host, build: &Build, name: &str, platform: &Platform) -> Result<String, Status> {
    let policies = policies(host, build)?;
    let (name, platform) = (name.to_owned(), platform.clone());
    let asked = tokio::task::spawn_blocking(move || policies.image(&name, &platform)).await;
    asked.map_err(|e| Status::internal(format!("evaluate the source policy: {e}")))?.map_err(fault::status)
}

/// How a source is called, whatever a client calls it.
fn normal(source: &SourceOp) -> String {
    let id = source.identifier.as_str();
    if let Some(Ok(reference)) = id.strip_prefix(IMAGE).map(Reference::parse) {
        return format!("{IMAGE}{reference}");
    }
    let Some(rest) = id.strip_prefix(GIT) else { return id.to_owned() };
    let (place, part) = rest.split_once('#').map_or((rest, None), |(place, part)| (place, Some(part)));
    // Where it is fetched from counts.
    let place = source.attrs.get("git.fullurl").map_or(place, String::as_str);
    let place = place.split('#').next().unwrap_or_default();
    let has_scheme = place.contains("://");
    let place = place.split_once("://").map_or(place, |(_, place)| place);
    let authority = place.split('/').next().unwrap_or_default();
    let user = authority.rfind('@').map_or(0, |at| at + 1);
    let place = &place[user..];
    let place = if has_scheme { place.to_owned() } else { place.replacen(':', "/", 1) };
    let (host, path) = place.split_once('/').unwrap_or((&place, ""));
    let path = oci::path::clean(&format!("/{path}"));
    let path = if path == "/" { String::new() } else { path };
    let part = part.filter(|part| !part.is_empty()).map(|part| format!("#{part}")).unwrap_or_default();
    format!("{GIT}{host}{path}{part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_one_name() {
        let named = |id: &str, url: Option<&str>| {
            let attrs = url.map(|url| ("git.fullurl".to_owned(), url.to_owned())).into_iter().collect();
            normal(&SourceOp { identifier: id.to_owned(), attrs })
        };
        assert_eq!(named("docker-image://busybox", None), "docker-image://docker.io/library/busybox:latest");
        assert_eq!(named("local://context", None), "local://context");
        assert_eq!(named("https://h/a", None), "https://h/a");
        assert_eq!(named("git://h/a.git#main:sub", None), "git://h/a.git#main:sub");
        assert_eq!(
            named("git://good/a.git#main", Some("https://me:x@evil/b.git#y")),
            "git://evil/b.git#main"
        );
        assert_eq!(named("git://h/a", Some("git@h:a/../b")), "git://h/b");
        assert_eq!(named("git://h:1/a.git", Some("git://h:1//a.git")), "git://h:1/a.git");
    }
}
