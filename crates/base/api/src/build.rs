//! Documents and query parameters of builds.

use std::collections::BTreeMap;

use oci::image::Descriptor;
use serde::{Deserialize, Serialize};

use crate::containers::Ulimit;
use crate::filters::Filters;
use crate::json::{null_if_empty, zero};

/// The `id` of progress messages that carry the native build events in `aux`.
pub const NATIVE_PROGRESS_ID: &str = "dhow.build";

/// Query parameters of `POST /build`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildOptions {
    /// Path of the Dockerfile in the context; empty is `Dockerfile`.
    pub dockerfile: String,
    /// Names for the image.
    pub tags: Vec<String>,
    pub extra_hosts: Vec<String>,
    /// A URL in place of a context in the body.
    pub remote: String,
    pub quiet: bool,
    pub no_cache: bool,
    pub cache_from: Vec<String>,
    /// Looks for newer base images.
    pub pull: bool,
    /// Removes intermediate containers; there are none, so it changes only what is said.
    pub rm: bool,
    pub force_rm: bool,
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cgroup_parent: String,
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm in RUN steps.
    pub shm_size: i64,
    /// `None` takes the value of the client's environment, which the client already looked up in vain.
    pub build_args: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    /// Joins the new layers to one.
    pub squash: bool,
    /// `default`, `host`, `none`, `container:<id>` or a network's name.
    pub network_mode: String,
    /// `linux/arm64`; several are separated by commas.
    pub platform: String,
    pub target: String,
    pub security_opt: Vec<String>,
    /// An absolute directory that server and client share, in place of a context in the body.
    pub context_dir: String,
    /// Native events instead of the classic builder's text.
    pub native_progress: bool,
    pub extras: BuildExtras,
}

/// Header with [`BuildExtras`] as JSON in base64url.
pub const EXTRAS_HEADER: &str = "X-Dhow-Build";
/// Header with the number of bytes at the beginning of the body that are [`BuildExtras`] as JSON, in place of
/// [`EXTRAS_HEADER`] where they are too long for one.
pub const EXTRAS_LENGTH_HEADER: &str = "X-Dhow-Build-Length";
/// Extras that are longer travel in the body.
pub const EXTRAS_HEADER_MAX: usize = 16 << 10;

/// What a build can be asked beyond Docker's classic parameters. It travels in a header because secrets must not
/// be part of a URL.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildExtras {
    /// A Dockerfile that is not in the context.
    #[serde(skip_serializing_if = "zero")]
    pub dockerfile: Option<InlineDockerfile>,
    /// `--secret`: id to content in base64.
    #[serde(skip_serializing_if = "zero")]
    pub secrets: BTreeMap<String, String>,
    /// `--build-context`: name to an absolute directory or `docker-image://reference`.
    #[serde(skip_serializing_if = "zero")]
    pub contexts: BTreeMap<String, String>,
    /// The directory of the main context that its files are in, where that context is not a directory of the client.
    #[serde(skip_serializing_if = "zero")]
    pub context_subdir: String,
    /// Stages that take nothing from the cache.
    #[serde(skip_serializing_if = "zero")]
    pub no_cache_filter: Vec<String>,
    /// `--allow`: `security.insecure`, `network.host`.
    #[serde(skip_serializing_if = "zero")]
    pub allow: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub rewrite_timestamp: bool,
    /// Reads trailing comments as Docker does.
    #[serde(skip_serializing_if = "zero")]
    pub strict: bool,
    /// Builds a second time without the cache, and fails if that gives another image.
    #[serde(skip_serializing_if = "zero")]
    pub verify: bool,
    /// The client hands the result out itself: nobody who clears up takes it away until it says that it is done
    /// (`POST /build/give-back`), or leaves. The answer ends then.
    #[serde(skip_serializing_if = "zero")]
    pub held: bool,
    /// And then the result goes, unless it has a name or somebody else keeps it.
    #[serde(skip_serializing_if = "zero")]
    pub lent: bool,
    /// How many steps run at once at most; 0 leaves it to the builder.
    #[serde(skip_serializing_if = "zero")]
    pub jobs: u32,
    /// Builds of the same group share the limit on steps that run at once; empty for a build of its own.
    #[serde(skip_serializing_if = "zero")]
    pub group: String,
    /// `--ssh`: id to the socket of an agent on the machine that client and server share.
    #[serde(skip_serializing_if = "zero")]
    pub ssh: BTreeMap<String, String>,
    /// `--cache-from` and `--cache-to`, by their attributes; paths are of the machine that client and server share.
    #[serde(skip_serializing_if = "zero")]
    pub caches_from: Vec<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "zero")]
    pub caches_to: Vec<BTreeMap<String, String>>,
    /// What may be taken from elsewhere, and in whose place: BuildKit's source policies.
    #[serde(skip_serializing_if = "zero")]
    pub source_policies: Vec<serde_json::Value>,
    /// What the result shall look like.
    #[serde(skip_serializing_if = "zero")]
    pub export: ExportOptions,
}

