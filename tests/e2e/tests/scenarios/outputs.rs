//! Where builds take their files from, and where their results go to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use testkit::{DockerRegistry, Host, Mode};

in_every_mode! {
    results_are_files_and_archives
    registries_get_what_was_built
    one_name_for_several_platforms
    outputs_do_what_they_are_told
    programs_read_what_a_build_does
    images_of_registries_are_looked_at
    a_base_for_another_platform_is_better_than_none
}

fn context(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo made > /made\nCOPY file /\n");
    host.file("ctx/plain", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n");
    host.file("ctx/file", "file");
}

fn results_are_files_and_archives(host: &Host) {
    context(host);
    host.dhow(&["build", "-o", "out", "ctx"]).ok();
    assert_eq!(fs::read_to_string(host.home().join("out/made")).unwrap(), "made\n");
    host.dhow(&["build", "-o", "type=tar,dest=all.tar", "-f", "ctx/plain", "ctx"]).ok();
    assert_eq!(host.program("tar", &["tf", "all.tar"]).ok(), "amd64");
    host.dhow(&["build", "-t", "two:1", "-o", "type=oci,dest=oci.tar,compression=gzip", "ctx"]).ok();
    host.dhow(&["build", "-t", "two:2", "-o", "type=docker,dest=docker.tar", "ctx"]).ok();
    host.dhow(&["build", "-o", "type=oci,dest=layout,tar=false", "ctx"]).ok();
    assert!(host.home().join("layout/oci-layout").is_file());
    host.dhow(&["build", "-o", "type=docker,dest=dockers,tar=false", "ctx"]).ok();
    assert!(host.home().join("dockers/manifest.json").is_file());
    // One platform as one of several.
    let several = ["build", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-f", "ctx/plain"];
    host.dhow(&[&several[..], &["-o", "several", "ctx"]].concat()).ok();
    assert!(host.home().join("several/linux_amd64/amd64").is_file());
    host.dhow(&[&several[..], &["-o", "type=local,dest=flat,platform-split=false", "ctx"]].concat()).ok();
    assert!(host.home().join("flat/amd64").is_file());
    let split = "type=local,dest=split,platform-split=true";
    host.dhow(&["build", "-f", "ctx/plain", "-o", split, "ctx"]).ok();
    assert!(host.home().join("split/linux_amd64/amd64").is_file());
    host.dhow(&[&several[..], &["-o", "type=oci,dest=index,tar=false", "ctx"]].concat()).ok();
    let index = fs::read_to_string(host.home().join("index/index.json")).unwrap();
    assert!(index.contains("application/vnd.oci.image.index.v1+json\",\"digest"), "{index}");
    let one = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=0", "--platform", "linux/amd64,linux/arm64", "ctx"];
    let refused = host.dhow(&[&["build", "-f", "ctx/plain"], &one[..]].concat()).fails(1);
    assert!(refused.contains("returning multiple target platforms is not allowed"), "{refused}");
    // None of these is an image here, and nothing is left of them.
    assert_eq!(host.type_in("images -aq").ok().lines().count(), 1);
    host.type_in("system check").ok();
    for (file, name) in [("oci.tar", "two:1"), ("docker.tar", "two:2")] {
        assert!(host.dhow(&["load", "-i", file]).ok().contains(name));
        assert_eq!(host.dhow(&["run", "--rm", name, "cat", "/made"]).ok(), "made");
        // That of the base is of its own last change.
        let comment = host.dhow(&["image", "inspect", "-f", "{{.Comment}}", name]).ok();
        assert_eq!(comment, "buildkit.dockerfile.v0");
    }
    // The same inputs give the same bytes, whoever builds.
    for (root, dest) in [("one", "one.tar"), ("other", "other.tar")] {
        let mut command = host.command();
        command.env("DHOW_ROOT", host.home().join(root)).env("SOURCE_DATE_EPOCH", "1000000000");
        let output = format!("type=oci,dest={dest},rewrite-timestamp=true");
        let arguments =
            ["build", "-q", "-f", "ctx/plain", "--platform", "linux/amd64,linux/arm64", "-o", &output, "ctx"];
        command.args(arguments);
        assert!(command.output().unwrap().status.success());
    }
    let bytes = |name: &str| fs::read(host.home().join(name)).unwrap();
    assert!(bytes("one.tar") == bytes("other.tar"), "two roots, one result");
    for root in ["one", "other"] {
        fs::remove_dir_all(host.home().join(root)).unwrap();
    }
    let refused = host.dhow(&["build", "-o", "type=image,wrong=1", "ctx"]).fails(1);
    assert!(refused.contains("has no attribute"), "{refused}");
}

fn registries_get_what_was_built(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let name = "127.0.0.1:5000/some/image:1";
    host.dhow(&["build", "--push", "-t", name, "--metadata-file", "told.json", "ctx"]).ok();
    let told = fs::read_to_string(host.home().join("told.json")).unwrap();
    let raw = host.program("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{name}")]).ok();
    let digest = raw.lines().find_map(|line| line.trim().strip_prefix("\"Digest\": \"")).unwrap();
    let digest = digest.trim_end_matches("\",");
    assert!(told.contains(&format!("\"containerimage.digest\": \"{digest}\"")), "{told}");
    assert!(host.dhow(&["inspect", "-f", "{{.RepoDigests}}", name]).ok().contains(digest));
    // Again, and there is nothing to send.
    assert!(!host.dhow(&["push", name]).ok().contains("Pushed"));
    host.dhow(&["rmi", name]).ok();
    host.dhow(&["pull", name]).ok();
    assert_eq!(host.dhow(&["run", "--rm", name, "cat", "/made"]).ok(), "made");

    // How it was made, without what must stay secret.
    host.file("secret", "hidden-word");
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nARG V\nRUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /made\n",
    );
    let name = "127.0.0.1:5000/some/attested:1";
    let attested =
        ["--provenance=mode=max", "--sbom=true", "--secret", "id=s,src=secret", "--build-arg", "V=7"];
    host.dhow(&[&["build", "--push", "-t", name][..], &attested, &["ctx"]].concat()).ok();
    let copy = ["copy", "--all", "--src-tls-verify=false", &format!("docker://{name}"), "dir:attested"];
    host.program("skopeo", &copy).ok();
    let mut all = String::new();
    for entry in fs::read_dir(host.home().join("attested")).unwrap() {
        all.push_str(&String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()));
    }
    for wanted in [
        "https://slsa.dev/provenance/v1",
        "https://spdx.dev/Document",
        "\"build-arg:V\":\"7\"",
        "attestation-manifest",
        "\"artifactType\":\"application/vnd.docker.attestation.manifest.v1+json\"",
        "\"subject\":{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
    ] {
        assert!(all.contains(wanted), "{wanted}");
    }
    assert!(!all.contains("hidden-word"));
    // Attestations look like images where somebody wants them as they were.
    let before = "type=oci,dest=before.tar,oci-artifact=false";
    host.dhow(&[&["build", "-o", before][..], &attested, &["ctx"]].concat()).ok();
    let all = fs::read(host.home().join("before.tar")).unwrap();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("attestation-manifest") && !all.contains("artifactType"));
    let unnamed = host.dhow(&["build", "--push", "ctx"]).fails(1);
    assert!(unnamed.contains("tag is needed when pushing to registry"), "{unnamed}");
}

