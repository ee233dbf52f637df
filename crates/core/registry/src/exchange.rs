//! One request to a registry and its answer: which host is asked, authentication, redirects, retries.

use crate::client::{Notice, Patience};
use crate::credentials::Credentials;
use crate::error::{Cause, Error, Problem, RequestLine};
use crate::limits;
use crate::names::InternalName;
use crate::peer::{Authorization, Peer};
use crate::redirect;
use crate::retry::{Retry, Wait};
use crate::token::Wants;
use crate::transport::{Purpose, Transport};
use bytes::Bytes;
use oci::Reference;
use reqwest::header::{ACCEPT, HeaderMap, LOCATION, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;

const REDIRECTS: usize = 10;
/// Whoever waits longer than this is told so.
const UNTOLD: Duration = Duration::from_secs(2);
/// Bytes of an error's or token's document.
pub(crate) const ERROR_LIMIT: u64 = 256 << 10;

/// A conversation about one repository: with its registry, and with the registry's mirrors where there are such.
///
/// Addresses are those at the registry ([`Session::root`]): what is asked of a mirror is put there instead.
pub(crate) struct Session {
    transport: Arc<Transport>,
    domain: String,
    path: String,
    /// Whether it is to be written to. Then mirrors are not asked: what they have is not what the registry has.
    writes: bool,
    credentials: Option<Credentials>,
    wants: Mutex<Wants>,
    peers: OnceCell<Peers>,
    /// What went wrong with mirrors.
    tried: Mutex<Vec<String>>,
    /// Whether anybody has answered and was not out of order.
    heard: AtomicBool,
}

struct Peers {
    mirrors: Vec<Peer>,
    home: Peer,
}

/// The mirror that gave an answer, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(usize);

/// How a request said who we are.
#[derive(Clone)]
struct Used(Option<Authorization>);

/// A request that has no side effects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Get<'a> {
    pub accept: Option<&'a str>,
    /// First byte wanted.
    pub from: u64,
    /// The first byte that is not.
    pub until: Option<u64>,
    /// Only the headers are wanted.
    pub head: bool,
}

impl Session {
    /// About a repository; `actions` is `pull` or `pull,push`.
    pub(crate) fn new(
        transport: Arc<Transport>,
        reference: &Reference,
        actions: &str,
        credentials: Option<Credentials>,
    ) -> Session {
        let (domain, path) = (reference.domain.clone(), reference.path.clone());
        let wants = Wants::new(vec![format!("repository:{path}:{actions}")]);
        let writes = actions.contains("push");
        Session { path, writes, ..Session::with_registry(transport, domain, wants, credentials) }
    }

    /// About a registry as a whole.
    pub(crate) fn with_registry(
        transport: Arc<Transport>,
        domain: String,
        wants: Wants,
        credentials: Option<Credentials>,
    ) -> Session {
        Session {
            transport,
            domain,
            path: String::new(),
            writes: false,
            credentials,
            wants: Mutex::new(wants),
            peers: OnceCell::new(),
            tried: Mutex::default(),
            heard: AtomicBool::new(false),
        }
    }

    async fn peers(&self) -> Result<&Peers, Error> {
        let find = async || {
            let mut routes = self.transport.settings()?.routes(&self.domain, &self.path)?;
            let none = || Error::NoHost { name: format!("{}/{}", self.domain, self.path) };
            let at = match self.writes {
                true => routes.iter().rposition(|route| route.can.push).ok_or_else(none)?,
                false => routes.iter().rposition(|route| route.is_registry).ok_or_else(none)?,
            };
            let home = Peer::new(routes.remove(at), self.credentials.as_ref());
            let mirrors = if self.writes { Vec::new() } else { routes };
            Ok(Peers { mirrors: mirrors.into_iter().map(|route| Peer::new(route, None)).collect(), home })
        };
        self.peers.get_or_try_init(find).await
    }

