//! `HEALTHCHECK`.

use super::command;
use crate::ast::Healthcheck;
use crate::duration;
use crate::error::Error;
use crate::line::{Flag, Line, Takes};
use crate::words;
use std::time::Duration;

pub(crate) fn parse(line: &mut Line<'_>) -> Result<Healthcheck, Error> {
    let flags = line.take_flags(&[
        ("interval", Takes::One),
        ("timeout", Takes::One),
        ("start-period", Takes::One),
        ("start-interval", Takes::One),
        ("retries", Takes::One),
    ])?;
    let text = line.args();
    let (kind, at) = words::keyword(text);
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(line.error("HEALTHCHECK requires at least one argument")),
        "NONE" => none(line, &text[at..], at),
        "CMD" => test(line, at, flags),
        _ => Err(line
            .error(format!("Unknown type \"{}\" in HEALTHCHECK (try CMD)", kind.to_ascii_uppercase()))
            .help("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`")),
    }
}

fn none(line: &mut Line<'_>, rest: &str, at: usize) -> Result<Healthcheck, Error> {
    if rest.is_empty() {
        return Ok(Healthcheck::None);
    }
    if line.strict || !rest.starts_with('#') {
        return Err(line.error("HEALTHCHECK NONE takes no arguments"));
    }
    let span = line.place(line.rest + at, line.rest + at + rest.len());
    line.warn_comment(span);
    Ok(Healthcheck::None)
}

fn test(line: &mut Line<'_>, at: usize, flags: Vec<Flag>) -> Result<Healthcheck, Error> {
    let command = command::command(line, line.rest + at)?;
    if command.is_empty() {
        return Err(line.error("Missing command after HEALTHCHECK CMD"));
    }
    let (mut interval, mut timeout, mut start_period, mut start_interval) = (None, None, None, None);
    let mut retries = None;
    for flag in flags {
        match flag.name.as_str() {
            "interval" => interval = time(&flag)?,
            "timeout" => timeout = time(&flag)?,
            "start-period" => start_period = time(&flag)?,
            "start-interval" => start_interval = time(&flag)?,
            _ => retries = self::retries(&flag)?,
        }
    }
    Ok(Healthcheck::Test { command, interval, timeout, start_period, start_interval, retries })
}

/// A duration of at least a millisecond; zero, and nothing, mean the default.
fn time(flag: &Flag) -> Result<Option<Duration>, Error> {
    let (text, span) = (flag.value.text.as_str(), flag.value.span);
    if text.is_empty() {
        return Ok(None);
    }
    let short = || Error::new(format!("Interval {:?} cannot be less than 1ms", flag.name), span);
    if text.strip_prefix('-').and_then(|rest| duration::parse(rest).ok()).is_some_and(|time| !time.is_zero())
    {
        return Err(short());
    }
    let value = match duration::parse(text) {
        Ok(value) => value,
        Err(message) => {
            return Err(Error::new(message, span).help("write a number with a unit, as in 30s or 1m30s"));
        }
    };
    if value.is_zero() {
        return Ok(None);
    }
    if value < Duration::from_millis(1) {
        return Err(short());
    }
    Ok(Some(value))
}

fn retries(flag: &Flag) -> Result<Option<u32>, Error> {
    let span = flag.value.span;
    if flag.value.text.is_empty() {
        return Ok(None);
    }
    match flag.value.text.parse::<i32>() {
        Ok(0) => Ok(None),
        Ok(n) if n > 0 => Ok(Some(n as u32)),
        Ok(n) => Err(Error::new(format!("--retries cannot be negative ({n})"), span)),
        Err(_) => Err(Error::new(format!("--retries: {:?} is not a number", flag.value.text), span)),
    }
}
