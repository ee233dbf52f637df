//! Who asks an S3-compatible store, and where it is, as Amazon's tools find it out: by the environment, then by the files
//! `~/.aws/credentials` and `~/.aws/config`.
//!
//! What needs a request to find out (instance roles, web identities, single sign-on) is not asked for: such tools can print
//! their credentials, to be set in the environment.

use std::collections::BTreeMap;

use crate::context::Cli;
use crate::error::Error;

type Attributes = BTreeMap<String, String>;

/// Fills in what the attributes of a cache do not say.
pub fn complete(cli: &Cli, attributes: &mut Attributes) -> Result<(), Error> {
    let variable = |name: &str| cli.variable(name).filter(|value| !value.is_empty());
    let profile = variable("AWS_PROFILE");
    let name = profile.as_deref().unwrap_or("default");
    let credentials = read(cli, variable("AWS_SHARED_CREDENTIALS_FILE"), ".aws/credentials")?;
    let config = read(cli, variable("AWS_CONFIG_FILE"), ".aws/config")?;
    let (mut known, found) = section(&credentials, &[name]);
    let (more, found_too) = section(&config, &[name, &format!("profile {name}")]);
    if profile.is_some() && !found && !found_too {
        return Err(Error::new(format!("profile {} is in neither AWS file", template::quote(name))));
    }
    for (key, value) in more {
        known.entry(key).or_insert(value);
    }
    let setting = |variables: &[&str], key: &str| {
        variables.iter().find_map(|name| variable(name)).or_else(|| known.get(key).cloned())
    };
    let mut fill = |attribute: &str, value: Option<String>| {
        if let Some(value) = value {
            attributes.entry(attribute.to_owned()).or_insert(value);
        }
    };
    fill("region", setting(&["AWS_REGION", "AWS_DEFAULT_REGION"], "region"));
    fill("bucket", variable("AWS_BUCKET"));
    fill("endpoint_url", setting(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], "endpoint_url"));
    if attributes.contains_key("access_key_id") || attributes.contains_key("secret_access_key") {
        return Ok(());
    }
    // Key, secret and token belong together: from one source, all of them.
    let mut fill = |attribute: &str, value: Option<String>| {
        if let Some(value) = value {
            attributes.insert(attribute.to_owned(), value);
        }
    };
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            fill("access_key_id", Some(key));
            fill("secret_access_key", Some(secret));
            fill("session_token", variable("AWS_SESSION_TOKEN"));
        }
        _ => {
            fill("access_key_id", known.get("aws_access_key_id").cloned());
            fill("secret_access_key", known.get("aws_secret_access_key").cloned());
            fill("session_token", known.get("aws_session_token").cloned());
        }
    }
    Ok(())
}

/// The text of a file that is named, or lies at its usual place below the home; nothing where there is none.
fn read(cli: &Cli, named: Option<String>, usual: &str) -> Result<String, Error> {
    let home = || cli.variable("HOME").filter(|home| !home.is_empty());
    let Some(path) = named.or_else(|| Some(format!("{}/{usual}", home()?))) else {
        return Ok(String::new());
    };
    match std::fs::read_to_string(cli.host.directory.join(&path)) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::file("open", &path, &error)),
    }
}

/// The settings of the sections of these names, and whether there is one. What is indented belongs to the setting before.
fn section(text: &str, names: &[&str]) -> (BTreeMap<String, String>, bool) {
    let (mut settings, mut inside, mut found) = (BTreeMap::new(), false, false);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(header) = trimmed.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let words: Vec<&str> = header.split_whitespace().collect();
            inside = names.contains(&words.join(" ").as_str());
            found |= inside;
        } else if let (true, Some((key, value))) = (inside, trimmed.split_once('=')) {
            settings.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    (settings, found)
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn sections_of_aws_files() {
        let text = "# mine\n[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n\n[profile  ci]\nregion=us-east-2\n\
                    aws_access_key_id = AK = 1\n; no\n[other]\nregion = x\n";
        let (settings, found) = section(text, &["ci", "profile ci"]);
        assert!(found);
        assert_eq!(settings["region"], "us-east-2");
        assert_eq!(settings["aws_access_key_id"], "AK = 1");
        let (settings, _) = section(text, &["default"]);
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["region", "s3"]);
        assert_eq!(section(text, &["none"]), Default::default());
    }
}
