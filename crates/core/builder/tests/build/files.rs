//! `COPY`, `ADD` and contexts.

use crate::fixture::{Fixture, text};
use builder::{Context, Error, Fetched, NamedContext};
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

#[test]
fn destinations() {
    let f = Fixture::new();
    f.file("a", "a").file("b", "b").file("dir/x", "x").file("dir/y/z", "z");
    let file = "\
FROM scratch
COPY a /file
COPY a /into/
COPY a b /many/
COPY a b /last
COPY dir /contents
COPY dir /contents2/
COPY dir/y /contents/
COPY *[ab] /glob/
COPY nothing* /glob/
WORKDIR /w
COPY a .
COPY a sub/
COPY --parents dir/y/z dir/./x /p/
COPY --exclude=y dir /ex/
";
    let outcome = f.build(file);
    let root = f.rootfs(outcome.ok());
    for (path, want) in [
        ("/file", "a"),
        ("/into/a", "a"),
        ("/many/b", "b"),
        ("/last", "b"),
        ("/contents/x", "x"),
        ("/contents/y/z", "z"),
        ("/contents/z", "z"),
        ("/contents2/x", "x"),
        ("/glob/a", "a"),
        ("/w/a", "a"),
        ("/w/sub/a", "a"),
        ("/p/dir/y/z", "z"),
        ("/p/x", "x"),
        ("/ex/x", "x"),
    ] {
        assert_eq!(text(&root, path), want, "{path}");
    }
    assert!(root.lstat("/ex/y").is_err());
}

