//! Rows of a group, one at a time, so that the compiler makes vector instructions of what is done to
//! their [`LANES`] positions.
//!
//! A loop over the lanes of a row is short and is unrolled. What is left is a loop over rows, and the
//! compiler may take that for the one to vectorise: it then gathers a lane of 16 rows and scatters it
//! again, which is slower than numbers one by one, by up to twenty times. So a row is read as a whole,
//! [`each_lane`] makes the next, and [`apart`] keeps rows from being joined.

use crate::blocks::lanes::LANES;

/// A row: a number of each position.
pub type Row = [f32; LANES];

/// What `of` makes for each lane.
#[inline(always)]
pub fn each_lane(of: impl Fn(usize) -> f32) -> Row {
    std::array::from_fn(of)
}

/// To be called at the end of what is done to a row. It is no instruction, but one that the compiler
/// does not look into, so that it does not vectorise over rows.
#[inline(always)]
pub fn apart() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: nothing is executed.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// The sum of `of` over the rows, for each position. It is made in eight parts, which makes rounding
/// errors small and keeps the CPU busy.
#[inline(always)]
pub fn sum(rows: &[Row], of: impl Fn(f32, usize) -> f32) -> Row {
    let mut parts = [[0.0f32; LANES]; 8];
    let (eights, rest) = rows.as_chunks::<8>();
    for rows in eights.iter().map(<[Row; 8]>::as_slice).chain([rest]) {
        for (part, row) in parts.iter_mut().zip(rows) {
            let (before, row) = (*part, *row);
            *part = each_lane(|i| before[i] + of(row[i], i));
            apart();
        }
    }
    each_lane(|i| {
        let pairs: [f32; 4] = std::array::from_fn(|p| parts[2 * p][i] + parts[2 * p + 1][i]);
        (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
    })
}
