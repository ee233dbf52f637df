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
        "ENV A$A=$A$A\n",
        "ARG A=1\n",
        "LABEL a=b\n",
        "RUN x\n",
        "EXPOSE 1-65535\n",
        "VOLUME /v\n",
        "WORKDIR a\n",
    ] {
        let error = outcome("FROM scratch\n".to_owned() + &line.repeat(100_000)).unwrap_err();
        assert!(error.contains("line "), "{line}: {error}");
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
