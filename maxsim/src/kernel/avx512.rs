//! AVX-512: 16 lanes are one register, and a tile's sums take 24 of the 32 registers.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use half::f16;

use super::{CENTRES, Lanes, Near, Quads};

mod bits;

pub use bits::{lower_sign, unpack, unpack_by_64};

/// Rows of a tile with one block, with two and with three.
const TILE_OF_1: usize = 16;
const TILE_OF_2: usize = 12;
const TILE_OF_3: usize = 8;

/// Whole tiles of every kind.
const TILES: usize = 48;

/// Bytes of rows that meet all blocks of the query before the next ones are read: half of a
/// first-level cache; the other half is the query's.
const PART_BYTES: usize = 24 << 10;

/// Rows ahead that are asked for from memory: the hardware alone does not keep up with int8.
const AHEAD: usize = 24;

/// Words of 32 bits: a number in f32, four in int8.
#[derive(Clone, Copy)]
struct Query<'a> {
    /// In a row.
    words: usize,
    /// `[blocks, words]`, a register each: a word of 16 tokens.
    blocks: *const __m512i,
    /// `[blocks]`: where sums start, if not at 0.
    offsets: &'a [Lanes<i32>],
    /// `[blocks, CENTRES]`: what is added to the scores, of int8 beside centres only.
    near: *const Lanes<f32>,
}

#[derive(Clone, Copy)]
struct Page {
    /// `[n, words]`, at any address.
    rows: *const i32,
    /// `[n]`, of int8 only.
    scales: *const f32,
    /// `[n]`, of int8 beside centres only.
    centres: *const u8,
    n: usize,
}

impl Query<'_> {
    /// One whose sums start at 0.
    fn of(words: usize, blocks: *const __m512i) -> Self {
        Self { words, blocks, offsets: &[], near: std::ptr::null() }
    }
}

impl Page {
    /// One without scales.
    fn of(rows: *const i32, n: usize) -> Self {
        Self { rows, scales: std::ptr::null(), centres: std::ptr::null(), n }
    }
}

