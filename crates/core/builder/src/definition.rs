//! A build's recipe: the Dockerfile and the ignore file that goes with it, from the context or from the request.

use crate::context::{Opened, Opener, ignore_text, parse_ignore};
use crate::error::Error;
use crate::policy;
use crate::progress::Progress;
use crate::request::{Context, DockerfileSource, Env, Request};
use crate::session::{SourceFile, io_error};
use dockerfile::ignore::Ignore;
use std::path::Path;
use std::sync::Mutex;
use sys::root::Root;

/// Reads the Dockerfile; where the context is but one file, it is that one.
pub(crate) fn read_dockerfile(
    root: &Root,
    source: &DockerfileSource,
    only: Option<&str>,
    progress: &Progress<'_>,
) -> Result<SourceFile, Error> {
    let (name, bytes) = match source {
        DockerfileSource::Text { name, bytes, .. } => (name.clone(), bytes.clone()),
        DockerfileSource::InContext(path) => {
            // One that nobody has named may be in lower case.
            let names = match path {
                Some(path) => vec![path.clone()],
                None => vec!["Dockerfile".to_owned(), "dockerfile".to_owned()],
            };
            let mut found = None;
            for name in &names {
                match root.read_file(only.unwrap_or(name), dockerfile::MAX_SIZE as u64) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    other => {
                        let bytes = other.map_err(io_error("read", Path::new(name)))?;
                        found = Some((name.clone(), bytes));
                        break;
                    }
                }
            }
            found.ok_or_else(|| Error::NoDockerfile { name: names[0].clone() })?
        }
    };
    let step = progress.step(&format!("[internal] load build definition from {}", base_name(&name)), "", "");
    let decoded = dockerfile::decode(&bytes);
    let file = SourceFile { name, text: decoded.as_ref().cloned().unwrap_or_default() };
    decoded.map_err(|e| parse_error(&file, e))?;
    step.done();
    Ok(file)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// An error of the parser at its place.
pub(crate) fn parse_error(file: &SourceFile, error: dockerfile::Error) -> Error {
    Error::Dockerfile { message: error.message, place: Box::new(file.place(error.span)), help: error.help }
}

/// What a context says about its build.
pub struct Definition {
    /// What to call the Dockerfile.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The ignore file that counts for it, if there is one.
    pub ignore: Option<String>,
}

/// Reads the Dockerfile of a context and its ignore file, and builds nothing.
pub fn definition(env: &Env, context: Context, request: &Request) -> Result<Definition, Error> {
    let progress = Progress::new(&|_| {});
    let lease = env
        .store
        .lease("read a context")
        .map_err(|e| Error::Store { attempt: "take lease", source: e.into() })?;
    let opener = Opener { env, request, lease: &lease, progress: &progress, materials: Mutex::default() };
    policy::recipe(env, &context, &request.dockerfile)?;
    let Opened { root, only, .. } = opener.main(context)?;
    let file = read_dockerfile(&root, &request.dockerfile, only, &progress)?;
    let ignore = ignore_of(&root, request)?.map(|(_, text)| text);
    Ok(Definition { name: file.name, text: file.text, ignore })
}

/// Reads the ignore file.
pub(crate) fn read_ignore(root: &Root, request: &Request, progress: &Progress<'_>) -> Result<Ignore, Error> {
    let step = progress.step("[internal] load .dockerignore", "", "");
    let ignore = match ignore_of(root, request)? {
        Some((name, text)) => parse_ignore(&name, &text)?,
        None => Ignore::default(),
    };
    step.done();
    Ok(ignore)
}

/// `<Dockerfile>.dockerignore` if there is one, else `.dockerignore`: its name and text.
fn ignore_of(root: &Root, request: &Request) -> Result<Option<(String, String)>, Error> {
    let own = match &request.dockerfile {
        _ if request.common_ignore => None,
        DockerfileSource::Text { ignore: Some(text), .. } => {
            return Ok(Some((".dockerignore".to_string(), text.clone())));
        }
        DockerfileSource::InContext(path) => {
            Some(format!("{}.dockerignore", path.as_deref().unwrap_or("Dockerfile")))
        }
        // It lies in no directory: what the context has beside a namesake belongs to that one.
        DockerfileSource::Text { ignore: None, .. } => None,
    };
    for name in own.into_iter().chain([".dockerignore".to_string()]) {
        if let Some(text) = ignore_text(root, &name)? {
            return Ok(Some((name, text)));
        }
    }
    Ok(None)
}
