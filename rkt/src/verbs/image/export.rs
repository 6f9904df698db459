//! `rkt image export`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fetch::reference::{ArchiveKind, HostFiles, Reference};
use image_store::{Exported, ImageRecord, Store};

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::publish::{NewDir, NewFile};

#[derive(Debug, Args)]
#[command(
    about = "write an image back to a file or directory",
    long_about = "Write an image back to a file or directory.\n\n\
        An ACI is written byte for byte as it was before it was compressed. An OCI image is \
        written as an image layout: oci:DIR[:TAG] is a directory, oci-archive:FILE[:TAG] or a \
        file name alone is a tar. Its configuration and its layers are those of the original, \
        the layers uncompressed; so unless they came uncompressed, the manifest is a new one.",
    after_help = "EXAMPLES:\n    rkt image export example.com/app app.aci\n    \
        rkt image export docker://busybox busybox.tar\n    \
        rkt image export docker://busybox oci:/tmp/layout:1.36"
)]
pub(crate) struct Export {
    /// The image, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The file to write, or oci:DIR[:TAG] or oci-archive:FILE[:TAG]
    #[arg(value_name = "FILE")]
    file: String,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

pub(in crate::verbs) const ACI_EXISTS: &str = "output ACI file exists (try --overwrite)";
pub(in crate::verbs) const ARCHIVE_EXISTS: &str = "output file exists (try --overwrite)";

impl Simple for Export {
    fn run(self, context: &Context) -> Outcome {
        let store = context.store()?;
        let record = fetching::find(&self.image, &store, context)?;
        if let Some(exported) = self.write(&store, &record, context)?
            && !exported.original
        {
            context.tell(&format!(
                "the layers were compressed when the image was fetched and are uncompressed now, \
                 so its manifest is a new one: {}",
                exported.manifest
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Export {
    /// Says what an OCI image became.
    fn write(
        &self,
        store: &Store,
        record: &ImageRecord,
        context: &Context,
    ) -> Result<Option<Exported>, Failure> {
        let tag = |typed: Option<String>| typed.unwrap_or_else(|| default_tag(record));
        match layout(&self.file)? {
            Some((ArchiveKind::OciLayout, dir, typed)) => {
                let out = NewDir::new(&dir, self.overwrite, context.data_dir()?)?;
                let exported = store.export_layout(record, &tag(typed), out.path())?;
                out.publish()?;
                Ok(Some(exported))
            }
            Some((_, file, typed)) => {
                let mut out = NewFile::new(&file, self.overwrite, ARCHIVE_EXISTS)?;
                let exported = store.export_archive(record, &tag(typed), out.file())?;
                out.publish(ARCHIVE_EXISTS)?;
                Ok(Some(exported))
            }
            None if record.oci.is_some() => {
                let file = Path::new(&self.file);
                let mut out = NewFile::new(file, self.overwrite, ARCHIVE_EXISTS)?;
                let exported = store.export_archive(record, &tag(None), out.file())?;
                out.publish(ARCHIVE_EXISTS)?;
                Ok(Some(exported))
            }
            None => {
                let file = Path::new(&self.file);
                let mut out = NewFile::new(file, self.overwrite, ACI_EXISTS)?;
                store.export_aci(record, out.file())?;
                out.publish(ACI_EXISTS)?;
                Ok(None)
            }
        }
    }
}

/// What `oci:…` and `oci-archive:…` name; nothing for a plain file name.
pub(in crate::verbs) fn layout(
    word: &str,
) -> Result<Option<(ArchiveKind, PathBuf, Option<String>)>, Failure> {
    let kinds = [ArchiveKind::OciLayout, ArchiveKind::OciArchive];
    let named = |kind: &ArchiveKind| {
        let rest = word.strip_prefix(kind.scheme());
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    if !kinds.iter().any(named) {
        return Ok(None);
    }
    match Reference::parse_in(word, &HostFiles)? {
        Reference::Archive { kind, path, image } => Ok(Some((kind, path, image))),
        _ => Ok(None),
    }
}

/// Some tools find an image in a layout by its tag only.
pub(in crate::verbs) fn default_tag(record: &ImageRecord) -> String {
    record
        .manifest
        .label("version")
        .unwrap_or("latest")
        .to_owned()
}
