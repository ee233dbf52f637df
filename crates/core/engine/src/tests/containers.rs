use api::containers::{PortBinding, RemoveOptions, Resources, RestartPolicy, UpdateRequest, WaitCondition};
use api::events::EventsOptions;

use super::*;
use crate::{Kind, system};

#[test]
fn a_created_container_shows_image_request_and_defaults() {
    alone(async |f| {
        let id = f
            .create("web", |config, host| {
                config.env = vec!["OWN=1".into()];
                config.labels.insert("a".into(), "b".into());
                host.resources.memory = 64 << 20;
                let binding = PortBinding { host_ip: String::new(), host_port: "8080".into() };
                host.port_bindings.insert("81/tcp".into(), Some(vec![binding]));
            })
            .await;
        let c = f.inspect("web").await;
        assert_eq!((c.id.as_str(), c.name.as_str(), c.path.as_str()), (id.as_str(), "/web", "serve"));
        assert_eq!((c.state.status.as_str(), c.state.started_at.as_str()), ("created", api::time::ZERO));
        assert_eq!(c.config.env, ["OWN=1", "FROM=image"]);
        assert_eq!(c.config.hostname, id[..12]);
        assert!(c.config.exposed_ports.contains("80/tcp") && c.config.exposed_ports.contains("81/tcp"));
        assert_eq!((c.config.labels["a"].as_str(), c.config.labels["kind"].as_str()), ("b", "test"));
        let host = &c.host_config;
        assert_eq!((host.network_mode.as_str(), host.ipc_mode.as_str()), ("bridge", "private"));
        assert_eq!((host.resources.memory_swap, host.shm_size), (128 << 20, 64 << 20));
        assert_eq!((host.restart_policy.name.as_str(), host.log_config.typ.as_str()), ("no", "json-file"));
        assert!(host.masked_paths.as_ref().is_some_and(|paths| paths.contains(&"/proc/kcore".to_owned())));
        assert_eq!(c.network_settings.networks.keys().collect::<Vec<_>>(), ["bridge"]);
        assert_eq!((c.mounts.len(), c.mounts[0].destination.as_str()), (1, "/anon"));
    });
}

#[test]
fn what_cannot_be_created_leaves_nothing() {
    alone(async |f| {
        f.create("taken", |_, _| {}).await;
        let volumes = crate::volumes::list(&f.engine, Filters::default()).await.unwrap().volumes.len();
        let e = verbs::create(&f.engine, "taken", "", request(|_, _| {})).await.unwrap_err();
        assert_eq!(e.kind, Kind::Conflict);
        assert!(
            e.message.starts_with("Conflict. The container name \"/taken\" is already in use by container")
        );
        let e = f.refused(|config, _| config.image = "nope".into()).await;
        assert_eq!((e.kind, e.message.as_str()), (Kind::NotFound, "No such image: nope:latest"));
        let e = f.refused(|config, _| config.entrypoint = words(&[""])).await;
        assert_eq!((e.kind, e.message.as_str()), (Kind::InvalidParameter, "no command specified"));
        let e = f.refused(|_, host| host.binds = vec!["v1:/x".into(), "v2:/x/".into()]).await;
        assert_eq!(e.message, "Duplicate mount point: /x");
        let e = verbs::create(&f.engine, "-x", "", request(|_, _| {})).await.unwrap_err();
        assert!(e.message.starts_with("Invalid container name (-x)"));
        assert_eq!(f.listed(0, &[]).await, ["taken"]);
        // The named volume of the refused request stays, as in Docker; an anonymous one does not.
        let left = crate::volumes::list(&f.engine, Filters::default()).await.unwrap().volumes;
        assert_eq!(left.iter().filter(|v| v.name.len() == 64).count(), volumes);
        assert_eq!(std::fs::read_dir(f.dir.path().join("root/containers")).unwrap().count(), 1);
    });
}