#[test]
fn owners_modes_and_times() {
    let f = Fixture::new();
    f.file("d/run.sh", "#!/bin/sh").file("d/sub/data", "x");
    std::fs::set_permissions(f.context().join("d/run.sh"), PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(f.context().join("d/run.sh"), Some(4242), Some(4242)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000);
    std::fs::File::open(f.context().join("d/run.sh")).unwrap().set_modified(old).unwrap();
    symlink("run.sh", f.context().join("d/link")).unwrap();
    let file = "FROM base AS one\nCOPY d /plain\nCOPY --chown=app:staff d /owned\nCOPY --chown=7 --chmod=u=rwX,go= d /mode\n\
                COPY --chmod=0644 d/run.sh /octal\nFROM base\nCOPY --from=one /owned /again\n";
    let outcome = f.build(file);
    let again = f.rootfs(outcome.ok());
    let stat = |root: &sys::root::Root, path: &str| {
        let s = root.lstat(path).unwrap();
        (s.st_uid, s.st_gid, s.st_mode & 0o7777)
    };
    assert_eq!(stat(&again, "/again/run.sh"), (1000, 50, 0o750), "files of a stage keep their owner");
    let one = f.build_with(file, |r| r.target = Some("one".into()));
    let root = f.rootfs(one.ok());
    assert_eq!(stat(&root, "/plain/run.sh"), (0, 0, 0o750), "files of a context are root's");
    assert_eq!(root.lstat("/plain/run.sh").unwrap().st_mtime, 1_500_000_000);
    assert_eq!(stat(&root, "/owned"), (1000, 50, 0o755));
    assert_eq!(stat(&root, "/mode/sub"), (7, 7, 0o700));
    assert_eq!(stat(&root, "/mode/sub/data"), (7, 7, 0o600));
    assert_eq!(stat(&root, "/octal"), (0, 0, 0o644));
    assert_eq!(root.readlink("/plain/link").unwrap().to_str(), Some("run.sh"));
}

#[test]
fn a_new_top_directory_is_the_destinations_own() {
    let f = Fixture::new();
    f.file("d/in/x", "x");
    symlink(".", f.context().join("l")).unwrap();
    for dir in ["d", "d/in", ""] {
        std::fs::set_permissions(f.context().join(dir), PermissionsExt::from_mode(0o700)).unwrap();
    }
    let file = "FROM base AS one\nRUN mkdir -p /h/in && touch /h/in/x && chown -R 7:8 /h && chmod -R 700 /h\nFROM base\n\
                COPY d /d\nCOPY . /all\nCOPY --chown=5 --chmod=711 d /own\nCOPY --from=one /h /stage\n\
                COPY --from=one /h /tmp\nCOPY --parents l/d/in /links/\n";
    let outcome = f.build(file);
    let root = f.rootfs(outcome.ok());
    let stat = |path: &str| {
        let s = root.lstat(path).unwrap();
        (s.st_uid, s.st_gid, s.st_mode & 0o7777)
    };
    assert_eq!(stat("/d"), (0, 0, 0o755));
    assert_eq!(stat("/d/in"), (0, 0, 0o700));
    assert_eq!(stat("/all"), (0, 0, 0o755));
    assert_eq!(stat("/own"), (5, 5, 0o711));
    assert_eq!(stat("/stage"), (0, 0, 0o755));
    assert_eq!(stat("/stage/in"), (7, 8, 0o700));
    assert_eq!(stat("/tmp"), (0, 0, 0o1777));
    assert_eq!(stat("/links/l"), (0, 0, 0o755));
    // The mode of the context's own folder is nobody's business: it is another one where it was sent over the wire.
    std::fs::set_permissions(f.context(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(f.build(file).ok().ran, 0);
}

#[test]
fn with_parents_links_stay_what_they_are() {
    let f = Fixture::new();
    f.file("x/y/a", "a").file("x/b", "b");
    symlink("y", f.context().join("x/way")).unwrap();
    symlink("nowhere", f.context().join("x/broken")).unwrap();
    let outcome = f.build(
        "FROM base\nCOPY --parents x/./** /one/\nCOPY --parents ./** /all/\nCOPY --parents x/*/a /a/\n\
         COPY --parents ./x/./way /path/\nCOPY ** /flat/\n",
    );
    let root = f.rootfs(outcome.ok());
    for top in ["/one", "/all/x"] {
        assert_eq!(root.readlink(format!("{top}/way")).unwrap().to_str(), Some("y"));
        assert_eq!(root.readlink(format!("{top}/broken")).unwrap().to_str(), Some("nowhere"));
        assert_eq!(root.read_file(format!("{top}/y/a"), 9).unwrap(), b"a");
        assert_eq!(root.read_file(format!("{top}/b"), 9).unwrap(), b"b");
    }
    assert!(root.lstat("/a/x/y/a").is_ok() && root.lstat("/a/x/way").is_err());
    assert_eq!(root.readlink("/path/way").unwrap().to_str(), Some("y"));
    // Without `--parents` two stars are one.
    assert!(root.lstat("/flat/y/a").is_ok() && root.lstat("/flat/a").is_err());
}

#[test]
fn directories_on_the_way_have_an_octal_mode_and_no_symbolic_one() {
    let f = Fixture::new();
    f.file("sub/f", "1").file("sub/deep/f", "2").file("g", "3").file("arc/x", "4");
    let mut tar = std::process::Command::new("tar");
    assert!(
        tar.args(["-cf", "a.tar", "-C", "arc", "x"]).current_dir(f.context()).status().unwrap().success()
    );
    for verb in ["COPY", "ADD", "COPY --link", "ADD --link"] {
        let file = format!(
            "FROM base\nRUN mkdir -m 750 /there\n{verb} --chmod=0640 sub /a/octal\n{verb} --chmod=751 sub g /b/\n\
             {verb} --chmod=700 g /c/in/g\n{verb} --chmod=go-rwx sub /d/symbolic\n{verb} --chmod=u=rw,go= g /e/\n\
             {verb} --chmod=700 sub /there\n{verb} sub /none\n{verb} --chmod=2751 sub /special\n{verb} --chmod=711 --chown=3:4 <<h /i/h\nx\nh\n"
        );
        let root = f.rootfs(f.build(&file).ok());
        let modes = |paths: &[&str]| -> Vec<String> {
            let mode = |path: &&str| format!("{:o}", root.lstat(path).unwrap().st_mode & 0o7777);
            paths.iter().map(mode).collect()
        };
        assert_eq!(modes(&["/a", "/a/octal", "/a/octal/deep", "/a/octal/f"]), ["640"; 4], "{verb}");
        assert_eq!(modes(&["/b", "/b/g", "/b/f", "/b/deep"]), ["751"; 4], "{verb}");
        assert_eq!(modes(&["/c", "/c/in", "/c/in/g"]), ["700"; 3], "{verb}");
        let symbolic = modes(&["/d", "/d/symbolic", "/d/symbolic/deep", "/d/symbolic/f", "/e", "/e/g"]);
        assert_eq!(symbolic, ["755", "755", "700", "600", "755", "600"], "{verb}");
        assert_eq!(modes(&["/there/f", "/none", "/i", "/i/h"]), ["700", "755", "711", "711"], "{verb}");
        assert_eq!(modes(&["/special", "/special/deep", "/special/f"]), ["751", "2751", "2751"], "{verb}");
        // With a mode a layer is none that knows nothing of what is below.
        assert_eq!(modes(&["/there"]), ["750"], "{verb}");
        assert_eq!(root.lstat("/i").unwrap().st_uid, 3, "{verb}");
    }
    let outcome = f
        .build("FROM scratch\nADD --chmod=700 a.tar /unpacked/\nCOPY --parents --chmod=710 sub/deep/f /p/\n");
    let root = f.rootfs(outcome.ok());
    for (path, mode) in [("/unpacked", 0o755), ("/p", 0o710), ("/p/sub", 0o710), ("/p/sub/deep/f", 0o710)] {
        assert_eq!(root.lstat(path).unwrap().st_mode & 0o7777, mode, "{path}");
    }
}

/// As BuildKit's clients send them: a pipe is one, a socket an empty file.
#[test]
fn pipes_and_sockets_of_a_context() {
    let f = Fixture::new();
    f.file("d/a", "1");
    let pipe =
        std::process::Command::new("mkfifo").args(["-m", "640", "d/pipe"]).current_dir(f.context()).status();
    assert!(pipe.unwrap().success());
    let listener = std::os::unix::net::UnixListener::bind(f.context().join("d/socket")).unwrap();
    std::fs::set_permissions(f.context().join("d/socket"), PermissionsExt::from_mode(0o751)).unwrap();
    let file = "FROM base\nCOPY d /d\nADD d/socket d/pipe /own/\nCOPY --chown=3:4 --chmod=600 d/socket /own/other\n\
                RUN --mount=type=bind,source=d,target=/m test -p /m/pipe -a -e /m/socket\n";
    let outcome = f.build(file);
    let root = f.rootfs(outcome.ok());
    let stat = |path: &str| {
        let s = root.lstat(path).unwrap();
        (format!("{:o}", s.st_mode), s.st_uid, s.st_size)
    };
    for directory in ["/d", "/own"] {
        assert_eq!(stat(&format!("{directory}/pipe")), ("10640".into(), 0, 0));
        assert_eq!(stat(&format!("{directory}/socket")), ("100751".into(), 0, 0));
    }
    assert_eq!(stat("/own/other"), ("100600".into(), 3, 0));
    // What it was before it was sent is nobody's business.
    drop(listener);
    std::fs::remove_file(f.context().join("d/socket")).unwrap();
    f.file("d/socket", "");
    std::fs::set_permissions(f.context().join("d/socket"), PermissionsExt::from_mode(0o751)).unwrap();
    let again = f.build(file.split("RUN").next().unwrap());
    assert_eq!((again.ok().ran, again.ok().cached), (0, 3), "{:?}", again.reasons());
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let f = Fixture::new();
    f.file("in/a.txt", "packed");
    for (flag, name) in [("-cf", "x.tar"), ("-czf", "x.tar.gz"), ("-cjf", "x.tar.bz2"), ("-cJf", "x.tar.xz")]
    {
        let status = std::process::Command::new("tar")
            .args([flag, name, "-C", "in", "a.txt"])
            .current_dir(f.context())
            .status()
            .unwrap();
        assert!(status.success());
    }
    let mut zstd = archive::compress(archive::Compression::Zstd, None, Vec::new()).unwrap();
    zstd.write_all(&std::fs::read(f.context().join("x.tar")).unwrap()).unwrap();
    std::fs::write(f.context().join("x.tar.zst"), zstd.finish().unwrap()).unwrap();
    f.file("notes.tar", "this is no archive").file("empty", "");
    let file = "FROM scratch\nADD x.tar /tar/\nADD x.tar.gz /gz\nADD --chown=7:8 x.tar.bz2 /bz2/\nADD x.tar.xz /xz/\nADD x.tar.zst /zst/\n\
                COPY x.tar /copy/\nADD notes.tar empty /plain/\nADD --unpack=false x.tar /kept/\n";
    let outcome = f.build(file);
    let root = f.rootfs(outcome.ok());
    for dir in ["tar", "gz", "bz2", "xz", "zst"] {
        assert_eq!(text(&root, &format!("/{dir}/a.txt")), "packed", "{dir}");
    }
    assert_eq!(root.lstat("/bz2/a.txt").unwrap().st_uid, 7);
    for file in ["/copy/x.tar", "/plain/notes.tar", "/plain/empty", "/kept/x.tar"] {
        assert!(root.lstat(file).is_ok(), "{file}");
    }
}

#[test]
fn links_lead_nowhere_outside() {
    let f = Fixture::new();
    let secret = f.dir.path().join("secret");
    std::fs::write(&secret, "canary").unwrap();
    f.file("real/x", "x");
    symlink(&secret, f.context().join("abs")).unwrap();
    symlink("../secret", f.context().join("up")).unwrap();
    symlink("real", f.context().join("inside")).unwrap();
    for source in ["abs", "up", "../secret", "/../secret"] {
        let outcome = f.build(&format!("FROM base\nCOPY {source} /x\n"));
        assert!(outcome.err().to_string().contains("not found"), "{source}");
    }
    // A link in the image leads to the image's file of that name.
    let out = f.dir.path().join("outside");
    let file = format!(
        "FROM base\nRUN ln -s {} /escape && mkdir /target && ln -s /target /link\nCOPY real /escape/\nCOPY inside/x /link/\n",
        out.display()
    );
    let outcome = f.build(&file);
    let root = f.rootfs(outcome.ok());
    assert!(!out.exists());
    assert_eq!(text(&root, "/target/x"), "x");
    assert_eq!(text(&root, out.join("x").to_str().unwrap()), "x");
}

#[test]
fn a_missing_file_says_why() {
    let f = Fixture::new();
    f.file("there", "x").file(".dockerignore", "# c\nthere\n");
    let outcome = f.build("FROM base\nRUN true\nCOPY there /\n");
    let error = outcome.err();
    assert_eq!(error.to_string(), "failed to calculate checksum of ref: \"/there\": not found");
    assert_eq!(error.place().unwrap().span.line, 3);
    assert!(error.hint().unwrap().contains("line 2 of the ignore file"));
    let outcome = f.build("FROM base\nCOPY nope /\n");
    assert!(outcome.err().hint().unwrap().contains("build context"));
}

#[test]
fn a_misspelt_file_is_recognised() {
    let f = Fixture::new();
    f.file("package.json", "x").file("src/app.ts", "x").file("hidden", "x");
    f.file(".dockerignore", "hid*\n");
    let hint = |copied: &str| {
        let outcome = f.build(&format!("FROM base AS made\nRUN mkdir -p /app/dist\nFROM base\n{copied}\n"));
        assert!(outcome.err().to_string().contains("not found"), "{copied}");
        outcome.err().hint().unwrap()
    };
    assert_eq!(hint("COPY packge.json /"), "did you mean package.json?");
    assert_eq!(hint("COPY Package.json /"), "did you mean package.json?");
    assert_eq!(hint("COPY scr/*.ts /"), "did you mean src?");
    assert_eq!(hint("COPY hiden /"), "line 1 of the ignore file leaves it out");
    assert_eq!(hint("COPY --from=made /ap/dist /"), "did you mean /app/dist?");
    assert_eq!(hint("RUN --mount=from=made,source=/app/dits,target=/m true"), "did you mean /app/dist?");
    assert_eq!(hint("RUN --mount=source=packge.json,target=/m true"), "did you mean package.json?");
}

#[test]
fn trailing_comments_are_believed_unless_such_files_exist() {
    let f = Fixture::new();
    f.file("a", "a");
    let file =
        "FROM base  # the base\nWORKDIR /x   # here\nCOPY a ./  # Copies to /app/\nCMD [\"a\"]  # runs\n";
    let outcome = f.build(file);
    let built = outcome.ok();
    assert_eq!(text(&f.rootfs(built), "/x/a"), "a");
    assert_eq!(f.config(built).config.working_dir, "/x");
    assert_eq!(f.config(built).config.cmd, Some(vec!["a".into()]));
    assert_eq!(outcome.warnings(), ["TrailingComment"; 4]);
    f.file("#", "hash");
    let outcome = f.build("FROM base\nCOPY a # /y/\n");
    let root = f.rootfs(outcome.ok());
    assert_eq!((text(&root, "/y/a"), text(&root, "/y/#")), ("a".into(), "hash".into()));
}

#[test]
fn a_context_as_archive() {
    let f = Fixture::new();
    f.file("a", "a")
        .file("skip.log", "x")
        .file(".dockerignore", "*.log\n")
        .file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let archive = f.dir.path().join("context.tar.gz");
    let status = std::process::Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .args(["-C", f.context().to_str().unwrap(), "."])
        .status()
        .unwrap();
    assert!(status.success());
    let stream = std::fs::File::open(&archive).unwrap();
    let request = builder::Request::default();
    let built = builder::build(&f.env(), Context::Tar(Box::new(stream)), &request, &mut |_| {}).unwrap();
    let root = f.rootfs(&built);
    assert_eq!(text(&root, "/a"), "a");
    assert!(root.lstat("/skip.log").is_err());
    assert_eq!(std::fs::read_dir(f.root().join("ingest")).unwrap().count(), 0);
}

#[test]
fn the_dockerfile_has_an_ignore_file_of_its_own() {
    let f = Fixture::new();
    f.file("a", "a").file("b", "b").file(".dockerignore", "a\n").file("sub/X.dockerignore", "b\n");
    f.file("sub/X", "FROM scratch\nCOPY . /\n");
    let outcome = f.build_with("FROM scratch\n", |r| {
        r.dockerfile = builder::DockerfileSource::InContext(Some("sub/X".into()));
    });
    let root = f.rootfs(outcome.ok());
    assert!(root.lstat("/a").is_ok() && root.lstat("/b").is_err());
    // One that comes with the request has none, whatever lies in the context.
    f.file("Dockerfile.dockerignore", "b\n");
    let outcome = f.build_with("", |r| {
        let (name, bytes) = ("Dockerfile".into(), "FROM scratch\nCOPY . /\n".into());
        r.dockerfile = builder::DockerfileSource::Text { name, bytes, ignore: None };
    });
    let root = f.rootfs(outcome.ok());
    assert!(root.lstat("/a").is_err() && root.lstat("/b").is_ok());
    let outcome = f.build_with("FROM scratch\n", |r| {
        r.dockerfile = builder::DockerfileSource::InContext(Some("../../etc/passwd".into()));
    });
    assert!(matches!(outcome.err(), Error::NoDockerfile { .. }));
}

#[test]
fn urls() {
    let f = Fixture::new();
    let file = "FROM scratch\nADD https://example.test/dir/tool.bin /opt/\n";
    let outcome = f.build(file);
    assert!(outcome.err().chain().contains("no access to the network"));
    let mut env = f.env();
    env.fetch = Some(Arc::new(|request: &builder::FetchRequest<'_>| {
        assert_eq!(request.url, "https://example.test/dir/tool.bin");
        let body = Box::new(Cursor::new(b"tool".to_vec()));
        Ok(Fetched {
            unchanged: false,
            body,
            file_name: None,
            modified: Some(1_000_000_000),
            etag: None,
            last_modified: None,
        })
    }));
    let outcome = f.build_in(&env, file, |_| {});
    let root = f.rootfs(outcome.ok());
    let stat = root.lstat("/opt/tool.bin").unwrap();
    assert_eq!((stat.st_mode & 0o7777, stat.st_mtime), (0o600, 1_000_000_000));
    assert_eq!(f.build_in(&env, file, |_| {}).ok().ran, 0);
    let bad = format!(
        "FROM scratch\nADD --checksum=sha256:{} https://example.test/dir/tool.bin /\n",
        "0".repeat(64)
    );
    assert!(f.build_in(&env, &bad, |_| {}).err().to_string().starts_with("digest mismatch"));
}

#[test]
fn other_contexts() {
    let f = Fixture::new();
    let other = f.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("o"), "other").unwrap();
    let file = "FROM img\nCOPY --from=extra o /o\n";
    let outcome = f.build_with(file, |r| {
        r.named_contexts.insert("extra".into(), NamedContext::Dir(other.clone()));
        r.named_contexts.insert("img".into(), NamedContext::Image("base".into()));
    });
    assert_eq!(text(&f.rootfs(outcome.ok()), "/o"), "other");
}

#[test]
fn a_base_image_that_is_not_there() {
    let f = Fixture::new();
    let outcome = f.build("FROM base\nCOPY --from=nope:1 /x /\n");
    let Error::Image { reference, place, .. } = outcome.err() else { panic!() };
    assert_eq!((reference.as_str(), place.span.line), ("docker.io/library/nope:1", 2));
}

#[test]
fn hard_links_and_replacing() {
    let f = Fixture::new();
    f.file("d/one", "1");
    std::fs::hard_link(f.context().join("d/one"), f.context().join("d/two")).unwrap();
    f.file("file", "new");
    let file = "FROM base\nCOPY d /d\nRUN mkdir /dir && ln -s /d/one /l && echo old > /f\nCOPY file /f\nCOPY file /l\nCOPY file /dir\n";
    let outcome = f.build(file);
    let root = f.rootfs(outcome.ok());
    let two = f.build_with(file, |_| {});
    let copied = f.layer_file(two.ok(), 1, "d/two");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&copied), 2);
    assert_eq!(
        (text(&root, "/f"), text(&root, "/d/one"), text(&root, "/dir/file")),
        ("new".into(), "new".into(), "new".into())
    );
    f.file("bin/sh", "x");
    let outcome = f.build("FROM base\nCOPY file /etc/passwd/x\n");
    assert_eq!(outcome.err().to_string(), "cannot copy to non-directory: /etc/passwd");
    f.file("tree/etc", "x");
    let outcome = f.build("FROM base\nCOPY tree /\n");
    assert_eq!(outcome.err().to_string(), "cannot replace directory /etc with a file");
}

