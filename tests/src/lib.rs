//! What the end-to-end tests and benchmarks share.
