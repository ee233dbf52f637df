//! The OCI vocabulary: digests, references, platforms; image, runtime and distribution documents.
