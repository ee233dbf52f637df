//! Containers: one file a verb. See [`record`] for what is kept where and for the locks.

pub(crate) mod bind;
mod create;
mod devices;
mod etc;
mod kill;
pub(crate) mod launch;
mod logfile;
mod logging;
pub(crate) mod merge;
mod mounts;
pub(crate) mod name;
pub(crate) mod networking;
mod pause;
mod ports;
mod ps;
pub mod record;
mod remove;
mod rename;
mod resize;
mod restart;
pub(crate) mod signal;
pub(crate) mod start;
mod stop;
pub mod user;
pub(crate) mod validate;
pub mod words;

pub use create::create;
pub use kill::kill;
pub use pause::{pause, unpause};
pub use remove::remove;
pub use rename::rename;
pub use resize::resize;
pub use restart::restart;
pub use start::start;
pub use stop::stop;
