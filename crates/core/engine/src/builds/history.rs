//! What became of builds: a record and the whole log of each.
//!
//! ```text
//! <root>/builds/<id>/record.json   api::build::BuildRecord; written at the beginning and, by a rename, at the end
//!                    log           what happened: a line of JSON each, milliseconds since the beginning and the event
//!                    attachments.json  descriptors of the documents that belong to it, if there are any
//!                    <sha256>      each of them: a SLSA provenance, an SPDX list of packages ([`super::attached`])
//! ```
//!
//! A build holds the lock of its directory, so that one whose process was killed is told from one that runs. Records are for
//! people to look at: whatever goes wrong while one is written does not make a build fail, and none is synced. Old ones go
//! when new ones come.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use api::build::{BuildEvent, BuildOptions, BuildRecord};
use builder::{Built, BuiltResult, Event};
use oci::image::Descriptor;

use super::build::Record;
use super::clip::Clip;
use super::{ContextSource, attached, document};
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Error, Kind, Result};
use crate::lock::{self, Lock};
use crate::{Engine, ids};

/// Records that are kept.
const KEPT: usize = 100;
/// Bytes of them that are kept, but for the newest.
const KEPT_BYTES: u64 = 256 << 20;
/// A record that has less is small: however many of these there are, all have no more than is kept.
const SMALL: u64 = 1 << 20;
/// Bytes of a log that are kept: there can be many steps.
const LOG_MAX: u64 = 64 << 20;
const RUNNING: &str = "running";
const RECORD: &str = "record.json";
const LOG: &str = "log";
/// The media type of documents about results, as BuildKit has it.
pub const STATEMENT: &str = "application/vnd.in-toto+json";

pub(super) fn directory(engine: &Engine) -> PathBuf {
    engine.config().root.join("builds")
}

/// A name for a record to be.
pub fn new_id() -> Result<String> {
    Ok(ids::new()?.chars().take(12).collect())
}

/// Writes one build's record.
pub(super) struct Recorder {
    record: BuildRecord,
    directory: PathBuf,
    log: Option<BufWriter<File>>,
    logged: u64,
    clip: Clip,
    begun: Instant,
    _lock: Option<Lock>,
}

impl Recorder {
    /// Begins the record of a build that is called so.
    pub fn begin(engine: &Engine, options: &BuildOptions, asked: Record, name: String) -> Result<Self> {
        let id = match asked.id {
            Some(id) if self::directory(engine).join(&id).exists() && is_id(&id) => {
                return Err(Error::conflict(format!("build {id} exists already")));
            }
            Some(id) if is_id(&id) => id,
            Some(id) => return Err(Error::invalid(format!("{id:?} is no name of a build"))),
            None => new_id()?,
        };
        let record = BuildRecord {
            name,
            status: RUNNING.to_owned(),
            started_at: now(),
            tags: options.tags.clone(),
            target: options.target.clone(),
            platform: options.platform.clone(),
            build_args: args(options),
            labels: options.labels.clone(),
            no_cache: options.no_cache,
            attributes: asked.attributes,
            id,
            ..BuildRecord::default()
        };
        let directory = directory(engine).join(&record.id);
        let (clip, begun) = (Clip::default(), Instant::now());
        let mut recorder = Self { record, directory, log: None, logged: 0, clip, begun, _lock: None };
        // On a full disk builds that are cached still work.
        let _ = recorder.open(engine);
        Ok(recorder)
    }

    fn open(&mut self, engine: &Engine) -> Result<()> {
        make_private_dir(&directory(engine))?;
        make_private_dir(&self.directory)?;
        self._lock = Some(lock::directory(&self.directory)?);
        let log = self.directory.join(LOG);
        let file = File::create_new(&log).during(format_args!("create {}", log.display()))?;
        self.log = Some(BufWriter::new(file));
        write(&self.directory, &self.record)?;
        forget_old(engine)
    }

    pub fn event(&mut self, event: &Event) {
        let Some(event) = document(event.clone()) else { return };
        self.record.note(&event);
        let Some(event) = self.clip.keep(event) else { return };
        let Some(log) = &mut self.log else { return };
        let Ok(mut line) = serde_json::to_vec(&(self.begun.elapsed().as_millis() as u64, event)) else {
            return;
        };
        line.push(b'\n');
        self.logged += line.len() as u64;
        if self.logged > LOG_MAX || log.write_all(&line).is_err() {
            self.log = None;
        }
    }

