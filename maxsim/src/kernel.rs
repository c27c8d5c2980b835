//! The inner loops: dot products of page rows with blocks of 16 query tokens, and the largest of
//! them so far. There is one obvious version, and one for each instruction set, chosen at run time.
//!
//! Query tokens lie in the lanes of a register, so that the maximum over the page's rows is taken
//! lane by lane. A tile of rows is held in registers and each of its numbers meets all lanes of
//! one to three blocks. The last tile overlaps the one before it: a row that counts twice changes
//! no maximum, and so no tile is ever cut.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
#[expect(clippy::needless_range_loop, reason = "one index for several arrays of registers")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::ops::Range;

use half::f16;
use pagesight_simd::Instructions;

/// Query tokens scored together.
pub(crate) const LANES: usize = 16;

/// One number for each of 16 query tokens.
pub(crate) type Lanes<T> = [T; LANES];

/// Raises `best` `[blocks]` by the dot products of `query` `[blocks, dim, 16]` with `rows`
/// `[n, dim]`, f32. The sum over `dim` runs in order.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn raise_f32(
    with: Instructions,
    dim: usize,
    query: &[Lanes<f32>],
    rows: &[f32],
    best: &mut [Lanes<f32>],
) {
    assert_eq!(query.len(), best.len() * dim, "blocks of the query");
    assert!(dim > 0 && rows.len().is_multiple_of(dim), "whole rows");
    match with {
        // SAFETY: the CPU has the instructions: queries are laid out for what `or_portable` left.
        // The lengths are checked above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx => unsafe {
            avx512::raise_f32(dim, query, rows, best);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { avx2::raise_f32(dim, query, rows, best) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { neon::raise_f32(dim, query, rows, best) },
        _ => portable::raise_f32(dim, query, rows, best),
    }
}

/// The rows `0..n` in parts of `part`, where a page is decoded bit by bit for the kernels. The last
/// one starts early enough to have a whole tile of the largest kernel, if the page has.
pub(crate) fn parts(n: usize, part: usize) -> impl Iterator<Item = Range<usize>> {
    const LARGEST_TILE: usize = 12;
    let last = n.saturating_sub(LARGEST_TILE);
    (0..n).step_by(part).map(move |first| first.min(last)..(first + part).min(n))
}

/// Widens f16 to f32, exactly.
///
/// # Panics
/// When there are not as many places as numbers.
pub(crate) fn widen(with: Instructions, values: &[f16], wide: &mut [f32]) {
    assert_eq!(values.len(), wide.len(), "a place for each number");
    match with {
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx => unsafe { avx512::widen(values, wide) },
        // SAFETY: as in `raise_f32`, and F16C was found.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 if is_x86_feature_detected!("f16c") => unsafe {
            avx2::widen(values, wide);
        },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { neon::widen(values, wide) },
        _ => portable::widen(values, wide),
    }
}

/// The dot products of `row` `[dim]` with `blocks` `[blocks, dim, 16]`.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn dots_f32(
    with: Instructions,
    dim: usize,
    blocks: &[Lanes<f32>],
    row: &[f32],
    dots: &mut [Lanes<f32>],
) {
    assert_eq!(blocks.len(), dots.len() * dim, "whole blocks");
    assert!(dim > 0 && row.len() == dim, "a whole row");
    match with {
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx => unsafe { avx512::dots_f32(blocks, row, dots) },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { avx2::dots_f32(blocks, row, dots) },
        _ => portable::dots_f32(blocks, row, dots),
    }
}

/// Whether AVX-512 multiplies bytes here; the first CPUs with AVX-512 did not.
#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    pagesight_simd::Extension::Avx512Vnni.is_available()
}

/// Four numbers of each of 16 query tokens: how int8 dot products are taken.
pub(crate) type Quads = [[i8; 4]; LANES];

