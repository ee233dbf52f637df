//! The server as a whole, and what concerns objects of any kind.

pub mod check;
pub mod collect;
pub mod context_ls;
pub mod context_show;
pub mod df;
pub mod dial_stdio;
pub mod events;
pub mod info;
pub mod inspect;
pub mod output;
pub mod prune;
pub mod version;
