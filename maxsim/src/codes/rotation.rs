//! A fixed rotation that spreads every vector evenly over its numbers, so that few bits a number
//! describe each as well as the next.

/// Rounds of signs and Hadamard transforms; three leave nothing of the first axes to see.
const ROUNDS: u64 = 3;

/// Rotates `row` in place: in each round signs are flipped by a fixed pattern, then the first (in
/// every other round the last) `2^k` numbers go through a Hadamard transform, with the largest
/// `2^k` that fits. Dot products stay as they are up to f32 rounding. A form of the fast
/// Johnson-Lindenstrauss transform (Ailon & Chazelle 2009), which costs `dim log dim`.
pub(crate) fn rotate(row: &mut [f32]) {
    (0..ROUNDS).for_each(|round| {
        flip(round, row);
        transform(round, row);
    });
}

/// Rotates `row` back.
pub(crate) fn rotate_back(row: &mut [f32]) {
    (0..ROUNDS).rev().for_each(|round| {
        transform(round, row);
        flip(round, row);
    });
}

fn flip(round: u64, row: &mut [f32]) {
    for (n, x) in row.iter_mut().enumerate() {
        if negative(round, n as u64) {
            *x = -*x;
        }
    }
}

/// Its own inverse.
fn transform(round: u64, row: &mut [f32]) {
    let Some(log) = row.len().checked_ilog2() else { return };
    let size = 1 << log;
    // The overlap of first and last goes through both; a power of two has them the same.
    let start = if round.is_multiple_of(2) { 0 } else { row.len() - size };
    hadamard(&mut row[start..start + size]);
}

/// splitmix64 (Steele, Lea & Flood 2014) of the place: the same on every machine.
fn negative(round: u64, n: u64) -> bool {
    let mut z = (round << 32 | n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & 1 == 1
}

/// The orthogonal Walsh-Hadamard transform of a power of two.
fn hadamard(row: &mut [f32]) {
    let mut half = 1;
    while half < row.len() {
        for pair in row.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = (row.len() as f32).sqrt().recip();
    for x in row {
        *x *= scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    proptest! {
        #[test]
        fn dot_products_stay(
            (a, b) in (1usize..300).prop_flat_map(|dim| {
                let row = || prop::collection::vec(-1.0f32..1.0, dim);
                (row(), row())
            })
        ) {
            let (before, first) = (dot(&a, &b), a.clone());
            let (mut a, mut b) = (a, b);
            rotate(&mut a);
            rotate(&mut b);
            prop_assert!((dot(&a, &b) - before).abs() < 1e-4, "{before} {}", dot(&a, &b));
            rotate_back(&mut a);
            prop_assert!(a.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn one_axis_is_spread_over_all() {
        for dim in [96, 128] {
            let mut row = vec![0.0; dim];
            row[5] = 1.0;
            rotate(&mut row);
            let largest = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(largest < 0.5, "{dim}: {largest}");
        }
    }
}
