//! The engine: a pod while it runs.

fn main() {}
