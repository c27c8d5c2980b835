//! Rotary position embeddings on two axes.

use crate::blocks::elementwise::rotate;
use crate::blocks::lanes::{LANES, Lanes};
use crate::families::neomme::config::Rotation;
use crate::families::neomme::sequence::Sequence;

/// The angles of all positions of some sequences, `[rows / 2, LANES]` a group.
#[derive(Debug, Clone)]
pub struct Angles {
    /// The rows of a head that are turned.
    rows: usize,
    cos: Lanes,
    sin: Lanes,
}

impl Angles {
    /// The angles for the positions of `sequences`. Even frequencies turn by the first axis, odd
    /// ones by the second.
    pub fn new(rotation: Rotation, sequences: &[Sequence]) -> Self {
        let half = rotation.rows / 2;
        // As in the reference, the frequency is rounded to f32, then the product.
        let frequency =
            |j: usize| 1.0 / (rotation.theta as f32).powf((2 * j) as f32 / rotation.rows as f32);
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
        let positions = sequences.iter().flat_map(|s| s.rows.iter().zip(&s.columns));
        let (cos, sin): (Vec<f32>, Vec<f32>) = positions
            .flat_map(|(row, column)| {
                let turned = frequencies.iter().enumerate();
                turned.map(|(j, frequency)| {
                    let position = if j % 2 == 0 { *row } else { *column };
                    let (sin, cos) = (position as f32 * frequency).sin_cos();
                    (cos, sin)
                })
            })
            .unzip();
        Self {
            rows: rotation.rows,
            cos: Lanes::from_rows(&lengths, half, &cos),
            sin: Lanes::from_rows(&lengths, half, &sin),
        }
    }

    /// Turns a head, `[head_dim, LANES]`, of the positions of `group`.
    pub fn turn(&self, group: usize, head: &mut [[f32; LANES]]) {
        rotate(&mut head[..self.rows], self.cos.group(group), self.sin.group(group));
    }
}
