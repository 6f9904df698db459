//! The vocabulary: what an image, a pod and a configuration file may say.
//!
//! Every other crate speaks these types and none of them is spoken to the
//! outside world anywhere else. Nothing here does I/O: a `&str` or `&[u8]`
//! comes in, a checked value or an error that names the offending field goes
//! out.

pub mod appc;
pub mod cni;
pub mod config;
pub mod digest;
pub mod engine;
pub mod image_id;
pub mod insecure;
pub mod isolation;
pub mod log;
pub mod network;
pub mod oci;
pub mod platform;
pub mod trust;
pub mod unit_file;
