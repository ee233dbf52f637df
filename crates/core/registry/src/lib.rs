//! Distribution client: resolve, authenticate and fetch.
