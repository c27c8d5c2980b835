//! Which documents a search may return.

use std::collections::HashSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use pagesight_core::composed;

/// Globs over ledger paths; a path passes when any of them matches. `*` stays within a folder,
/// `**` crosses folders, and a pattern without `/` matches the file name alone. Letters with marks
/// match in whichever form they are written, composed or apart.
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
    /// Paths that stand for themselves.
    paths: HashSet<String>,
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
        Self::of_ledger(patterns, |_| false)
    }

    /// Reads `patterns`; one that `is_path`, which is asked with letters composed, is that path alone,
    /// whatever a glob would make of it: `[draft] x.pdf`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_ledger<P: AsRef<str>>(
        patterns: impl IntoIterator<Item = P>,
        is_path: impl Fn(&str) -> bool,
    ) -> Result<Self, PathFilterError> {
        let (mut set, mut paths) = (GlobSetBuilder::new(), HashSet::new());
        for pattern in patterns {
            let pattern = composed(pattern.as_ref());
            if is_path(&pattern) {
                paths.insert(pattern.into_owned());
                continue;
            }
            let pattern = &*pattern;
            let error = |source| PathFilterError { glob: pattern.to_string(), source };
            let anywhere =
                if pattern.contains('/') { pattern.to_string() } else { format!("**/{pattern}") };
            set.add(GlobBuilder::new(&anywhere).literal_separator(true).build().map_err(error)?);
        }
        let error = |source| PathFilterError { glob: "all patterns together".into(), source };
        Ok(Self { globs: set.build().map_err(error)?, paths })
    }

    /// Whether `path` passes.
    pub fn matches(&self, path: &str) -> bool {
        let path = composed(path);
        self.paths.contains(&*path) || self.globs.is_match(&*path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_ledger_is_itself_before_it_is_a_pattern() {
        let ledger = ["a/[draft] x.pdf", "{a,b}.pdf", "a.pdf", "a/d x.pdf"];
        let passing = |pattern: &str| -> Vec<&str> {
            let filter = PathFilter::of_ledger([pattern], |path| ledger.contains(&path)).unwrap();
            ledger.into_iter().filter(|path| filter.matches(path)).collect()
        };
        assert_eq!(passing("a/[draft] x.pdf"), ["a/[draft] x.pdf"]);
        assert_eq!(passing("{a,b}.pdf"), ["{a,b}.pdf"]);
        assert_eq!(passing("[draft] x.pdf"), ["a/d x.pdf"]);
        assert_eq!(passing("{a,c}.pdf"), ["a.pdf"]);
    }

    #[test]
    fn letters_match_composed_and_apart() {
        for (pattern, path) in
            [("Mu\u{308}nchen*", "a/M\u{FC}nchen.pdf"), ("M\u{FC}nchen*", "a/Mu\u{308}nchen.pdf")]
        {
            assert!(PathFilter::new([pattern]).unwrap().matches(path));
        }
    }
}
