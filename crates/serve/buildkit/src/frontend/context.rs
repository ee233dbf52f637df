//! Where a build's files come from: the Dockerfile, which is received first where it is a client's, the context and the contexts
//! by name.

use std::collections::HashMap;

use api::build::{BuildOptions, InlineDockerfile};
use bollard_buildkit_proto::pb::{Definition, SourceOp};
use engine::builds::{ContextSource, by_platform, is_remote};
use engine::images::{Spread, View};
use oci::Platform;
use tonic::Status;

use super::attributes::Attributes;
use super::definition;
use super::folders::{self, Folder, Folders, Ignore};
use crate::Host;
use crate::build::Build;
use crate::fault::{self, Recipe};
use crate::llb::{self, LAYOUT};
use crate::policy;
use crate::session::{Session, UPLOAD, Wanted};

const DOCKERFILE: &str = "Dockerfile";
const IGNORE: &str = ".dockerignore";
const CONTEXT: &str = "context";
const IMAGE: &str = "docker-image://";

/// What a solve is about.
pub struct Question<'a> {
    pub host: &'a Host,
    pub build: &'a Build,
    pub attributes: &'a Attributes,
    pub inputs: HashMap<String, Definition>,
}

/// The Dockerfile, when it is not in a context that is fetched, and the text of the ignore file that goes with it.
pub struct Recipes {
    pub recipe: Recipe,
    pub ignore: Option<String>,
}

/// Loads an image of a client's store, `oci-layout://store[:tag]@digest`: the digest of its manifest.
pub async fn layout(
    host: &Host,
    build: &Build,
    source: &SourceOp,
    platform: &Platform,
) -> Result<String, Status> {
    let address = source.identifier.as_str();
    let wrong = |what: &str| Status::invalid_argument(format!("source {address}: {what}"));
    let rest = address.strip_prefix(LAYOUT).unwrap_or(address);
    let (name, digest) = rest.split_once('@').ok_or_else(|| wrong("it has no digest"))?;
    let name = name.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
    let attribute = |key: &str| source.attrs.get(key).filter(|text| !text.is_empty());
    let store = format!("oci:{}", attribute("oci.store").map_or(name, String::as_str));
    let session = attribute("oci.session").unwrap_or(&build.order.session);
    let digest = digest.parse().map_err(|_| wrong("its digest is none"))?;
    match policy::allowed(host, build, source.clone(), Some(platform.clone())).await?.identifier {
        same if same == source.identifier => {}
        other => return Err(wrong(&format!("it cannot be converted to {other}"))),
    }
    let stores = std::sync::Arc::new(host.find_session(session).await?.stores(&build.life, |_| ()));
    let loaded = engine::builds::load_from(host.engine(), stores, store, digest, platform).await;
    let manifest = loaded.map_err(fault::status)?.to_string();
    build.loaded(manifest.clone());
    Ok(manifest)
}

/// Where the main context is.
enum Main {
    Local(String),
    Remote(String),
    Upload(String),
    /// The files of an image, by its name or manifest.
    Image(String),
}

/// Where files are that are read before the context is there.
enum Shelf {
    Local(String),
    Image(String),
}

