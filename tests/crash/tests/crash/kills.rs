//! SIGKILL at random moments: of the client that serves itself, of the daemon, of a container's monitor.
//!
//! What is done is noted before (what may come of it) and after (that it was acknowledged). After each kill everything
//! on the machine is compared with these notes: what was acknowledged is as it was left, what was under way is in its old
//! state or its new one, containers that have nothing to do with it go on with the very same process.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use testkit::{Host, Mode, PATIENCE};

use crate::machine::{self, Machine};
use crate::settings;

/// How long detached helpers may take until the state is final.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// Of so many kills some meet each victim at work.
const ENOUGH: u64 = 100;

/// Objects by kind and name, with their state: absent is the empty text.
type World = BTreeMap<String, String>;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Daemon,
    Monitor,
}

/// Something to do, and how the objects that it touches may end.
#[derive(Debug)]
struct Operation {
    verb: &'static str,
    line: String,
    /// The container whose monitor has to do with it.
    container: Option<String>,
    /// What it touches: where it is done, and where it is not or only begun.
    touches: Vec<Touch>,
}

#[derive(Debug)]
struct Touch {
    object: String,
    done: Pattern,
    between: Vec<Pattern>,
}

/// States that are as good as each other.
#[derive(Clone, Debug)]
enum Pattern {
    Is(String),
    Begins(&'static str),
    /// An image, but not the one that was there.
    Other(String),
}

impl Pattern {
    fn matches(&self, state: &str) -> bool {
        match self {
            Pattern::Is(text) => text == state,
            Pattern::Begins(text) => state.starts_with(text),
            Pattern::Other(was) => state.starts_with("sha256:") && state != was,
        }
    }
}

fn absent() -> Pattern {
    Pattern::Is(String::new())
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_leaks() {
    let (seed, kills) = (settings::seed(), settings::kills());
    let mut host = Host::new(Mode::Daemon);
    // The last layer lies over the one of the build before.
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nARG N\nRUN echo made $N > /made\nCOPY --link copied /\nRUN mkdir /many && touch /many/$N\nCOPY many /many\n",
    );
    for number in 0..80 {
        host.file(&format!("ctx/many/f{number}"), format!("{number}\n"));
    }
    host.file("ctx/copied", "copied\n");
    let before = {
        let machine = Machine::new(&host);
        host.type_in("save -o image.tar busybox").ok();
        host.type_in("rmi -f busybox").ok();
        host.type_in("load -i image.tar").ok();
        host.file("files.tar", testkit::busybox());
        machine.rests()
    };
    let mut run = Run {
        random: fastrand::Rng::with_seed(seed),
        world: observe(&host),
        typical: BTreeMap::new(),
        journal: Vec::new(),
        met: BTreeMap::new(),
    };
    for round in 0..kills {
        if let Err(message) = run.round(&mut host) {
            let journal = run.journal[run.journal.len().saturating_sub(12)..].join("\n  ");
            panic!("seed {seed}, round {round}: {message}\nthe journal's end:\n  {journal}");
        }
    }
    println!("kills while at work: {:?}", run.met);
    for victim in [Victim::Client, Victim::Daemon, Victim::Monitor] {
        let met = run.met.get(&format!("{victim:?}"));
        assert!(met.is_some() || kills < ENOUGH, "seed {seed}: no {victim:?} was killed at work");
    }
    for name in run.names("image ") {
        if name != "busybox:latest" {
            host.type_in(&format!("run --rm --network none {name} /bin/busybox true")).ok();
        }
    }
    clear(&host, &run);
    if let Err(difference) = Machine::watching(&host).returns_to(&before) {
        panic!("seed {seed}: after {kills} kills\n  {difference}\n  {}", run.journal.join("\n  "));
    }
}

/// Takes away all that the operations made.
fn clear(host: &Host, run: &Run) {
    for (kind, remove) in [
        ("container ", "rm -f -v"),
        ("network ", "network rm"),
        ("volume ", "volume rm"),
        ("image ", "rmi -f"),
    ] {
        for name in run.names(kind) {
            let predefined = ["bridge", "host", "none", "busybox:latest"].contains(&name.as_str());
            if !predefined {
                host.type_in(&format!("{remove} {name}")).ok();
            }
        }
    }
    host.type_in("builder prune -af").ok();
    host.type_in("image prune -f").ok();
}

struct Run {
    random: fastrand::Rng,
    world: World,
    /// How long each verb takes.
    typical: BTreeMap<&'static str, Duration>,
    journal: Vec<String>,
    /// How often each was killed while it had work.
    met: BTreeMap<String, u32>,
}

/// What a kill met.
struct Kill {
    /// Somebody who had work.
    met: bool,
    /// The container whose monitor it was.
    container: Option<String>,
}

impl Run {
    fn round(&mut self, host: &mut Host) -> Result<(), String> {
        let operation = self.operation();
        let victim = [Victim::Client, Victim::Daemon, Victim::Monitor][self.random.usize(..3)];
        let limit = self.typical.get(operation.verb).copied().unwrap_or(Duration::from_millis(40));
        let delay = limit.mul_f64(self.random.f64() * 1.1);
        self.journal.push(format!("intend {}; kill {victim:?} after {delay:?}", operation.line));
        let started = Instant::now();
        let client = match victim {
            Victim::Daemon => host.type_in(&operation.line).start(),
            Victim::Client | Victim::Monitor => {
                let mut command = host.command();
                command.args(operation.line.split_whitespace());
                testkit::Typed::new(command).start()
            }
        };
        let mut at_work = Work { client, operation: &operation, started, ended: None };
        let kill = self.kill(host, victim, &mut at_work, delay)?;
        let ended = at_work.end()?;
        if ended.code == 0 && victim != Victim::Monitor {
            self.typical.insert(operation.verb, at_work.ended.unwrap_or(limit));
        }
        self.journal.push(format!("ended {} {}", ended.code, ended.stderr.trim()));
        if kill.met {
            *self.met.entry(format!("{victim:?}")).or_default() += 1;
        }
        self.compare(host, &operation, kill.container.as_deref(), ended.code == 0)
    }