/// How images are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportOptions {
    /// `gzip`, `estargz`, `zstd` or `uncompressed`; empty leaves layers uncompressed until somebody wants them.
    #[serde(skip_serializing_if = "zero")]
    pub compression: String,
    #[serde(skip_serializing_if = "zero")]
    pub compression_level: Option<u32>,
    /// Layers of base images are compressed anew too.
    #[serde(skip_serializing_if = "zero")]
    pub force_compression: bool,
    /// OCI's media types, or Docker's; without, what `compatibility_version` has.
    #[serde(skip_serializing_if = "zero")]
    pub oci_media_types: Option<bool>,
    /// Attestations are artifacts with a subject, or images as in earlier versions; without, what `compatibility_version` has.
    #[serde(skip_serializing_if = "zero")]
    pub oci_artifact: Option<bool>,
    /// Which of BuildKit's ways to assemble images: 20, or 30, which is that of now and of 0.
    #[serde(skip_serializing_if = "zero")]
    pub compatibility_version: u32,
    /// Unix seconds that stand for the present in what is written, whatever build and Dockerfile say; empty where nothing
    /// does.
    #[serde(skip_serializing_if = "zero")]
    pub source_date_epoch: Option<String>,
    /// `[types:]key=value` as for `--annotation`.
    #[serde(skip_serializing_if = "zero")]
    pub annotations: Vec<String>,
    /// An index also of one image.
    #[serde(skip_serializing_if = "zero")]
    pub index: bool,
    /// `min` or `max`; empty for none.
    #[serde(skip_serializing_if = "zero")]
    pub provenance: String,
    #[serde(skip_serializing_if = "zero")]
    pub sbom: bool,
    /// The image whose program lists the packages; empty for the builder's own way.
    #[serde(skip_serializing_if = "zero")]
    pub sbom_generator: String,
    /// What that program is told besides, as its variables `BUILDKIT_SCAN_…`.
    #[serde(skip_serializing_if = "zero")]
    pub sbom_arguments: BTreeMap<String, String>,
    /// What is attested is told of the files too, for outputs that are files.
    #[serde(skip_serializing_if = "zero")]
    pub file_statements: bool,
    /// What the provenance is called among files; empty where it is to be among none.
    #[serde(skip_serializing_if = "zero")]
    pub provenance_file: String,
    /// What attestations call the image besides the names that it gets.
    #[serde(skip_serializing_if = "zero")]
    pub names: Vec<String>,
    /// Nobody wants the result: its steps are for the cache, and no image is written of it.
    #[serde(skip_serializing_if = "zero")]
    pub cache_only: bool,
    /// Registries are the only place where the result goes: layers of it that these have need not come here, and a result that
    /// lacks some is sent by the build itself and does not stay.
    #[serde(skip_serializing_if = "zero")]
    pub registries: Option<Registries>,
    /// The image tells which records of the cache its layers belong to.
    #[serde(skip_serializing_if = "zero")]
    pub inline_cache: bool,
    /// The names are given once more with the result's digest.
    #[serde(skip_serializing_if = "zero")]
    pub canonical_names: bool,
    /// A result without a name is called so, with its digest.
    #[serde(skip_serializing_if = "zero")]
    pub dangling_prefix: String,
    /// `min` or `max`: the provenance is told to whoever builds, and attached to nothing.
    #[serde(skip_serializing_if = "zero")]
    pub told_provenance: String,
    /// `v0.2`, or `v1` without.
    #[serde(skip_serializing_if = "zero")]
    pub provenance_version: String,
    /// Who the provenance says has built it.
    #[serde(skip_serializing_if = "zero")]
    pub builder_id: String,
    /// The provenance says that all that the build needs is named in it.
    #[serde(skip_serializing_if = "zero")]
    pub reproducible: bool,
    /// A build that takes something from elsewhere which the provenance cannot name fails.
    #[serde(skip_serializing_if = "zero")]
    pub complete_materials: bool,
    /// What was asked of the frontend besides its target, arguments and labels.
    #[serde(skip_serializing_if = "zero")]
    pub parameters: BTreeMap<String, String>,
    /// What the provenance says besides of the request: where its inputs are from, and what it was a part of.
    #[serde(skip_serializing_if = "zero")]
    pub request: BTreeMap<String, serde_json::Value>,
    /// What the provenance says about the repository that the context lies in: `source`, `revision`, `localdir:context`.
    #[serde(skip_serializing_if = "zero")]
    pub vcs: BTreeMap<String, String>,
}