impl Question<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The session that serves a directory of this name.
    async fn session(&self, name: &str) -> Result<Session, Status> {
        let id = self.text(&format!("local-sessionid:{name}")).unwrap_or(&self.build.order.session);
        self.host.find_session(id).await
    }

    /// Makes what clients name as graphs: images stand for them from then on.
    pub async fn settle(&mut self) -> Result<(), Status> {
        let is_context = |definition: &Definition| self.inputs.get(CONTEXT) == Some(definition);
        let mut settled = Vec::new();
        for (name, definition) in &self.inputs {
            let is_file = name == self.dockerfile_key();
            let is_there = match definition::source(definition)? {
                // A Dockerfile is read from the context, or before it.
                Some(address) if is_file && is_remote(&address) => is_context(definition),
                Some(address) => !(is_file || name == CONTEXT) || !address.starts_with(IMAGE),
                None => false,
            };
            if is_there {
                continue;
            }
            let made = llb::solve(self.host, self.build, definition, self.attributes, true).await?;
            let manifest = made.details.images.first().and_then(|image| image.manifest.as_ref());
            let missing = || Status::internal("the build gave no file system");
            let image = definition::of_image(&manifest.ok_or_else(missing)?.digest);
            // It stays as long as the build.
            self.build.put(made.part())?;
            settled.push((name.clone(), image));
        }
        self.inputs.extend(settled);
        Ok(())
    }

    fn dockerfile_key(&self) -> &str {
        self.text("dockerfilekey").unwrap_or("dockerfile")
    }

    /// What an input is.
    fn input(&self, name: &str) -> Result<Option<String>, Status> {
        let Some(given) = self.inputs.get(name) else { return Ok(None) };
        definition::source(given)?.map(Some).ok_or_else(|| Status::internal("a graph is left"))
    }

    fn main(&self) -> Result<Main, Status> {
        let given = match self.input(CONTEXT)? {
            Some(address) => Some(address),
            None => self.text(CONTEXT).map(str::to_owned),
        };
        let local = || self.text("contextkey").unwrap_or(CONTEXT).to_owned();
        Ok(match given {
            None => Main::Local(local()),
            Some(text) if text.starts_with(UPLOAD) => Main::Upload(text),
            Some(text) if is_remote(&text) => Main::Remote(text),
            Some(text) if text.starts_with(IMAGE) => Main::Image(text[IMAGE.len()..].to_owned()),
            Some(text) => match text.strip_prefix("local:") {
                Some(name) => Main::Local(name.to_owned()),
                None => Main::Local(text),
            },
        })
    }

    /// The path of the Dockerfile.
    pub fn file(&self) -> String {
        self.text("filename").unwrap_or(DOCKERFILE).to_owned()
    }

    /// The Dockerfile and its ignore file, if a client holds them.
    pub async fn recipes(&self) -> Result<Option<Recipes>, Status> {
        let main = self.main()?;
        let key = self.dockerfile_key();
        let shelf = match (self.input(key)?, self.text("dockerfilekey"), &main) {
            (Some(input), _, _) => match (input.strip_prefix(IMAGE), input.strip_prefix("local:")) {
                (Some(image), _) => Shelf::Image(image.to_owned()),
                (None, Some(local)) => Shelf::Local(local.to_owned()),
                // It is the context.
                (None, None) => return Ok(None),
            },
            (None, Some(_), _) | (None, None, Main::Local(_) | Main::Image(_)) => {
                Shelf::Local(key.to_owned())
            }
            (None, None, Main::Remote(_) | Main::Upload(_)) => return Ok(None),
        };
        let file = self.file();
        let own = format!("{file}{IGNORE}");
        let other = match file.strip_suffix(DOCKERFILE) {
            Some(folder) => format!("{folder}dockerfile"),
            None => file.clone(),
        };
        let (most, most_ignored) = (dockerfile::MAX_SIZE, dockerfile::ignore::MAX_SIZE);
        let wanted = [(file.as_str(), most), (&other, most), (&own, most_ignored)];
        let [first, second, ignore] = self.read(&shelf, wanted).await?;
        let bytes = first.or(second);
        let missing = || {
            Status::not_found(format!("failed to read dockerfile: open {file}: no such file or directory"))
        };
        let text = dockerfile::decode(&bytes.ok_or_else(missing)?)
            .map_err(|e| Status::invalid_argument(format!("{file}: {}", e.message)))?;
        let ignore = match (ignore, main) {
            (None, Main::Local(context)) => self.ignore_file(&context).await?,
            (own, _) => own,
        };
        let ignore = ignore.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let definition = match &shelf {
            Shelf::Local(name) => {
                Some(definition::of_directory(name, &self.build.order.session, &[&file, &other, &own]))
            }
            Shelf::Image(_) => None,
        };
        Ok(Some(Recipes { recipe: Recipe { name: file, text, definition }, ignore }))
    }

    /// The content of a few files, of those that are there.
    async fn read<const N: usize>(
        &self,
        shelf: &Shelf,
        wanted: [(&str, usize); N],
    ) -> Result<[Option<Vec<u8>>; N], Status> {
        let name = match shelf {
            Shelf::Local(name) => name.clone(),
            Shelf::Image(image) => {
                let view = View::open(self.host.engine(), image.clone()).await.map_err(fault::status)?;
                let wanted = wanted.map(|(name, limit)| (name.to_owned(), limit as u64));
                let read = move || wanted.map(|(name, limit)| view.find(&name, limit));
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.map_err(|e| Status::internal(format!("read files: {e}")))?;
                let mut found = [const { None }; N];
                for (place, read) in found.iter_mut().zip(read) {
                    *place = read.map_err(fault::status)?;
                }
                return Ok(found);
            }
        };
        let follow = wanted.map(|(name, _)| name.to_owned()).to_vec();
        policy::local(self.host, self.build, &name).await?;
        let session = self.session(&name).await?;
        let few = Wanted { name, follow, ..Wanted::default() };
        let files = folders::few(self.host.engine(), &session, few).await?;
        let mut found = [const { None }; N];
        for (place, (name, limit)) in found.iter_mut().zip(wanted) {
            *place = files.read(name, limit as u64).map_err(fault::status)?;
        }
        Ok(found)
    }

    async fn ignore_file(&self, context: &str) -> Result<Option<Vec<u8>>, Status> {
        folders::ignore_file(self.host.engine(), &self.session(context).await?, context).await
    }

    /// The main context.
    pub async fn context(
        &self,
        recipes: Option<&Recipes>,
        options: &mut BuildOptions,
        folders: &mut Folders,
    ) -> Result<ContextSource, Status> {
        match recipes {
            Some(Recipes { recipe, ignore }) => {
                let (name, text) = (recipe.name.clone(), recipe.text.clone());
                // None for a client's context means that there is none; a context that is fetched has its own.
                let local = matches!(self.main()?, Main::Local(_)).then(String::new);
                options.extras.dockerfile =
                    Some(InlineDockerfile { name, text, ignore: ignore.clone().or(local) });
            }
            None => options.dockerfile = self.file(),
        }
        let main = self.main()?;
        if !matches!(main, Main::Local(_)) {
            options.extras.context_subdir = self.text("contextsubdir").unwrap_or_default().to_owned();
        }
        match main {
            Main::Remote(address) => {
                options.remote.clone_from(&address);
                Ok(ContextSource::Remote(address))
            }
            Main::Upload(address) => {
                let session = self.host.find_session(&self.build.order.session).await?;
                Ok(ContextSource::Tar(session.upload(&address).await?))
            }
            Main::Image(image) => {
                let files = Spread::new(self.host.engine(), image).await.map_err(fault::status)?;
                Ok(ContextSource::Dir(folders.keep(files)))
            }
            Main::Local(name) => {
                let ignore = Ignore::Known(recipes.and_then(|recipes| recipes.ignore.clone()));
                let title = "[internal] load build context".to_owned();
                folders.add(None, Folder { title, session: self.session(&name).await?, name, ignore });
                Ok(ContextSource::Client)
            }
        }
    }

    /// The contexts by name.
    pub async fn named(&self, options: &mut BuildOptions, folders: &mut Folders) -> Result<(), Status> {
        let mut all: Vec<(&str, &str)> = self
            .attributes
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("context:")?, value.as_str())))
            .collect();
        all.sort_unstable();
        let platforms = platforms(&options.platform)?;
        for (full, value) in all {
            let Some(name) = for_our_platforms(full, &platforms)? else { continue };
            let value = &spelled(value);
            let value = match value.strip_prefix("input:") {
                Some(key) => {
                    let missing = || Status::invalid_argument(format!("invalid input {key} for {full}"));
                    self.input(key)?.ok_or_else(missing)?
                }
                None => value.to_owned(),
            };
            let value = match value.strip_prefix("local:") {
                Some(local) => {
                    let title = format!("[context {name}] load from client");
                    let (session, ignore) = (self.session(local).await?, Ignore::OfTheFolder);
                    let folder = Folder { title, session, name: local.to_owned(), ignore };
                    folders.add(Some(name.to_owned()), folder);
                    continue;
                }
                None if value.starts_with(IMAGE) || is_remote(&value) => value,
                None if value.starts_with(LAYOUT) => {
                    let source = SourceOp { identifier: value, ..SourceOp::default() };
                    for (name, platform) in by_platform(name, &platforms) {
                        let found = layout(self.host, self.build, &source, &platform).await?;
                        options.extras.contexts.insert(name, format!("{IMAGE}{found}"));
                    }
                    continue;
                }
                None => {
                    return Err(Status::invalid_argument(format!(
                        "unsupported context source {value} for {name}"
                    )));
                }
            };
            options.extras.contexts.insert(name.to_owned(), value);
        }
        Ok(())
    }
}

