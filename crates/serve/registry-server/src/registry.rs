//! What requests share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::answer::Result;
use crate::auth::{self, Auth, Caller};
use crate::collect::Collection;
use crate::error::Code;
use crate::error::Failure;
use crate::events::{self, Events};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::quota::{Limit, Quota};
use crate::spool::Spool;
use crate::storage::{self, Disk, Flow, Folder, Objects, Storage};
use crate::tls::{self, Tls};
use crate::turns::Turns;
use crate::upstream::{Cache, Upstream};

/// Names that are read at a time.
const STEP: usize = 1000;

/// Why a registry can't be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the storage")]
    Storage(#[from] storage::Error),
    #[error("read who may do what")]
    Auth(#[from] auth::Error),
    #[error("use the bucket")]
    Bucket(#[from] registry::InvalidBucket),
    #[error("set up TLS")]
    Tls(#[from] tls::Error),
    #[error("set up notifications")]
    Events(#[from] events::Error),
    #[error("collect garbage in a bucket: what was relied on is remembered for {} hours, and the grace is longer", .0.as_secs() / 3600)]
    Grace(Duration),
    #[error("count what is used: {0}")]
    Count(String),
}

/// A bucket of a store that speaks S3.
#[derive(Clone, Debug)]
pub struct BucketConfig {
    pub address: registry::BucketAddress,
    /// What the keys begin with.
    pub prefix: String,
    /// How the store is spoken to.
    pub client: registry::Config,
}

/// How a registry is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it keeps everything, or what is not finished where blobs are kept elsewhere.
    pub root: PathBuf,
    /// How long a client may be silent.
    pub patience: Duration,
    /// How many connections are served at a time; more wait.
    pub connections: usize,
    /// Nothing can be changed.
    pub read_only: bool,
    /// An upload that nobody has written to for so long is removed.
    pub upload_age: Duration,
    /// Who may do what; without, everybody may do everything.
    pub auth: Option<auth::Config>,
    /// Files of a certificate with its chain, and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How much repositories may hold.
    pub quota: Vec<Limit>,
    /// How often garbage is collected; zero is never.
    pub collect_every: Duration,
    /// What garbage is.
    pub garbage: Collection,
    /// No other process may have the directory open meanwhile. Then nobody relies on what a bucket has but by names that are
    /// there, and its garbage can be collected at once.
    pub alone: bool,
    /// The bucket that blobs and all that belongs to them are kept in.
    pub bucket: Option<BucketConfig>,
    /// Addresses that are told what happens.
    pub webhooks: Vec<String>,
    /// The registry that this one is a cache of; nothing is pushed to it then.
    pub upstream: Option<Upstream>,
}

impl Config {
    /// A registry in this directory that everybody may use.
    pub fn new(root: impl Into<PathBuf>) -> Config {
        Config {
            root: root.into(),
            patience: Duration::from_secs(60),
            connections: 4096,
            read_only: false,
            upload_age: Duration::from_secs(24 * 60 * 60),
            auth: None,
            tls: None,
            quota: Vec::new(),
            collect_every: Duration::ZERO,
            garbage: Collection { grace: Duration::from_secs(24 * 60 * 60), untagged: false },
            alone: false,
            bucket: None,
            webhooks: Vec::new(),
            upstream: None,
        }
    }
}

/// A registry.
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) storage: Storage,
    pub(crate) spool: Spool,
    /// Who is sent content, and who sends some.
    pub(crate) flow: Flow,
    pub(crate) intake: Flow,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<Tls>,
    pub(crate) quota: Quota,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cache: Option<Cache>,
    /// Held by the one garbage collection that there is.
    pub(crate) collecting: tokio::sync::Mutex<()>,
    pub(crate) turns: Turns,
}

impl Registry {
    /// Opens the storage, and starts what goes on by itself: to be called in a runtime.
    pub async fn open(config: Config) -> Result<Registry, OpenError> {
        let disk = Disk::open(&config.root, config.alone)?;
        let spool = Spool::open(disk.clone())?;
        let auth = Auth::open(config.auth.clone(), &config.root)?;
        let files = config.tls.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let tls = files.map(|(certificate, key): (&Path, &Path)| Tls::open(certificate, key)).transpose()?;
        let (flow, intake) = (Flow::out(), Flow::into());
        let (collects, grace) = (!config.collect_every.is_zero(), config.garbage.grace);
        let alone = config.alone;
        let storage = match &config.bucket {
            Some(config) => {
                let bucket = registry::Client::new(config.client.clone()).bucket(&config.address)?;
                let objects = Objects::new(bucket, &config.prefix, disk, alone);
                objects.check().await?;
                if collects && grace > Objects::MEMORY {
                    return Err(OpenError::Grace(Objects::MEMORY));
                }
                Storage::Objects(Box::new(objects))
            }
            None => Storage::Disk(disk),
        };
        let metrics = Arc::new(Metrics::default());
        let events = Events::start(&config.webhooks, metrics.clone())?;
        let cache = config.upstream.clone().map(Cache::new);
        let (quota, collecting) = (Quota::new(&config.quota), tokio::sync::Mutex::default());
        let registry = Registry {
            config,
            storage,
            spool,
            flow,
            intake,
            auth,
            tls,
            quota,
            events,
            metrics,
            cache,
            collecting,
            turns: Turns::new(),
        };
        registry.spool.count_held(&registry.quota);
        registry.count_used().await.map_err(|failure| OpenError::Count(failure.message))?;
        Ok(registry)
    }

    /// Repositories after one that the caller may see, and whether there are more.
    pub(crate) async fn repositories(
        &self,
        caller: &Caller,
        after: Option<&Name>,
        count: usize,
    ) -> Result<(Vec<Name>, bool)> {
        let mut after = after.map(Name::folder).unwrap_or_default();
        let mut found: Vec<Name> = Vec::new();
        loop {
            let folders = self.storage.names(Folder::Repositories, &after, STEP).await?;
            let Some(last) = folders.last() else { return Ok((found, false)) };
            after.clone_from(last);
            let names = folders.iter().filter_map(|folder| Name::of_folder(folder));
            for name in names.filter(|name| self.auth.may_see(caller, name)) {
                if found.len() == count {
                    return Ok((found, true));
                }
                found.push(name);
            }
        }
    }

    /// Refuses what changes something, where nothing can be changed.
    pub(crate) fn may_change(&self, method: &Method) -> Result<()> {
        if self.config.read_only {
            return Err(Failure::says(Code::Unsupported, "the registry is read-only"));
        }
        match self.cache.is_some() && *method != Method::DELETE {
            true => {
                Err(Failure::says(Code::Unsupported, "the registry is a cache of another one: push there"))
            }
            false => Ok(()),
        }
    }
}
