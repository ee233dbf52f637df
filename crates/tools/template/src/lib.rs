//! Go text/template for --format.
