//! Errors told on one line.

use std::error::Error;

/// The error and its causes on one line, `: ` between them.
///
/// ```
/// use pagesight_core::chain;
/// let cause = "x".parse::<u32>().unwrap_err();
/// assert_eq!(chain(&cause), "invalid digit found in string");
/// ```
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
