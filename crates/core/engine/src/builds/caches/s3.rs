//! Caches in buckets of S3-compatible stores.
//!
//! ```text
//! <prefix><manifests_prefix><name>      the manifest
//! <prefix><blobs_prefix><digest>        its configuration, and the layers that it names
//! ```

use std::sync::Arc;
use std::time::Duration;

use builder::{BoxError, DOCUMENT_MAX, OpenedCache};
use oci::Digest;
use oci::image::{Descriptor, Document, MANIFEST_MAX};
use registry::{Body, Bucket, BucketAddress, Error as Remote, Kind as RemoteKind};
use store::Store;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::{Attributes, Source, Stream, flag, needed, opened};
use crate::Engine;
use crate::error::{Error, Result};

/// What else may be said of a cache in a bucket.
pub(super) const ATTRIBUTES: &[&str] = &[
    "bucket",
    "region",
    "name",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "endpoint_url",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "use_path_style",
    "touch_refresh",
    "upload_parallelism",
];

/// One request sends no more (S3's limit).
const OBJECT_MAX: u64 = 5 << 30;
/// How often a request is made before it is given up, and how long the first pause is.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Blobs older than that are sent anew, because rules of buckets remove what is old.
const TOUCH: Duration = Duration::from_secs(24 * 3600);
const PARALLEL: usize = 4;

/// A cache in a bucket.
#[derive(Clone)]
pub(super) struct Place {
    bucket: Bucket,
    manifests: String,
    blobs: String,
    /// Names of the cache: it is read from the first that is there, and written to all.
    names: Vec<String>,
    touch: Duration,
    parallel: usize,
}

impl Place {
    /// What the attributes say.
    pub fn read(engine: &Engine, attributes: &Attributes) -> Result<(Place, String)> {
        let text = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        let or = |key: &str, default: &str| match attributes.get(key) {
            Some(value) => value.clone(),
            None => default.to_owned(),
        };
        let key = Some(text("access_key_id")).filter(|key| !key.is_empty());
        let secret = Some(text("secret_access_key")).filter(|secret| !secret.is_empty());
        if key.is_some() != secret.is_some() {
            return Err(Error::invalid("a cache in s3 needs both access_key_id= and secret_access_key="));
        }
        let token = Some(text("session_token")).filter(|token| !token.is_empty());
        let address = BucketAddress {
            name: needed(attributes, "bucket")?.to_owned(),
            region: needed(attributes, "region")?.to_owned(),
            endpoint: text("endpoint_url"),
            path_style: flag(attributes, "use_path_style")?,
            credentials: key.zip(secret).map(|(key, secret)| (key, secret, token)),
        };
        let bucket = engine.registries(&[]).bucket(&address).map_err(|e| Error::invalid(e.to_string()))?;
        let names: Vec<String> =
            or("name", "buildkit").split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let shown = format!("s3:{}/{}", address.name, names.join(";"));
        let prefix = text("prefix");
        let place = Place {
            bucket,
            manifests: format!("{prefix}{}", or("manifests_prefix", "manifests/")),
            blobs: format!("{prefix}{}", or("blobs_prefix", "blobs/")),
            names,
            touch: touch_of(attributes)?,
            parallel: parallel_of(attributes)?,
        };
        Ok((place, shown))
    }

    fn blob(&self, digest: &Digest) -> String {
        format!("{}{digest}", self.blobs)
    }

    /// Opens the cache of the first name that is there.
    pub fn open(&self, runtime: &Handle) -> Result<OpenedCache, BoxError> {
        let (manifest, config) = runtime.block_on(async {
            let Document::Manifest(manifest) = Document::parse(&self.manifest().await?)? else {
                return Err(BoxError::from("it is no manifest"));
            };
            let config = self.small(&manifest.config).await?;
            Ok((manifest, config))
        })?;
        let (place, runtime) = (self.clone(), runtime.clone());
        let blob = move |descriptor: &Descriptor| {
            let key = place.blob(&descriptor.digest);
            let found = runtime.block_on(attempts(|| place.bucket.get(&key)))?;
            let object = found.ok_or_else(|| format!("{key} is not in the bucket"))?;
            Ok(Box::new(Stream::new(Source::Object(object), runtime.clone()))
                as Box<dyn std::io::Read + Send>)
        };
        opened(&manifest, config, Arc::new(blob))
    }

