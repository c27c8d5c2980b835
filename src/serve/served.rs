//! An index under the name by which requests know it.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use pagesight::Index;

/// An index under its name.
#[derive(Debug, Clone)]
pub struct Served {
    pub name: String,
    pub index: Index,
    /// Whether requests that name no index mean this one.
    pub is_default: bool,
}

impl Served {
    /// Adds `index=NAME` to a URL where it is not the default index.
    pub fn url(&self, url: &str) -> String {
        if self.is_default {
            return url.into();
        }
        let between = if url.contains('?') { '&' } else { '?' };
        format!("{url}{between}index={}", self.name)
    }
}

/// A time as RFC 3339 in UTC, milliseconds.
pub fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// As [`rfc3339`], of nanoseconds since 1970.
pub fn rfc3339_of_ns(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The whole of a query parameter's value, written with %XX.
pub fn encoded(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}
