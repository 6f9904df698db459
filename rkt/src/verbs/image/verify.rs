//! `rkt image verify`.

use std::process::ExitCode;

use clap::Args;
use fetch::Fetcher;
use image_store::{Damage, ImageRecord, Store, Verifier};
use manifests::digest::Digest;
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::output::{self, Format, say};

#[derive(Debug, Args)]
#[command(
    about = "read every byte of images again and name what is damaged",
    after_help = "EXAMPLES:\n    rkt image verify example.com/app\n    \
        rkt image verify --all --repair"
)]
pub(crate) struct Verify {
    /// The images, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Every image in the store
    #[arg(long)]
    all: bool,
    /// Fetch what is damaged again, from where the image came
    #[arg(long)]
    repair: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// An image as programs see it.
#[derive(Debug, Serialize)]
struct ImageReport {
    id: String,
    /// Nothing damaged, or all of it repaired.
    sound: bool,
    damaged: Vec<ObjectReport>,
    /// Why it was not repaired, if that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ObjectReport {
    object: Digest,
    what: String,
    repaired: bool,
}

impl Simple for Verify {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        if self.images.is_empty() != self.all {
            return Err(Failure::new(match self.all {
                true => "give images or --all, not both",
                false => "must provide at least one image ID",
            }));
        }
        let store = context.store()?;
        let (images, mut unreadable) = (self.images(&store, context)?, Vec::new());
        let fetcher = match self.repair {
            true => Some(fetching::fetcher(&store, context)?),
            false => None,
        };
        let mut verifier = store.verifier();
        let mut reports = Vec::new();
        for (word, image) in images {
            let image = match image {
                Ok(image) => image,
                Err(failure) => {
                    unreadable.push(failure);
                    continue;
                }
            };
            let report = verify(&image, &mut verifier, fetcher.as_ref())?;
            if format == Format::Text {
                report.tell(word.as_deref().unwrap_or(&report.id), context);
            }
            reports.push(report);
        }
        if format != Format::Text {
            output::json(&reports, format == Format::JsonPretty)?;
        }
        for failure in &unreadable {
            failure.report(context.verb(), context.debug());
        }
        let damaged = reports.iter().filter(|report| !report.sound).count() + unreadable.len();
        if damaged == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let remedy = match self.repair {
            true => "remove them and fetch them again",
            false => "--repair fetches what is damaged again",
        };
        Err(Failure::new(format!(
            "{damaged} image(s) are damaged ({remedy})"
        )))
    }
}

type Found = (Option<String>, Result<ImageRecord, Failure>);

impl Verify {
    /// What was typed, or everything; with `--all` a record that cannot be read
    /// is a finding.
    fn images(&self, store: &Store, context: &Context) -> Result<Vec<Found>, Failure> {
        if self.all {
            let records = store.images()?.into_iter();
            return Ok(records
                .map(|record| (None, record.map_err(Failure::from)))
                .collect());
        }
        let find = |word: &String| {
            Ok((
                Some(word.clone()),
                Ok(fetching::find(word, store, context)?),
            ))
        };
        self.images.iter().map(find).collect()
    }
}

fn verify(
    image: &ImageRecord,
    verifier: &mut Verifier<'_>,
    fetcher: Option<&Fetcher<'_>>,
) -> Result<ImageReport, Failure> {
    let damages = verifier.verify(image)?;
    let (mut left, mut error) = (Vec::new(), None);
    if let Some(fetcher) = fetcher
        && !damages.is_empty()
    {
        let objects: Vec<Digest> = damages.iter().map(|d| d.object.clone()).collect();
        error = fetcher.repair(image, &objects).err();
        // Believed when it was read again, and by nobody's word.
        verifier.forget(&objects);
        left = verifier.verify(image)?;
    }
    let repaired = |damage: &Damage| {
        fetcher.is_some() && left.iter().all(|other| other.object != damage.object)
    };
    let damaged: Vec<ObjectReport> = damages
        .iter()
        .map(|damage| ObjectReport {
            object: damage.object.clone(),
            what: damage.what.clone(),
            repaired: repaired(damage),
        })
        .collect();
    Ok(ImageReport {
        id: image.id.to_string(),
        sound: left.is_empty() && damaged.iter().all(|object| object.repaired),
        damaged,
        error: error.map(|e| e.to_string()),
    })
}

impl ImageReport {
    fn tell(&self, word: &str, context: &Context) {
        for object in &self.damaged {
            context.tell(&format!(
                "image {word:?}: object {} is damaged: {}{}",
                object.object,
                object.what,
                if object.repaired { "; repaired" } else { "" }
            ));
        }
        if let Some(error) = &self.error {
            context.tell(&format!("image {word:?}: {error}"));
        }
        if self.sound {
            let id = &self.id;
            say(&format!(
                "successfully verified checksum for image: {word:?} (\"{id}\")"
            ));
        }
    }
}
