use std::fs;

use super::*;

async fn found(f: &Fixture, repair: bool) -> Vec<String> {
    let findings = f.check(repair).await;
    findings.into_iter().map(|f| format!("{} {}", f.kind, f.message)).collect()
}

#[test]
fn leftovers_are_found_and_mended() {
    alone(async |f| {
        let id = f.create("web", |_, host| host.binds = vec!["vol:/v".into()]).await;
        assert_eq!(found(&f, false).await, Vec::<String>::new());
        let (root, run) = (f.dir.path().join("root"), f.dir.path().join("run"));
        let orphan = "ab".repeat(32);
        fs::create_dir_all(root.join("containers").join(&orphan).join("upper")).unwrap();
        fs::create_dir(run.join("containers").join(&orphan)).unwrap();
        fs::write(run.join("exec").join(&orphan), &id).unwrap();
        std::os::unix::fs::symlink(&id, run.join("names").join("web")).unwrap();
        fs::remove_dir_all(root.join("volumes/vol/_data")).unwrap();
        fs::create_dir_all(root.join("volumes/unfinished/_data")).unwrap();
        fs::create_dir(root.join("volumes/.aside")).unwrap();
        fs::remove_dir_all(root.join("containers").join(&id).join("upper")).unwrap();
        let first = found(&f, false).await;
        assert_eq!(first.len(), 8, "{first:?}");
        let mut repaired = found(&f, true).await;
        repaired.sort();
        let mut expected = first;
        expected.sort();
        assert_eq!(repaired, expected);
        assert_eq!(found(&f, false).await, Vec::<String>::new());
        assert!(!root.join("containers").join(&orphan).exists());
        assert!(root.join("volumes/vol/_data").is_dir());
    });
}

#[test]
fn a_dead_builds_control_group_is_found_below_any_parent() {
    alone(async |f| {
        let (mark, parent) = (f.engine.mark(), format!("/dhow-check-{}", f.engine.mark()));
        let ours = runtime::cgroup::Cgroup::new(&format!("{parent}/inner/build-{mark}-0-0")).unwrap();
        let other = runtime::cgroup::Cgroup::new(&format!("{parent}/build-00000000-0-0")).unwrap();
        ours.create().unwrap();
        other.create().unwrap();
        assert_eq!(found(&f, true).await, ["cgroup its build has ended"]);
        assert!(!ours.exists() && other.exists());
        for path in [format!("{parent}/build-00000000-0-0"), format!("{parent}/inner"), parent] {
            runtime::cgroup::Cgroup::new(&path).unwrap().delete(std::time::Duration::from_secs(5)).unwrap();
        }
    });
}

#[test]
fn data_without_a_definition_is_told_and_kept() {
    alone(async |f| {
        let data = f.dir.path().join("root/volumes/lost/_data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("precious"), "x").unwrap();
        let findings = f.check(true).await;
        assert_eq!((findings.len(), findings[0].repaired), (1, false));
        assert!(data.join("precious").exists());
    });
}

#[test]
fn a_container_whose_monitor_was_killed_is_settled() {
    alone(async |f| {
        let id = f.create("web", |_, _| {}).await;
        let running = monitor::Status {
            state: monitor::State::Running,
            pid: 1,
            started_at: Some(jiff::Timestamp::now()),
            ..monitor::Status::default()
        };
        running.write(&f.dir.path().join("root/containers").join(&id), true).unwrap();
        let state = f.inspect("web").await.state;
        assert_eq!((state.status.as_str(), state.exit_code, state.pid), ("exited", 137, 0));
        assert_eq!(found(&f, true).await, ["container its monitor was killed while it ran"]);
        assert_eq!(found(&f, false).await, Vec::<String>::new());
        assert_eq!(f.inspect("web").await.state.exit_code, 137);
    });
}

#[test]
fn damaged_records_do_not_hide_the_others() {
    alone(async |f| {
        let damaged = f.create("damaged", |_, _| {}).await;
        f.create("sound", |_, _| {}).await;
        f.engine.db().write(|tx| state::containers::set_document(tx, &damaged, "{")).unwrap();
        assert_eq!(f.listed(0, &[]).await, ["sound"]);
        let findings = found(&f, false).await;
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("container read the stored definition"), "{findings:?}");
    });
}

#[test]
fn containers_that_remove_themselves_do_not_outlive_the_uptime() {
    alone(async |f| {
        let mut ids = Vec::new();
        for (name, auto_remove) in [("kept", false), ("fleeting", true), ("new", true)] {
            ids.push(f.create(name, |_, host| host.auto_remove = auto_remove).await);
        }
        for id in &ids[..2] {
            let made_long_ago = |tx: &state::Tx<'_>| -> Result<(), state::Error> {
                let mut row = state::containers::get(tx, id)?.unwrap();
                row.created = 1;
                state::containers::delete(tx, id)?;
                state::containers::insert(tx, &row, &[])
            };
            f.engine.db().write(made_long_ago).unwrap();
        }
        // What a power failure may leave of a status that was not synced.
        std::fs::write(f.dir.path().join("root/containers").join(&ids[1]).join("status.json"), "").unwrap();
        crate::containers::boot(&f.engine).await.unwrap();
        let mut left = f.listed(0, &[]).await;
        left.sort();
        assert_eq!(left, ["kept", "new"]);
        assert!(!f.dir.path().join("root/containers").join(&ids[1]).exists());
    });
}
