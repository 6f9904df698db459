//! Kernel parameters below `/proc/sys/net`, of the calling thread's namespace.

use std::fs;
use std::path::Path;

use super::error::{Error, Result};

/// Sets the parameter at `path` below `/proc/sys`, unless it has the value.
pub(crate) fn set(path: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(path);
    // Reading is cheap; some writes walk over every interface.
    if fs::read_to_string(&path).is_ok_and(|now| now.trim_end() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(Error::file("write", path))
}

/// Lets packets of one family pass through this host.
pub(crate) fn forward(v4: bool) -> Result<()> {
    set(
        if v4 {
            "net/ipv4/ip_forward"
        } else {
            "net/ipv6/conf/all/forwarding"
        },
        "1",
    )
}