fn a_base_for_another_platform_is_better_than_none(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let remote = "127.0.0.1:5000/only/riscv:1";
    let layout = "type=oci,dest=layout,tar=false";
    let foreign = |more: &[&str]| {
        let arguments = ["build", "-f", "ctx/plain", "--platform", "linux/riscv64", "--provenance=false"];
        host.dhow(&[&arguments, more, &["ctx"]].concat()).ok();
    };
    foreign(&["-t", "here"]);
    foreign(&["-t", remote, "--push"]);
    foreign(&["-o", layout]);
    host.dhow(&["rmi", "-f", remote]).ok();
    let says = |name: &str, wanted: &str| {
        format!(
            "InvalidBaseImagePlatform: Base image {name} was pulled with platform \"linux/riscv64\", expected \"{wanted}\" for current build"
        )
    };
    host.file("ctx/on", format!("FROM {remote}\nCOPY file /\n"));
    // A check asks the registry, and leaves the image there.
    let checked = host.dhow(&["build", "--check", "-f", "ctx/on", "ctx"]).run();
    assert!(checked.code == 1 && checked.stdout.contains("1 warning has been found"), "{}", checked.stdout);
    assert!(!host.type_in("images").ok().contains("only/riscv"));
    let on = |text: &str, more: &[&str]| {
        host.file("ctx/on", text);
        host.dhow(&[&["build", "--progress=plain", "-f", "ctx/on", "-t", "result"], more, &["ctx"]].concat())
            .run()
    };
    let named = "base=oci-layout://layout";
    let cases: [(&str, &[&str]); 5] = [
        (remote, &[]),
        ("here", &[]),
        ("base", &["--build-context", named]),
        ("base", &["--pull", "--build-context", named]),
        ("here", &["--platform", "linux/amd64"]),
    ];
    for (name, more) in cases {
        let built = on(&format!("FROM {name}\nCOPY file /\n"), more);
        assert_eq!(built.code, 0, "{name}: {}", built.stderr);
        assert!(built.stderr.contains(&says(name, "linux/amd64")), "{name}: {}", built.stderr);
        assert!(!built.stderr.contains("docker.io/library/sha256"), "{}", built.stderr);
        // What was asked for counts.
        let wanted = if more.contains(&"--platform") { "amd64" } else { "riscv64" };
        assert_eq!(host.dhow(&["inspect", "-f", "{{.Architecture}}", "result"]).ok(), wanted);
    }
    let built = on("FROM --platform=linux/s390x here\n", &[]);
    assert!(built.code == 0 && built.stderr.contains(&says("here", "linux/s390x")), "{}", built.stderr);
    // A program of that architecture, as far as the kernel looks at it.
    let mut elf = fs::read("/usr/bin/busybox").unwrap()[..4096].to_vec();
    elf[18..20].copy_from_slice(&[0xf3, 0]);
    fs::write(host.home().join("ctx/elf"), elf).unwrap();
    let failed = on("FROM here AS inner\nCOPY --chmod=755 elf /p\nRUN [\"/p\"]\n", &[]);
    let message =
        "stage \"inner\" runs programs for linux/riscv64, which this machine (linux/amd64) cannot execute";
    assert!(failed.code == 1 && failed.stderr.contains(message), "{}", failed.stderr);
    // Where there is a choice, one of them must fit.
    let several =
        ["build", "-f", "ctx/plain", "--platform", "linux/amd64,linux/riscv64", "-t", "127.0.0.1:5000/two"];
    host.dhow(&[&several[..], &["--push", "ctx"]].concat()).ok();
    host.dhow(&["rmi", "-f", "127.0.0.1:5000/two"]).ok();
    let failed = on("FROM --platform=linux/s390x 127.0.0.1:5000/two\n", &[]);
    assert!(failed.code == 1 && failed.stderr.contains("no match for platform in manifest sha256:"));
}