/// `raise(query, page, best)`: raises `best` `[blocks]` by the rows of the page. `multiply` adds to
/// a register of sums what a word of a row and a word of each of 16 tokens make; `finish` makes
/// scores of the sums, given where the row's scale is and where what its centre adds.
///
/// The sums stay in registers over the whole dim. In rows of 128 numbers the distance from one to
/// the next is a constant: otherwise a tile's rows take more pointers than there are registers.
macro_rules! kernel {
    (
        $module:ident, $features:literal, $words_of_128:literal,
        |$sum:ident, $x:ident, $q:ident| $multiply:expr, |$sums:ident, $scale:ident, $near:ident| $finish:expr
    ) => {
        mod $module {
            use super::*;

            /// # Safety
            /// The instructions are there; `query` has `best.len()` blocks, `page` what it says.
            #[target_feature(enable = $features)]
            pub unsafe fn raise(query: Query<'_>, page: Page, best: &mut [Lanes<f32>]) {
                let part = (PART_BYTES / 4 / query.words).next_multiple_of(TILES);
                for first in (0..page.n).step_by(part) {
                    let rows = (first, (first + part).min(page.n));
                    // SAFETY: as promised; the rows are the page's.
                    unsafe {
                        match query.words {
                            $words_of_128 => blocks::<$words_of_128>(query, page, rows, best),
                            _ => blocks::<0>(query, page, rows, best),
                        }
                    }
                }
            }

            /// # Safety
            /// As [`raise`]; from the first to before the second of `rows` the page has them.
            #[target_feature(enable = $features)]
            unsafe fn blocks<const WORDS: usize>(
                mut query: Query<'_>,
                page: Page,
                rows: (usize, usize),
                mut best: &mut [Lanes<f32>],
            ) {
                while !best.is_empty() {
                    // One block alone would wait for its loads: four are two and two.
                    let count = match best.len() {
                        few @ 1..=2 => few,
                        4 => 2,
                        _ => 3,
                    };
                    let (held, rest) = best.split_at_mut(count);
                    // SAFETY: as promised, for the blocks that `held` has; the next ones follow.
                    unsafe {
                        match count {
                            1 => cover::<TILE_OF_1, 1, WORDS>(query, page, rows, held),
                            2 => cover::<TILE_OF_2, 2, WORDS>(query, page, rows, held),
                            _ => cover::<TILE_OF_3, 3, WORDS>(query, page, rows, held),
                        }
                        query.blocks = query.blocks.add(count * query.words);
                    }
                    query.near = query.near.wrapping_add(count * CENTRES);
                    query.offsets = query.offsets.get(count..).unwrap_or_default();
                    best = rest;
                }
            }

            /// # Safety
            /// As [`blocks`], with `B` blocks.
            #[target_feature(enable = $features)]
            unsafe fn cover<const R: usize, const B: usize, const WORDS: usize>(
                query: Query<'_>,
                page: Page,
                (first, end): (usize, usize),
                best: &mut [Lanes<f32>],
            ) {
                let mut held = [_mm512_setzero_ps(); B];
                let mut start = [_mm512_set1_epi32(0); B];
                // SAFETY: 16 numbers each.
                unsafe {
                    for b in 0..B {
                        held[b] = _mm512_loadu_ps(best[b].as_ptr());
                        if let Some(offsets) = query.offsets.get(b) {
                            start[b] = _mm512_loadu_si512(offsets.as_ptr().cast());
                        }
                    }
                    match page.n.checked_sub(R) {
                        // SAFETY: a tile that would not end with the page starts earlier.
                        Some(last) => {
                            for row in (first..end).step_by(R) {
                                let row = row.min(last);
                                tile::<R, B, WORDS>(query, page, row, &start, &mut held);
                            }
                        }
                        None => {
                            for row in first..end {
                                tile::<1, B, WORDS>(query, page, row, &start, &mut held);
                            }
                        }
                    }
                    for b in 0..B {
                        _mm512_storeu_ps(best[b].as_mut_ptr(), held[b]);
                    }
                }
            }

            /// # Safety
            /// The page has `R` rows from `row` on, the query `B` blocks, of `WORDS` unless that
            /// is 0.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn tile<const R: usize, const B: usize, const WORDS: usize>(
                query: Query<'_>,
                page: Page,
                row: usize,
                start: &[__m512i; B],
                held: &mut [__m512; B],
            ) {
                let words = if WORDS == 0 { query.words } else { WORDS };
                let rows = page.rows.wrapping_add(row * words);
                let mut sums = [*start; R];
                for word in 0..words {
                    let mut q = *start;
                    for b in 0..B {
                        // SAFETY: this word of block b.
                        q[b] = unsafe { _mm512_loadu_si512(query.blocks.add(b * words + word)) };
                    }
                    // A prefetch may point anywhere.
                    let ahead = rows.wrapping_add(AHEAD * words + word * 16);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    for r in 0..R {
                        // SAFETY: this word of row r.
                        let $x = unsafe { rows.add(r * words + word).read_unaligned() };
                        let $x = _mm512_set1_epi32($x);
                        for b in 0..B {
                            let ($sum, $q) = (sums[r][b], q[b]);
                            sums[r][b] = $multiply;
                        }
                    }
                }
                for r in 0..R {
                    let $scale = page.scales.wrapping_add(row + r);
                    for b in 0..B {
                        let $sums = sums[r][b];
                        let $near = || {
                            // SAFETY: called for int8 beside centres, where each row has its
                            // centre and each block what all centres add.
                            unsafe {
                                let centre = usize::from(*page.centres.add(row + r));
                                _mm512_loadu_ps((*query.near.add(b * CENTRES + centre)).as_ptr())
                            }
                        };
                        // The second operand wins when the first is not a number.
                        held[b] = _mm512_max_ps($finish, held[b]);
                    }
                }
            }
        }
    };
}

