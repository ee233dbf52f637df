//! Docker Engine API over any listener: decode, one engine call, encode.
