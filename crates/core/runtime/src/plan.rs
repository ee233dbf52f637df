//! A plan: the steps of a new process, each with what to call it when it fails.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use sys::child::Step;

use crate::Error;
use crate::mounts::is_kernels;

/// The steps and their labels, of the same length.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub labels: Vec<Label>,
    pub warnings: Vec<String>,
}

/// What a step is about.
#[derive(Clone, Debug)]
pub(crate) enum Label {
    /// A phrase that reads on as `phrase: reason`.
    Step(String),
    Mount {
        source: PathBuf,
        destination: PathBuf,
    },
    /// The directory of the process.
    Chdir(String),
    /// Where the process waits for another one's word.
    Gate,
    /// Finding the program; and whether in `$PATH`.
    LookPath {
        program: String,
        search: bool,
    },
    Exec {
        program: String,
    },
    Hook {
        kind: &'static str,
        path: PathBuf,
    },
}

impl Plan {
    pub fn push(&mut self, label: impl Into<String>, step: Step) {
        self.labeled(Label::Step(label.into()), step);
    }

    pub fn labeled(&mut self, label: Label, step: Step) {
        self.steps.push(step);
        self.labels.push(label);
    }
}

impl Label {
    /// The error of a failed step; `text` is what the kernel or the step itself had to say.
    pub fn error(&self, errno: i32, text: &str) -> Error {
        let reason = if text.is_empty() { said(errno) } else { text.to_owned() };
        match self {
            Label::Step(step) => Error::Step { step: step.clone(), reason, errno },
            Label::Gate => Error::Step { step: "wait for the start".to_owned(), reason, errno },
            Label::Mount { source, destination } => {
                mount_error(source.clone(), destination.clone(), errno, text)
            }
            Label::Chdir(cwd) => {
                let step = format!("chdir to cwd ({cwd:?}) set in config.json failed");
                Error::Step { step, reason, errno }
            }
            Label::LookPath { program, search } => {
                let reason = match (search, errno) {
                    (true, libc::ENOENT) => "executable file not found in $PATH".to_owned(),
                    (false, libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
                        format!("stat {program}: {reason}")
                    }
                    _ => reason,
                };
                Error::Exec { program: program.clone(), reason, errno }
            }
            Label::Exec { program } => Error::Exec { program: program.clone(), reason, errno },
            Label::Hook { kind, path } => Error::Hook { kind, path: path.clone(), reason },
        }
    }
}

/// A refused mount. Symbolic links are refused where a kernel file system goes.
pub(crate) fn mount_error(source_path: PathBuf, destination: PathBuf, errno: i32, text: &str) -> Error {
    let reason = match (errno, text) {
        (libc::ELOOP, "") if is_kernels(&destination) => {
            "must be mounted on ordinary directory, not on a symbolic link".to_owned()
        }
        (_, "") => said(errno),
        (_, text) => format!("{}: {text}", said(errno)),
    };
    Error::Mount { source_path, destination, reason, errno }
}

/// The text of an errno as Go has it, which Docker's clients know: lower case, without the number.
pub fn said(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A C string; a NUL byte inside is the specification's fault.
pub(crate) fn c_string(text: impl Into<Vec<u8>>, what: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Spec { reason: format!("{what} contains a NUL byte") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_reads_as_docker_says_it() {
        let label = |search| Label::LookPath { program: "/foo".to_owned(), search };
        let error = label(false).error(libc::ENOENT, "");
        assert_eq!(error.to_string(), r#"exec: "/foo": stat /foo: no such file or directory"#);
        assert_eq!(error.exit_code(), 127);
        let error = label(true).error(libc::ENOENT, "");
        assert_eq!(error.to_string(), r#"exec: "/foo": executable file not found in $PATH"#);
        assert_eq!(error.exit_code(), 127);
        let error = label(false).error(libc::EACCES, "");
        assert_eq!(error.to_string(), r#"exec: "/foo": permission denied"#);
        assert_eq!(error.exit_code(), 126);
        let error = Label::Exec { program: "/foo".to_owned() }.error(libc::ENOEXEC, "");
        assert_eq!(error.to_string(), r#"exec: "/foo": exec format error"#);
        assert_eq!(error.exit_code(), 126);
    }
}
