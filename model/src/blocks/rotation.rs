//! Rotary position embeddings (Su et al., arXiv 2104.09864) on any number of axes: each pair of rows
//! of a head turns by the position on one axis.

use crate::blocks::elementwise::rotate;
use crate::blocks::lanes::{LANES, Lanes};

/// The angles of all positions of some sequences.
#[derive(Debug, Clone)]
pub struct Angles {
    /// Pairs of rows that are turned.
    pairs: usize,
    cos: Lanes,
    sin: Lanes,
}

/// Frequency `j` of a head of which `rows` are turned, rounded to f32 as in the references.
pub fn frequency(theta: f64, j: usize, rows: usize) -> f32 {
    1.0 / (theta as f32).powf((2 * j) as f32 / rows as f32)
}

impl Angles {
    /// The angles for sequences of these lengths. `axes` has the positions of all sequences, one
    /// after the other, on each axis; `pairs` the axis and the frequency of each pair of rows.
    ///
    /// # Panics
    /// When an axis has not as many positions as the sequences, or a pair an axis that is not there.
    pub fn new(lengths: &[usize], axes: &[Vec<u32>], pairs: &[(usize, f32)]) -> Self {
        let count: usize = lengths.iter().sum();
        let angles = (0..count).flat_map(|position| {
            // The product is rounded to f32 as well.
            pairs.iter().map(move |&(axis, frequency)| {
                let (sin, cos) = (axes[axis][position] as f32 * frequency).sin_cos();
                (cos, sin)
            })
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.unzip();
        Self {
            pairs: pairs.len(),
            cos: Lanes::from_rows(lengths, pairs.len(), &cos),
            sin: Lanes::from_rows(lengths, pairs.len(), &sin),
        }
    }

    /// Turns a head, `[head_dim, LANES]`, of the positions of `group`: row `i` with row `i + n` for
    /// the `n` pairs; what is beyond them stays.
    pub fn turn(&self, group: usize, head: &mut [[f32; LANES]]) {
        rotate(&mut head[..2 * self.pairs], self.cos.group(group), self.sin.group(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    #[test]
    fn each_pair_turns_by_its_axis_and_the_rest_stays() {
        let axes = [vec![0, 3, 7, 1], vec![5, 0, 2, 9]];
        let pairs = [(0, frequency(100.0, 0, 6)), (1, frequency(100.0, 1, 6)), (0, 0.5)];
        let angles = Angles::new(&[3, 1], &axes, &pairs);
        let rows = Noise::new(12).values(4 * 8, 1.0);
        let mut x = Lanes::from_rows(&[3, 1], 8, &rows);
        x.each_group(|group, head| angles.turn(group, head));
        let got = x.to_rows();
        for position in 0..4 {
            let at = |values: &[f32], row: usize| f64::from(values[position * 8 + row]);
            for (i, (axis, frequency)) in pairs.iter().enumerate() {
                let angle = f64::from(axes[*axis][position] as f32 * frequency);
                let (low, high) = (at(&rows, i), at(&rows, i + 3));
                let (cos, sin) = (angle.cos(), angle.sin());
                assert!((at(&got, i) - (low * cos - high * sin)).abs() < 1e-6);
                assert!((at(&got, i + 3) - (high * cos + low * sin)).abs() < 1e-6);
            }
            assert_eq!((at(&got, 6), at(&got, 7)), (at(&rows, 6), at(&rows, 7)));
        }
        assert_eq!(frequency(10_000.0, 0, 64), 1.0);
    }
}
