//! `RUN` and its flags.

use super::{command, mount};
use crate::ast::{Device, Network, Run, Security};
use crate::error::Error;
use crate::line::{Line, Takes};

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
            "mount" => run.mounts.push(mount::parse(text, span)?),
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
            _ => {
                let (name, rest) = text.split_once(',').unwrap_or((text, ""));
                let name = name.strip_prefix("name=").unwrap_or(name).to_string();
                run.devices.push(Device { name, required: rest.split(',').any(|o| o == "required"), span });
            }
        }
    }
    Ok(run)
}
