//! A build that a client has asked for, from its `Solve` to its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::build::{BuildDetails, BuiltImage};
use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use engine::builds::received::Received;
use engine::builds::{Descriptor, Earlier, Loan, Policies, Reach};
use tokio::sync::{Notify, OnceCell};
use tonic::Status;

use crate::frontend::exporters;
use crate::gateway::Containers;
use crate::policy::Denied;
use crate::session::Life;
use crate::sources::Commits;
use crate::status::Told;
use crate::{fault, policy};

/// Results of one build that are kept at a time.
const RESULTS_MAX: usize = 1024;

/// A build that runs.
pub struct Build {
    pub order: SolveRequest,
    /// How its client calls it, which need not be fit for an id.
    pub called: String,
    /// What its client may name by path.
    pub reach: Reach,
    pub told: Arc<Told>,
    /// When its client asked for it.
    pub begun: jiff::Timestamp,
    /// Whether its client still waits for it.
    pub life: Life,
    pub containers: Containers,
    results: Mutex<Results>,
    returned: Notify,
    /// The manifest of the cache that was written last into a client's directory.
    cache: Arc<Mutex<Option<Descriptor>>>,
    /// How many solves there were: the first one's record has the build's own name.
    solves: AtomicUsize,
    /// Its policies once they were read, without what changes meanwhile.
    policies: OnceCell<Policies>,
    /// Why the client's policy denied a source.
    denied: Denied,
    /// Images of the client's stores that were loaded for it.
    layouts: Mutex<Vec<String>>,
    /// What its solves have used of the cache.
    pub earlier: Arc<Earlier>,
    /// What repositories' addresses stand for as long as it lasts.
    pub commits: Arc<Commits>,
    /// Files of addresses that the client gives once.
    pub uploads: Uploads,
    /// What the client's own frontend said besides its result, for who asked for the build.
    said: Mutex<HashMap<String, String>>,
    /// How that frontend calls the image.
    given_names: Mutex<Option<String>>,
}

#[derive(Default)]
struct Results {
    made: HashMap<String, Result<Arc<Made>, Status>>,
    answer: Option<Result<Option<Arc<Made>>, Status>>,
}

/// What came of addresses, each as a file in a directory.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<String, Arc<OnceCell<Arc<Received>>>>>);

impl Uploads {
    /// What came of an address the first time.
    pub async fn once(
        &self,
        address: &str,
        receive: impl Future<Output = Result<Arc<Received>, Status>>,
    ) -> Result<Arc<Received>, Status> {
        let known = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(address.to_owned()).or_default().clone()
        };
        known.get_or_try_init(|| receive).await.cloned()
    }
}

/// What a solve has made.
pub struct Made {
    /// What nobody keeps goes with it.
    loan: Arc<Loan>,
    pub details: BuildDetails,
    /// How its images were made, in the same order: whoever puts something together from them tells that.
    pub origins: Vec<Option<serde_json::Value>>,
    /// A directory for each platform.
    pub split: bool,
    /// A file system that is no image yet.
    is_part: bool,
}

impl Made {
    pub fn new(loan: Arc<Loan>, details: BuildDetails, split: bool) -> Made {
        Made { loan, details, origins: Vec::new(), split, is_part: false }
    }

    /// A file system that is no image yet.
    pub fn of_part(loan: Arc<Loan>, image: BuiltImage) -> Made {
        let details = BuildDetails { images: vec![image], ..BuildDetails::default() };
        Made::new(loan, details, false).part()
    }

    /// The same as a file system that is no image yet.
    pub fn part(mut self) -> Made {
        self.is_part = true;
        self
    }

    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// The image that an id names: `id/platform`, or the first one.
    pub fn image(&self, id: &str) -> Option<&BuiltImage> {
        let images = &self.details.images;
        match id.split_once('/') {
            Some((_, platform)) => images.iter().find(|image| image.platform == platform),
            None => images.first(),
        }
    }

    /// How the image that an id names was made.
    pub fn origin(&self, id: &str) -> Option<&serde_json::Value> {
        let wanted = self.image(id)?;
        let at = self.details.images.iter().position(|image| std::ptr::eq(image, wanted))?;
        self.origins.get(at)?.as_ref()
    }

    /// Its images are to stay.
    pub async fn keep(&self) -> Result<(), Status> {
        let manifests = self.details.images.iter().filter_map(|image| image.manifest.as_ref());
        let manifests = manifests.map(|manifest| manifest.digest.clone()).collect();
        self.loan.keep(manifests).await.map_err(fault::status)
    }
}

