//! What one channel found, and the scale that its scores are on.

use crate::page::PageId;

/// What the scores of a channel are like over all pages that it searched for one question.
///
/// Channels have no common scale: BM25 has no bound, and late interaction grows with the number of
/// query tokens. How many deviations above the mean of all pages a score is can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scale {
    /// Pages that were searched, those that have nothing of the question included.
    pub pages: usize,
    /// The mean of their scores.
    pub mean: f32,
    /// The deviation of their scores.
    pub deviation: f32,
    /// What a page would have that has all that is asked; 0 where the channel cannot tell.
    pub most: f32,
}

impl Scale {
    /// The scale of `scores`, and of as many pages with the score 0 as make them `pages`. The order
    /// of the scores decides the last digit.
    ///
    /// ```
    /// use pagesight_core::Scale;
    /// let scale = Scale::of([3.0, 5.0], 4, 9.0);
    /// assert_eq!((scale.pages, scale.mean, scale.most), (4, 2.0, 9.0));
    /// assert!((scale.deviation - 4.5f32.sqrt()).abs() < 1e-6);
    /// assert_eq!(scale.z(2.0), 0.0);
    /// ```
    pub fn of(scores: impl IntoIterator<Item = f32>, pages: usize, most: f32) -> Self {
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0);
        for score in scores {
            let score = f64::from(score);
            (sum, squares, count) = (sum + score, squares + score * score, count + 1);
        }
        let pages = pages.max(count);
        if pages == 0 {
            return Self { most, ..Self::default() };
        }
        let mean = sum / pages as f64;
        let variance = (squares / pages as f64 - mean * mean).max(0.0);
        Self { pages, mean: mean as f32, deviation: variance.sqrt() as f32, most }
    }

    /// How many deviations `score` is above the mean; 0 where all pages have the same score.
    pub fn z(&self, score: f32) -> f32 {
        if self.deviation > 0.0 { (score - self.mean) / self.deviation } else { 0.0 }
    }

    /// How much of all that is asked a page with `score` has, 0 to 1; `None` where the channel
    /// cannot tell.
    pub fn share(&self, score: f32) -> Option<f32> {
        (self.most > 0.0).then(|| (score / self.most).clamp(0.0, 1.0))
    }
}

/// What one channel found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Pages and their scores, best first, ties by [`PageId`].
    pub pages: Vec<(PageId, f32)>,
    /// The scale of the scores of all pages.
    pub scale: Scale,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_equal_scores_have_no_deviation() {
        assert_eq!(Scale::of([], 0, 0.0), Scale::default());
        let same = Scale::of([2.0, 2.0, 2.0], 3, 0.0);
        assert_eq!((same.mean, same.deviation, same.z(7.0)), (2.0, 0.0, 0.0));
        assert_eq!(same.share(1.0), None);
        assert_eq!(Scale::of([1.0], 1, 4.0).share(1.0), Some(0.25));
        assert_eq!(Scale::of([1.0], 1, 4.0).share(9.0), Some(1.0));
    }
}