/// Names in registries, and how a result is sent there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registries {
    pub names: Vec<String>,
    /// It gets no tag there.
    #[serde(skip_serializing_if = "zero")]
    pub by_digest: bool,
    /// Plain HTTP will do, and certificates that nobody has signed.
    #[serde(skip_serializing_if = "zero")]
    pub insecure: bool,
}

/// A Dockerfile and what to call it in messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InlineDockerfile {
    pub name: String,
    pub text: String,
    /// The text of the ignore file that goes with it; without, the context's own counts.
    #[serde(skip_serializing_if = "zero")]
    pub ignore: Option<String>,
}

/// Secrets stay out of logs.
impl std::fmt::Debug for BuildExtras {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildExtras")
            .field("secrets", &self.secrets.keys())
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

impl BuildExtras {
    /// The header's value.
    pub fn encode(&self) -> String {
        crate::auth::encode_json(self)
    }

    /// Reads the header's value; an empty one is nothing.
    pub fn decode(header: &str) -> Result<Self, crate::auth::Error> {
        crate::auth::decode_json(header)
    }
}

document! {
    /// `aux` of the last message of a build.
    pub struct BuildResult {
        #[serde(rename = "ID")]
        pub id: String,
        /// Only for those who asked for native events.
        #[serde(skip_serializing_if = "zero")]
        pub details: Option<BuildDetails>,
    }
}

document! {
    /// What became of a build.
    pub struct BuildDetails {
        /// The id of the build's record.
        #[serde(rename = "ID", skip_serializing_if = "zero")]
        pub id: String,
        /// The manifest, or the index of several.
        pub target: Option<Descriptor>,
        pub images: Vec<BuiltImage>,
        /// The time that stood for now (`SOURCE_DATE_EPOCH`), in seconds since 1970: files that are handed out have it.
        #[serde(rename = "SourceDateEpoch", skip_serializing_if = "Option::is_none")]
        pub source_date_epoch: Option<i64>,
        /// What the build itself has sent ([`ExportOptions::registries`]); the image did not stay then.
        #[serde(skip_serializing_if = "zero")]
        pub sent: Vec<SentImage>,
    }
}

document! {
    /// A name in a registry.
    pub struct SentImage {
        pub name: String,
        /// What the registry knows it by.
        pub descriptor: Option<Descriptor>,
    }
}

document! {
    /// One platform's image.
    pub struct BuiltImage {
        #[serde(rename = "ID")]
        pub id: String,
        pub manifest: Option<Descriptor>,
        pub platform: String,
        /// A SLSA predicate, if it was asked for.
        #[serde(skip_serializing_if = "zero")]
        pub provenance: Option<serde_json::Value>,
        /// A list of packages in SPDX, if that was asked for.
        #[serde(skip_serializing_if = "zero")]
        pub sbom: Option<serde_json::Value>,
        /// What is attested of its files, if that was asked for.
        #[serde(skip_serializing_if = "zero")]
        pub statements: Vec<FileStatement>,
    }
}

document! {
    /// An in-toto statement about the files of an image.
    pub struct FileStatement {
        /// What it is called as a file.
        pub name: String,
        pub statement: serde_json::Value,
    }
}

document! {
    /// One entry of the build cache.
    pub struct CacheRecord {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(skip_serializing_if = "zero")]
        pub parents: Vec<String>,
        #[serde(rename = "Type")]
        pub typ: String,
        pub description: String,
        pub in_use: bool,
        pub shared: bool,
        pub size: i64,
        /// RFC 3339.
        pub created_at: String,
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }
}

