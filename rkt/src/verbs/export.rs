//! `rkt export`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fetch::reference::ArchiveKind;
use flate2::Compression;
use flate2::write::GzEncoder;
use image_store::pack;
use manifests::appc::{ImageManifest, PodManifest, RuntimeApp};
use stage0::export::{self, Leftover};
use stage0::prepare;

use super::image::export::{ACI_EXISTS, ARCHIVE_EXISTS, default_tag, layout};
use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::publish::{NewDir, NewFile};

#[derive(Debug, Args)]
#[command(
    about = "write an app of an exited pod as an image",
    long_about = "Write an app of an exited pod as an image: the image it ran from, with \
        everything the app changed in its root file system. Volumes are not part of it.\n\n\
        FILE.aci becomes a compressed ACI. oci:DIR[:TAG] becomes an OCI image layout with one \
        layer, oci-archive:FILE[:TAG] a tar of one.",
    after_help = "EXAMPLES:\n    rkt export 5bc080ca app.aci\n    \
        rkt export --app=web 5bc080ca oci:/tmp/layout:1.1\n    \
        rkt export --overwrite 5bc080ca oci-archive:web.tar"
)]
pub(crate) struct Export {
    /// The pod, by UUID or its beginning, then FILE.aci, oci:DIR[:TAG] or oci-archive:FILE[:TAG]
    #[arg(value_name = "UUID FILE")]
    words: Vec<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// The app, if the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

impl Simple for Export {
    fn run(self, context: &Context) -> Outcome {
        let mut words = self.words.clone();
        let typed = super::leading_uuid(&mut words, self.uuid_file.as_deref())?;
        let [file] = words.as_slice() else {
            return Err(Failure::new(
                "must provide the pod UUID and one file (FILE.aci, oci:DIR, oci-archive:FILE)",
            ));
        };
        let output = Output::parse(file)?;
        let pod = context.pod(&typed)?;
        let manifest = pod.manifest()?;
        let app = self.app(&manifest)?;
        let store = context.store()?;
        let one = PodManifest {
            apps: vec![app.clone()],
            ..manifest.clone()
        };
        let record = prepare::find_images(&one, &store)?
            .pop()
            .ok_or_else(|| Failure::new("the app has no image"))?;
        let leftover = Leftover::open(&pod, app, &record, &store)?;
        let manifest = export::manifest(&record);
        let tag = |typed: Option<String>| typed.unwrap_or_else(|| default_tag(&record));
        let left_out = match output {
            Output::Aci(file) => self.aci(&file, &manifest, &leftover)?,
            Output::Layout(dir, typed) => {
                let out = NewDir::new(&dir, self.overwrite, context.data_dir()?)?;
                let (_, left_out) =
                    pack::layout(&manifest, leftover.tree(), &tag(typed), out.path())?;
                out.publish()?;
                left_out
            }
            Output::Archive(file, typed) => {
                let mut out = NewFile::new(&file, self.overwrite, ARCHIVE_EXISTS)?;
                let beside = out.directory();
                let (_, left_out) =
                    pack::archive(&manifest, leftover.tree(), &tag(typed), &beside, out.file())?;
                out.publish(ARCHIVE_EXISTS)?;
                left_out
            }
        };
        for path in left_out {
            context.tell(&format!("warning: {path:?} is a socket and was left out"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is to be written.
enum Output {
    Aci(PathBuf),
    Layout(PathBuf, Option<String>),
    Archive(PathBuf, Option<String>),
}

impl Output {
    fn parse(word: &str) -> Result<Self, Failure> {
        match layout(word)? {
            Some((ArchiveKind::OciLayout, dir, tag)) => Ok(Self::Layout(dir, tag)),
            Some((_, file, tag)) => Ok(Self::Archive(file, tag)),
            None if Path::new(word).extension().is_some_and(|e| e == "aci") => {
                Ok(Self::Aci(PathBuf::from(word)))
            }
            None => Err(Failure::new(format!(
                "extension must be .aci (given {word:?}), or name an OCI image: oci:DIR, \
                 oci-archive:FILE"
            ))),
        }
    }
}

impl Export {
    fn app<'a>(&self, manifest: &'a PodManifest) -> Result<&'a RuntimeApp, Failure> {
        let names = || -> Vec<&str> { manifest.apps.iter().map(|a| a.name.as_str()).collect() };
        match (&self.app, manifest.apps.as_slice()) {
            (None, [app]) => Ok(app),
            (None, _) => Err(Failure::new(format!(
                "pod contains multiple apps: {}. Specify app using \"rkt export --app= ...\"",
                names().join(", ")
            ))),
            (Some(name), apps) => apps.iter().find(|app| app.name == **name).ok_or_else(|| {
                Failure::new(format!(
                    "the pod has no app {name:?}; it has {}",
                    names().join(", ")
                ))
            }),
        }
    }

    fn aci(
        &self,
        file: &Path,
        manifest: &ImageManifest,
        leftover: &Leftover<'_>,
    ) -> Result<Vec<PathBuf>, Failure> {
        let mut out = NewFile::new(file, self.overwrite, ACI_EXISTS)?;
        let failed = |e: io::Error| Failure::because(format!("cannot write {file:?}"), e);
        let mut gzip = GzEncoder::new(io::BufWriter::new(out.file()), Compression::default());
        let left_out = pack::aci(manifest, leftover.tree(), &mut gzip)?;
        gzip.finish()
            .and_then(|mut rest| rest.flush())
            .map_err(failed)?;
        out.publish(ACI_EXISTS)?;
        Ok(left_out)
    }
}
