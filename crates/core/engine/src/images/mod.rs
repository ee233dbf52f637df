//! Images: one file a verb.
//!
//! Rules and texts are those of Docker's image service. An image is known by its id, the digest of its configuration;
//! [`catalog`] is the view of all of them with their names that most verbs start from.

mod artifacts;
mod attached;
mod base;
mod brief;
pub(crate) mod catalog;
mod changes;
mod commit;
mod config;
mod contents;
mod download;
mod files;
pub(crate) mod heal;
mod history;
mod import;
mod inspect;
pub(crate) mod layout;
mod list;
mod load;
mod manifests;
mod platform;
mod prune;
pub(crate) mod pull;
mod push;
mod reference;
mod remote;
mod remove;
pub(crate) mod report;
mod save;
mod search;
pub(crate) mod signatures;
mod tag;
mod view;
mod who;

pub use base::{Base, Elsewhere, base, base_config, base_document};
pub(crate) use base::{known_as, look as look_for_base, platforms_of, remembered_root, root};
pub use commit::commit;
pub use config::{Configuration, config, configuration};
pub use contents::{difference, tree};
pub use download::Patience;
pub use files::{Files, files};
pub use history::history;
pub use import::import;
pub use inspect::inspect;
pub use list::list;
pub use load::load;
pub use prune::prune;
pub use pull::{Pulled, Resolved, Unfetched, pull};
pub(crate) use push::has_layers;
pub use push::{PushOptions, push};
pub use remote::{MadeIndex, NewIndex, Remote, create as create_index, details, look, registry_of};
pub use remove::remove;
pub(crate) use remove::remove_unused;
pub use report::unheard;
pub use save::{save, save_as};
pub use search::search;
pub(crate) use signatures::admit;
pub use signatures::{
    NewArtifact, NewSignature, attach, attached, attached_files, sign, signatures as look_for_signatures,
};
pub use tag::tag;
pub use view::{Item, Spread, View};
pub use who::Who;

pub use registry::{FetchToken, TokenGiven, TokenWanted};

#[cfg(test)]
mod tests;
