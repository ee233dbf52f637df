//! Dockerfile instructions that change an image's configuration (`-c`, `--change` of commit and import).

use dockerfile::ast::{Command, Healthcheck, Instruction, Kind};
use dockerfile::expand::{Budget, Expander};
use oci::image::{self, ContainerConfig};

use crate::error::{Error, Result};

/// Applies instructions to a configuration.
pub(crate) fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<()> {
    if changes.iter().all(|change| change.trim().is_empty()) {
        return Ok(());
    }
    // They are the instructions of a stage.
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let file = dockerfile::parse(&text, dockerfile::Options::default())
        .map_err(|e| Error::invalid(e.message.clone()))?;
    let [stage] = file.stages.as_slice() else {
        return Err(Error::invalid("from is not a valid change command"));
    };
    let mut command_set = false;
    for instruction in &stage.instructions {
        step(config, instruction, &mut command_set)?;
    }
    Ok(())
}

fn step(config: &mut ContainerConfig, instruction: &Instruction, command_set: &mut bool) -> Result<()> {
    let env = config.env.clone();
    let lookup = move |name: &str| {
        env.iter()
            .rev()
            .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v.to_owned())
    };
    let budget = Budget::default();
    let expander = Expander::new('\\', &lookup, &budget);
    let word =
        |text: &str| expander.word(text).map(|word| word.text).map_err(|e| Error::invalid(e.to_string()));
    match &instruction.kind {
        Kind::Cmd(command) => {
            config.cmd = Some(argv(config, command));
            config.args_escaped = false;
            *command_set = true;
        }
        Kind::Entrypoint(command) => {
            config.entrypoint = Some(argv(config, command));
            // A command that was made for another entrypoint goes with it.
            if !*command_set {
                config.cmd = None;
            }
        }
        Kind::Env(pairs) => {
            for pair in pairs {
                set_env(&mut config.env, &word(&pair.key)?, &word(&pair.value)?);
            }
        }
        Kind::Label(pairs) => {
            for pair in pairs {
                config.labels.insert(word(&pair.key)?, word(&pair.value)?);
            }
        }
        Kind::Expose(words) => {
            for port in words {
                for port in expander.words(&port.text).map_err(|e| Error::invalid(e.to_string()))? {
                    expose(config, &port)?;
                }
            }
        }
        Kind::Volume(words) => {
            for path in words {
                let path = word(&path.text)?;
                if path.is_empty() {
                    return Err(Error::invalid("VOLUME specified can not be an empty string"));
                }
                config.volumes.insert(path);
            }
        }
        Kind::Workdir(path) => config.working_dir = directory(&config.working_dir, &word(&path.text)?),
        Kind::User(user) => config.user = word(&user.text)?,
        Kind::Stopsignal(signal) => config.stop_signal = word(&signal.text)?,
        Kind::Onbuild(onbuild) => config.on_build.push(onbuild.expression.clone()),
        Kind::Healthcheck(check) => config.healthcheck = Some(health(config, check)),
        other => {
            let name = other.name().to_ascii_lowercase();
            return Err(Error::invalid(format!("{name} is not a valid change command")));
        }
    }
    Ok(())
}

fn argv(config: &ContainerConfig, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(line) => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut argv = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            argv.push(line.clone());
            argv
        }
    }
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    match env.iter_mut().find(|old| old.split_once('=').map_or(old.as_str(), |(key, _)| key) == name) {
        Some(old) => *old = line,
        None => env.push(line),
    }
}

/// `80`, `80/udp` or `8000-8010/tcp`.
fn expose(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let bad = || Error::invalid(format!("invalid containerPort: {text}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if first > last {
        return Err(bad());
    }
    config.exposed_ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    Ok(())
}

/// A path below the directory so far unless it is absolute, cleaned.
fn directory(current: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{current}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn health(config: &ContainerConfig, check: &Healthcheck) -> image::Healthcheck {
    let Healthcheck::Test { command, interval, timeout, start_period, start_interval, retries } = check
    else {
        return image::Healthcheck { test: vec!["NONE".to_owned()], ..image::Healthcheck::default() };
    };
    let test = match command {
        Command::Exec(argv) => [&["CMD".to_owned()], argv.as_slice()].concat(),
        Command::Shell(line) => {
            // With a shell of its own the image says which; without, it is left to the runtime.
            match config.shell.as_ref().filter(|shell| !shell.is_empty()) {
                Some(shell) => [&["CMD".to_owned()], shell.as_slice(), std::slice::from_ref(line)].concat(),
                None => vec!["CMD-SHELL".to_owned(), line.clone()],
            }
        }
    };
    let nanoseconds = |duration: &Option<std::time::Duration>| {
        duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    };
    image::Healthcheck {
        test,
        interval: nanoseconds(interval),
        timeout: nanoseconds(timeout),
        start_period: nanoseconds(start_period),
        start_interval: nanoseconds(start_interval),
        retries: retries.map_or(0, i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ContainerConfig> {
        let mut config = ContainerConfig {
            env: vec!["PATH=/bin".to_owned()],
            cmd: Some(vec!["old".to_owned()]),
            working_dir: "/srv".to_owned(),
            ..ContainerConfig::default()
        };
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn every_instruction_that_may() {
        let config = changed(&[
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run me",
            "ENV A=1 B=\"two words\" PATH=$PATH:/sbin",
            "ENV C $A",
            "EXPOSE 80 443/udp 8000-8002",
            "LABEL x=y \"long key\"=\"long value\"",
            "USER me:us",
            "WORKDIR sub/../dir",
            "VOLUME /data [\"/no\"]",
            "ONBUILD RUN make",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=3 CMD curl localhost",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["a", "b"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.env, ["PATH=/bin:/sbin", "A=1", "B=two words", "C=1"]);
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["443/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(config.labels["long key"], "long value");
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("me:us", "/srv/dir"));
        assert!(config.volumes.contains("/data"));
        assert_eq!((config.on_build, config.stop_signal), (vec!["RUN make".to_owned()], "SIGINT".to_owned()));
        let health = config.healthcheck.unwrap();
        assert_eq!((health.test.len(), health.interval, health.retries), (2, 5_000_000_000, 3));
    }

    #[test]
    fn an_entrypoint_takes_the_old_command_away() {
        assert_eq!(changed(&["ENTRYPOINT [\"x\"]"]).unwrap().cmd, None);
    }

    #[test]
    fn what_may_not_is_told() {
        for (change, message) in [
            ("RUN x", "run is not a valid change command"),
            ("FROM x", "from is not a valid change command"),
            ("COPY a b", "copy is not a valid change command"),
            ("EXPOSE 99999", "invalid containerPort: 99999"),
        ] {
            assert_eq!(changed(&[change]).unwrap_err().message, message, "{change}");
        }
        assert!(changed(&["NONSENSE x"]).is_err());
        assert!(changed(&["", " "]).is_ok());
    }
}
