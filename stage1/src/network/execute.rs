//! Running a plugin's program as the CNI specification says.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use manifests::cni::{CniError, CniResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::{Error, PluginError, Result};

/// More output than this is rubbish.
const OUTPUT_MAX: usize = 1 << 20;

/// What a plugin is called for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// `ADD`, `DEL`, `CHECK`, `GC` or `VERSION`.
    pub(crate) command: &'static str,
    /// The pod's UUID.
    pub(crate) container: &'a str,
    /// Path of the pod's network namespace; empty if it is gone.
    pub(crate) netns: &'a Path,
    /// Name of the interface in the pod.
    pub(crate) if_name: &'a str,
    /// Arguments given with `--net`.
    pub(crate) args: &'a str,
    /// Where programs are looked for.
    pub(crate) path: &'a [PathBuf],
    /// How long it may take.
    pub(crate) deadline: Duration,
}

/// The program of plugin `kind`.
///
/// # Errors
/// [`Error::NoPlugin`].
pub(crate) fn find(kind: &str, path: &[PathBuf]) -> Result<PathBuf> {
    path.iter()
        .map(|directory| directory.join(kind))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NoPlugin {
            plugin: kind.to_owned(),
            searched: join(path),
        })
}

fn join(path: &[PathBuf]) -> String {
    path.iter()
        .map(|p| p.display().to_string())
        .collect::<Vec<_>>()
        .join(":")
}

/// Error number 1 of the specification: the configuration's version is not
/// one of the plugin's.
const INCOMPATIBLE: u32 = 1;

/// Runs plugin `kind` with `config` on its standard input.
///
/// # Errors
/// [`Error::NoPlugin`], [`Error::Plugin`].
pub(crate) fn run(kind: &str, config: &str, call: Call<'_>) -> Result<CniResult> {
    let said = match run_text(kind, config, call) {
        Err(Error::Plugin {
            plugin,
            command,
            source: PluginError::Said(mut error),
        }) if error.code == INCOMPATIBLE => {
            if let Some(versions) = versions_of(kind, call) {
                error.msg = format!("{} (it speaks {versions})", error.msg);
            }
            return Err(Error::Plugin {
                plugin,
                command,
                source: PluginError::Said(error),
            });
        }
        other => other?,
    };
    CniResult::parse(&said).map_err(|source| Error::Plugin {
        plugin: kind.to_owned(),
        command: call.command,
        source: PluginError::Rubbish {
            said: beginning(said.as_bytes()),
            source,
        },
    })
}

/// The versions that plugin `kind` speaks, by its own word.
fn versions_of(kind: &str, call: Call<'_>) -> Option<String> {
    let ask = r#"{"cniVersion":"1.0.0"}"#;
    let said = run_text(
        kind,
        ask,
        Call {
            command: "VERSION",
            ..call
        },
    )
    .ok()?;
    let value: serde_json::Value = serde_json::from_str(&said).ok()?;
    let versions = value.get("supportedVersions")?.as_array()?;
    Some(
        versions
            .iter()
            .filter_map(|v| v.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// Runs plugin `kind` and returns what it printed.
fn run_text(kind: &str, config: &str, call: Call<'_>) -> Result<String> {
    let program = find(kind, call.path)?;
    let fail = |source| Error::Plugin {
        plugin: kind.to_owned(),
        command: call.command,
        source,
    };
    let mut command = Command::new(&program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RKT_") {
            command.env_remove(name);
        }
    }
    command
        .env("CNI_COMMAND", call.command)
        .env("CNI_CONTAINERID", call.container)
        .env("CNI_NETNS", call.netns)
        .env("CNI_IFNAME", call.if_name)
        .env("CNI_ARGS", call.args)
        .env("CNI_PATH", join(call.path))
        .current_dir("/")
        // A group of its own, so that a plugin's helpers end with it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = |source| PluginError::Run {
        path: program.clone(),
        source,
    };
    let mut child = command.spawn().map_err(run).map_err(fail)?;
    // Who undoes something goes through with it.
    let may_stop = call.command == "ADD";
    let answer = converse(&mut child, config, call.deadline, may_stop).map_err(|e| {
        // It may have ended by itself, which is fine.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
        fail(e.into_error(run, call.deadline))
    })?;
    let status = child.wait().map_err(run).map_err(fail)?;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    if !status.success() {
        return Err(fail(match serde_json::from_str::<CniError>(&said) {
            Ok(error) if !error.msg.is_empty() => PluginError::Said(error),
            _ => PluginError::Ended {
                how: match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exited with status {code}"),
                    (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
                },
                said: beginning(if said.trim().is_empty() {
                    &answer.stderr
                } else {
                    &answer.stdout
                }),
            },
        }));
    }
    Ok(said)
}

/// The first 200 characters of `bytes`, on one line.
fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim()
        .replace('\n', " ")
        .chars()
        .take(200)
        .collect()
}

