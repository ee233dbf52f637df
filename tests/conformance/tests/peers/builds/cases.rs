//! The Dockerfiles, the files that they are built over, and what is different on purpose.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};
use testkit::Host;

use super::compare;

/// Who else builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Docker,
    Buildah,
}

/// One Dockerfile.
pub struct Case {
    /// Also the image's name.
    pub name: &'static str,
    pub dockerfile: &'static str,
    pub flags: &'static [&'static str],
    /// Who knows all that is in it.
    pub peers: &'static [Peer],
    pub differences: &'static [Difference],
}

/// What is not the same on purpose.
pub struct Difference {
    pub from: Peer,
    /// What differs, as a comparison names it; a `*` stands for any text.
    pub subject: &'static str,
    pub why: &'static str,
}

impl Difference {
    /// Whether it speaks of what was found.
    pub fn covers(&self, found: &compare::Difference) -> bool {
        match self.subject.split_once('*') {
            Some((begin, end)) => found.subject.starts_with(begin) && found.subject.ends_with(end),
            None => found.subject == self.subject,
        }
    }
}

const fn docker(subject: &'static str, why: &'static str) -> Difference {
    Difference { from: Peer::Docker, subject, why }
}

const fn buildah(subject: &'static str, why: &'static str) -> Difference {
    Difference { from: Peer::Buildah, subject, why }
}

/// What differs wherever it occurs.
pub const EVERYWHERE: &[Difference] = &[
    docker("mode of *setuid", "the classic builder drops the bit; BuildKit keeps it, as we do"),
    buildah("mode of *setuid", "it drops the bit; BuildKit keeps it, as we do"),
    docker(
        "attributes of *run.sh",
        "the classic builder drops capabilities; BuildKit copies attributes, as we do",
    ),
    docker(
        "directory time of /*",
        "the directory that a source lends its content to: of now with the classic builder, of the source with BuildKit and us",
    ),
    buildah(
        "directory time of /*",
        "the directory that a source lends its content to: of now, of the source with BuildKit and us",
    ),
    buildah("/dev", "places for mounts of RUN stay in its layers; in ours nothing of them does"),
    buildah("/proc", "as /dev"),
    buildah("/sys", "as /dev"),
    buildah("/run", "as /dev"),
    buildah("/run/secrets", "as /dev"),
    buildah("/etc/hosts", "as /dev"),
    buildah("/etc/hostname", "as /dev"),
    buildah("/etc/resolv.conf", "as /dev"),
];

/// A Dockerfile that all build.
const fn case(name: &'static str, dockerfile: &'static str) -> Case {
    Case { name, dockerfile, flags: &[], peers: &[Peer::Docker, Peer::Buildah], differences: &[] }
}

/// One that Docker's classic builder builds.
const fn of_docker(name: &'static str, dockerfile: &'static str) -> Case {
    Case { peers: &[Peer::Docker], ..case(name, dockerfile) }
}

/// One that buildah builds.
const fn of_buildah(name: &'static str, dockerfile: &'static str) -> Case {
    Case { peers: &[Peer::Buildah], ..case(name, dockerfile) }
}

