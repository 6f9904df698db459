//! A pod before it runs.
