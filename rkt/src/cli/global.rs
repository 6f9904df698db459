//! Flags that every verb takes, before or after its name.
//!
//! Their structure has no doc comment: clap would take it for what the verb is
//! about.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command};
use manifests::config::Verity;
use manifests::insecure::InsecureOptions;

// What was typed; what it means is [`Context`](super::Context)'s business.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "GLOBAL OPTIONS")]
pub(crate) struct Global {
    /// Tell every cause of a failure, and what is being done
    #[arg(long)]
    pub(crate) debug: bool,
    /// Data directory [default: /var/lib/rkt, or what paths.d says]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Vendor configuration
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/rkt")]
    pub(crate) system_config: PathBuf,
    /// Machine configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/rkt")]
    pub(crate) local_config: PathBuf,
    /// User configuration, which wins over the other two
    #[arg(long, value_name = "DIR")]
    pub(crate) user_config: Option<PathBuf>,
    /// Checks to leave out: none, image, tls, http, pubkey, capabilities,
    /// paths, seccomp, all-fetch, all-run, all (comma-separated)
    #[arg(long, value_name = "LIST", default_value = "none")]
    pub(crate) insecure_options: InsecureOptions,
    /// Seals of the store's files by fs-verity: required, best-effort or off
    /// [default: best-effort, or what store.d says]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) verity: Option<Verity>,
    /// Trust keys discovered over HTTPS without asking
    #[arg(long)]
    pub(crate) trust_keys_from_https: bool,
}

/// Adds the global flags behind a verb's own.
pub(super) fn augment(command: Command) -> Command {
    Global::augment_args(command.disable_help_flag(true)).arg(
        Arg::new("help")
            .long("help")
            .short('h')
            .action(ArgAction::Help)
            .help("Print this"),
    )
}
