//! What several heads of queries make of the keys and values that they share. Each key and each value
//! is read once for all of these heads, and a head gets the same numbers whichever others are beside
//! it.

use pagesight_simd::compiled_for_each_cpu;

use crate::blocks::elementwise::exp;
use crate::blocks::lanes::LANES;
use crate::blocks::rows::{Row, apart, each_lane};

/// The most heads whose sums stay in registers beside each other.
pub const SIDE_BY_SIDE: usize = 4;

/// Parts of the sum of a score. They make rounding errors small.
const PARTS: usize = 4;

/// Rows of values that are weighed at once.
const WEIGHED: usize = 2;

/// Lanes that are weighed at once, so that the sums of [`SIDE_BY_SIDE`] heads are registers.
const HALF: usize = LANES / 2;

/// So many rows further on is what will soon be read.
const AHEAD: usize = 8;

type Half = [f32; HALF];

/// Asks for row `at` of `values`, whatever it is.
#[inline(always)]
fn fetch(values: &[Row], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let line = values.as_ptr().wrapping_add(at).cast::<i8>();
        // SAFETY: hints, which no address makes fail.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line);
            _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(64));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}

#[inline(always)]
fn add_product<const FUSED: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { sum + a * b }
}

compiled_for_each_cpu! {
    /// Sets `scores`, `[heads, LANES]`, to the products of `queries`, `[dim, heads]`, with 32 keys,
    /// `[dim, LANES]`. There are 1, 2 or [`SIDE_BY_SIDE`] heads.
    pub fn score(queries: &[f32], keys: &[Row], scores: &mut [Row]) {
        match scores.len() {
            1 => score_heads::<FUSED, 1>(queries, keys, scores),
            2 => score_heads::<FUSED, 2>(queries, keys, scores),
            _ => score_heads::<FUSED, SIDE_BY_SIDE>(queries, keys, scores),
        }
    }

    /// Sets `sums`, `[heads, rows]`, to the sums over positions of values, each times the weight of
    /// its position. `groups` are those of the values, `[rows, LANES]` each, and `weights` those of
    /// the heads, `[groups, heads, LANES]`. There are 1, 2 or [`SIDE_BY_SIDE`] heads.
    pub fn weigh(groups: &[&[Row]], heads: usize, weights: &[Row], sums: &mut [f32]) {
        match heads {
            1 => weigh_heads::<FUSED, 1>(groups, weights, sums),
            2 => weigh_heads::<FUSED, 2>(groups, weights, sums),
            _ => weigh_heads::<FUSED, SIDE_BY_SIDE>(groups, weights, sums),
        }
    }

    /// The scores of a head, every `heads`-th row from `head` on, become `e^(scale (s - max))`, and
    /// `total` their sum. Scores of minus infinity become 0.
    pub fn exponentials(
        scores: &mut [Row],
        head: usize,
        heads: usize,
        scale: f32,
        total: &mut f64,
    ) {
        let mut highest = [f32::NEG_INFINITY; LANES];
        for row in scores.iter().skip(head).step_by(heads) {
            let (before, row) = (highest, *row);
            highest = each_lane(|i| if row[i] > before[i] { row[i] } else { before[i] });
            apart();
        }
        let highest = highest.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let mut sums = [0.0f64; LANES];
        for row in scores.iter_mut().skip(head).step_by(heads) {
            let score = *row;
            let weights = each_lane(|i| exp((score[i] - highest) * scale));
            *row = weights;
            for i in 0..LANES {
                sums[i] += f64::from(weights[i]);
            }
        }
        *total = sums.iter().sum();
    }
}

/// As [`score`], for `H` heads.
#[inline(always)]
fn score_heads<const FUSED: bool, const H: usize>(
    queries: &[f32],
    keys: &[Row],
    scores: &mut [Row],
) {
    let queries = queries.as_chunks::<H>().0;
    let of_part = keys.len().div_ceil(PARTS).max(1);
    let mut parts = [[[0.0f32; LANES]; H]; PARTS];
    let all = queries.chunks(of_part).zip(keys.chunks(of_part)).zip(&mut parts);
    for ((queries, keys), part) in all {
        let mut sums = [[0.0f32; LANES]; H];
        for (queries, keys) in queries.iter().zip(keys) {
            for h in 0..H {
                for i in 0..LANES {
                    sums[h][i] = add_product::<FUSED>(sums[h][i], queries[h], keys[i]);
                }
            }
        }
        *part = sums;
    }
    for (h, scores) in scores.iter_mut().take(H).enumerate() {
        *scores =
            each_lane(|i| (parts[0][h][i] + parts[1][h][i]) + (parts[2][h][i] + parts[3][h][i]));
    }
}