    async fn home(&self) -> Result<&Peer, Error> {
        Ok(&self.peers().await?.home)
    }

    /// The root of the registry's API.
    pub(crate) async fn root(&self) -> Result<Url, Error> {
        Ok(self.home().await?.root(&self.transport).await?.clone())
    }

    /// How long is waited for hosts.
    pub(crate) fn patience(&self) -> Patience {
        self.transport.patience()
    }

    /// The repository's name at the registry's own place.
    pub(crate) async fn path(&self) -> Result<&str, Error> {
        Ok(&self.home().await?.route.path)
    }

    /// Lets the token be for one thing more, such as `repository:other:pull`.
    pub(crate) async fn also(&self, scope: String) -> Result<(), Error> {
        if self.lock_wants().add(scope) {
            let home = self.home().await?;
            home.widen(&self.transport, &self.wants_at(home)).await;
        }
        Ok(())
    }

    fn lock_wants(&self) -> std::sync::MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Succeeds when the registry accepts us. A token to come again with, if the token server gives such.
    pub(crate) async fn ping(&self) -> Result<Option<String>, Error> {
        let root = self.root().await?;
        let response = self.get(&root, &Get::default()).await?;
        let (status, shown) = (response.status(), asked(&response));
        let body = body(response, &shown, ERROR_LIMIT).await?;
        match status {
            status if status.is_success() => Ok(match self.current(self.home().await?).await? {
                Some(Authorization::Bearer(token)) => token.refresh,
                _ => None,
            }),
            StatusCode::UNAUTHORIZED => {
                let reason = reason(&body).unwrap_or("unauthorized: authentication required".into());
                Err(Error::Unauthorized { request: shown, reason })
            }
            status => Err(unexpected(&shown, status, &body)),
        }
    }

    /// Asks the mirrors that may be asked, and then the registry, again while that may help. The answer's status is the caller's
    /// to judge.
    pub(crate) async fn get(&self, url: &Url, get: &Get<'_>) -> Result<Response, Error> {
        let Peers { mirrors, home } = self.peers().await?;
        let root = home.root(&self.transport).await?;
        let base = format!("{}{}/", root.path(), home.route.path);
        let rest = url.path().strip_prefix(&base).filter(|_| redirect::same_origin(root, url));
        if let Some(rest) = rest {
            let able = |mirror: &Peer| !mirror.is_lost() && serves(mirror, rest);
            for (number, mirror) in mirrors.iter().enumerate().filter(|(_, mirror)| able(mirror)) {
                match self.ask_mirror(mirror, rest, url.query(), get).await {
                    Ok(mut response) => {
                        response.extensions_mut().insert(Source(number));
                        return Ok(response);
                    }
                    Err(problem) => self.lose(mirror, &problem),
                }
            }
            if !serves(home, rest) {
                return Err(Error::NoHost { name: format!("{}/{}", self.domain, self.path) });
            }
        }
        self.insist(home, url, get).await
    }

    /// The mirror is not asked again, and why is told if all fails. Others may have seen the same at the same time.
    fn lose(&self, mirror: &Peer, problem: &str) {
        if mirror.lose() {
            self.lock_tried().push(format!("{}: {problem}", mirror.route.shown()));
        }
    }

    /// What a mirror's answer came to when it was read is the mirror's fault: others are asked from now on. False if it was
    /// no mirror.
    pub(crate) fn blame(&self, source: Option<Source>, problem: &Error) -> bool {
        let mirror = source.and_then(|Source(number)| self.peers.get()?.mirrors.get(number));
        if let Some(mirror) = mirror {
            self.lose(mirror, &chain(problem));
        }
        mirror.is_some()
    }

    /// Whether there are mirrors, none of which is asked from now on.
    pub(crate) fn give_up_mirrors(&self, problem: &str) -> bool {
        let mirrors = self.peers.get().map_or(&[][..], |peers| &peers.mirrors);
        let asked: Vec<&Peer> = mirrors.iter().filter(|mirror| !mirror.is_lost()).collect();
        for mirror in &asked {
            self.lose(mirror, problem);
        }
        !asked.is_empty()
    }

