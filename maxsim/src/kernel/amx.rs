//! AMX: a matrix unit beside AVX-512, for int8. One instruction multiplies 16 page rows
//! of 64 bytes with those bytes of 16 query tokens, 16 rows and two blocks at a time.
//!
//! The compiler has no stable names for these instructions, so they are written in assembly. It
//! uses no tile register of its own accord, and every block here loads all that it reads.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_load_si512, _mm512_loadu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use pagesight_simd::amx::Tiles;

use super::{LANES, Lanes, Quads, avx512, tiles};

/// Rows of a tile register, and of its square of sums.
const SQUARE: usize = pagesight_simd::amx::ROWS;

/// Rows of a tile.
const TILE: usize = SQUARE;

/// Bytes of a row of a tile register.
const STEP: usize = pagesight_simd::amx::ROW_BYTES;

/// The tile registers, set up.
fn tiles_set_up() -> Tiles {
    Tiles::load().expect("kernels for AMX are called where it is available")
}

/// Squares of sums, `[block][row][token]`.
type Sums = [[Lanes<i32>; SQUARE]; 2];

/// The sums of this tile and of the one before. Together they take one page of memory: with more,
/// a load would wait for stores that only look as if they went to the same place.
#[repr(C, align(4096))]
struct Turns([Sums; 2]);

/// Multiplies 16 rows with one or two blocks.
///
/// # Safety
/// AMX, with its tiles set up; `steps` (at least 1) times 64 bytes in each of
/// 16 rows at `rows` and in each of 16 rows of 64 bytes of `B` (1 or 2) blocks at
/// `query`, as many `start`.
unsafe fn multiply<const B: usize>(
    steps: usize,
    query: *const u8,
    start: &[Lanes<i32>],
    rows: *const u8,
    sums: &mut Sums,
) {
    const { assert!(B == 1 || B == 2) };
    let row_bytes = steps * STEP;
    let (start, sums) = (start.as_ptr(), std::ptr::from_mut(sums));
    // SAFETY: the caller promises the extent of `query` and `rows`; `start` has B lanes,
    // read 16 times over with a stride of 0; `sums` has room for 2 squares.
    unsafe {
        if B == 2 {
            asm!(
                "tileloadd tmm0, [{start} + 1*{zero}]",
                "tileloadd tmm1, [{start} + 1*{zero} + 64]",
                "2:",
                "tileloadd tmm2, [{rows} + 1*{row_bytes}]",
                "tileloadd tmm3, [{first} + 1*{step}]",
                "tileloadd tmm4, [{second} + 1*{step}]",
                "tdpbusd tmm0, tmm2, tmm3",
                "tdpbusd tmm1, tmm2, tmm4",
                "add {rows}, 64",
                "add {first}, 1024",
                "add {second}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + 1*{step}], tmm0",
                "tilestored [{sums} + 1*{step} + 1024], tmm1",
                start = in(reg) start,
                zero = in(reg) 0usize,
                rows = inout(reg) rows => _,
                first = inout(reg) query => _,
                second = inout(reg) query.add(SQUARE * row_bytes) => _,
                row_bytes = in(reg) row_bytes,
                step = in(reg) STEP,
                steps = inout(reg) steps => _,
                sums = in(reg) sums,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _,
                options(nostack),
            );
        } else {
            asm!(
                "tileloadd tmm0, [{start} + 1*{zero}]",
                "2:",
                "tileloadd tmm2, [{rows} + 1*{row_bytes}]",
                "tileloadd tmm3, [{first} + 1*{step}]",
                "tdpbusd tmm0, tmm2, tmm3",
                "add {rows}, 64",
                "add {first}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + 1*{step}], tmm0",
                start = in(reg) start,
                zero = in(reg) 0usize,
                rows = inout(reg) rows => _,
                first = inout(reg) query => _,
                row_bytes = in(reg) row_bytes,
                step = in(reg) STEP,
                steps = inout(reg) steps => _,
                sums = in(reg) sums,
                out("tmm0") _, out("tmm2") _, out("tmm3") _,
                options(nostack),
            );
        }
    }
}

/// # Safety
/// AMX; AVX-512 F, BW and VNNI; the lengths fit as in the parent.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn raise_int8(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    let row_bytes = query.len() / best.len() * 4;
    if !row_bytes.is_multiple_of(STEP) || scales.len() < TILE {
        // SAFETY: the caller promises the same.
        return unsafe { avx512::raise_int8(query, offsets, rows, scales, best) };
    }
    // SAFETY: the caller promises AMX; a block of the query has `row_bytes / 4` rows of 64 bytes,
    // and there are as many offsets as blocks.
    unsafe {
        let _set_up = tiles_set_up();
        let mut lines = Lines::new();
        let mut blocks = query.chunks(2 * row_bytes / 4);
        for (best, offsets) in best.chunks_mut(2).zip(offsets.chunks(2)) {
            let block = lines.hold(blocks.next().expect("as many blocks as maxima"));
            match best {
                [_, _] => cover_int8::<2>(row_bytes, block, offsets, rows, scales, best),
                _ => cover_int8::<1>(row_bytes, block, offsets, rows, scales, best),
            }
        }
    }
}