fn one_name_for_several_platforms(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let name = "127.0.0.1:5000/many:1";
    let platforms = ["--platform", "linux/amd64,linux/arm64", "--annotation", "index:note=here"];
    host.dhow(&[&["build", "--push", "-f", "ctx/plain", "-t", name][..], &platforms, &["ctx"]].concat()).ok();
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")];
    let raw = host.program("skopeo", &raw).ok();
    for wanted in ["\"architecture\":\"amd64\"", "\"architecture\":\"arm64\"", "\"note\":\"here\""] {
        assert!(raw.contains(wanted), "{raw}");
    }
    host.dhow(&[&["build", "-o", "out", "-f", "ctx/plain"][..], &platforms, &["ctx"]].concat()).ok();
    assert!(host.home().join("out/linux_arm64/arm64").is_file());
    // What only another machine could run is told by its stage.
    host.file("ctx/Dockerfile", "FROM --platform=linux/s390x scratch AS far\nCOPY file /sh\nRUN [\"/sh\"]\n");
    let refused = host.dhow(&["build", "ctx"]).fails(1);
    assert!(refused.contains("stage \"far\" runs programs for linux/s390x"), "{refused}");
    // So is what a later processor could run; files for it can be put together anywhere.
    host.file(
        "ctx/Dockerfile",
        "FROM scratch\nCOPY file /\nFROM scratch AS late\nCOPY file /sh\nRUN [\"/sh\"]\n",
    );
    host.dhow(&["build", "--platform", "linux/amd64/v9", "--target", "0", "ctx"]).ok();
    let refused = host.dhow(&["build", "--platform", "linux/amd64/v9", "ctx"]).fails(1);
    let why = "no support for running processes with linux/amd64/v9: this processor has the instructions of linux/amd64";
    assert!(refused.contains(why) && refused.contains("stage \"late\" needs more"), "{refused}");
}

/// The kernel's emulators: one list for the whole machine, where steps of builds run. What is put there is for a processor that no
/// other test asks for, and is taken away again.
struct Emulators {
    list: PathBuf,
    own: Option<String>,
}

impl Emulators {
    fn of_machine(host: &Host) -> Emulators {
        let list = host.home().join("emulators");
        fs::create_dir(&list).unwrap();
        host.program("mount", &["-t", "binfmt_misc", "binfmt_misc", list.to_str().unwrap()]).ok();
        Emulators { list, own: None }
    }

