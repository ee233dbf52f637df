//! What a build may take from elsewhere: the policies of its order, and after them the client's own, which is asked about each source
//! (`solver/llbsolver/policy.go`). What a client does not clearly allow is refused.

mod ask;
pub mod message;

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::Policy;
use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{BoxError, Policies, Source, side_by_side};
use oci::{Platform, Reference};
use tokio::sync::oneshot;
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::frontend::attributes;

pub use ask::{Denied, ask};

const IMAGE: &str = "docker-image://";
const LOCAL: &str = "local://";
const GIT: &str = "git://";
/// Sources that a client is asked about at once, at most.
const AT_ONCE: usize = 16;

/// Asks whether the answer is still wanted.
type Wanted<'w> = dyn Fn() -> bool + Sync + 'w;

/// The policies of a build.
pub async fn policies(host: &Host, build: &Build) -> Result<Policies, Status> {
    let read = build.policies().await?.clone();
    Ok(read.asking(ask(host, build)).answered(host.made_here()))
}

/// Reads the rules of an order.
pub async fn read(given: Option<Policy>) -> Result<Policies, Status> {
    evaluate(move |_| Policies::read(&attributes::policies(given.as_ref())).map_err(fault::status)).await?
}

/// Makes of a source what is to be taken in its place, or says why nothing may be.
pub async fn allowed(
    host: &Host,
    build: &Build,
    source: SourceOp,
    platform: Option<Platform>,
) -> Result<SourceOp, Status> {
    let mut allowed = all_allowed(host, build, vec![(source, platform)]).await?;
    allowed.pop().ok_or_else(|| Status::internal("a source was lost"))
}

/// The same of many, in their order.
pub async fn all_allowed(
    host: &Host,
    build: &Build,
    sources: Vec<(SourceOp, Option<Platform>)>,
) -> Result<Vec<SourceOp>, Status> {
    let policies = policies(host, build).await?;
    if policies.is_empty() {
        return Ok(sources.into_iter().map(|(source, _)| source).collect());
    }
    let one = move |is_wanted: &Wanted<'_>, (source, platform): (SourceOp, Option<Platform>)| {
        if !is_wanted() {
            return Err(Status::cancelled("nobody waits for the answer"));
        }
        if source.identifier.strip_prefix(IMAGE).is_some_and(|name| policies.is_answered(name)) {
            return Ok(source);
        }
        let (identifier, attributes) = (normal(&source), source.attrs);
        let mut source = Source { identifier, attributes, platform };
        policies.apply(&mut source).map_err(|error| Status::permission_denied(error.to_string()))?;
        let Source { identifier, attributes: attrs, .. } = source;
        Ok(SourceOp { identifier, attrs })
    };
    // Who is asked may take its time, or wait for what it is asked about another.
    evaluate(move |is_wanted| side_by_side(AT_ONCE, sources, |source| one(is_wanted, source))).await?
}

/// Has something evaluated on a thread that may block, which can ask whether its answer is still wanted.
async fn evaluate<T: Send + 'static>(
    work: impl FnOnce(&Wanted<'_>) -> T + Send + 'static,
) -> Result<T, Status> {
    let (sender, receiver) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let done = work(&|| !sender.is_closed());
        // Nobody waits where the call has ended.
        let _ = sender.send(done);
    });
    receiver.await.map_err(|e| Status::internal(format!("evaluate the source policy: {e}")))
}

/// Whether a directory of the client may be used.
pub async fn local(host: &Host, build: &Build, name: &str) -> Result<(), Status> {
    let policies = policies(host, build).await?;
    let name = name.to_owned();
    let asked = evaluate(move |_| may_read(&policies, &name)).await?;
    asked.map_err(|error| Status::permission_denied(error.to_string()))
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
    let policies = policies(host, build).await?;
    let (name, platform) = (name.to_owned(), platform.clone());
    evaluate(move |_| policies.image(&name, &platform)).await?.map_err(fault::status)
}

/// How a source is called, whatever a client calls it.
pub fn normal(source: &SourceOp) -> String {
    let id = source.identifier.as_str();
    if let Some(Ok(reference)) = id.strip_prefix(IMAGE).map(Reference::parse) {
        return format!("{IMAGE}{reference}");
    }
    let Some(rest) = id.strip_prefix(GIT) else { return id.to_owned() };
    let (place, part) = rest.split_once('#').map_or((rest, None), |(place, part)| (place, Some(part)));
    // Where it is fetched from counts.
    let place = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{place}"));
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
    use std::sync::Mutex;

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_evaluated() {
        let (begun, waiting) = oneshot::channel();
        let (ended, seen) = std::sync::mpsc::channel();
        let work = evaluate(move |is_wanted| {
            let _ = begun.send(());
            while is_wanted() {
                std::thread::yield_now();
            }
            let _ = ended.send(());
        });
        tokio::select! {
            _ = work => panic!("it ended"),
            _ = waiting => {}
        }
        seen.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn who_waits_for_another_answer_gets_it() {
        let (tell, told) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let answered = side_by_side(AT_ONCE, vec![1, 2, 3], |number| {
            match number {
                1 => {
                    let told = told.lock().unwrap();
                    let heard = told.recv_timeout(std::time::Duration::from_secs(20));
                    heard.map_err(|e| Status::internal(e.to_string()))?;
                }
                _ => _ = tell.send(()),
            }
            Ok::<_, Status>(number * 10)
        });
        assert_eq!(answered.unwrap(), [10, 20, 30]);
        let failed = side_by_side(AT_ONCE, vec![1, 2], |_| Err::<(), _>(Status::permission_denied("no")));
        assert_eq!(failed.unwrap_err().message(), "no");
    }

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
        assert_eq!(named("git://h:1/a.git", None), "git://h:1/a.git", "it is fetched from there");
    }
}
