//! Docker Engine API documents, version gates and stream framing.
