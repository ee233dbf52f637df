//! The classic `POST /build` as clients of all kinds send it, and what of our own client's is too long for a header.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::{Host, Mode, eventually};

const DOCKERFILE: &str = "FROM busybox\nARG A\nRUN echo a$A\n";

fn context(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The answer to a build with this query and body; the whole body is written before anything is read, as Docker's client does.
fn post(host: &Host, query: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(host.socket(0)).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1.41/build?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Programs read `Step n/m` and the ids: the same lines as from Docker's daemon, ids apart.
#[test]
fn a_classic_build_counts_its_instructions() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let dockerfile = "ARG V=1\nFROM busybox AS a\nENV X=1\nRUN echo one \\\n  two\nFROM busybox AS unneeded\nRUN false\n\
        FROM scratch\nCOPY --from=a /bin/sh /sh\nCMD [\"/sh\"]\n";
    let plain = context(&[("Dockerfile", dockerfile)]);
    let lines = |answer: &str| {
        let messages = answer.split("{\"stream\":\"").skip(1).filter_map(|rest| rest.split_once("\"}"));
        let text: String =
            messages.map(|(text, _)| text.replace("\\n", "\n").replace("\\\"", "\"")).collect();
        let word = |word: &str| {
            let is_id = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { "#".to_owned() } else { word.to_owned() }
        };
        let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    let work =
        |lines: &str| format!(" ---> Running in #\n{lines}Removing intermediate container #\n ---> #\n");
    let file = |x: &str, run: &str, copy: &str, cmd: &str| {
        format!(
            "Step 1/7 : ARG V=1\nStep 2/7 : FROM busybox AS a\n ---> #\nStep 3/7 : ENV X=1\n{x}\
             Step 4/7 : RUN echo one   two\n{run}Step 5/7 : FROM scratch\n ---> \n\
             Step 6/7 : COPY --from=a /bin/sh /sh\n{copy}Step 7/7 : CMD [\"/sh\"]\n{cmd}Successfully built #"
        )
    };
    let first = file(&work(""), &work("one two\n"), " ---> #\n", &work(""));
    let cached = " ---> Using cache\n ---> #\n";
    for want in [first, file(cached, cached, cached, cached)] {
        let answer = post(&host, "networkmode=none", &plain);
        assert_eq!(lines(&answer), want, "{answer}");
    }
}

/// Docker's daemon looks for caches in the images that are named and nowhere else, and never asks a registry for one.
#[test]
fn a_classic_build_takes_its_cache_from_images_that_are_here() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let plain = context(&[("Dockerfile", DOCKERFILE)]);
    let build = |query: &str| {
        let answer = post(&host, &format!("networkmode=none&{query}"), &plain);
        assert!(answer.contains("Successfully built") && !answer.contains("not imported"), "{answer}");
        assert!(!answer.contains("holds no cache"), "{answer}");
        answer.matches("Using cache").count()
    };
    let absent = "cachefrom=%5B%22127.0.0.1:1/absent%22%5D";
    assert_eq!(build("t=first"), 0);
    assert_eq!(build("t=second"), 2);
    assert_eq!(build(absent), 0);
    assert_eq!(build("cachefrom=%5B%22first%22,%22127.0.0.1:1/absent%22%5D"), 2);
}

/// Docker's API names it among the modes: the interfaces, the ports and the names of a container that runs.
#[test]
fn a_classic_build_runs_in_the_network_of_a_container() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let server =
        "run -d --name served --hostname served --add-host db:10.9.8.7 busybox httpd -f -p 8080 -h /bin";
    host.dhow(&server.split(' ').collect::<Vec<_>>()).ok();
    let file = "FROM busybox\nRUN cat /etc/hosts; wget -qO /got http://127.0.0.1:8080/busybox && echo it is served\n";
    let tar = context(&[("Dockerfile", file)]);
    let mut answer = String::new();
    eventually("the container serves", || {
        answer = post(&host, "networkmode=container%3Aserved&nocache=1", &tar);
        answer.contains("it is served\\n")
    });
    for line in ["\\tserved\\n", "10.9.8.7\\tdb\\n"] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    host.dhow(&["rm", "-f", "served"]).ok();
    let answer = post(&host, "networkmode=container%3Aserved&nocache=1", &tar);
    assert!(answer.contains("No such container: served"), "{answer}");
}