    pub fn end(&mut self, built: &Result<Built>) {
        self.record.completed_at = now();
        match built {
            Ok(built) => {
                self.record.status = "completed".to_owned();
                if let Some(result) = &built.result {
                    self.record.image = result.image_id.to_string();
                    let _ = attach(&self.directory, result);
                }
            }
            Err(error) => {
                let cancelled = error.kind == Kind::Cancelled;
                self.record.status = if cancelled { "canceled" } else { "error" }.to_owned();
                self.record.error.clone_from(&error.message);
                self.record.excerpt = error.excerpt().to_owned();
            }
        }
        if let Some(log) = &mut self.log {
            let _ = log.flush();
        }
        let _ = write(&self.directory, &self.record);
        if let (Some(base), true) = (self.directory.parent(), size(&self.directory) > SMALL) {
            let _ = forget_large(base, KEPT_BYTES);
        }
    }
}

fn write(directory: &Path, record: &BuildRecord) -> Result<()> {
    let text = serde_json::to_vec(record).during("write the record of a build")?;
    attached::replace(&directory.join(RECORD), &text)
}

/// Keeps the documents about the result.
fn attach(directory: &Path, built: &BuiltResult) -> Result<()> {
    // What did not stay is nowhere else.
    for bytes in built.documents.values() {
        attached::keep(directory, "", bytes)?;
    }
    let mut all = Vec::new();
    for image in &built.images {
        let provenance = image.provenance.as_ref().map(|document| match document.get("buildDefinition") {
            Some(_) => ("https://slsa.dev/provenance/v1", document),
            None => ("https://slsa.dev/provenance/v0.2", document),
        });
        let sbom = image.sbom.as_ref().map(|document| ("https://spdx.dev/Document", document));
        for (kind, document) in provenance.into_iter().chain(sbom) {
            let bytes = serde_json::to_vec_pretty(document).during("write a document about a build")?;
            let mut descriptor = attached::keep(directory, STATEMENT, &bytes)?;
            descriptor.platform = Some(image.platform.clone());
            descriptor.annotations.insert("in-toto.io/predicate-type".to_owned(), kind.to_owned());
            all.push(descriptor);
        }
    }
    attached::add(directory, all)
}

