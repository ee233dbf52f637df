//! `--filter name=value`.

use api::Filters;

/// One flag, checked while flags are read; an empty one is no filter.
pub fn check(flag: &str) -> Result<String, String> {
    match flag.is_empty() || flag.contains('=') {
        true => Ok(flag.to_owned()),
        false => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// All flags of a command, which [`check`] has let pass.
pub fn parse(flags: &[String]) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in flags.iter().filter_map(|flag| flag.split_once('=')) {
        filters.add(name.trim().to_lowercase(), value.trim());
    }
    filters
}

#[cfg(test)]
mod tests {
    #[test]
    fn filters() {
        let filters = super::parse(&["label=a=b".into(), "Status = exited".into()]);
        assert_eq!(filters.to_json(), r#"{"label":{"a=b":true},"status":{"exited":true}}"#);
        assert!(super::check("x").is_err());
        assert!(super::check("a=b").is_ok());
    }
}
