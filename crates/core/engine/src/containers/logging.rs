//! Log options of a container. Pure.

use std::collections::BTreeMap;

use api::containers::{Config, HostConfig};
use monitor::{LogConfig, LogDriver};

use crate::error::{Error, Result};

/// Where the monitor records output: `json-file` (rotated by default) or `none`.
pub fn log_config(host: &HostConfig, config: &Config) -> Result<LogConfig> {
    let options = &host.log_config.config;
    let mut log = LogConfig::default();
    match host.log_config.typ.as_str() {
        "none" => log.driver = LogDriver::None,
        "" | "json-file" => {}
        other => {
            return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered")));
        }
    }
    if let Some(text) = options.get("max-size") {
        log.max_size = match text.as_str() {
            "-1" => 0,
            text => size(text).ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?,
        };
        // Docker keeps one file when only its size is given.
        log.max_file = 1;
    }
    if let Some(text) = options.get("max-file") {
        log.max_file = match text.parse() {
            Ok(count) if count >= 1 => count,
            _ => return Err(Error::invalid("max-file cannot be less than 1")),
        };
    }
    log.attrs = attributes(options, config);
    Ok(log)
}

/// What the options `labels`, `env` and `tag` add to each record.
fn attributes(options: &BTreeMap<String, String>, config: &Config) -> BTreeMap<String, String> {
    let names =
        |key: &str| options.get(key).map(String::as_str).unwrap_or("").split(',').filter(|n| !n.is_empty());
    let mut all = BTreeMap::new();
    for name in names("labels") {
        if let Some(value) = config.labels.get(name) {
            all.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env") {
        let value = config.env.iter().filter_map(|l| l.split_once('=')).rfind(|(key, _)| *key == name);
        if let Some((_, value)) = value {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag").filter(|t| !t.is_empty()) {
        all.insert("tag".to_owned(), tag.clone());
    }
    all
}

/// `10m`, `512k`, `1g`, `1024`, `10mb`: powers of 1000, as Docker's `FromHumanSize`.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor: u64 = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value >= 1.0 && value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(options: &[(&str, &str)]) -> Result<LogConfig> {
        let mut host = HostConfig::default();
        host.log_config.config = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let config = Config {
            labels: BTreeMap::from([("a".into(), "1".into())]),
            env: vec!["E=2".into()],
            ..Config::default()
        };
        log_config(&host, &config)
    }

    #[test]
    fn sizes_and_counts() {
        let l = log(&[("max-size", "10m"), ("max-file", "3")]).unwrap();
        assert_eq!((l.max_size, l.max_file), (10_000_000, 3));
        assert_eq!(log(&[("max-size", "1.5k")]).unwrap().max_size, 1500);
        assert_eq!(log(&[("max-size", "-1")]).unwrap().max_size, 0);
        assert_eq!(log(&[]).unwrap(), LogConfig::default());
        assert_eq!(log(&[("max-size", "10x")]).unwrap_err().message, "invalid size: '10x'");
        assert_eq!(log(&[("max-file", "0")]).unwrap_err().message, "max-file cannot be less than 1");
    }

    #[test]
    fn attributes_are_picked() {
        let l = log(&[("labels", "a,b"), ("env", "E"), ("tag", "t")]).unwrap();
        let got: Vec<_> = l.attrs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(got, ["E=2", "a=1", "tag=t"]);
    }
}
