//! Images.

use api::JsonMessage;
use api::auth::AuthConfig;
use api::common::REGISTRY_CONFIG_HEADER;
use api::containers::{CommitOptions, Config};
use api::images::{
    ContentsOptions, Distribution, ImportOptions, ListOptions, NewArtifact, NewIndex, NewSignature,
    PullOptions, RemoteImage, RemoveOptions, Summary,
};
use engine::{images, system};
use http::StatusCode;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;
use crate::progress;

/// Messages that may wait for a slow client before the work waits too.
const BACKLOG: usize = 64;

pub async fn list(call: Call) -> Result {
    let options = ListOptions {
        all: call.query.flag("all"),
        digests: call.query.flag("digests"),
        shared_size: call.query.flag("shared-size"),
        manifests: call.query.flag("manifests"),
        filters: call.query.filters()?,
    };
    let mut images = images::list(&call.engine, options).await?;
    for image in &mut images {
        if !call.version.at_least(44) {
            image.virtual_size = image.size;
        }
        if !call.version.at_least(43) {
            name_the_nameless(image);
        }
    }
    answer::ok(&images)
}

/// Before API 1.43 an image without a name had this one.
fn name_the_nameless(image: &mut Summary) {
    if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
        image.repo_tags = vec!["<none>:<none>".to_owned()];
        image.repo_digests = vec!["<none>@<none>".to_owned()];
    }
}

pub async fn inspect(call: Call) -> Result {
    let mut image = images::inspect(&call.engine, &call.name, call.query.text("platform")).await?;
    if !call.version.at_least(44) {
        image.virtual_size = image.size;
    }
    if !call.version.at_least(45) {
        (image.container, image.container_config) = (Some(String::new()), Some(Config::default()));
    }
    answer::ok(&image)
}

pub async fn history(call: Call) -> Result {
    let platform = call.query.text("platform");
    answer::ok(&images::history(&call.engine, &call.name, platform).await?)
}

pub async fn tag(call: Call) -> Result {
    images::tag(&call.engine, &call.name, call.query.text("repo"), call.query.text("tag")).await?;
    Ok(answer::empty(StatusCode::CREATED))
}

pub async fn remove(call: Call) -> Result {
    if call.name.trim().is_empty() {
        return Err(Failure::bad_request("image name cannot be blank"));
    }
    let options = RemoveOptions {
        force: call.query.flag("force"),
        no_prune: call.query.flag("noprune"),
        platforms: call.query.all("platforms"),
    };
    answer::ok(&images::remove(&call.engine, &call.name, options).await?)
}

pub async fn prune(call: Call) -> Result {
    answer::ok(&images::prune(&call.engine, call.query.filters()?).await?)
}

/// `fromImage` pulls, `fromSrc` imports.
pub async fn create(call: Call) -> Result {
    match (call.query.text("fromImage"), call.query.text("fromSrc")) {
        ("", "") => Err(Failure::bad_request("one of fromImage and fromSrc is needed")),
        ("", _) => import(call).await,
        _ => pull(call).await,
    }
}

async fn pull(call: Call) -> Result {
    let options = PullOptions {
        from_image: call.query.text("fromImage").trim().to_owned(),
        tag: call.query.text("tag").to_owned(),
        platform: call.query.text("platform").to_owned(),
        attached: call.query.flag("dhow-attached"),
    };
    let credentials = call.registry_auth();
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let engine = call.engine.clone();
    let work = async move {
        images::pull(&engine, options, credentials, sender).await?;
        system::keep_within_limits(&engine).await;
        Ok(Vec::new())
    };
    progress::answer(receiver, |message| vec![message], work, failed).await
}

async fn import(call: Call) -> Result {
    let query = &call.query;
    let options = ImportOptions {
        from_src: query.text("fromSrc").to_owned(),
        repo: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        message: query.text("message").to_owned(),
        changes: query.all("changes"),
        platform: query.text("platform").to_owned(),
    };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let engine = call.engine.clone();
    let body = call.take_body();
    let work = async move {
        images::import(&engine, options, body, sender).await?;
        system::keep_within_limits(&engine).await;
        Ok(Vec::new())
    };
    progress::answer(receiver, |message| vec![message], work, failed).await
}

