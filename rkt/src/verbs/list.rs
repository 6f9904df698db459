//! `rkt list`.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output::{self, Format, Table};
use crate::report::{AppReport, Detail, PodReport};

#[derive(Debug, Args)]
#[command(
    about = "list pods",
    long_about = "List pods, one line for each app.\n\n\
        STATE is embryo, preparing, aborted prepare, prepared, running, exited, exited garbage, \
        exited deleting, or broken: the pod's files cannot be read, and rkt rm --force removes it. \
        A pod that did not end by itself says why: host restarted, or supervisor killed.\n\n\
        With --format=json a pod is an object: \"name\" (the UUID), \"state\", \"reason\" (as \
        above, if there is one), \"networks\", \"apps\", \"created_at\" and \"started_at\" \
        (seconds), \"user_annotations\", \"user_labels\", \"errors\" (what is wrong with its \
        files). An app: \"name\", \"image_id\", \"image_name\", \"state\" (unknown, created, \
        running, exited), \"created_at\", \"started_at\", \"finished_at\" (nanoseconds), \
        \"exit_code\", \"signal\", \"oom_killed\", \"error\", \"mounts\", \
        \"user_annotations\", \"user_labels\". What is not known is left out.",
    after_help = "EXAMPLES:\n    rkt list\n    rkt list --full\n    rkt list --format=json | jq '.[].state'"
)]
pub(crate) struct List {
    /// Leave the first line out
    #[arg(long)]
    no_legend: bool,
    /// Whole UUIDs, image ids and times
    #[arg(long)]
    full: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Characters of a UUID without `--full`.
const SHORT: usize = 8;

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let detail = match format {
            Format::Text => Detail::Row,
            Format::Json | Format::JsonPretty => Detail::Files,
        };
        let pods = context.pods()?.list()?.into_iter();
        let reports: Vec<PodReport> = pods
            .map(|listed| match listed.pod {
                Ok(pod) => PodReport::new(&pod, detail),
                Err(e) => PodReport::broken(listed.uuid, &e),
            })
            .collect();
        let errors: Vec<String> = reports.iter().flat_map(|r| r.errors.clone()).collect();
        match format {
            Format::Text => self.table(&reports).print(!self.no_legend),
            Format::Json => output::json(&reports, false)?,
            Format::JsonPretty => output::json(&reports, true)?,
        }
        super::error_block("pods", &errors);
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn table(&self, reports: &[PodReport]) -> Table {
        let mut legend = vec!["UUID", "APP", "IMAGE NAME"];
        if self.full {
            legend.push("IMAGE ID");
        }
        legend.extend(["STATE", "CREATED", "STARTED", "NETWORKS"]);
        let mut table = Table::new(&legend);
        let now = SystemTime::now();
        for report in reports {
            if report.apps.is_empty() {
                table.row(self.cells(report, None, true, now));
            }
            for (i, app) in report.apps.iter().enumerate() {
                table.row(self.cells(report, Some(app), i == 0, now));
            }
        }
        table
    }

    fn cells(
        &self,
        pod: &PodReport,
        app: Option<&AppReport>,
        first: bool,
        now: SystemTime,
    ) -> Vec<String> {
        let time = |time: Option<SystemTime>| match time {
            None => String::new(),
            Some(time) if self.full => output::absolute(time),
            Some(time) => output::relative(time, now),
        };
        let of_pod = |cell: String| if first { cell } else { String::new() };
        let of_app = |cell: fn(&AppReport) -> &str| {
            app.map_or_else(|| "-".to_owned(), |app| cell(app).to_owned())
        };
        let uuid = if self.full {
            pod.name.clone()
        } else {
            pod.name.chars().take(SHORT).collect()
        };
        let mut cells = vec![
            of_pod(uuid),
            of_app(|app| &app.name),
            of_app(|app| &app.image_name),
        ];
        if self.full {
            cells.push(of_app(|app| &app.image_id));
        }
        cells.extend([
            of_pod(pod.state_text()),
            of_pod(time(pod.created_at)),
            of_pod(time(pod.started_at)),
            of_pod(pod.networks(", ")),
        ]);
        cells
    }
}
