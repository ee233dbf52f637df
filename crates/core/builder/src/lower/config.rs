//! Instructions that describe the image and change no file.

use super::stage::StageState;
use super::{Error, Lowering, history};
use dockerfile::Span;
use dockerfile::ast::{Command, Healthcheck, Instruction, Kind, Word};
use oci::image;

pub(super) fn apply(l: &mut Lowering<'_>, s: &mut StageState, i: &Instruction) -> Result<(), Error> {
    match &i.kind {
        Kind::Arg(args) => arg(l, s, args),
        Kind::Env(pairs) => env(l, s, pairs),
        Kind::Label(pairs) => label(l, s, pairs),
        Kind::Cmd(command) => {
            let argv = argv(s, command);
            s.note(format!("CMD {}", history::quoted_list(&argv)));
            // As Docker's builders write it with every command; it means nothing but on Windows.
            s.config.config.args_escaped = true;
            s.config.config.cmd = Some(argv);
            s.cmd_set = true;
            Ok(())
        }
        Kind::Entrypoint(command) => {
            let argv = argv(s, command);
            s.note(format!("ENTRYPOINT {}", history::quoted_list(&argv)));
            s.config.config.entrypoint = Some(argv);
            if !s.cmd_set {
                s.config.config.cmd = None;
            }
            Ok(())
        }
        Kind::Expose(words) => expose(l, s, words),
        Kind::Volume(words) => volume(l, s, words),
        Kind::User(word) => {
            let user = l.expand(s, &word.text, word.span)?;
            s.note(format!("USER {user}"));
            s.config.config.user = user;
            Ok(())
        }
        Kind::Stopsignal(word) => stopsignal(l, s, word),
        Kind::Shell(shell) => {
            s.note(format!("SHELL [{}]", shell.join(" ")));
            s.config.config.shell = Some(shell.clone());
            Ok(())
        }
        Kind::Maintainer(who) => {
            s.config.author = who.clone();
            s.note(format!("MAINTAINER {who}"));
            Ok(())
        }
        Kind::Onbuild(onbuild) => {
            s.config.config.on_build.push(onbuild.expression.clone());
            Ok(())
        }
        Kind::Healthcheck(check) => healthcheck(s, check, i.span),
        _ => Ok(()),
    }
}

/// A command line, with the shell in front of the shell form.
fn argv(s: &StageState, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(line) => {
            let mut argv = s.shell();
            argv.push(line.clone());
            argv
        }
    }
}

fn arg(l: &mut Lowering<'_>, s: &mut StageState, args: &[dockerfile::ast::ArgDecl]) -> Result<(), Error> {
    let mut notes = Vec::new();
    for arg in args {
        let value = {
            let get = |name: &str| s.variable(name);
            l.globals.declared(arg, l.inputs.file.directives.escape, &get)?
        };
        notes.push(match &value {
            Some(value) => format!("{}={value}", arg.name),
            None => arg.name.clone(),
        });
        s.variables.declare(&arg.name, value);
    }
    s.note(format!("ARG {}", notes.join(" ")));
    Ok(())
}

fn env(l: &mut Lowering<'_>, s: &mut StageState, pairs: &[dockerfile::ast::KeyValue]) -> Result<(), Error> {
    // All values see the variables from before the instruction.
    let mut set = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let key = l.expand(s, &pair.key, pair.span)?;
        let value = l.expand(s, &pair.value, pair.span)?;
        if key.is_empty() {
            return Err(Error::at("ENV names can not be blank", pair.span));
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(Error::at("ENV values cannot hold NUL", pair.span));
        }
        set.push((key, value));
    }
    let note: Vec<String> = set.iter().map(|(key, value)| format!("{key}={value}")).collect();
    set.iter().for_each(|(key, value)| s.variables.set(key, value));
    s.note(format!("ENV {}", note.join(" ")));
    Ok(())
}

fn label(l: &mut Lowering<'_>, s: &mut StageState, pairs: &[dockerfile::ast::KeyValue]) -> Result<(), Error> {
    let mut note = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let key = l.expand(s, &pair.key, pair.span)?;
        let value = l.expand(s, &pair.value, pair.span)?;
        note.push(format!("{key}={value}"));
        s.config.config.labels.insert(key, value);
    }
    s.note(format!("LABEL {}", note.join(" ")));
    Ok(())
}

/// Every port of every protocol once; the history says each of them again.
const MAX_PORTS: usize = 200_000;

