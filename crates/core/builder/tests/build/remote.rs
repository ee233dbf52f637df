//! Contexts and sources that lie elsewhere: repositories, URLs.

use crate::fixture::{Fixture, Outcome, text};
use builder::{Context, Error, Event, FetchRequest, Fetched, NamedContext, NetMode, Provenance, Request};
use serde_json::json;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A repository to build from.
struct Origin {
    path: PathBuf,
}

impl Origin {
    /// Two commits on `main`, a tag on the first, a branch, a pull request's ref.
    fn new(f: &Fixture) -> Origin {
        let origin = Origin { path: f.dir.path().join("origin.git") };
        std::fs::create_dir_all(origin.path.join("sub")).unwrap();
        origin.git(&["init", "-q", "-b", "main"]);
        origin.commit("Dockerfile", "FROM scratch\nCOPY . /\n", "one");
        origin.commit("sub/Dockerfile", "FROM scratch\nCOPY in /in\n", "two");
        origin.commit("sub/in", "inside", "three");
        origin.git(&["tag", "-a", "v1", "-m", "first"]);
        origin.commit("version", "2", "four");
        origin.git(&["branch", "other"]);
        origin.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
        origin.commit("version", "3", "five");
        origin
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"]);
        command.args(arguments).current_dir(&self.path).stderr(Stdio::null());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, file: &str, content: &str, message: &str) {
        std::fs::write(self.path.join(file), content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }
}

fn build(f: &Fixture, context: &str) -> Outcome {
    build_with(f, context, &[])
}

fn build_with(f: &Fixture, context: &str, arguments: &[(&str, &str)]) -> Outcome {
    let build_args = arguments.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let request = Request { network: NetMode::None, build_args, ..Request::default() };
    let mut events: Vec<Event> = Vec::new();
    let context = Context::Remote(context.to_owned());
    let built = builder::build(&f.env(), context, &request, &mut |e| events.push(e));
    Outcome { built, events }
}

#[test]
fn repositories_are_contexts() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    let url = origin.url();
    let version = |context: &str| {
        let outcome = build(&f, context);
        let root = f.rootfs(outcome.ok());
        assert!(root.lstat("/.git").is_err());
        root.read_file("/version", 99).ok().map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(version(&url).as_deref(), Some("3"));
    assert_eq!(version(&format!("{url}#v1")), None);
    assert_eq!(version(&format!("{url}?tag=v1")), None);
    assert_eq!(version(&format!("{url}#other")).as_deref(), Some("2"));
    assert_eq!(version(&format!("{url}#pull/7/head")).as_deref(), Some("2"));
    assert_eq!(version(&format!("{url}#refs/heads/other")).as_deref(), Some("2"));
    let first = origin.git(&["rev-parse", "HEAD~1"]);
    assert_eq!(version(&format!("{url}#{first}")).as_deref(), Some("2"));
    assert_eq!(version(&format!("{url}?branch=other&commit={}", &first[..9])).as_deref(), Some("2"));
    let outcome = build(&f, &format!("{url}#:sub"));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/in"), "inside");
    let outcome = build(&f, &format!("{url}?keep-git-dir=1"));
    let root = f.rootfs(outcome.ok());
    assert!(root.lstat("/.git/HEAD").is_ok());
    // What programs ask git about is there: the branch, and a tag with its text.
    assert_eq!(text(&root, "/.git/refs/heads/main").trim(), origin.git(&["rev-parse", "main"]));
    let outcome = build(&f, &format!("{url}?keep-git-dir=1#v1"));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/.git/refs/tags/v1").trim(), origin.git(&["rev-parse", "v1"]));
    // Who can't change the address says so beside it; the address decides.
    let has_git = |context: &str, value: &str| {
        let outcome = build_with(&f, context, &[("BUILDKIT_CONTEXT_KEEP_GIT_DIR", value)]);
        f.rootfs(outcome.ok()).lstat("/.git").is_ok()
    };
    assert!(has_git(&url, "1") && has_git(&url, "true") && !has_git(&url, "0"));
    assert!(!has_git(&format!("{url}?keep-git-dir=0"), "1"));
    // The same commit is the same layer: the time of the checkout is nobody's.
    let layers = |outcome: &Outcome| f.config(outcome.ok()).rootfs.diff_ids;
    let again = Fixture::new();
    assert_eq!(layers(&build(&f, &url)), again.config(build(&again, &url).ok()).rootfs.diff_ids);
    // So is what git knows of its files, where the repository is kept.
    let kept = format!("{url}?keep-git-dir=1");
    assert_eq!(layers(&build(&f, &kept)), again.config(build(&again, &kept).ok()).rootfs.diff_ids);
}

#[test]
fn a_repository_may_not_lead_elsewhere() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    let url = origin.url();
    let message = |context: &str| build(&f, context).err().chain();
    assert!(
        message(&format!("{url}#nope")).contains("does not contain ref nope"),
        "{}",
        message(&format!("{url}#nope"))
    );
    assert!(message(&format!("{url}#:nope")).contains("no directory \"nope\""));
    assert!(message(&format!("{url}?branch=other&commit=0123456")).contains("expected commit 0123456"));
    assert!(message("file:///nonexistent/x").contains("git ls-remote of file:///nonexistent/x"));
    assert!(message(&format!("{url}#--upload-pack=touch")).contains("is no name of a branch"));
    // A link out of the repository is no directory of it; nor is a file that would name a submodule here.
    std::os::unix::fs::symlink("/", origin.path.join("out")).unwrap();
    origin.commit("x", "x", "link");
    assert!(message(&format!("{url}#:out/etc")).contains("no directory"));
    let secret = Origin { path: f.dir.path().join("secret") };
    std::fs::create_dir(&secret.path).unwrap();
    secret.git(&["init", "-q"]);
    secret.commit("key", "hidden", "one");
    origin.git(&["submodule", "--quiet", "add", &secret.url(), "module"]);
    origin.git(&["commit", "-q", "-m", "module"]);
    let refused = message(&url);
    assert!(
        refused.contains("git submodule") && refused.contains("transport 'file' not allowed"),
        "{refused}"
    );
    let outcome = build(&f, &format!("{url}?submodules=0"));
    assert!(f.rootfs(outcome.ok()).lstat("/module/key").is_err());
}

