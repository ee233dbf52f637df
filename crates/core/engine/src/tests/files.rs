use api::containers::{ArchivePutOptions, ChangeKind};
use archive::Reader;

use super::*;
use crate::Kind;

async fn collected(mut receiver: mpsc::Receiver<crate::Result<Bytes>>) -> Vec<(String, String)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let mut reader = Reader::new(bytes.as_slice());
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let content = reader.read_data(&entry, 1 << 20).unwrap();
        members.push((entry.path.to_str().unwrap().to_owned(), String::from_utf8(content).unwrap()));
    }
    members
}

async fn put(f: &Fixture, path: &str, entries: &[(&str, &str)]) -> crate::Result<()> {
    let mut packer = Packer::new(Vec::new());
    for (name, content) in entries {
        packer.append_bytes(&Entry::file(*name, 0o644, 0), content.as_bytes()).unwrap();
    }
    let body = futures_util::stream::iter([Ok(Bytes::from(packer.finish().unwrap()))]);
    let options = ArchivePutOptions { path: path.into(), ..ArchivePutOptions::default() };
    verbs::archive_put(&f.engine, "box", options, body).await
}

async fn got(f: &Fixture, path: &str) -> Vec<(String, String)> {
    collected(verbs::archive_get(&f.engine, "box", path).await.unwrap().1).await
}

fn pair(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn files_go_into_a_container_and_come_out() {
    alone(async |f| {
        f.create("box", |_, host| host.binds = vec!["vol:/data".into()]).await;
        put(&f, "/opt", &[("new", "1"), ("own", "longer")]).await.unwrap();
        assert_eq!(got(&f, "/opt/new").await, [pair("new", "1")]);
        assert_eq!(
            got(&f, "opt/").await,
            [pair("opt/", ""), pair("opt/new", "1"), pair("opt/own", "longer")]
        );
        // Below a volume's place it is the volume that counts.
        put(&f, "/data", &[("file", "2")]).await.unwrap();
        let data = f.dir.path().join("root/volumes/vol/_data");
        assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "2");
        assert_eq!(got(&f, "/data/file").await, [pair("file", "2")]);
        let changes = verbs::changes(&f.engine, "box").await.unwrap();
        let changed: Vec<_> = changes.iter().map(|c| (c.path.as_str(), c.kind)).collect();
        assert_eq!(
            changed,
            [
                ("/opt", ChangeKind::Modified),
                ("/opt/new", ChangeKind::Added),
                ("/opt/own", ChangeKind::Modified)
            ]
        );
        let exported = collected(verbs::export(&f.engine, "box").await.unwrap()).await;
        assert!(exported.contains(&pair("opt/new", "1")) && exported.contains(&pair("data/seed", "seed")));
    });
}

#[test]
fn paths_are_told_or_refused() {
    alone(async |f| {
        f.create("box", |_, host| host.binds = vec!["vol:/ro:ro".into()]).await;
        let stat = verbs::archive_head(&f.engine, "box", "/etc").await.unwrap();
        assert!(stat.is_dir() && stat.name == "etc");
        let e = verbs::archive_head(&f.engine, "box", "/nope").await.unwrap_err();
        assert_eq!(e.message, "Could not find the file /nope in container box");
        let e = put(&f, "/etc/passwd", &[]).await.unwrap_err();
        assert_eq!(
            (e.kind, e.message.as_str()),
            (Kind::InvalidParameter, "extraction point is not a directory")
        );
        let e = put(&f, "/ro", &[("x", "")]).await.unwrap_err();
        assert_eq!((e.kind, e.message.as_str()), (Kind::Forbidden, "mounted volume is marked read-only"));
        assert_eq!(put(&f, "/nope", &[]).await.unwrap_err().kind, Kind::NotFound);
    });
}

#[test]
fn links_lead_nowhere_outside() {
    alone(async |f| {
        let id = f.create("box", |_, _| {}).await;
        let outside = f.dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let upper = f.dir.path().join("root/containers").join(id).join("upper");
        std::os::unix::fs::symlink(&outside, upper.join("out")).unwrap();
        let stat = verbs::archive_head(&f.engine, "box", "/out").await.unwrap();
        assert!(stat.is_symlink() && stat.link_target == outside.to_str().unwrap());
        assert!(verbs::archive_get(&f.engine, "box", "/out/secret").await.is_err());
        assert!(put(&f, "/out", &[("planted", "")]).await.is_err());
        assert!(put(&f, "/", &[("out/planted", "")]).await.is_err() || !outside.join("planted").exists());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    });
}