#[derive(Default)]
struct Answer {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Why a conversation ended early.
enum Broken {
    Late,
    Interrupted,
    Failed(std::io::Error),
}

impl Broken {
    fn into_error(
        self,
        run: impl FnOnce(std::io::Error) -> PluginError,
        deadline: Duration,
    ) -> PluginError {
        match self {
            Self::Late => PluginError::Deadline(deadline.as_secs()),
            Self::Interrupted => PluginError::Interrupted,
            Self::Failed(error) => run(error),
        }
    }
}

/// How soon a signal to stop is seen.
const GLANCE: Duration = Duration::from_millis(100);

/// Whether somebody wants the pod to stop. The supervisor takes signals when it
/// comes to them, and has blocked them until then.
fn asked_to_stop() -> bool {
    [Signal::TERM, Signal::INT, Signal::QUIT]
        .iter()
        .any(|signal| sys::signals::is_pending(signal.as_raw()).unwrap_or(false))
}

/// Writes `input` and reads both outputs until they end, or, where it
/// `may_stop`, until somebody asks the pod to stop.
fn converse(
    child: &mut Child,
    input: &str,
    deadline: Duration,
    may_stop: bool,
) -> std::result::Result<Answer, Broken> {
    let until = Instant::now() + deadline;
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    if let Some(pipe) = &stdin {
        rustix::io::ioctl_fionbio(pipe, true).map_err(|e| Broken::Failed(e.into()))?;
    }
    let mut input = input.as_bytes();
    let mut answer = Answer::default();
    while stdin.is_some() || stdout.is_some() || stderr.is_some() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late);
        }
        if may_stop && asked_to_stop() {
            return Err(Broken::Interrupted);
        }
        let left = if may_stop { left.min(GLANCE) } else { left };
        let (mut wait, mut which) = (Vec::new(), Vec::new());
        if let Some(pipe) = &stdin {
            wait.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT));
            which.push(0);
        }
        if let Some(pipe) = &stdout {
            wait.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            which.push(1);
        }
        if let Some(pipe) = &stderr {
            wait.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            which.push(2);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut wait, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Broken::Failed(errno.into())),
        }
        let ready: Vec<usize> = wait
            .iter()
            .zip(which)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, which)| which)
            .collect();
        drop(wait);
        for which in ready {
            match which {
                0 => {
                    let Some(pipe) = &mut stdin else { continue };
                    match pipe.write(input) {
                        Ok(count) => input = &input[count..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        // It does not want to know; what it says counts.
                        Err(error) if error.kind() == ErrorKind::BrokenPipe => input = &[],
                        Err(error) => return Err(Broken::Failed(error)),
                    }
                    if input.is_empty() {
                        stdin = None;
                    }
                }
                1 => read_some(&mut stdout, &mut answer.stdout)?,
                _ => read_some(&mut stderr, &mut answer.stderr)?,
            }
        }
    }
    Ok(answer)
}

fn read_some(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> std::result::Result<(), Broken> {
    let mut buffer = [0; 8192];
    let Some(reader) = pipe else { return Ok(()) };
    match reader.read(&mut buffer).map_err(Broken::Failed)? {
        0 => *pipe = None,
        count if into.len() + count <= OUTPUT_MAX => into.extend_from_slice(&buffer[..count]),
        // Keep the pipe empty, so that the plugin can end.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn plugin(script: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plug");
        std::fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = vec!["/nonexistent".into(), directory.path().to_owned()];
        (directory, path)
    }

    fn call(script: &str, input: &str) -> std::result::Result<CniResult, String> {
        let (_directory, path) = plugin(script);
        let call = Call {
            command: "ADD",
            container: "some-uuid",
            netns: Path::new("/run/netns/x"),
            if_name: "eth0",
            args: "A=B",
            path: &path,
            deadline: Duration::from_millis(1500),
        };
        run("plug", input, call).map_err(|e| e.line())
    }

    #[test]
    fn a_plugin_sees_its_environment_and_input() {
        let result = call(
            r#"[ "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS" = "ADD some-uuid /run/netns/x eth0 A=B" ] || exit 9
               read line; printf '{"cniVersion":"1.0.0","dns":{"domain":"%s"}}' "$line""#,
            "from-stdin\n",
        )
        .unwrap();
        assert_eq!(result.dns.domain, "from-stdin");
    }

    #[test]
    fn every_way_to_fail_has_words() {
        let table = [
            (
                r#"echo '{"code":7,"msg":"no address","details":"none left"}'; exit 1"#,
                "plugin \"plug\", ADD: no address; none left",
            ),
            (
                "echo oops >&2; exit 3",
                "plugin \"plug\", ADD: exited with status 3: oops",
            ),
            ("kill -9 $$", "plugin \"plug\", ADD: was killed by signal 9"),
            (
                "echo hello",
                "plugin \"plug\", ADD: answered \"hello\": not a CNI result: ",
            ),
            (
                "sleep 30 & sleep 30",
                "plugin \"plug\", ADD: no answer within 1 s",
            ),
        ];
        for (script, message) in table {
            let began = Instant::now();
            let error = call(script, "{}").unwrap_err();
            assert!(error.starts_with(message), "{script}: {error}");
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{script} was waited for"
            );
        }
    }

    #[test]
    fn large_conversations_do_not_block() {
        let input = "x".repeat(1 << 20);
        call(
            "head -c 2000000 /dev/zero >&2; cat >/dev/null; echo '{}'",
            &input,
        )
        .unwrap();
        call("echo '{}'", &input).unwrap();
    }

    #[test]
    fn a_missing_plugin_is_named_with_the_path() {
        let error = find("none-such", &["/a".into(), "/b".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Could not find plugin \"none-such\" in /a:/b"
        );
    }
}
