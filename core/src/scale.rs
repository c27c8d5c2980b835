//! What one channel found, and the scale that its scores are on.

use serde::{Deserialize, Serialize};

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
    /// The scale of `scores`, and of as many pages with the score 0 as make them `pages`. It is the
    /// same to the last digit whatever the order of the scores.
    ///
    /// ```
    /// use pagesight_core::Scale;
    /// let scale = Scale::of([3.0, 5.0], 4, 9.0);
    /// assert_eq!((scale.pages, scale.mean, scale.most), (4, 2.0, 9.0));
    /// assert!((scale.deviation - 4.5f32.sqrt()).abs() < 1e-6);
    /// assert_eq!(scale.z(2.0), 0.0);
    /// ```
    pub fn of(scores: impl IntoIterator<Item = f32>, pages: usize, most: f32) -> Self {
        scores.into_iter().collect::<Sums>().scale(pages, most)
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

/// What a scale is computed from: sums of scores and of their squares, as whole numbers of a 2^32th and
/// a 2^64th. Whole numbers add up to the same in any order, so that pages which are scored on several
/// machines have the scale that one machine gives them, to the last digit.
///
/// ```
/// use pagesight_core::{Scale, Sums};
/// let (here, there): (Sums, Sums) = ([0.1, 7.3].into_iter().collect(), [2.9].into_iter().collect());
/// assert_eq!(here.and(there).scale(3, 9.0), Scale::of([2.9, 7.3, 0.1], 3, 9.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    count: u64,
    sum: i128,
    squares: i128,
}

impl Sums {
    /// A score as a whole number: those beyond a quarter of a million, which no channel gives, count as
    /// that, so that the squares of all pages of the largest index fit.
    fn whole(score: f32) -> i128 {
        const MOST: f64 = (1u64 << 50) as f64;
        // A number that is none counts 0.
        (f64::from(score) * (1u64 << 32) as f64).round().clamp(-MOST, MOST) as i128
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self {
            count: self.count + others.count,
            sum: self.sum + others.sum,
            squares: self.squares + others.squares,
        }
    }

    /// The scale of the scores, and of as many pages with the score 0 as make them `pages`.
    pub fn scale(self, pages: usize, most: f32) -> Scale {
        let pages = pages.max(self.count as usize);
        if pages == 0 {
            return Scale { most, ..Scale::default() };
        }
        let unit = (1u64 << 32) as f64;
        let mean = self.sum as f64 / unit / pages as f64;
        let squares = self.squares as f64 / unit / unit / pages as f64;
        let variance = (squares - mean * mean).max(0.0);
        Scale { pages, mean: mean as f32, deviation: variance.sqrt() as f32, most }
    }
}

impl FromIterator<f32> for Sums {
    fn from_iter<T: IntoIterator<Item = f32>>(scores: T) -> Self {
        scores.into_iter().fold(Self::default(), |sums, score| {
            let whole = Self::whole(score);
            Self {
                count: sums.count + 1,
                sum: sums.sum + whole,
                squares: sums.squares + whole * whole,
            }
        })
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
    fn the_scale_does_not_depend_on_the_order_nor_on_how_scores_are_shared_out() {
        let scores: Vec<f32> =
            (0..1000).map(|n| ((n * 7919) % 1009) as f32 * 0.037 - 11.3).collect();
        let all = Scale::of(scores.iter().copied(), 1500, 60.0);
        let mut sorted = scores.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(Scale::of(sorted, 1500, 60.0), all);
        for parts in [2, 3, 7] {
            let of_part = |part| scores.iter().copied().skip(part).step_by(parts).collect::<Sums>();
            let sums = (0..parts).map(of_part).fold(Sums::default(), Sums::and);
            assert_eq!(sums.scale(1500, 60.0), all);
        }
        // Beside a plain computation in f64.
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / 1500.0;
        let squares = scores.iter().map(|&score| f64::from(score).powi(2)).sum::<f64>() / 1500.0;
        let deviation = (squares - mean * mean).sqrt();
        assert!((f64::from(all.mean) - mean).abs() < 1e-6 * mean.abs(), "{all:?} {mean}");
        assert!((f64::from(all.deviation) - deviation).abs() < 1e-6 * deviation);
    }

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
