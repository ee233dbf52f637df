//! Looking at the files of a result.

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ReadDirRequest, ReadDirResponse, ReadFileRequest, ReadFileResponse, StatFileRequest, StatFileResponse,
};
use dockerfile::glob::{Dialect, Glob};
use engine::images::View;
use tonic::Status;

use crate::build::Build;
use crate::session::stat as document;
use crate::{Host, MESSAGE_MAX, fault};

/// The files of a result, or of the part of it for one platform.
async fn view(host: &Host, build: &Build, id: &str) -> Result<View, Status> {
    let made = build.result(id)?;
    let manifest = made.image(id).and_then(|image| image.manifest.as_ref());
    let digest = manifest.ok_or_else(|| Status::not_found(format!("no such ref: {id}")))?.digest.to_string();
    View::open(host.engine(), digest).await.map_err(fault::status)
}

async fn look<T: Send + 'static>(
    work: impl FnOnce() -> engine::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Status::internal(format!("read files: {e}")))?.map_err(fault::status)
}

pub async fn read(host: &Host, build: &Build, wanted: ReadFileRequest) -> Result<ReadFileResponse, Status> {
    let view = view(host, build, &wanted.r#ref).await?;
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let range = wanted.range.map(|range| (number(range.offset), number(range.length)));
    let (offset, length) = match range {
        // Without a length it goes to the end.
        Some((offset, 0)) => (offset, None),
        Some((offset, length)) => (offset, Some(length)),
        None => (0, None),
    };
    let limit = (MESSAGE_MAX - 1024) as u64;
    let data = look(move || view.read(&wanted.file_path, offset, length, limit)).await?;
    Ok(ReadFileResponse { data })
}

pub async fn list(host: &Host, build: &Build, wanted: ReadDirRequest) -> Result<ReadDirResponse, Status> {
    let view = view(host, build, &wanted.r#ref).await?;
    let pattern = Some(wanted.include_pattern).filter(|pattern| !pattern.is_empty());
    let glob = pattern.map(|pattern| Glob::new(&pattern, Dialect::Path));
    let wrong = |_| Status::invalid_argument("include pattern: syntax error in pattern");
    let glob = glob.transpose().map_err(wrong)?;
    let items = look(move || view.list(&wanted.dir_path)).await?;
    let fits = |path: &str| glob.as_ref().is_none_or(|glob| glob.matches(path));
    let entries = items.iter().filter(|item| fits(&item.path)).map(|item| document("", item)).collect();
    Ok(ReadDirResponse { entries })
}

pub async fn stat(host: &Host, build: &Build, wanted: StatFileRequest) -> Result<StatFileResponse, Status> {
    let view = view(host, build, &wanted.r#ref).await?;
    let item = look(move || view.stat(&wanted.path)).await?;
    let name = item.path.rsplit('/').next().unwrap_or_default().to_owned();
    let item = engine::images::Item { path: name, ..item };
    Ok(StatFileResponse { stat: Some(document("", &item)) })
}
