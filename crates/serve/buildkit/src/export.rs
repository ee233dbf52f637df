//! Handing a result out: what each exporter of a solve asks for, and what its answer says.

use std::collections::HashMap;
use std::sync::Arc;

use api::build::{BuiltImage, FileStatement};
use bollard_buildkit_proto::moby::buildkit::v1::Exporter;
use engine::builds::Descriptor;
use engine::images::{Files, PushOptions, View, Who};
use oci::Reference;
use serde_json::json;
use tonic::Status;

use crate::Host;
use crate::build::{Build, Made};
use crate::fault;
use crate::frontend::exporters::{self, flag};
use crate::session::{Folder, Part, Session};

/// The client's store for a result that is to be a directory.
const EXPORT: &str = "export";

/// What exporters have handed out.
#[derive(Default)]
pub struct Handed {
    /// What the client is told of the image.
    pub answer: HashMap<String, String>,
    /// Manifests and indexes, each once: what one exporter gives may be another document than what the next one does.
    pub results: Vec<Descriptor>,
}

/// Serves all exporters of a build.
pub async fn export(host: &Host, build: &Build, made: &Arc<Made>) -> Result<Handed, Status> {
    let Handed { mut answer, mut results } = Handed::default();
    let exporters = exporters::exporters(&build.order);
    for (number, exporter) in exporters.iter().enumerate() {
        let export = Export { host, build, made, exporter, number };
        match exporter.r#type.as_str() {
            "moby" | "image" => export.image(&mut answer).await?,
            "local" => export.local().await?,
            "tar" => export.tar().await?,
            "oci" | "docker" => export.archive(&mut answer).await?,
            "cacheonly" => {}
            other => {
                return Err(Status::unimplemented(format!(
                    "exporter {other:?} could not be found: use image, local, tar, oci or docker"
                )));
            }
        }
        let given = answer.get(DESCRIPTOR).and_then(|text| descriptor(text));
        let known =
            |given: &Descriptor| results.iter().any(|known: &Descriptor| known.digest == given.digest);
        results.extend(given.filter(|given| !known(given)));
    }
    Ok(Handed { answer, results })
}

/// What tells the client of the image's manifest or index: its descriptor in base64.
const DESCRIPTOR: &str = "containerimage.descriptor";

fn descriptor(text: &str) -> Option<Descriptor> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    serde_json::from_slice(&bytes).ok()
}

struct Export<'a> {
    host: &'a Host,
    build: &'a Build,
    made: &'a Arc<Made>,
    exporter: &'a Exporter,
    /// Which of the client's outputs it is.
    number: usize,
}

