//! Messages, in the forms that engines read: the last line of level `error` in a JSON log is what they tell their users.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::ValueEnum;

use super::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Where messages go: a file, or standard error.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

impl Log {
    pub fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Log, Failure> {
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|error| Failure::of(&format!("open log file {}", path.display()), &error))
        };
        Ok(Log { file: path.map(open).transpose()?, format, debug })
    }

    /// Also on standard error when that isn't the log.
    pub fn error(&self, text: &str) {
        self.note("error", text);
        if self.file.is_some() {
            // Nobody is left to be told.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    pub fn warning(&self, text: &str) {
        self.note("warning", text);
    }

    /// Not even written down unless it was asked for.
    pub fn debug(&self, text: std::fmt::Arguments<'_>) {
        if self.debug {
            self.note("debug", &text.to_string());
        }
    }

    /// One write a line, as others append to the same file.
    pub fn note(&self, level: &str, text: &str) {
        // What can't be logged must not stop what it is about.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line(self.format, level, text).as_bytes()),
            None if self.format == Format::Text && std::io::stderr().is_terminal() => {
                std::io::stderr().write_all(format!("{level}: {text}\n").as_bytes())
            }
            None => std::io::stderr().write_all(line(self.format, level, text).as_bytes()),
        };
    }
}

fn line(format: Format, level: &str, text: &str) -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
        Format::Json => {
            format!("{}\n", serde_json::json!({ "level": level, "msg": text, "time": time.to_string() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_find_the_message() {
        let line: serde_json::Value =
            serde_json::from_str(&line(Format::Json, "error", "a \"b\"\nc")).unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&"error".into(), &"a \"b\"\nc".into()));
        assert!(
            self::line(Format::Text, "warning", "a \"b\"")
                .ends_with("Z\" level=warning msg=\"a \\\"b\\\"\"\n")
        );
    }
}