#[test]
fn a_name_has_one_winner_among_two_engines() {
    alone(async |f| {
        let second = open(&f.dir).await;
        let mut attempts = Vec::new();
        for n in 0..8 {
            let engine = if n % 2 == 0 { f.engine.clone() } else { second.clone() };
            attempts.push(tokio::spawn(async move {
                verbs::create(&engine, "same", "", request(|_, _| {})).await
            }));
        }
        let mut won = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(_) => won += 1,
                Err(e) => assert_eq!(e.kind, Kind::Conflict, "{e}"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(f.check(false).await, []);
    });
}

#[test]
fn containers_are_found_by_name_id_and_prefix() {
    alone(async |f| {
        let id = f.create("web", |_, _| {}).await;
        for reference in ["web", "/web", &id, &id[..12], &id[..4]] {
            assert_eq!(f.inspect(reference).await.id, id, "{reference}");
        }
        for reference in ["we", "", "/", "ffffffffffffffffff", "../web"] {
            let e = verbs::inspect(&f.engine, reference, false).await.unwrap_err();
            assert_eq!((e.kind, e.message), (Kind::NotFound, format!("No such container: {reference}")));
        }
    });
}

#[test]
fn lists_are_filtered() {
    alone(async |f| {
        for name in ["one", "two", "three"] {
            f.create(name, |config, host| {
                config.labels.insert("name".into(), name.into());
                host.network_mode = if name == "two" { "none" } else { "bridge" }.into();
                host.binds = vec![format!("vol-{name}:/v")];
            })
            .await;
        }
        assert_eq!(f.listed(0, &[]).await, ["three", "two", "one"]);
        assert_eq!(f.listed(2, &[]).await, ["three", "two"]);
        assert_eq!(f.listed(0, &[("name", "^t")]).await, ["three", "two"]);
        assert_eq!(f.listed(0, &[("label", "name=one")]).await, ["one"]);
        assert_eq!(f.listed(0, &[("before", "two")]).await, ["one"]);
        assert_eq!(f.listed(0, &[("since", "two")]).await, ["three"]);
        assert_eq!(f.listed(0, &[("network", "none")]).await, ["two"]);
        assert_eq!(f.listed(0, &[("volume", "vol-one")]).await, ["one"]);
        assert_eq!(f.listed(0, &[("status", "created"), ("ancestor", "box")]).await.len(), 3);
        assert_eq!(f.listed(0, &[("status", "running")]).await.len(), 0);
        assert_eq!(f.listed(0, &[("expose", "80")]).await.len(), 3);
        assert_eq!(f.listed(0, &[("ancestor", "other")]).await.len(), 0);
        let options =
            api::containers::ListOptions { filters: filters(&[("moon", "1")]), ..Default::default() };
        assert_eq!(verbs::list(&f.engine, options).await.unwrap_err().message, "invalid filter 'moon'");
    });
}

#[test]
fn names_limits_and_policies_change() {
    alone(async |f| {
        f.create("one", |_, _| {}).await;
        f.create("two", |_, host| host.auto_remove = true).await;
        assert_eq!(verbs::rename(&f.engine, "one", "two").await.unwrap_err().kind, Kind::Conflict);
        verbs::rename(&f.engine, "one", "first").await.unwrap();
        let always = RestartPolicy { name: "always".into(), maximum_retry_count: 0 };
        let update = UpdateRequest {
            resources: Resources { memory: 32 << 20, ..Resources::default() },
            restart_policy: always,
        };
        verbs::update(&f.engine, "first", update.clone()).await.unwrap();
        let c = f.inspect("first").await;
        assert_eq!(
            (c.host_config.resources.memory, c.host_config.restart_policy.name.as_str()),
            (32 << 20, "always")
        );
        assert_eq!(verbs::update(&f.engine, "two", update).await.unwrap_err().kind, Kind::Conflict);
    });
}

#[test]
fn verbs_of_running_containers_refuse_one_that_does_not_run() {
    alone(async |f| {
        let id = f.create("web", |_, _| {}).await;
        let running = format!("container {id} is not running");
        assert_eq!(verbs::pause(&f.engine, "web").await.unwrap_err().message, running);
        assert_eq!(verbs::top(&f.engine, "web", "").await.unwrap_err().message, running);
        assert_eq!(
            verbs::kill(&f.engine, "web", "").await.unwrap_err().message,
            format!("cannot kill container: web: {running}")
        );
        assert_eq!(
            verbs::stop(&f.engine, "web", Default::default()).await.unwrap_err().kind,
            Kind::NotModified
        );
        let wait = verbs::wait(&f.engine, "web", WaitCondition::NotRunning).await.unwrap();
        assert_eq!(wait.await.unwrap().status_code, 0);
        let request = api::exec::CreateRequest { cmd: words(&["x"]), ..Default::default() };
        assert_eq!(crate::exec::create(&f.engine, "web", request).await.unwrap_err().kind, Kind::Conflict);
        for id in ["../../x", "0", &id] {
            let e = crate::exec::inspect(&f.engine, id).await.unwrap_err();
            assert_eq!((e.kind, e.message), (Kind::NotFound, format!("No such exec instance: {id}")));
        }
    });
}

#[test]
fn removal_takes_everything_and_is_told() {
    alone(async |f| {
        let id = f.create("web", |_, host| host.binds = vec!["kept:/k".into()]).await;
        let options = RemoveOptions { volumes: true, ..RemoveOptions::default() };
        verbs::remove(&f.engine, "web", options).await.unwrap();
        let left = crate::volumes::list(&f.engine, Filters::default()).await.unwrap().volumes;
        assert_eq!(left.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["kept"]);
        for place in ["root/containers", "run/containers"] {
            assert_eq!(std::fs::read_dir(f.dir.path().join(place)).unwrap().count(), 0, "{place}");
        }
        // Cleaning up what is gone is no error.
        verbs::cleanup(&f.engine, &id).await.unwrap();
        let options = EventsOptions {
            since: "1h".into(),
            until: "0s".into(),
            filters: filters(&[("container", "web")]),
        };
        let mut events = system::events(&f.engine, options).await.unwrap();
        let mut actions = Vec::new();
        while let Some(event) = events.recv().await {
            assert_eq!(
                (event.actor.id.as_str(), event.actor.attributes["image"].as_str()),
                (id.as_str(), "box")
            );
            actions.push(event.action);
        }
        assert_eq!(actions, ["create", "destroy"]);
    });
}

#[test]
fn cleanup_removes_what_asked_for_it_and_prune_the_rest() {
    alone(async |f| {
        let gone = f.create("gone", |_, host| host.auto_remove = true).await;
        f.create("stays", |_, _| {}).await;
        verbs::cleanup(&f.engine, &gone).await.unwrap();
        assert_eq!(f.listed(0, &[]).await, ["stays"]);
        let report = verbs::prune(&f.engine, filters(&[("label", "no")])).await.unwrap();
        assert_eq!(report.containers_deleted.len(), 0);
        assert_eq!(verbs::prune(&f.engine, Filters::default()).await.unwrap().containers_deleted.len(), 1);
        assert_eq!(f.listed(0, &[]).await.len(), 0);
    });
}
