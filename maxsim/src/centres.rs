//! Centres of vectors, and which of them a vector is near to: what k-means moves.

use pagesight_simd::Instructions;

use crate::kernel::{LANES, Lanes, dots_f32};

/// How long a centre is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Directions: the nearest has the largest dot product.
    One,
    /// Points: the nearest has the least distance.
    OfTheMean,
}

/// Centres in the lanes of the kernels, `[blocks, dim, 16]`.
#[derive(Debug, Clone)]
pub(crate) struct Centres {
    pub dim: usize,
    pub count: usize,
    length: Length,
    blocks: Vec<Lanes<f32>>,
    /// Half the square of the length of each; 0 where lengths do not count.
    halves: Vec<f32>,
    /// Vectors that each is the mean of.
    pub members: Vec<usize>,
}

impl PartialEq for Centres {
    /// The same points, whatever they are the means of.
    fn eq(&self, other: &Self) -> bool {
        self.dim == other.dim && self.blocks == other.blocks
    }
}

impl Centres {
    pub fn new(dim: usize, count: usize, length: Length) -> Self {
        let blocks = vec![[0.0; LANES]; count.div_ceil(LANES) * dim];
        let (halves, members) = (vec![0.0; count], vec![0; count]);
        Self { dim, count, length, blocks, halves, members }
    }

    pub fn set(&mut self, centre: usize, row: &[f32]) {
        if self.length == Length::OfTheMean {
            self.halves[centre] = row.iter().map(|x| x * x).sum::<f32>() / 2.0;
        }
        let block = &mut self.blocks[centre / LANES * self.dim..][..self.dim];
        for (lanes, &x) in block.iter_mut().zip(row) {
            lanes[centre % LANES] = x;
        }
    }

    pub fn get(&self, centre: usize) -> impl Iterator<Item = f32> + '_ {
        let block = &self.blocks[centre / LANES * self.dim..][..self.dim];
        block.iter().map(move |lanes| lanes[centre % LANES])
    }

    /// Moves each centre to the mean of its vectors, or its direction; one without any stays.
    pub fn move_to_means(&mut self, rows: &[f32], nearest: &[usize]) {
        let mut sums = vec![0.0f32; self.count * self.dim];
        self.members.fill(0);
        for (row, &centre) in rows.chunks_exact(self.dim).zip(nearest) {
            self.members[centre] += 1;
            let sum = &mut sums[centre * self.dim..][..self.dim];
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        for (centre, sum) in sums.chunks_exact_mut(self.dim).enumerate() {
            let length = match self.length {
                Length::One => sum.iter().map(|x| x * x).sum::<f32>().sqrt(),
                Length::OfTheMean => self.members[centre] as f32,
            };
            // Opposite vectors have no mean direction.
            if self.members[centre] > 0 && length > 0.0 {
                sum.iter_mut().for_each(|x| *x /= length);
                self.set(centre, sum);
            }
        }
    }

    /// Says which centre each of `rows` is nearest to, the first of those that are as near.
    pub fn assign(&self, with: Instructions, rows: &[f32], nearest: &mut [usize]) {
        let mut dots = vec![[0.0; LANES]; self.count.div_ceil(LANES)];
        for (row, nearest) in rows.chunks_exact(self.dim).zip(nearest) {
            dots_f32(with, self.dim, &self.blocks, row, &mut dots);
            let nearness =
                dots.as_flattened().iter().zip(&self.halves).map(|(dot, half)| dot - half);
            let first = (0, f32::NEG_INFINITY);
            let nearer =
                |best: (usize, f32), (n, near)| if near > best.1 { (n, near) } else { best };
            *nearest = nearness.enumerate().fold(first, nearer).0;
        }
    }

    /// Those that are the mean of any.
    pub fn used(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|&centre| self.members[centre] > 0)
    }
}