    fn has(&self, name: &str) -> bool {
        let mut all = fs::read_dir(&self.list).unwrap();
        all.any(|entry| entry.unwrap().file_name().to_string_lossy().contains(name))
    }

    /// Adds a shell, which takes no notice of what it is given to run.
    fn register(&mut self) {
        let name = format!("qemu-ppc64le-{}", std::process::id());
        let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00";
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff";
        // It is held open: where its programs run it is not to be found.
        let entry = format!(":{name}:M:0:{magic}:{mask}:/usr/bin/busybox:F");
        fs::write(self.list.join("register"), entry).unwrap();
        self.own = Some(name);
    }
}

impl Drop for Emulators {
    fn drop(&mut self) {
        let removed = self.own.iter().all(|name| fs::write(self.list.join(name), "-1").is_ok());
        let unmounted = std::process::Command::new("umount").arg(&self.list).status();
        let is_done = removed && unmounted.is_ok_and(|status| status.success());
        assert!(is_done || std::thread::panicking(), "{:?} stays", self.own);
    }
}

#[test]
fn what_an_emulator_is_registered_for_is_run_by_it() {
    let host = Host::new(Mode::Embedded);
    let mut elf = fs::read("/usr/bin/busybox").unwrap()[..4096].to_vec();
    elf[16..20].copy_from_slice(&[2, 0, 0x15, 0]);
    host.file("ctx/elf", elf);
    host.file(
        "ctx/Dockerfile",
        "FROM scratch AS far\nCOPY --chmod=755 elf /bin/sh\nRUN echo emulated > /made\n",
    );
    let build = || host.dhow(&["build", "--platform", "linux/ppc64le", "-o", "out", "ctx"]);
    let mut emulators = Emulators::of_machine(&host);
    if !emulators.has("qemu-ppc64le") {
        let refused = build().fails(1);
        let what_helps = "install qemu-user-static";
        assert!(refused.contains("no emulator is registered") && refused.contains(what_helps), "{refused}");
    }
    emulators.register();
    build().ok();
    assert_eq!(fs::read_to_string(host.home().join("out/made")).unwrap(), "emulated\n");
}

/// On two machines, from whatever says the time: the same archive, and files of that time.
#[test]
fn files_that_are_handed_out_have_the_time_that_was_said() {
    let host = Host::new(Mode::Embedded);
    context(&host);
    host.file("ctx/D", "FROM scratch\nCOPY file /d/\nCOPY <<x /h\nh\nx\n");
    let argument = "SOURCE_DATE_EPOCH=1000000";
    let output = |name: &str| format!("type=tar,dest={name}");
    host.dhow(&["build", "-f", "ctx/D", "--build-arg", argument, "-o", &output("one.tar"), "ctx"]).ok();
    fs::File::open(host.home().join("ctx/file")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let other = host.home().join("other-root");
    let build = ["build", "-f", "ctx/D", "-o", &output("two.tar"), "ctx"];
    host.dhow(&build).env("DHOW_ROOT", &other.display().to_string()).env("SOURCE_DATE_EPOCH", "1000000").ok();
    let read = |name: &str| fs::read(host.home().join(name)).unwrap();
    assert_eq!(read("one.tar"), read("two.tar"));
    let listed = host.program("tar", &["--utc", "-tvf", "one.tar"]).ok();
    assert_eq!(listed.lines().filter(|line| line.contains("1970-01-12 13:46")).count(), 3, "{listed}");

    host.dhow(&["build", "-f", "ctx/D", "--build-arg", argument, "-o", "out", "ctx"]).ok();
    for name in ["out/d", "out/d/file", "out/h"] {
        let modified = fs::metadata(host.home().join(name)).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_000_000, "{name}");
    }
    host.dhow(&["build", "-f", "ctx/D", "-o", &output("now.tar"), "ctx"]).ok();
    assert_ne!(read("one.tar"), read("now.tar"));
}

