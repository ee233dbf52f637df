//! Content-addressed blobs, layers, root file system descriptions, leases and garbage collection.
