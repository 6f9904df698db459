//! Labels and annotations: lists of names and values.

use serde::Serialize;

use super::decode::{Decode, Node, Object, Result, deserialize_by_decode};
use super::name::AcIdentifier;
use super::timestamp;
use crate::platform;

/// One property of an image, by which discovery tells images of one name
/// apart. The well-known ones are `version`, `os` and `arch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Unique in its list, never `name`.
    pub name: AcIdentifier,
    /// Any string.
    pub value: String,
}

/// One piece of information about an image, a pod or an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// Unique in its list.
    pub name: AcIdentifier,
    /// Any string, except for the names that the specification knows.
    pub value: String,
}

deserialize_by_decode!(Label, Annotation);

/// Value of the label of this name.
pub fn find_label<'a>(labels: &'a [Label], name: &str) -> Option<&'a str> {
    let label = labels.iter().find(|l| l.name == name)?;
    Some(&label.value)
}

/// Value of the annotation of this name.
pub fn find_annotation<'a>(annotations: &'a [Annotation], name: &str) -> Option<&'a str> {
    let annotation = annotations.iter().find(|a| a.name == name)?;
    Some(&annotation.value)
}

/// The first of two lists of labels contradicts this request: the label that
/// is missing or has another value. Labels that were not asked for may be
/// anything. Source: appc specification, "Dependency Matching".
pub fn first_mismatch<'a>(labels: &[Label], requested: &'a [Label]) -> Option<&'a Label> {
    let met = |r: &&Label| find_label(labels, r.name.as_str()) != Some(&r.value);
    requested.iter().find(met)
}

impl Decode for Label {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let name = object.need("name")?;
        if name.str()? == "name" {
            return Err(name.invalid("a label must not be called \"name\""));
        }
        Ok(Self {
            name: name.parse()?,
            value: object.string("value")?,
        })
    }
}

impl Decode for Annotation {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let name: AcIdentifier = object.need("name")?.parse()?;
        let value = object.string("value")?;
        let problem = match name.as_str() {
            "created" if !timestamp::is_timestamp(&value) => Some("an RFC 3339 date and time"),
            "homepage" | "documentation" if !is_web_url(&value) => Some("an http or https URL"),
            _ => None,
        };
        if let Some(wanted) = problem {
            return Err(node.invalid(format_args!(
                "annotation \"{name}\": {value:?} is not {wanted}"
            )));
        }
        Ok(Self { name, value })
    }
}

/// A list of labels by the rules for lists of labels.
pub(super) fn decode_labels(object: &Object<'_>) -> Result<Vec<Label>> {
    let labels: Vec<Label> = object.unique_list("labels", |l: &Label| l.name.clone())?;
    // An architecture means nothing without its operating system.
    if let Some(os) = find_label(&labels, "os")
        && let Err(error) = platform::check_labels(os, find_label(&labels, "arch"))
        && let Some(node) = object.get("labels")
    {
        return Err(node.invalid(error));
    }
    Ok(labels)
}

/// A list of annotations by the rules for lists of annotations.
pub(super) fn decode_annotations(object: &Object<'_>) -> Result<Vec<Annotation>> {
    object.unique_list("annotations", |a: &Annotation| a.name.clone())
}

/// Whether the value is an absolute URL of the web: scheme, then a host.
fn is_web_url(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else {
        return false;
    };
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let printable = value.bytes().all(|b| b > b' ' && b != 0x7f);
    web && !host.is_empty() && printable
}
