//! Stored numbers as words of a panel's tiles, or as f32, row by row.

#![expect(clippy::needless_range_loop, reason = "words of several arrays by one index")]

use pagesight_simd::compiled_for_each_cpu;

use super::activations::pair;
use super::matrix::Q4_BLOCK;
use super::tile::TILE;
use crate::blocks::lanes::Line;

/// Writes `$n` bytes at a time as a line of 16 words, one line into every tile. It is a macro
/// because a closure that is called from two places becomes a function of its own, which is not
/// compiled for the instruction set of its caller.
macro_rules! each_line {
    ($n:literal, $bytes:expr, $lines:expr, |$chunk:ident, $words:ident| $convert:block) => {
        let (whole, rest) = $bytes.as_chunks::<$n>();
        for ($chunk, line) in whole.iter().zip($lines.iter_mut().step_by(TILE)) {
            let $words = &mut line.0;
            $convert
        }
        if !rest.is_empty() {
            let mut last = [0; $n];
            last[..rest.len()].copy_from_slice(rest);
            let ($chunk, $words) = (&last, &mut $lines[whole.len() * TILE].0);
            $convert
        }
    };
}

#[inline(always)]
fn f32_at(bytes: &[u8], i: usize) -> f32 {
    f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

#[inline(always)]
fn u16_at(bytes: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])
}

compiled_for_each_cpu! {
    pub fn copy(bytes: &[u8], lines: &mut [Line]) {
        each_line!(64, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let at = 4 * i;
                words[i] = u32::from_le_bytes([
                    bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3],
                ]);
            }
        });
    }

    pub fn bf16_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = u32::from(u16_at(bytes, i)) << 16;
            }
        });
    }

    pub fn f32_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(128, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = pair(f32_at(bytes, 2 * i), f32_at(bytes, 2 * i + 1));
            }
        });
    }

    pub fn f16_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = half_to_f32(u16_at(bytes, i)).to_bits();
            }
        });
    }

    pub fn f16_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(64, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let value = |i| half_to_f32(u16_at(bytes, i));
                words[i] = pair(value(2 * i), value(2 * i + 1));
            }
        });
    }

    pub fn q8_to_f32(bytes: &[u8], lines: &mut [Line]) {
        each_line!(16, bytes, lines, |bytes, words| {
            for i in 0..16 {
                words[i] = f32::from(bytes[i].cast_signed()).to_bits();
            }
        });
    }

    // All integers of a byte are bf16 numbers: nothing is rounded here. Two bytes become a word
    // together, so that no lane needs another's.
    pub fn q8_to_bf16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let both = u32::from(u16_at(bytes, i));
                let first = ((both << 24).cast_signed() >> 24) as f32;
                let second = ((both << 16).cast_signed() >> 24) as f32;
                words[i] = (first.to_bits() >> 16) | (second.to_bits() & 0xffff_0000);
            }
        });
    }

    pub fn q4_to_f32(bytes: &[u8], scales: &[f32], lines: &mut [Line]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for (block, (bytes, scale)) in blocks.enumerate() {
            let [low, high] = nibbles(bytes, *scale);
            // The last block may end before its second half.
            let mut lines = lines.iter_mut().step_by(TILE).skip(2 * block);
            for half in [low, high] {
                if let Some(line) = lines.next() {
                    line.0 = half.map(f32::to_bits);
                }
            }
        }
    }

    pub fn q4_to_bf16(bytes: &[u8], scales: &[f32], lines: &mut [Line]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for ((bytes, scale), line) in blocks.zip(lines.iter_mut().step_by(TILE)) {
            for i in 0..16 {
                let both = u32::from(bytes[i]).cast_signed();
                let [first, second] = [both & 15, both >> 4].map(|n| (n - 8) as f32 * *scale);
                line.0[i] = pair(first, second);
            }
        }
    }

    pub fn numbers_of_f32(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<4>().0.iter().zip(values) {
            *value = f32::from_le_bytes(*bytes);
        }
    }

    pub fn numbers_of_bf16(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(values) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }

    pub fn numbers_of_f16(bytes: &[u8], values: &mut [f32]) {
        for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(values) {
            *value = half_to_f32(u16::from_le_bytes(*bytes));
        }
    }

    pub fn numbers_of_q4(bytes: &[u8], scales: &[f32], values: &mut [f32]) {
        let blocks = bytes.as_chunks::<16>().0.iter().zip(scales);
        for ((bytes, scale), values) in blocks.zip(values.as_chunks_mut::<Q4_BLOCK>().0) {
            let [low, high] = nibbles(bytes, *scale);
            values[..16].copy_from_slice(&low);
            values[16..].copy_from_slice(&high);
        }
    }

    pub fn q8_to_int16(bytes: &[u8], lines: &mut [Line]) {
        each_line!(32, bytes, lines, |bytes, words| {
            for i in 0..16 {
                let both = u32::from(u16_at(bytes, i));
                let first = ((both << 24).cast_signed() >> 24).cast_unsigned();
                let second = ((both << 16).cast_signed() >> 24).cast_unsigned();
                words[i] = (first & 0xffff) | (second << 16);
            }
        });
    }
}

/// The 32 numbers of a block.
#[inline(always)]
fn nibbles(bytes: &[u8; 16], scale: f32) -> [[f32; 16]; 2] {
    let value = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
    let mut values = [[0.0; 16]; 2];
    for i in 0..8 {
        values[0][2 * i] = value(bytes[i] & 15);
        values[0][2 * i + 1] = value(bytes[i] >> 4);
        values[1][2 * i] = value(bytes[8 + i] & 15);
        values[1][2 * i + 1] = value(bytes[8 + i] >> 4);
    }
    values
}

/// IEEE half to single, all values, without a branch: the exponent is corrected by a product,
/// which also makes subnormal numbers right.
#[inline(always)]
pub fn half_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let value = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23);
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | ((bits & 0x8000) << 16))
}
