//! NEON: 16 lanes are four registers, and the sums of a tile of four rows take 16 of 32.
//!
//! What is missing here the compiler does well: of the portable loops over codes of 4 and 2 bits at
//! dim 128 and over dot products of one row it makes whole registers.

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, uint16x8_t, vaddq_f32, vaddq_u8, vbslq_f32,
    vbslq_u8, vcgtq_f32, vcntq_u8, vcombine_u8, vcvt_f32_f16, vcvt_high_f32_f16, vcvtq_f32_s32,
    vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vdupq_n_u16, vdupq_n_u64, veorq_u8, vfmaq_laneq_f32,
    vfmaq_n_f32, vget_low_s8, vget_low_u16, vld1_u8, vld1q_f32, vld1q_s8, vld1q_u8, vld1q_u16,
    vld1q_u64, vminq_u16, vmlal_high_s8, vmlal_s8, vmull_high_s8, vmull_s8, vmulq_n_f32,
    vpadalq_s16, vpaddlq_u8, vpaddq_s32, vpaddq_u8, vqtbl1q_u8, vreinterpret_f16_u16,
    vreinterpretq_f16_u16, vreinterpretq_s8_u8, vreinterpretq_u8_s32, vreinterpretq_u8_u64,
    vst1q_f32, vst1q_u8, vst1q_u16, vtstq_u8,
};
use std::arch::{asm, is_aarch64_feature_detected};

use half::f16;

use super::{Lanes, Near, Quads, SIGN_LANES, SignLanes, portable, tiles};

/// Rows of a tile. Four numbers of each row, or 16 bytes, meet 16 tokens in 64 multiplications
/// with 12 loads; the compiler makes 16 with 12 of the portable loop over single rows.
const TILE: usize = 4;

/// Rows of a tile of int8 without SDOT, whose sums take twice as many registers.
const TILE_OF_PRODUCTS: usize = 2;

/// # Safety
/// NEON; `query` is `[best.len(), dim]`, `rows` whole rows of `dim`.
#[target_feature(enable = "neon")]
pub unsafe fn raise_f32(dim: usize, query: &[Lanes<f32>], rows: &[f32], best: &mut [Lanes<f32>]) {
    let n = rows.len() / dim;
    for (block, best) in query.chunks_exact(dim).zip(best) {
        let mut held = load(best);
        for (first, is_whole) in tiles(0..n, n, TILE) {
            // SAFETY: a block is `dim` times 16 numbers, and tiles lie inside `rows`.
            unsafe {
                let rows = rows.as_ptr().add(first * dim);
                if is_whole {
                    tile_f32::<TILE>(dim, block.as_ptr(), rows, &mut held);
                } else {
                    tile_f32::<1>(dim, block.as_ptr(), rows, &mut held);
                }
            }
        }
        store(best, held);
    }
}

/// # Safety
/// `R` rows of `dim` at `rows`, a block of `dim` at `query`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn tile_f32<const R: usize>(
    dim: usize,
    query: *const Lanes<f32>,
    rows: *const f32,
    held: &mut [float32x4_t; 4],
) {
    let rows: [_; R] = std::array::from_fn(|r| rows.wrapping_add(r * dim));
    let mut sums = [[vdupq_n_f32(0.0); 4]; R];
    let fours = dim / 4 * 4;
    for d in (0..fours).step_by(4) {
        let mut x = [vdupq_n_f32(0.0); R];
        // SAFETY: four numbers of row r, and the same four of the block.
        unsafe {
            for r in 0..R {
                x[r] = vld1q_f32(rows[r].add(d));
            }
            add_products::<R, 0>(&*query.add(d), &x, &mut sums);
            add_products::<R, 1>(&*query.add(d + 1), &x, &mut sums);
            add_products::<R, 2>(&*query.add(d + 2), &x, &mut sums);
            add_products::<R, 3>(&*query.add(d + 3), &x, &mut sums);
        }
    }
    for d in fours..dim {
        // SAFETY: row d of the block.
        let q = load(unsafe { &*query.add(d) });
        for r in 0..R {
            // SAFETY: number d of row r.
            let x = unsafe { *rows[r].add(d) };
            for part in 0..4 {
                sums[r][part] = vfmaq_n_f32(sums[r][part], q[part], x);
            }
        }
    }
    for sums in sums {
        raise(held, sums);
    }
}

