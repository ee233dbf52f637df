//! The rules of this repository, executed: they are not conventions that someone has to remember.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{cargo, output, root};

/// Which of our crates each crate may name in its `[dependencies]`. ARCHITECTURE.md says why.
const MAY_USE: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("sys", &[]),
    ("api", &["oci"]),
    ("dockerfile", &["oci"]),
    ("archive", &["sys"]),
    ("cosign", &["oci"]),
    ("state", &["oci", "api", "sys"]),
    ("store", &["oci", "sys", "archive", "state"]),
    ("registry", &["oci"]),
    ("runtime", &["oci", "sys"]),
    ("network", &["sys"]),
    ("dns", &["sys"]),
    ("monitor", &["dns", "oci", "sys", "runtime"]),
    ("builder", &["oci", "sys", "archive", "state", "store", "runtime", "dockerfile"]),
    (
        "engine",
        &[
            "api",
            "archive",
            "builder",
            "cosign",
            "dns",
            "dockerfile",
            "monitor",
            "network",
            "oci",
            "registry",
            "runtime",
            "state",
            "store",
            "sys",
        ],
    ),
    ("buildkit", &["api", "dockerfile", "engine", "oci"]),
    ("registry-server", &["oci", "registry", "sys"]),
    ("server", &["api", "buildkit", "engine", "sys"]),
    ("client", &["api", "oci"]),
    ("template", &[]),
    ("lint", &["api", "dockerfile", "oci"]),
    ("bake", &["oci", "template"]),
    ("cli", &["api", "archive", "bake", "client", "cosign", "dockerfile", "lint", "oci", "sys", "template"]),
    (
        "dhow",
        &["api", "cli", "client", "engine", "monitor", "oci", "registry-server", "runtime", "server", "sys"],
    ),
    ("testkit", &["network"]),
    (
        "fuzz",
        &[
            "api",
            "archive",
            "builder",
            "buildkit",
            "cli",
            "dns",
            "dockerfile",
            "engine",
            "lint",
            "network",
            "oci",
            "registry",
            "registry-server",
            "runtime",
            "sys",
            "template",
        ],
    ),
    ("xtask", &[]),
    ("e2e", &[]),
    ("conformance", &[]),
    ("crash", &[]),
];

#[test]
fn the_crate_graph_is_the_architecture() {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]))
        .expect("metadata");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "the crates, and the crates that this rule knows");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used = dependency["name"].as_str().expect("a name");
            let development = dependency["kind"] == "dev";
            assert!(
                development || !ours.contains(used) || allowed[name].contains(&used),
                "{name} uses {used}, which ARCHITECTURE.md forbids"
            );
        }
    }
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for (path, text) in sources() {
        if !path.starts_with("crates/base/sys") {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let found = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"]
                    .iter()
                    .any(|word| code.contains(word));
                assert!(!found || path.ends_with("rules.rs"), "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn only_state_knows_sql_and_only_the_binary_reads_the_environment() {
    for (path, text) in sources() {
        let test = |part: std::path::Component<'_>| {
            ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name)
        };
        if path.ends_with("rules.rs") || path.components().any(test) {
            continue;
        }
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let within = |folder: &str| path.starts_with(folder);
        assert!(
            within("crates/core/state") || !product.contains("rusqlite"),
            "{} knows SQL: that is state's",
            path.display()
        );
        let reads =
            ["env::var(", "env::var_os(", "env::vars(", "env::vars_os(", "env::args(", "env::args_os("];
        let allowed = ["crates/dhow", "crates/testkit", "fuzz", "xtask"].iter().any(|folder| within(folder));
        for word in reads {
            assert!(allowed || !product.contains(word), "{}: {word}: only the binary may", path.display());
        }
    }
}

/// What works on paths that an image, a container or a build context has chosen: files, or folders with all below.
const INSIDE_ROOTS: &[&str] = &[
    "crates/base/archive/src/tree.rs",
    "crates/base/archive/src/unpack.rs",
    "crates/base/archive/src/whiteout.rs",
    "crates/core/builder/src/exec/change.rs",
    "crates/core/builder/src/exec/copy.rs",
    "crates/core/builder/src/exec/mkdir.rs",
    "crates/core/builder/src/exec/remote.rs",
    "crates/core/builder/src/exec/stubs.rs",
    "crates/core/builder/src/export/sbom.rs",
    "crates/core/builder/src/files",
    "crates/core/builder/src/squash.rs",
    "crates/core/builder/src/users.rs",
    "crates/core/engine/src/builds/received.rs",
    "crates/core/engine/src/containers/changes.rs",
    "crates/core/engine/src/containers/cp.rs",
    "crates/core/engine/src/containers/export.rs",
    "crates/core/engine/src/images/changes.rs",
    "crates/core/engine/src/images/commit.rs",
    "crates/core/engine/src/images/files.rs",
    "crates/core/engine/src/images/view.rs",
    "crates/core/engine/src/volumes/copy_up.rs",
    "crates/core/runtime/src/home.rs",
    "crates/core/store/src/changes.rs",
];

