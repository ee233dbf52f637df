//! The kernel interfaces that need unsafe code, behind safe functions.