/// Adds what number `LANE` of each of `x` makes with 16 query tokens.
#[target_feature(enable = "neon")]
#[inline]
fn add_products<const R: usize, const LANE: i32>(
    query: &Lanes<f32>,
    x: &[float32x4_t; R],
    sums: &mut [[float32x4_t; 4]; R],
) {
    let q = load(query);
    for r in 0..R {
        for part in 0..4 {
            sums[r][part] = vfmaq_laneq_f32::<LANE>(sums[r][part], q[part], x[r]);
        }
    }
}

/// Bytes are signed on both sides here: the bias of the rows is taken away before they are
/// multiplied, and the query's offsets have nothing to mend. The compiler adds up the portable loop
/// token by token, each through a general register.
///
/// # Safety
/// NEON; the lengths fit as in the parent.
#[target_feature(enable = "neon")]
pub unsafe fn raise_int8(query: &[Quads], rows: &[u8], scales: &[f32], best: &mut [Lanes<f32>]) {
    // SAFETY: the caller promises it.
    unsafe { raise_with(query, rows, scales, best, |scores, _, _| scores) }
}

/// # Safety
/// As [`raise_int8`].
#[target_feature(enable = "neon")]
pub unsafe fn raise_near(
    query: &[Quads],
    rows: &[u8],
    scales: &[f32],
    near: Near<'_>,
    best: &mut [Lanes<f32>],
) {
    // SAFETY: the caller promises it.
    unsafe { raise_with(query, rows, scales, best, adding(near)) }
}

/// Adds to the scores of a block with a row those of the row's centre. All versions round the
/// scores before: no fused addition.
#[target_feature(enable = "neon")]
#[inline]
fn adding(near: Near<'_>) -> impl Fn([float32x4_t; 4], usize, usize) -> [float32x4_t; 4] {
    move |scores, block, row| {
        let products = load(&near.products[block][usize::from(near.centres[row])]);
        std::array::from_fn(|part| vaddq_f32(scores[part], products[part]))
    }
}

/// Raises `best` by what `finish` makes of the scores of a block with a row and their numbers.
///
/// # Safety
/// As [`raise_int8`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn raise_with(
    query: &[Quads],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
    finish: impl Fn([float32x4_t; 4], usize, usize) -> [float32x4_t; 4],
) {
    if is_aarch64_feature_detected!("dotprod") {
        // SAFETY: the caller promises the lengths, and SDOT was found.
        unsafe { raise_by_dots(query, rows, scales, best, finish) }
    } else {
        // SAFETY: the caller promises the lengths.
        unsafe { raise_by_products(query, rows, scales, best, finish) }
    }
}

/// [`raise_with`] where `$sums::<R>(quads, query, rows, take)` hands `take` the sums of `R` rows
/// with a block. Returned, they would come from one function for all callers, through memory.
macro_rules! raise_by {
    ($name:ident, $features:literal, $tile:expr, $sums:ident) => {
        /// # Safety
        /// The features; the lengths fit as in the parent.
        #[target_feature(enable = $features)]
        unsafe fn $name(
            query: &[Quads],
            rows: &[u8],
            scales: &[f32],
            best: &mut [Lanes<f32>],
            finish: impl Fn([float32x4_t; 4], usize, usize) -> [float32x4_t; 4],
        ) {
            let (n, quads) = (scales.len(), query.len() / best.len());
            for (b, best) in best.iter_mut().enumerate() {
                let block = &query[b * quads..][..quads];
                let mut held = load(best);
                for (first, is_whole) in tiles(0..n, n, $tile) {
                    // SAFETY: a block is `quads` times 16 times four numbers; the rows of a tile,
                    // `quads` times four bytes each, lie inside `rows`.
                    unsafe {
                        let rows = rows.as_ptr().add(first * quads * 4);
                        if is_whole {
                            $sums::<{ $tile }>(quads, block.as_ptr(), rows, |sums| {
                                raise_scaled(&mut held, sums, scales, (b, first), &finish);
                            });
                        } else {
                            $sums::<1>(quads, block.as_ptr(), rows, |sums| {
                                raise_scaled(&mut held, sums, scales, (b, first), &finish);
                            });
                        }
                    }
                }
                store(best, held);
            }
        }
    };
}