/// What a repository says of itself starts no program here: no helper of a submodule's address, no command in place of its
/// update, no name that is a path, no filter.
#[test]
fn a_repository_starts_no_program() {
    let f = Fixture::new();
    let canary = f.dir.path().join("canary");
    let touch = format!("touch%20{}", canary.display());
    for (name, settings) in [
        ("m", format!("path = m\n\turl = ext::sh -c {touch}\n")),
        ("m", format!("path = m\n\turl = -u{touch}\n")),
        ("m", "path = m\n\turl = ssh://-oProxyCommand=touch/x\n".to_owned()),
        ("../../m", "path = m\n\turl = https://127.0.0.1:1/x\n".to_owned()),
        ("m", format!("path = m\n\turl = ./\n\tupdate = !touch {}\n", canary.display())),
    ] {
        let origin = Origin::new(&f);
        origin.commit("Dockerfile", "FROM base\nCOPY . /\n", "one");
        origin.commit(".gitattributes", "* filter=evil\n", "two");
        let head = origin.git(&["rev-parse", "HEAD"]);
        std::fs::create_dir(origin.path.join("m")).unwrap();
        origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},m")]);
        origin.commit(".gitmodules", &format!("[submodule \"{name}\"]\n\t{settings}"), "three");
        let refused = build(&f, &origin.url()).err().chain();
        assert!(refused.contains("submodule"), "{settings}: {refused}");
        assert!(!canary.exists(), "{settings}");
        std::fs::remove_dir_all(&origin.path).unwrap();
    }
}