/// Raises `best` `[blocks]` by `scale_s (sum_d q_d (c_sd - 128))` for the rows `c` `[n, dim]` of a
/// page, u8, with their `scales` `[n]`; `query` is `[blocks, dim / 4, 16, 4]`, and
/// `offsets` `[blocks]` are its sums times -128. Integers are exact; all versions agree to the bit
/// for queries without -128, which no code is.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn raise_int8(
    with: Instructions,
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    assert!(!best.is_empty() && best.len() == offsets.len(), "blocks of the query");
    assert!(query.len().is_multiple_of(best.len()), "whole blocks");
    assert_eq!(rows.len(), scales.len() * (query.len() / best.len()) * 4, "whole rows");
    match with {
        // SAFETY: as in `raise_f32`.
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Instructions::Amx => unsafe { amx::raise_int8(query, offsets, rows, scales, best) },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 if has_vnni() => unsafe {
            avx512::raise_int8(query, offsets, rows, scales, best);
        },
        // SAFETY: as in `raise_f32`; AVX-512 includes AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx2 => unsafe {
            avx2::raise_int8(query, offsets, rows, scales, best);
        },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { neon::raise_int8(query, rows, scales, best) },
        _ => portable::raise_int8(query, offsets, rows, scales, best),
    }
}

/// Centres that a row can be near to.
pub(crate) const CENTRES: usize = 256;

/// What the dot products of a row are added to: those of the centre that the row is near to.
#[derive(Clone, Copy)]
pub(crate) struct Near<'a> {
    /// `[blocks]`: the dot products of each centre with the tokens.
    pub products: &'a [[Lanes<f32>; CENTRES]],
    /// `[n]`: which centre.
    pub centres: &'a [u8],
}

/// [`raise_int8`] where each row's dot products start at those of its centre: raises `best` by
/// `near_s + scale_s (sum_d q_d (c_sd - 128))`. All versions agree to the bit.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn raise_near(
    with: Instructions,
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    near: Near<'_>,
    best: &mut [Lanes<f32>],
) {
    assert!(!best.is_empty() && best.len() == offsets.len(), "blocks of the query");
    assert!(query.len().is_multiple_of(best.len()), "whole blocks");
    assert_eq!(rows.len(), scales.len() * (query.len() / best.len()) * 4, "whole rows");
    assert_eq!(near.products.len(), best.len(), "blocks of the centres");
    assert_eq!(near.centres.len(), scales.len(), "a centre a row");
    match with {
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx if has_vnni() => unsafe {
            avx512::raise_near(query, offsets, rows, scales, near, best);
        },
        // SAFETY: as in `raise_int8`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx2 => unsafe {
            avx2::raise_near(query, offsets, rows, scales, near, best);
        },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { neon::raise_near(query, rows, scales, near, best) },
        _ => portable::raise_near(query, offsets, rows, scales, near, best),
    }
}

/// [`raise_int8`] for pages of `lengths` rows each, one after another in `packed`, in 2 bits a
/// number as [`unpack`] reads them, with `scales` in f16; `best` is `[pages, blocks]`. Returns
/// false and does nothing where there is no such loop: only AMX has one, for rows of 128 numbers
/// and pages of whole tiles.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn raise_pairs(
    with: Instructions,
    query: &[Quads],
    offsets: &[Lanes<i32>],
    packed: &[u8],
    scales: &[[u8; 2]],
    lengths: &[usize],
    best: &mut [Lanes<f32>],
) -> bool {
    assert_eq!(best.len(), lengths.len() * offsets.len(), "blocks of the query, a page");
    assert_eq!(lengths.iter().sum::<usize>(), scales.len(), "a scale a row");
    assert!(!offsets.is_empty() && query.len().is_multiple_of(offsets.len()), "whole blocks");
    let row_bytes = query.len() / offsets.len() * 4;
    assert_eq!(packed.len() * 4, scales.len() * row_bytes, "whole rows");
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if with == Instructions::Amx && amx::takes(row_bytes, lengths) {
        // SAFETY: as in `raise_int8`, and it takes these lengths.
        unsafe { amx::raise_pairs(query, offsets, packed, scales, lengths, best) };
        return true;
    }
    let _ = with;
    false
}

/// Byte and shift of the code of number `d` in a packed row of `row_bytes`. Signs lie in order;
/// of more bits, byte `j` has the codes of the numbers `j`, `j + row_bytes` and so on, which
/// whole registers unpack at once.
#[inline(always)]
pub(crate) fn place<const BITS: usize>(d: usize, row_bytes: usize) -> (usize, usize) {
    match BITS {
        1 => (d / 8, d % 8),
        _ => (d % row_bytes, d / row_bytes * BITS),
    }
}

