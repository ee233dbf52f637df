//! The scenarios are in `tests/scenarios`.
