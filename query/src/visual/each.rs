//! Comparing pages by their codes, wherever these are.

use pagesight_maxsim::{Here, Segments, Slot};
use rayon::prelude::*;

use super::error::CodesError;

/// Pages whose codes are fetched at a time where they are not on this machine.
const FETCHED: usize = 64;

/// What `score` makes of each of `slots`, in their order, on all cores. Codes that are elsewhere are in
/// memory while their pages are compared, a few pages at a time.
pub(super) fn each<T: Send>(
    codes: &Segments,
    slots: &[Slot],
    score: impl Fn(&Here<'_>, &Slot) -> Result<T, CodesError> + Sync,
) -> Result<Vec<T>, CodesError> {
    let at_a_time = if codes.are_whole() { slots.len().max(1) } else { FETCHED };
    let mut all = Vec::with_capacity(slots.len());
    for some in slots.chunks(at_a_time) {
        let here = codes.here(some)?;
        let scores: Result<Vec<T>, CodesError> =
            some.par_iter().map(|slot| score(&here, slot)).collect();
        all.extend(scores?);
    }
    Ok(all)
}
