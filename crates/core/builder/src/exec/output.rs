//! Output of a process: to events as it comes, and the end of it for the error.

/// Bytes of output that an error repeats at most.
const TAIL: usize = 16 << 10;
/// Lines of output that an error repeats at most.
const TAIL_LINES: usize = 40;

/// Turns bytes of one stream into text without cutting characters.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// The text of these bytes; an incomplete character at the end waits for the next call.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let keep = incomplete(&self.rest);
        let rest = self.rest.split_off(self.rest.len() - keep);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        text
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }
}

/// Length of the incomplete character at the end.
fn incomplete(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        if byte & 0xc0 == 0x80 {
            continue;
        }
        let needs = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

/// The last of the output of both streams.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    text: String,
}

impl Tail {
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() > 2 * TAIL {
            let mut cut = self.text.len() - TAIL;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
        }
    }

    /// The last lines.
    pub fn lines(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// What may help with this exit code and output.
pub(crate) fn hint(code: i32, output: &str) -> Option<String> {
    match code {
        127 => Some(match missing_command(output) {
            Some(path) if path.contains('/') => format!(
                "{path}: not found; where the file is there, what its first line names is not: a script with Windows line ends (CRLF) looks so, \
                 or one whose interpreter the image has not"
            ),
            Some(name) => format!(
                "{name}: not found; the image has no such command: install it in an earlier RUN or use a base image that has it"
            ),
            None => "exit code 127 says that a command is not in the image".into(),
        }),
        126 => Some("exit code 126 says that a file cannot be executed: is its executable bit set (chmod +x), is it for this platform?".into()),
        137 => Some("exit code 137 says that the process was killed, most often because memory ran out".into()),
        _ => None,
    }
}

/// The command of a shell's `sh: 1: uv: not found` or `bash: line 1: uv: command not found`.
fn missing_command(output: &str) -> Option<&str> {
    let ends = |l: &'_ str| l.ends_with(": not found") || l.ends_with(": command not found");
    let line = output.lines().rev().find(|l| ends(l))?;
    let line = line.trim_end_matches(" not found").trim_end_matches(" command").trim_end_matches(':');
    let name = line.rsplit(": ").next()?.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        let mut decoder = Decoder::default();
        let bytes = "aé€😀".as_bytes();
        let mut out = String::new();
        for byte in bytes {
            out += &decoder.push(&[*byte]);
        }
        assert_eq!(out + &decoder.finish(), "aé€😀");
        assert_eq!(decoder.push(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
        assert_eq!(decoder.push(b"\xe2\x82"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
    }

    #[test]
    fn the_tail_is_bounded() {
        let mut tail = Tail::default();
        for i in 0..100_000 {
            tail.push(&format!("line {i} é\n"));
        }
        assert!(tail.text.len() <= 2 * TAIL);
        assert_eq!(tail.lines().lines().count(), TAIL_LINES);
        assert!(tail.lines().ends_with("line 99999 é"));
    }

    #[test]
    fn names_the_missing_command() {
        for output in
            ["sh: uv: not found", "/bin/sh: 1: uv: not found", "bash: line 1: uv: command not found"]
        {
            let hint = hint(127, output).unwrap();
            assert!(hint.starts_with("uv: not found"), "{hint}");
        }
        let hint_of_script = hint(127, "/bin/sh: 1: ./run.sh: not found").unwrap();
        assert!(hint_of_script.starts_with("./run.sh: not found; where") && hint_of_script.contains("CRLF"));
        assert_eq!(missing_command("bb: applet not found"), None);
        assert!(hint(127, "").is_some() && hint(1, "uv: not found").is_none());
    }
}
