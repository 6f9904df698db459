//! `rkt metadata-service`.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::Args;
use stage0::metadata::{self, Service};

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};

#[derive(Debug, Args)]
#[command(
    about = "answer the apps of registered pods about themselves",
    long_about = "Answer the apps of registered pods about themselves, as the appc specification \
        says: an app of a pod that was started with --mds-register finds the address in \
        AC_METADATA_URL. The service runs until it is stopped (SIGTERM, SIGINT); nothing starts \
        it but you, and what it knows and the key it signs with go with it. A socket for the \
        registration is taken over from systemd (LISTEN_FDS) if there is one.",
    after_help = "EXAMPLES:\n    rkt metadata-service &\n    \
        rkt run --mds-register example.com/app\n    \
        wget -qO- $AC_METADATA_URL/acMetadata/v1/pod/uuid    # in the app"
)]
pub(crate) struct MetadataService {
    /// TCP port for the apps; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = metadata::PORT)]
    listen_port: u16,
}

impl Simple for MetadataService {
    fn run(self, context: &Context) -> Outcome {
        let given = given_socket()?;
        let socket = metadata::socket(context.data_dir()?);
        context.tell("metadata service starting...");
        let service = Service::listen(&socket, given, Some(self.listen_port))?;
        context.tell(&format!(
            "metadata service running on port {}...",
            service.port()
        ));
        let verb = context.verb();
        service.serve(move |line| eprintln!("{verb}: {line}"))?;
        context.tell("metadata service exiting...");
        Ok(ExitCode::SUCCESS)
    }
}

/// The first descriptor of socket activation (sd_listen_fds(3)), if it is for us.
fn given_socket() -> Result<Option<OwnedFd>, Failure> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id())
        || number("LISTEN_FDS").is_none_or(|n| n == 0)
    {
        return Ok(None);
    }
    let taken = sys::descriptors::inherit(&[3])
        .map_err(|e| Failure::because("cannot take over the socket of LISTEN_FDS", e))?;
    Ok(taken.into_iter().next())
}
