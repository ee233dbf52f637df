//! Signatures of images, and other things that are attached to them in registries; and the policy that asks for signatures
//! where images are pulled and run.

mod attach;
mod demand;
mod fetch;
mod sign;

pub use attach::{NewArtifact, attach, attached, attached_files};
pub(crate) use demand::{Demand, admit};
pub use fetch::signatures;
pub use sign::{NewSignature, sign};

pub(super) use fetch::statements;