document! {
    /// A build that was begun, as `GET /build/history` tells of it.
    pub struct BuildRecord {
        #[serde(rename = "ID")]
        pub id: String,
        /// What was built, for people: the Dockerfile and where it lies.
        pub name: String,
        /// `running`, `completed`, `error`, `canceled`, or `killed` where its process ended without a word.
        pub status: String,
        /// RFC 3339.
        pub started_at: String,
        #[serde(skip_serializing_if = "zero")]
        pub completed_at: String,
        #[serde(skip_serializing_if = "zero")]
        pub tags: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        pub target: String,
        #[serde(skip_serializing_if = "zero")]
        pub platform: String,
        #[serde(skip_serializing_if = "zero")]
        pub build_args: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub no_cache: bool,
        #[serde(skip_serializing_if = "zero")]
        pub image: String,
        /// Why it failed.
        #[serde(skip_serializing_if = "zero")]
        pub error: String,
        /// The lines of the Dockerfile where it failed, ready to be shown.
        #[serde(skip_serializing_if = "zero")]
        pub excerpt: String,
        /// What was asked, in the words of BuildKit's clients.
        #[serde(skip_serializing_if = "zero")]
        pub attributes: BTreeMap<String, String>,
        /// What that client was told of the result.
        #[serde(skip_serializing_if = "zero")]
        pub response: BTreeMap<String, String>,
        pub steps: Vec<BuildStepRecord>,
        /// Documents about the result, and its own manifests; only where one build is asked about.
        #[serde(skip_serializing_if = "zero")]
        pub attachments: Vec<BuildAttachment>,
    }
}

document! {
    /// A document that belongs to a build's record.
    pub struct BuildAttachment {
        pub digest: String,
        /// For which platform; empty where there is one for all.
        #[serde(skip_serializing_if = "zero")]
        pub platform: String,
        /// The type of the predicate, or of the manifest.
        #[serde(rename = "Type")]
        pub kind: String,
    }
}

document! {
    /// One step of a build.
    pub struct BuildStepRecord {
        /// Its number in the build; 0 for what is none.
        pub number: u64,
        pub name: String,
        #[serde(skip_serializing_if = "zero")]
        pub stage: String,
        #[serde(skip_serializing_if = "zero")]
        pub instruction: String,
        /// `CACHED`, `DONE`, `ERROR`, `SKIPPED`; empty for one that did not end.
        pub status: String,
        /// Why it was not taken from the cache, or was not needed.
        #[serde(skip_serializing_if = "zero")]
        pub reasons: Vec<String>,
        #[serde(skip_serializing_if = "zero")]
        pub millis: u64,
    }
}

/// How many steps a build has, how many of them ended well or not, and how many came from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCounts {
    pub total: i32,
    pub completed: i32,
    pub cached: i32,
}