#[test]
fn caches_travel() {
    let host = &Host::new(Mode::Daemon);
    context(host);
    let _registry = DockerRegistry::start(host);
    let base = "127.0.0.1:5000/base:1";
    host.dhow(&["tag", "busybox", base]).ok();
    host.dhow(&["push", base]).ok();
    host.file(
        "ctx/Dockerfile",
        format!(
            "FROM {base} AS build\nRUN --mount=type=cache,target=/c cat /proc/sys/kernel/random/uuid | tee /c/id > /id\n\
             RUN echo unused >> /id\nFROM {base}\nCOPY --from=build /id /\nRUN cat /proc/sys/kernel/random/uuid > /own\n"
        ),
    );
    let targets = [
        "--cache-to=type=local,dest=cache,mode=max,mounts=true",
        "--cache-to=type=registry,ref=127.0.0.1:5000/cache:1,mode=max",
        "--cache-to=type=inline",
        "--cache-to=type=local,dest=small",
    ];
    let name = "127.0.0.1:5000/cached:1";
    host.dhow(&[&["build", "--push", "-t", name][..], &targets, &["ctx"]].concat()).ok();
    host.dhow(&["build", "-o", "first", "ctx"]).ok();
    let own = fs::read_to_string(host.home().join("first/own")).unwrap();
    let sources =
        ["type=local,src=cache", "type=registry,ref=127.0.0.1:5000/cache:1", name, "type=local,src=small"];
    for (number, source) in sources.into_iter().enumerate() {
        let root = format!("elsewhere{number}");
        let mut command = host.command();
        command.env("DHOW_ROOT", host.home().join(&root));
        command.args(["build", "--cache-from", source, "-o", &format!("again{number}"), "ctx"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let again = fs::read_to_string(host.home().join(format!("again{number}/own"))).unwrap();
        // It is known what the layers of the stage before are, wherever these are, and it does not run again.
        assert_eq!(again, own, "{source}: {said}");
        assert!(said.contains("its layers are not needed"), "{source}: {said}");
        let mounts = fs::read_dir(host.home().join(&root).join("cache-mounts"));
        assert_eq!(mounts.is_ok_and(|mut found| found.next().is_some()), number == 0, "{source}");
        fs::remove_dir_all(host.home().join(root)).unwrap();
    }
    // A cache that is not there is no reason not to build.
    host.dhow(&["build", "--cache-from", "type=local,src=nowhere", "ctx"]).ok();
    // GitHub's is left out where no workflow runs, as by buildx.
    host.dhow(&["build", "--cache-to", "type=gha", "--cache-from", "type=gha", "ctx"]).ok();
    let workflow = [("ACTIONS_RUNTIME_TOKEN", "t"), ("ACTIONS_RESULTS_URL", "u")];
    let mut build = host.dhow(&["build", "--cache-to", "type=gha", "ctx"]);
    for (name, value) in workflow {
        build = build.env(name, value);
    }
    let refused = build.fails(1);
    assert!(refused.contains("cache type \"gha\" is not supported: there are local"), "{refused}");
}

#[test]
fn files_describe_builds() {
    let host = &Host::new(Mode::TwoEngines);
    context(host);
    let _registry = DockerRegistry::start(host);
    host.file(
        "docker-bake.hcl",
        "variable \"TAG\" { default = \"1\" }\n\
         group \"default\" { targets = [\"app\"] }\n\
         target \"lent\" {\n  dockerfile-inline = \"FROM busybox\\nRUN echo lent > /lent\\n\"\n  output = [\"type=cacheonly\"]\n}\n\
         target \"app\" {\n  context = \"ctx\"\n  contexts = { lent = \"target:lent\" }\n  \
         dockerfile-inline = \"FROM busybox\\nCOPY --from=lent /lent /\\n\"\n  tags = [\"127.0.0.1:5000/app:${TAG}\"]\n}\n",
    );
    host.dhow(&["bake", "--push", "--metadata-file", "told.json"]).ok();
    assert_eq!(host.type_in("run --rm 127.0.0.1:5000/app:1 cat /lent").ok(), "lent");
    assert!(fs::read_to_string(host.home().join("told.json")).unwrap().contains("\"app\": {"));
    let printed = host.dhow(&["buildx", "bake", "--print", "--set", "app.tags=x"]).ok();
    assert!(printed.split_whitespace().collect::<String>().contains("\"tags\":[\"x\""), "{printed}");
    assert!(host.type_in("bake nothing").fails(1).contains("failed to find target nothing\n"));
    assert!(host.type_in("bake ap").fails(1).contains("failed to find target ap (did you mean app?)"));

    // Joined in the registry, without coming here.
    let arm = "127.0.0.1:5000/arm:1";
    host.dhow(&["build", "--push", "-t", arm, "--platform", "linux/arm64", "-f", "ctx/plain", "ctx"]).ok();
    host.dhow(&[
        "buildx",
        "imagetools",
        "create",
        "-t",
        "127.0.0.1:5000/both:1",
        "127.0.0.1:5000/app:1",
        arm,
    ])
    .ok();
    let shown = host.type_in("buildx imagetools inspect 127.0.0.1:5000/both:1").ok();
    assert!(shown.contains("linux/amd64") && shown.contains("linux/arm64"), "{shown}");
    assert_eq!(host.type_in("run --rm 127.0.0.1:5000/both:1 cat /lent").ok(), "lent");
    assert!(host.type_in("buildx ls").ok().contains("default"));
    assert!(host.type_in("buildx create --use").fails(1).contains("there is one builder"));
}

#[test]
fn sources_lie_elsewhere() {
    let host = &Host::new(Mode::Embedded);
    context(host);
    // A repository, by a directory that client and server share.
    let git = |arguments: &[&str]| {
        let who =
            ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", "-C", "repo"];
        host.program("git", &[&who[..], arguments].concat()).ok();
    };
    host.file("repo/sub/Dockerfile", "FROM busybox\nCOPY here /\n");
    host.file("repo/sub/here", "in the repository");
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "one"]);
    let url = format!("file://{}#main:sub", host.home().join("repo").display());
    host.dhow(&["build", "-o", "out", &url]).ok();
    assert_eq!(fs::read_to_string(host.home().join("out/here")).unwrap(), "in the repository");
    let missing = host.dhow(&["build", &format!("{url}/nowhere")]).fails(1);
    assert!(missing.contains("no directory \"sub/nowhere\""), "{missing}");
    // A layout as a base, and an agent for keys that no step can read.
    host.dhow(&["build", "-o", "type=oci,dest=layout,tar=false", "-f", "ctx/Dockerfile", "ctx"]).ok();
    host.program("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"]).ok();
    host.file("ctx/Dockerfile", "FROM lay\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && cp /made /again\n");
    let from = ["--build-context", "lay=oci-layout://layout", "--ssh", "default=key"];
    host.dhow(&[&["build", "-o", "out"][..], &from, &["ctx"]].concat()).ok();
    assert_eq!(fs::read_to_string(host.home().join("out/again")).unwrap(), "made\n");
    let without = host.dhow(&["build", "--ssh", "default", "ctx"]).fails(1);
    assert!(without.contains("SSH_AUTH_SOCK"), "{without}");
}

