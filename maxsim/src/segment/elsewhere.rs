//! Where codes are that a file does not have.

use std::error::Error;
use std::ops::Range;

/// Where codes come from that a file here has no copy of: an index in a bucket, and in tests the whole
/// file in memory.
pub trait Elsewhere: Send + Sync {
    /// The bytes of each of `wanted`, a segment and a range of its file, in their order. They may be put
    /// into the files here on the way, so that the next search finds them there.
    ///
    /// # Errors
    /// What cannot be fetched.
    fn fetch(
        &self,
        wanted: &[(usize, Range<u64>)],
    ) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>>;
}