/// Ten trees that each name the next one ten times: a few hundred bytes, ten thousand million files.
#[test]
fn a_bomb_is_not_written() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    let mut object = origin.git(&["rev-parse", "HEAD:version"]);
    for level in 0..10 {
        let kind = if level == 0 { "100644 blob" } else { "040000 tree" };
        let lines: String = (0..10).map(|i| format!("{kind} {object}\tf{i}\n")).collect();
        let mut mktree = Command::new("git");
        mktree.arg("mktree").current_dir(&origin.path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = mktree.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        object = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
    }
    let bomb = origin.git(&["commit-tree", "-m", "bomb", &object]);
    origin.git(&["update-ref", "refs/heads/bomb", &bomb]);
    let message = build(&f, &format!("{}#bomb", origin.url())).err().chain();
    assert!(message.contains("has more than 2000000 files"), "{message}");
}

/// Serves the repositories below a directory on loopback.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn new(directory: &Path) -> Daemon {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("git");
        command.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
        command.arg(format!("--port={port}")).arg(format!("--base-path={}", directory.display()));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").stderr(Stdio::null());
        let child = command.arg(directory).spawn().unwrap();
        let daemon = Daemon { child, port };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "git daemon listens");
            std::thread::yield_now();
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It serves from a child: both hear that they are to end.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn repositories_are_added() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    let daemon = Daemon::new(f.dir.path());
    let url = format!("git://127.0.0.1:{}/origin.git", daemon.port);
    let file = format!("FROM scratch\nADD {url}#other /src\nADD --keep-git-dir=true {url}#v1:sub /sub/\n");
    let outcome = f.build(&file);
    let root = f.rootfs(outcome.ok());
    assert_eq!(text(&root, "/src/version"), "2");
    assert_eq!(text(&root, "/sub/in"), "inside");
    assert!(root.lstat("/src/.git").is_err());
    assert_eq!(f.build(&file).ok().ran, 0, "nothing changed");
    origin.git(&["checkout", "-q", "other"]);
    origin.commit("version", "2b", "more");
    let outcome = f.build(&file);
    assert_eq!(text(&f.rootfs(outcome.ok()), "/src/version"), "2b");
    assert!(outcome.reasons().iter().any(|reason| reason.contains(&url)), "{:?}", outcome.reasons());
    let head = origin.git(&["rev-parse", "HEAD"]);
    f.build(&format!("FROM scratch\nADD --checksum={head} {url}#other /\n")).ok();
    let wrong = f.build(&format!("FROM scratch\nADD --checksum=0123456789 {url}#other /\n"));
    assert!(wrong.err().chain().contains("expected commit 0123456789"));
    // By name as a further context.
    let outcome = f.build_with("FROM scratch\nCOPY --from=repo version /\n", |r| {
        r.named_contexts.insert("repo".into(), NamedContext::Remote(format!("{url}#main")));
    });
    assert_eq!(text(&f.rootfs(outcome.ok()), "/version"), "3");
}

/// Serves the files below a directory, and knows nothing of repositories; where it listens.
fn files(directory: &Path) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            request.read_line(&mut line).unwrap();
            let path = line.split([' ', '?']).nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            while request.read_line(&mut line).is_ok_and(|count| count > 2) {}
            let (status, body) = match std::fs::read(directory.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Whoever goes away early has what it wants.
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    port
}

#[test]
fn repositories_behind_plain_web_servers() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    origin.git(&["update-server-info"]);
    let port = files(&origin.path);
    let url = format!("http://127.0.0.1:{port}/.git");
    let outcome = build(&f, &format!("{url}#other"));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/version"), "2");
    let first = origin.git(&["rev-parse", "HEAD~1"]);
    let file = format!("FROM scratch\nADD {url} /new\nADD {url}#v1:sub /sub/\nADD {url}#{first} /old\n");
    let outcome = f.build(&file);
    let root = f.rootfs(outcome.ok());
    assert_eq!(text(&root, "/new/version"), "3");
    assert_eq!(text(&root, "/sub/in"), "inside");
    assert_eq!(text(&root, "/old/version"), "2");
    let missing = build(&f, &format!("{url}#nope")).err().chain();
    assert!(missing.contains("does not contain ref nope"), "{missing}");
    // So are submodules there.
    let module = Origin { path: origin.path.join("module") };
    std::fs::create_dir(&module.path).unwrap();
    module.git(&["init", "-q", "-b", "main"]);
    module.commit("inner", "m", "one");
    module.git(&["update-server-info"]);
    let named = format!("path = module\n\tshallow = true\n\turl = http://127.0.0.1:{port}/module/.git\n");
    origin.commit(".gitmodules", &format!("[submodule \"module\"]\n\t{named}"), "module");
    origin.git(&["update-server-info"]);
    let outcome = build(&f, &url);
    assert_eq!(text(&f.rootfs(outcome.ok()), "/module/inner"), "m");
}