/// Everything that is a matter of words comes out as from Docker's daemon, compared once.
#[test]
fn parameters_of_a_classic_build() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let plain = context(&[("Dockerfile", DOCKERFILE)]);
    let built = "Successfully built";
    for (query, status, words) in [
        ("", 200, built),
        // Anything but nothing, 0, no, false and none is true.
        ("rm=maybe&forcerm=yes&nocache=None&q=NO&pull=FALSE", 200, built),
        ("q=maybe", 200, "\"stream\":\"sha256:"),
        ("squash=1&nocache=1", 200, built),
        ("buildargs=%7B%22A%22%3A%22x%22%7D", 200, "ax"),
        ("buildargs=null&labels=null&ulimits=null&cachefrom=null", 200, built),
        ("buildargs=%7Bx", 400, "error reading build args"),
        ("buildargs=%5B%22A%22%5D", 400, "error reading build args"),
        ("labels=%7B%22A%22%3A1%7D", 400, "error reading labels"),
        ("cachefrom=%22x%22", 400, "error reading cachefrom"),
        ("ulimits=%7Bx", 400, "error reading ulimits"),
        ("ulimits=%5B%7B%22Name%22%3A%22bogus%22%7D%5D", 400, "invalid ulimit type: bogus"),
        ("memory=5242880", 400, "Minimum memory limit allowed is 6MB"),
        ("memory=67108864", 200, built),
        ("memory=67108864&memswap=33554432", 400, "Minimum memoryswap limit"),
        ("memory=x", 400, "memory"),
        ("shmsize=x", 400, "shmsize"),
        ("shmsize=-1", 400, "SHM size can not be less than 0"),
        ("cgroupparent=..%2Fx", 400, "invalid cgroup parent"),
        ("networkmode=container%3A", 400, "invalid container format"),
        ("networkmode=container%3Anobody&nocache=1", 200, "No such container: nobody"),
        ("networkmode=bogus&nocache=1", 200, "bogus"),
        ("extrahosts=a", 400, "bad format for add-host"),
        ("platform=bo%20gus%2F%2Fx", 400, "is an invalid component of"),
        ("target=nope", 400, "could not be found"),
        ("outputs=%5B%7B%22Type%22%3A%22local%22%7D%5D", 400, "outputs are for version 2"),
        ("outputs=%5B%5D&version=1", 200, built),
        ("version=3", 400, "invalid version"),
        ("securityopt=%5B%22seccomp%3Dunconfined%22%5D", 400, "does not support setting security options"),
        (
            "securityopt=seccomp%3Dunconfined",
            400,
            "The daemon on this platform does not support setting security",
        ),
        ("isolation=hyperv", 400, "isolation"),
        ("remote=bogus", 400, "neither the address of a git repository nor a URL"),
        ("t=UPPER", 400, "invalid"),
        (
            "t=a%40sha256%3A0000000000000000000000000000000000000000000000000000000000000000",
            400,
            "build tag cannot contain a digest",
        ),
        ("dockerfile=none", 400, "open none: no such file or directory"),
    ] {
        let answer = post(&host, query, &plain);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words),
            "{query}: {answer}"
        );
    }
    for (files, words) in [
        (&[("dockerfile", DOCKERFILE)][..], built),
        (&[("Dockerfile", DOCKERFILE), (".dockerignore", "Dockerfile\n")], built),
        (&[("Dockerfile", "")], "file with no instructions"),
        (&[("other", "")], "open Dockerfile: no such file or directory"),
        (&[("Dockerfile", "FROM busybox\nFOO x\n")], "unknown instruction: FOO"),
    ] {
        let answer = post(&host, "", &context(files));
        assert!(answer.contains(words), "{files:?}: {answer}");
    }
    // What the file itself cannot be is refused; what it asks for is told after its step.
    for (text, step) in [
        ("FROM 127.0.0.1:1/nosuch\nRUN true\n", "Step 1/2 : FROM 127.0.0.1:1/nosuch"),
        ("ARG X\nFROM $X\n", "Step 2/2 : FROM $X"),
        ("FROM busybox\nEXPOSE x/y\n", "Step 2/2 : EXPOSE x/y"),
        ("FROM busybox\nCOPY --from=9 /a /b\n", "Step 2/2 : COPY --from=9 /a /b"),
    ] {
        for query in ["", "q=1"] {
            let answer = post(&host, query, &context(&[("Dockerfile", text)]));
            let is_told = answer.contains(step) && answer.contains("{\"errorDetail\":{\"message\":");
            assert!(answer.starts_with("HTTP/1.1 200 ") && is_told, "{text}: {answer}");
        }
    }
    let answer = post(&host, "", &context(&[("Dockerfile", "FROM scratch AS Bad\nBADCMD\n")]));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // A refusal is heard by a client that first sends a large context.
    let large = context(&[("Dockerfile", DOCKERFILE), ("large", &"x".repeat(8 << 20))]);
    assert!(post(&host, "version=3", &large).contains("invalid version"));
}

