//! The best of many scores; ties by [`PageId`].

use pagesight_core::PageId;

/// Adds `more` to the `depth` best so far, in order.
pub(crate) fn keep_best(best: &mut Vec<(PageId, f32)>, more: Vec<(PageId, f32)>, depth: usize) {
    best.extend(more);
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(depth);
}

/// The score at rank `count` from 1; below all where there are fewer, or none is asked for.
pub(super) fn at_rank(mut scores: Vec<f32>, count: usize) -> f32 {
    match count.checked_sub(1).filter(|&last| last < scores.len()) {
        Some(last) => *scores.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1,
        None => f32::NEG_INFINITY,
    }
}
