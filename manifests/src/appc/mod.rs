//! The App Container schema, 0.8.11.

use serde::{Deserialize, Serialize};

/// An image manifest. (Being written: this stands in until the schema lands.)
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageManifest {}