    /// Kills at the wanted moment.
    fn kill(
        &mut self,
        host: &mut Host,
        victim: Victim,
        work: &mut Work<'_>,
        delay: Duration,
    ) -> Result<Kill, String> {
        if victim == Victim::Monitor {
            let container = self.kill_monitor(host, work, delay)?;
            return Ok(Kill { met: container.is_some(), container });
        }
        work.wait_for(delay);
        let met = !work.is_over();
        match victim {
            Victim::Client => drop(work.client.kill()),
            _ => host.crash_daemon(0),
        }
        Ok(Kill { met, container: None })
    }

    /// Kills the monitor of a container: which one's, if it had one.
    fn kill_monitor(
        &mut self,
        host: &Host,
        work: &mut Work<'_>,
        delay: Duration,
    ) -> Result<Option<String>, String> {
        let machine = Machine::watching(host);
        let running: Vec<String> =
            self.names("container ").into_iter().filter(|name| self.runs(name)).collect();
        let name = match &work.operation.container {
            Some(name) => name.clone(),
            None if running.is_empty() => return Ok(None),
            None => running[self.random.usize(..running.len())].clone(),
        };
        work.wait_for(delay);
        // Of a container that is being made the monitor may come any time: until the client has ended.
        loop {
            let over = work.is_over();
            if let Some(pid) = container_id(host, &name).and_then(|id| machine.monitor(&id)) {
                let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).output();
                self.journal.push(format!("killed the monitor of {name}, {pid}"));
                return Ok(Some(name));
            }
            if over {
                return Ok(None);
            }
        }
    }