raise_by!(raise_by_dots, "neon,dotprod", TILE, dots);
raise_by!(raise_by_products, "neon", TILE_OF_PRODUCTS, products);

/// # Safety
/// `R` rows of `quads` times four bytes at `rows`, a block of `quads` at `query`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn dots<const R: usize>(
    quads: usize,
    query: *const Quads,
    rows: *const u8,
    take: impl FnOnce([[int32x4_t; 4]; R]),
) {
    let rows: [_; R] = std::array::from_fn(|r| rows.cast::<[u8; 4]>().wrapping_add(r * quads));
    let mut sums = [[vdupq_n_s32(0); 4]; R];
    let fours = quads / 4 * 4;
    let mut x = [without_bias(vdupq_n_u8(128)); R];
    for quad in (0..fours).step_by(4) {
        // SAFETY: four quads of row r, and the same four of the block.
        unsafe {
            for r in 0..R {
                x[r] = without_bias(vld1q_u8(rows[r].add(quad).cast()));
            }
            add_dots::<R, 0>(&*query.add(quad), &x, &mut sums);
            add_dots::<R, 1>(&*query.add(quad + 1), &x, &mut sums);
            add_dots::<R, 2>(&*query.add(quad + 2), &x, &mut sums);
            add_dots::<R, 3>(&*query.add(quad + 3), &x, &mut sums);
        }
    }
    for quad in fours..quads {
        // SAFETY: this quad of row r and of the block.
        unsafe {
            for r in 0..R {
                x[r] = repeated(rows[r].add(quad));
            }
            add_dots::<R, 0>(&*query.add(quad), &x, &mut sums);
        }
    }
    take(sums);
}

/// Adds what quad `LANE` of each of `x` makes with 16 query tokens.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn add_dots<const R: usize, const LANE: usize>(
    query: &Quads,
    x: &[int8x16_t; R],
    sums: &mut [[int32x4_t; 4]; R],
) {
    let q = load_quads(query);
    for r in 0..R {
        for part in 0..4 {
            sums[r][part] = add_dot::<LANE>(sums[r][part], q[part], x[r]);
        }
    }
}

/// `vdotq_laneq_s32`, which has no stable name yet (rust-lang/rust 117224).
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn add_dot<const LANE: usize>(mut sum: int32x4_t, q: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic between registers, with an instruction that this function demands.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {q:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            q = in(vreg) q,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// [`dots`] of CPUs without SDOT.
///
/// # Safety
/// As [`dots`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn products<const R: usize>(
    quads: usize,
    query: *const Quads,
    rows: *const u8,
    take: impl FnOnce([[int32x4_t; 4]; R]),
) {
    let rows: [_; R] = std::array::from_fn(|r| rows.cast::<[u8; 4]>().wrapping_add(r * quads));
    // For each token the sums of the first two and of the last two numbers of its quads.
    let mut halves = [[vdupq_n_s32(0); 8]; R];
    let pairs = quads / 2 * 2;
    for quad in (0..pairs).step_by(2) {
        let mut x = [[without_bias(vdupq_n_u8(128)); 2]; R];
        for r in 0..R {
            // SAFETY: this quad of row r, and the next.
            x[r] = unsafe { [repeated(rows[r].add(quad)), repeated(rows[r].add(quad + 1))] };
        }
        // SAFETY: the same quads of the block.
        let q = unsafe { [load_quads(&*query.add(quad)), load_quads(&*query.add(quad + 1))] };
        for part in 0..4 {
            for r in 0..R {
                // Two products of at most 127 * 128 are inside i16: the query has no -128.
                let low = vmull_s8(vget_low_s8(q[0][part]), vget_low_s8(x[r][0]));
                let low = vmlal_s8(low, vget_low_s8(q[1][part]), vget_low_s8(x[r][1]));
                halves[r][2 * part] = vpadalq_s16(halves[r][2 * part], low);
                let high = vmull_high_s8(q[0][part], x[r][0]);
                let high = vmlal_high_s8(high, q[1][part], x[r][1]);
                halves[r][2 * part + 1] = vpadalq_s16(halves[r][2 * part + 1], high);
            }
        }
    }
    for quad in pairs..quads {
        // SAFETY: the last quad of the block.
        let q = load_quads(unsafe { &*query.add(quad) });
        for r in 0..R {
            // SAFETY: and of row r.
            let x = unsafe { repeated(rows[r].add(quad)) };
            for part in 0..4 {
                let low = vmull_s8(vget_low_s8(q[part]), vget_low_s8(x));
                halves[r][2 * part] = vpadalq_s16(halves[r][2 * part], low);
                let high = vmull_high_s8(q[part], x);
                halves[r][2 * part + 1] = vpadalq_s16(halves[r][2 * part + 1], high);
            }
        }
    }
    let mut sums = [[vdupq_n_s32(0); 4]; R];
    for r in 0..R {
        for part in 0..4 {
            sums[r][part] = vpaddq_s32(halves[r][2 * part], halves[r][2 * part + 1]);
        }
    }
    take(sums);
}

/// A quad of a row, in all lanes.
///
/// # Safety
/// Four bytes at `quad`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn repeated(quad: *const [u8; 4]) -> int8x16_t {
    // SAFETY: the caller promises them.
    let quad = unsafe { quad.cast::<i32>().read_unaligned() };
    without_bias(vreinterpretq_u8_s32(vdupq_n_s32(quad)))
}

