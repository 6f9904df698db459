//! The images that an ACI is built on.
//!
//! A dependency is found in the store by its ID, or by its name and labels;
//! otherwise it is discovered, fetched and verified like any other image, and
//! its own dependencies before it. So a stored image always has all of its
//! parts, and what was merged into it was verified as it was.
//!
//! Source: appc specification, "Dependency Matching".

use image_store::ImageRecord;
use manifests::appc::{Dependency, ImageManifest};
use manifests::image_id::ImageId;
use manifests::trust::Vouched;

use crate::error::Reason;
use crate::fetcher::{Fetcher, PullPolicy, Request};
use crate::image::Expected;
use crate::lookup;
use crate::reference::{AppName, Reference};

/// No image is built on more than a few others; a hostile site may invent one
/// below the other for ever.
const MAX_DEPTH: usize = 16;
const MAX_DEPENDENCIES: usize = 128;

/// The images on the way from the one that was asked for to the one at hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path(Vec<ImageManifest>);

impl Path {
    fn below(&self, manifest: &ImageManifest) -> Self {
        let mut path = self.clone();
        path.0.push(manifest.clone());
        path
    }

    /// Fails if the dependency is one of the images on the way.
    fn check(&self, wanted: &AppName) -> Result<(), Reason> {
        if self.0.len() > MAX_DEPTH {
            return Err(Reason::TooDeepDependencies(MAX_DEPTH));
        }
        let is_wanted = |manifest: &ImageManifest| {
            manifest.name == *wanted.name()
                && wanted
                    .labels()
                    .iter()
                    .all(|(name, value)| manifest.label(name.as_str()) == Some(value))
        };
        match self.0.iter().position(is_wanted) {
            None => Ok(()),
            Some(start) => {
                let circle = self.0[start..].iter().map(|m| m.name.to_string());
                let circle: Vec<_> = circle.chain([wanted.name().to_string()]).collect();
                Err(Reason::Circle(circle.join(" → ")))
            }
        }
    }
}

impl Fetcher<'_> {
    /// A dependency of the image with this manifest, in the store.
    pub(crate) fn dependency(
        &self,
        request: &Request,
        path: &Path,
        manifest: &ImageManifest,
        dependency: &Dependency,
    ) -> Result<ImageRecord, Reason> {
        if manifest.dependencies.len() > MAX_DEPENDENCIES {
            return Err(Reason::TooManyDependencies(MAX_DEPENDENCIES));
        }
        let labels = dependency.labels.iter();
        let labels = labels.map(|l| (l.name.to_string(), l.value.clone()));
        let name = dependency.image_name.as_str();
        let app = AppName::new(name, labels.collect())
            .map_err(|reason| Reason::NotAci(format!("its dependency {name}: {reason}")))?;
        let wanted = Expected {
            app: Some(&app),
            id: dependency.image_id.as_ref(),
            size: dependency.size,
        };
        let path = path.below(manifest);
        path.check(&app)
            .and_then(|()| self.find_or_fetch(request, &path, &app, wanted))
            .map_err(|reason| match reason {
                circle @ Reason::Circle(_) => circle,
                reason => Reason::Dependency {
                    name: app.to_string(),
                    source: Box::new(reason),
                },
            })
    }

    fn find_or_fetch(
        &self,
        request: &Request,
        path: &Path,
        app: &AppName,
        wanted: Expected<'_>,
    ) -> Result<ImageRecord, Reason> {
        let reference = Reference::App(app.clone());
        let stored = self.stored_dependency(&reference, wanted)?;
        let policy = &self.settings().policy;
        let unverified = stored
            .as_ref()
            .filter(|record| policy.still_holds(record).is_err())
            .map(|record| {
                let allowed_by = match &record.verification.by {
                    Vouched::Nothing { allowed_by } => allowed_by.clone(),
                    _ => "what was asked for then".to_owned(),
                };
                (record.id.clone(), allowed_by)
            });
        if let Some(record) = stored
            && unverified.is_none()
            && !self.is_to_be_asked_again(request, &reference, wanted)?
        {
            return Ok(record);
        }
        let context = self.context(&reference);
        context.progress.image(&reference.to_string());
        // The signature that was given is the first image's.
        let request = Request {
            signature: None,
            ..request.clone()
        };
        let fetched = self.discover_and_fetch(context, app, &request, wanted, path);
        match (fetched, unverified) {
            (Err(source), Some((id, allowed_by))) => Err(Reason::Unverified {
                id,
                allowed_by,
                source: Box::new(source),
            }),
            (fetched, _) => fetched,
        }
    }

    /// By its ID, if that is known: other images of the name do not matter.
    fn stored_dependency(
        &self,
        reference: &Reference,
        wanted: Expected<'_>,
    ) -> Result<Option<ImageRecord>, Reason> {
        let Some(id) = wanted.id else {
            return lookup::find_stored(self.store(), reference, &self.settings().platform);
        };
        let named = lookup::find_stored(self.store(), reference, &self.settings().platform)?;
        if let Some(record) = named
            && wanted.check_id(&record.id).is_ok()
        {
            return Ok(Some(record));
        }
        let found: Option<ImageId> = match id.full() {
            Some(id) => Some(id),
            None => self.store().find_id(&id.to_string()).ok(),
        };
        Ok(match found {
            Some(id) => self.store().image(&id)?,
            None => None,
        })
    }

    /// What was discovered may have been replaced on its site; what came from
    /// a file, or is wanted by its ID, is what it is.
    fn is_to_be_asked_again(
        &self,
        request: &Request,
        reference: &Reference,
        wanted: Expected<'_>,
    ) -> Result<bool, Reason> {
        if request.pull_policy != PullPolicy::Update || wanted.id.is_some() {
            return Ok(false);
        }
        Ok(self.store().find_name(&reference.to_string())?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, version: &str) -> ImageManifest {
        let json = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}",
                "labels":[{{"name":"version","value":"{version}"}}]}}"#
        );
        ImageManifest::from_slice(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_circle_is_told_with_its_way_and_a_diamond_is_none() {
        let path = Path::default()
            .below(&manifest("example.com/a", "1"))
            .below(&manifest("example.com/b", "1"));
        let check = |name: &str| path.check(&AppName::parse(name).unwrap());
        let error = check("example.com/a").unwrap_err().to_string();
        assert!(
            error.contains("example.com/a → example.com/b → example.com/a"),
            "{error}"
        );
        assert!(check("example.com/b:1").is_err());
        assert!(check("example.com/b:0").is_ok());
        assert!(check("example.com/c").is_ok());
    }

    #[test]
    fn an_endless_way_ends() {
        let mut path = Path::default();
        let name = |n: usize| format!("example.com/{n}");
        for n in 0..=MAX_DEPTH {
            assert!(path.check(&AppName::parse(&name(n)).unwrap()).is_ok());
            path = path.below(&manifest(&name(n), "1"));
        }
        let error = path.check(&AppName::parse("example.com/x").unwrap());
        assert!(matches!(error, Err(Reason::TooDeepDependencies(_))));
    }
}
