//! Why codes did not answer.

use pagesight_maxsim::{DimMismatch, HereError, SegmentError};

use crate::error::QueryError;

/// Why the codes did not answer.
pub(crate) enum CodesError {
    /// A page of the codes is damaged, or the full-precision vectors lack one.
    Damaged(String),
    /// Nothing else would answer either.
    Failed(QueryError),
}

impl From<QueryError> for CodesError {
    fn from(error: QueryError) -> Self {
        Self::Failed(error)
    }
}

impl From<DimMismatch> for CodesError {
    fn from(error: DimMismatch) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SegmentError> for CodesError {
    fn from(error: SegmentError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<HereError> for CodesError {
    fn from(error: HereError) -> Self {
        match error {
            HereError::Damaged(error) => error.into(),
            error => Self::Failed(QueryError::Vectors(error.into())),
        }
    }
}