impl Export<'_> {
    async fn session(&self) -> Result<Session, Status> {
        self.host.find_session(&self.build.order.session).await
    }

    /// Tells which image it is, and what that is called.
    fn describe(&self, target: &Descriptor, names: &[String], answer: &mut HashMap<String, String>) {
        let details = &self.made.details;
        if !names.is_empty() {
            answer.insert("image.name".to_owned(), names.join(","));
        }
        answer.insert("containerimage.digest".to_owned(), target.digest.to_string());
        if let [only] = details.images.as_slice() {
            answer.insert("containerimage.config.digest".to_owned(), only.id.clone());
            // Docker's plugin then prints the digest for the image's id, which it is in Docker's newer store: clients compare it
            // with the id that they inspect. In a registry an image is found by its digest alone.
            if flag(self.exporter, "prefer-image-digest") && !flag(self.exporter, "push") {
                answer.insert("containerimage.digest".to_owned(), only.id.clone());
            }
        }
        let mut document = json!({
            "mediaType": target.media_type,
            "digest": target.digest.to_string(),
            "size": target.size,
        });
        if !target.annotations.is_empty() {
            document["annotations"] = json!(target.annotations);
        }
        let text = fault::base64(document.to_string().as_bytes());
        answer.insert(DESCRIPTOR.to_owned(), text);
    }

    /// The image stays here but for `store=false`, and goes to its registries if that is asked for.
    async fn image(&self, answer: &mut HashMap<String, String>) -> Result<(), Status> {
        let stays = exporters::keeps(self.exporter);
        if stays {
            self.made.keep().await?;
        }
        let names = self.build.names(self.exporter)?;
        let mut target = self.made.details.target.clone();
        if flag(self.exporter, "push") || flag(self.exporter, "push-by-digest") {
            for name in &names {
                let step = self.build.told.step(&format!("pushing {name}"));
                // Its layers were compressed on the way: a registry knows it by another digest.
                let sent = step.end(self.push(name, stays).await)?;
                target = sent.or(target);
            }
        }
        if let Some(target) = &target {
            self.describe(target, &names, answer);
        }
        Ok(())
    }

    /// Sends it to the registry of a name, which knows it by what comes back.
    async fn push(&self, name: &str, stays: bool) -> Result<Option<Descriptor>, Status> {
        let reference = Reference::parse(name).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let who = match self.build.order.session.as_str() {
            "" => Who::default(),
            _ => self.session().await?.credentials(&reference.domain).await?,
        };
        let tag = reference.tag.clone().unwrap_or_default();
        let target = self.made.details.target.as_ref();
        let options = PushOptions {
            name: reference.familiar_name(),
            tag,
            result: target.map(|target| target.digest.clone()),
            stays,
            by_digest: flag(self.exporter, "push-by-digest"),
            insecure: flag(self.exporter, "registry.insecure"),
            as_is: self.exporter.attrs.get("compression").is_some_and(|word| word == "uncompressed"),
            ..PushOptions::default()
        };
        let engine = self.host.engine();
        let pushed = engine::images::unheard(|progress| engine::images::push(engine, options, who, progress));
        pushed.await.map_err(fault::status)
    }

    /// The images with the directories where their files go.
    fn places(&self) -> Vec<(String, &BuiltImage, String)> {
        let images = &self.made.details.images;
        let split = match self.exporter.attrs.get("platform-split") {
            Some(_) => flag(self.exporter, "platform-split"),
            None => images.len() > 1 || self.made.split,
        };
        let place = |image: &BuiltImage| match split {
            true => image.platform.replace('/', "_"),
            false => String::new(),
        };
        let digest = |image: &BuiltImage| image.manifest.as_ref().map(|m| m.digest.to_string());
        let mut places: Vec<_> =
            images.iter().filter_map(|image| Some((digest(image)?, image, place(image)))).collect();
        places.sort_by(|a, b| a.2.cmp(&b.2));
        places
    }

    /// What is attested of an image, as files.
    fn beside(&self, image: &BuiltImage, directory: &str) -> Vec<(String, Vec<u8>)> {
        let several = self.made.split || self.made.details.images.len() > 1;
        // Where the files of several lie together, each one's have a name of their own.
        let whose = match several && directory.is_empty() {
            true => format!(".{}", image.platform.replace('/', "_")),
            false => String::new(),
        };
        let prefix = self.exporter.attrs.get("attestation-prefix").map_or("", String::as_str);
        let file = |statement: &FileStatement| {
            let (stem, ending) = statement.name.rsplit_once('.').unwrap_or((&statement.name, ""));
            let dot = if ending.is_empty() { "" } else { "." };
            let bytes = serde_json::to_vec_pretty(&statement.statement).ok()?;
            Some((format!("{prefix}{stem}{whose}{dot}{ending}"), bytes))
        };
        image.statements.iter().filter_map(file).collect()
    }

    async fn local(&self) -> Result<(), Status> {
        let step = self.build.told.step("exporting to client directory");
        let work = async {
            let session = self.session().await?;
            let mut folder = Folder::new();
            for (digest, image, directory) in self.places() {
                let view = View::open(self.host.engine(), digest).await.map_err(fault::status)?;
                let beside = self.beside(image, &directory);
                let platform = image.platform.clone();
                let time = self.made.details.source_date_epoch.map(|s| s.saturating_mul(1_000_000_000));
                folder.push(Part { directory, platform, view, beside, time });
            }
            session.send_folder(self.number, folder).await
        };
        step.end(work.await)
    }

    async fn tar(&self) -> Result<(), Status> {
        let step = self.build.told.step("exporting to client tarball");
        let work = async {
            let session = self.session().await?;
            let files = |(image, built, directory): (String, &BuiltImage, String)| {
                let beside = self.beside(built, &directory);
                Files { image, directory, beside }
            };
            let images = self.places().into_iter().map(files).collect();
            let time = self.made.details.source_date_epoch;
            let tar = engine::images::files(self.host.engine(), images, time).await.map_err(fault::status)?;
            session.send_archive(self.number, tar, &HashMap::new()).await
        };
        step.end(work.await)
    }

    /// A layout, or an archive for `docker load`: they are one here.
    async fn archive(&self, answer: &mut HashMap<String, String>) -> Result<(), Status> {
        let kind = self.exporter.r#type.as_str();
        let is_layout = self.exporter.attrs.get("tar").is_some_and(|value| value == "false");
        let details = &self.made.details;
        if kind == "docker" && details.images.len() > 1 {
            return Err(Status::invalid_argument(
                "docker exporter does not currently support exporting manifest lists",
            ));
        }
        let missing = || Status::internal("the build gave no image");
        let target = details.target.as_ref().ok_or_else(missing)?;
        let mut told = HashMap::new();
        let names = self.build.names(self.exporter)?;
        self.describe(target, &full(names.clone()), &mut told);
        let step = self.build.told.step(&format!("exporting to {kind} image format"));
        let work = async {
            let session = self.session().await?;
            let engine = self.host.engine();
            if is_layout {
                let stores = Arc::new(session.stores(&self.build.life, |_| ()));
                let sent = engine::builds::send_to(engine, stores, EXPORT.to_owned(), target, names).await;
                return sent.map_err(fault::status);
            }
            let archive =
                engine::images::save_as(engine, target.digest.clone(), names, target.annotations.clone())
                    .await;
            session.send_archive(self.number, archive.map_err(fault::status)?, &told).await
        };
        let sent = step.end(work.await);
        answer.extend(told);
        sent
    }
}

/// Names with their registries; what is none stays as it is.
fn full(names: Vec<String>) -> Vec<String> {
    let full = |name: String| Reference::parse(&name).map(|reference| reference.to_string()).unwrap_or(name);
    names.into_iter().map(full).collect()
}
