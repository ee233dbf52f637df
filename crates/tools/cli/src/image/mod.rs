//! Images, one verb a file.

pub mod attach;
pub mod attached;
pub mod diff;
pub mod generate_key_pair;
pub mod history;
pub mod import;
pub mod inspect;
pub mod load;
pub mod ls;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod save;
pub mod sign;
pub mod tag;
pub mod tree;
pub mod verify;

mod annotations;
mod key;
