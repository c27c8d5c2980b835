//! The names of glyphs in a font program of the Compact Font Format (CFF), by the codes that the
//! program itself gives them.
//!
//! pdfium knows what the usual names mean; those that a font makes up, such as `f_i` for a ligature,
//! stand in its own list of strings, and only they are read here.

use std::collections::HashMap;

/// Names up to this number are the usual ones.
const USUAL_NAMES: usize = 391;

/// A font of more glyphs is looked at so far.
const MAX_GLYPHS: usize = 65_536;

/// The glyphs of `program` with names of its own, by their codes; none for what is no such program,
/// or has one of the usual encodings.
pub fn own_names(program: &[u8]) -> HashMap<u32, String> {
    Cff { bytes: program }.own_names().unwrap_or_default()
}

struct Cff<'b> {
    bytes: &'b [u8],
}

impl<'b> Cff<'b> {
    fn number(&self, at: usize, bytes: usize) -> Option<usize> {
        let digits = self.bytes.get(at..at.checked_add(bytes)?)?;
        Some(digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)))
    }

    /// The items of an index, and where it ends.
    fn index(&self, at: usize) -> Option<(Vec<&'b [u8]>, usize)> {
        let count = self.number(at, 2)?;
        if count == 0 {
            return Some((Vec::new(), at + 2));
        }
        let size = self.number(at + 2, 1).filter(|size| (1..=4).contains(size))?;
        // Places count from the byte before the first item.
        let before = at + 3 + (count + 1) * size - 1;
        let place = |item: usize| Some(before + self.number(at + 3 + item * size, size)?);
        let items = (0..count).map(|item| self.bytes.get(place(item)?..place(item + 1)?));
        Some((items.collect::<Option<Vec<_>>>()?, place(count)?))
    }

    fn own_names(&self) -> Option<HashMap<u32, String>> {
        let head = self.number(2, 1).filter(|_| self.bytes.first() == Some(&1))?;
        let (_, after_names) = self.index(head)?;
        let (dicts, after_dicts) = self.index(after_names)?;
        let (strings, _) = self.index(after_dicts)?;
        let dict = operators(dicts.first()?);
        let offset = |operator| dict.get(&operator).and_then(|at: &i32| usize::try_from(*at).ok());
        const CHARSET: u8 = 15;
        const ENCODING: u8 = 16;
        const CHAR_STRINGS: u8 = 17;
        let glyphs = self.number(offset(CHAR_STRINGS)?, 2)?.min(MAX_GLYPHS);
        // Smaller numbers name the usual ones.
        let charset = offset(CHARSET).filter(|at| *at > 2)?;
        let encoding = offset(ENCODING).filter(|at| *at > 1)?;
        let names = self.charset(charset, glyphs)?;
        let own = |name: usize| {
            let string = strings.get(name.checked_sub(USUAL_NAMES)?)?;
            std::str::from_utf8(string).ok().map(String::from)
        };
        let coded = self.encoding(encoding)?.into_iter();
        Some(coded.filter_map(|(code, glyph)| Some((code, own(*names.get(glyph)?)?))).collect())
    }

    /// The numbers of the names of all glyphs.
    fn charset(&self, at: usize, glyphs: usize) -> Option<Vec<usize>> {
        let mut names = vec![0];
        let format = self.number(at, 1)?;
        let mut at = at + 1;
        while names.len() < glyphs {
            let first = self.number(at, 2)?;
            let left = match format {
                0 => 0,
                1 | 2 => self.number(at + 2, format)?,
                _ => return None,
            };
            at += 2 + format;
            names.extend((first..=first + left).take(glyphs - names.len()));
        }
        Some(names)
    }

    /// Codes, and the places of their glyphs.
    fn encoding(&self, at: usize) -> Option<Vec<(u32, usize)>> {
        let (format, count) = (self.number(at, 1)? & 0x7F, self.number(at + 1, 1)?);
        let mut coded = Vec::new();
        for item in 0..count {
            match format {
                0 => coded.push((self.number(at + 2 + item, 1)? as u32, coded.len() + 1)),
                1 => {
                    let first = self.number(at + 2 + 2 * item, 1)?;
                    let left = self.number(at + 3 + 2 * item, 1)?;
                    for code in first..=first + left {
                        coded.push((code as u32, coded.len() + 1));
                    }
                }
                _ => return None,
            }
        }
        Some(coded)
    }
}