kernel!(
    words_f32,
    "avx512f",
    128,
    |sum, x, q| {
        let [sum, x, q] = [sum, x, q].map(|bits| _mm512_castsi512_ps(bits));
        _mm512_castps_si512(_mm512_fmadd_ps(q, x, sum))
    },
    |sums, _scale, _near| _mm512_castsi512_ps(sums)
);

kernel!(
    words_int8,
    "avx512f,avx512vnni",
    32,
    |sum, x, q| _mm512_dpbusd_epi32(sum, x, q),
    |sums, scale, _near| {
        // SAFETY: the scale of this row.
        _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unsafe { *scale }))
    }
);

kernel!(
    words_near,
    "avx512f,avx512vnni",
    32,
    |sum, x, q| _mm512_dpbusd_epi32(sum, x, q),
    |sums, scale, near| {
        // SAFETY: the scale of this row.
        let scale = _mm512_set1_ps(unsafe { *scale });
        _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), near())
    }
);

/// # Safety
/// AVX-512 F; `query` is `[best.len(), dim]`, `rows` whole rows of `dim`.
#[target_feature(enable = "avx512f")]
pub unsafe fn raise_f32(dim: usize, query: &[Lanes<f32>], rows: &[f32], best: &mut [Lanes<f32>]) {
    let query = Query::of(dim, query.as_ptr().cast());
    let page = Page::of(rows.as_ptr().cast(), rows.len() / dim);
    // SAFETY: the caller promises it.
    unsafe { words_f32::raise(query, page, best) }
}

/// # Safety
/// AVX-512 F and VNNI; the lengths fit as in the parent.
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn raise_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    let words = query.len() / best.len();
    let query = Query { offsets, ..Query::of(words, query.as_ptr().cast()) };
    let page = Page::of(rows.as_ptr().cast(), scales.len());
    let page = Page { scales: scales.as_ptr(), ..page };
    // SAFETY: the caller promises it.
    unsafe { words_int8::raise(query, page, best) }
}

/// # Safety
/// As [`raise_int8`].
#[target_feature(enable = "avx512f,avx512vnni")]
pub unsafe fn raise_near(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    near: Near<'_>,
    best: &mut [Lanes<f32>],
) {
    let words = query.len() / best.len();
    let products = near.products.as_flattened().as_ptr();
    let query = Query { offsets, near: products, ..Query::of(words, query.as_ptr().cast()) };
    let page = Page::of(rows.as_ptr().cast(), scales.len());
    let page = Page { scales: scales.as_ptr(), centres: near.centres.as_ptr(), ..page };
    // SAFETY: the caller promises it.
    unsafe { words_near::raise(query, page, best) }
}

/// How far ahead f16 is asked for from memory, numbers.
const AHEAD_F16: usize = 48 * 128;

/// # Safety
/// AVX-512 F; as many numbers in `wide` as in `values`.
#[target_feature(enable = "avx512f")]
pub unsafe fn widen(values: &[f16], wide: &mut [f32]) {
    let (values, rest) = values.as_chunks::<16>();
    let (wide, wide_rest) = wide.as_chunks_mut::<16>();
    for (values, wide) in values.iter().zip(wide) {
        // What follows on these rows is what comes next; a prefetch may point anywhere.
        _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(AHEAD_F16).cast());
        // SAFETY: 16 numbers to read and to write.
        unsafe {
            let values = _mm256_loadu_si256(values.as_ptr().cast());
            _mm512_storeu_ps(wide.as_mut_ptr(), _mm512_cvtph_ps(values));
        }
    }
    super::portable::widen(rest, wide_rest);
}

/// # Safety
/// AVX-512 F.
#[target_feature(enable = "avx512f")]
pub unsafe fn dots_f32(blocks: &[Lanes<f32>], row: &[f32], dots: &mut [Lanes<f32>]) {
    super::portable::dots_f32(blocks, row, dots);
}