/// A device in a context is copied, as one of a shared folder or of a client of BuildKit is. None is opened, whatever it is called.
#[test]
fn devices_of_a_classic_context() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let with_device = |dockerfile: &str, name: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "made", dockerfile.as_bytes()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Char);
        header.set_mode(0o640);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_size(0);
        builder.append_data(&mut header, name, std::io::empty()).unwrap();
        builder.into_inner().unwrap()
    };
    let dockerfile = "FROM busybox\nCOPY null /\nRUN ls -l /null | grep -q '^crw-r----- .* 1, *3 '\n";
    let built = post(&host, "dockerfile=made&t=&t=devices", &with_device(dockerfile, "null"));
    assert!(built.contains("Successfully tagged devices:latest"), "{built}");
    let refused = post(&host, "", &with_device("", "Dockerfile"));
    assert!(refused.contains("not a regular file"), "{refused}");
}

#[test]
fn a_build_is_cancelled_by_the_id_that_its_client_gave_it() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let cancel = |query: &str| {
        let mut stream = UnixStream::connect(host.socket(0)).unwrap();
        let head =
            format!("POST /v1.41/build/cancel?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(cancel("").starts_with("HTTP/1.1 400 "));
    assert!(cancel("id=unknown").starts_with("HTTP/1.1 200 "), "it may be over already");
    let files = context(&[("Dockerfile", "FROM busybox\nRUN echo \"so it\" began && sleep 600\n")]);
    for id in ["ab12cd34", "What a client likes"] {
        let mut stream = UnixStream::connect(host.socket(0)).unwrap();
        let head = format!(
            "POST /v1.41/build?version=2&buildid={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            id.replace(' ', "%20"),
            files.len()
        );
        stream.write_all(&[head.as_bytes(), &files].concat()).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let says = |line: &String, words: &str| {
            let status = line.split("\"aux\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let status = status.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
            status.windows(words.len()).any(|window| window == words.as_bytes())
        };
        assert!(lines.any(|line| says(&line, "so it began\n")), "the step never ran");
        assert!(cancel(&format!("id={}", id.replace(' ', "%20"))).starts_with("HTTP/1.1 200 "));
        let rest: Vec<String> = lines.collect();
        assert!(rest.iter().any(|line| line.contains("build canceled")), "{rest:?}");
    }
    let listed = || host.dhow(&["build", "history", "ls", "--format", "{{.Status}}"]).ok();
    eventually("both are over", || listed() == "Canceled\nCanceled");
}

/// What a quiet build would not have said is said when it fails, with the code of what failed.
#[test]
fn a_quiet_build_that_fails() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let files = context(&[("Dockerfile", "FROM busybox\nRUN echo reason; exit 3\n")]);
    let answer = post(&host, "q=1", &files);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for words in ["reason", "\"code\":3", "returned a non-zero code: 3"] {
        assert!(answer.contains(words), "{words}: {answer}");
    }
}

fn a_long_dockerfile_that_is_not_in_the_context(host: &Host) {
    host.busybox();
    host.file("ctx/a", "content");
    let comments = "# a comment that says nothing\n".repeat(10_000);
    host.file("elsewhere/Dockerfile", format!("FROM busybox\n{comments}COPY a /\nRUN grep content /a\n"));
    host.dhow(&["build", "-t", "long", "-f", "elsewhere/Dockerfile", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm long cat /a").ok(), "content");
    // So is a secret.
    host.file("secret", "s".repeat(200_000));
    host.file("ctx/Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=s wc -c /run/secrets/s > /n\n");
    host.dhow(&["build", "-t", "long", "--secret", "id=s,src=secret", "ctx"]).ok();
    assert!(host.type_in("run --rm long cat /n").ok().contains("200000"));
}

in_every_mode! { a_long_dockerfile_that_is_not_in_the_context }

#[test]
fn a_daemon_that_ends_takes_its_builds_along_and_ends_well() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo started && sleep 600\n");
    let mut build = host.type_in("build --progress plain ctx").start();
    let lines = BufReader::new(build.stderr.take().expect("a pipe")).lines();
    let is_running = lines.map_while(Result::ok).any(|line| line.ends_with(" started"));
    assert!(is_running, "the step never ran");
    // The host ends it, and sees how.
    drop(host);
    assert!(!build.wait().expect("our own child").success());
}

/// Its answer comes to an end, which the server has not cut.
#[test]
fn a_daemon_that_ends_does_not_wait_for_who_was_lent_something() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN exit 3\n");
    host.type_in("build ctx").fails(1);
    let mut stream = UnixStream::connect(host.socket(0)).unwrap();
    stream.write_all(b"POST /v1.41/build/shell HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    while !line.contains("\"Image\":") {
        line.clear();
        assert_ne!(answer.read_line(&mut line).unwrap(), 0, "it ends before the image is told");
    }
    assert_eq!(host.type_in("images -aq").ok().lines().count(), 1, "what is lent is not listed");
    drop(host);
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
}
