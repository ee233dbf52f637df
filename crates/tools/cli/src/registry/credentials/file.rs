//! The `auths` of `config.json`: `{"reg.lan:5000": {"auth": "base64 of name:password"}}`; also with `username` and `password`, and
//! with an `identitytoken` or a `registrytoken`. Older clients wrote addresses in place of hosts.

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The host of an address, as Docker's clients write it.
pub fn hostname(server: &str) -> &str {
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    rest.split('/').next().unwrap_or_default()
}

pub fn auths(config: &Map<String, Value>) -> Map<String, Value> {
    config.get("auths").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// What is kept for a server, under its name or under an address of it.
pub fn find(auths: &Map<String, Value>, key: &str) -> Option<AuthConfig> {
    let older = || auths.iter().find(|(name, _)| hostname(name) == key).map(|(_, entry)| entry);
    auth(auths.get(key).or_else(older)?, key)
}

pub fn all(auths: &Map<String, Value>) -> BTreeMap<String, AuthConfig> {
    auths.iter().filter_map(|(server, entry)| Some((server.clone(), auth(entry, server)?))).collect()
}

fn auth(entry: &Value, server: &str) -> Option<AuthConfig> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    let auth = AuthConfig {
        username,
        password,
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    };
    let is_somebody =
        [&auth.username, &auth.identitytoken, &auth.registrytoken].iter().any(|f| !f.is_empty());
    is_somebody.then_some(auth)
}

/// How credentials are written.
pub fn entry(auth: &AuthConfig) -> Value {
    let mut entry = Map::new();
    if !auth.username.is_empty() || !auth.password.is_empty() {
        let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
        entry.insert("auth".to_owned(), pair.into());
    }
    for (name, token) in [("identitytoken", &auth.identitytoken), ("registrytoken", &auth.registrytoken)] {
        if !token.is_empty() {
            entry.insert(name.to_owned(), token.clone().into());
        }
    }
    entry.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_of_all_kinds() {
        let document = json!({
            "a.lan": {"auth": STANDARD.encode("ann:pa:ss\0\0")},
            "b.lan": {"username": "bob", "password": "x", "email": "b@lan"},
            "c.lan": {"auth": "", "identitytoken": "id"},
            "d.lan": {"registrytoken": "reg"},
            "https://e.lan/v1/": {"auth": STANDARD.encode("eve:y")},
            "f.lan": {},
            "g.lan": {"auth": "%%%"},
            "h.lan": 7,
        });
        let auths = document.as_object().unwrap();
        let found = |key: &str| find(auths, key).map(|auth| (auth.username, auth.password));
        assert_eq!(found("a.lan"), Some(("ann".into(), "pa:ss".into())));
        assert_eq!(found("b.lan"), Some(("bob".into(), "x".into())));
        assert_eq!(find(auths, "c.lan").unwrap().identitytoken, "id");
        assert_eq!(find(auths, "d.lan").unwrap().registrytoken, "reg");
        assert_eq!(found("e.lan"), Some(("eve".into(), "y".into())));
        for nobody in ["f.lan", "g.lan", "h.lan", "i.lan", ""] {
            assert_eq!(found(nobody), None, "{nobody}");
        }
        assert_eq!(all(auths).len(), 5);
    }

    #[test]
    fn what_is_written_is_read() {
        for auth in [
            AuthConfig { username: "ann".into(), password: "p:w".into(), ..AuthConfig::default() },
            AuthConfig { username: "ann".into(), identitytoken: "id".into(), ..AuthConfig::default() },
        ] {
            let auths = Map::from_iter([("r.lan".to_owned(), entry(&auth))]);
            let wanted = AuthConfig { serveraddress: "r.lan".into(), ..auth };
            assert_eq!(find(&auths, "r.lan"), Some(wanted));
        }
    }
}