/// What a layout says of an image, and what the image's documents say of it.
fn annotated_archives(host: &Host) {
    let types = ["index-descriptor:a=1=1", "index:b=2", "manifest-descriptor:c=3", "manifest:d=4"];
    let notes: Vec<&str> = types.into_iter().flat_map(|note| ["--annotation", note]).collect();
    for kind in ["oci", "docker"] {
        let output = format!("type={kind},dest=noted.tar,annotation-index-descriptor.e=5");
        let build = ["build", "-q", "-f", "ctx/plain", "-o", &output, "ctx"];
        host.dhow(&[&build[..], &notes].concat()).ok();
        let read = |path: &str| -> serde_json::Value {
            serde_json::from_str(&host.program("tar", &["-xOf", "noted.tar", path]).ok()).unwrap()
        };
        let blob = |line: &serde_json::Value| {
            read(&format!("blobs/{}", line["digest"].as_str().unwrap().replace(':', "/")))
        };
        let top = &read("index.json")["manifests"][0];
        assert_eq!(
            (&top["annotations"]["a"], &top["annotations"]["e"]),
            (&"1=1".into(), &"5".into()),
            "{top}"
        );
        let index = blob(top);
        assert_eq!(
            (&index["annotations"]["b"], &index["manifests"][0]["annotations"]["c"]),
            (&"2".into(), &"3".into())
        );
        assert_eq!(blob(&index["manifests"][0])["annotations"]["d"], "4");
    }
}

