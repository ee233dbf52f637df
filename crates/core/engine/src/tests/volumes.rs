use api::mounts::{Mount, VolumeOptions};
use api::volumes::CreateRequest;

use super::*;
use crate::{Kind, volumes};

fn named(name: &str) -> CreateRequest {
    CreateRequest { name: name.into(), ..CreateRequest::default() }
}

async fn names(engine: &Engine, pairs: &[(&str, &str)]) -> Vec<String> {
    let listed = volumes::list(engine, filters(pairs)).await.unwrap();
    listed.volumes.into_iter().map(|v| v.name).filter(|name| name.len() != 64).collect()
}

#[test]
fn a_new_volume_takes_the_images_files_once() {
    alone(async |f| {
        f.create("one", |_, host| host.binds = vec!["vol:/data".into(), "bare:/data/x:nocopy".into()]).await;
        let data = f.dir.path().join("root/volumes/vol/_data");
        assert_eq!(std::fs::read_to_string(data.join("seed")).unwrap(), "seed");
        std::fs::write(data.join("seed"), "changed").unwrap();
        f.create("two", |_, host| host.binds = vec!["vol:/data".into()]).await;
        assert_eq!(std::fs::read_to_string(data.join("seed")).unwrap(), "changed");
        assert!(!f.dir.path().join("root/volumes/bare/_data/seed").exists());
        let mount = Mount {
            typ: "volume".into(),
            source: "uncopied".into(),
            target: "/data".into(),
            volume_options: Some(VolumeOptions { no_copy: true, ..VolumeOptions::default() }),
            ..Mount::default()
        };
        f.create("three", |_, host| host.mounts = vec![mount]).await;
        assert_eq!(std::fs::read_dir(f.dir.path().join("root/volumes/uncopied/_data")).unwrap().count(), 0);
    });
}

#[test]
fn a_used_volume_is_kept() {
    alone(async |f| {
        volumes::create(&f.engine, named("free")).await.unwrap();
        let id = f.create("user", |_, host| host.binds = vec!["used:/v".into()]).await;
        let e = volumes::remove(&f.engine, "used", false).await.unwrap_err();
        assert_eq!((e.kind, e.message), (Kind::Conflict, format!("remove used: volume is in use - [{id}]")));
        assert_eq!(names(&f.engine, &[("dangling", "true")]).await, ["free"]);
        assert_eq!(names(&f.engine, &[("dangling", "false")]).await, ["used"]);
        assert_eq!(names(&f.engine, &[("name", "re")]).await, ["free"]);
        let pruned = volumes::prune(&f.engine, Filters::default()).await.unwrap();
        assert_eq!(pruned.volumes_deleted.len(), 0);
        let pruned = volumes::prune(&f.engine, filters(&[("all", "true")])).await.unwrap();
        assert_eq!(pruned.volumes_deleted, ["free"]);
        let e = volumes::remove(&f.engine, "free", false).await.unwrap_err();
        assert_eq!((e.kind, e.message.as_str()), (Kind::NotFound, "get free: no such volume"));
        volumes::remove(&f.engine, "free", true).await.unwrap();
        assert!(!f.dir.path().join("root/volumes/free").exists());
    });
}

#[test]
fn options_are_served_or_refused() {
    alone(async |f| {
        let host = f.dir.path().join("host");
        std::fs::create_dir(&host).unwrap();
        let options =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let device = host.to_str().unwrap();
        let mut bound = named("bound");
        bound.driver_opts = options(&[("type", "none"), ("o", "bind"), ("device", device)]);
        volumes::create(&f.engine, bound).await.unwrap();
        f.create("user", |_, host| host.binds = vec!["bound:/data".into()]).await;
        assert_eq!(std::fs::read_to_string(host.join("seed")).unwrap(), "seed");
        let mut nfs = named("nfs");
        nfs.driver_opts = options(&[("type", "nfs"), ("o", "addr=1.2.3.4"), ("device", ":/x")]);
        assert_eq!(volumes::create(&f.engine, nfs).await.unwrap_err().kind, Kind::InvalidParameter);
        let plugin = CreateRequest { driver: "moon".into(), ..named("plugin") };
        assert_eq!(volumes::create(&f.engine, plugin).await.unwrap_err().kind, Kind::NotFound);
        for name in ["x", "../x", "a/b", "-ab", ".ab"] {
            let e = volumes::create(&f.engine, named(name)).await.unwrap_err();
            assert_eq!(e.kind, Kind::InvalidParameter, "{name}");
        }
    });
}

#[test]
fn volumes_come_from_other_containers() {
    alone(async |f| {
        f.create("donor", |_, host| host.binds = vec!["vol:/data".into()]).await;
        f.create("user", |_, host| host.volumes_from = vec!["donor:ro".into()]).await;
        let mounts = f.inspect("user").await.mounts;
        let shared = mounts.iter().find(|m| m.destination == "/data").unwrap();
        assert_eq!((shared.name.as_str(), shared.rw), ("vol", false));
        let e = f.refused(|_, host| host.volumes_from = vec!["nobody".into()]).await;
        assert_eq!(e.message, "No such container: nobody");
    });
}
