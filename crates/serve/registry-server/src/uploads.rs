//! Uploads of blobs: end-4, end-5, end-6, end-11, end-13, end-14.

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use oci::Digest;
use uuid::Uuid;

use crate::answer::{self, Answer, Result, with};
use crate::auth::Action;
use crate::blobs::CONTENT_DIGEST;
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::events::{Deed, Object};
use crate::name::Name;
use crate::quota::Reservation;
use crate::range;
use crate::registry::Registry;
use crate::route;
use crate::spool::{Spool, Upload, Whose};
use crate::storage::{Algorithm, Key};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// Requests for a new upload, and for one that goes on. Who is refused is heard out, so that they hear why.
pub(crate) async fn serve(mut call: Call, name: Name, id: Option<Uuid>) -> Result {
    let done = match id {
        Some(id) => go_on(&mut call, name, id).await,
        None => begin(&mut call, name).await,
    };
    if done.is_err() {
        call.drain().await;
    }
    done
}

/// Begins an upload, does a whole one, or takes the blob of another repository.
async fn begin(call: &mut Call, name: Name) -> Result {
    if *call.method() != Method::POST {
        return Err(call.unsupported("POST"));
    }
    if let Some(digest) = mounted(call, &name).await? {
        return Ok(created(&name, &digest));
    }
    let whole = call.query.get("digest").map(route::digest).transpose()?;
    let algorithm = match (&whole, call.query.get("digest-algorithm")) {
        (Some(digest), _) => Algorithm::of(digest),
        (None, None | Some("sha256")) => Algorithm::Sha256,
        (None, Some("sha512")) => Algorithm::Sha512,
        (None, Some(_)) => return Err(Failure::says(Code::DigestInvalid, "unsupported digest algorithm")),
    };
    let registry = call.registry.clone();
    let whose = Whose { name: &name, user: call.user(), nameless: whole.is_some() };
    let mut upload = registry.spool.start(whose, algorithm).await?;
    let Some(digest) = whole else {
        upload.rest();
        return Ok(progress(StatusCode::ACCEPTED, &name, &upload));
    };
    let done = match receive(call, &name, &mut upload, None).await {
        Ok(()) => registry.commit(call, &name, &mut upload, &digest).await,
        Err(failure) => Err(failure),
    };
    if done.is_err() {
        // The client has no name for it.
        registry.spool.end(&mut upload).await?;
    }
    done.map(|()| created(&name, &digest))
}

/// Goes on with an upload.
async fn go_on(call: &mut Call, name: Name, id: Uuid) -> Result {
    let registry = call.registry.clone();
    if ![Method::GET, Method::PATCH, Method::PUT, Method::DELETE].contains(call.method()) {
        return Err(call.unsupported("GET, PATCH, PUT, DELETE"));
    }
    let mut upload = registry.spool.take(id, &name, call.user())?;
    let done = work_on(call, &name, &mut upload).await;
    if done.as_ref().is_err_and(Failure::is_full) {
        // Half a blob would keep the disk full for everybody, itself included.
        registry.spool.end(&mut upload).await?;
    }
    upload.rest();
    done
}

