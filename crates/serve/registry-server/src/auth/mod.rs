//! Who asks, and what they may do.
//!
//! Users are lines of an `htpasswd` file; what they may do are lines of an access file. Both are read again when they change.
//! A client says who it is by name and password (RFC 7617), or with a token of our own token server (Docker's registry token
//! authentication, `token`), which grants no more than the two files do at the moment it is used.

pub(crate) mod endpoint;
mod passwords;
mod rules;
mod token;
mod watched;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};

use crate::answer::Result;
use crate::error::{Code, Failure};
use crate::name::Name;
use crate::route::Target;
use passwords::Passwords;
use rules::Rules;
use token::{Claims, Signer, Use};

/// How clients are told to say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Name and password with each request.
    Basic,
    /// A token for some minutes.
    Token,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names and bcrypt hashes of passwords, as `htpasswd -B` writes them.
    pub htpasswd: PathBuf,
    /// Who may do what where; without, every user may do everything.
    pub access: Option<PathBuf>,
    /// Everybody may pull.
    pub anonymous_pull: bool,
    pub scheme: Scheme,
    /// Where clients reach the registry, `https://registry.example.com`; by default where they reached it.
    pub url: Option<String>,
    /// How long a token is good.
    pub token_life: Duration,
}

/// Files that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}, line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("the key in {} is none of Ed25519", path.display())]
    Key { path: PathBuf },
}

/// A user who can't be one.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUser {
    #[error("{0:?} can't be a user's name")]
    Name(String),
    #[error("hash the password")]
    Password(#[source] bcrypt::BcryptError),
}

/// The line of an `htpasswd` file for a user.
pub fn user(name: &str, password: &str) -> Result<String, InvalidUser> {
    if name.is_empty()
        || name.contains([':', '#'])
        || name.contains(char::is_control)
        || rules::is_reserved(name)
    {
        return Err(InvalidUser::Name(name.to_owned()));
    }
    // Not a part of it alone: bcrypt takes 72 bytes.
    let hash = bcrypt::non_truncating_hash(password, bcrypt::DEFAULT_COST).map_err(InvalidUser::Password)?;
    Ok(format!("{name}:{hash}"))
}

/// What can be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub(crate) const ALL: [Action; 3] = [Action::Pull, Action::Push, Action::Delete];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Nobody needs to say.
    Everybody,
    Anonymous,
    User(String),
}

/// Who asks, and what the token that they came with is for.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    token: Option<Claims>,
}

impl Caller {
    /// The user's name; nobody in particular has none.
    pub(crate) fn name(&self) -> &str {
        match &self.who {
            Who::User(name) => name,
            Who::Everybody | Who::Anonymous => "",
        }
    }
}

/// Decides over all that.
pub(crate) struct Auth(Option<Doors>);

struct Doors {
    config: Config,
    passwords: Passwords,
    rules: Rules,
    signer: Signer,
}

impl Auth {
    /// Reads the files. The key of tokens is made at the first start, below `root`.
    pub(crate) fn open(config: Option<Config>, root: &Path) -> Result<Auth, Error> {
        let Some(config) = config else { return Ok(Auth(None)) };
        let passwords = Passwords::open(&config.htpasswd)?;
        let rules = Rules::open(config.access.as_deref(), config.anonymous_pull)?;
        let signer = Signer::open(&root.join("token.key"))?;
        Ok(Auth(Some(Doors { config, passwords, rules, signer })))
    }

