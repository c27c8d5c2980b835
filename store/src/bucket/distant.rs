//! Codes that the files of this machine lack, fetched from the bucket when pages are compared.

use std::error::Error;
use std::ops::Range;

use pagesight_maxsim::Elsewhere;

use super::mirror::Mirror;
use super::objects::{Objects, PATIENCE_OF_SEARCHES};
use crate::error::StoreError;
use crate::runtime::wait;
use crate::snapshot::names::CODES;

/// The codes of one snapshot in the bucket, for what the files here lack.
pub(crate) struct Distant {
    mirror: Mirror,
    objects: Objects,
    /// The files, the oldest first.
    names: Vec<String>,
}

impl Distant {
    /// Of the files `names`, as a snapshot has them.
    pub fn new(mirror: Mirror, names: Vec<String>) -> Self {
        let objects = mirror.objects().clone().with_patience(PATIENCE_OF_SEARCHES);
        Self { mirror, objects, names }
    }
}

impl Elsewhere for Distant {
    fn fetch(
        &self,
        wanted: &[(usize, Range<u64>)],
    ) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let place = |(segment, range): &(usize, Range<u64>)| {
            (format!("{CODES}/{}", self.names[*segment]), range.clone())
        };
        let wanted: Vec<(String, Range<u64>)> = wanted.iter().map(place).collect();
        if self.objects.is_silent() {
            let place = self.objects.address.to_string();
            return Err(StoreError::OutOfReach { place, source: None }.into());
        }
        let fetched = wait(self.objects.get_ranges(&wanted))?;
        for ((name, range), bytes) in wanted.iter().zip(&fetched) {
            // What is not kept is fetched again.
            let _ = self.mirror.keep(name, range.start, bytes);
        }
        Ok(fetched)
    }
}
