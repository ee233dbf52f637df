//! Every command of Docker's command line: arguments, one or few API calls, output.

pub mod error;
pub mod flags;
pub mod format;
pub mod options;