/// `c - 128`, which in 8 bits is a change of the uppermost.
#[target_feature(enable = "neon")]
#[inline]
fn without_bias(codes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(veorq_u8(codes, vdupq_n_u8(128)))
}

#[target_feature(enable = "neon")]
#[inline]
fn load_quads(quads: &Quads) -> [int8x16_t; 4] {
    let quads: *const i8 = quads.as_flattened().as_ptr();
    // SAFETY: 64 numbers.
    std::array::from_fn(|part| unsafe { vld1q_s8(quads.add(16 * part)) })
}

/// Raises `held` by what `finish` makes of the sums of a block with the rows from `first` on times
/// their scales; `scales` are those of all rows.
#[target_feature(enable = "neon")]
#[inline]
fn raise_scaled<const R: usize>(
    held: &mut [float32x4_t; 4],
    sums: [[int32x4_t; 4]; R],
    scales: &[f32],
    (block, first): (usize, usize),
    finish: &impl Fn([float32x4_t; 4], usize, usize) -> [float32x4_t; 4],
) {
    for (r, (sums, &scale)) in sums.into_iter().zip(&scales[first..]).enumerate() {
        let scores = sums.map(|sums| vmulq_n_f32(vcvtq_f32_s32(sums), scale));
        raise(held, finish(scores, block, first + r));
    }
}

/// Not a number never wins, and of two zeros the first stays, as in the portable version.
#[target_feature(enable = "neon")]
#[inline]
fn raise(held: &mut [float32x4_t; 4], sums: [float32x4_t; 4]) {
    for (held, sums) in held.iter_mut().zip(sums) {
        *held = vbslq_f32(vcgtq_f32(sums, *held), sums, *held);
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn load(lanes: &Lanes<f32>) -> [float32x4_t; 4] {
    // SAFETY: 16 numbers.
    std::array::from_fn(|part| unsafe { vld1q_f32(lanes.as_ptr().add(4 * part)) })
}

#[target_feature(enable = "neon")]
#[inline]
fn store(lanes: &mut Lanes<f32>, held: [float32x4_t; 4]) {
    for (lanes, held) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(held) {
        // SAFETY: four numbers.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), held) };
    }
}

/// Every NEON widens f16. The portable version asks for arithmetic in f16 too, calls a function
/// for every four numbers where it is there, and takes numbers apart where it is not.
///
/// # Safety
/// NEON; as many numbers in `wide` as in `values`.
#[target_feature(enable = "neon")]
pub unsafe fn widen(values: &[f16], wide: &mut [f32]) {
    let (values, rest) = values.as_chunks::<8>();
    let (wide, wide_rest) = wide.as_chunks_mut::<8>();
    for (values, wide) in values.iter().zip(wide) {
        // SAFETY: 8 numbers to read and to write.
        unsafe {
            let values = vld1q_u16(values.as_ptr().cast());
            let low = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(values)));
            vst1q_f32(wide.as_mut_ptr(), low);
            let high = vcvt_high_f32_f16(vreinterpretq_f16_u16(values));
            vst1q_f32(wide.as_mut_ptr().add(4), high);
        }
    }
    portable::widen(rest, wide_rest);
}