/// Writes the codes of `packed` rows into `rows` as [`raise_int8`] reads them. A packed row has
/// `dim * BITS / 8` bytes, see [`place`]; code `c` stands for the odd number `2 c + 1 - 2^BITS`.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn unpack<const BITS: usize>(
    with: Instructions,
    row_bytes: usize,
    packed: &[u8],
    rows: &mut [u8],
) {
    assert!(row_bytes > 0 && packed.len().is_multiple_of(row_bytes), "whole rows");
    assert_eq!(packed.len() * 8, rows.len() * BITS, "as many codes as places");
    match with {
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx => unsafe {
            avx512::unpack::<BITS>(row_bytes, packed, rows);
        },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { avx2::unpack::<BITS>(row_bytes, packed, rows) },
        // SAFETY: as in `raise_f32`.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { neon::unpack::<BITS>(row_bytes, packed, rows) },
        _ => portable::unpack::<BITS>(row_bytes, packed, rows),
    }
}

/// The tiles that cover `rows` of a page of `n`, for a kernel whose tiles have `tile` rows: where
/// each begins, and whether it is a whole one. The last begins early enough to be whole. A page of
/// fewer rows than a tile is covered row by row.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn tiles(rows: Range<usize>, n: usize, tile: usize) -> impl Iterator<Item = (usize, bool)> {
    let is_whole = n >= tile;
    let (step, last) = if is_whole { (tile, n - tile) } else { (1, n) };
    rows.step_by(step).map(move |first| (first.min(last), is_whole))
}

/// Query tokens whose signs are compared together.
pub(crate) const SIGN_LANES: usize = 8;

/// A word of 64 signs for each of 8 query tokens.
pub(crate) type SignLanes = [u64; SIGN_LANES];

/// Lowers `fewest` `[blocks]` to the number of signs in which `query` `[blocks, row_words, 8]`
/// and any of `rows` `[n, row_words]` differ.
///
/// # Panics
/// When the lengths do not fit.
pub(crate) fn lower_sign(
    with: Instructions,
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    assert!(!fewest.is_empty() && query.len().is_multiple_of(fewest.len()), "whole blocks");
    let row_words = query.len() / fewest.len();
    assert!(row_words > 0 && rows.len().is_multiple_of(row_words), "whole rows");
    #[cfg(target_arch = "x86_64")]
    match with {
        Instructions::Avx512 | Instructions::Amx if is_x86_feature_detected!("avx512vpopcntdq") => {
            // SAFETY: as in `raise_f32`, and VPOPCNTDQ was found.
            return unsafe { avx512::lower_sign(row_words, query, rows, fewest) };
        }
        Instructions::Portable => {}
        _ if is_x86_feature_detected!("popcnt") => {
            // SAFETY: POPCNT was found.
            return unsafe { avx2::lower_sign(row_words, query, rows, fewest) };
        }
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    if with == Instructions::Neon {
        // SAFETY: as in `raise_f32`.
        return unsafe { neon::lower_sign(row_words, query, rows, fewest) };
    }
    let _ = with;
    portable::lower_sign(row_words, query, rows, fewest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_widens_to_itself() {
        let values: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for &with in Instructions::available() {
            let mut wide = vec![0.0; values.len()];
            widen(with, &values, &mut wide);
            for (value, wide) in values.iter().zip(wide) {
                let same = value.to_f32().to_bits() == wide.to_bits();
                assert!(same || (value.is_nan() && wide.is_nan()), "{with:?} {value}");
            }
        }
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn tiles_cover_all_rows_and_stay_inside_the_page() {
        for (n, tile) in (0..40).flat_map(|n| [1, 2, 6, 16].map(|tile| (n, tile))) {
            let mut next = 0;
            for (first, is_whole) in tiles(0..n, n, tile) {
                let rows = if is_whole { tile } else { 1 };
                assert!(first <= next && first + rows > next && first + rows <= n, "{n} {tile}");
                next = first + rows;
            }
            assert_eq!(next, n);
        }
        // Of a part in the middle, a tile that begins inside it.
        assert_eq!(tiles(12..24, 30, 8).collect::<Vec<_>>(), [(12, true), (20, true)]);
        assert_eq!(tiles(24..30, 30, 8).collect::<Vec<_>>(), [(22, true)]);
    }

    #[test]
    fn parts_cover_all_rows_and_have_a_tile_where_there_is_one() {
        for n in 0..100 {
            let mut next = 0;
            for part in parts(n, 24) {
                assert!(part.start <= next && part.end > next, "{n} {part:?}");
                assert!(part.len() >= n.min(12), "{n} {part:?}");
                next = part.end;
            }
            assert_eq!(next, n);
        }
    }
}
