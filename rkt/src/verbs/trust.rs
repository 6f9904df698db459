//! `rkt trust …`.

mod accept;
mod add;
mod explain;
mod import;
mod list;

pub(super) use accept::Accept;
pub(super) use add::Trust;
pub(super) use explain::Explain;
pub(super) use import::Import;
pub(super) use list::List;

use fetch::reference::Reference;
use manifests::appc::ImageManifest;
use manifests::platform::Platform;

use crate::cli::Context;
use crate::failure::Failure;
use crate::fetching;

/// What the words of a line name: an image's name with the labels that it would
/// have on this machine, whether or not it is stored.
fn named(word: &str, context: &Context) -> Result<ImageManifest, Failure> {
    let (name, version, mut labels) = match fetching::parse(word, context)? {
        Reference::Docker(docker) => {
            let name = manifests::oci::name_of(Some(docker.registry()), docker.repository())?;
            (name, docker.tag().map(str::to_owned), Vec::new())
        }
        _ => {
            let app = fetch::reference::AppName::parse(word)?;
            let labels = app.labels().iter();
            let labels: Vec<(String, String)> =
                labels.map(|(n, v)| (n.to_string(), v.clone())).collect();
            (app.name().clone(), None, labels)
        }
    };
    labels.extend(version.map(|v| ("version".to_owned(), v)));
    if let Ok((os, arch)) = Platform::host().to_labels() {
        for (label, value) in [("os", os), ("arch", arch)] {
            if !labels.iter().any(|(name, _)| name == label) {
                labels.push((label.to_owned(), value.to_owned()));
            }
        }
    }
    let mut manifest = ImageManifest::new(name);
    for (name, value) in labels {
        manifest.labels.push(manifests::appc::Label {
            name: name.parse()?,
            value,
        });
    }
    Ok(manifest)
}

/// How `rkt trust` ends its help: what a policy is.
const HELP: &str = "\
EXAMPLES:
    rkt trust --prefix=example.com/app ./key.asc
    rkt trust --prefix=example.com --skip-fingerprint-review ./key.asc
    rkt trust --root ./key.asc
    rkt trust --prefix=example.com https://example.com/key.asc
    rkt trust --prefix=example.com        # the key that example.com names
    rkt trust list
    rkt trust explain docker://registry.example.com/app:1.0
    rkt trust accept registry.example.com/app:1.0 sha256-…
    rkt trust import /etc/containers/policy.json

THE POLICY:
    Files *.json in /usr/lib/rkt/trust.d and /etc/rkt/trust.d hold rules by
    name. For an image the rule with the longest prefix of its name counts,
    alone, wherever the image comes from; a rule of /etc/rkt replaces one of
    /usr/lib/rkt for the same prefix. Where no rule is about an image, it has
    to be signed by an OpenPGP key of the keystore, which is what this command
    fills. --insecure-options=image skips signatures, not `reject` and `pinned`.

    {\"rktKind\": \"trust\", \"rktVersion\": \"v1\", \"rules\": [
      {\"prefix\": \"example.com\", \"level\": \"signed-by\", \"signers\": [
        {\"type\": \"openpgp\"},
        {\"type\": \"key\", \"file\": \"/etc/rkt/cosign.pub\"},
        {\"type\": \"identity\", \"subject\": \"ci@example.com\",
         \"issuer\": \"https://accounts.example.com\",
         \"trustRoot\": \"/etc/rkt/trusted_root.json\"}]},
      {\"prefix\": \"docker.io/library\", \"level\": \"pinned\"},
      {\"prefix\": \"localhost:5000\", \"level\": \"anything\"},
      {\"prefix\": \"\", \"level\": \"reject\"}]}

    reject     nothing is let in
    signed-by  one of the signers signed it: an OpenPGP key of the keystore (ACIs;
               \"fingerprints\" narrows it), a key of cosign (\"file\" or \"data\", PEM;
               with \"trustRoot\" its signatures must be logged), or an identity
               (\"subject\" may hold *) that a certificate names (OCI images)
    pinned     it is the image that was seen first under its name, or that
               `rkt trust accept` accepted since
    anything   nothing is asked

    \"signedAs\" beside \"signers\" names the repository that signatures name, for
    copies. The rules are asked again before a stored image is run.";
