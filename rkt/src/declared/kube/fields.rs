//! Reading a document field by field: what nobody took is unsupported.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is wrong with a field.
#[derive(Debug)]
pub(super) struct Finding {
    /// `spec.containers[0].image`
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) reason: String,
    /// rkt does not do what it asks for; else it is no pod at all.
    pub(super) unsupported: bool,
}

/// Everything that is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// The field is none that Kubernetes would take, or asks for what must not
    /// be left out.
    pub(super) fn wrong(&mut self, path: &str, reason: impl Into<String>) {
        self.0.push(Finding {
            path: path.to_owned(),
            reason: reason.into(),
            unsupported: false,
        });
    }

    /// rkt does not do what the field asks for.
    pub(super) fn unsupported(&mut self, path: &str, reason: impl Into<String>) {
        self.0.push(Finding {
            path: path.to_owned(),
            reason: reason.into(),
            unsupported: true,
        });
    }
}

/// A mapping, and which of its fields nobody took yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    left: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Fields<'a> {
    /// The fields of the value at a path. Null is what is not there.
    pub(super) fn of(path: &str, value: &'a Value, findings: &mut Findings) -> Self {
        let mut left = BTreeMap::new();
        match value {
            Value::Object(map) => {
                let there = map.iter().filter(|(_, value)| !value.is_null());
                left.extend(there.map(|(key, value)| (key.as_str(), value)));
            }
            _ => findings.wrong(path, "expected a mapping"),
        }
        Self {
            path: path.to_owned(),
            left,
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Takes a field.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.left.remove(key)
    }

    /// Takes a text.
    pub(super) fn text(&mut self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        let value = self.take(key)?;
        let text = value.as_str();
        if text.is_none() {
            findings.wrong(&self.path(key), "expected a text");
        }
        text
    }

    /// Takes a text that has to be there.
    pub(super) fn needed(&mut self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        if !self.left.contains_key(key) {
            findings.wrong(&self.path(key), "is missing");
        }
        self.text(key, findings)
    }

    /// Takes a text or a number, as quantities are written.
    pub(super) fn quantity(&mut self, key: &str, findings: &mut Findings) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                findings.wrong(&self.path(key), "expected a quantity");
                None
            }
        }
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, key: &str, findings: &mut Findings) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            findings.wrong(&self.path(key), "expected true or false");
        }
        flag
    }

    /// Takes a number that is not negative.
    pub(super) fn number(&mut self, key: &str, findings: &mut Findings) -> Option<u64> {
        let value = self.take(key)?;
        let number = value.as_u64();
        if number.is_none() {
            findings.wrong(&self.path(key), "expected a number");
        }
        number
    }

    /// Takes a list: the path of each element, and the element.
    pub(super) fn list(&mut self, key: &str, findings: &mut Findings) -> Vec<(String, &'a Value)> {
        let path = self.path(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                let numbered = list.iter().enumerate();
                numbered
                    .map(|(n, value)| (format!("{path}[{n}]"), value))
                    .collect()
            }
            Some(_) => {
                findings.wrong(&path, "expected a list");
                Vec::new()
            }
        }
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, key: &str, findings: &mut Findings) -> Vec<&'a str> {
        let list = self.list(key, findings);
        list.into_iter()
            .filter_map(|(path, value)| {
                let text = value.as_str();
                if text.is_none() {
                    findings.wrong(&path, "expected a text");
                }
                text
            })
            .collect()
    }

    /// Takes a mapping.
    pub(super) fn fields(&mut self, key: &str, findings: &mut Findings) -> Option<Self> {
        let path = self.path(key);
        let value = self.take(key)?;
        Some(Self::of(&path, value, findings))
    }

    /// A field that is unsupported unless it is false, for this reason.
    pub(super) fn only_false(&mut self, key: &str, reason: &str, findings: &mut Findings) {
        if self.flag(key, findings) == Some(true) {
            findings.unsupported(&self.path(key), reason);
        }
    }

    /// A field that rkt has something to say of.
    pub(super) fn refuse(&mut self, key: &str, reason: &str, findings: &mut Findings) {
        if self.take(key).is_some() {
            findings.unsupported(&self.path(key), reason);
        }
    }

    /// All that nobody took, and that says something, is unsupported.
    pub(super) fn finish(self, findings: &mut Findings) {
        for (key, value) in &self.left {
            let says_nothing = match value {
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if !says_nothing {
                findings.unsupported(&self.path(key), "not supported");
            }
        }
    }
}
