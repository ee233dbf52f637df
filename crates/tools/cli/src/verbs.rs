//! The whole command line on a screen: every spelling, its argument rule and the module that does it.

use std::future::Future;
use std::pin::Pin;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::context::Cli;
use crate::error::Error;
use crate::flags::Arity::{self, AtLeast, AtMost, Between, Exactly};
use crate::{bake, build, buildx, container, image, lint, manifest, network, registry, system, volume};

/// What a command does: the exit code, or what went wrong.
pub type Outcome = Result<u8, Error>;

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

pub struct Verb {
    /// All spellings; the first is the one in error texts of aliases.
    pub names: &'static [&'static str],
    pub arity: Arity,
    pub usage: &'static str,
    pub about: &'static str,
    pub command: fn() -> Command,
    pub run: for<'a> fn(&'a Cli, ArgMatches) -> Running<'a>,
}

macro_rules! verb {
    ([$($name:literal),+], $($module:ident)::+, $arity:expr, $usage:literal, $about:literal) => {
        Verb {
            names: &[$($name),+],
            arity: $arity,
            usage: $usage,
            about: $about,
            command: || $($module)::+::Args::augment_args(Command::new("verb")),
            run: |cli, matches| Box::pin(async move {
                let args = $($module)::+::Args::from_arg_matches(&matches)
                    .map_err(|error| Error::new(error.to_string()))?;
                $($module)::+::run(cli, args).await
            }),
        }
    };
}

/// Groups of verbs that are called with a word before.
pub const GROUPS: &[(&str, &str)] = &[
    ("builder", "Builds and their cache"),
    ("buildx", "Builds, in the spelling of Docker's plugin"),
    ("container", "Containers"),
    ("context", "Connections to servers"),
    ("image", "Images"),
    ("manifest", "Lists of images for several platforms"),
    ("network", "Networks between containers"),
    ("system", "The server and its disk space"),
    ("volume", "Volumes"),
];