#[test]
fn repositories_may_have_longer_sums() {
    let f = Fixture::new();
    let origin = Origin { path: f.dir.path().join("long") };
    std::fs::create_dir(&origin.path).unwrap();
    origin.git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    origin.commit("Dockerfile", "FROM scratch\nCOPY . /\n", "one");
    origin.git(&["tag", "v1"]);
    origin.commit("version", "2", "two");
    let head = origin.git(&["rev-parse", "HEAD"]);
    assert_eq!(head.len(), 64);
    let url = origin.url();
    for name in ["", "#main", &format!("#{head}"), &format!("?branch=main&commit={head}#refs/heads/main")] {
        let outcome = build(&f, &format!("{url}{name}"));
        assert_eq!(text(&f.rootfs(outcome.ok()), "/version"), "2", "{name}");
    }
    let daemon = Daemon::new(f.dir.path());
    let url = format!("git://127.0.0.1:{}/long", daemon.port);
    let outcome = f.build(&format!("FROM scratch\nADD {url}#v1 /old\nADD --checksum={head} {url} /new\n"));
    let root = f.rootfs(outcome.ok());
    assert!(root.lstat("/old/version").is_err());
    assert_eq!(text(&root, "/new/version"), "2");
}

#[test]
fn a_context_may_be_nothing() {
    let f = Fixture::new();
    let empty = |request: &mut Request| {
        request.named_contexts.insert("base".into(), NamedContext::Image("scratch".into()));
    };
    let outcome = f.build_with("FROM base AS x\nCOPY Dockerfile /q\nFROM x\nCOPY --from=x /q /r\n", empty);
    assert_eq!(f.config(outcome.ok()).rootfs.diff_ids.len(), 2);
    assert!(f.rootfs(outcome.ok()).lstat("/bin").is_err());
}

/// A server that counts what it sent, and knows what it has.
fn server(content: &[u8]) -> (builder::Fetch, Arc<Mutex<(u32, u32)>>) {
    let counts = Arc::new(Mutex::new((0, 0)));
    let (content, seen) = (content.to_vec(), Arc::clone(&counts));
    let fetch = move |request: &FetchRequest<'_>| {
        let unchanged = request.etag == Some("\"v1\"");
        let mut seen = seen.lock().unwrap();
        if unchanged {
            seen.1 += 1;
        } else {
            seen.0 += 1;
        }
        let body = if unchanged { Vec::new() } else { content.clone() };
        Ok(Fetched {
            unchanged,
            body: Box::new(Cursor::new(body)),
            file_name: None,
            modified: Some(1_000_000_000),
            etag: Some("\"v1\"".into()),
            last_modified: None,
        })
    };
    (Arc::new(fetch), counts)
}

#[test]
fn urls_are_asked_for_changes() {
    let f = Fixture::new();
    let (fetch, counts) = server(b"tool");
    let mut env = f.env();
    env.fetch = Some(fetch);
    let file = "FROM scratch\nADD http://h/tool /\n";
    f.build_in(&env, file, |_| {}).ok();
    assert_eq!(f.build_in(&env, file, |_| {}).ok().ran, 0);
    assert_eq!(*counts.lock().unwrap(), (1, 1), "one transfer, one question");
    // Another step needs the bytes that the server did not send.
    let outcome = f.build_in(&env, "FROM scratch\nADD --chmod=700 http://h/tool /t\n", |_| {});
    assert_eq!(text(&f.rootfs(outcome.ok()), "/t"), "tool");
    assert_eq!(*counts.lock().unwrap(), (2, 2));
    // With a checksum nobody needs to be asked.
    let digest = oci::Digest::sha256(b"tool");
    let file = format!("FROM scratch\nADD --checksum={digest} http://h/tool /c\n");
    f.build_in(&env, &file, |_| {}).ok();
    f.build_in(&env, &file, |_| {}).ok();
    assert_eq!(*counts.lock().unwrap(), (3, 2));
}

