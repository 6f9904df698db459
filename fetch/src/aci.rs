//! ACIs: from a file, from a URL, from the site of their name.
//!
//! ```text
//!   file ───────────────────────────┐ FILE.asc
//!   URL ────────────────────────────┤ URL.asc        unless the server says that
//!   name ─▶ discovery ─▶ URLs ──────┘                what is stored is still right
//!                  name and labels must be those asked for
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use image_store::{Cached, ImageName, ImageRecord};
use manifests::appc::{Dependency, ImageManifest};
use reqwest::Url;

use crate::dependencies::Path as Chain;
use crate::discovery::{self, Endpoint};
use crate::error::Reason;
use crate::fetcher::{Fetcher, Request};
use crate::image::{AciInput, Context, Expected, Signature, import_aci};
use crate::openpgp::Signatures;
use crate::policy::Demand;
use crate::reference::{AppName, Reference};
use crate::transport::{Answer, Fetched, Web, WebError, open_regular};

/// Signature files hold a few hundred bytes for each signer.
const MAX_SIGNATURE: u64 = 1 << 20;

/// How long a server may take to make a signature.
const SIGNATURE_PATIENCE: Duration = Duration::from_secs(60);
const SIGNATURE_PAUSE: Duration = Duration::from_secs(2);

/// The signature, or why there is none; nothing if it was not looked for. An
/// error only counts if the image, once its name is known, has to be signed.
type Looked = Option<Result<Signature, Reason>>;

