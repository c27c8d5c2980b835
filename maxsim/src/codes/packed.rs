//! Rows of 4, 2 or 1 bit a number: how one is rounded, and how a query meets many.

use half::f16;

use super::int8::Int8Tokens;
use crate::kernel::{Lanes, Near, parts, place, unpack, widen};

/// Rows unpacked at a time: 24 kB at dim 128, whole tiles of every kernel.
const ROWS: usize = 192;

/// Bits a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bits {
    /// Signs alone.
    One = 1,
    /// Four steps.
    Two = 2,
    /// Sixteen steps.
    Four = 4,
}

impl Bits {
    /// Those that a file calls so.
    pub(crate) fn named(bits: u32) -> Option<Self> {
        [Self::One, Self::Two, Self::Four].into_iter().find(|&known| known as u32 == bits)
    }

    /// Width of a step over the root mean square of a vector's numbers: the best uniform
    /// quantiser of a normal distribution (Max 1960, table II); for signs it does not matter.
    fn step(self) -> f32 {
        match self {
            Self::One => 1.0,
            Self::Two => 0.9957,
            Self::Four => 0.3352,
        }
    }

    /// Byte and shift of number `d` in a row.
    pub(crate) fn place(self, d: usize, row_bytes: usize) -> (usize, usize) {
        match self {
            Self::One => place::<1>(d, row_bytes),
            Self::Two => place::<2>(d, row_bytes),
            Self::Four => place::<4>(d, row_bytes),
        }
    }

    /// The largest odd step.
    pub(crate) fn largest(self) -> i32 {
        (1 << self as u32) - 1
    }

    /// Bytes of a row of `dim` numbers, its scale aside.
    pub(crate) fn row_bytes(self, dim: usize) -> usize {
        dim.next_multiple_of(8) * self as usize / 8
    }

    /// Rounds `row`, `[dim]`, rotated, into `codes`, zeros so far; the scale that makes its dot
    /// product with its own code right.
    pub(crate) fn round(self, row: &[f32], codes: &mut [u8]) -> f16 {
        let square: f32 = row.iter().map(|x| x * x).sum();
        let step = (square / row.len() as f32).sqrt() * self.step();
        let largest = self.largest();
        let mut along = 0.0f32;
        for (d, &x) in row.iter().enumerate() {
            // A row of zeros has step 0: 0 / 0 as an integer is 0, its scale too.
            let odd = ((x / step).floor() as i32 * 2 + 1).clamp(-largest, largest);
            along += x * odd as f32;
            let (byte, shift) = self.place(d, codes.len());
            codes[byte] |= (((odd + largest) / 2) as u8) << shift;
        }
        let scale = if along > 0.0 { square / along } else { 0.0 };
        f16::from_f32(scale.min(f16::MAX.to_f32()))
    }

    /// What a row stands for, `[dim]` numbers, still rotated.
    pub(crate) fn read(self, dim: usize, codes: &[u8], scale: f16) -> impl Iterator<Item = f32> {
        (0..dim).map(move |d| {
            let (byte, shift) = self.place(d, codes.len());
            let code = i32::from(codes[byte] >> shift) & ((1 << self as u32) - 1);
            (2 * code - self.largest()) as f32 * scale.to_f32()
        })
    }
}

/// The tokens of one or several queries, rotated as the rows are.
#[derive(Debug, Clone)]
pub(super) struct PackedTokens {
    bits: Bits,
    inner: Int8Tokens,
}

/// Packed rows that lie one after another.
#[derive(Clone, Copy)]
pub(super) struct PackedRows<'a, S> {
    /// `[n, bytes of a row]`
    pub codes: &'a [u8],
    /// `[n]`, f16 in one form or another.
    pub scales: &'a [S],
    /// `[n]` and the centres' products, where there are centres.
    pub near: Option<Near<'a>>,
}

impl PackedTokens {
    pub fn new(bits: Bits, inner: Int8Tokens) -> Self {
        Self { bits, inner }
    }

    pub fn bits(&self) -> Bits {
        self.bits
    }

    pub fn inner(&self) -> &Int8Tokens {
        &self.inner
    }

    /// The maxima over `rows`, with scales that `half` reads; rows are unpacked in `room`.
    pub fn best<S>(
        &self,
        rows: PackedRows<'_, S>,
        half: impl Fn(&S) -> f16,
        room: &mut Vec<u8>,
    ) -> Vec<Lanes<f32>> {
        match self.bits {
            Bits::One => self.best_of::<1, S>(rows, half, room),
            Bits::Two => self.best_of::<2, S>(rows, half, room),
            Bits::Four => self.best_of::<4, S>(rows, half, room),
        }
    }

    fn best_of<const BITS: usize, S>(
        &self,
        page: PackedRows<'_, S>,
        half: impl Fn(&S) -> f16,
        room: &mut Vec<u8>,
    ) -> Vec<Lanes<f32>> {
        let padded = self.inner.row();
        let row_bytes = padded * BITS / 8;
        let mut best = self.inner.no_maxima();
        let most = ROWS.min(page.scales.len()) * padded;
        if room.len() < most {
            room.resize(most, 0);
        }
        let (mut halves, mut wide) = ([f16::ZERO; ROWS], [0.0f32; ROWS]);
        for part in parts(page.scales.len(), ROWS) {
            let codes = &page.codes[part.start * row_bytes..part.end * row_bytes];
            let scales = &page.scales[part.clone()];
            let rows = &mut room[..scales.len() * padded];
            unpack::<BITS>(self.inner.instructions(), row_bytes, codes, rows);
            let (halves, wide) = (&mut halves[..scales.len()], &mut wide[..scales.len()]);
            for (place, scale) in halves.iter_mut().zip(scales) {
                *place = half(scale);
            }
            // All at once: one by one would ask each time what the CPU has.
            widen(self.inner.instructions(), halves, wide);
            match page.near {
                None => self.inner.raise(rows, wide, &mut best),
                Some(near) => {
                    let near = Near { centres: &near.centres[part], ..near };
                    self.inner.raise_near(rows, wide, near, &mut best);
                }
            }
        }
        best
    }
}
