//! The progress messages of pull, push, load and import: bars that move on a terminal, plain lines elsewhere.

use std::io::Write;

use api::{JsonMessage, Progress};
use client::JsonLines;

use crate::error::Error;
use crate::format::units::human_size;

/// Shows messages to their end; an error among them is the outcome. `aux` gets the machine-readable ones.
pub async fn show(
    mut messages: JsonLines<JsonMessage>,
    out: &mut (dyn Write + Send),
    terminal: bool,
    mut aux: impl FnMut(&serde_json::Value),
) -> Result<(), Error> {
    let mut display = Display::new(terminal, columns(terminal));
    while let Some(message) = messages.next().await {
        let message = message?;
        if let Some(error) = &message.error_detail {
            return Err(client::Error::Progress { code: error.code, message: error.message.clone() }.into());
        }
        if !message.error.is_empty() {
            return Err(Error::new(message.error));
        }
        if let Some(value) = &message.aux {
            aux(value);
            continue;
        }
        out.write_all(display.message(&message).as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn columns(terminal: bool) -> usize {
    let size = if terminal { crate::stream::terminal::size() } else { None };
    size.map_or(200, |(_, columns)| columns.into())
}

/// Keeps one line of the terminal for each part.
struct Display {
    terminal: bool,
    width: usize,
    lines: Vec<String>,
}

impl Display {
    fn new(terminal: bool, width: usize) -> Display {
        Display { terminal, width, lines: Vec::new() }
    }

    /// What to write for one message.
    fn message(&mut self, message: &JsonMessage) -> String {
        let mut out = String::new();
        let mut up = 0;
        if !message.id.is_empty() && (message.progress_detail.is_some() || !message.progress.is_empty()) {
            let line = match self.lines.iter().position(|id| *id == message.id) {
                Some(line) => line,
                None => {
                    self.lines.push(message.id.clone());
                    if self.terminal {
                        out.push('\n');
                    }
                    self.lines.len() - 1
                }
            };
            up = self.lines.len() - line;
            if self.terminal {
                out.push_str(&format!("\x1b[{up}A"));
            }
        } else {
            self.lines.clear();
        }
        self.line(message, &mut out);
        if !message.id.is_empty() && self.terminal && up > 0 {
            out.push_str(&format!("\x1b[{up}B"));
        }
        out
    }

    fn line(&self, message: &JsonMessage, out: &mut String) {
        let bar = message.progress_detail.as_ref().map(|progress| bar(progress, self.width));
        let moving = self.terminal && message.stream.is_empty() && bar.is_some();
        if moving {
            out.push_str("\x1b[2K\r");
        } else if bar.as_ref().is_some_and(|bar| !bar.is_empty()) {
            return;
        }
        if !message.id.is_empty() {
            out.push_str(&format!("{}: ", message.id));
        }
        match bar {
            Some(bar) if self.terminal => out.push_str(&format!("{} {bar}\r", message.status)),
            _ if !message.progress.is_empty() => {
                out.push_str(&format!("{} {}", message.status, message.progress))
            }
            _ if !message.stream.is_empty() => out.push_str(&message.stream),
            _ => out.push_str(&format!("{}\n", message.status)),
        }
    }
}

/// `[=====>          ]  1.2MB/5MB`.
fn bar(progress: &Progress, width: usize) -> String {
    if progress.current <= 0 && progress.total <= 0 {
        return String::new();
    }
    let size = |bytes: i64| match progress.units.as_str() {
        "" => human_size(bytes as f64),
        units => format!("{bytes} {units}"),
    };
    let current = size(progress.current);
    if progress.total <= 0 {
        return format!("{current:>8}");
    }
    let part = ((progress.current as f64 / progress.total as f64 * 100.0) as usize / 2).min(50);
    let mut out = String::new();
    if width > 110 {
        out.push_str(&format!("[{}>{}] ", "=".repeat(part), " ".repeat(50 - part)));
    }
    if !progress.hide_counts {
        out.push_str(&match progress.current > progress.total {
            true => format!("{current:>8}"),
            false => format!("{current:>8}/{}", size(progress.total)),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, status: &str, current: i64, total: i64) -> JsonMessage {
        JsonMessage::part(id, status, Progress { current, total, ..Progress::default() })
    }

    #[test]
    fn plain_lines_leave_out_moving_parts() {
        let mut display = Display::new(false, 200);
        let shown: String = [
            JsonMessage { id: "latest".into(), ..JsonMessage::status("Pulling from library/alpine") },
            part("abc", "Pulling fs layer", 0, 0),
            part("abc", "Downloading", 10, 100),
            part("abc", "Pull complete", 0, 0),
            JsonMessage::status("Digest: sha256:0"),
        ]
        .iter()
        .map(|message| display.message(message))
        .collect();
        assert_eq!(
            shown,
            "latest: Pulling from library/alpine\nabc: Pulling fs layer\nabc: Pull complete\nDigest: sha256:0\n"
        );
    }

    #[test]
    fn a_terminal_has_a_line_for_each_part() {
        let mut display = Display::new(true, 120);
        assert_eq!(display.message(&part("a", "Waiting", 0, 0)), "\n\x1b[1A\x1b[2K\ra: Waiting \r\x1b[1B");
        assert_eq!(display.message(&part("b", "Waiting", 0, 0)), "\n\x1b[1A\x1b[2K\rb: Waiting \r\x1b[1B");
        let bar = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            display.message(&part("a", "Downloading", 500, 1000)),
            format!("\x1b[2A\x1b[2K\ra: Downloading {bar}     500B/1kB\r\x1b[2B")
        );
    }
}
