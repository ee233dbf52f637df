//! Bytes from the server to our own standard streams.

use api::stdcopy::{Decoder, Stream};

use crate::error::Error;

/// Splits multiplexed output into standard output and error; a terminal's output goes to the former as it is.
pub struct Output {
    decoder: Option<Decoder>,
    stdout: bool,
    stderr: bool,
}

/// Output of a container with a terminal (`raw`) or without.
pub fn demultiplex(raw: bool) -> Output {
    Output { decoder: (!raw).then(Decoder::new), stdout: true, stderr: true }
}

impl Output {
    /// Leaves out a stream that the user did not ask for.
    pub fn only(mut self, stdout: bool, stderr: bool) -> Output {
        (self.stdout, self.stderr) = (stdout, stderr);
        self
    }

    /// Writes what these bytes complete, at once: the user watches.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(decoder) = &mut self.decoder else {
            if self.stdout {
                put(std::io::stdout().lock(), bytes)?;
            }
            return Ok(());
        };
        decoder.push(bytes);
        while let Some((stream, part)) = decoder.next_part().map_err(|error| Error::new(error.to_string()))? {
            match stream {
                Stream::Stdin | Stream::Stdout if self.stdout => put(std::io::stdout().lock(), &part)?,
                Stream::Stderr if self.stderr => put(std::io::stderr().lock(), &part)?,
                Stream::System => {
                    let text = String::from_utf8_lossy(&part);
                    return Err(Error::new(format!("error from daemon in stream: {text}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn put(mut out: impl std::io::Write, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
