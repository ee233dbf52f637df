//! The token server: Docker's `GET /token` and OAuth2's `POST /token` (RFC 6749 sections 4.3 and 6).

use http::{Method, header};
use serde_json::json;
use std::time::Duration;

use super::token::{Access, Claims, Use};
use super::{Action, Auth, Caller, Doors, Who};
use crate::answer::{self, Result, with};
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::name::Name;
use crate::query::Query;

/// Things that one token may be for.
const SCOPES_MAX: usize = 100;
const FORM_MAX: u64 = 64 << 10;
/// How long a refresh token is good: as long as the password stays, but not for ever.
const REFRESH_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Gives a token for what the caller may do of what they ask for.
pub(crate) async fn serve(mut call: Call) -> Result {
    let registry = call.registry.clone();
    let Auth(Some(doors)) = &registry.auth else {
        return Err(Failure::new(Code::Unsupported).status(http::StatusCode::NOT_FOUND));
    };
    let (caller, query, offline) = match *call.method() {
        Method::GET => {
            let offline = call.query.get("offline_token") == Some("true");
            (call.caller.clone(), call.query.clone(), offline)
        }
        Method::POST => {
            let form = call.document(FORM_MAX).await?;
            let form = Query::parse(&String::from_utf8_lossy(&form));
            let offline = form.get("access_type") == Some("offline");
            (doors.grant(&form).await?, form, offline)
        }
        _ => return Err(call.unsupported("GET, POST")),
    };
    // A token is no way to another one, but for one that is made for that.
    let hopeless = caller.token.is_some() || (caller.who == Who::Anonymous && !doors.rules.has_public());
    if hopeless {
        return Err(Failure::new(Code::Unauthorized));
    }
    doors.answer(&registry.auth, &caller, &query, offline)
}

impl Doors {
    /// Who sends a form.
    async fn grant(&self, form: &Query) -> Result<Caller> {
        let field = |name: &str| form.get(name).unwrap_or_default();
        let who = match field("grant_type") {
            "password" => {
                self.passwords.check(field("username"), field("password")).await?;
                Who::User(field("username").to_owned())
            }
            "refresh_token" => {
                let claims = self.signer.verify(field("refresh_token"), Use::Refresh);
                let claims = claims.filter(|claims| {
                    claims.password.is_some() && claims.password == self.passwords.fingerprint(&claims.sub)
                });
                Who::User(claims.ok_or_else(|| Failure::new(Code::Unauthorized))?.sub)
            }
            _ => {
                let failure =
                    Failure::says(Code::Unsupported, "grant_type is neither password nor refresh_token");
                return Err(failure.status(http::StatusCode::BAD_REQUEST));
            }
        };
        Ok(Caller { who, token: None })
    }

    fn answer(&self, auth: &Auth, caller: &Caller, query: &Query, offline: bool) -> Result {
        let scopes = query.all("scope").flat_map(|text| text.split(' ')).filter(|text| !text.is_empty());
        let access = scopes.take(SCOPES_MAX).filter_map(|scope| granted(auth, caller, scope)).collect();
        let life = self.config.token_life;
        let claims = Claims::new(caller.name(), Use::Access, access, life);
        let sign = |claims: &Claims| self.signer.sign(claims).map_err(|error| Failure::internal(&error));
        let token = sign(&claims)?;
        let issued = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut document = json!({ "token": token, "access_token": token, "expires_in": life.as_secs(), "issued_at": issued });
        if let (true, Who::User(name)) = (offline, &caller.who) {
            let mut claims = Claims::new(name, Use::Refresh, Vec::new(), REFRESH_LIFE);
            claims.password = self.passwords.fingerprint(name);
            document["refresh_token"] = sign(&claims)?.into();
        }
        Ok(with(answer::json(&document)?, header::CACHE_CONTROL, "no-store"))
    }
}

/// What of `repository:name:actions` the caller may do.
fn granted(auth: &Auth, caller: &Caller, scope: &str) -> Option<Access> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    if (kind, name) == ("registry", "catalog") {
        return Some(Access { kind: kind.to_owned(), name: name.to_owned(), actions: vec!["*".to_owned()] });
    }
    if kind != "repository" {
        return None;
    }
    let parsed: Name = name.parse().ok()?;
    let asked = |action: &Action| actions.split(',').any(|word| word == action.as_str() || word == "*");
    let allowed = Action::ALL.into_iter().filter(asked).filter(|action| auth.may(caller, *action, &parsed));
    let actions: Vec<String> = allowed.map(|action| action.as_str().to_owned()).collect();
    (!actions.is_empty()).then(|| Access { kind: kind.to_owned(), name: name.to_owned(), actions })
}