/// A failure is a message like any other, also the first: clients look for it there, as Docker's engine answers.
pub async fn load(call: Call) -> Result {
    let (quiet, platforms) = (call.query.flag_or("quiet", true), call.query.all("platform"));
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let engine = call.engine.clone();
    let body = call.take_body();
    let work = async move {
        Ok(match images::load(&engine, body, quiet, platforms, sender).await {
            Ok(_) => {
                system::keep_within_limits(&engine).await;
                Vec::new()
            }
            Err(error) => vec![failed(error)],
        })
    };
    progress::answer(receiver, |message| vec![message], work, failed).await
}

pub async fn push(call: Call) -> Result {
    let credentials = call.registry_auth();
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let result = Some(call.query.text("dhow-image")).filter(|text| !text.is_empty());
    let result =
        result.map(|text| text.parse().map_err(|_| Failure::bad_request(format!("{text:?} is no digest"))));
    let options = images::PushOptions {
        name: call.name.clone(),
        result: result.transpose()?,
        tag: call.query.text("tag").to_owned(),
        stays: call.query.flag("dhow-stays"),
        by_digest: call.query.flag("dhow-by-digest"),
        insecure: call.query.flag("dhow-insecure"),
        platform: call.query.text("platform").to_owned(),
        compression: call.query.text("dhow-compression").to_owned(),
        level: call.query.number("dhow-compression-level")?,
        as_is: call.query.flag("dhow-as-is"),
        ..images::PushOptions::default()
    };
    let engine = call.engine.clone();
    let work = async move { images::push(&engine, options, credentials, sender).await.map(|_| Vec::new()) };
    progress::answer(receiver, |message| vec![message], work, failed).await
}

fn failed(error: engine::Error) -> JsonMessage {
    JsonMessage::error(0, error.message)
}

pub async fn save(call: Call) -> Result {
    let names = if call.name.is_empty() { call.query.all("names") } else { vec![call.name.clone()] };
    if names.is_empty() {
        return Err(Failure::bad_request("no image to save"));
    }
    let tar = match (call.query.all("dhow-name"), names.as_slice()) {
        (given, [name]) if !given.is_empty() || call.query.flag("dhow-nameless") => {
            let digest = name.parse().map_err(|_| Failure::bad_request(format!("{name:?} is no digest")))?;
            let notes = call.query.all("dhow-annotation");
            let pair =
                |note: &String| note.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            let notes = notes.iter().filter_map(pair).collect();
            images::save_as(&call.engine, digest, given, notes).await?
        }
        _ => images::save(&call.engine, names, call.query.all("platform")).await?,
    };
    Ok(answer::bytes("application/x-tar", tar))
}

/// The files of images: `image=` and `directory=` as many times as each other; `time=` is that of them all, in seconds since 1970.
pub async fn files(call: Call) -> Result {
    let (images, directories) = (call.query.all("image"), call.query.all("directory"));
    if images.is_empty() || images.len() != directories.len() {
        return Err(Failure::bad_request("each image needs a directory"));
    }
    let time = match call.query.text("time") {
        "" => None,
        text => Some(text.parse().map_err(|_| Failure::bad_request(format!("{text:?} is no time")))?),
    };
    let files = images.into_iter().zip(directories);
    let files = files.map(|(image, directory)| images::Files { image, directory, ..Default::default() });
    let tar = images::files(&call.engine, files.collect(), time).await?;
    Ok(answer::bytes("application/x-tar", tar))
}

pub async fn commit(mut call: Call) -> Result {
    let config: Option<Config> = call.json_or_none::<Option<Config>>().await?.flatten();
    let query = &call.query;
    let options = CommitOptions {
        container: query.text("container").to_owned(),
        repo: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        comment: query.text("comment").to_owned(),
        author: query.text("author").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes"),
        config,
    };
    answer::json(StatusCode::CREATED, &images::commit(&call.engine, options).await?)
}

pub async fn search(call: Call) -> Result {
    let query = &call.query;
    let limit = match query.text("limit") {
        "" => None,
        text => Some(text.parse().map_err(|_| Failure::bad_request(format!("invalid limit: {text}")))?),
    };
    let (filters, credentials) = (query.filters()?, call.registry_auth());
    let found = images::search(&call.engine, query.text("term"), limit, &filters, credentials).await?;
    answer::ok(&found)
}

/// Who the client is to registries: to the one that is asked, or to each by its name.
fn credentials(call: &Call, name: &str) -> Result<BTreeMap<String, AuthConfig>> {
    let bad = |e: api::auth::Error| Failure::bad_request(format!("X-Registry-Config: {e}"));
    let mut all = api::auth::decode_all(call.header(REGISTRY_CONFIG_HEADER)).map_err(bad)?;
    let own = call.registry_auth();
    if own != AuthConfig::default() {
        all.insert(engine::images::registry_of(name)?, own);
    }
    Ok(all)
}

