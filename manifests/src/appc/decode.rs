//! Reading JSON by the schema's own rules.
//!
//! serde's derive cannot do what the schema asks for: member names match
//! without regard to case, `null` means absent, and an error has to name the
//! field by its path and show the value. So a document is parsed into a
//! [`Value`] and walked with a [`Node`], which knows where it is.
//!
//! Every type of the schema implements [`Decode`]; nothing else decides
//! whether a document is valid.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use serde_json::{Map, Value};

/// Why a document is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Not JSON at all, or something follows the document.
    #[error("not a JSON document")]
    Json(#[source] serde_json::Error),
    /// A field that must be there is not.
    #[error("{path}: missing")]
    Missing {
        /// Where the field should be, as `app.ports[0].name`.
        path: String,
    },
    /// A value of the wrong JSON type.
    #[error("{path}: expected {expected}, found {found}")]
    Type {
        /// Where the value is.
        path: String,
        /// The type that belongs there.
        expected: &'static str,
        /// The value, cut if it is long.
        found: String,
    },
    /// A value that breaks a rule.
    #[error("{path}: {reason}")]
    Invalid {
        /// Where the value is.
        path: String,
        /// The value and the rule.
        reason: String,
    },
    /// A name that may stand only once in its list.
    #[error("{path}: {value:?} stands there already")]
    Repeated {
        /// Where the second one is.
        path: String,
        /// The name.
        value: String,
    },
}

pub(crate) type Result<T, E = SchemaError> = std::result::Result<T, E>;

