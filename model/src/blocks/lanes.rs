//! Positions in lanes: how activations lie in memory.
//!
//! A sequence's positions (patches or tokens) come in groups of [`LANES`]; inside a group a row
//! holds one component of all of them. So whatever concerns one position alone is done to 32 of
//! them at once ([`elementwise`](super::elementwise)), and positions never mix.

use rayon::prelude::*;

use crate::blocks::zeros::{Plain, Zeros};

/// Number of positions in a group.
pub const LANES: usize = 32;

/// A cache line. Panels and operands of the kernels are made of them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [u32; 16]);

// SAFETY: whole numbers; a line is shorter than a page.
unsafe impl Plain for Line {}

impl Line {
    /// Writes a word of each position. (With single assignments the compiler would scatter them.)
    #[inline(always)]
    pub fn set_both(lines: &mut [Self; 2], words: &[u32; LANES]) {
        lines[0].0.copy_from_slice(&words[..16]);
        lines[1].0.copy_from_slice(&words[16..]);
    }
}

/// Activations of one or several sequences, `[groups, width, LANES]`, f32. Each sequence begins
/// with a group of its own. The lanes past its end are zero at first; later their numbers mean
/// nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Lanes {
    width: usize,
    lengths: Vec<usize>,
    values: Zeros<[f32; LANES]>,
}

// SAFETY: numbers in f32, any bits of which are one or none.
unsafe impl Plain for [f32; LANES] {}

/// Number of groups of a sequence.
pub fn groups_of(length: usize) -> usize {
    length.div_ceil(LANES)
}

impl Lanes {
    /// Zeros for sequences of these lengths.
    pub fn zeros(lengths: &[usize], width: usize) -> Self {
        let groups: usize = lengths.iter().map(|&n| groups_of(n)).sum();
        Self { width, lengths: lengths.into(), values: Zeros::new(groups * width) }
    }

    /// As [`zeros`](Self::zeros), for one who writes all lanes of all groups before any is read.
    pub fn to_be_written(lengths: &[usize], width: usize) -> Self {
        let groups: usize = lengths.iter().map(|&n| groups_of(n)).sum();
        Self { width, lengths: lengths.into(), values: Zeros::to_be_written(groups * width) }
    }

    /// From rows, `[sum of lengths, width]`.
    ///
    /// # Panics
    /// When there are more or fewer.
    pub fn from_rows(lengths: &[usize], width: usize, rows: &[f32]) -> Self {
        assert_eq!(rows.len(), lengths.iter().sum::<usize>() * width, "whole rows");
        let mut this = Self::zeros(lengths, width);
        let parts = parts(lengths);
        this.each_group(|group, lanes| {
            let (first, count) = parts[group];
            let rows = &rows[first * width..][..count * width];
            // As many components at once as are in a cache line of a row.
            for (n, lanes) in lanes.chunks_mut(16).enumerate() {
                for (lane, row) in rows.chunks(width).enumerate() {
                    for (to, value) in lanes.iter_mut().zip(&row[n * 16..]) {
                        to[lane] = *value;
                    }
                }
            }
        });
        this
    }

    /// To rows, `[sum of lengths, width]`.
    pub fn to_rows(&self) -> Vec<f32> {
        let places: Vec<(usize, usize)> = places(&self.lengths).collect();
        let mut rows = vec![0.0; places.len() * self.width];
        let of_rows = rows.par_chunks_mut(self.width.max(1)).zip(places).with_min_len(LANES);
        of_rows.for_each(|(row, (group, lane))| {
            for (to, values) in row.iter_mut().zip(self.group(group)) {
                *to = values[lane];
            }
        });
        rows
    }

    /// The same sequences, each with `rows`, `[n, width]`, appended.
    pub fn extended(&self, rows: &[f32]) -> Self {
        let more = rows.len() / self.width.max(1);
        let lengths: Vec<usize> = self.lengths.iter().map(|n| n + more).collect();
        let mut this = Self::zeros(&lengths, self.width);
        let (mut from, mut to) = (0, 0);
        for &length in &self.lengths {
            let groups = groups_of(length) * self.width;
            this.values[to..to + groups].copy_from_slice(&self.values[from..from + groups]);
            for (i, row) in rows.chunks(self.width.max(1)).enumerate() {
                let (group, lane) = ((length + i) / LANES, (length + i) % LANES);
                for (component, value) in row.iter().enumerate() {
                    this.values[to + group * self.width + component][lane] = *value;
                }
            }
            from += groups;
            to += groups_of(length + more) * self.width;
        }
        this
    }

    /// The positions in `kept` of each sequence, in that order.
    ///
    /// # Panics
    /// When `kept` has another number of sequences, or positions that are not there.
    pub fn keep(&self, kept: &[&[usize]]) -> Self {
        assert_eq!(kept.len(), self.lengths.len(), "sequences");
        for (places, length) in kept.iter().zip(&self.lengths) {
            assert!(places.iter().all(|place| place < length), "positions of {length}");
        }
        let lengths: Vec<usize> = kept.iter().map(|places| places.len()).collect();
        let mut this = Self::zeros(&lengths, self.width);
        let from = firsts(&self.lengths).zip(kept).flat_map(|(first, places)| {
            places.iter().map(move |&place| (first + place / LANES, place % LANES))
        });
        for ((from, of), (to, lane)) in from.zip(places(&lengths)) {
            let rows = this.values[to * self.width..].iter_mut();
            for (row, values) in rows.zip(self.group(from)) {
                row[lane] = values[of];
            }
        }
        this
    }