pub async fn distribution(call: Call) -> Result {
    let remote = images::look(&call.engine, &call.name, &credentials(&call, &call.name)?, false).await?;
    answer::ok(&Distribution { descriptor: Some(remote.descriptor), platforms: remote.platforms })
}

/// The document behind [`distribution`].
pub async fn remote(call: Call) -> Result {
    let who = credentials(&call, &call.name)?;
    let insecure = call.query.flag("dhow-insecure");
    let remote = images::look(&call.engine, &call.name, &who, insecure).await?;
    let (images, attestations) = match call.query.flag("dhow-details") {
        true => images::details(&call.engine, &remote, &who, insecure).await?,
        false => Default::default(),
    };
    let raw = String::from_utf8_lossy(&remote.bytes).into_owned();
    let (name, descriptor) = (remote.name.to_string(), Some(remote.descriptor));
    answer::ok(&RemoteImage { name, descriptor, raw, images, attestations, copied: vec![] })
}

/// What a build would be based on.
pub async fn base(call: Call) -> Result {
    let who = credentials(&call, &call.name)?;
    let found = images::base_document(&call.engine, &call.name, call.query.text("platform"), &who).await?;
    answer::ok(&found)
}

pub async fn create_index(mut call: Call) -> Result {
    let wanted: NewIndex = call.json().await?;
    let new = images::NewIndex {
        targets: wanted.targets,
        sources: wanted.sources,
        append: wanted.append,
        annotations: wanted.annotations,
        member_annotations: wanted.member_annotations,
        platforms: wanted.platforms,
        plain: wanted.plain,
        without_attached: wanted.without_attached,
        dry_run: wanted.dry_run,
        document: wanted.document,
        insecure: wanted.insecure,
    };
    let who = credentials(&call, new.targets.first().map_or("", String::as_str))?;
    let made = images::create_index(&call.engine, &new, &who).await?;
    let raw = String::from_utf8_lossy(&made.bytes).into_owned();
    let (name, descriptor) = (new.targets.join(","), Some(made.descriptor));
    answer::ok(&RemoteImage { name, descriptor, raw, copied: made.copied, ..RemoteImage::default() })
}

fn contents_options(call: &Call) -> ContentsOptions {
    let platform = call.query.text("platform").to_owned();
    ContentsOptions { platform, remote: call.query.flag("remote"), files: call.query.flag("files") }
}

pub async fn tree(call: Call) -> Result {
    let who = credentials(&call, &call.name)?;
    answer::ok(&images::tree(&call.engine, &call.name, contents_options(&call), &who).await?)
}

pub async fn difference(call: Call) -> Result {
    let who = credentials(&call, &call.name)?;
    let other = call.query.text("to");
    let names = [call.name.as_str(), other];
    answer::ok(&images::difference(&call.engine, names, contents_options(&call), &who).await?)
}

pub async fn signatures(call: Call) -> Result {
    let (who, insecure) = (credentials(&call, &call.name)?, call.query.flag("insecure"));
    answer::ok(&images::look_for_signatures(&call.engine, &call.name, &who, insecure).await?)
}

pub async fn sign(mut call: Call) -> Result {
    let wanted: NewSignature = call.json().await?;
    let who = credentials(&call, &wanted.name)?;
    let NewSignature { name, payload, signature, insecure } = wanted;
    let new = images::NewSignature { name, payload, signature, insecure };
    answer::ok(&images::sign(&call.engine, &new, &who).await?)
}

pub async fn attach(mut call: Call) -> Result {
    let wanted: NewArtifact = call.json().await?;
    let who = credentials(&call, &wanted.name)?;
    let NewArtifact { name, artifact_type: kind, annotations, files, insecure } = wanted;
    let new = images::NewArtifact { name, kind, annotations, files, insecure };
    answer::ok(&images::attach(&call.engine, &new, &who).await?)
}

pub async fn attached(call: Call) -> Result {
    let (who, insecure) = (credentials(&call, &call.name)?, call.query.flag("insecure"));
    let kind = call.query.text("type");
    answer::ok(&images::attached(&call.engine, &call.name, kind, &who, insecure).await?)
}

pub async fn attached_files(call: Call) -> Result {
    let (who, insecure) = (credentials(&call, &call.name)?, call.query.flag("insecure"));
    answer::ok(&images::attached_files(&call.engine, &call.name, &who, insecure).await?)
}
