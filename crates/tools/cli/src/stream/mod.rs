//! Connections to a process inside of a container: the terminal, its size, signals, and the bytes between.

pub mod channel;
pub mod copy;
pub mod session;
pub mod signals;
pub mod terminal;

pub use copy::demultiplex;
pub use session::{Ended, Session};