/// Their calls by plain path, each with a path that is the engine's own.
const OWN_PATHS: &[(&str, &str)] = &[
    // A folder of the layer that a step makes, which no container sees yet.
    ("crates/core/builder/src/files/copy.rs", "rustix::fs::utimensat(CWD, dir,"),
    // The index of a context's files is one of the engine's own.
    ("crates/core/builder/src/files/index.rs", "std::fs::read(&path).ok().and_then(Table::of)"),
    ("crates/core/builder/src/files/index.rs", "std::fs::write(scratch, bytes)"),
    ("crates/core/builder/src/files/index.rs", "std::fs::rename(scratch, &self.path)"),
    ("crates/core/builder/src/files/index.rs", "std::fs::set_permissions(directory"),
    // By which path a context is held open.
    ("crates/core/builder/src/files/index.rs", "std::fs::read_link(format!(\"/proc/self/fd/"),
    // Spooled downloads lie in a folder of the build.
    ("crates/core/builder/src/exec/remote.rs", "File::open(&loaded.path)"),
    ("crates/core/builder/src/exec/remote.rs", "std::fs::create_dir(&scratch)"),
    // Whether a bound source is a file, which the person who bound it has named.
    ("crates/core/engine/src/containers/cp.rs", "m.source.is_file()"),
    // Whether a container's upper folder has anything in it.
    ("crates/core/engine/src/images/commit.rs", "std::fs::read_dir(&upper)"),
    // The folder of a volume itself.
    ("crates/core/engine/src/volumes/copy_up.rs", "std::fs::Permissions::from_mode("),
    ("crates/core/engine/src/volumes/copy_up.rs", "std::fs::set_permissions(data,"),
    ("crates/core/engine/src/volumes/copy_up.rs", "data == volume.join(DATA) && inner.is_dir()"),
    // What this process may do.
    ("crates/core/builder/src/files/make.rs", "std::fs::read_to_string(\"/proc/self/status\")"),
    ("crates/base/archive/src/unpack.rs", "std::fs::read_to_string(\"/proc/thread-self/status\")"),
];

#[test]
fn paths_inside_a_root_file_system_go_through_sys_root() {
    let by_path = [
        "std::fs::",
        " fs::",
        "(fs::",
        "File::open(",
        "File::create(",
        "OpenOptions",
        "rustix::fs::open(",
        "CWD",
        ".exists()",
        ".is_dir()",
        ".is_file()",
        ".metadata()",
        "canonicalize(",
    ];
    let mut seen = BTreeSet::new();
    for (path, text) in sources() {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let ours = path.starts_with("crates") && !path.components().any(|part| part.as_os_str() == "tests");
        let opens = product.lines().any(|line| line.contains("/proc/{") && line.contains("}/root"));
        assert!(
            !ours || !opens || path.starts_with("crates/base") || path.starts_with("crates/testkit"),
            "{}: a process' root is opened by sys::root::Root::of_process alone",
            path.display()
        );
        let Some(listed) = INSIDE_ROOTS.iter().find(|listed| path.starts_with(listed)) else { continue };
        seen.insert(*listed);
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let imported = code.trim_start().starts_with("use ");
            let own = |(file, call): &(&str, &str)| path == Path::new(file) && code.contains(call);
            let found = by_path.iter().any(|word| code.contains(word));
            assert!(
                imported || !found || OWN_PATHS.iter().any(own),
                "{}:{}: {}: a path inside a root file system goes through sys::root",
                path.display(),
                number + 1,
                line.trim()
            );
        }
    }
    assert_eq!(seen.len(), INSIDE_ROOTS.len(), "the rule names what is no longer there: {seen:?}");
}

/// What nothing names is not compiled, and a test in it is never run.
#[test]
fn every_file_is_part_of_a_crate() {
    let files: BTreeMap<PathBuf, String> = sources().into_iter().collect();
    for path in files.keys() {
        let (folder, name) = (path.parent().expect("a folder"), path.file_stem().expect("a name"));
        let (above, name) = match name.to_str().expect("UTF-8") {
            "lib" | "main" | "build" => continue,
            "mod" => (folder.parent().expect("a folder"), folder.file_name().expect("a name")),
            _ => (folder, name),
        };
        let module = format!("mod {};", name.to_str().expect("UTF-8"));
        let own = ["mod.rs", "lib.rs", "main.rs"].map(|file| above.join(file));
        let parents = own.into_iter().chain([above.with_extension("rs")]);
        let is_module = parents.filter_map(|parent| files.get(&parent)).any(|text| text.contains(&module));
        let end = path.iter().rev().take(2).collect::<Vec<_>>();
        let pointed = format!("{}/{}\"]", end[1].display(), end[0].display());
        let is_pointed = || files.values().any(|text| text.contains("#[path") && text.contains(&pointed));
        let is_target = || {
            let mut crates = path.ancestors().skip(1);
            let owner =
                crates.find(|folder| root().join(folder).join("Cargo.toml").exists()).expect("a crate");
            let inner = path.strip_prefix(owner).expect("below it");
            let manifest = fs::read_to_string(root().join(owner).join("Cargo.toml")).expect("Cargo.toml");
            let found =
                inner.parent().is_some_and(|folder| folder.ends_with("tests") || folder.ends_with("benches"));
            (found && inner.iter().count() == 2)
                || manifest.contains(&format!("path = \"{}\"", inner.display()))
        };
        assert!(is_module || is_pointed() || is_target(), "{}: no crate has this module", path.display());
    }
}

#[test]
fn the_map_names_every_crate() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for (path, _) in sources() {
        let Ok(inner) = path.strip_prefix("crates") else { continue };
        let folder = inner.iter().take_while(|part| *part != "src" && *part != "tests").collect::<PathBuf>();
        let name = folder.display().to_string();
        if !name.ends_with(".rs") {
            assert!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
        }
    }
}

/// Every source file of the repository, by its path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["crates", "fuzz", "tests", "xtask"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
        }
    }
}
