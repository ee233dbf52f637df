//! Tar and compression streams, whiteouts, and extraction confined to a root.