impl BuildRecord {
    /// Counts the steps; what no target needs is none.
    pub fn counts(&self) -> StepCounts {
        let of = |wanted: &[&str]| {
            let count = self.steps.iter().filter(|step| wanted.contains(&step.status.as_str())).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        StepCounts {
            total: of(&["CACHED", "DONE", "ERROR", ""]),
            completed: of(&["CACHED", "DONE", "ERROR"]),
            cached: of(&["CACHED"]),
        }
    }

    /// Takes an event in.
    pub fn note(&mut self, event: &BuildEvent) {
        match event {
            BuildEvent::StepStarted { id, name, stage, instruction, .. } => {
                self.steps.push(BuildStepRecord {
                    number: *id,
                    name: name.clone(),
                    stage: stage.clone(),
                    instruction: instruction.clone(),
                    ..BuildStepRecord::default()
                })
            }
            BuildEvent::StepCached { id } => {
                if let Some(step) = self.step(*id) {
                    step.status = "CACHED".to_owned();
                }
            }
            BuildEvent::StepMissed { id, reasons } => {
                if let Some(step) = self.step(*id) {
                    step.reasons.clone_from(reasons);
                }
            }
            BuildEvent::StepNote { id, note } => {
                if let Some(step) = self.step(*id) {
                    step.reasons.push(note.clone());
                }
            }
            BuildEvent::StepDone { id, millis } => {
                if let Some(step) = self.step(*id) {
                    step.status = "DONE".to_owned();
                    step.millis = *millis;
                }
            }
            BuildEvent::StepError { id, message } => {
                if let Some(step) = self.step(*id) {
                    step.status = "ERROR".to_owned();
                    step.reasons.push(message.clone());
                }
            }
            BuildEvent::StageSkipped { stage } => self.steps.push(BuildStepRecord {
                name: format!("[{stage}]"),
                stage: stage.clone(),
                status: "SKIPPED".to_owned(),
                reasons: vec!["nothing that is built needs this stage".to_owned()],
                ..BuildStepRecord::default()
            }),
            BuildEvent::StepLog { .. } | BuildEvent::StepStatus { .. } | BuildEvent::Warning { .. } => {}
        }
    }

    fn step(&mut self, number: u64) -> Option<&mut BuildStepRecord> {
        self.steps.iter_mut().rev().find(|step| step.number == number)
    }
}

document! {
    /// How to look around where a step failed: what `POST /build/shell` made ready.
    pub struct BuildShell {
        /// The step's id.
        pub id: String,
        /// Other steps that are kept, in words that begin with their ids.
        #[serde(skip_serializing_if = "zero")]
        pub others: Vec<String>,
        /// An image to run, which is there until the answer is closed.
        pub image: String,
        pub instruction: String,
        pub shell: String,
        /// `default`, `none`, `host`, or a network's name.
        pub network: String,
        pub privileged: bool,
        /// As for `run --mount`.
        pub mounts: Vec<String>,
        /// Devices by the names that their vendors give them.
        #[serde(skip_serializing_if = "zero")]
        pub devices: Vec<String>,
        /// As for `run --add-host`.
        #[serde(skip_serializing_if = "zero")]
        pub extra_hosts: Vec<String>,
        /// As for `run --ulimit`.
        #[serde(skip_serializing_if = "zero")]
        pub ulimits: Vec<String>,
        /// Bytes of /dev/shm, where it is another size than usual.
        #[serde(skip_serializing_if = "zero")]
        pub shm_size: u64,
        /// What the step had and this has not, in words.
        pub missing: Vec<String>,
    }
}

document! {
    /// `POST /build/check`: whether there is a mistake in a Dockerfile that only a builder sees.
    pub struct BuildCheck {
        pub text: String,
        pub target: String,
        pub platform: String,
        pub build_args: BTreeMap<String, String>,
        /// As [`BuildExtras::contexts`].
        pub contexts: BTreeMap<String, String>,
        /// What is known of base images.
        pub images: Vec<KnownImage>,
    }
}

document! {
    /// A base image as a Dockerfile names it.
    pub struct KnownImage {
        pub name: String,
        pub platform: String,
        pub config: Option<oci::image::ImageConfig>,
    }
}

document! {
    /// The answer of `POST /build/check`; all is well with an empty message.
    pub struct BuildMistake {
        pub message: String,
        /// Where, in bytes of the text.
        pub start: usize,
        pub end: usize,
        pub help: Option<String>,
    }
}

document! {
    /// What a remote context says about its build: the answer of `POST /build/definition`.
    pub struct BuildDefinition {
        /// What to call the Dockerfile.
        pub name: String,
        pub text: String,
        /// The ignore file that counts for it.
        pub ignore: Option<String>,
    }
}

document! {
    /// A line of `GET /build/history/logs`.
    pub struct BuildLogLine {
        /// Since the build began.
        pub millis: u64,
        pub event: Option<BuildEvent>,
    }
}

/// `POST /build/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePruneOptions {
    /// Also what is not dangling.
    pub all: bool,
    /// Bytes to keep.
    pub reserved_space: i64,
    pub max_used_space: i64,
    pub min_free_space: i64,
    pub filters: Filters,
}

document! {
    pub struct CachePruneReport {
        #[serde(serialize_with = "null_if_empty")]
        pub caches_deleted: Vec<String>,
        pub space_reclaimed: u64,
    }
}

/// The message of a step's error where the step was stopped: another one failed, or somebody ended the build.
pub const CANCELED: &str = "canceled";

/// One event of a build in native progress, the `aux` of a message whose id is [`NATIVE_PROGRESS_ID`]. Steps run
/// side by side, so everything about a step carries its number. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BuildEvent {
    /// A step begins. `name` is for people (`[build 2/4] RUN make`), `instruction` is the Dockerfile's text, `inputs` are the steps
    /// whose results it works on.
    StepStarted {
        id: u64,
        name: String,
        stage: String,
        instruction: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<u64>,
    },
    /// Its result was in the cache.
    StepCached { id: u64 },
    /// Why its result was not in the cache.
    StepMissed { id: u64, reasons: Vec<String> },
    /// What was done with its result besides.
    StepNote { id: u64, note: String },
    /// A part of it is done: `writing image sha256:…`.
    StepStatus { id: u64, name: String },
    /// It printed something.
    StepLog { id: u64, stream: LogStream, text: String },
    /// It ended well.
    StepDone { id: u64, millis: u64 },
    /// It failed, and the build with it; or it was stopped ([`CANCELED`]).
    StepError { id: u64, message: String },
    /// A stage that nothing needs is not built.
    StageSkipped { stage: String },
    /// Something that builds but is probably not meant so.
    Warning { rule: String, message: String, file: String, line: u32, help: Option<String>, excerpt: String },
}

/// A stream of a step's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
}
