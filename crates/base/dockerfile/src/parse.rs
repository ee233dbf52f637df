//! From text to syntax tree.

use crate::ast::{Dockerfile, From, Instruction, Kind, Stage};
use crate::error::{Error, Warning};
use crate::span::{LineIndex, Span};
use crate::{frontend, instruction, lines};

/// A Dockerfile larger than this is refused.
pub const MAX_SIZE: usize = 4 << 20;

/// A Dockerfile with more stages than this is refused, as is one with more steps: programs write some with thousands of either,
/// and what is larger by far only makes others wait.
pub const MAX_STAGES: usize = 10_000;

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Never take a `# …` behind an instruction for a comment. The directive `# dhow=strict` does the same.
    pub strict: bool,
    /// Keep instructions above the first `FROM`, and triggers that `ONBUILD` refuses: a linter has something to say about
    /// them.
    pub lenient: bool,
}

/// Text of a Dockerfile from its bytes: a byte order mark goes, bytes that are not UTF-8 are replaced.
pub fn decode(bytes: &[u8]) -> Result<String, Error> {
    if bytes.len() > MAX_SIZE {
        return Err(Error::new(format!("dockerfile is larger than {MAX_SIZE} bytes"), Span::default()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Parses a whole file.
pub fn parse(text: &str, options: Options) -> Result<Dockerfile, Error> {
    let (file, whole) = read(text, options)?;
    whole.map(|()| file)
}

/// A file down to what cannot be read in it, and why that cannot; an error is the file's as a whole.
pub(crate) fn read(text: &str, options: Options) -> Result<(Dockerfile, Result<(), Error>), Error> {
    if text.len() > MAX_SIZE {
        return Err(Error::new(format!("dockerfile is larger than {MAX_SIZE} bytes"), Span::default()));
    }
    let index = LineIndex::new(text);
    let scanned = lines::scan(text, &index)?;
    let mut warnings = scanned.warnings;
    let options = Options { strict: options.strict || scanned.directives.strict, ..options };
    let escape = scanned.directives.escape;
    let mut instructions = Vec::with_capacity(scanned.lines.len());
    let mut whole = Ok(());
    for line in &scanned.lines {
        match instruction::parse(line, &index, escape, options, &mut warnings) {
            Ok(instruction) => instructions.push(instruction),
            Err(error) => {
                whole = Err(frontend::explained(error, &scanned.directives));
                break;
            }
        }
    }
    let (global_args, stages, cut) = stages(instructions, options.lenient);
    let (directives, comments) = (scanned.directives, scanned.comments);
    Ok((Dockerfile { directives, global_args, stages, comments, warnings }, whole.and(cut)))
}

/// Parses the text of an `ONBUILD` trigger, as an image config holds it.
pub fn parse_trigger(text: &str) -> Result<Instruction, Error> {
    let index = LineIndex::new(text);
    let scanned = lines::scan(text, &index)?;
    let [line] = scanned.lines.as_slice() else {
        return Err(Error::new("ONBUILD trigger holds more than one instruction", index.span(0, text.len())));
    };
    let mut warnings: Vec<Warning> = Vec::new();
    let instruction = instruction::parse(line, &index, '\\', Options::default(), &mut warnings)?;
    match instruction.kind {
        Kind::From(_) | Kind::Maintainer(_) | Kind::Onbuild(_) => {
            let message = format!("{} isn't allowed as an ONBUILD trigger", instruction.kind.name());
            Err(Error::new(message, instruction.span))
        }
        _ => Ok(instruction),
    }
}

/// Cuts the file at its `FROM`s, down to an instruction that cannot stand where it does.
fn stages(
    instructions: Vec<Instruction>,
    lenient: bool,
) -> (Vec<Instruction>, Vec<Stage>, Result<(), Error>) {
    let mut globals = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions {
        let Instruction { kind, span, source, keyword, comments } = instruction;
        let is_full = stages.len() == MAX_STAGES;
        match (kind, stages.last_mut()) {
            (Kind::From(_), _) if is_full => {
                let error = Error::new(format!("dockerfile has more than {MAX_STAGES} stages"), span);
                return (globals, stages, Err(error));
            }
            (Kind::From(from), _) => stages.push(new_stage(from, span, source, comments)),
            (kind, None) if lenient || matches!(kind, Kind::Arg(_)) => {
                globals.push(Instruction { kind, span, source, keyword, comments });
            }
            (kind, None) => {
                let error = Error::new("no build stage in current context", span);
                let error = error.help(format!("{} needs a FROM above it", kind.name()));
                return (globals, stages, Err(error));
            }
            (kind, Some(stage)) => {
                stage.span.end = span.end;
                stage.span.end_line = span.end_line;
                stage.instructions.push(Instruction { kind, span, source, keyword, comments });
            }
        }
    }
    if stages.is_empty() && !lenient {
        let span = globals.last().map(|g: &Instruction| g.span).unwrap_or_default();
        let error = Error::new("no build stage in current context", span).help("a Dockerfile needs a FROM");
        return (globals, stages, Err(error));
    }
    (globals, stages, Ok(()))
}

fn new_stage(from: From, span: Span, source: String, comments: Vec<String>) -> Stage {
    Stage { from, span, head: span, source, comments, instructions: Vec::new() }
}
