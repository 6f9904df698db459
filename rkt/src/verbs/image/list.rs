//! `rkt image list`.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use image_store::ImageRecord;
use manifests::trust::Verification;
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Format, Table};
use crate::report;
use crate::verbs::error_block;

#[derive(Debug, Args)]
#[command(
    about = "list the images in the store, and who vouched for them",
    after_help = "EXAMPLES:\n    rkt image list\n    rkt image list --fields=name,size --sort=size --order=desc"
)]
pub(crate) struct List {
    /// Columns: id, name, size, importtime, verified
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "id,name,size,importtime,lastused,verified"
    )]
    fields: Vec<Field>,
    /// Columns to sort by
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "importtime"
    )]
    sort: Vec<Field>,
    /// asc or desc
    #[arg(long, value_name = "ORDER", default_value = "asc")]
    order: String,
    /// Leave the first line out
    #[arg(long)]
    no_legend: bool,
    /// Whole ids, sizes in bytes and times
    #[arg(long)]
    full: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Id,
    Name,
    Size,
    #[value(name = "importtime")]
    ImportTime,
    #[value(name = "lastused")]
    LastUsed,
    Verified,
}

impl Field {
    fn legend(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Name => "NAME",
            Self::Size => "SIZE",
            Self::ImportTime => "IMPORT TIME",
            Self::LastUsed => "LAST USED",
            Self::Verified => "VERIFIED BY",
        }
    }
}

/// Digits of an id without `--full`.
const SHORT: usize = 12;

/// An image as programs see it; times in nanoseconds since the epoch.
#[derive(Debug, Serialize)]
struct ImageReport {
    id: String,
    name: String,
    import_time: u64,
    last_used_time: u64,
    size: u64,
    names: Vec<String>,
    verification: Verification,
}

struct Image {
    record: ImageRecord,
    names: Vec<String>,
    last_used: SystemTime,
}

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let store = context.store()?;
        let mut names = store.names()?;
        let (mut images, mut errors) = (Vec::new(), Vec::new());
        for image in store.images()? {
            match image {
                Ok(record) => images.push(Image {
                    names: names.remove(&record.id).unwrap_or_default(),
                    last_used: store.last_used(&record.id).unwrap_or(record.imported),
                    record,
                }),
                Err(e) => errors.push(e.to_string()),
            }
        }
        self.sort(&mut images)?;
        match format {
            Format::Text => self.table(&images).print(!self.no_legend),
            Format::Json | Format::JsonPretty => {
                let reports: Vec<ImageReport> = images.iter().map(ImageReport::new).collect();
                output::json(&reports, format == Format::JsonPretty)?;
            }
        }
        error_block("images", &errors);
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn sort(&self, images: &mut [Image]) -> Result<(), Failure> {
        let descending = match self.order.as_str() {
            "asc" => false,
            "desc" => true,
            other => {
                return Err(Failure::new(format!(
                    "wrong sort order {other:?}: expected asc or desc"
                )));
            }
        };
        images.sort_by(|a, b| {
            let orders = self.sort.iter().map(|field| compare(*field, a, b));
            let order = orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
            if descending { order.reverse() } else { order }
        });
        Ok(())
    }

    fn table(&self, images: &[Image]) -> Table {
        let legend: Vec<&str> = self.fields.iter().map(|field| field.legend()).collect();
        let mut table = Table::new(&legend);
        let now = SystemTime::now();
        for image in images {
            table.row(
                self.fields
                    .iter()
                    .map(|f| self.cell(*f, image, now))
                    .collect(),
            );
        }
        table
    }

    fn cell(&self, field: Field, image: &Image, now: SystemTime) -> String {
        let time = |time: SystemTime| {
            if self.full {
                output::absolute(time)
            } else {
                output::relative(time, now)
            }
        };
        match field {
            Field::Id if self.full => image.record.id.to_string(),
            Field::Id => image.record.id.short(SHORT),
            Field::Name => name(&image.record),
            Field::Size if self.full => size(&image.record).to_string(),
            Field::Size => output::bytes(size(&image.record)),
            Field::ImportTime => time(image.record.imported),
            Field::LastUsed => time(image.last_used),
            Field::Verified => report::verified_by(&image.record.verification),
        }
    }
}

fn compare(field: Field, a: &Image, b: &Image) -> std::cmp::Ordering {
    match field {
        Field::Id => a.record.id.cmp(&b.record.id),
        Field::Name => name(&a.record).cmp(&name(&b.record)),
        Field::Size => size(&a.record).cmp(&size(&b.record)),
        Field::ImportTime => a.record.imported.cmp(&b.record.imported),
        Field::LastUsed => a.last_used.cmp(&b.last_used),
        Field::Verified => {
            let by = |image: &Image| report::verified_by(&image.record.verification);
            by(a).cmp(&by(b))
        }
    }
}

/// `name[:version]`.
pub(super) fn name(record: &ImageRecord) -> String {
    match record.manifest.label("version") {
        Some(version) => format!("{}:{version}", record.manifest.name),
        None => record.manifest.name.to_string(),
    }
}

/// Bytes of the image's layers, each once, and its index.
fn size(record: &ImageRecord) -> u64 {
    let mut layers: Vec<_> = record.rootfs.layers().collect();
    layers.sort_by(|a, b| a.digest.cmp(&b.digest));
    layers.dedup_by(|a, b| a.digest == b.digest);
    layers.iter().map(|layer| layer.size).sum::<u64>() + record.index.size
}

impl ImageReport {
    fn new(image: &Image) -> Self {
        let nanoseconds = |time: SystemTime| {
            let since = time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        Self {
            id: image.record.id.to_string(),
            name: name(&image.record),
            import_time: nanoseconds(image.record.imported),
            last_used_time: nanoseconds(image.last_used),
            size: size(&image.record),
            names: image.names.clone(),
            verification: image.record.verification.clone(),
        }
    }
}