    async fn manifest(&self) -> Result<Vec<u8>, BoxError> {
        for name in &self.names {
            let key = format!("{}{name}", self.manifests);
            if let Some(object) = attempts(|| self.bucket.get(&key)).await? {
                return Ok(object.bytes(MANIFEST_MAX).await?.into());
            }
        }
        Err("there is none of that name in the bucket".into())
    }

    async fn small(&self, descriptor: &Descriptor) -> Result<Vec<u8>, BoxError> {
        let key = self.blob(&descriptor.digest);
        let found = attempts(|| self.bucket.get(&key)).await?;
        let object = found.ok_or_else(|| format!("{key} is not in the bucket"))?;
        let bytes = object.bytes(DOCUMENT_MAX).await?;
        match descriptor.digest.matches(&bytes) {
            true => Ok(bytes.into()),
            false => Err(format!("{key} does not match its digest").into()),
        }
    }

    /// Sends what is not there yet, some at once; then the manifest under all names.
    pub async fn send(
        &self,
        store: &Store,
        manifest: &Descriptor,
        blobs: &[Descriptor],
    ) -> Result<(), BoxError> {
        use futures_util::TryStreamExt as _;
        let sending = blobs.iter().map(|descriptor| Ok(self.send_blob(store, descriptor)));
        futures_util::stream::iter(sending).try_buffer_unordered(self.parallel).try_collect::<()>().await?;
        let bytes = bytes::Bytes::from(store.read_blob(&manifest.digest, MANIFEST_MAX)?);
        for name in &self.names {
            let key = format!("{}{name}", self.manifests);
            let length = bytes.len() as u64;
            attempts(|| self.bucket.put(&key, length, bytes.clone().into())).await?;
        }
        Ok(())
    }

    async fn send_blob(&self, store: &Store, descriptor: &Descriptor) -> Result<(), BoxError> {
        let key = self.blob(&descriptor.digest);
        if descriptor.size > OBJECT_MAX {
            let size = descriptor.size;
            return Err(format!("{key} has {size} bytes: an object is sent whole, up to {OBJECT_MAX}").into());
        }
        let known = attempts(|| self.bucket.head(&key)).await?;
        if known.is_some_and(|head| head.size == descriptor.size && !self.is_old(head.modified.as_deref())) {
            return Ok(());
        }
        let send = || async {
            let file = store.open_blob(&descriptor.digest).map_err(BoxError::from)?;
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
            let sent = self.bucket.put(&key, descriptor.size, Body::wrap_stream(stream)).await;
            Ok::<_, BoxError>(sent)
        };
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match send().await? {
                Err(error) if error.kind() == RemoteKind::Unavailable => tokio::time::sleep(pause).await,
                other => return Ok(other?),
            }
            pause *= 2;
        }
        Ok(send().await??)
    }

    fn is_old(&self, modified: Option<&str>) -> bool {
        let written = modified.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let age =
            written.and_then(|at| jiff::Timestamp::now().duration_since(at.timestamp()).try_into().ok());
        age.is_some_and(|age: Duration| age > self.touch)
    }
}

/// Tries again while the store is unwell.
async fn attempts<T, F: Future<Output = Result<T, Remote>>>(mut ask: impl FnMut() -> F) -> Result<T, Remote> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.kind() == RemoteKind::Unavailable => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause *= 2;
    }
    ask().await
}

fn touch_of(attributes: &Attributes) -> Result<Duration> {
    let Some(text) = attributes.get("touch_refresh") else { return Ok(TOUCH) };
    let parsed = api::duration::parse(text).ok().and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    let wrong = || Error::invalid(format!("touch_refresh={text} is no duration such as 24h"));
    parsed.map(Duration::from_nanos).ok_or_else(wrong)
}

fn parallel_of(attributes: &Attributes) -> Result<usize> {
    let Some(text) = attributes.get("upload_parallelism") else { return Ok(PARALLEL) };
    let wrong = || Error::invalid(format!("upload_parallelism={text} is no number above 0"));
    text.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn numbers_and_durations() {
        assert_eq!(touch_of(&attributes(&[])).unwrap(), TOUCH);
        assert_eq!(touch_of(&attributes(&[("touch_refresh", "90m")])).unwrap(), Duration::from_secs(5400));
        assert!(touch_of(&attributes(&[("touch_refresh", "soon")])).is_err());
        assert_eq!(parallel_of(&attributes(&[("upload_parallelism", "9")])).unwrap(), 9);
        assert!(parallel_of(&attributes(&[("upload_parallelism", "0")])).is_err());
    }
}