impl Fetcher<'_> {
    pub(crate) fn fetch_file(
        &self,
        context: Context<'_>,
        path: &Path,
        request: &Request,
    ) -> Result<ImageRecord, Reason> {
        let signature = match self.settings().insecure.image {
            true => None,
            false => self.looked(read_signature(path, request.signature.as_deref()))?,
        };
        let file_error = |source| Reason::File {
            path: path.to_owned(),
            source,
        };
        let file = open_regular(path).map_err(file_error)?;
        let size = file.metadata().map_err(file_error)?.len();
        let name = path.file_name().unwrap_or(path.as_os_str());
        let chain = Chain::default();
        let mut resolve = self.resolver(request, &chain);
        let input = AciInput {
            body: Box::new(file),
            size: Some(size),
            name: &name.to_string_lossy(),
            signature,
            expected: Expected::default(),
            names: vec![context.reference.to_string().into()],
            dependencies: &mut resolve,
        };
        import_aci(context, input)
    }

    pub(crate) fn fetch_url(
        &self,
        context: Context<'_>,
        url: &str,
        request: &Request,
    ) -> Result<ImageRecord, Reason> {
        let image = Url::parse(url).map_err(|_| WebError::NotFound(url.to_owned()))?;
        let mut signature = image.clone();
        signature.set_path(&format!("{}.asc", image.path()));
        let endpoint = Endpoint { image, signature };
        let web = Web::new(&self.access());
        let wanted = Expected::default();
        self.fetch_endpoint(context, &web, &endpoint, request, wanted, &Chain::default())
    }

    pub(crate) fn fetch_app(
        &self,
        context: Context<'_>,
        app: &AppName,
        request: &Request,
    ) -> Result<ImageRecord, Reason> {
        let wanted = Expected {
            app: Some(app),
            ..Expected::default()
        };
        self.discover_and_fetch(context, app, request, wanted, &Chain::default())
    }

    /// The image of this name from its site; a mirror is asked only if the
    /// endpoint before it does not have the image.
    pub(crate) fn discover_and_fetch(
        &self,
        context: Context<'_>,
        app: &AppName,
        request: &Request,
        wanted: Expected<'_>,
        chain: &Chain,
    ) -> Result<ImageRecord, Reason> {
        let web = Web::new(&self.access());
        let endpoints = discovery::endpoints(&web, app, context.platform)?;
        let mut first_error = None;
        for endpoint in &endpoints {
            match self.fetch_endpoint(context, &web, endpoint, request, wanted, chain) {
                Err(Reason::Web(error)) => {
                    first_error.get_or_insert(error);
                }
                other => return other,
            }
        }
        let nowhere = || WebError::NotFound(app.to_string());
        Err(first_error.unwrap_or_else(nowhere).into())
    }

    fn fetch_endpoint(
        &self,
        context: Context<'_>,
        web: &Web,
        endpoint: &Endpoint,
        request: &Request,
        wanted: Expected<'_>,
        chain: &Chain,
    ) -> Result<ImageRecord, Reason> {
        let before = self.known(&endpoint.image, wanted)?;
        if let Some((record, cached)) = &before
            && cached.fresh_until > SystemTime::now()
        {
            return self.unchanged(context, endpoint, record, cached.clone());
        }
        // The signature first: without a good one nobody needs the image. But
        // where the image is likely to be the same, that is asked first.
        let early = match before {
            Some(_) => None,
            None => self.signature(web, endpoint, request, wanted)?,
        };
        self.check_signer(&early, wanted)?;
        let condition = before.as_ref().map(|(_, cached)| cached);
        let fetched = match (web.fetch(&endpoint.image, condition)?, &before) {
            (Answer::Unchanged(cached), Some((record, _))) => {
                return self.unchanged(context, endpoint, record, cached);
            }
            (Answer::Unchanged(_), None) => {
                return Err(WebError::NotFound(endpoint.image.to_string()).into());
            }
            (Answer::Changed(fetched), _) => fetched,
        };
        let signature = match before {
            Some(_) => self.signature(web, endpoint, request, wanted)?,
            None => early,
        };
        self.check_signer(&signature, wanted)?;
        self.import_fetched(
            context, endpoint, fetched, signature, request, wanted, chain,
        )
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the last step of one path, with what the steps before it found"
    )]
    fn import_fetched(
        &self,
        context: Context<'_>,
        endpoint: &Endpoint,
        fetched: Fetched,
        signature: Looked,
        request: &Request,
        wanted: Expected<'_>,
        chain: &Chain,
    ) -> Result<ImageRecord, Reason> {
        let mut resolve = self.resolver(request, chain);
        let segments = endpoint.image.path_segments();
        let name = segments.and_then(|mut s| s.next_back()).unwrap_or_default();
        let input = AciInput {
            body: fetched.body,
            size: fetched.size,
            name,
            signature,
            expected: wanted,
            names: names(context.reference, endpoint, fetched.cached),
            dependencies: &mut resolve,
        };
        import_aci(context, input)
    }

    /// The image that this URL led to the last time, if it would do and its
    /// server can be asked about it.
    fn known(
        &self,
        url: &Url,
        wanted: Expected<'_>,
    ) -> Result<Option<(ImageRecord, Cached)>, Reason> {
        let Some((id, cached)) = self.store().find_cached(url.as_str())? else {
            return Ok(None);
        };
        let Some(record) = self.store().image(&id)? else {
            return Ok(None);
        };
        // What was let in with less than is asked for now is looked at anew.
        let holds = self.settings().policy.still_holds(&record).is_ok();
        let will_do = holds && wanted.check_id(&record.id).is_ok();
        Ok(will_do.then_some((record, cached)))
    }

    /// Nothing is transferred; what is remembered of the URL is.
    fn unchanged(
        &self,
        context: Context<'_>,
        endpoint: &Endpoint,
        record: &ImageRecord,
        cached: Cached,
    ) -> Result<ImageRecord, Reason> {
        let mut changed = Vec::new();
        for name in names(context.reference, endpoint, Some(cached)) {
            let same = match &name.cached {
                Some(cached) => self
                    .store()
                    .find_cached(&name.name)?
                    .is_some_and(|(id, old)| id == record.id && old == *cached),
                None => self.store().find_name(&name.name)?.as_ref() == Some(&record.id),
            };
            if !same {
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            self.store().add_names(&record.id, changed)?;
        }
        Ok(record.clone())
    }

    fn signature(
        &self,
        web: &Web,
        endpoint: &Endpoint,
        request: &Request,
        wanted: Expected<'_>,
    ) -> Result<Looked, Reason> {
        let policy = &self.settings().policy;
        let demand = wanted
            .app
            .map(|app| policy.demand(app.name()))
            .transpose()?;
        let not_asked = matches!(demand, Some(Demand::Nothing(_) | Demand::Pin(_)));
        if self.settings().insecure.image || not_asked {
            return Ok(None);
        }
        if let Some(path) = &request.signature {
            return self.looked(read_signature(path, Some(path)));
        }
        let url = &endpoint.signature;
        let place = PathBuf::from(url.as_str());
        let until = Instant::now() + SIGNATURE_PATIENCE;
        loop {
            match web.small_or_later(url, MAX_SIGNATURE) {
                Ok(Some(bytes)) => return Ok(Some(Ok(Signature { file: place, bytes }))),
                Ok(None) if Instant::now() < until => thread::sleep(SIGNATURE_PAUSE),
                Ok(None) => return Err(Reason::SignatureLater(url.to_string())),
                Err(WebError::NotFound(_)) => {
                    let missing = Reason::NoSignature(place);
                    return match demand {
                        Some(_) => Err(missing),
                        None => self.looked(Err(missing)),
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where the name is known beforehand, a signature by somebody else costs
    /// no transfer.
    fn check_signer(&self, signature: &Looked, wanted: Expected<'_>) -> Result<(), Reason> {
        let (Some(Ok(signature)), Some(app)) = (signature, wanted.app) else {
            return Ok(());
        };
        let error = |source| Reason::Signature {
            file: signature.file.clone(),
            name: Some(app.name().clone()),
            source,
        };
        let signatures = Signatures::parse(&signature.bytes).map_err(error)?;
        let keystore = self.settings().policy.keystore();
        // A key that is trusted for other names gets its own message, later.
        signatures.check_known(&keystore.all()?).map_err(error)
    }

    /// A missing signature is told at once, unless there are rules by which
    /// some images need none.
    fn looked(&self, signature: Result<Signature, Reason>) -> Result<Looked, Reason> {
        match signature {
            Err(reason) if !self.settings().policy.lets_in_unsigned() => Err(reason),
            signature => Ok(Some(signature)),
        }
    }

    /// How images find those that they are built on.
    pub(crate) fn resolver<'r>(
        &'r self,
        request: &'r Request,
        chain: &'r Chain,
    ) -> impl FnMut(&ImageManifest, &Dependency) -> Result<ImageRecord, Reason> + 'r {
        move |manifest, dependency| self.dependency(request, chain, manifest, dependency)
    }
}

/// The name it was asked for by, and its URL with what its server said.
fn names(reference: &Reference, endpoint: &Endpoint, cached: Option<Cached>) -> Vec<ImageName> {
    let url = ImageName {
        name: endpoint.image.to_string(),
        cached,
    };
    let asked = reference.to_string();
    match asked == url.name {
        true => vec![url],
        false => vec![asked.into(), url],
    }
}

/// The detached signature of an ACI: the given file, or the one beside it.
fn read_signature(aci: &Path, given: Option<&Path>) -> Result<Signature, Reason> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let mut beside = aci.as_os_str().to_owned();
            beside.push(".asc");
            PathBuf::from(beside)
        }
    };
    let read = || {
        let mut bytes = Vec::new();
        open_regular(&path)?
            .take(MAX_SIGNATURE)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let error = |source: io::Error| match source.kind() {
        // Without the image the missing signature is the lesser news.
        io::ErrorKind::NotFound if aci.exists() => Reason::NoSignature(path.clone()),
        io::ErrorKind::NotFound if given.is_none() => Reason::File {
            path: aci.to_owned(),
            source,
        },
        _ => Reason::File {
            path: path.clone(),
            source,
        },
    };
    let bytes = read().map_err(error)?;
    Ok(Signature { file: path, bytes })
}
