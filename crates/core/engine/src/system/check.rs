//! `dhow system check`: what is known against what is on disk and in the kernel.
//!
//! Everything that a crash can leave behind is found here, and with `repair` mended: a definition without its thing
//! gets it back or is settled, a thing without its definition is deleted. Every check is made, also behind a failed one,
//! which becomes a finding itself.
//!
//! Other processes work on the same root meanwhile. What one of them has in hand is left alone: its lock is held, or it
//! is between two states only within a write transaction. A thing is listed first, then its lock tried, then its
//! definition looked for: whoever makes a thing holds the lock until the definition is there. And as a process may be
//! seen between two steps all the same, a finding counts when a second look confirms it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::JsonMessage;
use api::auth::AuthConfig;
use oci::Digest;
use runtime::cgroup::Cgroup;
use state::Life;
use store::Examination;
use tokio::sync::mpsc::Sender;

pub use api::system::Finding;

use super::refetch;
use crate::containers::record::{self, Record};
use crate::containers::{cleanup, networking};
use crate::error::{Context, Error, Kind, Result, chain};
use crate::images::{heal, report};
use crate::networks::{self, EndpointRecord};
use crate::{Engine, builds, exec, ids, lock, privileges, volumes};

/// Between two looks: for a process to go on with what it has in hand.
const SECOND_LOOK: Duration = Duration::from_millis(200);
/// How long the kernel may take to take a network namespace down.
const NAMESPACE_GONE_WITHIN: Duration = Duration::from_secs(2);
/// How often a check tells how far it is.
const EVERY: Duration = Duration::from_millis(200);

/// How a check is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// What can be put right is, and content that is damaged is fetched again from where it came.
    pub repair: bool,
    /// The bytes of layers and of their archives are believed.
    pub quick: bool,
}

/// Looks at everything. Findings say what was repaired. How far the bytes are looked at is told on the way.
pub async fn check(
    engine: &Engine,
    options: CheckOptions,
    credentials: &BTreeMap<String, AuthConfig>,
    progress: Sender<JsonMessage>,
) -> Result<Vec<Finding>> {
    let CheckOptions { repair, quick } = options;
    let (mut findings, mut broken) =
        engine.blocking(move |engine| Ok(first_half(engine, repair, quick, &progress))).await?;
    if repair {
        // What an earlier check has taken away is still lacking.
        let lacking = engine.blocking(|engine| Ok(engine.store().settle(false)?)).await;
        broken.extend(lacking.into_iter().flatten().flat_map(|found| found.images));
        findings.extend(refetch::refetch(engine, broken, credentials).await?);
    }
    findings.extend(layers_of_containers(engine, repair).await?);
    // Last: what the others let go is garbage of the store.
    let rest = engine
        .blocking(move |engine| {
            let mut look = Look { engine, repair, suspects: None, findings: Vec::new() };
            look.content(engine.store().settle(repair));
            Ok(look.findings)
        })
        .await?;
    findings.extend(rest);
    Ok(findings)
}

/// Containers whose image lacks layers, which are fetched again where that is possible.
async fn layers_of_containers(engine: &Engine, repair: bool) -> Result<Vec<Finding>> {
    let lacking = engine.blocking(|engine| {
        let mut lacking = Vec::new();
        for row in engine.db().read(state::containers::list)? {
            // What can't be read is told elsewhere.
            let Ok(record) = Record::try_from(row) else { continue };
            if !engine.store().is_whole(record.layer.as_ref())? {
                lacking.push(record);
            }
        }
        Ok(lacking)
    });
    let mut findings = Vec::new();
    for record in lacking.await? {
        let wanted = heal::Wanted::of(&record);
        let way_out = format!(
            "image {} lacks layers: starting it fetches them again, if a registry has them",
            record.image
        );
        let (message, repaired) = match repair {
            true => match heal::layers(engine, wanted, Error::system("")).await {
                Ok(done) => (done, true),
                Err(error) => (error.message, false),
            },
            false => (way_out, false),
        };
        findings.push(Finding { kind: "container".to_owned(), object: record.id, message, repaired });
    }
    Ok(findings)
}

