//! Where an index in a bucket is: `s3://BUCKET/PREFIX` and its like.

use std::fmt;
use std::path::Path;

use crate::error::StoreError;

/// A kind of place that holds objects by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A folder that is used like a bucket: one that many machines mount.
    File,
    /// A bucket in the memory of this process, for tests.
    Memory,
}

impl Scheme {
    const ALL: [(&'static str, Self); 5] = [
        ("s3", Self::S3),
        ("gs", Self::Gcs),
        ("az", Self::Azure),
        ("file", Self::File),
        ("shared-memory", Self::Memory),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).expect("all are listed").0
    }

    /// The cargo feature that this scheme needs and this build lacks.
    fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::S3 if !cfg!(feature = "s3") => Some("s3"),
            Self::Gcs if !cfg!(feature = "gcs") => Some("gcs"),
            Self::Azure if !cfg!(feature = "azure") => Some("azure"),
            _ => None,
        }
    }
}

/// The place of an index in a bucket.
///
/// ```
/// use pagesight_store::Address;
/// let address = Address::parse("s3://reports/2026/index").unwrap().unwrap();
/// assert_eq!((address.bucket(), address.prefix()), ("reports", "2026/index"));
/// assert!(Address::parse("/srv/index").unwrap().is_none());
/// assert!(Address::parse("s3://user:word@reports/index").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Scheme,
    bucket: String,
    prefix: String,
    clear_http: bool,
}

impl Address {
    /// Reads `text`; `None` when it is no URL and therefore the name of a folder.
    ///
    /// # Errors
    /// [`StoreError::Address`] for a URL of another scheme, one with a user, a password, a query or
    /// a fragment, and one without a bucket or a prefix.
    pub fn parse(text: &str) -> Result<Option<Self>, StoreError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
        // `C://` and the like are folders; a scheme has two letters at least.
        if scheme.len() < 2
            || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Ok(None);
        }
        // What is refused may hold a password: it is not repeated.
        let wrong = |what: &'static str| StoreError::Address { scheme: scheme.into(), what };
        let known = Scheme::ALL.iter().find(|(name, _)| *name == scheme);
        let Some(&(_, kind)) = known else {
            return Err(wrong(
                "an index lies in a folder, or at s3://, gs:// or az://BUCKET/PREFIX",
            ));
        };
        if rest.contains(['?', '#']) {
            return Err(wrong("it has a query or a fragment, which no address of an index has"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') || (kind != Scheme::File && bucket.contains(':')) {
            let what = "it has a user or a password: credentials come from the environment, a \
                profile or the machine";
            return Err(wrong(what));
        }
        if bucket.is_empty() != (kind == Scheme::File) {
            return Err(wrong("it has no bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_sound = |part: &str| !part.is_empty() && part != "." && part != "..";
        if prefix.is_empty() {
            return Err(wrong("it has no prefix: name a folder in the bucket, s3://BUCKET/PREFIX"));
        }
        let printable = |c: char| !c.is_control() && c != '\\' && c != '%';
        if !prefix.split('/').all(is_sound) || !rest.chars().all(printable) {
            return Err(wrong(
                "its prefix has an empty part, a part of dots, or a mark that is none",
            ));
        }
        let (bucket, prefix) = (bucket.into(), prefix.into());
        Ok(Some(Self { scheme: kind, bucket, prefix, clear_http: false }))
    }

    /// As [`parse`](Self::parse), of what stands where a folder may stand.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn of(place: &Path) -> Result<Option<Self>, StoreError> {
        place.to_str().map_or(Ok(None), Self::parse)
    }

    /// Says whether the store may be spoken to in the clear: where it is this machine, for one. Else it
    /// is the cloud's own variable, `AWS_ALLOW_HTTP` of S3, that allows it.
    #[must_use]
    pub fn with_clear_http(self, allowed: bool) -> Self {
        Self { clear_http: allowed, ..self }
    }

    /// Whether the store may be spoken to in the clear.
    pub(crate) fn allows_clear_http(&self) -> bool {
        self.clear_http
    }

    /// Refuses an address that this build was made without.
    pub(crate) fn check_built(&self) -> Result<(), StoreError> {
        match self.scheme.missing_feature() {
            Some(feature) => {
                Err(StoreError::NotBuilt { scheme: self.scheme.name().into(), feature })
            }
            None => Ok(()),
        }
    }

    /// The bucket; empty for a folder that is used like one.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Where the index is in its bucket, without a slash at either end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether objects are listed in the order of their names.
    pub(crate) fn lists_in_order(&self) -> bool {
        self.scheme != Scheme::File
    }

    /// The last part of the prefix.
    pub fn name(&self) -> &str {
        self.prefix.rsplit('/').next().unwrap_or(&self.prefix)
    }

    /// The URL by which Lance opens `name` below the prefix.
    pub(crate) fn lance_url(&self) -> String {
        // "file" has paths of its own through Lance; this one takes those of all other schemes.
        let scheme = match self.scheme {
            Scheme::File => "file-object-store",
            other => other.name(),
        };
        format!("{scheme}://{}/{}", self.bucket, self.prefix)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.name(), self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_no_addresses() {
        for folder in ["index", "/srv/index", "./s3:/x", "C://index", "", "a b://x"] {
            assert_eq!(Address::parse(folder).unwrap(), None, "{folder}");
        }
    }

    #[test]
    fn addresses_are_read_and_written_as_they_are() {
        for (text, bucket, prefix) in [
            ("s3://b/p", "b", "p"),
            ("gs://b/p/q", "b", "p/q"),
            ("az://container/p", "container", "p"),
            ("file:///mnt/shared/index", "", "mnt/shared/index"),
        ] {
            let address = Address::parse(text).unwrap().unwrap();
            assert_eq!((address.bucket(), address.prefix()), (bucket, prefix));
            assert_eq!(address.to_string(), text);
            let slash = Address::parse(&format!("{text}/")).unwrap().unwrap();
            assert_eq!(slash, address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for text in [
            "s3://b",
            "s3://b/",
            "s3:///p",
            "s3://user:secret@b/p",
            "s3://secret@b/p",
            "s3://b:secret/p",
            "s3://b/p?secret=1",
            "s3://b/p#secret",
            "s3://b//p",
            "s3://b/p/../q",
            "s3://b/p/./q",
            "s3://b/%2e%2e/q",
            "file://host/p",
            "http://b/p?secret",
            "ftp://user:secret@b/p",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