fn expose(l: &mut Lowering<'_>, s: &mut StageState, words: &[Word]) -> Result<(), Error> {
    let mut ports = Vec::new();
    // In the order of their text: the history tells them as BuildKit's does.
    let mut words: Vec<&Word> = words.iter().collect();
    words.sort_by(|one, other| one.text.cmp(&other.text));
    for word in words {
        for text in l.expand_words(s, word)? {
            ports.extend(port_spec(&text, word.span)?);
        }
        if s.exposed + ports.len() > MAX_PORTS {
            return Err(Error::at(format!("EXPOSE names more than {MAX_PORTS} ports"), word.span));
        }
    }
    s.exposed += ports.len();
    s.note(format!("EXPOSE [{}]", ports.join(" ")));
    s.config.config.exposed_ports.extend(ports);
    Ok(())
}

/// `80`, `80/udp`, `8000-8010/tcp`; of `[address:][host:]container` only the container's side.
fn port_spec(text: &str, span: Span) -> Result<Vec<String>, Error> {
    let fail = |message: String| Error::at(message, span).help("write `EXPOSE port[/tcp|/udp|/sctp]`");
    let (ports, proto) = text.split_once('/').unwrap_or((text, ""));
    let proto = if proto.is_empty() { "tcp".to_owned() } else { proto.to_ascii_lowercase() };
    let (before, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = before.rsplit_once(':').unwrap_or(("", before));
    if container.is_empty() {
        return Err(fail(format!("invalid port: {text:?}: no port specified")));
    }
    if !["tcp", "udp", "sctp"].contains(&proto.as_str()) {
        return Err(fail(format!("invalid port: {text:?}: invalid proto: {proto}")));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(fail(format!("invalid IP address: {address}")));
    }
    let (first, last) =
        port_range(container).ok_or_else(|| fail(format!("invalid containerPort: {container}")))?;
    if !host.is_empty() {
        let (low, high) = port_range(host).ok_or_else(|| fail(format!("invalid hostPort: {host}")))?;
        if high - low != last - first && last != first {
            let what = format!("{container} and {host}");
            return Err(fail(format!("invalid ranges specified for container and host Ports: {what}")));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{proto}")).collect())
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn volume(l: &mut Lowering<'_>, s: &mut StageState, words: &[Word]) -> Result<(), Error> {
    let mut volumes = Vec::new();
    for word in words {
        let volume = l.expand(s, &word.text, word.span)?;
        if volume.is_empty() {
            return Err(Error::at("VOLUME specified can not be an empty string", word.span));
        }
        // As it is written: whoever runs the image finds the place.
        volumes.push(volume);
    }
    s.note(format!("VOLUME [{}]", volumes.join(" ")));
    s.config.config.volumes.extend(volumes);
    Ok(())
}

fn stopsignal(l: &mut Lowering<'_>, s: &mut StageState, word: &Word) -> Result<(), Error> {
    let signal = l.expand(s, &word.text, word.span)?;
    // Docker takes any number but 0: what it means is for the machine that runs the image to say.
    let is_valid = match signal.parse::<i64>() {
        Ok(number) => number != 0,
        Err(_) => oci::signal::number(&signal).is_some(),
    };
    if !is_valid {
        return Err(Error::at(format!("invalid signal: {signal}"), word.span));
    }
    s.note(format!("STOPSIGNAL {signal}"));
    s.config.config.stop_signal = signal;
    Ok(())
}

fn healthcheck(s: &mut StageState, check: &Healthcheck, span: Span) -> Result<(), Error> {
    let nanos = |d: &Option<std::time::Duration>| {
        i64::try_from(d.unwrap_or_default().as_nanos()).map_err(|_| Error::at("duration is too long", span))
    };
    let check = match check {
        Healthcheck::None => image::Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() },
        Healthcheck::Test { command, interval, timeout, start_period, start_interval, retries } => {
            image::Healthcheck {
                test: match command {
                    Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
                    Command::Exec(argv) => {
                        std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect()
                    }
                },
                interval: nanos(interval)?,
                timeout: nanos(timeout)?,
                start_period: nanos(start_period)?,
                start_interval: nanos(start_interval)?,
                retries: i64::from(retries.unwrap_or(0)),
            }
        }
    };
    s.note(history::healthcheck(&check));
    s.config.config.healthcheck = Some(check);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let ports = |text: &str| port_spec(text, Span::default()).ok();
        assert_eq!(ports("80"), Some(vec!["80/tcp".into()]));
        assert_eq!(ports("53/UDP"), Some(vec!["53/udp".into()]));
        assert_eq!(ports("1-3").map(|p| p.len()), Some(3));
        assert_eq!(ports("127.0.0.1:8080:80"), Some(vec!["80/tcp".into()]));
        assert_eq!(ports("[::1]:8000-8002:80"), Some(vec!["80/tcp".into()]));
        assert_eq!(ports("53/"), Some(vec!["53/tcp".into()]));
        assert_eq!(
            ports("0"),
            Some(vec!["0/tcp".into()]),
            "no container listens there, and BuildKit takes it"
        );
        for bad in ["", "#", "80/icmp", "70000", "3-1", "/tcp", "x:80", "1.2.3:1:80", "1-3:1-2", "+80"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }
}
