//! Looking at the files of a result or of a container.

use std::path::Path;

use api::containers::go_mode;
use bollard_buildkit_proto::fsutil::types::Stat;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ReadDirRequest, ReadDirResponse, ReadFileRequest, ReadFileResponse, StatFileRequest, StatFileResponse,
};
use dockerfile::glob::{Dialect, Glob};
use engine::images::{Item, View};
use tonic::Status;

use crate::build::Build;
use crate::{Host, MESSAGE_MAX, fault};

/// The files of a result, or of the part of it for one platform.
pub async fn view(host: &Host, build: &Build, id: &str) -> Result<View, Status> {
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

pub async fn read(view: View, wanted: ReadFileRequest) -> Result<ReadFileResponse, Status> {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    let range = wanted.range.map(|range| (number(range.offset), number(range.length)));
    let (offset, length) = match range {
        // Without a length it goes to the end.
        Some((offset, 0)) => (offset, None),
        Some((offset, length)) => (offset, Some(length)),
        None => (0, None),
    };
    let limit = (MESSAGE_MAX - 1024) as u64;
    let data = look(move || view.read(Path::new(&wanted.file_path), offset, length, limit)).await?;
    Ok(ReadFileResponse { data })
}

pub async fn list(view: View, wanted: ReadDirRequest) -> Result<ReadDirResponse, Status> {
    let pattern = Some(wanted.include_pattern).filter(|pattern| !pattern.is_empty());
    let glob = pattern.map(|pattern| Glob::new(&pattern, Dialect::Path));
    let wrong = |_| Status::invalid_argument("include pattern: syntax error in pattern");
    let glob = glob.transpose().map_err(wrong)?;
    let items = look(move || view.list(Path::new(&wanted.dir_path))).await?;
    let fits = |path: &str| glob.as_ref().is_none_or(|glob| glob.matches(path));
    let entries = items.iter().filter_map(document).filter(|entry| fits(&entry.path)).collect();
    Ok(ReadDirResponse { entries })
}

pub async fn stat(view: View, wanted: StatFileRequest) -> Result<StatFileResponse, Status> {
    let item = look(move || view.stat(Path::new(&wanted.path))).await?;
    Ok(StatFileResponse { stat: document(&item) })
}

/// An entry by its last name. One that is not UTF-8 can't be said in the types of these calls.
fn document(item: &Item) -> Option<Stat> {
    let name = item.path.file_name().unwrap_or_default().to_str()?;
    Some(Stat {
        path: name.to_owned(),
        mode: go_mode(item.mode),
        uid: item.uid,
        gid: item.gid,
        size: if item.is_regular() { item.size.try_into().unwrap_or(i64::MAX) } else { 0 },
        mod_time: item.modified,
        linkname: item.link.to_string_lossy().into_owned(),
        devmajor: item.device.0.into(),
        devminor: item.device.1.into(),
        ..Stat::default()
    })
}