impl Build {
    pub fn new(order: SolveRequest, reach: Reach) -> Build {
        let told = Arc::new(Told::new(&order.r#ref));
        let (results, returned) = (Mutex::default(), Notify::new());
        let containers = Containers::default();
        Build {
            called: order.r#ref.clone(),
            order,
            reach,
            told,
            begun: jiff::Timestamp::now(),
            life: Life::default(),
            containers,
            results,
            returned,
            cache: Arc::default(),
            solves: AtomicUsize::new(0),
            policies: OnceCell::new(),
            denied: Denied::default(),
            layouts: Mutex::default(),
            earlier: Arc::default(),
            commits: Arc::default(),
            uploads: Uploads::default(),
            said: Mutex::default(),
            given_names: Mutex::default(),
        }
    }

    /// The client's name for it.
    pub fn id(&self) -> &str {
        &self.order.r#ref
    }

    /// Whether its client solves what it wants at the gateway, and says afterwards what of it is the result.
    pub fn is_conversation(&self) -> bool {
        self.order.frontend.is_empty() && self.order.definition.is_none()
    }

    /// Takes note of caches that are written into a client's directory.
    pub fn cache_note(&self) -> impl Fn(&Descriptor) + Send + Sync + 'static {
        let cache = self.cache.clone();
        move |manifest| *cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(manifest.clone())
    }

    /// The cache that was written last into a client's directory.
    pub fn cache(&self) -> Option<Descriptor> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the record of the next solve is called; only the first has the name that the client knows.
    pub fn record(&self) -> Option<String> {
        let first = self.solves.fetch_add(1, Ordering::Relaxed) == 0;
        (first && !self.order.internal).then(|| self.id().to_owned())
    }

    /// The rules of its order, read once: there may be many, and each source is asked about.
    pub async fn policies(&self) -> Result<&Policies, Status> {
        self.policies.get_or_try_init(|| policy::read(self.order.source_policy.clone())).await
    }

    /// Where it is noted why the client's policy denies a source.
    pub fn denied(&self) -> Denied {
        self.denied.clone()
    }

    /// An error with what was noted of that.
    pub fn with_denied<T>(&self, outcome: Result<T, Status>) -> Result<T, Status> {
        let denied = std::mem::take(&mut *self.denied.lock().unwrap_or_else(PoisonError::into_inner));
        outcome.map_err(|status| fault::denied(status, &denied))
    }

    /// Takes note of what a frontend says for who asked for the build.
    pub fn say(&self, metadata: &HashMap<String, Vec<u8>>) {
        let meant = metadata.iter().filter(|(key, _)| key.starts_with("frontend."));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names = metadata.get("image.name").map(|names| text(names));
        *self.given_names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        let meant = meant.map(|(key, value)| (key.clone(), text(value)));
        self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(meant);
    }

    /// What was said so.
    pub fn said(&self) -> HashMap<String, String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names that an exporter gives to the image, which may be the frontend's.
    pub fn names(&self, exporter: &Exporter) -> Result<Vec<String>, Status> {
        if !exporters::asks_name(exporter) {
            return Ok(exporters::names(exporter));
        }
        let given = self.given_names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing = || Status::invalid_argument("name=*: the frontend gives the image no name");
        Ok(exporters::listed(&given.ok_or_else(missing)?))
    }

    /// Takes note of an image that was loaded from a store of the client.
    pub fn loaded(&self, manifest: String) {
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).push(manifest);
    }

    /// The images by digest that are its results, or came from the client's stores.
    pub fn made_here(&self) -> Vec<String> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let images = results.made.values().flatten().flat_map(|made| &made.details.images);
        let digests = images.filter_map(|image| Some(image.manifest.as_ref()?.digest.to_string()));
        let layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        digests.chain(layouts.iter().cloned()).collect()
    }

    /// How the image of this digest was made, if it is one of its results.
    pub fn origin(&self, digest: &str) -> Option<serde_json::Value> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant =
            |image: &BuiltImage| image.manifest.as_ref().is_some_and(|m| m.digest.as_str() == digest);
        let all = results.made.values().flatten();
        let mut origins = all.flat_map(|made| made.details.images.iter().zip(&made.origins));
        origins.find_map(|(image, origin)| origin.clone().filter(|_| is_meant(image)))
    }

    /// Keeps a result for the client to name: its id.
    pub fn put(&self, made: Made) -> Result<String, Status> {
        self.keep(Ok(Arc::new(made)))
    }

    /// The same of one that failed: who wants to know more of it hears why.
    pub fn put_failed(&self, status: Status) -> Result<String, Status> {
        self.keep(Err(status))
    }

    fn keep(&self, made: Result<Arc<Made>, Status>) -> Result<String, Status> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.made.len() >= RESULTS_MAX {
            return Err(Status::resource_exhausted("a build has too many results"));
        }
        let id = format!("{}-{}", self.id(), results.made.len());
        results.made.insert(id.clone(), made);
        Ok(id)
    }

    /// The result of this id; `id/platform` is one part of it.
    pub fn result(&self, id: &str) -> Result<Arc<Made>, Status> {
        let whole = id.split('/').next().unwrap_or_default();
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || Status::not_found(format!("no such ref: {id}"));
        results.made.get(whole).cloned().ok_or_else(missing)?
    }

    /// The client says what the build gave: a result, nothing, or an error.
    pub fn answer(&self, answer: Result<Option<Arc<Made>>, rpc::Status>) {
        let answer = answer.map_err(|error| {
            use prost::Message as _;
            let details = error.encode_to_vec().into();
            Status::with_details(tonic::Code::from_i32(error.code), error.message, details)
        });
        self.results.lock().unwrap_or_else(PoisonError::into_inner).answer = Some(answer);
        self.returned.notify_one();
    }

    /// Waits for that.
    pub async fn answered(&self) -> Result<Option<Arc<Made>>, Status> {
        loop {
            let answer = self.results.lock().unwrap_or_else(PoisonError::into_inner).answer.take();
            match answer {
                Some(answer) => return answer,
                None => self.returned.notified().await,
            }
        }
    }
}