/// The context: files of every type, each with its own mode and time.
pub fn context(host: &Host) -> PathBuf {
    let files: &[(&str, &str, u32)] = &[
        ("one.txt", "one\n", 0o644),
        ("two.txt", "two\n", 0o600),
        ("odd name.txt", "odd\n", 0o640),
        ("tree/file", "file\n", 0o644),
        ("tree/run.sh", "#!/bin/sh\necho run\n", 0o755),
        ("tree/setuid", "setuid\n", 0o4755),
        ("tree/sub/deep/leaf", "leaf\n", 0o400),
        ("tree/sub/other", "other\n", 0o666),
        ("tree/.hidden", "hidden\n", 0o644),
        ("ignored.log", "log\n", 0o644),
        ("tree/sub/ignored.log", "log\n", 0o644),
        ("tree/sub/kept.log", "log\n", 0o644),
        ("secret/key", "key\n", 0o600),
        ("secret/public", "public\n", 0o644),
    ];
    for (name, content, mode) in files {
        let path = host.file(&format!("ctx/{name}"), content);
        fs::set_permissions(path, fs::Permissions::from_mode(*mode)).expect("set a mode");
    }
    let ctx = host.home().join("ctx");
    host.file(
        "ctx/.dockerignore",
        "# out\n**/*.log\n!tree/sub/kept.log\nsecret\n!secret/public\nDockerfile\n",
    );
    fs::create_dir(ctx.join("empty")).expect("make a folder");
    fs::set_permissions(ctx.join("empty"), fs::Permissions::from_mode(0o1777)).expect("set a mode");
    fs::set_permissions(ctx.join("tree/sub"), fs::Permissions::from_mode(0o750)).expect("set a mode");
    for (target, link) in [
        ("one.txt", "link.txt"),
        ("file", "tree/link"),
        ("sub/deep", "tree/folder"),
        ("/nowhere", "tree/dangling"),
    ] {
        symlink(target, ctx.join(link)).expect("make a link");
    }
    for (extension, flag) in [("tar", ""), ("tar.gz", "z"), ("tar.bz2", "j"), ("tar.xz", "J")] {
        let archive = format!("archive.{extension}");
        let arguments = [
            &format!("-c{flag}f"),
            &archive,
            "--owner=7",
            "--group=8",
            "--mtime=@1500000000",
            "-C",
            "tree",
            "file",
            "sub",
        ];
        host.program("tar", &arguments.map(|argument| argument as &str)).folder(&ctx).ok();
    }
    // cap_net_raw+ep, version 2.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(ctx.join("tree/run.sh"), "security.capability", &capability, XattrFlags::empty())
        .expect("set a capability");
    age(&ctx);
    ctx
}

/// Everything below is of one old day.
fn age(path: &Path) {
    if path.symlink_metadata().expect("a file").is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            age(&entry.expect("an entry").path());
        }
    }
    let day = Timespec { tv_sec: 1_400_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: day, last_modification: day };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set a time");
}