fn outputs_do_what_they_are_told(host: &Host) {
    context(host);
    let plain =
        |arguments: &[&str]| host.dhow(&[&["build", "-q", "-f", "ctx/plain"], arguments, &["ctx"]].concat());
    host.file("out/stale/deep", "old");
    // What is told of how it was made lies not among the files unless that is asked for.
    plain(&["-o", "type=local,dest=told", "--metadata-file", "told.json"]).ok();
    assert!(!host.home().join("told/provenance.json").exists());
    assert!(fs::read_to_string(host.home().join("told.json")).unwrap().contains("buildx.build.provenance"));
    // What is not below the working directory is somebody else's.
    let elsewhere = host.home().with_extension("elsewhere");
    let refused = plain(&["-o", &format!("type=local,dest={},mode=delete", elsewhere.display())]).fails(1);
    assert!(refused.contains("requires --allow=buildx.local.delete"), "{refused}");
    plain(&["-o", "type=local,dest=out,mode=delete"]).ok();
    host.file("out/stale/deep", "old");
    let allow =
        ["--allow", "buildx.local.delete", "--sbom", "true", "--provenance", "mode=max,filename=how.json"];
    plain(&[&allow[..], &["-o", "type=local,dest=out,mode=delete,attestation-prefix=x-"]].concat()).ok();
    let mut left: Vec<String> = fs::read_dir(host.home().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["amd64", "x-how.json", "x-sbom.spdx.json"]);
    // They are statements about these files.
    for (name, kind) in
        [("x-how.json", "https://slsa.dev/provenance/v1"), ("x-sbom.spdx.json", "https://spdx.dev/Document")]
    {
        let told = fs::read(host.home().join("out").join(name)).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(
            (told["predicateType"].as_str(), &told["subject"][0]["name"]),
            (Some(kind), &"amd64".into())
        );
        assert_eq!((told["subject"].as_array().unwrap().len(), told["predicate"].is_object()), (1, true));
    }
    // They are their owner's alone, also where others could read what was there before.
    let mode = |name: &str| fs::metadata(host.home().join("out").join(name)).unwrap().mode() & 0o777;
    assert_eq!([mode("x-how.json"), mode("x-sbom.spdx.json"), mode("amd64")], [0o600, 0o600, 0o644]);
    host.file("again/how.json", "old");
    plain(&["--provenance", "mode=max,filename=how.json", "-o", "again"]).ok();
    assert_eq!(fs::metadata(host.home().join("again/how.json")).unwrap().mode() & 0o777, 0o600);
    plain(&["--provenance", "mode=max,filename=how.json", "-o", "type=tar,dest=again.tar"]).ok();
    let listed = host.program("tar", &["-tvf", "again.tar"]).ok();
    let is_private = |line: &str| line.starts_with("-rw-------") && line.ends_with("how.json");
    assert!(listed.lines().any(is_private), "{listed}");
    annotated_archives(host);
    plain(&["-o", "type=image,name=canon:1,name-canonical=true"]).ok();
    assert!(host.type_in("images --digests canon").ok().contains("sha256:"));
    plain(&["--label", "a=b", "-o", "type=image,dangling-name-prefix=later"]).ok();
    assert!(host.type_in("images --digests later").ok().contains("sha256:"));
    let cache = |words: &str| plain(&["--cache-to", &format!("type=local,dest=cache,{words}")]);
    cache("compression=zstd,compression-level=5,force-compression=true,mode=max,oci-mediatypes=true").ok();
    let blobs = host.program("grep", &["-rhao", "layer.v1.tar+[a-z]*", "cache"]).ok();
    assert!(!blobs.is_empty() && blobs.lines().all(|line| line.ends_with("+zstd")), "{blobs}");
    for (words, want) in [
        ("compression=lz4", "local cache: compression=lz4 is not supported"),
        ("compression-level=77", "local cache: compression-level=77 is not supported"),
        ("oci-mediatypes=false,image-manifest=true", "OCI mediatypes are required for image-manifest"),
        ("ref=x", "local cache has no attribute \"ref\""),
    ] {
        let refused = cache(words).fails(1);
        assert!(refused.contains(want), "{refused}");
    }
}

fn programs_read_what_a_build_does(host: &Host) {
    context(host);
    let told = host.type_in("build --progress rawjson --metadata-file told.json -t one ctx").run();
    let mut names = std::collections::BTreeMap::new();
    for line in told.stderr.lines() {
        let status: serde_json::Value = serde_json::from_str(line).unwrap();
        for vertex in status["vertexes"].as_array().into_iter().flatten() {
            assert!(vertex["digest"].as_str().unwrap().starts_with("sha256:"), "{line}");
            names.insert(vertex["name"].as_str().unwrap().to_owned(), vertex["completed"].is_string());
        }
    }
    assert_eq!(names.get("[2/3] RUN echo made > /made"), Some(&true), "{names:?}");
    assert!(names.values().all(|ended| *ended), "{names:?}");
    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(host.home().join("told.json")).unwrap()).unwrap();
    let build = document["buildx.build.ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(host.dhow(&["build", "history", "inspect", &build]).ok().contains("RUN echo made"));
    assert_eq!(
        document["buildx.build.provenance"]["buildDefinition"]["externalParameters"]["configSource"]["path"],
        "Dockerfile"
    );
    assert_eq!(document["image.name"], "one");
    assert_eq!(host.type_in("build --progress none ctx").ok(), "");
    let line = host.type_in("buildx du --format json").ok().lines().next().unwrap().to_owned();
    assert!(
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["LastUsedAt"]
            .as_str()
            .unwrap()
            .ends_with("ago")
    );
    for (words, want) in [
        ("--resource mem=1g", "invalid resource \"mem=1g\""),
        ("--policy filename=x", "policies in Rego are not supported"),
        ("--builder other", "no builder \"other\" found"),
        ("--security-opt seccomp=x", "does not support setting security options on build"),
    ] {
        let refused = host.type_in(&format!("build {words} ctx")).fails(1);
        assert!(refused.contains(want), "{refused}");
    }
    host.type_in("build -q -D --resource memory=1g,cpu-quota=50000 --policy disabled=true ctx").ok();
}

