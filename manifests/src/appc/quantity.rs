//! Resource quantities: `1.5Gi`, `300m`, `1e3`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(String);

/// Why a string is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity")]
pub struct QuantityError(String);

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(s: &str) -> Result<Self, QuantityError> {
        Ok(Self(s.to_owned()))
    }
}
