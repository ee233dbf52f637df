//! `--ulimit name=soft[:hard]`; `-1` is no limit.

use api::containers::Ulimit;

pub fn parse(spec: &str) -> Result<Ulimit, String> {
    let Some((name, limits)) = spec.split_once('=') else {
        return Err(format!("invalid ulimit argument: {spec}"));
    };
    if !api::containers::ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", template::quote(text)))
    };
    let (soft, hard) = match limits.split(':').collect::<Vec<_>>().as_slice() {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        let shown = if soft == -1 { "-1".to_owned() } else { soft.to_string() };
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {shown} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn table() {
        let run = |spec: &str| parse(spec).map(|u| (u.name, u.soft, u.hard));
        assert_eq!(run("nofile=1024"), Ok(("nofile".to_owned(), 1024, 1024)));
        assert_eq!(run("nofile=1024:2048"), Ok(("nofile".to_owned(), 1024, 2048)));
        assert_eq!(run("core=-1"), Ok(("core".to_owned(), -1, -1)));
        assert_eq!(run("x").unwrap_err(), "invalid ulimit argument: x");
        assert_eq!(run("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert_eq!(
            run("nofile=2:1").unwrap_err(),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
        );
        assert!(run("nofile=1:2:3").unwrap_err().starts_with("too many limit value arguments - 1:2:3"));
        assert!(run("nofile=x").unwrap_err().starts_with("strconv.ParseInt: parsing \"x\""));
    }
}