/// All but what refers to what in the store: what was found, and the images that have lost something.
fn first_half(
    engine: &Engine,
    repair: bool,
    quick: bool,
    progress: &Sender<JsonMessage>,
) -> (Vec<Finding>, BTreeSet<Digest>) {
    let mut first = Look { engine, repair: false, suspects: None, findings: Vec::new() };
    first.things();
    let suspects: BTreeSet<String> = first.findings.into_iter().map(|f| f.object).collect();
    let any = !suspects.is_empty();
    let mut look = Look { engine, repair, suspects: Some(suspects), findings: Vec::new() };
    if any {
        std::thread::sleep(SECOND_LOOK);
        look.things();
    }
    let (told, started) = (Mutex::new(None::<Instant>), Instant::now());
    let tell = |done, total| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if done == total || told.is_none_or(|at| at.elapsed() >= EVERY) {
            *told = Some(Instant::now());
            let rate = done as f64 / 1e6 / started.elapsed().as_secs_f64().max(0.001);
            let status = format!("Checking at {rate:.0} MB/s");
            progress.try_send(JsonMessage::part("content", status, report::bytes(done, total))).ok();
        }
    };
    let found = engine.store().examine(&Examination { repair, quick, only: None, progress: Some(&tell) });
    let lost = |found: &Vec<store::Finding>| found.iter().flat_map(|found| found.images.clone()).collect();
    let broken = found.as_ref().map(lost).unwrap_or_default();
    look.content(found);
    (look.findings, broken)
}

struct Look<'e> {
    engine: &'e Engine,
    repair: bool,
    /// What an earlier look found something about; nothing else counts. `None` at the first.
    suspects: Option<BTreeSet<String>>,
    findings: Vec<Finding>,
}

/// A check of one kind of thing.
type Part<'e> = fn(&mut Look<'e>) -> Result<()>;