/// Ids name directories, and stand beside `^1` and addresses on command lines.
fn is_id(text: &str) -> bool {
    (8..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A name for people: the directory, or the address, and the Dockerfile if it has another name than usual.
pub(super) fn name(options: &BuildOptions, context: &ContextSource, called: Option<&str>) -> String {
    let place = match context {
        ContextSource::Dir(_) | ContextSource::Client if called.is_some() => {
            called.unwrap_or_default().to_owned()
        }
        ContextSource::Client => "context".to_owned(),
        ContextSource::Dir(path) => path.display().to_string(),
        ContextSource::Remote(address) => oci::address::without_userinfo(address),
        ContextSource::Tar(_) => "-".to_owned(),
        ContextSource::Graph(_) => "graph".to_owned(),
    };
    let file = options.extras.dockerfile.as_ref().map_or(options.dockerfile.as_str(), |inline| &inline.name);
    match file {
        "" | "Dockerfile" => place,
        file => format!("{place} ({file})"),
    }
}

/// Whether a build argument tells of a proxy: its address may hold a password.
pub(super) fn is_secret(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("_proxy")
}

/// Build arguments but those that hold passwords.
fn args(options: &BuildOptions) -> BTreeMap<String, String> {
    let known = options.build_args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    known.filter(|(name, _)| !is_secret(name)).collect()
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// All records, the newest first.
pub async fn list(engine: &Engine) -> Result<Vec<BuildRecord>> {
    engine.blocking(records).await
}

/// Records as they were when they were last looked at: of those that have not changed since, nothing is read again.
#[derive(Default)]
pub struct Seen(HashMap<OsString, (Version, Arc<BuildRecord>)>);

/// Which file it was that a record was read from: each version of it is another one.
type Version = (u64, i64, i64);

impl Seen {
    /// All records as they are now, the newest first.
    pub async fn look(mut self, engine: &Engine) -> Result<(Self, Vec<Arc<BuildRecord>>)> {
        engine
            .blocking(move |engine| {
                let all = self.refresh(&directory(engine))?;
                Ok((self, all))
            })
            .await
    }

    fn refresh(&mut self, base: &Path) -> Result<Vec<Arc<BuildRecord>>> {
        let mut before = std::mem::take(&mut self.0);
        for directory in directories(base)? {
            let name = directory.file_name().unwrap_or_default().to_owned();
            let Ok(version) = version(&directory) else { continue };
            // Whether one that runs is alive is not said by its file.
            let known =
                before.remove(&name).filter(|(seen, record)| *seen == version && record.status != RUNNING);
            let record = known.map(|(_, record)| record).or_else(|| read(&directory).ok().map(Arc::new));
            self.0.extend(record.map(|record| (name, (version, record))));
        }
        let mut all: Vec<_> = self.0.values().map(|(_, record)| record.clone()).collect();
        all.sort_by(|a, b| newest_first(a, b));
        Ok(all)
    }
}

fn version(directory: &Path) -> std::io::Result<Version> {
    let found = std::fs::metadata(directory.join(RECORD))?;
    Ok((found.ino(), found.mtime(), found.mtime_nsec()))
}

fn newest_first(a: &BuildRecord, b: &BuildRecord) -> std::cmp::Ordering {
    (&b.started_at, &b.id).cmp(&(&a.started_at, &a.id))
}

/// The directories of records.
fn directories(base: &Path) -> Result<Vec<PathBuf>> {
    match std::fs::read_dir(base) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => {
            let entries = other.during(format_args!("list {}", base.display()))?;
            Ok(entries.flatten().map(|entry| entry.path()).collect())
        }
    }
}

fn records(engine: &Engine) -> Result<Vec<BuildRecord>> {
    ordered(&directory(engine))
}

/// The records in a directory, the newest first.
fn ordered(base: &Path) -> Result<Vec<BuildRecord>> {
    // One that is being begun, or was left by a kill at that moment, has nothing to tell.
    let found = directories(base)?;
    let mut all: Vec<BuildRecord> = found.iter().filter_map(|directory| read(directory).ok()).collect();
    all.sort_by(newest_first);
    Ok(all)
}

fn read(directory: &Path) -> Result<BuildRecord> {
    let path = directory.join(RECORD);
    let failed = || format!("read {}", path.display());
    let text = std::fs::read(&path).during(failed())?;
    let mut record: BuildRecord = serde_json::from_slice(&text).during(failed())?;
    if record.status == RUNNING && !lock::is_held(directory)? {
        // It may have ended between the two looks.
        let text = std::fs::read(&path).during(failed())?;
        record = serde_json::from_slice(&text).during(failed())?;
        if record.status == RUNNING {
            record.status = "killed".to_owned();
            record.completed_at = last_sign(directory).map_or_else(String::new, api::time::rfc3339);
        }
    }
    Ok(record)
}

/// When a build that was killed wrote its record or its log last.
fn last_sign(directory: &Path) -> Option<jiff::Timestamp> {
    let written = |name| std::fs::metadata(directory.join(name)).and_then(|file| file.modified()).ok();
    jiff::Timestamp::try_from([RECORD, LOG].into_iter().filter_map(written).max()?).ok()
}

/// Which record is meant.
pub enum Which {
    /// That of the build with this id, as programs name it.
    Id(String),
    /// As people write it: an id or the beginning of one, nothing for the newest, `^1` for the one before it.
    Called(String),
}

fn find(engine: &Engine, which: &Which) -> Result<BuildRecord> {
    let (Which::Id(name) | Which::Called(name)) = which;
    let missing = || Error::not_found(format!("no such build: {name}"));
    if let Which::Id(id) = which {
        let directory = Some(directory(engine).join(id)).filter(|path| is_id(id) && path.exists());
        return read(&directory.ok_or_else(missing)?);
    }
    let all = records(engine)?;
    if let Some(back) = if name.is_empty() { Some("0") } else { name.strip_prefix('^') } {
        let back: usize = back.parse().map_err(|_| missing())?;
        return all.into_iter().nth(back).ok_or_else(missing);
    }
    let mut found = all.into_iter().filter(|record| record.id.starts_with(name));
    match (found.next(), found.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(Error::invalid(format!("{name} is the beginning of several builds' ids"))),
        (None, _) => Err(missing()),
    }
}

/// One record.
pub async fn inspect(engine: &Engine, which: Which) -> Result<BuildRecord> {
    engine.blocking(move |engine| find(engine, &which)).await
}

/// What happened, with milliseconds since the beginning.
pub async fn logs(engine: &Engine, which: Which) -> Result<Vec<(u64, BuildEvent)>> {
    engine
        .blocking(move |engine| {
            let record = find(engine, &which)?;
            let path = directory(engine).join(&record.id).join(LOG);
            let file = File::open(&path).during(format_args!("open {}", path.display()))?;
            // The last line of a build that runs or was killed may be cut.
            let lines = BufReader::new(file).lines().map_while(std::io::Result::ok);
            Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
        })
        .await
}

/// What a build came to besides what its steps made, as who served it knows.
#[derive(Default)]
pub struct Outcome {
    /// Why it failed, if that is not what the record says already.
    pub error: Option<String>,
    /// What the client was told.
    pub response: BTreeMap<String, String>,
    /// Documents, each with its media type.
    pub documents: Vec<(String, Vec<u8>)>,
    /// What was handed out: a manifest or an index each.
    pub results: Vec<Descriptor>,
}

/// A build of which nothing was made that has a record.
pub struct Unbegun {
    pub options: BuildOptions,
    pub record: Record,
    /// Where its files were to come from.
    pub context: ContextSource,
    /// When it was asked for.
    pub started_at: jiff::Timestamp,
    /// Nobody waits for it any more.
    pub is_cancelled: bool,
}

impl Unbegun {
    /// The record of its failure.
    fn record(self, engine: &Engine, reason: &str) -> Result<()> {
        let name = name(&self.options, &self.context, self.record.context.as_deref());
        let mut recorder = Recorder::begin(engine, &self.options, self.record, name)?;
        recorder.record.started_at = self.started_at.to_string();
        let kind = if self.is_cancelled { Kind::Cancelled } else { Kind::System };
        recorder.end(&Err(Error::new(kind, reason)));
        Ok(())
    }
}

/// Adds to the record of the build with this id, which has ended, how it came out for its client. One that failed before it had a
/// record gets it now.
pub async fn conclude(engine: &Engine, id: String, outcome: Outcome, unbegun: Option<Unbegun>) -> Result<()> {
    engine
        .blocking(move |engine| {
            let directory = directory(engine).join(&id);
            if !is_id(&id) {
                return Ok(());
            }
            if !directory.exists() {
                let (Some(reason), Some(unbegun)) = (&outcome.error, unbegun) else { return Ok(()) };
                unbegun.record(engine, reason)?;
            }
            let mut record = read(&directory)?;
            // What failed on the way may have been mended by the client, and what was made may have gone nowhere.
            match outcome.error {
                None => record.status = "completed".to_owned(),
                Some(_) if record.status == "canceled" => {}
                Some(error) => {
                    record.status = "error".to_owned();
                    if record.error.is_empty() {
                        record.error = error;
                    }
                }
            }
            if record.status == "completed" {
                (record.error, record.excerpt) = (String::new(), String::new());
            }
            record.response.extend(outcome.response);
            let documents = outcome.documents.iter();
            let mut all = documents
                .map(|(kind, bytes)| attached::keep(&directory, kind, bytes))
                .collect::<Result<Vec<_>>>()?;
            all.extend(outcome.results.iter().filter_map(|result| {
                attached::keep_manifest(engine, &directory, result).ok().map(|()| result.clone())
            }));
            attached::add(&directory, all)?;
            write(&directory, &record)
        })
        .await
}

/// Removes the record of a build that has ended: its id.
pub async fn remove(engine: &Engine, which: Which) -> Result<String> {
    engine
        .blocking(move |engine| {
            let record = find(engine, &which)?;
            if record.status == RUNNING {
                return Err(Error::conflict(format!("build {} is running", record.id)));
            }
            forget(engine, &record.id)?;
            Ok(record.id)
        })
        .await
}

/// Removes all records of builds that have ended: their ids.
pub async fn remove_all(engine: &Engine) -> Result<Vec<String>> {
    engine
        .blocking(|engine| {
            let ended = records(engine)?.into_iter().filter(|record| record.status != RUNNING);
            ended.map(|record| forget(engine, &record.id).map(|()| record.id)).collect()
        })
        .await
}

fn forget(engine: &Engine, id: &str) -> Result<()> {
    remove_directory(&directory(engine).join(id))
}

fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).during(format_args!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes room: the oldest that do not run go.
fn forget_old(engine: &Engine) -> Result<()> {
    let count = std::fs::read_dir(directory(engine)).map_or(0, Iterator::count);
    // A good many at once: reading all records costs more than one build's worth.
    if count < KEPT + KEPT / 4 {
        return Ok(());
    }
    let ended = records(engine)?.into_iter().skip(KEPT).filter(|record| record.status != RUNNING);
    ended.map(|record| record.id).try_for_each(|id| forget(engine, &id))
}

/// Makes room on the disk: of the records that have ended, the newest stay that have together no more than so many bytes. The very
/// newest does in any case.
fn forget_large(base: &Path, bytes: u64) -> Result<()> {
    let mut all = ordered(base)?.into_iter();
    let mut kept = all.next().map_or(0, |newest| size(&base.join(&newest.id)));
    for record in all {
        let directory = base.join(&record.id);
        kept = kept.saturating_add(size(&directory));
        if kept > bytes && record.status != RUNNING {
            remove_directory(&directory)?;
        }
    }
    Ok(())
}

/// Bytes of the files of a record.
fn size(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_bounds_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for (id, started_at, status, bytes) in [
            ("oldest", "1", "completed", 1),
            ("older", "2", "error", 3000),
            ("running", "3", RUNNING, 3000),
            ("newer", "4", "completed", 2000),
            ("newest", "5", "completed", 9000),
        ] {
            put(dir.path(), id, status);
            let directory = dir.path().join(id);
            let record = BuildRecord { started_at: started_at.to_owned(), ..read(&directory).unwrap() };
            let record = BuildRecord { status: status.to_owned(), ..record };
            write(&directory, &record).unwrap();
            std::fs::write(directory.join(LOG), vec![b'x'; bytes]).unwrap();
        }
        let _lock = lock::directory(&dir.path().join("running")).unwrap();
        let left = |bytes| {
            forget_large(dir.path(), bytes).unwrap();
            ordered(dir.path()).unwrap().into_iter().map(|record| record.id).collect::<Vec<_>>()
        };
        assert_eq!(left(1 << 20), ["newest", "newer", "running", "older", "oldest"]);
        assert_eq!(left(15_000), ["newest", "newer", "running"]);
        assert_eq!(left(0), ["newest", "running"]);
    }

    fn put(base: &Path, id: &str, status: &str) {
        let directory = base.join(id);
        std::fs::create_dir_all(&directory).unwrap();
        let record = BuildRecord { id: id.to_owned(), status: status.to_owned(), ..BuildRecord::default() };
        let partial = directory.join("record.partial");
        std::fs::write(&partial, serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::rename(&partial, directory.join(RECORD)).unwrap();
    }

    #[test]
    fn only_what_has_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Seen::default();
        let told = |all: &[Arc<BuildRecord>]| -> Vec<String> {
            all.iter().map(|record| format!("{} {}", record.id, record.status)).collect()
        };
        assert!(seen.refresh(&dir.path().join("none")).unwrap().is_empty());
        put(dir.path(), "first", "completed");
        put(dir.path(), "second", RUNNING);
        let before = seen.refresh(dir.path()).unwrap();
        // Nobody holds the lock of the one that runs.
        assert_eq!(told(&before), ["second killed", "first completed"]);
        assert!(api::time::parse(&before[0].completed_at).is_some(), "its last sign ended it");
        let lock = lock::directory(&dir.path().join("second")).unwrap();
        put(dir.path(), "second", RUNNING);
        let during = seen.refresh(dir.path()).unwrap();
        assert_eq!(told(&during), ["second running", "first completed"]);
        assert!(Arc::ptr_eq(&before[1], &during[1]), "it was read again");
        drop(lock);
        assert_eq!(told(&seen.refresh(dir.path()).unwrap())[0], "second killed");
        put(dir.path(), "second", "error");
        std::fs::remove_dir_all(dir.path().join("first")).unwrap();
        assert_eq!(told(&seen.refresh(dir.path()).unwrap()), ["second error"]);
    }
}