/// # Safety
/// NEON.
#[target_feature(enable = "neon")]
pub unsafe fn unpack<const BITS: usize>(row_bytes: usize, packed: &[u8], rows: &mut [u8]) {
    if BITS == 1 {
        unpack_signs(packed, rows);
    } else {
        portable::unpack::<BITS>(row_bytes, packed, rows);
    }
}

/// Signs lie in order, whatever the length of a row: each byte eight times over, and each place
/// asks for its own bit. The compiler fills half a register at best, and one byte at dim 128.
#[target_feature(enable = "neon")]
fn unpack_signs(packed: &[u8], rows: &mut [u8]) {
    let (minus, plus) = (vdupq_n_u8(127), vdupq_n_u8(129));
    let bytes: [[u8; 16]; 4] =
        std::array::from_fn(|part| std::array::from_fn(|d| (2 * part + d / 8) as u8));
    let bits: [u8; 16] = std::array::from_fn(|d| 1 << (d % 8));
    // SAFETY: 16 bytes each.
    let (bytes, bits) =
        unsafe { (bytes.map(|bytes| vld1q_u8(bytes.as_ptr())), vld1q_u8(bits.as_ptr())) };
    let (packed, rest) = packed.as_chunks::<8>();
    let (rows, rows_rest) = rows.as_chunks_mut::<64>();
    for (signs, rows) in packed.iter().zip(rows) {
        // SAFETY: 8 bytes.
        let signs = unsafe { vld1_u8(signs.as_ptr()) };
        let signs = vcombine_u8(signs, signs);
        for (part, rows) in rows.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let set = vtstq_u8(vqtbl1q_u8(signs, bytes[part]), bits);
            // SAFETY: 16 bytes.
            unsafe { vst1q_u8(rows.as_mut_ptr(), vbslq_u8(set, plus, minus)) };
        }
    }
    portable::unpack::<1>(1, rest, rows_rest);
}

/// Blocks of 8 tokens whose words are held in registers.
const SIGN_BLOCKS: usize = 2;

/// # Safety
/// NEON; the lengths fit as in the parent.
#[target_feature(enable = "neon")]
pub unsafe fn lower_sign(
    row_words: usize,
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    if rows.is_empty() {
        return;
    }
    let queries = query.chunks(SIGN_BLOCKS * row_words);
    for (query, fewest) in queries.zip(fewest.chunks_mut(SIGN_BLOCKS)) {
        match (row_words, fewest.len()) {
            (1, 2) => cover_sign::<1, 2>(query, rows, fewest),
            (1, _) => cover_sign::<1, 1>(query, rows, fewest),
            (2, 2) => cover_sign::<2, 2>(query, rows, fewest),
            (2, _) => cover_sign::<2, 1>(query, rows, fewest),
            _ => portable::lower_sign(row_words, query, rows, fewest),
        }
    }
}

/// `query` is `[B, W, 8]`, `rows` `[n, W]`, not empty, `fewest` `[B]`. The bits of all bytes are
/// counted at once and the bytes of 8 tokens added up together; the compiler would count word by
/// word, each through a general register.
#[target_feature(enable = "neon")]
fn cover_sign<const W: usize, const B: usize>(
    query: &[SignLanes],
    rows: &[u64],
    fewest: &mut [SignLanes],
) {
    // Half of a token's bytes, added up, are below 256.
    const { assert!(W == 1 || W == 2) };
    let mut words = [[[vdupq_n_u8(0); 4]; W]; B];
    for b in 0..B {
        for w in 0..W {
            words[b][w] = load_signs(&query[b * W + w]);
        }
    }
    let mut held: [uint16x8_t; B] = [vdupq_n_u16(u16::MAX); B];
    for row in rows.as_chunks::<W>().0 {
        let row = row.map(|word| vreinterpretq_u8_u64(vdupq_n_u64(word)));
        for b in 0..B {
            let mut differ = [vdupq_n_u8(0); 4];
            for part in 0..4 {
                differ[part] = vcntq_u8(veorq_u8(words[b][0][part], row[0]));
                for w in 1..W {
                    let more = vcntq_u8(veorq_u8(words[b][w][part], row[w]));
                    differ[part] = vaddq_u8(differ[part], more);
                }
            }
            let fours = [vpaddq_u8(differ[0], differ[1]), vpaddq_u8(differ[2], differ[3])];
            held[b] = vminq_u16(held[b], vpaddlq_u8(vpaddq_u8(fours[0], fours[1])));
        }
    }
    for (fewest, held) in fewest.iter_mut().zip(held) {
        let mut differ = [0; SIGN_LANES];
        // SAFETY: 8 numbers.
        unsafe { vst1q_u16(differ.as_mut_ptr(), held) };
        for (fewest, differ) in fewest.iter_mut().zip(differ) {
            *fewest = u64::from(differ).min(*fewest);
        }
    }
}

