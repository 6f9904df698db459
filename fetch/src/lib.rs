//! From a name to verified bytes.
