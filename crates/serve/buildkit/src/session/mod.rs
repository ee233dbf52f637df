//! A client's session: services of the client that this server calls.

mod agents;
mod content;
mod credentials;
pub(crate) mod files;
mod folder;
mod life;
mod mode;
mod outputs;
pub(crate) mod packet;
mod policy;
mod secrets;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::{Status, Streaming};

use crate::host::Peer;
use crate::line::Line;

pub use agents::Agents;
pub use files::Wanted;
pub use folder::{Folder, Part};
pub use life::Life;
pub use upload::{ADDRESS as UPLOAD, CONTENT as UPLOADED};

/// How long a client may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take between two messages of files and blobs, which it has to read or to write meanwhile.
const STALL: Duration = Duration::from_secs(5 * 60);

/// An open session; clones are the same one.
#[derive(Clone)]
pub struct Session(Arc<Open>);

struct Open {
    line: Line,
    client: About,
}

/// What is known of a client when it opens a session.
pub struct About {
    /// The methods that it serves, in lower case.
    pub methods: Vec<String>,
    /// By which it tells its contexts apart; empty if it does not.
    pub shared_key: String,
    pub peer: Peer,
}

impl Session {
    pub fn new(line: Line, client: About) -> Session {
        Session(Arc::new(Open { line, client }))
    }

    /// What a context is called that the client finds again the next time, and nobody else does. None if it tells none from another:
    /// what lies in one would be taken for what lies in the other.
    pub fn context_key(&self) -> Option<String> {
        let About { shared_key, peer, .. } = &self.0.client;
        (!shared_key.is_empty()).then(|| format!("{:?}\0{shared_key}", peer.uid))
    }

    /// What the client calls its context: `name:node`, or nothing.
    pub fn context_name(&self) -> &str {
        self.0.client.shared_key.split(':').next().unwrap_or_default()
    }

    fn line(&self) -> Line {
        self.0.line.clone()
    }

    /// Whether the client serves a method, such as `/moby.filesync.v1.FileSync/DiffCopy`.
    fn serves(&self, method: &str) -> bool {
        self.0.client.methods.iter().any(|known| known.eq_ignore_ascii_case(method))
    }

    /// An error that names the method if the client does not serve it.
    fn needs(&self, method: &str) -> Result<(), Status> {
        match self.serves(method) {
            true => Ok(()),
            false => Err(Status::unimplemented(format!("method {method} not supported by the client"))),
        }
    }
}

/// The answer of a client that must come soon.
async fn soon<T>(what: &str, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    within(PATIENCE, what, answer).await?
}

/// The next message of a client.
async fn next<T>(what: &str, messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    within(STALL, what, messages.message()).await?
}

async fn within<T>(time: Duration, what: &str, answer: impl Future<Output = T>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("the client did not say in time: {what}"));
    tokio::time::timeout(time, answer).await.map_err(late)
}

/// Adds the values of an option to what goes before a call. Where one is not plain ASCII, all are escaped, and a
/// second option says so.
fn append(metadata: &mut MetadataMap, key: &'static str, values: &[String]) {
    let plain = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let escaped = !values.iter().all(|value| plain(value));
    for value in values {
        let text = if escaped { escape(value) } else { value.clone() };
        // Plain or escaped, it is fit for a header.
        if let Ok(value) = AsciiMetadataValue::try_from(text) {
            metadata.append(key, value);
        }
    }
    if escaped && let Ok(key) = AsciiMetadataKey::from_bytes(format!("{key}-encoded").as_bytes()) {
        metadata.insert(key, AsciiMetadataValue::from_static("1"));
    }
}

/// As in the query of a URL.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_escaped_as_a_whole_or_not_at_all() {
        let appended = |values: &[&str]| {
            let mut metadata = MetadataMap::new();
            append(
                &mut metadata,
                "exclude-patterns",
                &values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>(),
            );
            let all: Vec<_> =
                metadata.get_all("exclude-patterns").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
            (all, metadata.contains_key("exclude-patterns-encoded"))
        };
        assert_eq!(appended(&["*.log", "!a b"]), (vec!["*.log".to_owned(), "!a b".to_owned()], false));
        assert_eq!(appended(&["a b", "ü/*"]), (vec!["a+b".to_owned(), "%C3%BC%2F%2A".to_owned()], true));
    }
}
