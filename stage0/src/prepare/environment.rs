//! Environment variables: who wins.
//!
//! ```text
//! built-in defaults < --inherit-env < image < --environment
//!                   < --set-env-file < --set-env < AC_APP_NAME, AC_METADATA_URL
//! ```
//!
//! Source: rkt's command-line reference, "Environment precedence" (the order
//! of the program, which its manual does not tell right), and appc, "Executor".

use std::path::Path;

use manifests::appc::{EnvironmentName, EnvironmentVariable};
use oci_spec::runtime::Spec;

use super::request::{EnvironmentFileError, PodEnvironment};

/// Search path of an app that sets none (appc specification).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every app has unless it is set otherwise.
const DEFAULTS: [(&str, &str); 5] = [
    ("PATH", DEFAULT_PATH),
    ("SHELL", "/bin/sh"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("HOME", "/root"),
];

/// The environment of an app as its pod manifest has it.
pub(super) fn of_manifest(
    image: &[EnvironmentVariable],
    overrides: &[(EnvironmentName, String)],
    pod: &PodEnvironment,
) -> Vec<EnvironmentVariable> {
    let mut environment = image.to_vec();
    for (name, value) in overrides {
        put(&mut environment, name, value);
    }
    for (name, value) in &pod.inherited {
        if !environment.iter().any(|v| v.name == *name) {
            put(&mut environment, name, value);
        }
    }
    for (name, value) in pod.files.iter().chain(&pod.set) {
        put(&mut environment, name, value);
    }
    environment
}

fn put(environment: &mut Vec<EnvironmentVariable>, name: &EnvironmentName, value: &str) {
    match environment.iter_mut().find(|v| v.name == *name) {
        Some(variable) => variable.value = value.to_owned(),
        None => environment.push(EnvironmentVariable {
            name: name.clone(),
            value: value.to_owned(),
        }),
    }
}

/// The environment the app's process gets: the manifest's with the defaults
/// below and what is ours to say above. `terminal` is the caller's `TERM`,
/// for an app that has the caller's terminal.
pub fn of_process(
    manifest: &[EnvironmentVariable],
    app: &str,
    terminal: Option<&str>,
) -> Vec<(String, String)> {
    let set = |name: &str| manifest.iter().any(|v| v.name == name);
    let mut environment: Vec<(String, String)> = DEFAULTS
        .into_iter()
        .chain(terminal.map(|term| ("TERM", term)))
        .filter(|(name, _)| !set(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    environment.extend(
        manifest
            .iter()
            .filter(|v| v.name != "AC_APP_NAME")
            .map(|v| (v.name.to_string(), v.value.clone())),
    );
    environment.push(("AC_APP_NAME".to_owned(), app.to_owned()));
    environment
}

/// Sets a variable of an OCI process, over whatever the app says of it.
pub(crate) fn set(spec: &mut Spec, name: &str, value: &str) {
    let Some(process) = spec.process_mut() else {
        return;
    };
    let mut environment = process.env().clone().unwrap_or_default();
    environment.retain(|variable| variable.split('=').next() != Some(name));
    environment.push(format!("{name}={value}"));
    process.set_env(Some(environment));
}

/// Reads the text of a `--set-env-file`: `NAME=VALUE` lines; empty ones and
/// those that begin with `#` or `;` do not count. Adds to `variables`.
///
/// # Errors
/// The first line that is none of these, or sets again what is set in
/// `variables`.
pub fn read_file(
    file: &Path,
    text: &str,
    variables: &mut Vec<(EnvironmentName, String)>,
) -> Result<(), EnvironmentFileError> {
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (file, at) = (|| file.to_owned(), number + 1);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| EnvironmentFileError::NoValue {
                file: file(),
                line: at,
            })?;
        let name: EnvironmentName = name.parse().map_err(|e: manifests::appc::NameError| {
            EnvironmentFileError::BadName {
                file: file(),
                line: at,
                reason: e.to_string(),
            }
        })?;
        if variables.iter().any(|(other, _)| *other == name) {
            return Err(EnvironmentFileError::Twice {
                file: file(),
                name: name.to_string(),
            });
        }
        variables.push((name, value.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(name: &str, value: &str) -> EnvironmentVariable {
        EnvironmentVariable {
            name: name.parse().unwrap(),
            value: value.into(),
        }
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(EnvironmentName, String)> {
        pairs
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), (*v).to_owned()))
            .collect()
    }

    fn value<'a>(environment: &'a [EnvironmentVariable], name: &str) -> Option<&'a str> {
        let variable = environment.iter().find(|v| v.name == name)?;
        Some(&variable.value)
    }

    #[test]
    fn what_is_ours_to_say_wins_and_defaults_fill() {
        let manifest = [variable("HOME", "/home/x"), variable("AC_APP_NAME", "lie")];
        let environment = of_process(&manifest, "web", Some("xterm"));
        let get = |name: &str| {
            let found: Vec<_> = environment.iter().filter(|(n, _)| n == name).collect();
            assert!(found.len() < 2, "{name} stands twice");
            found.first().map(|(_, v)| v.as_str())
        };
        assert_eq!(get("AC_APP_NAME"), Some("web"));
        assert_eq!(get("HOME"), Some("/home/x"));
        assert_eq!(get("PATH"), Some(DEFAULT_PATH));
        assert_eq!(get("TERM"), Some("xterm"));
    }

    #[test]
    fn files_are_read_line_by_line() {
        let mut variables = Vec::new();
        let text = "# c\n; c\n\nA=1\nB=x=y \n";
        read_file(Path::new("/f"), text, &mut variables).unwrap();
        assert_eq!(variables, named(&[("A", "1"), ("B", "x=y ")]));
        let mut fails = |text: &str| {
            read_file(Path::new("/f"), text, &mut variables)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            fails("C"),
            "environment variable must be specified as name=value (file \"/f\", line 1)"
        );
        assert_eq!(
            fails("A=2"),
            "environment variable \"A\" already set (file \"/f\")"
        );
        assert!(fails("1A=2").contains("line 1"));
    }

    proptest! {
        /// Whoever sets a variable, the highest rank that does is seen.
        #[test]
        fn the_highest_rank_wins(ranks in prop::collection::vec(any::<bool>(), 5)) {
            let at = |rank: usize| if ranks[rank] { named(&[("X", ["inherited", "image", "app", "file", "set"][rank])]) } else { vec![] };
            let image: Vec<_> = at(1).into_iter().map(|(name, value)| EnvironmentVariable { name, value }).collect();
            let pod = PodEnvironment { inherited: at(0), files: at(3), set: at(4) };
            let environment = of_manifest(&image, &at(2), &pod);
            let expected = ranks.iter().rposition(|set| *set)
                .map(|rank| ["inherited", "image", "app", "file", "set"][rank]);
            prop_assert_eq!(value(&environment, "X"), expected);
            prop_assert!(environment.len() < 2);
        }
    }
}