    /// Who sends this request. Credentials that are wrong are a refusal, also where none are needed.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller> {
        let Some(doors) = &self.0 else { return Ok(Caller { who: Who::Everybody, token: None }) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Caller { who: Who::Anonymous, token: None }),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Err(Failure::new(Code::Unauthorized)),
        };
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let who = doors.basic(rest.trim()).await?;
            return Ok(Caller { who, token: None });
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return doors.bearer(rest.trim());
        }
        Err(Failure::new(Code::Unauthorized))
    }

    /// Whether the caller may do this.
    pub(crate) fn may(&self, caller: &Caller, action: Action, name: &Name) -> bool {
        let Some(doors) = &self.0 else { return true };
        let granted = caller.token.as_ref().is_none_or(|token| token.grants(action, name));
        granted && doors.rules.allow(&caller.who, action, name)
    }

    /// Whether the caller may see this in a list: what may be pulled.
    pub(crate) fn may_see(&self, caller: &Caller, name: &Name) -> bool {
        let Some(doors) = &self.0 else { return true };
        doors.rules.allow(&caller.who, Action::Pull, name)
    }

    /// Refuses what the caller may not do; says how to be let in when that may help.
    pub(crate) fn check(
        &self,
        caller: &Caller,
        method: &Method,
        target: &Target,
        headers: &HeaderMap,
        tls: bool,
    ) -> Result<()> {
        let Some(doors) = &self.0 else { return Ok(()) };
        let wanted = wanted(method, target);
        let allowed = match (&wanted, target) {
            (Wanted::Nothing, _) => true,
            (Wanted::Somebody, _) => matches!(caller.who, Who::User(_)) || caller.token.is_some(),
            (Wanted::Catalog, _) => {
                let token = caller.token.as_ref();
                token.is_none_or(Claims::grants_catalog)
                    && (doors.rules.has_public() || caller.who != Who::Anonymous)
            }
            (Wanted::Actions(name, actions), _) => {
                actions.iter().all(|action| self.may(caller, *action, name))
            }
        };
        if allowed {
            return Ok(());
        }
        // Who is known, and could have no better token, will not be let in.
        let better = caller.token.is_some()
            && match wanted {
                Wanted::Actions(name, actions) => {
                    actions.iter().all(|action| doors.rules.allow(&caller.who, *action, name))
                }
                Wanted::Catalog | Wanted::Somebody | Wanted::Nothing => true,
            };
        if matches!(caller.who, Who::User(_)) && !better {
            return Err(Failure::new(Code::Denied));
        }
        Err(self.challenge(Failure::new(Code::Unauthorized), method, target, headers, tls))
    }

    /// The refusal, with how to be let in.
    pub(crate) fn challenge(
        &self,
        failure: Failure,
        method: &Method,
        target: &Target,
        headers: &HeaderMap,
        tls: bool,
    ) -> Failure {
        let Some(doors) = &self.0 else { return failure };
        let page =
            matches!(target, Target::Front | Target::Repository(_) | Target::Image(..) | Target::Token);
        if page || doors.config.scheme == Scheme::Basic {
            return failure.header(header::WWW_AUTHENTICATE, "Basic realm=\"registry\", charset=\"UTF-8\"");
        }
        let scope = match wanted(method, target) {
            Wanted::Actions(name, actions) => {
                let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
                format!(",scope=\"repository:{name}:{}\"", actions.join(","))
            }
            Wanted::Catalog => ",scope=\"registry:catalog:*\"".to_owned(),
            Wanted::Somebody | Wanted::Nothing => String::new(),
        };
        let realm = format!("{}/token", doors.place(headers, tls));
        let service = token::SERVICE;
        failure.header(
            header::WWW_AUTHENTICATE,
            &format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}"),
        )
    }
}

/// What a request needs.
enum Wanted<'t> {
    Nothing,
    /// To be known.
    Somebody,
    Catalog,
    Actions(&'t Name, &'static [Action]),
}

fn wanted<'t>(method: &Method, target: &'t Target) -> Wanted<'t> {
    match target {
        Target::Token => Wanted::Nothing,
        Target::Base => Wanted::Somebody,
        Target::Catalog | Target::Front => Wanted::Catalog,
        Target::Uploads(name) | Target::Upload(name, _) => {
            Wanted::Actions(name, &[Action::Pull, Action::Push])
        }
        Target::Blob(name, _)
        | Target::Manifest(name, _)
        | Target::Tags(name)
        | Target::Referrers(name, _)
        | Target::Repository(name)
        | Target::Image(name, _) => match *method {
            Method::GET | Method::HEAD => Wanted::Actions(name, &[Action::Pull]),
            Method::DELETE => Wanted::Actions(name, &[Action::Delete]),
            _ => Wanted::Actions(name, &[Action::Pull, Action::Push]),
        },
    }
}

impl Doors {
    async fn basic(&self, text: &str) -> Result<Who> {
        let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(Failure::new(Code::Unauthorized));
        };
        // How some clients say that they have none.
        if name.is_empty() && password.is_empty() {
            return Ok(Who::Anonymous);
        }
        self.passwords.check(name, password).await?;
        Ok(Who::User(name.to_owned()))
    }

    fn bearer(&self, text: &str) -> Result<Caller> {
        let claims = self.signer.verify(text, Use::Access).ok_or_else(|| Failure::new(Code::Unauthorized))?;
        let who = match claims.sub.as_str() {
            "" => Who::Anonymous,
            // Who was removed has no tokens any more.
            name if self.passwords.knows(name) => Who::User(name.to_owned()),
            _ => return Err(Failure::new(Code::Unauthorized)),
        };
        Ok(Caller { who, token: Some(claims) })
    }

    /// Where the client reaches us.
    fn place(&self, headers: &HeaderMap, tls: bool) -> String {
        if let Some(url) = &self.config.url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}", if plain { host } else { "localhost" })
    }
}
