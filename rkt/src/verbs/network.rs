//! `rkt network list`, `rkt network check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use stage0::networks;
use stage0::pods::State;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Format, Table};

#[derive(Debug, Args)]
#[command(
    about = "list the networks that pods can join, and who has joined them",
    after_help = "EXAMPLES:\n    rkt network list\n    rkt network list --format=json | jq '.[].name'\n\nNetworks are files in net.d of the local and the system configuration; the first of a name counts."
)]
pub(crate) struct List {
    /// Leave the first line out
    #[arg(long)]
    no_legend: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// A network that is configured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkReport {
    name: String,
    cni_version: String,
    /// Types of its plugins, in their order.
    plugins: Vec<String>,
    /// Absent for a built-in network.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Running pods that have joined it.
    pods: Vec<Member>,
}

/// A running pod in a network.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    uuid: String,
    if_name: String,
    ips: Vec<String>,
}

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let (found, warnings) = networks::all(&context.network_layers())?;
        for warning in warnings {
            context.tell(&warning);
        }
        let mut reports: Vec<NetworkReport> = found
            .into_iter()
            .map(|found| NetworkReport {
                cni_version: found.config.cni_version.to_string(),
                plugins: found
                    .config
                    .plugins
                    .into_iter()
                    .map(|plugin| plugin.kind)
                    .collect(),
                name: found.config.name,
                file: found.file,
                pods: Vec::new(),
            })
            .collect();
        let mut errors = Vec::new();
        for listed in context.pods()?.list()? {
            match listed.pod {
                Ok(pod) if pod.state() == State::Running => match pod.networks() {
                    Ok(networks) => {
                        for network in networks {
                            // It may have lost its file since.
                            let report = reports.iter_mut().find(|r| r.name == network.net_name);
                            if let Some(report) = report {
                                report.pods.push(Member {
                                    uuid: pod.uuid().to_string(),
                                    if_name: network.if_name,
                                    ips: network.ips.iter().map(ToString::to_string).collect(),
                                });
                            }
                        }
                    }
                    Err(e) => errors.push(e.to_string()),
                },
                Ok(_) => {}
                Err(e) => errors.push(e.to_string()),
            }
        }
        match format {
            Format::Text => table(&reports).print(!self.no_legend),
            Format::Json => output::json(&reports, false)?,
            Format::JsonPretty => output::json(&reports, true)?,
        }
        super::error_block("pods", &errors);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "look whether pods still have their networks, and whether others could join",
    after_help = "EXAMPLES:\n    rkt network check\n    rkt network check 5bc080ca\n\nWith pods: their interfaces, addresses and ports, and what the networks' programs say to CHECK.\nWithout: all running pods, and whether the programs of all networks are there and ready (STATUS)."
)]
pub(crate) struct Check {
    /// The pods, by UUID or its beginning [default: all that run]
    #[arg(value_name = "UUID")]
    pods: Vec<String>,
}

impl Simple for Check {
    fn run(self, context: &Context) -> Outcome {
        let stage1 = context.stage1(None)?;
        let mut faults = Vec::new();
        let pods = if self.pods.is_empty() {
            faults.extend(networks::not_ready(&stage1, &context.network_layers())?);
            let mut pods = Vec::new();
            for listed in context.pods()?.list()? {
                match listed.pod {
                    Ok(pod) => pods.extend((pod.state() == State::Running).then_some(pod)),
                    Err(e) => faults.push(e.to_string()),
                }
            }
            pods
        } else {
            let typed = self.pods.iter().map(|typed| context.pod(typed));
            typed.collect::<Result<_, _>>()?
        };
        for pod in &pods {
            let uuid = pod.uuid();
            if pod.state() != State::Running {
                return Err(Failure::new(format!("pod \"{uuid}\" is not running")));
            }
            let found = networks::check(&stage1, pod).into_iter();
            faults.extend(found.map(|fault| format!("pod {uuid}: {fault}")));
        }
        for fault in &faults {
            eprintln!("check: {fault}");
        }
        Ok(if faults.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn table(reports: &[NetworkReport]) -> Table {
    let mut table = Table::new(&["NAME", "PLUGINS", "FILE", "PODS"]);
    for report in reports {
        let file = report.file.as_ref().map_or_else(
            || "(built in)".to_owned(),
            |file| file.display().to_string(),
        );
        table.row(vec![
            report.name.clone(),
            report.plugins.join(", "),
            file,
            report.pods.len().to_string(),
        ]);
    }
    table
}
