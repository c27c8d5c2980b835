//! Small PDFs that want all the time and memory there is.

use crate::hostile::{billion_laughs, catalog, page, pdf, stream};

/// A bomb.
pub struct Bomb {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

pub fn all() -> Vec<Bomb> {
    // Zeros are white, and an image of them is decoded all the same.
    let zeros = |side_px: u64| deflated(b"\0", side_px * side_px * 3);
    let bomb = |name, bytes| Bomb { name, bytes };
    vec![
        bomb("forms-in-forms.pdf", billion_laughs()),
        // 400 MB of nested states, and of lines.
        bomb("states.pdf", content(FLATE, &deflated(b"q ", 400 << 20))),
        bomb("lines.pdf", content(FLATE, &deflated(b"9 9 l 1 2 m ", 400 << 20))),
        // 2 GB out of 60 kB.
        bomb("twice.pdf", content(FLATE_TWICE, &stored(&deflated(b"S ", 2 << 30)))),
        bomb("one-image.pdf", images(1, 60_000, &zeros(60_000))),
        bomb("many-images.pdf", images(100, 8_000, &zeros(8_000))),
        bomb("dashes.pdf", content("", &dashes())),
        bomb("tiles.pdf", tiles()),
        bomb("a-million-pages.pdf", flat_pages(1_000_000)),
        bomb("pages-in-pages.pdf", nested_pages(6)),
        bomb("its-own-parent.pdf", pdf(&[catalog(), "<</Type/Pages/Kids[2 0 R]/Count 9>>".into()])),
    ]
}

const FLATE: &str = "/Filter/FlateDecode";
const FLATE_TWICE: &str = "/Filter[/FlateDecode/FlateDecode]";

fn binary(dictionary: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("<<{dictionary}/Length {}>>\nstream\n", content.len());
    [head.as_bytes(), content, b"\nendstream"].concat()
}

fn one_page(rest: &str, objects: &[Vec<u8>]) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = vec![
        catalog().into(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".into(),
        page("0 0 600 800", rest).into(),
    ];
    all.extend_from_slice(objects);
    pdf(&all)
}

fn content(filter: &str, bytes: &[u8]) -> Vec<u8> {
    one_page("/Contents 4 0 R", &[binary(filter, bytes)])
}

/// `count` images that are each `side_px` square, drawn on top of each other.
fn images(count: usize, side_px: u64, pixels: &[u8]) -> Vec<u8> {
    let image = format!(
        "/Type/XObject/Subtype/Image/Width {side_px}/Height {side_px}/BitsPerComponent 8\
         /ColorSpace/DeviceRGB{FLATE}"
    );
    let names: String = (0..count).map(|n| format!("/I{n} {} 0 R", n + 5)).collect();
    let draw: String = (0..count).map(|n| format!("q 600 0 0 800 0 0 cm /I{n} Do Q ")).collect();
    let mut objects = vec![stream("", &draw).into()];
    objects.extend((0..count).map(|_| binary(&image, pixels)));
    one_page(&format!("/Contents 4 0 R/Resources<</XObject<<{names}>>>>"), &objects)
}

/// Curves of a billion dashes each.
fn dashes() -> Vec<u8> {
    "[0.00001] 0 d 1 w 0 0 m 9999 1 9999 700 0 800 c S ".repeat(1000).into()
}

/// A page filled with a pattern whose steps are a millionth of it.
fn tiles() -> Vec<u8> {
    let tile = "/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 9 9]/XStep 0.0006\
                /YStep 0.0008/Resources<<>>";
    let paint = "/Pattern cs /P scn 0 0 600 800 re f";
    let rest = "/Contents 4 0 R/Resources<</Pattern<</P 5 0 R>>>>";
    one_page(rest, &[stream("", paint).into(), stream(tile, "0 0 9 9 re f").into()])
}

/// One page, listed `count` times.
fn flat_pages(count: usize) -> Vec<u8> {
    let kids = "3 0 R ".repeat(count);
    pdf(&[catalog(), format!("<</Type/Pages/Kids[{kids}]/Count {count}>>"), page("0 0 9 9", "")])
}

/// Ten to the power of `depth` pages: each node lists the next one ten times.
fn nested_pages(depth: u32) -> Vec<u8> {
    let mut objects = vec![catalog()];
    for level in 0..depth {
        let (next, count) = (level + 3, 10u64.pow(depth - level));
        let kids = format!("{next} 0 R ").repeat(10);
        objects.push(format!("<</Type/Pages/Kids[{kids}]/Count {count}>>"));
    }
    objects.push(page("0 0 9 9", ""));
    pdf(&objects)
}

/// zlib of `pattern` over and over, `bytes` in all, by hand: one block of fixed codes (RFC 1951,
/// 3.2.6), the pattern once and then copies of 258 bytes from one pattern before.
fn deflated(pattern: &[u8], bytes: u64) -> Vec<u8> {
    assert!(pattern.len() <= 12 && pattern.is_ascii());
    let mut bits = Bits { bytes: vec![0x78, 0x9C], filled: 0 };
    bits.low_first(0b011, 3); // the last block, fixed codes
    for byte in pattern {
        bits.high_first(0x30 + u32::from(*byte), 8);
    }
    // Eight copies are as many bytes as each has bits, and all eights are alike.
    const FIRST: u64 = 16;
    for _ in 0..FIRST {
        bits.copy(pattern.len() as u32);
    }
    let copy_bits = [13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15][pattern.len() - 1];
    bits.repeat(copy_bits, (bytes / 258).saturating_sub(FIRST) / 8);
    bits.high_first(0, 7); // the end; readers do without the checksum
    bits.bytes
}

/// zlib of `bytes` as they are, where they repeat: a copy of what came 13 bytes before, which is
/// where eight copies of [`deflated`] begin again.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x78, 0x9C], filled: 0 };
    bits.low_first(0b011, 3);
    let literal = |bits: &mut Bits, byte: u8| match byte {
        0..=143 => bits.high_first(0x30 + u32::from(byte), 8),
        _ => bits.high_first(0x190 + u32::from(byte) - 144, 9),
    };
    let mut at = 0;
    while at < bytes.len() {
        let repeats = at >= 13 && at + 258 <= bytes.len();
        if repeats && bytes[at..at + 258] == bytes[at - 13..at + 258 - 13] {
            bits.copy(13);
            at += 258;
        } else {
            literal(&mut bits, bytes[at]);
            at += 1;
        }
    }
    bits.high_first(0, 7);
    bits.bytes
}