#[rustfmt::skip]
pub const VERBS: &[Verb] = &[
    verb!(["attach", "container attach"], container::attach, Exactly(1), "[OPTIONS] CONTAINER", "Connect this terminal to a running container"),
    verb!(["bake", "buildx bake", "builder bake", "buildx f"], bake, AtLeast(0), "[OPTIONS] [TARGET...]", "Build what files describe, in HCL, JSON or compose"),
    verb!(["build", "image build", "builder build", "buildx build", "buildx b"], build::run, Exactly(1), "[OPTIONS] PATH | URL | -", "Make an image from a Dockerfile"),
    verb!(["build history diff", "buildx history diff", "builder history diff"], build::history::diff, AtMost(2), "[OLD] [NEW]", "Compare two builds"),
    verb!(["build history export", "buildx history export", "builder history export"], build::history::export, AtLeast(0), "[OPTIONS] [BUILD...]", "Write builds to an archive that Docker Desktop reads"),
    verb!(["build history inspect", "buildx history inspect", "builder history inspect"], build::history::inspect, AtMost(3), "[OPTIONS] [[attachment] BUILD [DIGEST]]", "Show a build: each step, and why it ran"),
    verb!(["build history logs", "buildx history logs", "builder history logs"], build::history::logs, AtMost(1), "[OPTIONS] [BUILD]", "Print what a build said"),
    verb!(["build history ls", "buildx history ls", "builder history ls"], build::history::ls, Arity::None, "[OPTIONS]", "List builds"),
    verb!(["build history rm", "buildx history rm", "builder history rm"], build::history::rm, AtLeast(0), "[OPTIONS] [BUILD...]", "Forget builds"),
    verb!(["build history trace", "buildx history trace", "builder history trace"], build::history::trace, AtMost(1), "[BUILD]", "Print when each step of a build ran, for Jaeger"),
    verb!(["build shell", "buildx shell", "builder shell"], build::shell, AtLeast(0), "[STEP [COMMAND] [ARG...]]", "Run a shell where a step of a build failed: the last one, or the one named"),
    verb!(["builder prune", "buildx prune"], build::prune, Arity::None, "[OPTIONS]", "Empty the build cache"),
    verb!(["buildx create", "builder create"], buildx::builders::create, AtLeast(0), "[OPTIONS]", "Say that there is one builder"),
    verb!(["buildx dap"], buildx::refused, AtLeast(0), "", "Say that failed steps are looked at with build shell"),
    verb!(["buildx debug"], buildx::refused, AtLeast(0), "", "Say that failed steps are looked at with build shell"),
    verb!(["buildx dial-stdio", "builder dial-stdio"], buildx::dial_stdio, Arity::None, "[OPTIONS]", "Join standard input and output with the server's BuildKit"),
    verb!(["buildx du", "builder du"], build::du, Arity::None, "[OPTIONS]", "Show what the build cache takes"),
    verb!(["buildx history import"], buildx::desktop, AtLeast(0), "", "Say that there is no Docker Desktop"),
    verb!(["buildx history open"], buildx::desktop, AtLeast(0), "", "Say that there is no Docker Desktop"),
    verb!(["buildx imagetools create", "builder imagetools create"], buildx::imagetools::create, AtLeast(0), "[OPTIONS] [SOURCE...]", "Join images of a registry to an index"),
    verb!(["buildx imagetools inspect", "builder imagetools inspect"], buildx::imagetools::inspect, Exactly(1), "[OPTIONS] NAME", "Show an image as its registry has it"),
    verb!(["buildx inspect", "builder inspect"], buildx::builders::inspect, AtMost(1), "[NAME]", "Describe the builder"),
    verb!(["buildx install"], buildx::builders::install, Arity::None, "[OPTIONS]", "Say that build is this builder already"),
    verb!(["buildx ls", "builder ls"], buildx::builders::ls, Arity::None, "", "List builders: there is one"),
    verb!(["buildx policy", "builder policy"], buildx::refused, AtLeast(0), "", "Say that there are no policies for sources"),
    verb!(["buildx rm", "builder rm"], buildx::builders::rm, AtLeast(0), "[OPTIONS] [NAME...]", "Say that the one builder stays"),
    verb!(["buildx stop", "builder stop"], buildx::builders::stop, AtMost(1), "[NAME]", "Stop the builder, which runs only while it builds"),
    verb!(["buildx uninstall"], buildx::builders::uninstall, Arity::None, "[OPTIONS]", "Say that build has no other builder"),
    verb!(["buildx version", "builder version"], buildx::builders::version, Arity::None, "", "Print the version of the builder"),
    verb!(["buildx use", "builder use"], buildx::builders::choose, AtMost(1), "[OPTIONS] NAME", "Choose the builder: there is one"),
    verb!(["commit", "container commit"], container::commit, Between(1, 2), "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]", "Make an image of a container's changes"),
    verb!(["container inspect"], container::inspect, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Show all about containers"),
    verb!(["container prune"], container::prune, Arity::None, "[OPTIONS]", "Remove all stopped containers"),
    verb!(["context ls", "context list"], system::context_ls, Arity::None, "[OPTIONS]", "List connections to servers"),
    verb!(["context show"], system::context_show, Arity::None, "", "Print the name of the connection in use"),
    verb!(["cp", "container cp"], container::cp, Exactly(2), "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH", "Copy files between a container and this machine"),
    verb!(["create", "container create"], container::create, AtLeast(1), "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Make a container without starting it"),
    verb!(["diff", "container diff"], container::diff, Exactly(1), "CONTAINER", "List files that a container changed"),
    verb!(["events", "system events"], system::events, Arity::None, "[OPTIONS]", "Watch what happens on the server"),
    verb!(["exec", "container exec"], container::exec, AtLeast(2), "[OPTIONS] CONTAINER COMMAND [ARG...]", "Run a command in a running container"),
    verb!(["export", "container export"], container::export, Exactly(1), "[OPTIONS] CONTAINER", "Write a container's file system as a tar"),
    verb!(["history", "image history"], image::history, Exactly(1), "[OPTIONS] IMAGE", "Show how an image was made"),
    verb!(["image inspect"], image::inspect, AtLeast(1), "[OPTIONS] IMAGE [IMAGE...]", "Show all about images"),
    verb!(["image prune"], image::prune, Arity::None, "[OPTIONS]", "Remove unused images"),
    verb!(["images", "image ls", "image list"], image::ls, AtMost(1), "[OPTIONS] [REPOSITORY[:TAG]]", "List images"),
    verb!(["import", "image import"], image::import, AtLeast(1), "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]", "Make an image from a tar of a file system"),
    verb!(["info", "system info"], system::info, Arity::None, "[OPTIONS]", "Describe the server"),
    verb!(["inspect"], system::inspect, AtLeast(1), "[OPTIONS] NAME|ID [NAME|ID...]", "Show all about containers, images, networks or volumes"),
    verb!(["kill", "container kill"], container::kill, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Send a signal to containers, KILL unless told otherwise"),
    verb!(["lint"], lint, AtLeast(0), "[OPTIONS] [FILE|-...]", "Check Dockerfiles by hadolint's rules"),
    verb!(["image attach"], image::attach, AtLeast(1), "[OPTIONS] IMAGE [FILE[:MEDIA-TYPE]...]", "Attach files to an image in its registry"),
    verb!(["image attached"], image::attached, Exactly(1), "[OPTIONS] IMAGE", "List what is attached to an image in its registry"),
    verb!(["image generate-key-pair"], image::generate_key_pair, AtMost(1), "[PREFIX]", "Make a key that signs images, and the one that verifies them"),
    verb!(["image sign"], image::sign, AtLeast(1), "[OPTIONS] IMAGE [IMAGE...]", "Sign images in their registries"),
    verb!(["image verify"], image::verify, AtLeast(1), "[OPTIONS] IMAGE [IMAGE...]", "Check who has signed images"),
    verb!(["image diff"], image::diff, Exactly(2), "[OPTIONS] IMAGE IMAGE", "Show what differs between two images"),
    verb!(["image tree"], image::tree, Exactly(1), "[OPTIONS] IMAGE", "Show the files of an image's layers, and what is wasted"),
    verb!(["load", "image load"], image::load, Arity::None, "[OPTIONS]", "Read images from a tar"),
    verb!(["login"], registry::login, AtMost(1), "[OPTIONS] [SERVER]", "Store credentials for a registry"),
    verb!(["logout"], registry::logout, AtMost(1), "[SERVER]", "Forget the credentials for a registry"),
    verb!(["logs", "container logs"], container::logs, Exactly(1), "[OPTIONS] CONTAINER", "Print what a container wrote"),
    verb!(["manifest annotate"], manifest::annotate, Exactly(2), "[OPTIONS] MANIFEST_LIST MANIFEST", "Say for which system a member of a list is"),
    verb!(["manifest create"], manifest::create, AtLeast(2), "MANIFEST_LIST MANIFEST [MANIFEST...]", "Write down a list of images of registries"),
    verb!(["manifest inspect"], manifest::inspect, Between(1, 2), "[OPTIONS] [MANIFEST_LIST] MANIFEST", "Show a manifest, or a list of manifests"),
    verb!(["manifest push"], manifest::push, Exactly(1), "[OPTIONS] MANIFEST_LIST", "Send a list to its registry"),
    verb!(["manifest rm"], manifest::rm, AtLeast(1), "MANIFEST_LIST [MANIFEST_LIST...]", "Forget lists that were written down"),
    verb!(["network connect"], network::connect, Exactly(2), "[OPTIONS] NETWORK CONTAINER", "Connect a container to a network"),
    verb!(["network create"], network::create, Exactly(1), "[OPTIONS] NETWORK", "Make a network"),
    verb!(["network disconnect"], network::disconnect, Exactly(2), "[OPTIONS] NETWORK CONTAINER", "Disconnect a container from a network"),
    verb!(["network inspect"], network::inspect, AtLeast(1), "[OPTIONS] NETWORK [NETWORK...]", "Show all about networks"),
    verb!(["network ls", "network list"], network::ls, Arity::None, "[OPTIONS]", "List networks"),
    verb!(["network prune"], network::prune, Arity::None, "[OPTIONS]", "Remove networks that no container uses"),
    verb!(["network rm", "network remove"], network::rm, AtLeast(1), "NETWORK [NETWORK...]", "Remove networks"),
    verb!(["pause", "container pause"], container::pause, AtLeast(1), "CONTAINER [CONTAINER...]", "Freeze all processes of containers"),
    verb!(["port", "container port"], container::port, Between(1, 2), "CONTAINER [PRIVATE_PORT[/PROTO]]", "List a container's published ports"),
    verb!(["ps", "container ls", "container list", "container ps"], container::ls, Arity::None, "[OPTIONS]", "List containers"),
    verb!(["pull", "image pull"], image::pull, Exactly(1), "[OPTIONS] NAME[:TAG|@DIGEST]", "Fetch an image from a registry"),
    verb!(["push", "image push"], image::push, Exactly(1), "[OPTIONS] NAME[:TAG]", "Send an image to a registry"),
    verb!(["rename", "container rename"], container::rename, Exactly(2), "CONTAINER NEW_NAME", "Give a container another name"),
    verb!(["restart", "container restart"], container::restart, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Stop containers and start them again"),
    verb!(["rm", "container rm", "container remove"], container::rm, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Remove containers"),
    verb!(["rmi", "image rm", "image remove"], image::rm, AtLeast(1), "[OPTIONS] IMAGE [IMAGE...]", "Remove images"),
    verb!(["run", "container run"], container::run, AtLeast(1), "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Make a container from an image and run it"),
    verb!(["save", "image save"], image::save, AtLeast(1), "[OPTIONS] IMAGE [IMAGE...]", "Write images as a tar"),
    verb!(["search"], registry::search, Exactly(1), "[OPTIONS] TERM", "Search the default registry for images"),
    verb!(["start", "container start"], container::start, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Start stopped containers"),
    verb!(["stats", "container stats"], container::stats, AtLeast(0), "[OPTIONS] [CONTAINER...]", "Watch what containers use of the machine"),
    verb!(["stop", "container stop"], container::stop, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Stop running containers"),
    verb!(["system check"], system::check, Arity::None, "[OPTIONS]", "Compare what is on disk with what is known"),
    verb!(["system collect"], system::collect, Arity::None, "[OPTIONS]", "Remove what was used longest ago to be within limits"),
    verb!(["system df"], system::df, Arity::None, "[OPTIONS]", "Show the disk space in use"),
    verb!(["system dial-stdio"], system::dial_stdio, Arity::None, "", "Join standard input and output with the server's connection"),
    verb!(["system prune"], system::prune, Arity::None, "[OPTIONS]", "Remove what is not in use"),
    verb!(["tag", "image tag"], image::tag, Exactly(2), "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Give an image another name"),
    verb!(["top", "container top"], container::top, AtLeast(1), "CONTAINER [ps OPTIONS]", "List a container's processes"),
    verb!(["unpause", "container unpause"], container::unpause, AtLeast(1), "CONTAINER [CONTAINER...]", "Thaw frozen containers"),
    verb!(["update", "container update"], container::update, AtLeast(1), "[OPTIONS] CONTAINER [CONTAINER...]", "Change limits of containers"),
    verb!(["version"], system::version, Arity::None, "[OPTIONS]", "Show the versions of client and server"),
    verb!(["volume create"], volume::create, AtMost(1), "[OPTIONS] [VOLUME]", "Make a volume"),
    verb!(["volume inspect"], volume::inspect, AtLeast(1), "[OPTIONS] VOLUME [VOLUME...]", "Show all about volumes"),
    verb!(["volume ls", "volume list"], volume::ls, Arity::None, "[OPTIONS]", "List volumes"),
    verb!(["volume prune"], volume::prune, Arity::None, "[OPTIONS]", "Remove volumes that no container uses"),
    verb!(["volume rm", "volume remove"], volume::rm, AtLeast(1), "[OPTIONS] VOLUME [VOLUME...]", "Remove volumes"),
    verb!(["wait", "container wait"], container::wait, AtLeast(1), "CONTAINER [CONTAINER...]", "Wait until containers stop, then print their exit codes"),
];

/// The verb of this name.
pub fn named(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.names.contains(&name))
}

/// How many of the first words name a group of commands.
pub fn group(words: &[&str]) -> usize {
    let is_group =
        |count: usize| words.get(..count).is_some_and(|words| below(&words.join(" ")).next().is_some());
    if is_group(2) { 2 } else { usize::from(is_group(1)) }
}

/// The first words of the commands in a group; of no group, those of all.
pub fn below(group: &str) -> impl Iterator<Item = &'static str> + Clone {
    let prefix = if group.is_empty() { String::new() } else { format!("{group} ") };
    let names = VERBS.iter().flat_map(|verb| verb.names);
    names.filter_map(move |name| name.strip_prefix(prefix.as_str())?.split(' ').next())
}

/// Docker's plugin takes flags of its own ahead of the command too. They mean the same behind it.
pub fn in_order(mut words: Vec<String>) -> Vec<String> {
    if !matches!(words.first().map(String::as_str), Some("buildx" | "builder")) {
        return words;
    }
    let mut end = 1;
    while let Some(word) = words.get(end) {
        end += match word.as_str() {
            "--builder" => 2,
            "-D" | "--debug" => 1,
            word if word.starts_with("--builder=") || word.starts_with("--debug=") => 1,
            _ => break,
        };
    }
    let flags: Vec<String> = words.drain(1..end.min(words.len())).collect();
    let used = find(&words).map_or(words.len(), |(_, used)| used);
    words.splice(used..used, flags);
    words
}

/// The verb that a command line's first words name, and how many words that are.
pub fn find(words: &[String]) -> Option<(&'static Verb, usize)> {
    let first = words.first()?;
    if let Some(three) = words.get(..3).map(|three| three.join(" "))
        && let Some(verb) = named(&three)
    {
        return Some((verb, 3));
    }
    if let [first, second, rest @ ..] = words
        && first == "build"
    {
        match (second.as_str(), rest.first()) {
            ("shell", _) => return named("build shell").map(|verb| (verb, 2)),
            // A build has one context.
            ("history", Some(third)) if !third.starts_with('-') => return None,
            _ => {}
        }
    }
    if let Some(second) = words.get(1)
        && GROUPS.iter().any(|(group, _)| group == first)
    {
        let both = format!("{first} {second}");
        return named(&both).map(|verb| (verb, 2));
    }
    named(first).map(|verb| (verb, 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::flags::{self, Parsed, Shape};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// What becomes of a command line: its positional arguments, `help`, or the error's first line and code.
    fn outcome(line: &str) -> String {
        let words = words(line);
        let (verb, used) = find(&words).expect(line);
        let path = format!("docker {}", words[..used].join(" "));
        let shape = Shape { path, usage: verb.usage, arity: verb.arity };
        match flags::parse((verb.command)(), &shape, &words[used..]) {
            Ok(Parsed::Help) => "help".to_owned(),
            Ok(Parsed::Matches(matches)) => {
                let args = matches.try_get_many::<String>(flags::POSITIONAL).ok().flatten();
                args.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("|")
            }
            Err(error) => format!("{}: {}", error.code, error.message.lines().next().unwrap_or_default()),
        }
    }

    /// Words of any characters, for every command: they are read or refused.
    #[test]
    fn words_of_any_text() {
        let mut random = fastrand::Rng::with_seed(11);
        let pieces = [
            "-",
            "--",
            "=",
            "\0",
            "\u{1b}[2J",
            "a",
            "..",
            "/",
            "é",
            "\u{202e}",
            "-f",
            "--filter",
            "--format",
        ];
        for verb in VERBS {
            let shape = Shape { path: "docker x".to_owned(), usage: verb.usage, arity: verb.arity };
            for _ in 0..30 {
                let word = |random: &mut fastrand::Rng| {
                    let count = random.usize(..4);
                    (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect::<String>()
                        + &random.char(..).to_string()
                };
                let words: Vec<String> = (0..random.usize(..5)).map(|_| word(&mut random)).collect();
                if let Err(error) = flags::parse((verb.command)(), &shape, &words) {
                    assert!(!error.message.is_empty() && error.code != 0, "{words:?}");
                }
            }
        }
    }

    #[test]
    fn flags_of_the_plugin_may_stand_ahead_of_its_command() {
        for (line, ordered) in [
            ("buildx --builder x build -t y .", "buildx build --builder x -t y ."),
            ("builder -D --builder=x history ls -q", "builder history ls -D --builder=x -q"),
            ("buildx build --builder x .", "buildx build --builder x ."),
            ("buildx --builder", "buildx --builder"),
            ("buildx --nope ls", "buildx --nope ls"),
            ("run --builder x", "run --builder x"),
        ] {
            assert_eq!(in_order(words(line)).join(" "), ordered);
        }
    }

    #[test]
    fn every_command_is_sound() {
        let mut names = BTreeSet::new();
        for verb in VERBS {
            flags::docker_style((verb.command)()).debug_assert();
            for name in verb.names {
                assert!(names.insert(*name), "{name} twice");
                assert_eq!(outcome(&format!("{name} --help")), "help", "{name}");
            }
            assert!(!crate::help::verb("docker", "docker x", verb).is_empty());
        }
    }

    #[test]
    fn command_lines() {
        let cases: &[(&str, &str)] = &[
            ("run --rm alpine ls -l --all", "alpine|ls|-l|--all"),
            ("run -it --rm=false alpine sh -c x", "alpine|sh|-c|x"),
            ("run -dit alpine", "alpine"),
            ("run -itv /a:/b -p80:80 -p=81:81 --name x alpine -d", "alpine|-d"),
            ("run -h host alpine -h", "alpine|-h"),
            ("run --memory-swap -1 -m 512m alpine", "alpine"),
            ("run -e -X=1 alpine", "alpine"),
            ("run --net none --network-alias x alpine", "alpine"),
            ("run --init alpine true", "alpine|true"),
            ("run --name a --name b alpine", "alpine"),
            ("exec -it web sh -c -- ls", "web|sh|-c|--|ls"),
            ("rm a -f b", "a|b"),
            ("rm -- -a", "-a"),
            ("top web -eo pid", "web|-eo|pid"),
            ("stop -t 0 --time 3 a", "a"),
            ("container stop a b", "a|b"),
            ("ps -aqf status=exited", ""),
            ("cp a:/b -", "a:/b|-"),
            ("network create --subnet 10.0.0.0/8,fd00::/64 x", "x"),
            ("logs -fn 5 a", "a"),
            ("stop -h", "help"),
            ("stop", "1: docker: 'docker stop' requires at least 1 argument"),
            ("rename a", "1: docker: 'docker rename' requires 2 arguments"),
            ("ps x", "1: docker: 'docker ps' accepts no arguments"),
            ("logs", "1: docker: 'docker logs' requires 1 argument"),
            ("exec a", "1: docker: 'docker exec' requires at least 2 arguments"),
            ("run --foo alpine", "125: unknown flag: --foo"),
            ("build --taget x .", "125: unknown flag: --taget (did you mean --target?)"),
            ("run -Z alpine", "125: unknown shorthand flag: 'Z' in -Z"),
            ("run --name", "125: flag needs an argument: --name"),
            ("run -e", "125: flag needs an argument: 'e' in -e"),
            (
                "run --cpus=x alpine",
                "125: invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
            ),
            (
                "run --memory=zz alpine",
                "125: invalid argument \"zz\" for \"-m, --memory\" flag: invalid size: 'zz'",
            ),
            (
                "run --rm=maybe alpine",
                "125: invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "run --health-interval=1x alpine",
                "125: invalid argument \"1x\" for \"--health-interval\" flag: time: unknown unit \"x\" in duration \"1x\"",
            ),
            (
                "run --ulimit x alpine",
                "125: invalid argument \"x\" for \"--ulimit\" flag: invalid ulimit argument: x",
            ),
            (
                "run -e = alpine",
                "125: invalid argument \"=\" for \"-e, --env\" flag: invalid environment variable: =",
            ),
            (
                "run --mount type=foo alpine",
                "125: invalid argument \"type=foo\" for \"--mount\" flag: target is required",
            ),
            (
                "run -a foo alpine",
                "125: invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
            ),
            (
                "run --dns x alpine",
                "125: invalid argument \"x\" for \"--dns\" flag: IP address is not correctly formatted: x",
            ),
            (
                "run --add-host x alpine",
                "125: invalid argument \"x\" for \"--add-host\" flag: bad format for add-host: \"x\"",
            ),
            (
                "ps -f foo",
                "125: invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
            ),
            (
                "run -l =x alpine",
                "125: invalid argument \"=x\" for \"-l, --label\" flag: invalid label '=x': empty name",
            ),
            (
                "stop -t x a",
                "125: invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        ];
        for (line, want) in cases {
            assert_eq!(outcome(line), *want, "{line}");
        }
    }

    #[test]
    fn groups_of_commands() {
        let used = |line: &str| find(&words(line)).map(|(verb, used)| (verb.names[0], used));
        assert_eq!(used("build ."), Some(("build", 1)));
        assert_eq!(used("build shell"), Some(("build shell", 2)));
        assert_eq!(used("build shell id sh"), Some(("build shell", 2)));
        assert_eq!(used("buildx history ls -q"), Some(("build history ls", 3)));
        assert_eq!(used("build history -t x"), Some(("build", 1)));
        assert_eq!((used("build history lst"), used("buildx histry"), used("bulid .")), (None, None, None));
        let count = |line: &str| group(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((count("build history lst"), count("buildx history"), count("builder pruen")), (2, 2, 1));
        assert_eq!((count("bulid ."), count("volume"), count("volume lss")), (0, 1, 1));
        let near = |group: &str, word| dockerfile::likely(word, below(group));
        assert_eq!((near("", "bulid"), near("buildx", "histroy")), (Some("build"), Some("history")));
        assert_eq!((near("build history", "inpsect"), near("", "x")), (Some("inspect"), None));
    }

    #[test]
    fn help_has_dockers_layout() {
        let (verb, _) = find(&words("stop")).unwrap();
        assert_eq!(
            crate::help::verb("docker", "docker stop", verb),
            "Usage:  docker stop [OPTIONS] CONTAINER [CONTAINER...]\n\n\
             Stop running containers\n\n\
             Aliases:\n  docker stop, docker container stop\n\n\
             Options:\n  \
             -s, --signal string   Signal to send instead of the container's own stop\n                        \
             signal\n  \
             -t, --timeout int     Seconds to wait before the container is killed; -1 waits\n                        \
             for ever\n"
        );
        assert!(
            crate::help::program("docker")
                .contains("  run         Make a container from an image and run it\n")
        );
        assert!(crate::help::group("docker", "volume").contains("  ls          List volumes\n"));
    }
}