/// Room for two blocks of rows of 128 bytes, in whole lines of the cache: a row of a tile that lies
/// in two lines takes two loads.
#[repr(C, align(64))]
struct Lines([u8; 2 * SQUARE * TWO_STEPS]);

impl Lines {
    fn new() -> Self {
        Self([0; 2 * SQUARE * TWO_STEPS])
    }

    /// `block` in whole lines, where there is room for it.
    fn hold(&mut self, block: &[Quads]) -> *const u8 {
        let bytes = block.as_flattened().as_flattened();
        match self.0.get_mut(..bytes.len()) {
            Some(room) => {
                for (to, from) in room.iter_mut().zip(bytes) {
                    *to = from.cast_unsigned();
                }
                self.0.as_ptr()
            }
            None => bytes.as_ptr().cast(),
        }
    }
}

/// Whether [`raise_pairs`] can: rows of 128 numbers, whole tiles, and two of them at least.
pub fn takes(row_bytes: usize, lengths: &[usize]) -> bool {
    row_bytes == TWO_STEPS
        && is_x86_feature_detected!("avx512vbmi")
        && lengths.iter().all(|length| length.is_multiple_of(TILE))
        && lengths.iter().sum::<usize>() >= PAIR
}

/// Rows of two tiles, and bytes of a row that takes two steps.
const PAIR: usize = 2 * TILE;
const TWO_STEPS: usize = 2 * STEP;

/// Bytes of such a row in 2 bits a number.
const PACKED: usize = TWO_STEPS / 4;

/// Multiplies 32 rows of 128 bytes with one block, which is loaded once for both tiles.
///
/// # Safety
/// AMX, with its tiles set up; 32 rows of 128 bytes at `rows`, 32 of 64 at `query`.
unsafe fn multiply_pair(query: *const u8, start: &Lanes<i32>, rows: *const u8, sums: &mut Sums) {
    // SAFETY: the caller promises the extent of `query` and `rows`; `start` has 64 bytes, read 16
    // times over with a stride of 0; `sums` has room for 2 squares.
    unsafe {
        asm!(
            "tileloadd tmm6, [{query} + 1*{step}]",
            "tileloadd tmm7, [{query} + 1*{step} + 1024]",
            "tileloadd tmm0, [{start} + 1*{zero}]",
            "tileloadd tmm2, [{rows} + 1*{row_bytes}]",
            "tdpbusd tmm0, tmm2, tmm6",
            "tileloadd tmm1, [{start} + 1*{zero}]",
            "tileloadd tmm4, [{rows} + 1*{row_bytes} + 2048]",
            "tdpbusd tmm1, tmm4, tmm6",
            "tileloadd tmm3, [{rows} + 1*{row_bytes} + 64]",
            "tdpbusd tmm0, tmm3, tmm7",
            "tileloadd tmm5, [{rows} + 1*{row_bytes} + 2112]",
            "tdpbusd tmm1, tmm5, tmm7",
            "tilestored [{sums} + 1*{step}], tmm0",
            "tilestored [{sums} + 1*{step} + 1024], tmm1",
            query = in(reg) query,
            start = in(reg) start.as_ptr(),
            zero = in(reg) 0usize,
            rows = in(reg) rows,
            row_bytes = in(reg) TWO_STEPS,
            step = in(reg) STEP,
            sums = in(reg) std::ptr::from_mut(sums),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Room for two pairs of tiles.
#[repr(C, align(4096))]
struct Unpacked([[[u8; TWO_STEPS]; PAIR]; 2]);

/// Two tiles of packed rows at a time are unpacked, multiplied with each block and taken up: while
/// memory and the vector registers are at the next two, the matrix unit is at these.
///
/// # Safety
/// AMX; AVX-512 F, BW and VBMI; the lengths fit as in the parent, and [`takes`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub unsafe fn raise_pairs(
    query: &[Quads],
    offsets: &[Lanes<i32>],
    packed: &[u8],
    scales: &[[u8; 2]],
    lengths: &[usize],
    best: &mut [Lanes<f32>],
) {
    let _set_up = tiles_set_up();
    let (mut lines, blocks) = (Lines::new(), offsets.len());
    let query = lines.hold(query);
    let mut rows = Unpacked([[[0; TWO_STEPS]; PAIR]; 2]);
    let packed = packed.as_chunks::<PACKED>().0;
    let mut sums = Turns([[[[0; LANES]; SQUARE]; 2]; 2]);
    let mut pages =
        (0..).zip(lengths).flat_map(|(page, &length)| (0..length / TILE).map(move |_| page));
    let (mut turn, mut of) = (0, [0; 2]);
    let mut before: Option<(usize, [usize; 2])> = None;
    for start in (0..scales.len()).step_by(PAIR) {
        // The last pair may overlap the one before it: no maximum changes.
        let first = start.min(scales.len() - PAIR);
        let mut next = || pages.next().expect("a page for every tile");
        of = [if first == start { next() } else { of[1] }, next()];
        let rows = &mut rows.0[start / PAIR % 2];
        avx512::unpack_by_64(&packed[first..][..PAIR], rows);
        for (block, offsets) in offsets.iter().enumerate() {
            let query = query.wrapping_add(block * SQUARE * TWO_STEPS);
            // SAFETY: `rows` are a pair of tiles; a block has 32 rows of 64 bytes.
            unsafe { multiply_pair(query, offsets, rows.as_ptr().cast(), &mut sums.0[turn % 2]) };
            // The sums of a pair are taken up while the next one is multiplied.
            let now = of.map(|page| page * blocks + block);
            if let Some((first, to)) = before.replace((first, now)) {
                take_pair(&sums.0[(turn + 1) % 2], &scales[first..][..PAIR], to, best);
            }
            turn += 1;
        }
    }
    if let Some((first, to)) = before {
        take_pair(&sums.0[(turn + 1) % 2], &scales[first..][..PAIR], to, best);
    }
}

/// Raises `best[to]` by the sums of two tiles times the scale of each row, f16.
#[target_feature(enable = "avx512f")]
#[inline]
fn take_pair(sums: &Sums, scales: &[[u8; 2]], to: [usize; 2], best: &mut [Lanes<f32>]) {
    for ((sums, scales), to) in sums.iter().zip(scales.as_chunks::<TILE>().0).zip(to) {
        // SAFETY: 32 bytes.
        let halves = unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) };
        let mut wide = [0.0f32; TILE];
        // SAFETY: room for 16 numbers.
        unsafe { _mm512_storeu_ps(wide.as_mut_ptr(), _mm512_cvtph_ps(halves)) };
        let best = &mut best[to];
        // SAFETY: 16 numbers.
        let mut even = unsafe { _mm512_loadu_ps(best.as_ptr()) };
        let mut odd = even;
        let scaled = |r: usize| {
            // SAFETY: 16 numbers, aligned: they lie in `Turns`.
            let sum = unsafe { _mm512_load_si512(sums[r].as_ptr().cast()) };
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(wide[r]))
        };
        for r in (0..TILE).step_by(2) {
            even = _mm512_max_ps(scaled(r), even);
            odd = _mm512_max_ps(scaled(r + 1), odd);
        }
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(best.as_mut_ptr(), _mm512_max_ps(odd, even)) };
    }
}