    fn lock_tried(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error together with what went wrong with mirrors before.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let tried = self.lock_tried().clone();
        match tried.is_empty() {
            true => error,
            false => Error::Mirrors { tried, source: Box::new(error) },
        }
    }

    /// Asks a mirror once: there are others.
    async fn ask_mirror(
        &self,
        mirror: &Peer,
        rest: &str,
        query: Option<&str>,
        get: &Get<'_>,
    ) -> Result<Response, String> {
        let told = |error: Error| chain(&error);
        let mut url = mirror.root(&self.transport).await.map_err(told)?.clone();
        url.set_path(&format!("{}{}/{rest}", url.path(), mirror.route.path));
        url.set_query(query);
        if let Some(namespace) = &mirror.route.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        let response = self.get_once(mirror, &url, get).await.map_err(told)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let shown = asked(&response);
        let why = body(response, &shown, ERROR_LIMIT).await.ok().and_then(|body| reason(&body));
        Err(why.map_or_else(|| status.to_string(), |why| format!("{status}: {why}")))
    }

    /// Makes the request again while that may help.
    async fn insist(&self, peer: &Peer, url: &Url, get: &Get<'_>) -> Result<Response, Error> {
        let mut retry = Retry::new(self.patience());
        loop {
            let outcome = self.get_once(peer, url, get).await;
            if let Some(response) = self.settled(&mut retry, url, outcome).await? {
                return Ok(response);
            }
        }
    }

