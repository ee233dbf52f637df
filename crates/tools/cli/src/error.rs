//! What a command says when it fails, and with which exit code.

use std::fmt;

/// A failed command: one text for the user and the process's exit code. The text is complete; it is written to
/// stderr as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Empty when there is nothing left to say, such as after a container's own exit code.
    pub message: String,
    pub code: u8,
    /// The object does not exist: some callers try another kind of object, or pull.
    pub not_found: bool,
}

impl Error {
    pub fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), code: 1, not_found: false }
    }

    pub fn with_code(message: impl Into<String>, code: u8) -> Error {
        Error { message: message.into(), code, not_found: false }
    }

    /// The error itself: without what stands above it, an excerpt of a file, and hints below.
    pub fn last_line(self) -> Error {
        let line = self.message.lines().find(|line| line.starts_with("ERROR: ")).map(str::to_owned);
        Error { message: line.unwrap_or(self.message), ..self }
    }

    /// Ends the process with `code` and without a word.
    pub fn silent(code: u8) -> Error {
        Error::with_code("", code)
    }

    pub fn template(error: template::Error) -> Error {
        Error::new(format!("template parsing error: {error}"))
    }

    /// An operation on a local file.
    pub fn file(verb: &str, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Error {
        Error::new(format!("{verb} {}: {}", path.as_ref().display(), plain_io(error)))
    }
}

/// An I/O error in the words of the C library, as Go prints it: lower case, without the number.
pub fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Error {
        Error::new(message)
    }
}

impl From<std::io::Error> for Error {
    /// Output that nobody reads any more is no news: the exit code says it as a shell would.
    fn from(error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Error::silent(141),
            _ => Error::new(plain_io(&error)),
        }
    }
}

/// Joins what several objects had to say; `None` when all went well.
pub fn joined(errors: Vec<Error>) -> Option<Error> {
    let code = errors.first()?.code;
    let lines: Vec<String> = errors.into_iter().map(|error| error.message).collect();
    Some(Error::with_code(lines.join("\n"), code))
}