/// The operators of a dictionary that have one byte, with their last operands.
fn operators(dict: &[u8]) -> HashMap<u8, i32> {
    let mut operators = HashMap::new();
    let (mut at, mut operand) = (0, 0);
    let byte = |at: usize| dict.get(at).copied().map_or(0, i32::from);
    while at < dict.len() {
        match dict[at] {
            // Of two bytes.
            12 => at += 2,
            operator @ 0..=21 => {
                operators.insert(operator, operand);
                at += 1;
            }
            28 => {
                operand = i32::from((byte(at + 1) << 8 | byte(at + 2)) as i16);
                at += 3;
            }
            29 => {
                let digits = [1, 2, 3, 4].map(|digit| byte(at + digit));
                operand = digits[0] << 24 | digits[1] << 16 | digits[2] << 8 | digits[3];
                at += 5;
            }
            // A fraction, in half bytes to the first that is 15.
            30 => {
                let length = dict[at + 1..].iter().take_while(|b| **b & 0x0F != 0x0F).count();
                at += 2 + length;
            }
            first @ 32..=246 => {
                operand = i32::from(first) - 139;
                at += 1;
            }
            first @ 247..=250 => {
                operand = (i32::from(first) - 247) * 256 + byte(at + 1) + 108;
                at += 2;
            }
            first @ 251..=254 => {
                operand = -(i32::from(first) - 251) * 256 - byte(at + 1) - 108;
                at += 2;
            }
            _ => at += 1,
        }
    }
    operators
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with glyphs called `s`, `f_i` and `T_h`, of which the first name is a usual one.
    fn program(charset: &[u8], encoding: &[u8]) -> Vec<u8> {
        let index = |items: &[&[u8]]| {
            let mut index = (items.len() as u16).to_be_bytes().to_vec();
            index.push(1);
            let mut place = 1;
            for item in items {
                index.push(place);
                place += item.len() as u8;
            }
            index.push(place);
            index.extend(items.concat());
            index
        };
        let names = index(&[b"Test"]);
        let strings = index(&[b"f_i", b"T_h"]);
        let glyphs = index(&[b"\x0E", b"\x0E", b"\x0E", b"\x0E"]);
        // Three operands of two bytes after a mark each, and their operators.
        let start = 4 + names.len() + (3 + 2 + 12) + strings.len() + 2;
        let places = [start, start + charset.len(), start + charset.len() + encoding.len()];
        let mut dict = Vec::new();
        for (place, operator) in places.iter().zip([15, 16, 17]) {
            dict.push(28);
            dict.extend((*place as u16).to_be_bytes());
            dict.push(operator);
        }
        let parts: [&[u8]; 8] = [
            &[1, 0, 4, 1],
            &names,
            &index(&[&dict]),
            &strings,
            // No subroutines.
            &[0, 0],
            charset,
            encoding,
            &glyphs,
        ];
        parts.concat()
    }

    #[test]
    fn made_up_names_are_read_by_their_codes() {
        let expected: HashMap<u32, String> = [(7, "f_i".into()), (8, "T_h".into())].into();
        // `s` is name 84, the others 391 and 392; as a list and as ranges.
        let (list, ranges) = ([0, 0, 84, 1, 135, 1, 136], [1, 0, 84, 0, 1, 135, 1]);
        for charset in [list, ranges] {
            for encoding in [&[0, 3, 6, 7, 8][..], &[1, 1, 6, 2]] {
                assert_eq!(own_names(&program(&charset, encoding)), expected, "{charset:?}");
            }
        }
    }

    #[test]
    fn noise_is_no_trouble() {
        let whole = program(&[0, 0, 84, 1, 135, 1, 136], &[0, 3, 6, 7, 8]);
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % bytes.len();
                bytes[at] = (random >> 32) as u8;
            }
            own_names(&bytes[..(random >> 40) as usize % (bytes.len() + 1)]);
            own_names(&bytes);
        }
        assert!(own_names(b"").is_empty() && own_names(b"%!PS").is_empty());
    }
}
