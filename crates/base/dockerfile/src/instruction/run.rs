//! `RUN` and its flags.

use super::{command, mount};
use crate::ast::{Device, MountFlag, Network, Run, Security};
use crate::error::Error;
use crate::line::{Line, Takes};
use crate::span::Span;

pub(crate) fn parse(line: &mut Line<'_>) -> Result<Run, Error> {
    let flags = line.take_flags(&[
        ("mount", Takes::Many),
        ("network", Takes::One),
        ("security", Takes::One),
        ("device", Takes::Many),
    ])?;
    let at = line.rest;
    let command = command::command(line, at)?;
    if command.is_empty() {
        return Err(line.error("RUN requires at least one argument"));
    }
    let mut run = Run {
        mounts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
        devices: Vec::new(),
        command,
        heredocs: line.logical.heredocs.clone(),
    };
    for flag in flags {
        let (text, span) = (flag.value.text.as_str(), flag.value.span);
        match flag.name.as_str() {
            "mount" => {
                let mount = MountFlag { text: text.to_string(), span };
                // With variables in it, lowering will tell.
                if !text.contains('$') {
                    mount.plain()?;
                }
                run.mounts.push(mount);
            }
            "network" => {
                run.network = match text {
                    "default" => Network::Default,
                    "none" => Network::None,
                    "host" => Network::Host,
                    _ => {
                        let message = format!("invalid network mode: {text:?}");
                        return Err(Error::new(message, span).help("one of default, none, host"));
                    }
                }
            }
            "security" => {
                run.security = match text {
                    "sandbox" => Security::Sandbox,
                    "insecure" => Security::Insecure,
                    _ => {
                        let message = format!("security {text:?} is not valid");
                        return Err(Error::new(message, span).help("one of sandbox, insecure"));
                    }
                }
            }
            _ => run.devices.push(device(text, span)?),
        }
    }
    Ok(run)
}

/// `name[,required]`, `name=…,required=true`.
fn device(text: &str, span: Span) -> Result<Device, Error> {
    let mut device = Device { name: String::new(), required: false, span };
    for field in mount::csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", value) => device.required = mount::flag("required", value, span)?,
            ("name", Some(name)) if device.name.is_empty() => device.name = name.to_string(),
            ("name", Some(_)) => {
                return Err(Error::new(format!("device name already set to {}", device.name), span));
            }
            _ if device.name.is_empty() => device.name = field,
            _ => {
                let error = Error::new(format!("unexpected key '{key}' in '{field}'"), span);
                return Err(error.help("write `--device=vendor/class=name[,required]`"));
            }
        }
    }
    match device.name.is_empty() {
        true => Err(Error::new("--device needs the name of a device", span)),
        false => Ok(device),
    }
}
