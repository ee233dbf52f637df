//! Docker's plugin for builds: what it has besides `build`, `bake` and the cache.

pub mod builders;
pub mod imagetools;
pub mod traces;
