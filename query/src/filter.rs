//! Which documents a search may return.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Globs over ledger paths; a path passes when any of them matches. `*` stays within a folder,
/// `**` crosses folders, and a pattern without `/` matches the file name alone.
///
/// ```
/// use pagesight_query::PathFilter;
/// let filter = PathFilter::new(["*.pdf", "reports/2024/**"])?;
/// assert!(filter.matches("deep/below/a.pdf"));
/// assert!(filter.matches("reports/2024/q1/scan.PDF"));
/// assert!(!filter.matches("reports/2023/scan.PDF"));
/// # Ok::<(), pagesight_query::PathFilterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PathFilter {
    globs: GlobSet,
}

/// A glob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{glob:?} is not a path pattern")]
pub struct PathFilterError {
    /// The pattern.
    pub glob: String,
    #[source]
    source: globset::Error,
}

impl PathFilter {
    /// Reads `patterns`.
    ///
    /// # Errors
    /// [`PathFilterError`] for the first that is not a glob.
    pub fn new<P: AsRef<str>>(
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Self, PathFilterError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let error = |source| PathFilterError { glob: pattern.to_string(), source };
            let anywhere =
                if pattern.contains('/') { pattern.to_string() } else { format!("**/{pattern}") };
            set.add(GlobBuilder::new(&anywhere).literal_separator(true).build().map_err(error)?);
        }
        let error = |source| PathFilterError { glob: "all patterns together".into(), source };
        Ok(Self { globs: set.build().map_err(error)? })
    }

    /// Whether `path` passes.
    pub fn matches(&self, path: &str) -> bool {
        self.globs.is_match(path)
    }
}
