//! Why a search failed.

use pagesight_core::seam::{BoxError, OutOfReach};
use pagesight_core::{Channel, PageId};
use pagesight_maxsim::{DimMismatch, HereError};

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Only channels were asked that this question cannot be asked in: the patches with words and
    /// no model to encode them.
    #[error("the visual channel needs a model and none is loaded")]
    NoModel,
    /// The words were asked, and the question has none.
    #[error("the words channel was asked with a question that has no words")]
    NoWords,
    /// Only a channel was asked that this index does not have.
    #[error("the index has no channel `{channel}`")]
    NoChannel {
        /// The channel.
        channel: Channel,
    },
    /// No channel was asked.
    #[error("no channel was asked")]
    NothingAsked,
    /// The question is a page that has no vectors, or that is not in the index.
    #[error("page {page} has no vectors to search by")]
    NoVectors {
        /// The page.
        page: PageId,
    },
    /// The model could not encode the query.
    #[error("the query could not be encoded")]
    Encode(#[source] BoxError),
    /// The passages alone were asked, and their codes are damaged.
    #[error("{reason}: index again to encode the meaning of the text anew")]
    Passages {
        /// What is damaged, one line.
        reason: String,
    },
    /// Stored vectors could not be read.
    #[error("the stored vectors could not be read")]
    Vectors(#[source] BoxError),
    /// The words could not be read.
    #[error("the text index could not be read")]
    Text(#[source] BoxError),
    /// A machine that has a part of the index does not answer. The others could, with a part of the
    /// pages: a shorter answer that nobody could tell from a whole one, so there is none.
    #[error("the part of the index at {part} does not answer")]
    Part {
        /// The machine.
        part: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The machines that are asked do not have each part of the index once. The answers would be shorter
    /// than those of one machine, or count pages twice, so there are none.
    #[error(
        "the parts that are asked say to be {}: each of as many as there are must be there once",
        parts_said(got)
    )]
    NotAllParts {
        /// What each says: which part it is, from 0, and how many there are.
        got: Vec<[usize; 2]>,
    },
    /// The query vectors and the stored ones differ in length; the source names both.
    #[error("the query does not fit the stored vectors")]
    Dim(#[from] DimMismatch),
}

fn parts_said(parts: &[[usize; 2]]) -> String {
    let parts: Vec<String> = parts.iter().map(|[at, of]| format!("{at}/{of}")).collect();
    parts.join(", ")
}

impl QueryError {
    /// Why what was wanted cannot be read now, one line, where it lies on a machine that is out of reach.
    pub(crate) fn out_of_reach(&self) -> Option<String> {
        let Self::Vectors(source) = self else { return None };
        let here = source.downcast_ref::<HereError>();
        let is_elsewhere = here.is_some_and(|error| matches!(error, HereError::Elsewhere(_)));
        let why = || source.source().map_or_else(|| source.to_string(), ToString::to_string);
        (source.is::<OutOfReach>() || is_elsewhere).then(why)
    }

    /// This error, or the one that it came from, where that is a part that does not answer.
    pub fn of_part(&self) -> Option<&Self> {
        match self {
            Self::Part { .. } => Some(self),
            Self::Text(source) | Self::Vectors(source) => {
                source.downcast_ref::<Self>().and_then(Self::of_part)
            }
            _ => None,
        }
    }
}
