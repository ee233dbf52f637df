//! The registry as bytes on a connection, end-point by end-point.

#[path = "registry/auth.rs"]
mod auth;
#[path = "registry/blobs.rs"]
mod blobs;
#[path = "registry/client.rs"]
mod client;
#[path = "registry/crashes.rs"]
mod crashes;
#[path = "registry/figures.rs"]
mod figures;
#[path = "registry/garbage.rs"]
mod garbage;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/lists.rs"]
mod lists;
#[path = "registry/manifests.rs"]
mod manifests;
#[path = "registry/objects.rs"]
mod objects;
#[path = "registry/pages.rs"]
mod pages;
#[path = "registry/quota.rs"]
mod quota;
#[path = "registry/referrers.rs"]
mod referrers;
#[path = "registry/tls.rs"]
mod tls;
#[path = "registry/uploads.rs"]
mod uploads;
#[path = "registry/upstream.rs"]
mod upstream;
#[path = "registry/webhooks.rs"]
mod webhooks;
