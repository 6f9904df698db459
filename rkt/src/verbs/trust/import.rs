//! `rkt trust import`.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use manifests::config::{Directory, Rule};
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "take over the rules of a containers policy.json",
    after_help = "\
What has no counterpart here (GPG signatures of docker images, several
requirements at once) is rejected, never weakened, and told on stderr.

EXAMPLES:
    rkt trust import --dry-run /etc/containers/policy.json
    rkt trust import /etc/containers/policy.json"
)]
pub(crate) struct Import {
    /// The policy
    #[arg(value_name = "FILE", required = true)]
    file: PathBuf,
    /// Write the rules to trust.d/NAME.json of the local configuration
    #[arg(long, value_name = "NAME", default_value = "imported")]
    name: String,
    /// Print the rules, write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    rkt_kind: &'static str,
    rkt_version: &'static str,
    rules: &'a [Rule],
}

impl Simple for Import {
    fn run(self, context: &Context) -> Outcome {
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(usable) {
            return Err(Failure::new(format!(
                "--name={:?} is no name: letters, digits, - and _ only",
                self.name
            )));
        }
        let failed = |e| Failure::because(format!("cannot read {:?}", self.file), e);
        let policy = fs::read(&self.file).map_err(failed)?;
        let local = &context.global().local_config;
        let local = std::path::absolute(local)?;
        let directory = local.join(Directory::Trust.as_str());
        let imported = fetch::policy::import(&policy, &directory, &self.name)
            .map_err(|e| Failure::because(format!("cannot import {:?}", self.file), e))?;
        let target = directory.join(format!("{}.json", self.name));
        let file = File {
            rkt_kind: "trust",
            rkt_version: "v1",
            rules: &imported.rules,
        };
        let text = serde_json::to_string_pretty(&file)
            .map_err(|e| Failure::because("cannot write the rules", e))?;
        for note in &imported.notes {
            context.tell(note);
        }
        if self.dry_run {
            say(&text);
            return Ok(ExitCode::SUCCESS);
        }
        check_free(&local, &target, &imported.rules)?;
        // The rules last: they name the other files.
        for (path, text) in &imported.files {
            write(path, text)?;
        }
        write(&target, &format!("{text}\n"))?;
        say(&format!(
            "Imported {} rules to {}",
            imported.rules.len(),
            target.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Two rules for one prefix in a layer would make all of it unusable.
fn check_free(local: &Path, target: &Path, rules: &[Rule]) -> Result<(), Failure> {
    let there = stage0::config::read(&[local], &[Directory::Trust])
        .map_err(|e| Failure::because("cannot get configuration", e))?;
    for rule in there.trust.rules() {
        let other = Path::new(&rule.file) != target;
        if other && rules.iter().any(|r| r.scope == rule.scope) {
            return Err(Failure::new(format!(
                "there is already a rule for the prefix {:?} in {}",
                rule.scope.prefix(),
                rule.file
            )));
        }
    }
    Ok(())
}

/// Whole or not at all, for everybody to read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = || {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|e: std::io::Error| {
        Failure::because(format!("cannot write {}", path.display()), e)
    })
}
