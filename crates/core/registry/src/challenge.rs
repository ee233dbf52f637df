//! `WWW-Authenticate` (RFC 9110 section 11.6.1): how the registry wants us to say who we are.

/// What the registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from a server of the registry's.
    Bearer {
        /// The token server.
        realm: String,
        /// The name that the token server knows the registry by.
        service: Option<String>,
        /// What the token must be for, with spaces between.
        scope: Option<String>,
    },
}

/// The strongest challenge of the headers that we can answer.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<Challenge> = headers.filter_map(parse_one).collect();
    let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(challenges.first()).cloned()
}

fn parse_one(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let find = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
}

/// `key=value, key="quoted \" value"`; stops at the first thing that is neither.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.trim_start_matches([' ', '\t', ',']).split_once('=') {
        let Some((value, after)) = value(after) else { break };
        found.push((key.trim().to_owned(), value));
        rest = after;
    }
    found
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned), scope: None })
    }

    #[test]
    fn challenges_of_real_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#;
        assert_eq!(
            parse([hub].into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("a:b:pull,push".into()),
            })
        );
        assert_eq!(parse([r#"Basic realm="x""#].into_iter()), Some(Challenge::Basic));
        assert_eq!(parse(["basic"].into_iter()), Some(Challenge::Basic));
        let both = [r#"Basic realm="x""#, r#"bearer realm="https://t/", error="invalid_token""#];
        assert_eq!(parse(both.into_iter()), bearer("https://t/", None));
    }

    #[test]
    fn hostile_challenges_are_no_challenges() {
        for text in [
            "",
            "Bearer",
            "Bearer realm",
            "Bearer realm=\"unterminated",
            "Digest realm=\"x\"",
            "Bearer =,=,=",
        ] {
            assert_eq!(parse([text].into_iter()), None, "{text}");
        }
        assert_eq!(parse([r#"Bearer realm="a\"b""#].into_iter()), bearer("a\"b", None));
    }
}