/// As [`weigh`], for `H` heads.
#[inline(always)]
fn weigh_heads<const FUSED: bool, const H: usize>(
    groups: &[&[Row]],
    weights: &[Row],
    sums: &mut [f32],
) {
    let weights = weights.as_chunks::<H>().0;
    let rows = sums.len() / H;
    let mut first = 0;
    while first < rows {
        // The last rows may be some of those before them once more.
        let at = first.min(rows.saturating_sub(WEIGHED));
        let mut lanes = [[[0.0f32; LANES]; WEIGHED]; H];
        for half in 0..2 {
            let mut local = [[[0.0f32; HALF]; WEIGHED]; H];
            for (values, weights) in groups.iter().zip(weights) {
                fetch(values, at + AHEAD + half);
                let of_half = |row: &Row| -> Half { row.as_chunks().0[half] };
                // A row that is not there is of zeros.
                let values: [Half; WEIGHED] =
                    std::array::from_fn(|r| values.get(at + r).map_or([0.0; HALF], of_half));
                for h in 0..H {
                    let weights = of_half(&weights[h]);
                    for r in 0..WEIGHED {
                        for i in 0..HALF {
                            local[h][r][i] =
                                add_product::<FUSED>(local[h][r][i], weights[i], values[r][i]);
                        }
                    }
                }
            }
            for h in 0..H {
                for r in 0..WEIGHED {
                    lanes[h][r][half * HALF..(half + 1) * HALF].copy_from_slice(&local[h][r]);
                }
            }
        }
        for h in 0..H {
            for r in 0..WEIGHED.min(rows - at) {
                sums[h * rows + at + r] = total(&lanes[h][r]);
            }
        }
        first = at + WEIGHED;
    }
}

/// The sum of all lanes, half by half.
#[inline(always)]
fn total(lanes: &Row) -> f32 {
    let mut lanes = *lanes;
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        for i in 0..left {
            lanes[i] += lanes[i + left];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    fn rows(values: &[f32]) -> Vec<Row> {
        values.as_chunks().0.to_vec()
    }

    /// In f64, head by head and number by number; and each head is the same alone.
    #[test]
    fn heads_side_by_side_equal_the_slow_obvious_ones_and_each_alone() {
        let mut noise = Noise::new(31);
        for (heads, dim, groups) in [(4, 256, 3), (4, 5, 1), (2, 24, 2), (1, 1, 4), (4, 3, 2)] {
            let queries = noise.values(dim * heads, 1.0);
            let keys = rows(&noise.values(dim * LANES, 1.0));
            let mut scores = vec![[f32::NAN; LANES]; heads];
            score(&queries, &keys, &mut scores);
            let values: Vec<Vec<Row>> =
                (0..groups).map(|_| rows(&noise.values(dim * LANES, 1.0))).collect();
            let values: Vec<&[Row]> = values.iter().map(Vec::as_slice).collect();
            let weights = rows(&noise.values(groups * heads * LANES, 1.0));
            let mut sums = vec![f32::NAN; heads * dim];
            weigh(&values, heads, &weights, &mut sums);
            for head in 0..heads {
                let query: Vec<f32> = queries.iter().skip(head).step_by(heads).copied().collect();
                let mut alone = [[0.0; LANES]];
                score(&query, &keys, &mut alone);
                assert_eq!(alone[0], scores[head]);
                for lane in 0..LANES {
                    let each =
                        query.iter().zip(&keys).map(|(q, k)| f64::from(*q) * f64::from(k[lane]));
                    let expected: f64 = each.sum();
                    assert!((f64::from(scores[head][lane]) - expected).abs() < 1e-5);
                }
                let of_head: Vec<Row> = weights.iter().skip(head).step_by(heads).copied().collect();
                let mut alone = vec![0.0; dim];
                weigh(&values, 1, &of_head, &mut alone);
                assert_eq!(alone, sums[head * dim..(head + 1) * dim]);
                for row in 0..dim {
                    let each = values.iter().zip(&of_head).flat_map(|(values, weights)| {
                        values[row].iter().zip(weights).map(|(v, w)| f64::from(*v) * f64::from(*w))
                    });
                    let expected: f64 = each.sum();
                    assert!((f64::from(sums[head * dim + row]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn exponentials_are_those_of_the_scores_of_one_head() {
        let mut noise = Noise::new(32);
        let mut scores = rows(&noise.values(6 * LANES, 9.0));
        scores[4][20..].fill(f32::NEG_INFINITY);
        let before = scores.clone();
        let mut total = 0.0;
        exponentials(&mut scores, 1, 3, 0.7, &mut total);
        let of_head = before[1].iter().chain(&before[4]).map(|&score| f64::from(score));
        let highest = of_head.clone().fold(f64::MIN, f64::max);
        let expected: f64 = of_head.map(|score| ((score - highest) * 0.7f32 as f64).exp()).sum();
        assert!((total / expected - 1.0).abs() < 1e-6);
        assert_eq!(scores[4][20..], [0.0; 12]);
        assert_eq!((scores[0], scores[2], scores[5]), (before[0], before[2], before[5]));
        let expected = ((f64::from(before[1][3]) - highest) * 0.7f32 as f64).exp();
        assert!((f64::from(scores[1][3]) - expected).abs() < 1e-6);
    }
}
