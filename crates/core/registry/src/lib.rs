//! Client of image registries (OCI distribution-spec 1.1, Docker's token authentication).
//!
//! Resolves references, fetches and sends manifests and blobs, lists tags, checks credentials; fetches files of web servers, and
//! fetches and sends objects of S3-compatible stores. A registry is
//! hostile until its bytes match a digest: documents are bounded, blobs are verified, credentials go to the
//! registry itself and to the token server that it names, over HTTPS, and nowhere else.
//!
//! ```no_run
//! # async fn pull() -> Result<(), Box<dyn std::error::Error>> {
//! let client = registry::Client::new(registry::Config::default());
//! let repository = client.repository(&oci::Reference::parse("nginx")?, None);
//! let (descriptor, manifest) = repository.resolve().await?;
//! # Ok(()) }
//! ```
//!
//! How a registry is reached the administrator says in files ([`Places`]): mirrors, certificates, who is insecure. Credentials are
//! for the registry that a name means, wherever those files say that it is; a mirror gets none.
//! Proxies are taken from the usual environment variables (`HTTPS_PROXY`, `NO_PROXY`) by the HTTP library.
//! Names are resolved without libc, so `/etc/nsswitch.conf` has no say.

mod blob;
mod bucket;
pub mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod exchange;
mod keeper;
mod limits;
mod names;
mod near;
mod peer;
mod proxy;
mod redirect;
mod referrers;
mod repository;
mod retry;
mod search;
mod settings;
mod tls;
mod token;
mod transport;
mod upload;

pub use blob::Blob;
pub use bucket::{
    Bucket, BucketAddress, Entry as BucketEntry, Head, InvalidBucket, Listing as BucketListing, Object,
    Unfinished, Wanted as BucketWanted,
};
pub use client::{Client, Config, Notice, Patience};
pub use credentials::{Credentials, InvalidCredentials};
pub use download::{Download, Wish};
pub use error::{Cause, Error, Kind, Problem, RequestLine};
pub use keeper::{FetchToken, Keeper, TellSecret, TokenGiven, TokenWanted};
pub use proxy::Proxies;
pub use referrers::{cosign_subject, cosign_tags, referrers_tag};
pub use repository::Repository;
pub use reqwest::Body;
pub use search::Found;
pub use settings::{InvalidSettings, Places};
pub use upload::{Begun, Outgoing, Place};