async fn work_on(call: &mut Call, name: &Name, upload: &mut Upload) -> Result {
    let registry = call.registry.clone();
    match *call.method() {
        Method::GET => Ok(progress(StatusCode::NO_CONTENT, name, upload)),
        Method::DELETE => {
            registry.spool.end(upload).await?;
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Method::PATCH => {
            let expected = in_order(call, name, upload)?;
            receive(call, name, upload, expected).await?;
            Ok(progress(StatusCode::ACCEPTED, name, upload))
        }
        _ => {
            let digest = call.query.get("digest");
            let digest = digest.ok_or_else(|| Failure::says(Code::DigestInvalid, "digest is missing"))?;
            let digest = route::digest(digest)?;
            let expected = in_order(call, name, upload)?;
            receive(call, name, upload, expected).await?;
            registry.commit(call, name, upload, &digest).await?;
            Ok(created(name, &digest))
        }
    }
}

/// The blob that another repository had, if it was asked for, is there and may be seen.
async fn mounted(call: &Call, name: &Name) -> Result<Option<Digest>> {
    let (Some(digest), Some(from)) = (call.query.get("mount"), call.query.get("from")) else {
        return Ok(None);
    };
    let digest = route::digest(digest)?;
    // What can't be taken is uploaded.
    let Ok(from) = from.parse::<Name>() else { return Ok(None) };
    if !call.registry.auth.may(&call.caller, Action::Pull, &from) {
        return Ok(None);
    }
    let _hold = call.registry.storage.hold().await?;
    let Some(size) = call.registry.rely_on_blob(&from, &digest).await? else { return Ok(None) };
    let mut held = call.registry.quota.reservation(name);
    call.registry.reserve(&mut held, size).await?;
    call.registry.link(name, &digest, size, false).await?;
    let object = Object::blob(name, &digest, Some(size)).from(&from);
    call.registry.events.tell(call, Deed::Mount, &object);
    Ok(Some(digest))
}

/// A chunk that says where it belongs must belong to the end of what is there. Gives the bytes that it has.
fn in_order(call: &Call, name: &Name, upload: &Upload) -> Result<Option<u64>> {
    let Some(text) = call.header(header::CONTENT_RANGE) else { return Ok(None) };
    let refused = |failure: Failure| {
        failure
            .header(header::LOCATION, &address(name, upload.id))
            .header(header::RANGE, &so_far(upload))
            .header(UPLOAD_ID, &upload.id.to_string())
    };
    let unreadable = || Failure::new(Code::RangeInvalid).status(StatusCode::BAD_REQUEST);
    let range = range::chunk(text).ok_or_else(|| refused(unreadable()))?;
    if range.start != upload.length {
        let failure = Failure::says(Code::BlobUploadInvalid, "chunk is out of order");
        return Err(refused(failure.status(StatusCode::RANGE_NOT_SATISFIABLE)));
    }
    let length = range.end - range.start;
    match call.length() {
        Some(found) if found != length => Err(refused(Failure::new(Code::SizeInvalid))),
        _ => Ok(Some(length)),
    }
}

/// Bytes that are written at once.
struct Batch {
    bytes: Vec<Bytes>,
    length: u64,
    /// How the body has ended, if it has.
    end: Option<Result<()>>,
}

/// What comes of a body, up to so much.
async fn gather(call: &mut Call, most: usize) -> Batch {
    let mut batch = Batch { bytes: Vec::new(), length: 0, end: None };
    while batch.end.is_none() && batch.length < most as u64 {
        match call.portion().await {
            Ok(Some(bytes)) => {
                batch.length += bytes.len() as u64;
                batch.bytes.push(bytes);
            }
            Ok(None) => batch.end = Some(Ok(())),
            Err(failure) => batch.end = Some(Err(failure)),
        }
    }
    batch
}

/// Adds what comes to the upload; while it is written the next bytes come.
async fn receive(call: &mut Call, name: &Name, upload: &mut Upload, expected: Option<u64>) -> Result<()> {
    let registry = call.registry.clone();
    let before = upload.length;
    let done = take_in(call, name, upload).await;
    // What has come counts until it goes, however its connection ended.
    let length = upload.length;
    room(&registry, name, upload).settle(length);
    done?;
    match expected {
        Some(expected) if upload.length - before != expected => Err(Failure::new(Code::SizeInvalid)),
        _ => Ok(()),
    }
}

/// What an upload may take up of its repository's room.
fn room<'u>(registry: &Registry, name: &Name, upload: &'u mut Upload) -> &'u mut Reservation {
    upload.held.get_or_insert_with(|| registry.quota.reservation(name))
}

async fn take_in(call: &mut Call, name: &Name, upload: &mut Upload) -> Result<()> {
    let registry = call.registry.clone();
    // What is said to come is refused before it comes.
    let said = upload.length.saturating_add(call.length().unwrap_or(0));
    registry.reserve(room(&registry, name, upload), said).await?;
    let seat = registry.intake.join();
    let mut batch = gather(call, seat.portion()).await;
    loop {
        let Batch { bytes, length, end } = batch;
        let so_far = upload.length + length;
        registry.reserve(room(&registry, name, upload), so_far).await?;
        let writing = registry.spool.write(upload, bytes);
        if let Some(end) = end {
            writing.await?;
            return end;
        }
        let (written, next) = tokio::join!(writing, gather(call, seat.portion()));
        written?;
        batch = next;
    }
}

impl Registry {
    /// What has come becomes a blob, if it is the one that it is said to be.
    async fn commit(&self, call: &Call, name: &Name, upload: &mut Upload, digest: &Digest) -> Result<()> {
        let found = self.spool.finish(upload, Algorithm::of(digest)).await?;
        if found != *digest {
            self.spool.end(upload).await?;
            let detail = serde_json::json!({ "expected": digest, "found": found });
            return Err(Failure::new(Code::DigestInvalid).about(detail));
        }
        self.place(name, upload, digest).await?;
        self.events.tell(call, Deed::Push, &Object::blob(name, digest, Some(upload.length)));
        self.spool.end(upload).await
    }

    /// Makes what was spooled, and is verified, a blob of the repository.
    pub(crate) async fn place(&self, name: &Name, upload: &Upload, digest: &Digest) -> Result<()> {
        let (key, spooled) = (Key::blob(digest), Spool::path(upload));
        let far = self.storage.is_far() && self.storage.stat(&key).await?.is_none();
        if far {
            self.storage.adopt(&spooled, &key).await?;
        }
        let _hold = self.storage.hold().await?;
        let lacking = self.storage.stat(&key).await?.is_none();
        if lacking {
            self.storage.adopt(&spooled, &key).await?;
        }
        self.link(name, digest, upload.length, lacking || far).await
    }
}

fn address(name: &Name, id: Uuid) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// `0-` and the last byte, of which there is one in the specification's eyes even when there is none.
fn so_far(upload: &Upload) -> String {
    format!("0-{}", upload.length.saturating_sub(1))
}

fn progress(status: StatusCode, name: &Name, upload: &Upload) -> Answer {
    let answer = with(answer::empty(status), header::LOCATION, &address(name, upload.id));
    let answer = with(answer, header::RANGE, &so_far(upload));
    with(answer, UPLOAD_ID, &upload.id.to_string())
}

fn created(name: &Name, digest: &Digest) -> Answer {
    let answer = answer::empty(StatusCode::CREATED);
    let answer = with(answer, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    with(answer, CONTENT_DIGEST, digest.as_str())
}
