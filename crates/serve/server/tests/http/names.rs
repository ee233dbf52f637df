//! Names of every kind of object made of any characters: taken as they are or refused in Docker's words, and no path of
//! the machine is ever made of one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::{World, world};

/// How many names each kind of object is tried with.
const CASES: usize = 250;

/// What names are made of, besides characters at random.
const PIECES: &[&str] = &[
    "a",
    "B7",
    "_",
    ".",
    "..",
    "/",
    "../",
    "-",
    "--",
    ":",
    "@",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{9b}",
    "\u{202e}",
    "é",
    "💥",
    "e\u{301}",
    "%2e",
    "$(id)",
    "`id`",
    "'",
    "\"",
    "\\",
    "{{.}}",
    "*",
    "~",
    "=",
    ",",
    "sha256:",
    "host",
    "none",
    "default",
    "container:",
    "\u{feff}",
    "𝟙",
    "／",
];

fn name(random: &mut fastrand::Rng) -> String {
    let mut name = String::new();
    for _ in 0..random.usize(1..6) {
        match random.u8(..10) {
            0 => name.push(random.char(..)),
            1 => name.push_str(&"x".repeat(random.usize(..400))),
            _ => name.push_str(PIECES[random.usize(..PIECES.len())]),
        }
    }
    name
}

/// As a part of a path or a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02x}");
        out
    })
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Docker's set of characters for the names of containers and volumes.
fn is_plain(name: &str) -> bool {
    let follows = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(follows)
}

/// The names in a folder.
fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect()
}

/// Every file and folder at the top of an engine's places, but the list of events, which comes with the first.
fn outline(folder: &Path) -> BTreeSet<String> {
    let mut found = entries(folder);
    for top in ["root", "run"] {
        found.extend(entries(&folder.join(top)).into_iter().map(|name| format!("{top}/{name}")));
    }
    found.remove("root/events.ndjson");
    found
}

impl World {
    /// The names of what there is, in the field `field` of each item of a list.
    async fn named(&self, list: &str, path: &str) -> Vec<String> {
        let answer = self.get(list).await;
        // The body comes in chunks, whose sizes stand in between.
        let text: String = answer.body.lines().filter(|line| line.starts_with(['[', '{'])).collect();
        let items: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {}", answer.body));
        let items = if path == "Volumes" { items["Volumes"].clone() } else { items };
        let name = |item: &serde_json::Value| match &item["Names"] {
            serde_json::Value::Array(names) => names[0].as_str().unwrap()[1..].to_owned(),
            _ => item["Name"].as_str().unwrap().to_owned(),
        };
        items.as_array().map(|items| items.iter().map(name).collect()).unwrap_or_default()
    }