    /// Number of components of a position.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of positions of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Number of groups of all sequences.
    pub fn groups(&self) -> usize {
        self.lengths.iter().map(|&n| groups_of(n)).sum()
    }

    /// Number of positions of each group; the lanes past it mean nothing.
    pub fn counts(&self) -> Vec<usize> {
        parts(&self.lengths).into_iter().map(|(_, count)| count).collect()
    }

    /// One group, `[width, LANES]`.
    pub fn group(&self, group: usize) -> &[[f32; LANES]] {
        &self.values[group * self.width..(group + 1) * self.width]
    }

    /// Applies `change` to every group, `[width, LANES]`, in parallel.
    pub fn each_group(&mut self, change: impl Fn(usize, &mut [[f32; LANES]]) + Sync) {
        let groups = self.values.par_chunks_mut(self.width.max(1)).enumerate();
        groups.with_max_len(1).for_each(|(group, rows)| change(group, rows));
    }

    /// Sequences of the same lengths and another width; `make` fills each group, `[width, LANES]`,
    /// from the group of this one.
    pub fn map_groups(
        &self,
        width: usize,
        make: impl Fn(&[[f32; LANES]], &mut [[f32; LANES]]) + Sync,
    ) -> Self {
        let mut made = Self::zeros(&self.lengths, width);
        made.each_group(|group, rows| make(self.group(group), rows));
        made
    }

    /// Gives several threads access to disjoint rows.
    pub fn writer(&mut self) -> Writer {
        Writer { width: self.width, rows: self.values.len(), values: self.values.as_mut_ptr() }
    }
}

/// The first group of each sequence.
fn firsts(lengths: &[usize]) -> impl Iterator<Item = usize> {
    lengths.iter().scan(0, |next, &length| {
        let first = *next;
        *next += groups_of(length);
        Some(first)
    })
}

/// The first position of each group among those of all sequences, and how many it has.
fn parts(lengths: &[usize]) -> Vec<(usize, usize)> {
    let firsts = lengths.iter().scan(0, |next, &length| {
        let first = *next;
        *next += length;
        Some((first, length))
    });
    let parts = firsts.flat_map(|(first, length)| {
        let starts = (0..length).step_by(LANES);
        starts.map(move |start| (first + start, LANES.min(length - start)))
    });
    parts.collect()
}

/// Group and lane of every position.
fn places(lengths: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let sequences = firsts(lengths).zip(lengths);
    sequences.flat_map(|(first, &n)| (0..n).map(move |i| (first + i / LANES, i % LANES)))
}

/// Access of several threads to disjoint rows of [`Lanes`].
pub struct Writer {
    width: usize,
    rows: usize,
    values: *mut [f32; LANES],
}

// SAFETY: it gives out rows only through `rows`, whose callers promise disjoint ones.
unsafe impl Send for Writer {}
// SAFETY: as above.
unsafe impl Sync for Writer {}

impl Writer {
    /// Rows `first ..` of a group, at most `count`.
    ///
    /// # Safety
    /// The [`Lanes`] live and nobody else has these rows.
    ///
    /// # Panics
    /// When the group is not there.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts, as promised by the callers")]
    pub unsafe fn rows(&self, group: usize, first: usize, count: usize) -> &mut [[f32; LANES]] {
        let count = count.min(self.width.saturating_sub(first));
        let start = group * self.width + first;
        assert!(start + count <= self.rows, "rows of a group");
        // SAFETY: inside the values by the check; disjoint, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::matmul::tests::Noise;

    #[test]
    fn rows_go_in_and_come_out_as_they_were() {
        let mut noise = Noise::new(4);
        let lengths = [1, 32, 33, 70];
        let rows = noise.values(136 * 5, 1.0);
        let x = Lanes::from_rows(&lengths, 5, &rows);
        assert_eq!((x.to_rows(), x.groups()), (rows.clone(), 7));
        let more = noise.values(10, 1.0);
        let longer = x.extended(&more);
        assert_eq!(longer.lengths(), [3, 34, 35, 72]);
        let mut expected = Vec::new();
        let mut start = 0;
        for n in lengths {
            expected.extend_from_slice(&rows[start * 5..(start + n) * 5]);
            expected.extend_from_slice(&more);
            start += n;
        }
        assert_eq!(longer.to_rows(), expected);
        let many: Vec<usize> = (0..70).rev().step_by(2).collect();
        let kept = x.keep(&[&[0], &[], &[32, 0, 5], &many]);
        assert_eq!(kept.lengths(), [1, 0, 3, 35]);
        let places = [0].into_iter().chain([32, 0, 5].map(|p| 33 + p));
        let places = places.chain(many.iter().map(|p| 66 + p));
        let expected: Vec<f32> = places.flat_map(|p| rows[p * 5..][..5].to_vec()).collect();
        assert_eq!(kept.to_rows(), expected);
    }
}
