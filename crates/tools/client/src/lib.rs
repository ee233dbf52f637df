//! Typed Docker Engine API client over any byte stream.