    pub(super) async fn image(&self) {
        let archive = vec![0; 1024];
        let head = format!(
            "POST /images/create?fromSrc=-&repo=base HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            archive.len()
        );
        let answer = self.raw(&[head.as_bytes(), &archive].concat()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn containers_have_plain_names_or_none() {
    let world = world().await;
    world.image().await;
    let mut random = fastrand::Rng::with_seed(1);
    let before = outline(world._dir.path());
    let mut made = BTreeSet::new();
    for _ in 0..CASES {
        let name = name(&mut random);
        let body = r#"{"Image":"base","Cmd":["x"]}"#;
        let answer = world.post(&format!("/containers/create?name={}", encoded(&name)), body).await;
        let bare = name.strip_prefix('/').unwrap_or(&name);
        match answer.status {
            201 => {
                assert!(is_plain(bare), "{name:?}");
                made.insert(bare.to_owned());
            }
            400 => {
                assert!(!is_plain(bare), "{name:?}: {}", answer.body);
                // No part of an address may have a NUL byte.
                let words = match name.contains('\0') {
                    true => "invalid URL escape",
                    false => "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                };
                assert!(answer.body.contains(words), "{name:?}: {}", answer.body);
            }
            409 => assert!(made.contains(bare), "{name:?}: {}", answer.body),
            status => panic!("{status} for {name:?}: {}", answer.body),
        }
        for target in ["json", "logs?stdout=1", "top", "archive?path=/"] {
            let status = world.get(&format!("/containers/{}/{target}", encoded(&name))).await.status;
            assert!(status < 500, "{status} for {name:?}/{target}");
        }
    }
    let listed = world.named("/containers/json?all=1", "").await;
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), made);
    assert_eq!(outline(world._dir.path()), before);
}

#[tokio::test]
async fn volumes_have_plain_names_or_none() {
    let world = world().await;
    let mut random = fastrand::Rng::with_seed(2);
    let before = outline(world._dir.path());
    let mut made = BTreeSet::new();
    for _ in 0..CASES {
        let name = name(&mut random);
        let answer = world.post("/volumes/create", &format!(r#"{{"Name":{}}}"#, json(&name))).await;
        match answer.status {
            201 => {
                assert!(is_plain(&name), "{name:?}");
                made.insert(name.clone());
            }
            400 => assert!(!is_plain(&name) || name.len() > 200, "{name:?}: {}", answer.body),
            status => panic!("{status} for {name:?}: {}", answer.body),
        }
        let status = world.get(&format!("/volumes/{}", encoded(&name))).await.status;
        assert_eq!(status == 200, made.contains(&name), "{status} for {name:?}");
        assert!(status < 500, "{status} for {name:?}");
    }
    assert_eq!(world.named("/volumes", "Volumes").await.into_iter().collect::<BTreeSet<_>>(), made);
    assert_eq!(entries(&world._dir.path().join("root/volumes")), made);
    assert_eq!(outline(world._dir.path()), before);
}

#[tokio::test]
async fn networks_aliases_and_labels_of_any_text() {
    let world = world().await;
    world.image().await;
    let mut random = fastrand::Rng::with_seed(3);
    let before = outline(world._dir.path());
    for _ in 0..CASES {
        let (name, other) = (name(&mut random), name(&mut random));
        let body = format!(
            r#"{{"Name":{0},"Driver":{1},"Labels":{{{0}:{1}}},"Options":{{{0}:{1}}}}}"#,
            json(&name),
            json(&other)
        );
        let status = world.post("/networks/create", &body).await.status;
        assert!((400..500).contains(&status), "{status} for {body}");
        let body = format!(
            r#"{{"Image":"base","Cmd":["x"],"Hostname":{0},"User":{0},"WorkingDir":{0},"StopSignal":{0},"Env":[{0}],
                "Labels":{{{0}:{1}}},"HostConfig":{{"Binds":[{0}],"Dns":[{1}],"ExtraHosts":[{0}],"NetworkMode":{1},
                "Links":[{0}],"VolumesFrom":[{1}],"CgroupParent":{0},"Sysctls":{{{0}:{1}}}}},
                "NetworkingConfig":{{"EndpointsConfig":{{{0}:{{"Aliases":[{1}]}}}}}}}}"#,
            json(&name),
            json(&other)
        );
        let answer = world.post("/containers/create", &body).await;
        assert!((400..500).contains(&answer.status), "{} for {body}: {}", answer.status, answer.body);
        let filters = encoded(&format!(r#"{{"name":[{}],"label":[{}]}}"#, json(&name), json(&other)));
        for list in ["containers", "images", "networks", "volumes"] {
            let target = match list {
                "volumes" | "networks" => format!("/{list}?filters={filters}"),
                _ => format!("/{list}/json?filters={filters}"),
            };
            let status = world.get(&target).await.status;
            assert!(status < 500, "{status} for {list} by {name:?} and {other:?}");
        }
        let target = format!("/images/base/tag?repo={}&tag={}", encoded(&name), encoded(&other));
        let status = world.post(&target, "").await.status;
        assert!(status < 500, "{status} for the tag {name:?}:{other:?}");
    }
    assert_eq!(outline(world._dir.path()), before);
}

#[tokio::test]
async fn names_of_fields_may_be_in_any_case_as_for_dockers_own_decoder() {
    let world = world().await;
    world.image().await;
    let body = r#"{"image":"base","cmd":["true"],"labels":{"image":null},"hostconfig":{"memory":8388608}}"#;
    let made = world.post("/containers/create?name=low", body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let told = world.get("/containers/low/json").await.body;
    assert!(told.contains(r#""Labels":{"image":""}"#) && told.contains(r#""Memory":8388608"#), "{told}");
}