#[test]
fn a_file_of_an_address_without_a_name_has_one() {
    let f = Fixture::new();
    let env = builder::Env { fetch: Some(server(b"tool").0), ..f.env() };
    let outcome = f.build_in(&env, "FROM scratch\nADD http://h/ /d/\n", |_| {});
    assert_eq!(text(&f.rootfs(outcome.ok()), "/d/__unnamed__"), "tool");
}

/// Whether a step ran or was cached, the provenance says what it took from elsewhere.
#[test]
fn provenance_names_what_came_from_elsewhere() {
    let f = Fixture::new();
    let origin = Origin::new(&f);
    let env = builder::Env { fetch: Some(server(b"tool").0), ..f.env() };
    let daemon = Daemon::new(f.dir.path());
    let url = format!("git://127.0.0.1:{}/origin.git", daemon.port);
    let file = format!("FROM scratch\nADD http://h/tool /\nADD {url}#other /src\n");
    let commit = |name: &str| json!({ "sha1": origin.git(&["rev-parse", name]) });
    let tool = oci::Digest::sha256(b"tool");
    let expected = json!([
        { "uri": format!("{url}#other"), "digest": commit("other") },
        { "uri": "http://h/tool", "digest": { "sha256": tool.hex() } },
    ]);
    let told = |request: &mut Request| request.export.told_provenance = Some(Provenance::Min);
    for ran in [2, 0] {
        let outcome = f.build_in(&env, &file, told);
        assert_eq!(outcome.ok().ran, ran);
        let provenance = outcome.result().images[0].provenance.as_ref().unwrap();
        assert_eq!(provenance["buildDefinition"]["resolvedDependencies"], expected);
    }
    let mut request = Request { network: NetMode::None, ..Request::default() };
    told(&mut request);
    let context = format!("{url}#main:sub");
    let built = builder::build(&env, Context::Remote(context.clone()), &request, &mut |_| {}).unwrap();
    let definition = &crate::fixture::image(&built).images[0].provenance.as_ref().unwrap()["buildDefinition"];
    let source = json!({ "uri": context, "path": "Dockerfile", "digest": commit("main") });
    assert_eq!(definition["externalParameters"]["configSource"], source);
    let main = json!([{ "uri": format!("{url}#main"), "digest": commit("main") }]);
    assert_eq!(definition["resolvedDependencies"], main);
}