    /// What came of a request; none where it may be made again, after the wait for that.
    pub(crate) async fn settled(
        &self,
        retry: &mut Retry,
        url: &Url,
        outcome: Result<Response, Error>,
    ) -> Result<Option<Response>, Error> {
        let wait = match outcome {
            Ok(response) => match retry.after(&response, self.is_heard()) {
                Some(wait) => wait,
                None if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                    return Err(limited(response).await);
                }
                None => return Ok(Some(response)),
            },
            // Who did not answer for so long will not answer now.
            Err(error @ Error::Transport { .. }) if !error.is_timeout() => {
                match retry.after_error(&error, self.is_heard()) {
                    Some(wait) => wait,
                    None => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        self.wait(url, wait).await;
        Ok(None)
    }

    /// Waits for the host of an address; a wait of some length is told.
    pub(crate) async fn wait(&self, url: &Url, Wait { time, why }: Wait) {
        if time >= UNTOLD {
            let (seconds, host) = (limits::period(time.as_secs()), redirect::origin_text(url));
            self.transport.tell(Notice(format!("Waiting {seconds} for {host}: {why}")));
        }
        tokio::time::sleep(time).await;
    }

    fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn hear(&self, response: &Response) {
        if !response.status().is_server_error() {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    /// Answers one challenge and follows redirects.
    async fn get_once(&self, peer: &Peer, url: &Url, get: &Get<'_>) -> Result<Response, Error> {
        let home = peer.root(&self.transport).await?;
        let mut current = url.clone();
        let mut answered = false;
        for _ in 0..=REDIRECTS {
            let at_home = redirect::same_origin(home, &current);
            let used = if at_home { self.current(peer).await? } else { None };
            let response = self.send(peer, &current, get, used.as_ref()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && at_home && !answered {
                answered = true;
                if !self.answer(peer, &response, used).await? {
                    return Ok(response);
                }
                continue;
            }
            if !is_redirect(status) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            current = redirect::target(&current, location)
                .map_err(|problem| Error::Protocol { request: shown(url), problem })?;
        }
        let problem = Problem::TooManyRedirects(REDIRECTS);
        Err(Error::Protocol { request: shown(url), problem })
    }

    async fn send(
        &self,
        peer: &Peer,
        url: &Url,
        get: &Get<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Error> {
        let home = peer.root(&self.transport).await?;
        let method = if get.head { Method::HEAD } else { Method::GET };
        let client = self.transport.towards(home, &peer.route, url, Purpose::Fetch)?;
        let mut builder = client.request(method.clone(), url.clone());
        if let Some(accept) = get.accept {
            builder = builder.header(ACCEPT, accept);
        }
        builder = match get.until {
            Some(until) => builder.header(RANGE, format!("bytes={}-{}", get.from, until - 1)),
            None if get.from > 0 => builder.header(RANGE, format!("bytes={}-", get.from)),
            None => builder,
        };
        if !url.path().contains("/blobs/") && redirect::same_origin(home, url) {
            builder = builder.timeout(self.transport.patience().document);
        }
        if redirect::same_origin(home, url) {
            builder = builder.headers(peer.route.headers.clone());
        }
        let builder = peer.authorize(builder, authorization);
        let response = answer(method, url, builder).await?;
        self.hear(&response);
        Ok(response)
    }

    /// One request with whatever body; credentials go to the registry alone. No challenge is answered, for a body comes once.
    pub(crate) async fn stream(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Response, Error> {
        let peer = self.home().await?;
        let home = peer.root(&self.transport).await?;
        let client = self.transport.towards(home, &peer.route, url, Purpose::Send)?;
        let mut builder = client.request(method.clone(), url.clone()).headers(headers).body(body);
        let mut used = None;
        if redirect::same_origin(home, url) {
            used = self.current(peer).await?;
            builder = builder.headers(peer.route.headers.clone());
            builder = peer.authorize(builder, used.as_ref());
        }
        let mut response = answer(method, url, builder).await?;
        self.hear(&response);
        // Others may have found out meanwhile how to be let in: what counts is what this request said.
        response.extensions_mut().insert(Used(used));
        Ok(response)
    }

    /// Finds out how to be let in after a refusal; false when there is nothing that was not tried.
    pub(crate) async fn answered(&self, url: &Url, response: &Response) -> Result<bool, Error> {
        let peer = self.home().await?;
        if !redirect::same_origin(peer.root(&self.transport).await?, url) {
            return Ok(false);
        }
        let used = response.extensions().get::<Used>().and_then(|used| used.0.clone());
        self.answer(peer, response, used).await
    }

    async fn answer(
        &self,
        peer: &Peer,
        response: &Response,
        used: Option<Authorization>,
    ) -> Result<bool, Error> {
        peer.answer(&self.transport, response, used, &self.wants_at(peer)).await
    }

    async fn current(&self, peer: &Peer) -> Result<Option<Authorization>, Error> {
        peer.current(&self.transport, &self.wants_at(peer)).await
    }

    fn wants_at(&self, peer: &Peer) -> Wants {
        self.lock_wants().renamed(&self.path, &peer.route.path)
    }
}

/// Which mirror gave the answer; none if it was the registry.
pub(crate) fn source(response: &Response) -> Option<Source> {
    response.extensions().get::<Source>().copied()
}

/// An error with all its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Whether a host may be asked for this part of a repository.
fn serves(peer: &Peer, rest: &str) -> bool {
    let can = peer.route.can;
    match rest.split_once('/') {
        Some(("manifests", name)) if !name.contains(':') => can.resolve,
        Some(("manifests", _)) => can.pull,
        Some(("blobs", _)) => can.pull || can.resolve,
        // Lists are the registry's own: what a mirror keeps is less.
        _ => peer.route.is_registry,
    }
}

/// What a registry means that has had enough of us.
pub(crate) async fn limited(response: Response) -> Error {
    let limit = limits::told(response.headers());
    let wait = limits::asked(response.headers(), SystemTime::now());
    let shown = asked(&response);
    let body = body(response, &shown, ERROR_LIMIT).await.unwrap_or_default();
    match unexpected(&shown, StatusCode::TOO_MANY_REQUESTS, &body) {
        Error::RateLimited { reason, .. } => Error::RateLimited { reason, limit, wait },
        other => other,
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Sends a request that was made for this method and address; the answer knows what it is to ([`asked`]).
pub(crate) async fn answer(method: Method, url: &Url, request: RequestBuilder) -> Result<Response, Error> {
    let mut response = request.send().await.map_err(|error| unanswered(&method, url, error))?;
    response.extensions_mut().insert(method);
    Ok(response)
}

/// A request that got no answer, with the reasons that have a remedy told apart.
fn unanswered(method: &Method, url: &Url, error: reqwest::Error) -> Error {
    let (shown, host) = (shown(url).by(method), redirect::authority(url));
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(InternalName(name)) = found.downcast_ref() {
            return Error::Protocol { request: shown, problem: Problem::InternalTarget(name.clone()) };
        }
        let mut found = found;
        // The library's own errors are inside of those of the system, which do not count them as their cause.
        while let Some(inside) = found.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            found = inside;
        }
        if let Some(error) = found.downcast_ref::<rustls::Error>() {
            if let Some(problem) = crate::tls::problem(error, &host) {
                return Error::Certificate { request: shown, host, problem };
            }
            if matches!(error, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) {
                return Error::PlainHttp { request: shown, host };
            }
        }
        cause = found.source();
    }
    Error::Transport { request: shown, source: Cause::new(error) }
}

/// What an answer is to.
pub(crate) fn asked(response: &Response) -> RequestLine {
    let shown = shown(response.url());
    match response.extensions().get::<Method>() {
        Some(method) => shown.by(method),
        None => shown,
    }
}

/// Asking for this address, without its query, in which object stores have signatures, and without its password.
pub(crate) fn shown(url: &Url) -> RequestLine {
    let mut url = url.clone();
    url.set_query(None);
    if url.password().is_some() {
        // It fails for addresses that can't have one.
        let _ = url.set_password(Some("xxxxx"));
    }
    RequestLine::get(url)
}

/// The whole body, which must not be longer than `limit`.
pub(crate) async fn body(mut response: Response, shown: &RequestLine, limit: u64) -> Result<Bytes, Error> {
    let too_long = || Error::Protocol { request: shown.clone(), problem: Problem::TooLong(limit) };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let broken =
        |source: reqwest::Error| Error::Transport { request: shown.clone(), source: Cause::new(source) };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The registry's error document.
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
    /// Token servers say it in their own way.
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The registry's reason as Docker shows it, e.g. `manifest unknown: manifest unknown`.
pub(crate) fn reason(body: &[u8]) -> Option<String> {
    let document: Errors = serde_json::from_slice(body).ok()?;
    let Some(first) = document.errors.first() else {
        return Some(printable(&document.details)).filter(|details| !details.is_empty());
    };
    let code = printable(&first.code).to_lowercase().replace('_', " ");
    let message = printable(&first.message);
    Some(if message.is_empty() { code } else { format!("{code}: {message}") })
}

/// The code of the registry's first error.
pub(crate) fn code(body: &[u8]) -> Option<String> {
    let document: Errors = serde_json::from_slice(body).ok()?;
    document.errors.into_iter().next().map(|first| first.code)
}

/// Text of a stranger's for a terminal: one line, no control characters, not endless.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(500).collect()
}

/// An answer that nothing was known to do with.
pub(crate) fn unexpected(shown: &RequestLine, status: StatusCode, body: &[u8]) -> Error {
    let reason = reason(body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let reason = reason.unwrap_or("toomanyrequests: too many requests".into());
        return Error::RateLimited { reason, limit: None, wait: None };
    }
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Error::Status { request: shown.clone(), status: status.to_string(), reason }
}

/// A header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The address in `<…>; rel="next"` (RFC 8288).
pub(crate) fn next_page(link: &str) -> Option<String> {
    let (address, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    relation.contains("next").then(|| address.to_owned())
}
