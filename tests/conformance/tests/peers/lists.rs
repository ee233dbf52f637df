//! What Docker's client makes of our engine's lists is what ours makes of them: trees of images, and disk use in detail.

use testkit::{Host, Mode, eventually};

use crate::docker;

/// Without colours, which Docker 28 writes into its headings also where nobody can see them, and without its warning that the
/// feature is an experiment.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.contains("WARNING: This is an experimental feature")) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('\x1b') {
            out.push_str(before);
            rest = after.split_once('m').map_or("", |(_, after)| after);
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[test]
fn lists_look_as_dockers_client_draws_them() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n");
    host.file("ctx/file", "file");
    host.dhow(&[
        "build",
        "-q",
        "--provenance=true",
        "--platform",
        "linux/amd64,linux/arm64",
        "-t",
        "many:1",
        "ctx",
    ])
    .ok();
    host.dhow(&["tag", "many:1", "registry.example:5000/team/many:latest"]).ok();
    host.dhow(&["create", "--name", "user", "--network", "none", "busybox", "true"]).ok();
    host.dhow(&["volume", "create", "kept"]).ok();
    let both = |arguments: &[&str]| {
        let theirs = docker(&host, &host.socket(0), arguments).run();
        let ours = host.dhow(arguments).run();
        assert_eq!((theirs.code, ours.code), (0, 0), "{arguments:?}: {}{}", theirs.stderr, ours.stderr);
        (theirs.stdout, ours.stdout)
    };
    for arguments in [
        &["image", "ls", "--tree"][..],
        &["images", "--tree", "-f", "reference=many"],
        &["images", "--tree", "-a"],
    ] {
        let (theirs, ours) = both(arguments);
        assert_eq!(plain(&theirs), ours, "{arguments:?}");
        assert!(ours.contains("linux/arm64") && !ours.contains("unknown"), "{ours}");
    }
    for format in [
        "{{range .Images}}{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}};{{end}}",
        "{{range .Containers}}{{.ID}} {{.Names}} {{.Image}} {{.Size}} {{.LocalVolumes}} {{.Label \"x\"}};{{end}}",
        "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}} {{.Driver}};{{end}}{{len .BuildCache}}",
        "{{range .BuildCache}}{{.ID}} {{.CacheType}} {{.Size}} {{.UsageCount}} {{.InUse}} {{.Shared}} {{.Parent}};{{end}}",
        "table {{range .BuildCache}}{{.ID}} {{end}}",
        "{{json .Volumes}}",
    ] {
        let (theirs, ours) = both(&["system", "df", "-v", "--format", format]);
        assert_eq!(theirs, ours, "{format}");
    }
    let (theirs, ours) = both(&["system", "df", "--format", "raw"]);
    assert_eq!(theirs, ours);
    let (theirs, ours) = both(&["system", "df", "-v", "--format", "json"]);
    let keys = |text: &str| -> Vec<String> {
        let document: serde_json::Value = serde_json::from_str(text).expect("a document");
        document.as_object().expect("an object").keys().filter(|key| *key != "Disk").cloned().collect()
    };
    assert_eq!(keys(&theirs), keys(&ours));
    // The tables are the same up to what only our servers tell.
    // Ages are told in seconds: both have to be asked in the same one.
    eventually("the tables are the same", || {
        let (theirs, ours) = both(&["system", "df", "-v"]);
        ours.starts_with(&theirs)
    });
}