#[test]
fn archives_and_dockerfiles_by_url() {
    let f = Fixture::new();
    let mut packer = archive::Packer::new(Vec::new());
    for (name, content) in [("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "from afar")] {
        let entry = archive::Entry::file(name, 0o644, content.len() as u64);
        packer.append_bytes(&entry, content.as_bytes()).unwrap();
    }
    let tar = packer.finish().unwrap();
    let with = |bytes: &[u8]| {
        let mut env = f.env();
        env.fetch = Some(server(bytes).0);
        env
    };
    let build = |env: &builder::Env| {
        let request = Request { network: NetMode::None, ..Request::default() };
        builder::build(env, Context::Remote("https://h/x".into()), &request, &mut |_| {})
    };
    for compression in [archive::Compression::None, archive::Compression::Gzip, archive::Compression::Zstd] {
        let mut compressor = archive::compress(compression, None, Vec::new()).unwrap();
        compressor.write_all(&tar).unwrap();
        let built = build(&with(&compressor.finish().unwrap())).unwrap();
        assert_eq!(text(&f.rootfs(&built), "/a"), "from afar");
        // The same archive is unpacked by ADD, if that is asked for.
        let mut compressor = archive::compress(compression, None, Vec::new()).unwrap();
        compressor.write_all(&tar).unwrap();
        let env = with(&compressor.finish().unwrap());
        let outcome = f.build_in(&env, "FROM scratch\nADD --unpack=true http://h/x.tar /u/\n", |_| {});
        assert_eq!(text(&f.rootfs(outcome.ok()), "/u/a"), "from afar");
    }
    // What is no archive is the Dockerfile, whatever that is called, and the only file that there is to be copied.
    let lone = with(b"FROM base\nRUN echo hi >/hi\nCOPY context /file\n");
    for name in [None, Some("own.Dockerfile".to_owned())] {
        let dockerfile = builder::DockerfileSource::InContext(name);
        let request = Request { dockerfile, network: NetMode::None, ..Request::default() };
        let built = builder::build(&lone, Context::Remote("https://h/x".into()), &request, &mut |_| {});
        let root = f.rootfs(&built.unwrap());
        assert_eq!(
            (text(&root, "/hi"), text(&root, "/file").starts_with("FROM base")),
            ("hi\n".into(), true)
        );
    }
    assert!(matches!(build(&with(b"\x1f\x8bgarbage")).unwrap_err(), Error::Dockerfile { .. }));
    // A single file that is a context by name.
    let outcome = f.build_in(&with(b"tool"), "FROM scratch\nCOPY --from=n . /n/\n", |r| {
        r.named_contexts.insert("n".into(), NamedContext::Remote("https://h/tool.sh".into()));
    });
    assert_eq!(text(&f.rootfs(outcome.ok()), "/n/context"), "tool");
}

#[test]
fn contexts_that_nothing_reads_are_not_fetched() {
    let f = Fixture::new();
    let (fetch, asked) = server(b"tool");
    let env = builder::Env { fetch: Some(fetch), ..f.env() };
    let build = |file: &str, given: &[(&str, &str)]| {
        let before = asked.lock().unwrap().0;
        let outcome = f.build_in(&env, file, |r| {
            r.named_contexts.insert("n".into(), NamedContext::Remote("https://h/tool.sh".into()));
            r.named_contexts.insert("gone".into(), NamedContext::Remote("git://127.0.0.1:1/x.git".into()));
            r.named_contexts.insert("image".into(), NamedContext::Image("nowhere".into()));
            r.build_args.extend(given.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        });
        outcome.ok();
        asked.lock().unwrap().0 - before
    };
    let other = "FROM image AS other\nCOPY --from=gone . /\n";
    assert_eq!(build(&format!("{other}FROM scratch\nCOPY Dockerfile /\n"), &[]), 0);
    assert_eq!(build(&format!("{other}FROM scratch\nCOPY --from=n . /\nCOPY --from=n . /again/\n"), &[]), 1);
    assert_eq!(build("FROM n\n", &[]), 1);
    assert_eq!(build("FROM base\nRUN --mount=from=n,target=/m true\n", &[("SOURCE_DATE_EPOCH", "n")]), 1);
}

#[test]
fn a_directory_of_a_context_is_the_context() {
    let f = Fixture::new();
    let mut packer = archive::Packer::new(Vec::new());
    for (name, content) in [("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("sub/dir/a", "below")] {
        packer
            .append_bytes(&archive::Entry::file(name, 0o644, content.len() as u64), content.as_bytes())
            .unwrap();
    }
    let tar = packer.finish().unwrap();
    let build = |path: &str| {
        let context = Context::Tar(Box::new(std::io::Cursor::new(tar.clone())));
        let context_subdir = Some(path.to_owned());
        let request = Request { context_subdir, network: NetMode::None, ..Request::default() };
        builder::build(&f.env(), context, &request, &mut |_| {})
    };
    assert_eq!(text(&f.rootfs(&build("sub/dir").unwrap()), "/a"), "below");
    assert!(build("no/dir").unwrap_err().chain().starts_with("open build context no/dir"));
    assert!(build("Dockerfile").is_err());
}
