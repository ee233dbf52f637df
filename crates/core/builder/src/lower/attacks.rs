//! Dockerfiles that cost more than they should: each has an answer within seconds, on the stack of any thread.

use super::*;

fn lowered(file: &Dockerfile) -> Result<usize, Error> {
    let (nothing, contexts, labels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let platform = Platform::new("linux", "amd64", None);
    let allowed = AllowedDevices::default();
    let devices = Devices::new(&allowed, &[]);
    let inputs = Inputs {
        file,
        build_args: &nothing,
        epoch: None,
        target: None,
        platform: &platform,
        build_platform: &platform,
        suits: &|_| false,
        images: &BTreeMap::new(),
        contexts: &contexts,
        labels: &labels,
        no_cache: false,
        no_cache_filter: &[],
        allow_insecure: false,
        allow_host_network: false,
        devices: &devices,
    };
    match lower(&inputs)? {
        Lowered::Graph(graph) => Ok(graph.ops.len()),
        Lowered::Needs(needs) => Ok(needs.len()),
    }
}

/// Reads and lowers on a small stack; the error, if it is one.
fn outcome(text: String) -> Result<usize, String> {
    let work = move || {
        let file = dockerfile::parse(&text, Default::default()).map_err(|e| e.to_string())?;
        lowered(&file).map_err(|e| match e {
            Error::At { message, span, .. } => format!("line {}: {message}", span.line),
            Error::NoTarget { name, .. } => name,
        })
    };
    // As large as those of the threads that builds run on.
    let timed = move || (work(), rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec);
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(timed).unwrap();
    let (outcome, seconds) = thread.join().unwrap();
    assert!(seconds < 20, "{seconds} s");
    outcome
}

#[test]
fn stages_on_stages() {
    let chain = |count: usize| {
        let next = (1..count).map(|n| format!("FROM s{} AS s{n}\nRUN x\n", n - 1));
        "FROM scratch AS s0\n".to_owned() + &next.collect::<String>()
    };
    assert_eq!(outcome(chain(5_000)), Ok(4_999));
    let error = outcome(chain(100_000)).unwrap_err();
    assert_eq!(error, "dockerfile parse error on line 20000: dockerfile has more than 10000 stages");
    // The same through copies, each from the next, and the last is the one that all is for.
    let copies = (0..5_000).map(|n| format!("FROM scratch\nCOPY --from={} / /\n", n + 1));
    let error = outcome(copies.collect::<String>() + "FROM scratch\nCOPY --from=0 / /\n");
    assert_eq!(error.unwrap_err(), "line 10001: circular dependency detected on stage: stage-5000");
    let many = (1..5_000).map(|n| format!("COPY --from={n} / /\n"));
    let flat = (0..5_000).map(|n| format!("FROM scratch AS s{n}\nRUN x{n}\n")).collect::<String>();
    assert_eq!(outcome(flat + "FROM scratch\n" + &many.collect::<String>()), Ok(4_999 * 2));
}

#[test]
fn more_instructions_than_anybody_writes() {
    for line in [
        "ENV A=$A$A\n",
        "ARG A=1\n",
        "LABEL a=b\n",
        "RUN x\n",
        "EXPOSE 1-65535\n",
        "VOLUME /v\n",
        "WORKDIR a\n",
    ] {
        let error = outcome("FROM scratch\nENV A=x\n".to_owned() + &line.repeat(100_000)).unwrap_err();
        assert!(error.contains("line "), "{line}: {error}");
    }
}

/// A value of half a megabyte, made of a few lines.
fn large(kind: &str) -> String {
    format!("FROM scratch AS s\n{kind} A=x\n") + &format!("{kind} A=$A$A\n").repeat(19)
}

#[test]
fn large_values_are_not_repeated_without_an_end() {
    let pairs = |count: usize| (0..count).map(|n| format!(" B{n}=$A")).collect::<String>();
    let stages = (0..9_000).map(|n| format!("FROM s AS s{n}\n")).collect::<String>();
    let copies = (0..9_000).map(|n| format!("COPY --from=s{n} / /\n")).collect::<String>();
    let files = [
        large("ENV") + "ENV" + &pairs(1_000),
        large("ENV") + &"RUN x\n".repeat(5_000),
        large("ARG") + &"RUN x\n".repeat(5_000),
        large("ENV") + "ARG" + &pairs(1_000),
        large("ENV") + &"LABEL a=$A\n".repeat(5_000),
        large("ENV") + &"COPY <<B /x\n$A\nB\n".repeat(5_000),
        large("ENV") + &stages + "FROM scratch\n" + &copies,
        "ARG A=x\n".to_owned() + &"ARG A=$A$A\n".repeat(19) + "FROM scratch\n" + &"ARG A\n".repeat(5_000),
        "ARG A=x\n".to_owned() + &"ARG A=$A$A\n".repeat(19) + "ARG" + &pairs(1_000) + "\nFROM scratch\n",
        // The steps of one stage in every stage.
        "FROM scratch AS s\n".to_owned()
            + &"ONBUILD RUN x\n".repeat(9_000)
            + &stages
            + "FROM scratch\n"
            + &copies,
        "FROM scratch AS s\nEXPOSE 1-65535\n".to_owned() + &stages + "FROM scratch\n" + &copies,
    ];
    for text in files {
        let start: String = text.chars().take(600).collect();
        let error = outcome(text).expect_err(&start);
        assert!(error.contains("line ") && error.contains("of the file come to more than 64 MiB"), "{error}");
    }
    let slow = large("ENV") + &"LABEL a=${A//*y/b}\n".repeat(10);
    assert!(outcome(slow).unwrap_err().contains("50000000 steps"));
    let slow =
        "FROM scratch\nENV A=".to_owned() + &"x".repeat(2_000) + "\n" + &"LABEL a=${A//*y/b}\n".repeat(9_000);
    assert!(outcome(slow).unwrap_err().contains("more than 200000000 steps"));
}

/// Names are looked up, and not looked for.
#[test]
fn many_names() {
    let names = |count: usize| (0..count).map(|n| format!(" a{n}=")).collect::<String>();
    let texts = [
        "ARG".to_owned() + &names(200_000),
        "ENV".to_owned() + &names(100_000) + "\nLABEL a=\"" + &"$a5 ".repeat(100_000) + "\"",
        "ENV".to_owned() + &names(2_000) + "\nARG" + &names(2_000) + "\n" + &"RUN x\n".repeat(1_000),
        (0..9_000).map(|n| format!("COPY --from=img{n} / /\n")).collect(),
    ];
    for text in texts {
        let outcome = outcome(format!("FROM scratch\n{text}\n"));
        assert!(outcome.as_ref().err().is_none_or(|error| error.contains("64 MiB")), "{outcome:?}");
    }
}

/// More elements than the stack of a thread has room for calls.
#[test]
fn deep_paths() {
    let deep = "a/".repeat(20_000);
    for line in [
        format!("COPY {deep}* /"),
        format!("COPY f /{deep}"),
        format!("ADD {deep}f /"),
        format!("WORKDIR /{deep}"),
        "WORKDIR a\n".repeat(5_000),
    ] {
        let error = outcome(format!("FROM scratch\n{line}\n")).unwrap_err();
        assert!(error.ends_with("a path cannot be longer than 4095 bytes"), "{error}");
    }
}

#[test]
fn lines_without_an_end() {
    let texts = [
        "RUN ".to_owned() + &"a".repeat(3 << 20),
        "RUN ".to_owned() + &"a \\\n".repeat(200_000),
        "ENV A=".to_owned() + &"${A:-".repeat(200_000),
        "ENV A=".to_owned() + &"${A:-x}".repeat(100_000),
        "LABEL ".to_owned() + &"a=b ".repeat(150_000),
        "COPY ".to_owned() + &"a ".repeat(250_000),
        "RUN [".to_owned() + &"\"a\",".repeat(150_000),
        "RUN ".to_owned() + &"[".repeat(3 << 20),
        "ONBUILD ".repeat(100_000),
        (0..5_000).map(|n| format!("RUN <<E{n}\nE{n}\n")).collect(),
        "RUN ".to_owned() + &"<<A ".repeat(150_000),
        "RUN ".to_owned() + &"--mount=type=cache,target=/x ".repeat(100_000) + "x",
    ];
    for text in texts {
        let start: String = text.chars().take(20).collect();
        let outcome = outcome(format!("FROM scratch\n{text}\n"));
        if let Err(error) = outcome {
            assert!(error.contains("line "), "{start}: {error}");
        }
    }
}