/// Bits in the order of RFC 1951, 3.1.1.
struct Bits {
    bytes: Vec<u8>,
    /// Bits used of the last byte; 0 is all.
    filled: u32,
}

impl Bits {
    fn low_first(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            self.push(value >> bit & 1);
        }
    }

    fn high_first(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.push(value >> bit & 1);
        }
    }

    /// A copy of 258 bytes from `distance` before.
    fn copy(&mut self, distance: u32) {
        self.high_first(0b1100_0101, 8);
        let (code, from, extra) = match distance {
            1..=4 => (distance - 1, distance, 0),
            5..=8 => (4 + (distance - 5) / 2, 5, 1),
            9..=16 => (6 + (distance - 9) / 4, 9, 2),
            _ => unreachable!("no bomb needs more"),
        };
        self.high_first(code, 5);
        self.low_first((distance - from) % (1 << extra), extra);
    }

    /// The last `count` whole bytes so many `times` more.
    fn repeat(&mut self, count: usize, times: u64) {
        let part = if self.filled > 0 { self.bytes.pop() } else { None };
        let block = self.bytes[self.bytes.len() - count..].to_vec();
        (0..times).for_each(|_| self.bytes.extend(&block));
        self.bytes.extend(part);
    }

    fn push(&mut self, bit: u32) {
        if self.filled == 0 {
            self.bytes.push(0);
        }
        *self.bytes.last_mut().expect("pushed above") |= (bit as u8) << self.filled;
        self.filled = (self.filled + 1) % 8;
    }
}