impl<'e> Look<'e> {
    fn things(&mut self) {
        let parts: [(&str, Part<'e>); 11] = [
            ("containers", Self::containers),
            ("monitors", Self::run_dirs),
            ("container directories", Self::container_dirs),
            ("endpoints", Self::endpoints),
            ("names", Self::names),
            ("network objects", Self::network_objects),
            ("control groups", Self::cgroups),
            ("execs", Self::execs),
            ("names of what runs", Self::announced),
            ("builds", Self::builds),
            ("volumes", Self::volumes),
        ];
        for (what, part) in parts {
            if let Err(e) = part(self) {
                let message = format!("could not be checked: {}", privileges::unchecked(&e.to_string()));
                self.note("check", what, message, false);
            }
        }
    }

    fn counts(&self, object: &str) -> bool {
        self.suspects.as_ref().is_none_or(|suspects| suspects.contains(object))
    }

    fn note(&mut self, kind: &str, object: impl Into<String>, message: impl Into<String>, repaired: bool) {
        let (kind, object, message) = (kind.to_owned(), object.into(), message.into());
        if self.counts(&object) {
            self.findings.push(Finding { kind, object, message, repaired });
        }
    }

    /// Notes a problem and mends it if that was asked for.
    fn mend(&mut self, kind: &str, object: &str, message: &str, repair: impl FnOnce(&Engine) -> Result<()>) {
        if !self.repair || !self.counts(object) {
            return self.note(kind, object, message, false);
        }
        match repair(self.engine) {
            Ok(()) => self.note(kind, object, message, true),
            Err(e) => self.note(kind, object, format!("{message}; not repaired: {e}"), false),
        }
    }

    /// The store knows by its leases what is in work: one look is enough.
    fn content(&mut self, found: Result<Vec<store::Finding>, store::Error>) {
        let findings = match found {
            Ok(findings) => findings,
            Err(e) => {
                let message = format!("could not be checked: {}", privileges::unchecked(&chain(&e)));
                let (kind, object) = ("check".to_owned(), "content".to_owned());
                return self.findings.push(Finding { kind, object, message, repaired: false });
            }
        };
        self.findings.extend(findings.into_iter().map(|found| {
            let (kind, object) = found.subject.split_once(' ').unwrap_or(("content", &found.subject));
            let (kind, object) = (kind.to_owned(), object.to_owned());
            Finding { kind, object, message: found.problem, repaired: found.repaired }
        }));
    }

    /// Definitions without their thing.
    fn containers(&mut self) -> Result<()> {
        for row in self.engine.db().read(state::containers::list)? {
            let id = row.id.clone();
            let record = match Record::try_from(row) {
                Ok(record) => record,
                Err(e) => {
                    self.note("container", id, format!("{}: remove it", e.message), false);
                    continue;
                }
            };
            let dir = self.engine.container_dir(&record.id);
            if !dir.join("upper").is_dir() || !dir.join("work").is_dir() {
                self.mend(
                    "container",
                    &record.id,
                    "its directory is missing: its changes are lost",
                    |engine| {
                        let _lock = match record::locked(engine, &record.id) {
                            // Removed meanwhile.
                            Err(e) if e.kind == Kind::NotFound => return Ok(()),
                            locked => locked?,
                        };
                        record::make_private_dir(&dir.join("work"))?;
                        std::fs::create_dir_all(dir.join("upper")).during("make its directory")
                    },
                );
            }
            match record::observe(self.engine, &record.id) {
                Ok(seen) if seen.lost => {
                    self.mend("container", &record.id, "its monitor was killed while it ran", |engine| {
                        cleanup::settle(engine, &record).map(drop)
                    });
                }
                Ok(seen) if cleanup::is_overdue(self.engine, &record, &seen)? => {
                    self.mend("container", &record.id, "it was to be removed at its end", |engine| {
                        cleanup::remove_overdue(engine, &record.id)
                    });
                }
                Ok(_) => {}
                Err(e) => self.mend(
                    "container",
                    &record.id,
                    &format!("{e}: its last exit is not known"),
                    |engine| {
                        let lost = monitor::Status::default().lost();
                        let written = match record.life() {
                            Life::Lasting => lost.write(&dir, true),
                            Life::Fleeting => {
                                lost.write_fleeting(&dir, &engine.container_run_dir(&record.id))
                            }
                        };
                        written.during("write its status")
                    },
                ),
            }
        }
        Ok(())
    }

    /// Of these containers the ones that no definition names and nobody makes or removes just now.
    fn unknown(&self, names: Vec<String>) -> Result<Vec<String>> {
        let mut idle = Vec::new();
        for name in names {
            if !lock::is_held(&self.engine.container_run_dir(&name).join("lock"))? {
                idle.push(name);
            }
        }
        let known: BTreeSet<String> = self.engine.db().read(state::containers::ids)?.into_iter().collect();
        idle.retain(|name| !known.contains(name));
        Ok(idle)
    }

    /// Directories without a definition.
    fn container_dirs(&mut self) -> Result<()> {
        for name in self.unknown(names(&self.engine.config().root.join("containers"))?)? {
            // The monitor, which writes into it, goes first.
            if monitor::client::is_alive(&self.engine.config().run, &name) {
                continue;
            }
            let dir = self.engine.container_dir(&name);
            self.mend("container", &name, "its directory has no definition", |_| delete(&dir));
        }
        Ok(())
    }

    /// Monitors and run directories without a definition.
    fn run_dirs(&mut self) -> Result<()> {
        let run = self.engine.config().run.clone();
        for name in self.unknown(names(&run.join("containers"))?)? {
            let dir = self.engine.container_run_dir(&name);
            if monitor::client::is_alive(&run, &name) {
                self.mend("monitor", &name, "its container has no definition", |_| {
                    end_monitor(&run, &name)?;
                    delete(&dir)
                });
            } else {
                self.mend("container", &name, "its run directory has no definition", |_| delete(&dir));
            }
        }
        Ok(())
    }

    /// Endpoints whose container does not run, and running ones whose ports lead nowhere.
    fn endpoints(&mut self) -> Result<()> {
        let published: BTreeSet<String> =
            network::published_ports().system()?.into_iter().map(|p| p.endpoint_id).collect();
        let mut by_container: BTreeMap<String, Vec<EndpointRecord>> = BTreeMap::new();
        for row in self.engine.db().read(state::endpoints::list)? {
            let endpoint = EndpointRecord::try_from(row)?;
            by_container.entry(endpoint.container.clone()).or_default().push(endpoint);
        }
        for (container, endpoints) in by_container {
            if builds::is_alive(self.engine, &container)? {
                continue;
            }
            let observed = record::observe(self.engine, &container)?;
            let busy = lock::is_held(&self.engine.container_run_dir(&container).join("lock"))?;
            // A monitor that lives runs the clean-up itself.
            if !observed.status.state.is_live() && !observed.alive && !busy {
                self.mend("endpoint", &container, "its container does not run", |engine| {
                    networking::disconnect_all(engine, &container);
                    Ok(())
                });
                continue;
            }
            for endpoint in endpoints {
                let e = &endpoint.document.endpoint;
                if observed.status.pid == 0 || e.ports.is_empty() || published.contains(&e.id) {
                    continue;
                }
                self.mend("endpoint", &e.id, "its published ports are gone from the firewall", |engine| {
                    republish(engine, &endpoint)
                });
            }
        }
        Ok(())
    }

    /// What is in the kernel, after what is on its way out is gone: the kernel takes a network namespace down some time
    /// after its last process, and the interfaces in it with it.
    fn settled_survey(&self) -> Result<network::Survey> {
        let started = std::time::Instant::now();
        loop {
            let survey = network::survey().system()?;
            let known: BTreeSet<String> =
                self.engine.db().read(state::endpoints::list)?.into_iter().map(|e| e.id).collect();
            let leaving =
                survey.ports.iter().any(|port| self.engine.is_ours(&port.id) && !known.contains(&port.id));
            if !leaving || started.elapsed() > NAMESPACE_GONE_WITHIN {
                return Ok(survey);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Files of names that do not say what the definitions say.
    fn names(&mut self) -> Result<()> {
        for id in networks::names::stale(self.engine)? {
            self.mend("network", &id, "the published names of its containers are not up to date", |engine| {
                networks::names::publish(engine, &BTreeSet::from([id.clone()]))
            });
        }
        Ok(())
    }

    /// Objects in the kernel that no definition names.
    fn network_objects(&mut self) -> Result<()> {
        let survey = self.settled_survey()?;
        let networks: BTreeSet<String> = networks::all(self.engine)?.into_iter().map(|n| n.id).collect();
        let endpoints: BTreeSet<String> =
            self.engine.db().read(state::endpoints::list)?.into_iter().map(|e| e.id).collect();
        let ours = |id: &str| self.engine.is_ours(id);
        let mut orphans: BTreeMap<String, String> = BTreeMap::new();
        for bridge in survey.bridges.iter().filter(|b| ours(&b.id) && !networks.contains(&b.id)) {
            orphans.insert(bridge.id.clone(), format!("bridge {} belongs to no network", bridge.ifname));
        }
        for port in survey.ports.iter().filter(|p| ours(&p.id) && !endpoints.contains(&p.id)) {
            orphans.insert(port.id.clone(), format!("interface {} belongs to no endpoint", port.ifname));
        }
        for port in &survey.published {
            if !ours(&port.endpoint_id) || endpoints.contains(&port.endpoint_id) {
                continue;
            }
            let message = format!("published port {} belongs to no endpoint", port.map.host_port);
            orphans.entry(port.endpoint_id.clone()).or_insert(message);
        }
        for (bridge, id) in
            survey.firewall_networks.iter().filter(|(_, id)| ours(id) && !networks.contains(id))
        {
            orphans
                .entry(id.clone())
                .or_insert_with(|| format!("firewall rules of {bridge} belong to no network"));
        }
        for (id, message) in orphans {
            self.mend("network", &id, &message, |_| network::remove_orphan(&id).system());
        }
        Ok(())
    }

    /// Control groups of containers that do not run, and of builds that have ended.
    fn cgroups(&mut self) -> Result<()> {
        for path in cgroups() {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let busy = lock::is_held(&self.engine.container_run_dir(&name).join("lock"))?;
            let alive = monitor::client::is_alive(&self.engine.config().run, &name);
            // A group of another root's container is that root's to check.
            let message = match self.engine.is_ours(&name) {
                true if !busy && !alive => "its container does not run",
                false if builds::leftovers::is_dead_cgroup(self.engine, &name)? => "its build has ended",
                _ => continue,
            };
            self.mend("cgroup", &name, message, |_| {
                let group = Cgroup::new(&path).system()?;
                group.kill_all().system()?;
                group.delete(Duration::from_secs(5)).system()
            });
        }
        Ok(())
    }

    /// What killed builds left in the run directory.
    fn builds(&mut self) -> Result<()> {
        for path in builds::leftovers::files(self.engine)? {
            self.mend("build", &path.to_string_lossy(), "its process is gone", |engine| {
                builds::leftovers::remove(engine, &path)
            });
        }
        Ok(())
    }

    /// Names that lead to containers that do not run.
    fn announced(&mut self) -> Result<()> {
        let run = &self.engine.config().run;
        for name in names(&run.join("names"))? {
            let path = run.join("names").join(&name);
            let container = std::fs::read_link(&path).unwrap_or_default();
            if !container.to_str().is_some_and(|id| monitor::client::is_alive(run, id)) {
                self.mend("name", &name, "its container does not run", |_| delete(&path));
            }
        }
        Ok(())
    }

    /// Execs whose container does not run.
    fn execs(&mut self) -> Result<()> {
        let dir = self.engine.config().run.join("exec");
        for name in names(&dir)? {
            let path = dir.join(&name);
            let container = std::fs::read_to_string(&path).unwrap_or_default();
            if !monitor::client::is_alive(&self.engine.config().run, container.trim()) {
                self.mend("exec", &name, "its container does not run", |engine| {
                    exec::forget(engine, container.trim());
                    delete(&path)
                });
            }
        }
        Ok(())
    }

    /// Volumes and their directories, alone among all processes: directories come and go within write transactions.
    fn volumes(&mut self) -> Result<()> {
        let engine = self.engine;
        engine.db().write(|tx| self.volumes_alone(state::volumes::list(tx)?))?;
        for name in
            names(&engine.config().root.join("volumes"))?.into_iter().filter(|name| name.starts_with('.'))
        {
            let path = volumes::dir(engine, &name);
            self.mend("volume", &name, "left behind by an unfinished removal", |_| delete(&path));
        }
        Ok(())
    }

    fn volumes_alone(&mut self, rows: Vec<state::volumes::Volume>) -> Result<()> {
        let engine = self.engine;
        let mut known = BTreeSet::new();
        for row in rows {
            let volume = volumes::Record::try_from(row)?;
            let data = volume.data(engine);
            if !data.is_dir() {
                self.mend("volume", &volume.name, "its directory is missing: its data is lost", |_| {
                    std::fs::create_dir_all(&data).during("make its directory")
                });
            }
            known.insert(volume.name);
        }
        for name in names(&engine.config().root.join("volumes"))? {
            let path = volumes::dir(engine, &name);
            let data = path.join("_data");
            // With a dot it was set aside by a removal.
            if known.contains(&name) || name.starts_with('.') {
                continue;
            }
            if volumes::is_abandoned(engine, &name)? {
                let message = "left behind by an unfinished creation or removal";
                self.mend("volume", &name, message, |_| delete(&path));
            } else if !volumes::is_provisional(engine, &name) {
                let message = format!("its data in {} has no definition: save or delete it", data.display());
                self.note("volume", &name, message, false);
            }
        }
        Ok(())
    }
}

/// Leads an endpoint's ports to it again, after another program flushed the firewall.
fn republish(engine: &Engine, endpoint: &EndpointRecord) -> Result<()> {
    let Some(plan) = networks::find(engine, &endpoint.network)?.plan() else { return Ok(()) };
    network::ensure_network(&plan, &engine.config().root).system()?;
    network::publish(&plan, &endpoint.document.endpoint).system()
}

fn end_monitor(run: &Path, id: &str) -> Result<()> {
    let Some(mut monitor) = monitor::client::connect(run, id)? else { return Ok(()) };
    match monitor.stop(Some(9), Some(1)).map_err(Error::from) {
        Err(e) if e.kind != Kind::Conflict => return Err(e),
        _ => {}
    }
    Ok(monitor.removed()?)
}

fn delete(path: &Path) -> Result<()> {
    let deleted = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match deleted {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).during(format_args!("delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The names in a directory; none if it does not exist.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).during(format_args!("list {}", dir.display())),
    };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// How deep below a hierarchy's root groups are looked for: `--cgroup-parent` may name any place.
const CGROUP_DEPTH: usize = 8;

/// Where hierarchies of control groups are mounted.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let typ = right.split_whitespace().next()?;
            let point = left.split_whitespace().nth(4)?;
            matches!(typ, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
        })
        .collect()
}

/// The control groups, by their paths, that are named like those of containers and of builds' steps.
fn cgroups() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for root in cgroup_roots() {
        collect_cgroups(&root, "", CGROUP_DEPTH, &mut all);
    }
    all
}

/// Groups come and go meanwhile: one that can't be listed is gone.
fn collect_cgroups(dir: &Path, path: &str, depth: usize, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|typ| typ.is_dir()) {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{path}/{name}");
        if name.starts_with("build-") || (name.len() == 64 && ids::is_prefix(&name)) {
            all.insert(path);
        } else if depth > 1 {
            collect_cgroups(&entry.path(), &path, depth - 1, all);
        }
    }
}