pub const CASES: &[Case] = &[
    of_buildah(
        "files-to-names",
        "FROM busybox\nWORKDIR /w\nCOPY one.txt /one\nCOPY one.txt /new/dir/\nCOPY two.txt /new/name\nCOPY one.txt rel\nCOPY one.txt ./\nCOPY one.txt two.txt many/\n",
    ),
    case(
        "directories",
        "FROM busybox\nCOPY tree /t1\nCOPY tree/ /t2/\nCOPY tree/sub /t3/sub\nCOPY tree/. /t4\nCOPY tree empty /t5/\nCOPY empty /e\n",
    ),
    of_buildah("whole-context", "FROM busybox\nCOPY . /all\nCOPY secret /secret/\n"),
    case(
        "globs",
        "FROM busybox\nCOPY *.txt /g/\nCOPY t[v-x]o.txt /h\nCOPY ?ne.txt /i/\nCOPY tree/*/d* /j/\nCOPY tree/s* /k/\n",
    ),
    of_buildah(
        "links",
        "FROM busybox\nCOPY link.txt /l\nCOPY tree/folder /f\nCOPY tree/link tree/run.sh /m/\n",
    ),
    Case {
        differences: &[
            buildah(
                "* of /real/x",
                "a link at the destination is followed, as by BuildKit and the classic builder; it replaces the link",
            ),
            buildah("* of /tox", "as /real/x"),
        ],
        ..case(
            "links-in-the-image",
            "FROM busybox\nRUN mkdir /real && ln -s /real /to && ln -s real /rel && echo x > /real/x && ln -s /real/x /tox\nCOPY one.txt /to/\nCOPY tree /rel/tree\nCOPY two.txt /tox\n",
        )
    },
    case(
        "over-what-is-there",
        "FROM busybox\nRUN mkdir -p -m 700 /d/sub && echo old > /d/file && chown app:app /d\nCOPY tree/file /d/file\nCOPY tree /d\nCOPY one.txt /d/sub/deep/leaf\n",
    ),
    Case {
        differences: &[docker(
            "owner of /made",
            "WORKDIR makes it for the user that is set, as BuildKit does",
        )],
        ..of_docker(
            "owners",
            "FROM busybox\nCOPY --chown=app one.txt /a\nCOPY --chown=app:staff tree /b\nCOPY --chown=7:8 one.txt two.txt /c/\nCOPY --chown=7 one.txt /x/y/z\nUSER app\nCOPY one.txt /e\nWORKDIR /made\n",
        )
    },
    of_buildah("odd-names", "FROM busybox\nCOPY [\"odd name.txt\", \"/to here/\"]\n"),
    Case {
        differences: &[
            docker("owner of /h*", "--chown counts for what is unpacked too, as with BuildKit"),
            buildah("owner of /h*", "--chown counts for what is unpacked too, as with BuildKit"),
        ],
        ..case(
            "archives",
            "FROM busybox\nADD archive.tar /a/\nADD archive.tar.gz /b\nADD archive.tar.bz2 /c/\nADD archive.tar.xz /d/\nCOPY archive.tar /e/\nADD one.txt /f/\nADD tree /g/\nADD --chown=app:app archive.tar /h/\n",
        )
    },
    of_buildah(
        "archives-over-files",
        "FROM busybox\nRUN mkdir -p /a/sub && echo old > /a/file && echo mine > /a/mine && ln -s /tmp /b\nADD archive.tar /a\nADD archive.tar.gz /b/\n",
    ),
    of_docker(
        "workdirs",
        "FROM busybox\nENV D=/from/env\nWORKDIR /a\nWORKDIR b/../c\nRUN pwd > /pwd\nWORKDIR $D/x\nWORKDIR /tmp\nWORKDIR \"/quoted dir\"\nRUN pwd >> /pwd\n",
    ),
    of_buildah(
        "users",
        "FROM busybox\nUSER app\nRUN id > /tmp/1; echo $HOME > /tmp/home\nUSER 7:8\nRUN id > /tmp/2\nUSER app:staff\nRUN id > /tmp/3\nUSER nobody\n",
    ),
    of_docker("volumes", "FROM busybox\nVOLUME /a /b\nVOLUME [\"/c\", \"/d e\"]\nENV V=/var/v\nVOLUME $V\n"),
    of_docker(
        "environments",
        "FROM busybox\nENV A=1 B=\"two words\" C='$A' D=$A-${B} E=a\\ b\nENV OLD the whole   line $A\nENV A=2 F=$A\nENV G=${NO:-default} H=${A:+set} I=${NO:+set} J=\\$A K=${A} L=\nENV M=\"say \\\"it\\\"\"\nENV PATH=/x:$PATH\nRUN env | grep -v -e HOSTNAME -e HOME -e PWD -e OLDPWD -e SHLVL | sort > /env\n",
    ),
    Case {
        differences: &[docker(
            "history",
            "values that were given are told, and labels of the command line are no steps, as with BuildKit",
        )],
        flags: &["--build-arg", "V=given", "--build-arg", "N=from-outside", "--label", "from=outside"],
        ..of_docker(
            "arguments",
            "ARG TAG=latest\nFROM busybox:$TAG\nARG V=default\nARG W=w-$V\nARG TAG\nARG N\nENV N=${N:-none}\nENV V2=$V\nRUN echo $V $W $TAG $N > /said\nLABEL v=$V w=\"$W\"\n",
        )
    },
    of_docker(
        "stages",
        "FROM busybox AS one\nRUN mkdir /out && echo made > /out/file && chmod 640 /out/file\nCOPY tree /out/tree\nFROM one AS two\nRUN echo more > /out/more\nFROM busybox\nCOPY --from=one /out /one\nCOPY --from=1 /out/more /two\nCOPY --from=two --chown=app /out/file /three\nCOPY --from=busybox /etc/passwd /four\n",
    ),
    Case {
        flags: &["--target", "wanted"],
        ..of_docker(
            "targets",
            "FROM busybox AS other\nRUN true\nFROM busybox AS wanted\nENV IS=wanted\nFROM wanted\nRUN false\n",
        )
    },
    case(
        "what-goes-away",
        "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /d/g && echo 3 > /h && ln /h /i\nRUN rm -r /d/e /h && mkdir /h && rm /etc/group\nRUN rm -rf /d && mkdir /d && echo new > /d/new && rm -r /home && echo file > /home\nRUN chmod 4755 /i && chown 5:6 /i && mkfifo /pipe && ln -s nowhere /dangling\n",
    ),
    Case {
        differences: &[docker("history", "of a time before checks had an interval for their start")],
        ..of_docker(
            "health",
            "FROM busybox\nHEALTHCHECK --interval=5s --timeout=1m30s --start-period=2s --retries=7 CMD [\"test\", \"-e\", \"/\"]\n",
        )
    },
    Case {
        differences: &[docker("history", "of a time before checks had an interval for their start")],
        ..of_docker(
            "health-by-shell",
            "FROM busybox\nHEALTHCHECK NONE\nHEALTHCHECK --interval=1m CMD test -e / || exit 1\n",
        )
    },
    Case {
        differences: &[docker("history", "of a time before checks had an interval for their start")],
        ..of_docker("no-health", "FROM busybox\nHEALTHCHECK CMD true\nHEALTHCHECK NONE\n")
    },
    of_docker(
        "shells",
        "FROM busybox\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo one > /one\nSHELL [\"/bin/ash\", \"-c\"]\nRUN echo $0 > /two\nRUN [\"/bin/sh\", \"-c\", \"echo $HOME > /three\"]\nCMD echo by shell\n",
    ),
    of_docker(
        "commands",
        "FROM busybox AS parent\nENTRYPOINT [\"echo\", \"a b\"]\nCMD [\"c\", \"d\"]\nFROM parent\nENTRYPOINT echo anew\n",
    ),
    of_docker(
        "commands-of-the-parent",
        "FROM busybox AS parent\nENTRYPOINT [\"echo\"]\nFROM parent\nCMD other words\n",
    ),
    Case {
        differences: &[docker("history", "what a child will do is no step, as with BuildKit")],
        ..of_docker(
            "triggers",
            "FROM busybox\nONBUILD RUN echo child > /child\nONBUILD ENV TRIGGERED=yes\nONBUILD COPY one.txt /triggered/\n",
        )
    },
    Case {
        differences: &[docker("history", "as of its parent")],
        ..of_docker("children", "FROM triggers\nRUN cat /child > /copy\n")
    },
    Case {
        differences: &[docker("history", "it tells what was written, BuildKit and we which ports these are")],
        ..of_docker("ports", "FROM busybox\nENV P=9000\nEXPOSE 80 443/udp 100-102/tcp\nEXPOSE $P ${P}/udp\n")
    },
    of_docker(
        "labels",
        "FROM busybox\nLABEL a=1 b=\"two words\" \"c d\"=e\\\n  f='$HOME'\nLABEL a=2 g=\"multi\\\nline\"\nMAINTAINER Some Body <some@body>\nSTOPSIGNAL SIGQUIT\n",
    ),
    of_docker("signals", "FROM busybox\nSTOPSIGNAL 9\n"),
    of_docker(
        "directives",
        "# escape=`\n# a comment\nFROM busybox\nRUN echo a `\n  # within\n  b `\n\n  c > /said\nENV P=C:\\dir\nRUN echo 'back\\slash' >> /said\n",
    ),
    Case {
        ..of_docker(
            "words-in-any-case",
            "from busybox as Base\nrun echo \"quoted  spaces\" '#not a comment' > /x\nFrom base\nCopy --from=BASE /x /y\ncmd [ \"a\" , \"b\\tc\" ]\n",
        )
    },
    Case {
        differences: &[
            buildah(
                "mode of /b",
                "--chmod counts for the directory that is made as well, as with BuildKit since 0.21",
            ),
            buildah("mode of /d", "and for those on the way to it"),
        ],
        ..of_buildah(
            "modes",
            "FROM busybox\nCOPY --chmod=640 one.txt /a\nCOPY --chmod=0711 tree /b\nCOPY --chown=app --chmod=755 two.txt /new/c\nADD --chmod=600 one.txt /d/\n",
        )
    },
    Case {
        differences: &[buildah(
            "/copied/ignored.log",
            "what is ignored is not in the context, for a mount as little as for COPY",
        )],
        flags: &["--secret", "id=s,src=ctx/two.txt"],
        ..of_buildah(
            "mounts",
            "FROM busybox AS lent\nRUN mkdir /l && echo lent > /l/file\nFROM busybox\nRUN --mount=type=bind,target=/m cp -r /m/tree/sub /copied\nRUN --mount=type=bind,from=lent,source=/l,target=/x,rw cat /x/file > /lent; echo y > /x/y\nRUN --mount=type=cache,target=/cache echo cached > /cache/file\nRUN --mount=type=cache,target=/cache cp /cache/file /from-cache\nRUN --mount=type=tmpfs,target=/tmpfs echo x > /tmpfs/x\nRUN --mount=type=secret,id=s cat /run/secrets/s > /told\nRUN --mount=type=secret,id=s,target=/etc/s,mode=440,uid=5 stat -c '%a %u' /etc/s > /stat\n",
        )
    },
];