/// A value as all write it who put slashes behind each scheme, or behind none that needs them.
fn spelled(value: &str) -> String {
    let (scheme, rest) = value.split_once(':').unwrap_or(("", value));
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    match scheme {
        "docker-image" | "oci-layout" => format!("{scheme}://{rest}"),
        "local" | "input" => format!("{scheme}:{rest}"),
        _ => value.to_owned(),
    }
}

/// The platforms of a build; none is this machine's.
fn platforms(text: &str) -> Result<Vec<Platform>, Status> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let platform = |name: &str| name.parse::<Platform>().map(|platform| platform.normalized());
    names.map(|name| platform(name).map_err(|e| Status::invalid_argument(e.to_string()))).collect()
}

/// A context may be for one platform, `name::linux/amd64`. A build for one platform calls its own by the name alone.
fn for_our_platforms<'n>(full: &'n str, platforms: &[Platform]) -> Result<Option<&'n str>, Status> {
    let Some((name, of)) = full.split_once("::") else { return Ok(Some(full)) };
    let of: Platform = of.parse().map_err(|e| Status::invalid_argument(format!("context {full}: {e}")))?;
    let of = of.normalized();
    Ok(match platforms {
        [] => (of == Platform::host().normalized()).then_some(name),
        [only] => (of == *only).then_some(name),
        several => several.contains(&of).then_some(full),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_behind_a_scheme_may_be_left_out() {
        for (value, want) in [
            ("docker-image:busybox", "docker-image://busybox"),
            ("docker-image://busybox:1", "docker-image://busybox:1"),
            ("oci-layout:store@sha256:1", "oci-layout://store@sha256:1"),
            ("local://context", "local:context"),
            ("input:a::linux/amd64", "input:a::linux/amd64"),
            ("https://h/x.tar", "https://h/x.tar"),
            ("git@h:x", "git@h:x"),
        ] {
            assert_eq!(spelled(value), want);
        }
    }

    #[test]
    fn contexts_of_platforms() {
        let ours = |full: &'static str, text| for_our_platforms(full, &platforms(text).unwrap()).unwrap();
        assert_eq!(ours("a", "linux/amd64,linux/arm64"), Some("a"));
        assert_eq!(ours("a::linux/arm64", "linux/arm64/v8"), Some("a"));
        assert_eq!(ours("a::linux/arm64", "linux/amd64,linux/arm64"), Some("a::linux/arm64"));
        assert_eq!(ours("a::linux/s390x", "linux/amd64,linux/arm64"), None);
        assert_eq!(ours("a::linux/s390x", "linux/amd64"), None);
        assert!(for_our_platforms("a::b/c/d/e", &[]).is_err());
    }
}
