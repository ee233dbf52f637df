//! `--platform`.

use oci::Platform;

use crate::error::Error;

/// The documents that the API wants of platforms as people write them.
pub fn documents(platforms: &[String]) -> Result<Vec<String>, Error> {
    let invalid = |text: &str, error: &dyn std::fmt::Display| {
        Error::new(format!("invalid platform {}: {error}", template::quote(text)))
    };
    platforms
        .iter()
        .map(|text| {
            let platform: Platform = text.trim().parse().map_err(|error| invalid(text, &error))?;
            serde_json::to_string(&platform).map_err(|error| invalid(text, &error))
        })
        .collect()
}

/// The same of one that may be absent: nothing then.
pub fn document(platform: Option<&str>) -> Result<String, Error> {
    let platforms: Vec<String> = platform.iter().map(|text| (*text).to_owned()).collect();
    Ok(documents(&platforms)?.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_those_of_docker() {
        let all = documents(&["linux/amd64".to_owned(), "linux/arm/v6".to_owned()]).unwrap();
        assert_eq!(
            all,
            [
                r#"{"architecture":"amd64","os":"linux"}"#,
                r#"{"architecture":"arm","os":"linux","variant":"v6"}"#
            ]
        );
        assert_eq!(document(None).unwrap(), "");
        let error = document(Some("linux/*")).unwrap_err().message;
        assert!(error.starts_with("invalid platform \"linux/*\": "), "{error}");
    }
}
