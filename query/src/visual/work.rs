//! What late interaction did for a ranking.

use std::time::Duration;

use serde::Serialize;

/// How pages were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// By full-precision vectors.
    #[default]
    F16,
    /// By int8 codes.
    Int8,
    /// By residual codes, which an index may keep in place of full-precision vectors.
    Residual,
    /// By sketches: pooled vectors in 2 bits.
    Sketch,
}

impl Code {
    /// The word used in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Residual => "residual",
            Self::Sketch => "sketch",
        }
    }
}

/// What late interaction did for a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Work {
    /// What was scanned of all pages.
    pub code: Code,
    /// Pages scored in that.
    pub seen: usize,
    /// Pages scored again.
    pub reranked: usize,
    /// What they were scored by.
    pub again: Code,
    /// First ranks that are those of exact MaxSim for certain; what follows is ordered by code.
    pub certain: usize,
    /// Scanning, with reading.
    pub scan: Duration,
    /// Scoring again, with reading.
    pub rerank: Duration,
}
