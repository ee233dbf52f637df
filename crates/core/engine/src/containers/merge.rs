//! What a container runs: the request merged with its image's configuration. Pure.

use std::collections::BTreeMap;

use api::containers::{Config, HealthConfig, StrSlice};
use oci::image::ContainerConfig;

use super::validate::MIN_HEALTH;
use super::{bind, ports, signal};

/// The environment's search path when the image has none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Fills what the request leaves open from the image, by Docker's rules (moby `daemon/commit.go`, `merge`).
pub fn merge(config: &mut Config, image: &ContainerConfig) {
    let or = |own: &mut String, other: &str| {
        if own.is_empty() {
            other.clone_into(own);
        }
    };
    or(&mut config.user, &image.user);
    or(&mut config.working_dir, &image.working_dir);
    or(&mut config.stop_signal, &image.stop_signal);
    config.exposed_ports.extend(image.exposed_ports.iter().cloned());
    config.volumes.extend(image.volumes.iter().cloned());
    for line in &image.env {
        if !config.env.iter().any(|own| key(own) == key(line)) {
            config.env.push(line.clone());
        }
    }
    for (name, value) in &image.labels {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.is_empty() {
        if config.cmd.is_empty() {
            config.cmd = StrSlice(image.cmd.clone());
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.0.is_none() {
            config.entrypoint = StrSlice(image.entrypoint.clone());
        }
    }
    // `--entrypoint ""` comes as one empty word: no entrypoint, and the image's is not taken either.
    if config.entrypoint.as_slice() == [""] {
        config.entrypoint = StrSlice(None);
    }
    if config.shell.is_empty() {
        config.shell = StrSlice(image.shell.clone());
    }
    config.healthcheck = health(config.healthcheck.take(), image.healthcheck.as_ref());
}

/// An image's configuration without what no container could be given, which Docker overlooks in an image while it refuses it of
/// a request. Of a variable that is there twice the last value counts.
pub fn tolerable(image: &ContainerConfig) -> ContainerConfig {
    let mut image = image.clone();
    let env = std::mem::take(&mut image.env);
    for line in env.into_iter().filter(|line| !line.is_empty() && !line.starts_with('=')) {
        match image.env.iter_mut().find(|known| key(known) == key(&line)) {
            Some(known) => *known = line,
            None => image.env.push(line),
        }
    }
    if signal::parse(&image.stop_signal).is_err() {
        image.stop_signal.clear();
    }
    image.exposed_ports.retain(|port| ports::parse(port).is_ok());
    let volumes = std::mem::take(&mut image.volumes);
    image.volumes = volumes.iter().map(|path| bind::clean(path)).filter(|path| path != "/").collect();
    if let Some(health) = &mut image.healthcheck {
        if !matches!(health.test.first().map(String::as_str), None | Some("NONE" | "CMD" | "CMD-SHELL")) {
            health.test = vec!["NONE".to_owned()];
        }
        health.retries = health.retries.max(0);
        for time in
            [&mut health.interval, &mut health.timeout, &mut health.start_period, &mut health.start_interval]
        {
            *time = if *time > 0 { (*time).max(MIN_HEALTH) } else { 0 };
        }
    }
    image
}

fn health(own: Option<HealthConfig>, image: Option<&HealthConfig>) -> Option<HealthConfig> {
    let (Some(mut own), Some(image)) = (own.clone(), image) else {
        return own.or_else(|| image.cloned());
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
    Some(own)
}

fn key(line: &str) -> &str {
    line.split_once('=').map_or(line, |(key, _)| key)
}

/// The environment of the container's process: Docker's own variables first, each replaced in its place when the
/// configuration names it; a name without `=` takes the variable away.
pub fn environment(config: &Config, hostname: &str, home: &str) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    let mut env = overlay(env, &config.env);
    if !env.iter().any(|line| key(line) == "HOME") {
        env.push(format!("HOME={home}"));
    }
    env
}

/// `base` with the lines of `over` replacing those of the same name, or appended.
pub fn overlay(base: Vec<String>, over: &[String]) -> Vec<String> {
    let mut lines: Vec<Option<String>> = base.into_iter().map(Some).collect();
    let mut at: BTreeMap<String, usize> =
        lines.iter().flatten().enumerate().map(|(i, line)| (key(line).to_owned(), i)).collect();
    for line in over {
        let name = key(line);
        let value = line.contains('=').then(|| line.clone());
        match at.get(name) {
            Some(i) => lines[*i] = value,
            None => {
                at.insert(name.to_owned(), lines.len());
                lines.push(value);
            }
        }
    }
    lines.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn image() -> ContainerConfig {
        ContainerConfig {
            user: "web".into(),
            env: words(&["PATH=/img", "A=1"]),
            entrypoint: Some(words(&["/entry"])),
            cmd: Some(words(&["serve"])),
            working_dir: "/srv".into(),
            labels: BTreeMap::from([("a".into(), "image".into()), ("b".into(), "image".into())]),
            healthcheck: Some(HealthConfig {
                test: words(&["CMD", "true"]),
                interval: 5,
                ..Default::default()
            }),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn the_image_fills_what_is_open() {
        let mut config = Config::default();
        merge(&mut config, &image());
        assert_eq!(config.entrypoint.as_slice(), ["/entry"]);
        assert_eq!(config.cmd.as_slice(), ["serve"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("web", "/srv"));
        assert_eq!(config.env, ["PATH=/img", "A=1"]);
        assert_eq!(config.healthcheck.unwrap().test, ["CMD", "true"]);
    }

    #[test]
    fn command_and_entrypoint_rules() {
        let run = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let mut config = Config {
                entrypoint: StrSlice(entrypoint.map(words)),
                cmd: StrSlice(cmd.map(words)),
                ..Config::default()
            };
            merge(&mut config, &image());
            [config.entrypoint.as_slice(), config.cmd.as_slice()].concat().join(" ")
        };
        assert_eq!(run(None, None), "/entry serve");
        assert_eq!(run(None, Some(&["other"])), "/entry other");
        assert_eq!(run(Some(&["/x"]), None), "/x");
        assert_eq!(run(Some(&["/x"]), Some(&["y"])), "/x y");
        assert_eq!(run(Some(&[""]), Some(&["y"])), "y");
        assert_eq!(run(Some(&[""]), None), "");
        assert_eq!(run(Some(&[]), Some(&["y"])), "y");
    }

    #[test]
    fn the_request_wins() {
        let mut config = Config {
            env: words(&["B=2", "A=own"]),
            labels: BTreeMap::from([("a".into(), "own".into())]),
            healthcheck: Some(HealthConfig { retries: 9, ..Default::default() }),
            ..Config::default()
        };
        merge(&mut config, &image());
        assert_eq!(config.env, ["B=2", "A=own", "PATH=/img"]);
        assert_eq!(config.labels["a"], "own");
        assert_eq!(config.labels["b"], "image");
        let health = config.healthcheck.unwrap();
        assert_eq!((health.test.len(), health.interval, health.retries), (2, 5, 9));
    }

    #[test]
    fn what_is_odd_of_an_image_is_no_request() {
        let odd = ContainerConfig {
            env: words(&["PATH=/a", "", "=x", "PATH=/b"]),
            stop_signal: "SIGBOGUS".into(),
            exposed_ports: ["99999/tcp", "80/tcp"].map(str::to_owned).into(),
            volumes: ["../../x", "/", "/y/"].map(str::to_owned).into(),
            healthcheck: Some(HealthConfig {
                test: words(&["BOGUS", "x"]),
                interval: 1,
                timeout: -1,
                retries: -3,
                ..Default::default()
            }),
            ..ContainerConfig::default()
        };
        let image = tolerable(&odd);
        assert_eq!(image.env, ["PATH=/b"]);
        assert_eq!(image.stop_signal, "");
        assert_eq!(Vec::from_iter(&image.exposed_ports), ["80/tcp"]);
        assert_eq!(Vec::from_iter(&image.volumes), ["/x", "/y"]);
        let health = image.healthcheck.unwrap();
        assert_eq!((health.interval, health.timeout, health.retries), (MIN_HEALTH, 0, 0));
        assert_eq!(health.test, ["NONE"]);
    }

    #[test]
    fn environment_order() {
        let config =
            Config { tty: true, env: words(&["PATH=/x", "A=1", "HOSTNAME", "A=2"]), ..Config::default() };
        assert_eq!(environment(&config, "h", "/root"), ["PATH=/x", "TERM=xterm", "A=2", "HOME=/root"]);
        let config = Config { env: words(&["HOME=/own"]), ..Config::default() };
        assert_eq!(environment(&config, "h", "/root"), [DEFAULT_PATH, "HOSTNAME=h", "HOME=/own"]);
    }
}
