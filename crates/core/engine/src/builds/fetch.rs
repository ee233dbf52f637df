//! Files of web servers for builds: `ADD` of URLs, contexts that are URLs.

use std::io::Read;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use builder::{BoxError, CancelToken, Fetch, FetchRequest, Fetched, Secrets};
use bytes::Bytes;
use registry::{Client, Download, Wish};
use tokio::runtime::Handle;

use super::build::cancelled;
use crate::Engine;

/// Secrets that open web servers: the name of the host stands behind. The first is a whole header, the other a token.
const SECRETS: [(&str, &str); 2] = [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")];

/// Fetches from this machine's network.
pub(super) fn fetcher(engine: &Engine, cancel: &CancelToken, secrets: Option<Secrets>) -> Fetch {
    let (client, runtime, cancel) = (engine.registries(&[]), Handle::current(), cancel.clone());
    Arc::new(move |request| {
        let authorization = authorization(request, secrets.as_ref())?;
        fetch(&client, &runtime, &cancel, request, authorization.as_deref())
    })
}

/// What opens the server: the secret that the request names, which must be there then, or one of its host.
fn authorization(request: &FetchRequest<'_>, secrets: Option<&Secrets>) -> Result<Option<String>, BoxError> {
    let Some(id) = &request.asking.secret else {
        return secrets.map_or(Ok(None), |secrets| of_host(request.url, secrets));
    };
    let secret = secrets.map_or(Ok(None), |secrets| secrets(id))?;
    let secret = secret.ok_or_else(|| format!("secret {id}: not found"))?;
    header(secret).map(Some).ok_or_else(|| not_a_header(id))
}

fn not_a_header(id: &str) -> BoxError {
    format!("secret {id} is no value of a header").into()
}

/// The text of a secret, if it can be a header's value.
fn header(secret: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(secret).ok()?;
    let text = text.trim_end();
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| text.to_owned())
}

/// What opens the server of an address; of two secrets the token counts, as with BuildKit.
fn of_host(url: &str, secrets: &Secrets) -> Result<Option<String>, BoxError> {
    let Some(host) = host(url) else { return Ok(None) };
    let found = SECRETS.iter().rev().find_map(|(name, scheme)| {
        let id = format!("{name}{host}");
        // A client that has none of that name says so in its own way.
        let secret = secrets(&id).ok().flatten()?;
        Some(header(secret).map(|text| format!("{scheme}{text}")).ok_or(id))
    });
    found.transpose().map_err(|id| not_a_header(&id))
}

/// The host of an address, without its port.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    match place.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => place.split(':').next(),
    }
}

fn fetch(
    client: &Client,
    runtime: &Handle,
    cancel: &CancelToken,
    request: &FetchRequest<'_>,
    authorization: Option<&str>,
) -> Result<Fetched, BoxError> {
    let FetchRequest { url, asking, etag, last_modified } = *request;
    let (accept, agent) = (asking.accept.as_deref(), asking.agent.as_deref());
    let wish = Wish { etag, last_modified, authorization, accept, agent };
    let download = runtime.block_on(async {
        tokio::select! {
            download = client.download(url, wish) => Ok(download?),
            () = cancelled(|| cancel.is_cancelled()) => Err(BoxError::from("build canceled")),
        }
    })?;
    let text = |value: Option<&str>| value.map(str::to_owned);
    let last_modified = text(download.last_modified());
    let modified = last_modified.as_deref().and_then(seconds);
    let (unchanged, file_name, etag) = (download.unchanged(), download.file_name(), text(download.etag()));
    let is_gzipped = download.is_gzipped() && !unchanged;
    let (runtime, cancel) = (runtime.clone(), cancel.clone());
    let body = Body { download, runtime, cancel, chunk: Bytes::new() };
    // Nobody has asked for that, but there are servers that do it; Docker takes it off again.
    let body: Box<dyn Read + Send> = match is_gzipped {
        true => Box::new(archive::decompress(body)?),
        false => Box::new(body),
    };
    Ok(Fetched { unchanged, file_name, modified, etag, last_modified, body })
}

/// A date of HTTP (RFC 9110, 5.6.7: three forms that all must be read) in seconds since 1970. Servers call the zone what they
/// like.
fn seconds(date: &str) -> Option<i64> {
    let strict = httpdate::parse_http_date(&date.replace("UTC", "GMT")).ok();
    let mail = || jiff::fmt::rfc2822::parse(date).ok().map(|date| date.timestamp().as_second());
    strict.and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64)).or_else(mail)
}

/// A download as a stream of the threads of a build.
struct Body {
    download: Download,
    runtime: Handle,
    cancel: CancelToken,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            let next = self.runtime.block_on(async {
                tokio::select! {
                    chunk = self.download.chunk() => chunk.map_err(std::io::Error::other),
                    () = cancelled(|| self.cancel.is_cancelled()) => Err(std::io::Error::other("build canceled")),
                }
            });
            match next? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use builder::graph::Asking;

    #[test]
    fn dates_of_servers() {
        for date in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 UTC",
            "Wed Oct 21 07:28:00 2015",
            "Wed, 21 Oct 2015 09:28:00 +0200",
        ] {
            assert_eq!(seconds(date), Some(1_445_412_480), "{date}");
        }
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn secrets_of_hosts() {
        let secrets: Secrets = Arc::new(|id| match id {
            "HTTP_AUTH_HEADER_a.example" => Ok(Some(b"Basic x\n".to_vec())),
            "HTTP_AUTH_TOKEN_::1" => Ok(Some(b"t".to_vec())),
            "HTTP_AUTH_TOKEN_both" | "HTTP_AUTH_HEADER_both" => Ok(Some(b"b".to_vec())),
            "HTTP_AUTH_TOKEN_lines" => Ok(Some(b"a\nb".to_vec())),
            _ => Err("no such secret".into()),
        });
        assert!(of_host("http://lines/", &secrets).is_err());
        let of = |url| of_host(url, &secrets).unwrap();
        assert_eq!(of("https://a.example:8443/f?x#y").as_deref(), Some("Basic x"));
        assert_eq!(of("http://me@[::1]:80/f").as_deref(), Some("Bearer t"));
        assert_eq!(of("http://both/").as_deref(), Some("Bearer b"));
        assert_eq!(of("http://b.example/a.example"), None);
        assert_eq!(of("http://b.example/@a.example"), None);
    }

    #[test]
    fn a_secret_that_is_named_must_be_there() {
        let secrets: Secrets = Arc::new(|id| match id {
            "mine" => Ok(Some(b"Bearer x".to_vec())),
            "HTTP_AUTH_TOKEN_h" => Ok(Some(b"other".to_vec())),
            _ => Ok(None),
        });
        let of = |id: &str, secrets| {
            let asking = Asking { secret: Some(id.to_owned()), ..Asking::PLAIN };
            let request =
                FetchRequest { url: "http://h/f", asking: &asking, etag: None, last_modified: None };
            authorization(&request, secrets).map_err(|error| error.to_string())
        };
        assert_eq!(of("mine", Some(&secrets)).unwrap().as_deref(), Some("Bearer x"));
        assert_eq!(of("theirs", Some(&secrets)).unwrap_err(), "secret theirs: not found");
        assert!(of("mine", None).is_err(), "nobody has any");
    }
}