    /// Repairs, then compares the machine with the notes.
    fn compare(
        &mut self,
        host: &Host,
        operation: &Operation,
        monitorless: Option<&str>,
        acknowledged: bool,
    ) -> Result<(), String> {
        let machine = Machine::watching(host);
        machine.repair().map_err(|found| format!("not repaired: {found}"))?;
        let started = Instant::now();
        loop {
            let now = observe(host);
            let wrong =
                self.wrong(&now, operation, monitorless, acknowledged).or_else(|| leaks(&machine, &now));
            match wrong {
                None => {
                    self.world = now;
                    return Ok(());
                }
                Some(wrong) if started.elapsed() > SETTLED_WITHIN => return Err(wrong),
                Some(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn wrong(
        &self,
        now: &World,
        operation: &Operation,
        monitorless: Option<&str>,
        acknowledged: bool,
    ) -> Option<String> {
        let nothing = String::new();
        for object in self.world.keys().chain(now.keys()) {
            let (was, is) = (self.world.get(object).unwrap_or(&nothing), now.get(object).unwrap_or(&nothing));
            let killed = monitorless.is_some_and(|name| *object == format!("container {name}"));
            if killed && (is.starts_with("exited 137") || was == is) {
                continue;
            }
            let Some(touch) = operation.touches.iter().find(|touch| touch.object == *object) else {
                if was == is || (killed && is.is_empty()) {
                    continue;
                }
                return Some(format!("{object} was {was:?} and is {is:?}, and nobody touched it"));
            };
            let between = !acknowledged || killed;
            let fine = touch.done.matches(is)
                || (between && (was == is || touch.between.iter().any(|pattern| pattern.matches(is))));
            if !fine {
                return Some(format!("{object} was {was:?} and is {is:?}; acknowledged: {acknowledged}"));
            }
        }
        // What was acknowledged and is absent on both sides.
        let lost = operation.touches.iter().find(|touch| {
            acknowledged
                && monitorless.is_none()
                && !now.contains_key(&touch.object)
                && !touch.done.matches("")
        });
        lost.map(|touch| format!("{} was acknowledged and is absent", touch.object))
    }

    fn runs(&self, name: &str) -> bool {
        self.world.get(&format!("container {name}")).is_some_and(|state| state.starts_with("running"))
    }

    fn names(&self, kind: &str) -> Vec<String> {
        self.world.keys().filter_map(|key| key.strip_prefix(kind)).map(str::to_owned).collect()
    }

    fn state(&self, object: &str) -> String {
        self.world.get(object).cloned().unwrap_or_default()
    }

    /// Something that can be done now.
    fn operation(&mut self) -> Operation {
        let number = self.random.usize(..2);
        match self.random.usize(..20) {
            0..=9 => self.on_container(),
            10..=15 => self.on_image(),
            16..=17 => self.on_object("volume", format!("v{number}")),
            _ => self.on_object("network", format!("n{number}")),
        }
    }

    fn on_container(&mut self) -> Operation {
        let number = self.random.usize(..4);
        let name = format!("box{number}");
        let object = format!("container {name}");
        let was = self.state(&object);
        let choice = self.random.usize(..8);
        let ports = format!("-p {}:80 -v /anonymous -v data{number}:/data", 8080 + number);
        let begins = Pattern::Begins;
        let (verb, line, done, between) = match (was.split(' ').next().unwrap_or_default(), choice) {
            ("", 0..=2) => {
                let line = format!("run --rm --name {name} {ports} busybox true");
                // Created: the client was killed before it could start it.
                ("run --rm", line, absent(), vec![begins("created")])
            }
            ("", _) => {
                let line = format!("run -d --name {name} {ports} busybox sleep 1000");
                ("run -d", line, begins("running"), vec![begins("created"), begins("running")])
            }
            // Of a `run --rm` that was killed between its two halves.
            _ if was.ends_with("transient") => ("rm", format!("rm -f -v {name}"), absent(), vec![]),
            ("created" | "exited", 0..=4) => ("start", format!("start {name}"), begins("running"), vec![]),
            ("paused", 0..=5) => ("unpause", format!("unpause {name}"), begins("running"), vec![]),
            ("running", 0..=2) => {
                ("stop", format!("stop -t 0 {name}"), Pattern::Is("exited 137 0".to_owned()), vec![])
            }
            ("running", 3) => ("exec", format!("exec {name} true"), Pattern::Is(was.clone()), vec![]),
            ("running", 4) => {
                // With another state in its name: the pid stays.
                ("pause", format!("pause {name}"), Pattern::Is(was.replace("running", "paused")), vec![])
            }
            _ => ("rm", format!("rm -f -v {name}"), absent(), vec![begins("exited 137")]),
        };
        let mut touches = vec![Touch { object, done, between }];
        if line.contains(" -v data") {
            // Made for the container, and stays whatever becomes of it.
            let volume = Pattern::Is("here".to_owned());
            let object = format!("volume data{number}");
            touches.push(Touch { object, done: volume.clone(), between: vec![volume] });
        }
        Operation { verb, line, container: Some(name), touches }
    }

    fn on_image(&mut self) -> Operation {
        let name = format!("image{}", self.random.usize(..3));
        let object = format!("image {name}:latest");
        let was = self.state(&object);
        let runs: Vec<String> = self.names("container ").into_iter().filter(|name| self.runs(name)).collect();
        // Each is told a number of its own: what is acknowledged is another image than the one before.
        let other = Pattern::Other(was.clone());
        let number = self.random.u32(..);
        let mut container = None;
        let (verb, line, done) = match self.random.usize(..6) {
            0 | 1 => ("build", format!("build -q -t {name} --build-arg N={number} ctx"), other),
            2 => {
                let touches = vec![];
                return Operation { verb: "load", line: "load -i image.tar".to_owned(), container, touches };
            }
            3 => ("import", format!("import -m {number} files.tar {name}"), other),
            4 if !runs.is_empty() => {
                let from = runs[self.random.usize(..runs.len())].clone();
                container = Some(from.clone());
                ("commit", format!("commit -m {number} {from} {name}"), other)
            }
            _ if was.is_empty() => {
                ("tag", format!("tag busybox {name}"), Pattern::Is(self.state("image busybox:latest")))
            }
            _ => ("rmi", format!("rmi -f {name}"), absent()),
        };
        let touches = vec![Touch { object, between: vec![done.clone()], done }];
        Operation { verb, line, container, touches }
    }

    fn on_object(&self, kind: &'static str, name: String) -> Operation {
        let object = format!("{kind} {name}");
        let (verb, done) = match self.state(&object).is_empty() {
            true => ("create", Pattern::Is("here".to_owned())),
            false => ("rm", absent()),
        };
        let line = format!("{kind} {verb} {name}");
        let touches = vec![Touch { object, done, between: vec![] }];
        Operation { verb: kind, line, container: None, touches }
    }
}

/// An operation that runs.
struct Work<'o> {
    client: Child,
    operation: &'o Operation,
    started: Instant,
    /// After how long it ended.
    ended: Option<Duration>,
}

impl Work<'_> {
    fn is_over(&mut self) -> bool {
        let over = self.client.try_wait().expect("our own child").is_some();
        if over && self.ended.is_none() {
            self.ended = Some(self.started.elapsed());
        }
        over
    }

    /// Until the moment has come.
    fn wait_for(&mut self, delay: Duration) {
        while self.started.elapsed() < delay && !self.is_over() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn end(&mut self) -> Result<Ended, String> {
        while !self.is_over() {
            if self.started.elapsed() > PATIENCE {
                let _ = self.client.kill();
                return Err(format!("`{}` hangs", self.operation.line));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let status = self.client.wait().expect("our own child");
        let mut stderr = String::new();
        if let Some(mut stream) = self.client.stderr.take() {
            use std::io::Read as _;
            let _ = stream.read_to_string(&mut stderr);
        }
        Ok(Ended { code: status.code().unwrap_or(137), stderr })
    }
}

struct Ended {
    code: i32,
    stderr: String,
}

fn container_id(host: &Host, name: &str) -> Option<String> {
    let mut command = host.command();
    command.args(["container", "inspect", "-f", "{{.Id}}", name]);
    let output = testkit::Typed::new(command).run();
    (output.code == 0).then(|| output.stdout.trim().to_owned())
}

/// Everything that is there, with its state.
fn observe(host: &Host) -> World {
    let mut world = World::new();
    let ids = host.type_in("ps -aq --no-trunc").ok();
    if !ids.is_empty() {
        let format = "{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}{{if .HostConfig.AutoRemove}} transient{{end}}";
        let mut words = vec!["container", "inspect", "-f", format];
        words.extend(ids.split_whitespace());
        for line in host.dhow(&words).ok().lines() {
            let (name, state) = line.split_once(' ').expect("a name and a state");
            world.insert(format!("container {}", name.trim_start_matches('/')), state.to_owned());
        }
    }
    let images = host.dhow(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).ok();
    for line in images.lines().filter(|line| !line.starts_with("<none>")) {
        let (name, id) = line.split_once(' ').expect("a name and an id");
        world.insert(format!("image {name}"), id.to_owned());
    }
    for (kind, line) in
        [("volume", "volume ls --format {{.Name}}"), ("network", "network ls --format {{.Name}}")]
    {
        for name in host.type_in(line).ok().lines().filter(|name| name.len() < 64) {
            world.insert(format!("{kind} {name}"), "here".to_owned());
        }
    }
    world
}

/// What is there without a container that needs it, or the other way round.
fn leaks(machine: &Machine<'_>, world: &World) -> Option<String> {
    let states = |wanted: &[&str]| {
        let has = |state: &String| wanted.iter().any(|word| state.starts_with(word));
        world.iter().filter(|(key, state)| key.starts_with("container ") && has(state)).count()
    };
    let live = states(&["running", "paused"]);
    let processes = machine.processes();
    let monitors = processes.iter().filter(|process| process.contains(" monitor ")).count();
    let ports = machine::interfaces()
        .iter()
        .filter(|name| name.starts_with("dhv") || name.starts_with("veth"))
        .count();
    if monitors != live || processes.len() != 2 * live {
        return Some(format!("{live} containers are live, processes:\n  {}", processes.join("\n  ")));
    }
    if ports != live {
        return Some(format!("{live} containers are live, interfaces: {:?}", machine::interfaces()));
    }
    let mut containers: Vec<String> =
        machine.cgroups().iter().filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect();
    containers.sort();
    containers.dedup();
    if containers.len() != live {
        return Some(format!("{live} containers are live, control groups: {:?}", machine.cgroups()));
    }
    for folder in ["root/ingest", "root/leases", "run/builds", "run/build"] {
        let path = machine.host.home().join(folder);
        let count = std::fs::read_dir(&path).map_or(0, Iterator::count);
        if count > 0 {
            return Some(format!("{count} entries in {}", path.display()));
        }
    }
    let known = states(&["created", "exited", "running", "paused"]);
    for folder in ["root/containers", "run/containers"] {
        let path = machine.host.home().join(folder);
        let count = std::fs::read_dir(&path).map_or(0, Iterator::count);
        // The run folder of one that never ran since the last boot may be absent.
        if count > known || (count < known && folder.starts_with("root")) {
            return Some(format!("{count} entries in {} for {known} containers", path.display()));
        }
    }
    None
}
