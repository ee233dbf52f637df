//! API versions: what this server speaks and how it answers clients that are too old or too new.

use std::fmt;
use std::str::FromStr;

/// `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

/// The newest version that we speak, and the one of paths without a version.
pub const CURRENT: ApiVersion = ApiVersion::new(1, 51);
/// The oldest version that we speak.
pub const MINIMUM: ApiVersion = ApiVersion::new(1, 24);

/// A version that cannot be served. The texts are Docker's: clients show them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "client version {version} is too old. Minimum supported API version is {MINIMUM}, please upgrade your \
         client to a newer version"
    )]
    TooOld { version: ApiVersion },
    #[error("client version {version} is too new. Maximum supported API version is {CURRENT}")]
    TooNew { version: ApiVersion },
    #[error("invalid API version {0:?}")]
    Syntax(String),
}

impl ApiVersion {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Refuses what is outside of [`MINIMUM`] to [`CURRENT`].
    pub fn check(self) -> Result<Self, Error> {
        if self < MINIMUM {
            Err(Error::TooOld { version: self })
        } else if self > CURRENT {
            Err(Error::TooNew { version: self })
        } else {
            Ok(self)
        }
    }

    /// True for `1.minor` and newer.
    pub fn at_least(self, minor: u32) -> bool {
        self >= Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = Error;

    /// Reads `1.41` and `v1.41`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let number = |part: &str| {
            let digits = !part.is_empty() && part.len() <= 6 && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        };
        bare.split_once('.')
            .and_then(|(major, minor)| Some(Self::new(number(major)?, number(minor)?)))
            .ok_or_else(|| Error::Syntax(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_number_not_text() {
        let parse = |s: &str| s.parse::<ApiVersion>().unwrap();
        assert!(parse("1.9") < parse("1.24"));
        assert!(parse("v1.51").at_least(51));
        assert!(!parse("1.41").at_least(42));
    }

    #[test]
    fn refuses_with_dockers_words() {
        assert_eq!(
            "1.12".parse::<ApiVersion>().unwrap().check().unwrap_err().to_string(),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client \
             to a newer version"
        );
        assert_eq!(
            "1.99".parse::<ApiVersion>().unwrap().check().unwrap_err().to_string(),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        for bad in ["", "1", "1.", ".1", "1.2.3", "1.-1", "a.b", "1.99999999999", "vv1.2", "1.+4"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }
}
