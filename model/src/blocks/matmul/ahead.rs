//! What is multiplied later is asked of memory while something else is multiplied.

use std::marker::PhantomData;

/// Some bytes of some rows, which are fetched into the second-level cache, a few lines at a time.
/// Memory answers while the CPU multiplies: a query, which uses each weight for a few positions, is
/// bound by what memory gives.
pub struct Ahead<'a> {
    /// The first byte of the row that is fetched.
    row: *const u8,
    /// Bytes from a row to the next.
    stride: usize,
    /// Rows that are left.
    rows: usize,
    /// Bytes of a row that are fetched.
    bytes: usize,
    /// Bytes of the first row that were fetched.
    done: usize,
    /// Lines that are fetched at once.
    at_once: usize,
    of: PhantomData<&'a [u8]>,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

impl<'a> Ahead<'a> {
    /// The first `bytes` of each of the rows of `all`, which are `stride` bytes apart.
    pub fn new(all: &'a [u8], stride: usize, bytes: usize) -> Self {
        let rows = if bytes == 0 { 0 } else { all.len().div_ceil(stride.max(1)) };
        Self { row: all.as_ptr(), stride, rows, bytes, done: 0, at_once: 0, of: PhantomData }
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::new(&[], 1, 0)
    }

    /// Has `times` calls of [`fetch`](Self::fetch) fetch all that is left.
    pub fn divide(&mut self, times: usize) {
        let lines = self.rows * self.bytes.div_ceil(LINE);
        self.at_once = lines.div_ceil(times.max(1));
    }

    /// Fetches some lines.
    #[inline(always)]
    pub fn fetch(&mut self) {
        for _ in 0..self.at_once {
            if self.rows == 0 {
                return;
            }
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                // SAFETY: a hint, which may name any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(self.row.wrapping_add(self.done).cast()) };
            }
            self.done += LINE;
            if self.done >= self.bytes {
                self.done = 0;
                self.rows -= 1;
                self.row = self.row.wrapping_add(self.stride);
            }
        }
    }

    /// Fetches all that is left.
    pub fn fetch_all(&mut self) {
        self.divide(1);
        self.fetch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_fetched_in_as_many_calls_as_said() {
        let all = [0u8; 5 * 1000];
        for (bytes, times) in [(1000, 7), (64, 1), (65, 30), (1, 2), (1000, 200)] {
            let mut ahead = Ahead::new(&all[..4 * 1000 + bytes], 1000, bytes);
            ahead.divide(times);
            let lines = 5 * bytes.div_ceil(LINE);
            assert!(ahead.at_once * times >= lines, "{bytes} {times}");
            for _ in 0..times {
                assert!(ahead.row <= all[4 * 1000..].as_ptr() || ahead.rows == 0);
                ahead.fetch();
            }
            assert_eq!(ahead.rows, 0, "{bytes} {times}");
        }
        let mut nothing = Ahead::nothing();
        nothing.fetch_all();
        assert_eq!(nothing.rows, 0);
    }
}
