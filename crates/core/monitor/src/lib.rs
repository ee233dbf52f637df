//! The per-container process, its protocol and the client side of that protocol.
