//! The suites are in `tests/peers`.