/// The words of 8 tokens, two in a register.
#[target_feature(enable = "neon")]
#[inline]
fn load_signs(lanes: &SignLanes) -> [uint8x16_t; 4] {
    // SAFETY: 8 words.
    std::array::from_fn(|part| unsafe {
        vreinterpretq_u8_u64(vld1q_u64(lanes.as_ptr().add(2 * part)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::CENTRES;
    use super::*;

    /// Bytes as a hash throws them.
    fn bytes(seed: u32, count: usize) -> Vec<u8> {
        let byte = |n: u32| (n.wrapping_add(seed << 20).wrapping_mul(2_654_435_761) >> 24) as u8;
        (0..count as u32).map(byte).collect()
    }

    fn bits(best: &[Lanes<f32>]) -> Vec<u32> {
        best.as_flattened().iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn f32_equals_the_portable_one_to_the_bit() {
        const ODD: [f32; 6] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40, f32::MAX];
        let values = |seed, count, odd: bool| -> Vec<f32> {
            let value = |byte: u8| match ODD.get(usize::from(byte)) {
                Some(&value) if odd => value,
                _ => (f32::from(byte) - 127.0) / 99.0,
            };
            bytes(seed, count).into_iter().map(value).collect()
        };
        for dim in (1..21).chain([63, 64, 127, 128]) {
            for (n, odd) in (0..10).flat_map(|n| [(n, false), (n, true)]) {
                let (query, rows) = (values(1, 3 * dim * 16, odd), values(2, n * dim, odd));
                let query = query.as_chunks().0;
                let mut expected = [[f32::NEG_INFINITY; 16]; 3];
                let mut best = expected;
                portable::raise_f32(dim, query, &rows, &mut expected);
                // SAFETY: what tests run on has NEON, and the lengths fit.
                unsafe { raise_f32(dim, query, &rows, &mut best) };
                assert_eq!(bits(&best), bits(&expected), "dim {dim}, {n} rows, {odd}");
            }
        }
    }

    #[test]
    fn of_two_zeros_the_first_stays() {
        for first in [1e-40, -1e-40] {
            let rows = [first, -first, first, -first];
            let mut best = [[f32::NEG_INFINITY; 16]];
            // SAFETY: what tests run on has NEON, and the lengths fit.
            unsafe { raise_f32(1, &[[1e-40; 16]], &rows, &mut best) };
            assert_eq!(bits(&best), [(first * 1e-40).to_bits(); 16]);
        }
    }

    /// A CPU with SDOT takes one of the two; both are to stay right.
    #[test]
    fn both_ways_to_int8_equal_the_portable_one() {
        let products: Vec<f32> = bytes(3, 3 * CENTRES * 16 * 4)
            .as_chunks()
            .0
            .iter()
            .map(|&number| i32::from_le_bytes(number) as f32 / 54_321.0)
            .collect();
        let products: &[[Lanes<f32>; CENTRES]] = products.as_chunks().0.as_chunks().0;
        for quads in (1..14).chain([31, 32]) {
            for n in 0..10 {
                let mut query: Vec<[i8; 4]> = bytes(1, 3 * quads * 64)
                    .as_chunks()
                    .0
                    .iter()
                    .map(|quad: &[u8; 4]| quad.map(|byte| (byte as i8).max(-127)))
                    .collect();
                let mut rows = bytes(2, n * quads * 4);
                // The largest products there are.
                query[..quads * 16].iter_mut().step_by(2).for_each(|quad| *quad = [-127; 4]);
                query[..quads * 16].iter_mut().skip(1).step_by(2).for_each(|q| *q = [127; 4]);
                rows.iter_mut().take(quads * 4).for_each(|code| *code = 0);
                let query: &[Quads] = query.as_chunks().0;
                let sums = |block: &[Quads]| {
                    std::array::from_fn(|t| {
                        let numbers = block.iter().flat_map(|quads| quads[t]);
                        -128 * numbers.map(i32::from).sum::<i32>()
                    })
                };
                let offsets: Vec<Lanes<i32>> = query.chunks_exact(quads).map(sums).collect();
                let scales: Vec<f32> = (0..n).map(|n| 0.3 + n as f32 / 7.0).collect();
                let mut centres = bytes(4 + quads as u32, n);
                if let [first, .., last] = &mut centres[..] {
                    (*first, *last) = (0, 255);
                }
                let near = Near { products, centres: &centres };
                let none = [[f32::NEG_INFINITY; 16]; 3];
                let (mut expected, mut expected_near) = (none, none);
                portable::raise_int8(query, &offsets, &rows, &scales, &mut expected);
                portable::raise_near(query, &offsets, &rows, &scales, near, &mut expected_near);
                let (mut best, mut best_near) = (none, none);
                // SAFETY: what tests run on has NEON, and the lengths fit.
                unsafe {
                    raise_by_products(query, &rows, &scales, &mut best, |scores, _, _| scores);
                    raise_by_products(query, &rows, &scales, &mut best_near, adding(near));
                }
                assert_eq!(bits(&best), bits(&expected), "{quads} quads, {n} rows");
                assert_eq!(bits(&best_near), bits(&expected_near), "{quads} quads, {n} rows, near");
                if is_aarch64_feature_detected!("dotprod") {
                    let (mut best, mut best_near) = (none, none);
                    // SAFETY: and SDOT was found.
                    unsafe {
                        raise_by_dots(query, &rows, &scales, &mut best, |scores, _, _| scores);
                        raise_by_dots(query, &rows, &scales, &mut best_near, adding(near));
                    }
                    assert_eq!(bits(&best), bits(&expected), "{quads} quads, {n} rows, SDOT");
                    assert_eq!(
                        bits(&best_near),
                        bits(&expected_near),
                        "{quads} quads, {n} rows, near, SDOT"
                    );
                }
            }
        }
    }

    #[test]
    fn signs_equal_the_portable_ones() {
        let words = |seed, count| -> Vec<u64> {
            bytes(seed, count * 8).as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect()
        };
        for (row_words, blocks) in (1..4).flat_map(|words| (1..6).map(move |n| (words, n))) {
            for n in 0..5 {
                let mut query = words(1, blocks * row_words * SIGN_LANES);
                let mut rows = words(2, n * row_words);
                // All signs differ, none do.
                query[..SIGN_LANES].fill(0);
                rows.iter_mut().take(row_words).for_each(|word| *word = u64::MAX);
                let query = query.as_chunks().0;
                let mut expected = vec![[u64::MAX; SIGN_LANES]; blocks];
                let mut fewest = expected.clone();
                portable::lower_sign(row_words, query, &rows, &mut expected);
                // SAFETY: what tests run on has NEON, and the lengths fit.
                unsafe { lower_sign(row_words, query, &rows, &mut fewest) };
                assert_eq!(fewest, expected, "{row_words} words, {blocks} blocks, {n} rows");
            }
        }
    }

    #[test]
    fn signs_of_any_length_unpack_and_numbers_widen_as_the_portable_ones() {
        for count in 0..40 {
            let packed = bytes(3, count);
            let (mut rows, mut expected) = (vec![0; 8 * count], vec![0; 8 * count]);
            portable::unpack::<1>(1, &packed, &mut expected);
            // SAFETY: what tests run on has NEON.
            unsafe { unpack::<1>(1, &packed, &mut rows) };
            assert_eq!(rows, expected);
            let values: Vec<f16> = packed.iter().map(|&x| f16::from_f32(f32::from(x))).collect();
            let (mut wide, mut expected) = (vec![0.0; count], vec![0.0; count]);
            portable::widen(&values, &mut expected);
            // SAFETY: what tests run on has NEON, and the lengths are the same.
            unsafe { widen(&values, &mut wide) };
            assert_eq!(wide, expected);
        }
    }
}
