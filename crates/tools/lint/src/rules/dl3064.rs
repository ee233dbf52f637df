//! DL3064: secrets are neither in ARG nor in ENV.

use super::kinds;
use crate::config::Settings;
use crate::rule::{Rule, Severity, Told};
use crate::view::View;
use dockerfile::ast::Kind;

pub(super) const RULE: Rule = Rule { id: "DL3064", severity: Severity::Warning, check };

fn check(view: &View<'_>, _: &Settings, told: &mut Vec<Told>) {
    let message = "This may be a secret, and ARG and ENV stay in the image: use RUN --mount=type=secret";
    kinds(view, told, message, |kind| match kind {
        Kind::Arg(args) => args.iter().any(|arg| is_secret(&arg.name)),
        Kind::Env(pairs) => pairs.iter().any(|pair| is_secret(&pair.key)),
        _ => false,
    });
}

/// Names that services have for accounts and keys.
const KNOWN: [&str; 15] = [
    "APP_SECRET",
    "APPLICATION_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "CI_DEPLOY_USER",
    "DOCKER_EMAIL",
    "FACEBOOK_APP_ID",
    "FOSSA_API_KEY",
    "HEROKU_API_USER",
    "OKTA_AUTHN_GROUPID",
    "OKTA_CLIENT_ORGURL",
    "OKTA_OAUTH2_CLIENTID",
    "STRIPE_DEVICE_NAME",
    "TRAVIS_OS_NAME",
    "TRAVIS_SUDO",
];
const SECURE_VARIABLES: &str = "TRAVIS_SECURE_ENV_VARS";
const SUSPICIOUS: [&str; 7] = ["api_key", "client_key", "password", "private", "secret", "token", "username"];

fn is_secret(name: &str) -> bool {
    let (upper, lower) = (name.to_uppercase(), name.to_lowercase());
    KNOWN.contains(&upper.as_str())
        || upper == SECURE_VARIABLES
        || SUSPICIOUS.iter().any(|part| lower.contains(part))
}