/// # Safety
/// As [`raise_int8`], with `B` blocks at `query`, in `offsets` and in `best`, with the tiles set up.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn cover_int8<const B: usize>(
    row_bytes: usize,
    query: *const u8,
    offsets: &[Lanes<i32>],
    rows: &[u8],
    scales: &[f32],
    best: &mut [Lanes<f32>],
) {
    let mut held = load::<B>(best);
    // The sums of a tile are taken up while the next one is multiplied.
    let mut sums = Turns([[[[0; LANES]; SQUARE]; 2]; 2]);
    let mut before = None;
    for (t, first) in tiles(scales.len(), TILE).into_iter().flatten().enumerate() {
        let (steps, rows) = (row_bytes / STEP, rows.as_ptr().wrapping_add(first * row_bytes));
        // SAFETY: tiles lie inside `rows`.
        unsafe { multiply::<B>(steps, query, offsets, rows, &mut sums.0[t % 2]) };
        prefetch(rows, row_bytes);
        if let Some(before) = before.replace(first) {
            take_int8(&sums.0[(t + 1) % 2], &scales[before..before + TILE], &mut held);
        }
        if t + 1 == scales.len().div_ceil(TILE) {
            take_int8(&sums.0[t % 2], &scales[first..first + TILE], &mut held);
        }
    }
    store(best, held);
}

/// Raises `held` by the sums of a tile times the scale of each row.
#[target_feature(enable = "avx512f")]
#[inline]
fn take_int8<const B: usize>(sums: &Sums, scales: &[f32], held: &mut [__m512; B]) {
    for (r, &scale) in scales.iter().enumerate() {
        let scale = _mm512_set1_ps(scale);
        for b in 0..B {
            // SAFETY: 16 numbers, aligned: they lie in `Turns`.
            let sum = unsafe { _mm512_load_si512(sums[b][r].as_ptr().cast()) };
            let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
            held[b] = _mm512_max_ps(sum, held[b]);
        }
    }
}

/// Asks memory for a tile that comes soon.
#[target_feature(enable = "avx512f")]
#[inline]
fn prefetch(rows: *const u8, row_bytes: usize) {
    let ahead = rows.wrapping_add(4 * TILE * row_bytes);
    for line in 0..TILE * row_bytes / STEP {
        // A prefetch may point anywhere.
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line * STEP).cast());
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load<const B: usize>(best: &[Lanes<f32>]) -> [__m512; B] {
    let mut held = [_mm512_setzero_ps(); B];
    for (held, best) in held.iter_mut().zip(best) {
        // SAFETY: 16 numbers.
        *held = unsafe { _mm512_loadu_ps(best.as_ptr()) };
    }
    held
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store<const B: usize>(best: &mut [Lanes<f32>], held: [__m512; B]) {
    for (best, held) in best.iter_mut().zip(held) {
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(best.as_mut_ptr(), held) };
    }
}