#[test]
fn a_named_context_takes_the_place_of_a_stage() {
    let f = Fixture::new();
    let other = f.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("f"), "context\n").unwrap();
    let with = |file: &str, context: NamedContext| {
        f.build_with(file, |r| {
            r.named_contexts.insert("s".into(), context);
        })
    };
    let copied = "FROM base AS s\nRUN echo stage > /f && false\nFROM base\nCOPY --from=s /f /out\n";
    let outcome = with(copied, NamedContext::Dir(other.clone()));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/out"), "context\n");
    // By its number it is the same stage, and what is built on it is built on the files.
    let by_number = copied.replace("--from=s", "--from=0");
    let outcome = with(&by_number, NamedContext::Dir(other.clone()));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/out"), "context\n");
    let below = "FROM base AS s\nRUN false\nFROM s\nCOPY Dockerfile /\nLABEL a=b\n";
    f.file("Dockerfile", "");
    let outcome = with(below, NamedContext::Dir(other));
    assert_eq!(text(&f.rootfs(outcome.ok()), "/f"), "context\n");
    assert_eq!(f.config(outcome.ok()).rootfs.diff_ids.len(), 2);
    let outcome =
        with("FROM scratch AS s\nFROM s\nRUN test -e /bin/busybox\n", NamedContext::Image("base".into()));
    assert_eq!(outcome.ok().ran, 1);
}

#[test]
fn parents_of_nothing_have_a_place_to_go_to() {
    let f = Fixture::new();
    f.file("src/a/c", "1");
    for (source, place) in [("/src/a/x*/c", "/out"), ("src/./b*/c", "/deep/er"), ("src/./*/c", "/some")] {
        let file = format!(
            "FROM base\nCOPY --parents {source} {place}/\nRUN test -d {place} && find {place} -type f\n"
        );
        let outcome = f.build(&file);
        outcome.ok();
        assert_eq!(outcome.log().contains("/some/a/c"), place == "/some");
    }
    // Without that option nothing is made.
    f.build("FROM base\nCOPY src/x* /out/\nRUN test ! -e /out\n").ok();
}
