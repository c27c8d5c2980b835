//! Numbers of places in bytes.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::places::{Places, ROUNDING, Step};
use super::weights::ByteWeights;
#[cfg(target_arch = "x86_64")]
use crate::Instructions;
use crate::compiled_for_each_cpu;

/// Places whose numbers are bytes, each place with a [`Step`] of its own.
#[derive(Debug, Clone, Default)]
pub struct ByteRows {
    bytes: Vec<u8>,
    /// A multiple of four.
    width: usize,
    steps: Vec<Step>,
    /// A place whose numbers have been multiplied with their shares.
    shared: Vec<f32>,
}

compiled_for_each_cpu! {
    /// Writes the bytes of places and their steps. `values` is `[places, width]`; each place is
    /// multiplied with `shares` first, where there are some.
    fn fill_rows(
        values: &[f32],
        shares: &[f32],
        shared: &mut [f32],
        bytes: &mut [u8],
        steps: &mut [Step],
    ) {
        let width = shared.len();
        let rows = values.chunks_exact(width);
        let room = width.next_multiple_of(4);
        for ((row, bytes), step) in rows.zip(bytes.chunks_exact_mut(room)).zip(steps) {
            shared.copy_from_slice(row);
            for (shared, share) in shared.iter_mut().zip(shares) {
                *shared *= *share;
            }
            let (mut least, mut most) = (f32::MAX, f32::MIN);
            for value in shared.iter() {
                least = if *value < least { *value } else { least };
                most = if *value > most { *value } else { most };
            }
            *step = Step::between(least, most);
            let units = step.units();
            for (value, byte) in shared.iter().zip(bytes) {
                *byte = ((*value - least) * units + ROUNDING).to_bits() as u8;
            }
        }
    }

    fn round_rests(values: &[f32], step: Step, least: f32, units: f32, bytes: &mut [u8]) {
        for (value, byte) in values.iter().zip(bytes) {
            let left = *value - (step.least + step.size * f32::from(*byte));
            let scaled = (left - least) * units;
            let scaled = if scaled < 255.0 { scaled } else { 255.0 };
            let scaled = if scaled > 0.0 { scaled } else { 0.0 };
            *byte = (scaled + ROUNDING).to_bits() as u8;
        }
    }

    fn round_all(values: &[f32], least: f32, units: f32, bytes: &mut [u8]) {
        for (value, byte) in values.iter().zip(bytes) {
            let scaled = (*value - least) * units;
            let scaled = if scaled < 255.0 { scaled } else { 255.0 };
            let scaled = if scaled > 0.0 { scaled } else { 0.0 };
            *byte = (scaled + ROUNDING).to_bits() as u8;
        }
    }
}

/// Rounds numbers to units of `step`; those outside it become its least or its greatest.
///
/// ```
/// use pagesight_simd::network::{Step, round_to};
/// let mut bytes = [0; 4];
/// round_to(Step::between(0.0, 51.0), &[0.0, 1.02, 70.0, -3.0], &mut bytes);
/// assert_eq!(bytes, [0, 5, 255, 0]);
/// ```
pub fn round_to(step: Step, values: &[f32], bytes: &mut [u8]) {
    round_all(values, step.least, step.units(), bytes);
}

/// Rounds what [`round_to`] left of `values` to units of [`Step::of_rest`]. `bytes` are those that it
/// wrote, and become the rest.
///
/// ```
/// use pagesight_simd::network::{Step, round_rest, round_to};
/// let (step, value) = (Step::between(0.0, 255.0), 99.7);
/// let mut bytes = [0; 1];
/// round_to(step, &[value], &mut bytes);
/// assert_eq!(bytes, [100]);
/// round_rest(step, &[value], &mut bytes);
/// let rest = step.of_rest();
/// assert!((100.0 + rest.least + rest.size * f32::from(bytes[0]) - value).abs() < 0.003);
/// ```
pub fn round_rest(step: Step, values: &[f32], bytes: &mut [u8]) {
    let rest = step.of_rest();
    round_rests(values, step, rest.least, rest.units(), bytes);
}

impl ByteRows {
    /// Takes the places in `values`, `[places, width]`.
    ///
    /// # Panics
    /// When `width` is 0 or `values` are no whole places.
    pub fn fill(&mut self, values: &[f32], width: usize) {
        self.fill_shared(values, width, &[]);
    }

    /// Takes the places in `values`, `[places, inputs]`, to be multiplied with `weights`, which may
    /// be [balanced](ByteWeights::balanced).
    ///
    /// # Panics
    /// When `values` are no whole places.
    pub fn fill_for(&mut self, weights: &ByteWeights, values: &[f32]) {
        self.fill_shared(values, weights.width, &weights.shares);
    }

    fn fill_shared(&mut self, values: &[f32], width: usize, shares: &[f32]) {
        self.make_room(values, width);
        let Self { bytes, steps, shared, .. } = self;
        #[cfg(target_arch = "x86_64")]
        if width.is_multiple_of(avx512::LANES) && Instructions::Avx512.is_available() {
            let (values, shares) = (values.as_chunks().0, shares.as_chunks().0);
            let (shared, bytes) = (shared.as_chunks_mut().0, bytes.as_chunks_mut().0);
            // SAFETY: the CPU has the features.
            return unsafe { avx512::fill(values, shares, shared, bytes, steps) };
        }
        fill_rows(values, shares, shared, bytes, steps);
    }

    fn make_room(&mut self, values: &[f32], width: usize) {
        assert!(width > 0 && values.len().is_multiple_of(width), "whole places");
        let (count, room) = (values.len() / width, width.next_multiple_of(4));
        // What is not written stays 0: the room after the numbers of a place.
        if room != width {
            self.bytes.clear();
        }
        self.width = room;
        self.bytes.resize(count * room, 0);
        self.steps.resize(count, Step::default());
        self.shared.resize(width, 0.0);
    }

    /// The places, one after the other.
    pub fn places(&self) -> Places<'_> {
        Places {
            bytes: &self.bytes,
            count: self.steps.len(),
            stride: self.width,
            part: self.width,
            parts: 1,
            part_stride: 0,
            steps: &self.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_numbers_to_half_a_unit() {
        let mut rows = ByteRows::default();
        for width in [1usize, 3, 16, 50, 96] {
            let value = |i: usize| ((i * 2_654_435_761) % 1_000) as f32 / 37.0 - 9.0;
            let mut values: Vec<f32> = (0..5 * width).map(value).collect();
            // One place has the same number everywhere.
            values[..width].fill(-3.25);
            rows.fill(&values, width);
            let (mut bytes, mut steps) = (rows.bytes.clone(), rows.steps.clone());
            fill_rows(&values, &[], &mut vec![0.0; width], &mut bytes, &mut steps);
            assert!(bytes == rows.bytes && steps == rows.steps, "{width}");
            let places = rows.places();
            assert_eq!((places.count, places.stride), (5, width.next_multiple_of(4)));
            for (at, row) in values.chunks_exact(width).enumerate() {
                let bytes = &places.bytes[at * places.stride..][..places.stride];
                let step = places.steps[at];
                for (value, byte) in row.iter().zip(bytes) {
                    let got = step.least + step.size * f32::from(*byte);
                    assert!((got - value).abs() <= 0.501 * step.size + 1e-5, "{got} {value}");
                }
                assert!(bytes[width..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
