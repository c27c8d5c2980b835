//! What an index remembers of the model that made its vectors.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::neutral::NeutralQuestions;
use crate::quality::Fusion;

/// Names one model with its recipe: a hash over weights, tokenizer, config and recipe, as
/// hexadecimal digits, or any name that its maker keeps unique. Vectors of different model ids are
/// never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub String);

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelSource {
    /// The small model inside the program.
    Nano,
    /// A folder with a checkpoint, absolute.
    Folder(PathBuf),
    /// A checkpoint in the local cache of a hub.
    Hub {
        /// `ORG/NAME`.
        name: String,
        /// A branch, tag or commit; the default branch when `None`.
        revision: Option<String>,
    },
}

impl ModelSource {
    /// The source that an index of format 4 or older wrote as a folder: those had a name that is no
    /// path for the model inside the program.
    ///
    /// ```
    /// use pagesight_core::ModelSource;
    /// assert_eq!(ModelSource::of_old_folder("embedded:nano".into()), ModelSource::Nano);
    /// let folder = ModelSource::of_old_folder("/models/mine".into());
    /// assert_eq!(folder, ModelSource::Folder("/models/mine".into()));
    /// ```
    pub fn of_old_folder(folder: PathBuf) -> Self {
        if folder.as_os_str() == "embedded:nano" { Self::Nano } else { Self::Folder(folder) }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nano => f.write_str("nano"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Hub { name, revision: None } => f.write_str(name),
            Self::Hub { name, revision: Some(revision) } => write!(f, "{name}@{revision}"),
        }
    }
}

/// What an index remembers of the model that made its vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Which model.
    pub id: ModelId,
    /// Row length of its vectors.
    pub dim: usize,
    /// Where it is found again; `None` for a model that the program brought itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// Where the whole weights come from that an adapter was merged into, when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ModelSource>,
    /// Its recipe as the model wrote it, so that a later run does the same around the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// How far its pictures are trusted beside words.
    #[serde(default)]
    pub fusion: Fusion,
    /// The questions that tell what a page gives to any.
    #[serde(default, skip_serializing_if = "NeutralQuestions::is_default")]
    pub neutral: NeutralQuestions,
}

impl ModelRecord {
    /// A model that the program brings itself: its id and row length are all there is to remember.
    pub fn new(id: ModelId, dim: usize) -> Self {
        let (fusion, neutral) = (Fusion::default(), NeutralQuestions::default());
        Self { id, dim, source: None, base: None, recipe: None, fusion, neutral }
    }
}