fn images_of_registries_are_looked_at(host: &Host) {
    let _registry = DockerRegistry::start(host);
    context(host);
    let several = "build -q -f ctx/plain --platform linux/amd64,linux/arm64 --provenance mode=max --sbom true -o \
                   type=registry,name=127.0.0.1:5000/m:1,registry.insecure=true ctx";
    host.type_in(several).ok();
    let look = |name: &str, format: &str| {
        host.dhow(&["buildx", "imagetools", "inspect", &format!("127.0.0.1:5000/{name}"), "--format", format])
            .ok()
    };
    let arm = "{{(index .Image \"linux/arm64\").Architecture}} {{(index .Provenance \"linux/arm64\").SLSA.buildDefinition.externalParameters.configSource.path}} {{(index .SBOM \"linux/arm64\").SPDX.dataLicense}}";
    assert_eq!(look("m:1", arm), "arm64 plain CC0-1.0");
    let create = |words: &str| host.type_in(&format!("buildx imagetools create {words}"));
    let one = "-t 127.0.0.1:5000/m:2 -p linux/arm64 --annotation index:a=b --annotation manifest-descriptor:c=d 127.0.0.1:5000/m:1";
    create(one).ok();
    let index: serde_json::Value = serde_json::from_str(&look("m:2", "{{json .Manifest}}")).unwrap();
    assert_eq!(index["annotations"]["a"], "b");
    assert_eq!(index["manifests"][0]["annotations"]["c"], "d");
    assert_eq!(
        index["manifests"].as_array().unwrap().len(),
        2,
        "the image, and what is attested of it: {index}"
    );
    assert_eq!(look("m:2", "{{.Image.Architecture}}"), "arm64");
    // A descriptor in a file is a source too, and what it names is copied as it is.
    let digest = look("m:2", "{{.Manifest.Digest}}");
    host.file(
        "source",
        format!(
            "{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":{}}}",
            index["mediaType"].as_str().unwrap(),
            index["size"]
        ),
    );
    create("-t 127.0.0.1:5000/m:3 -f source").ok();
    assert_eq!(look("m:3", "{{.Manifest.Digest}}"), digest);
    // What leaves out nothing is the same index.
    create("-t 127.0.0.1:5000/m:7 -p linux/amd64,linux/arm64 127.0.0.1:5000/m:1").ok();
    assert_eq!(look("m:7", "{{.Manifest.Digest}}"), look("m:1", "{{.Manifest.Digest}}"));
    let part = create("--dry-run -p linux/arm64 127.0.0.1:5000/m:2").ok();
    assert!(part.contains("\"a\": \"b\""), "what is left is described as the whole was: {part}");
    let missing = create("--dry-run -p linux/s390x 127.0.0.1:5000/m:1").fails(1);
    assert!(missing.contains("no source has an image for linux/s390x"), "{missing}");
    // Images for the same platform stand side by side, each with what is attested of it.
    let single = |name: &str, words: &str| {
        let output = format!("type=registry,name=127.0.0.1:5000/{name},registry.insecure=true");
        host.type_in(&format!("build -q -f ctx/plain --platform linux/amd64 {words} ctx -o {output}")).ok();
    };
    single("m:4", "--provenance mode=max --label four=4");
    let both = create("--dry-run 127.0.0.1:5000/m:1 127.0.0.1:5000/m:4").ok();
    assert_eq!(both.matches("\"digest\"").count(), 6, "{both}");
    single("m:5,oci-mediatypes=false", "--provenance false --label five=5");
    single("m:6,oci-mediatypes=false", "--provenance false --label six=6");
    let docker = create("--dry-run 127.0.0.1:5000/m:5 127.0.0.1:5000/m:6").ok();
    assert!(docker.contains("manifest.list.v2+json") && !docker.contains("oci"), "{docker}");
}