/// A type that can be read from a document.
pub(crate) trait Decode: Sized {
    fn decode(node: &Node<'_>) -> Result<Self>;
}

/// Parses a whole document.
pub(crate) fn from_slice<T: Decode>(bytes: &[u8]) -> Result<T> {
    let value: Value = serde_json::from_slice(bytes).map_err(SchemaError::Json)?;
    from_value(&value)
}

/// Reads a document that is parsed already.
pub(crate) fn from_value<T: Decode>(value: &Value) -> Result<T> {
    T::decode(&Node {
        path: Path::Root,
        value,
    })
}

/// Checks a value by the rules for reading what it would be written as: the
/// rules are written down once, and nothing that we write can be refused later.
pub(crate) fn validate<T: Decode + serde::Serialize>(value: &T) -> Result<()> {
    let value = serde_json::to_value(value).map_err(SchemaError::Json)?;
    from_value::<T>(&value).map(drop)
}

/// `Deserialize` by way of [`Decode`], so that there is one set of rules.
macro_rules! deserialize_by_decode {
    ($($name:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(d)?;
                $crate::appc::decode::from_value(&value).map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use deserialize_by_decode;

/// Where a value stands in its document; lives on the stack of the walk.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("document"),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(Self::Root, index) => write!(f, "[{index}]"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value and its place.
pub(crate) struct Node<'a> {
    path: Path<'a>,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(crate) fn raw(&self) -> &'a Value {
        self.value
    }

    /// The value breaks a rule: `reason` shows it and tells the rule.
    pub(crate) fn invalid(&self, reason: impl fmt::Display) -> SchemaError {
        SchemaError::Invalid {
            path: self.path.to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn repeated(&self, value: impl fmt::Display) -> SchemaError {
        SchemaError::Repeated {
            path: self.path.to_string(),
            value: value.to_string(),
        }
    }

    fn type_error(&self, expected: &'static str) -> SchemaError {
        SchemaError::Type {
            path: self.path.to_string(),
            expected,
            found: excerpt(self.value),
        }
    }

    pub(crate) fn object(&self) -> Result<Object<'_>> {
        match self.value {
            Value::Object(members) => Ok(Object {
                node: self,
                members,
            }),
            _ => Err(self.type_error("an object")),
        }
    }

    pub(crate) fn str(&self) -> Result<&'a str> {
        self.value
            .as_str()
            .ok_or_else(|| self.type_error("a string"))
    }

    pub(crate) fn bool(&self) -> Result<bool> {
        self.value
            .as_bool()
            .ok_or_else(|| self.type_error("true or false"))
    }

    pub(crate) fn unsigned(&self) -> Result<u64> {
        self.value
            .as_u64()
            .ok_or_else(|| self.type_error("a whole number, not negative"))
    }

    pub(crate) fn signed(&self) -> Result<i64> {
        self.value
            .as_i64()
            .ok_or_else(|| self.type_error("a whole number"))
    }

    /// A user or group number.
    pub(crate) fn id(&self) -> Result<u32> {
        let number = self.unsigned()?;
        match u32::try_from(number) {
            // All bits set is "no id" to the kernel.
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(self.invalid(format_args!("{number} is not a user or group number"))),
        }
    }

    /// A string parsed by the type's own rules.
    pub(crate) fn parse<T: FromStr<Err: fmt::Display>>(&self) -> Result<T> {
        self.str()?.parse().map_err(|e: T::Err| self.invalid(e))
    }

    /// A non-empty string that starts with `/`.
    pub(crate) fn absolute_path(&self) -> Result<String> {
        let path = self.str()?;
        if !path.starts_with('/') {
            return Err(self.invalid(format_args!("{path:?} is not an absolute path")));
        }
        Ok(path.to_owned())
    }

    /// Runs `f` on every element.
    pub(crate) fn each<'s, T>(
        &'s self,
        mut f: impl FnMut(&Node<'s>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let Value::Array(elements) = self.value else {
            return Err(self.type_error("a list"));
        };
        let element = |(index, value)| {
            f(&Node {
                path: Path::Index(&self.path, index),
                value,
            })
        };
        elements.iter().enumerate().map(element).collect()
    }

    pub(crate) fn strings(&self) -> Result<Vec<String>> {
        self.each(|node| node.str().map(str::to_owned))
    }

    /// The members of an object that says what it wants, all strings.
    pub(crate) fn string_map(&self) -> Result<BTreeMap<String, String>> {
        let Value::Object(members) = self.value else {
            return Err(self.type_error("an object"));
        };
        let member = |(name, value): (&'a String, &'a Value)| {
            let node = Node {
                path: Path::Member(&self.path, name),
                value,
            };
            Ok((name.clone(), node.str()?.to_owned()))
        };
        members.iter().map(member).collect()
    }
}

/// An object whose members are known.
pub(crate) struct Object<'a> {
    node: &'a Node<'a>,
    members: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The member, unless it is absent or `null`. An exact spelling wins over
    /// one that differs in case.
    pub(crate) fn get(&self, name: &'static str) -> Option<Node<'a>> {
        let by_case = || {
            let found = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
            self.members.iter().find(found).map(|(_, value)| value)
        };
        let value = self.members.get(name).or_else(by_case)?;
        let node = Node {
            path: Path::Member(&self.node.path, name),
            value,
        };
        (!value.is_null()).then_some(node)
    }

    /// The member, which must be there.
    pub(crate) fn need(&self, name: &'static str) -> Result<Node<'a>> {
        self.get(name).ok_or_else(|| SchemaError::Missing {
            path: Path::Member(&self.node.path, name).to_string(),
        })
    }

    /// The member by `f`, if it is there.
    pub(crate) fn optional<T>(
        &self,
        name: &'static str,
        f: impl FnOnce(&Node<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.get(name).map(|node| f(&node)).transpose()
    }

    /// The elements of a list, none if it is absent.
    pub(crate) fn list<T: Decode>(&self, name: &'static str) -> Result<Vec<T>> {
        let list = self.optional(name, |node| node.each(T::decode))?;
        Ok(list.unwrap_or_default())
    }

    /// As [`Object::list`], but no two elements may have the same key.
    pub(crate) fn unique_list<T: Decode, K: Eq + Hash + fmt::Display>(
        &self,
        name: &'static str,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>> {
        let decoded = self.optional(name, |list| {
            // A set, because the list may come from an enemy and be long.
            let mut seen: HashSet<K> = HashSet::new();
            list.each(|node| {
                let element = T::decode(node)?;
                let key = key(&element);
                if let Some(key) = seen.replace(key) {
                    return Err(node.repeated(key));
                }
                Ok(element)
            })
        })?;
        Ok(decoded.unwrap_or_default())
    }

    /// A string, empty if it is absent.
    pub(crate) fn string(&self, name: &'static str) -> Result<String> {
        let string = self.optional(name, |node| node.str().map(str::to_owned))?;
        Ok(string.unwrap_or_default())
    }

    /// A string that must be there and not empty.
    pub(crate) fn nonempty(&self, name: &'static str) -> Result<String> {
        let node = self.need(name)?;
        match node.str()? {
            "" => Err(node.invalid("must not be empty")),
            s => Ok(s.to_owned()),
        }
    }

    /// A boolean, false if it is absent.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool> {
        Ok(self.optional(name, Node::bool)?.unwrap_or(false))
    }
}

/// The value as JSON, cut to what fits into a line.
fn excerpt(value: &Value) -> String {
    const MAX: usize = 60;
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}
