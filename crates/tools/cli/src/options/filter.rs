//! `--filter name=value`.

use api::Filters;

use crate::error::Error;

pub fn parse(flags: &[String]) -> Result<Filters, Error> {
    let mut filters = Filters::default();
    for flag in flags.iter().filter(|flag| !flag.is_empty()) {
        let Some((name, value)) = flag.split_once('=') else {
            return Err(Error::with_code(
                format!(
                    "invalid argument {} for \"-f, --filter\" flag: bad format of filter (expected name=value)",
                    template::quote(flag)
                ),
                125,
            ));
        };
        filters.add(name.trim().to_lowercase(), value.trim());
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    #[test]
    fn filters() {
        let filters = super::parse(&["label=a=b".into(), "Status = exited".into()]).unwrap();
        assert_eq!(filters.to_json(), r#"{"label":{"a=b":true},"status":{"exited":true}}"#);
        assert!(super::parse(&["x".into()]).is_err());
    }
}
