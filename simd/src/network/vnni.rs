//! AVX-512 VNNI: the sums of eight places and three blocks of outputs stay in registers, so that each
//! word of a place is loaded for three products, and each line of weights for eight.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
};
use std::mem::transmute;

use super::places::{Filled, Places};
use super::weights::{ByteWeights, LANES, Line};

const PLACES: usize = 8;
const BLOCKS: usize = 3;

/// [`ByteWeights::apply`] for weights in `lines`; places have been checked.
///
/// # Safety
/// AVX-512 F, BW, DQ, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn apply(
    weights: &ByteWeights,
    lines: &[Line],
    places: &Places<'_>,
    out: &mut [f32],
    filled: Filled,
) {
    let quads = weights.inputs / 4;
    let count = lines.len() / quads;
    for block in (0..count).step_by(BLOCKS) {
        let group = BLOCKS.min(count - block);
        let lines = &lines[block * quads..][..group * quads];
        let mut first = 0;
        while first < places.count {
            let task = Task { weights, lines, block, places, first };
            macro_rules! tile {
                ($places:literal) => {{
                    match group {
                        1 => task.run::<$places, 1>(out, filled),
                        2 => task.run::<$places, 2>(out, filled),
                        _ => task.run::<$places, 3>(out, filled),
                    }
                    $places
                }};
            }
            first += match places.count - first {
                PLACES.. => tile!(8),
                4.. => tile!(4),
                2.. => tile!(2),
                _ => tile!(1),
            };
        }
    }
}

/// Some places from `first` on, and some blocks of outputs from `block` on.
struct Task<'a> {
    weights: &'a ByteWeights,
    /// Those of the blocks.
    lines: &'a [Line],
    block: usize,
    places: &'a Places<'a>,
    first: usize,
}

impl Task<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn run<const P: usize, const B: usize>(&self, out: &mut [f32], filled: Filled) {
        let mut sums = [[_mm512_set1_epi32(0); B]; P];
        for part in 0..self.places.parts {
            if let (8, 3) = (P, B) {
                let sums = sums.as_flattened_mut().first_chunk_mut().expect("8 times 3");
                let products = self.many(part);
                if part == 0 {
                    *sums = products;
                } else {
                    for i in 0..24 {
                        sums[i] = _mm512_add_epi32(sums[i], products[i]);
                    }
                }
            } else {
                self.add::<P, B>(part, &mut sums);
            }
        }
        let Self { weights, block, places, first, .. } = *self;
        for i in 0..P {
            let row = &mut out[(first + i) * weights.outputs..][..weights.outputs];
            let step = places.step(first + i);
            let (size, least) = (_mm512_set1_ps(step.size), _mm512_set1_ps(step.least));
            for b in 0..B {
                let first_output = (block + b) * LANES;
                let row = &mut row[first_output..];
                if row.len() < LANES {
                    // SAFETY: 64 bytes are 64 bytes.
                    let sums = unsafe { transmute::<__m512i, [i32; LANES]>(sums[i][b]) };
                    weights.settle::<true>(&sums, step, first_output, row, filled);
                    continue;
                }
                let row = row.first_chunk_mut::<LANES>().expect("it is long enough");
                macro_rules! lanes {
                    ($values:expr) => {
                        // SAFETY: as above.
                        unsafe {
                            transmute::<[f32; LANES], __m512>($values.as_chunks().0[block + b])
                        }
                    };
                }
                let scale = _mm512_mul_ps(size, lanes!(weights.scales));
                let shift = _mm512_fmadd_ps(least, lanes!(weights.sums), lanes!(weights.biases));
                let mut value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][b]), scale, shift);
                if filled == Filled::Added {
                    // SAFETY: as above.
                    value =
                        _mm512_add_ps(unsafe { transmute::<[f32; LANES], __m512>(*row) }, value);
                }
                // SAFETY: as above.
                *row = unsafe { transmute::<__m512, [f32; LANES]>(value) };
            }
        }
    }

    /// The products of a part of eight places with three blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    fn many(&self, part: usize) -> [__m512i; 24] {
        let quads = self.weights.inputs / 4;
        let words = self.places.part / 4;
        // The first and the last, so that all between them are there as well.
        let rows = [0, 7].map(|place| self.places.part(self.first + place, part));
        let lines = [0, 2].map(|block| &self.lines[block * quads + part * words..][..words]);
        // SAFETY: each of the eight rows, `stride` bytes from one to the next, has `words` words, of
        // which there is one at least; each of the three blocks, `quads` lines from one to the next,
        // has as many lines. The slices above say so.
        unsafe {
            multiply(
                rows[0].as_ptr(),
                self.places.stride,
                lines[0].as_ptr(),
                quads * size_of::<Line>(),
                words,
            )
        }
    }

    /// Adds the products of a part of the places.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn add<const P: usize, const B: usize>(&self, part: usize, sums: &mut [[__m512i; B]; P]) {
        let quads = self.weights.inputs / 4;
        let words = self.places.part / 4;
        let mut rows: [&[[u8; 4]]; P] = [&[]; P];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.places.part(self.first + i, part).as_chunks::<4>().0[..words];
        }
        let mut blocks: [&[Line]; B] = [&[]; B];
        for (b, block) in blocks.iter_mut().enumerate() {
            *block = &self.lines[b * quads + part * words..][..words];
        }
        for word in 0..words {
            let mut lines = [_mm512_set1_epi32(0); B];
            for b in 0..B {
                // SAFETY: 64 bytes are 64 bytes.
                lines[b] = unsafe { transmute::<Line, __m512i>(blocks[b][word]) };
            }
            for i in 0..P {
                let bytes = _mm512_set1_epi32(i32::from_ne_bytes(rows[i][word]));
                for b in 0..B {
                    sums[i][b] = _mm512_dpbusd_epi32(sums[i][b], bytes, lines[b]);
                }
            }
        }
    }
}

/// The products of eight rows of words with three blocks of lines. In assembler, since the compiler
/// keeps the addresses of all rows on the stack, where two registers and a stride are enough, and
/// loads one more word for every product.
///
/// # Safety
/// AVX-512 VNNI. Eight rows of `words` words, at least one, are readable `stride` bytes apart from
/// `rows` on, and three blocks of as many lines `apart` bytes apart from `lines` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn multiply(
    rows: *const u8,
    stride: usize,
    lines: *const Line,
    apart: usize,
    words: usize,
) -> [__m512i; 24] {
    macro_rules! row {
        ($address:literal, $bytes:literal, $a:literal, $b:literal, $c:literal) => {
            concat!(
                concat!("vpbroadcastd ", $bytes, ", dword ptr ", $address, "\n"),
                concat!("vpdpbusd ", $a, ", ", $bytes, ", zmm24\n"),
                concat!("vpdpbusd ", $b, ", ", $bytes, ", zmm25\n"),
                concat!("vpdpbusd ", $c, ", ", $bytes, ", zmm26\n"),
            )
        };
    }
    let mut sums = [_mm512_set1_epi32(0); 24];
    // SAFETY: it reads what the caller says is readable, and writes registers alone.
    unsafe {
        asm!(
            ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23",
            "vpxord zmm\\sum, zmm\\sum, zmm\\sum",
            ".endr",
            "2:",
            "vmovdqa64 zmm24, zmmword ptr [{lines}]",
            "vmovdqa64 zmm25, zmmword ptr [{lines} + {apart}]",
            "vmovdqa64 zmm26, zmmword ptr [{lines} + 2*{apart}]",
            row!("[{upper}]", "zmm27", "zmm0", "zmm1", "zmm2"),
            row!("[{upper} + {stride}]", "zmm28", "zmm3", "zmm4", "zmm5"),
            row!("[{upper} + 2*{stride}]", "zmm29", "zmm6", "zmm7", "zmm8"),
            row!("[{upper} + {three}]", "zmm30", "zmm9", "zmm10", "zmm11"),
            row!("[{lower}]", "zmm27", "zmm12", "zmm13", "zmm14"),
            row!("[{lower} + {stride}]", "zmm28", "zmm15", "zmm16", "zmm17"),
            row!("[{lower} + 2*{stride}]", "zmm29", "zmm18", "zmm19", "zmm20"),
            row!("[{lower} + {three}]", "zmm30", "zmm21", "zmm22", "zmm23"),
            "add {upper}, 4",
            "add {lower}, 4",
            "add {lines}, 64",
            "dec {words}",
            "jnz 2b",
            upper = inout(reg) rows => _,
            lower = inout(reg) rows.wrapping_add(4 * stride) => _,
            stride = in(reg) stride,
            three = in(reg) 3 * stride,
            lines = inout(reg) lines => _,
            apart = in(reg) apart,
            words = inout(reg) words => _,
            out("zmm0") sums[0], out("zmm1") sums[1], out("zmm2") sums[2],
            out("zmm3") sums[3], out("zmm4") sums[4], out("zmm5") sums[5],
            out("zmm6") sums[6], out("zmm7") sums[7], out("zmm8") sums[8],
            out("zmm9") sums[9], out("zmm10") sums[10], out("zmm11") sums[11],
            out("zmm12") sums[12], out("zmm13") sums[13], out("zmm14") sums[14],
            out("zmm15") sums[15], out("zmm16") sums[16], out("zmm17") sums[17],
            out("zmm18") sums[18], out("zmm19") sums[19], out("zmm20") sums[20],
            out("zmm21") sums[21], out("zmm22") sums[22], out("zmm23") sums[23],
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _,
            options(nostack, readonly),
        );
    }
    sums
}
