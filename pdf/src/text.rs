//! The words of a page, as far as the page shows them.

use std::collections::{HashMap, HashSet};

use crate::facts::{Facts, Glyphs};
use crate::fonts::is_beyond_latin_1;
use crate::glyphs::letters_of_glyph;
use crate::raw::{Box4, Handle, TextLayer};
use crate::survey::{Shown, Survey, TextObject};

/// Stands where a word was cut at the end of a line with a hyphen: the parts may be one word
/// (hy-phen) or two (well-known), and nobody can tell from the page.
pub const LINE_HYPHEN: char = '\u{AD}';

/// Larger codes of fonts are not looked into: they are taken for the letters that they would be.
const MAX_CODE: u32 = 0x600;

/// Words of a page.
#[derive(Debug, Default)]
pub struct Words {
    pub text: String,
    /// There is more than was asked for.
    pub cut: bool,
    /// Letters beyond Latin 1 are among them, in a font that the document names and does not bring.
    pub has_named_letters: bool,
    /// Text in such a font has no letters at all, as when the font that stands in has none of them.
    pub has_silent_text: bool,
}

/// Reads what `survey` found on a page, at most `limit` bytes, in the order of the text layer.
/// `named` are those of its objects whose fonts the document names and does not bring.
pub fn words(
    page: &crate::raw::Page<'_>,
    survey: &Survey<'_>,
    facts: &Facts<'_>,
    named: &HashSet<Handle>,
    limit: usize,
) -> Option<Words> {
    Some(Reading::new(&shown_layer(page, survey)?, survey, facts, named, limit).run())
}

/// The text of a page without what is not shown.
fn shown_layer<'p>(page: &'p crate::raw::Page<'_>, survey: &Survey<'_>) -> Option<TextLayer<'p>> {
    let hidden = || survey.texts.iter().filter(|text| text.shown == Shown::Nothing);
    hidden().for_each(|text| text.object.set_active(false));
    let layer = page.text();
    hidden().for_each(|text| text.object.set_active(true));
    layer
}

/// A word and the box around its letters, in the coordinates of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    pub text: String,
    pub bounds: Box4,
}

/// The words of a page that stand somewhere, in the order of the text layer: what was read of the
/// first `limit` bytes of text. A word that a line's end cuts is two.
pub fn placed(
    page: &crate::raw::Page<'_>,
    survey: &Survey<'_>,
    facts: &Facts<'_>,
    named: &HashSet<Handle>,
    limit: usize,
) -> Option<Vec<Placed>> {
    let layer = shown_layer(page, survey)?;
    let mut reading = Reading::new(&layer, survey, facts, named, limit);
    reading.letters = Some(Vec::new());
    Some(reading.run_placed())
}

/// Words of `text`, of which `letters` say where pieces of it stand: byte ranges in order.
fn words_of(text: &str, letters: &[(std::ops::Range<usize>, Box4)]) -> Vec<Placed> {
    let mut words = Vec::new();
    let mut first = 0;
    let is_between = |c: char| c.is_whitespace() || c.is_control() || c == LINE_HYPHEN;
    let mut at = 0;
    for word in text.split(is_between) {
        let (start, end) = (at, at + word.len());
        at = end + text[end..].chars().next().map_or(0, char::len_utf8);
        if word.is_empty() {
            continue;
        }
        while letters.get(first).is_some_and(|(range, _)| range.end <= start) {
            first += 1;
        }
        let within = letters[first..].iter().take_while(|(range, _)| range.start < end);
        let bounds = within.map(|(_, bounds)| *bounds).reduce(|a, b| a.joined(b));
        words.extend(bounds.map(|bounds| Placed { text: word.into(), bounds }));
    }
    words
}

struct Reading<'r> {
    layer: &'r TextLayer<'r>,
    survey: &'r Survey<'r>,
    facts: &'r Facts<'r>,
    named: &'r HashSet<Handle>,
    limit: usize,
    /// Objects about which something is to be said.
    special: HashMap<Handle, usize>,
    words: Words,
    /// The first half of a letter beyond the basic plane.
    high: Option<u16>,
    /// Where the last word ends of which a part is not shown, and whether another part is.
    word: (i32, bool),
    /// The line ended within a word.
    joining: bool,
    /// Replacements that are in the text.
    replaced: HashSet<Handle>,
    /// Where in the text each object ends, in the order in which they were met.
    ends: Vec<(Handle, usize)>,
    /// The objects of the page by their handles, once one is looked up.
    objects: Option<HashMap<Handle, usize>>,
    /// The names of the glyphs of fonts that do not say which letters they have.
    glyphs: HashMap<Handle, Glyphs>,
    /// Where pieces of the text stand, when that is asked.
    letters: Option<Vec<(std::ops::Range<usize>, Box4)>>,
    /// The last replacement in the text, and the box of what it replaces so far.
    replacement_at: std::ops::Range<usize>,
}

impl<'r> Reading<'r> {
    fn new(
        layer: &'r TextLayer<'r>,
        survey: &'r Survey<'r>,
        facts: &'r Facts<'r>,
        named: &'r HashSet<Handle>,
        limit: usize,
    ) -> Self {
        let is_special = |text: &TextObject<'_>| {
            text.replaced.is_some() || matches!(text.shown, Shown::Within(_))
        };
        let texts = survey.texts.iter().enumerate();
        let special = texts
            .filter(|(_, text)| is_special(text))
            .map(|(index, text)| (text.object.handle(), index))
            .collect();
        Self {
            layer,
            survey,
            facts,
            named,
            limit,
            special,
            words: Words::default(),
            high: None,
            word: (0, true),
            joining: false,
            replaced: HashSet::new(),
            ends: Vec::new(),
            objects: None,
            glyphs: HashMap::new(),
            letters: None,
            replacement_at: 0..0,
        }
    }

    fn run_placed(mut self) -> Vec<Placed> {
        self.read();
        let letters = self.letters.unwrap_or_default();
        words_of(&self.words.text, &letters)
    }

    /// Notes that `range` of the text stands where character `index` does.
    fn place(&mut self, range: std::ops::Range<usize>, index: i32) {
        let Some(letters) = self.letters.as_mut().filter(|_| !range.is_empty()) else { return };
        let Some(bounds) = self.layer.bounds(index) else { return };
        if bounds.right <= bounds.left || bounds.top <= bounds.bottom {
            return;
        }
        match letters.last_mut() {
            Some((last, known)) if *last == range => *known = known.joined(bounds),
            _ => letters.push((range, bounds)),
        }
    }

    fn run(mut self) -> Words {
        self.read();
        self.add_what_has_no_character();
        if self.words.text.len() > self.limit {
            let end = self.words.text.floor_char_boundary(self.limit);
            self.words.text.truncate(end);
            self.words.cut = true;
        }
        self.words
    }

    fn read(&mut self) {
        let (mut last, mut last_end) = (std::ptr::null_mut(), 0);
        let mut special = None;
        let mut is_named = false;
        for index in 0..self.layer.count() {
            let object = self.layer.object(index);
            if object != last && !object.is_null() {
                self.ends.push((last, last_end));
                last = object;
                special = self.special.get(&object).copied();
                is_named = !self.named.is_empty() && self.named.contains(&object);
                if let Some(mark) = special.and_then(|index| self.survey.texts[index].replaced)
                    && self.replaced.insert(mark)
                    && let Some(text) = self.replacement(mark)
                {
                    let start = self.words.text.len();
                    text.chars().for_each(|c| self.push(c));
                    // In the place of a hyphen that is the line's.
                    self.joining |= text.ends_with(LINE_HYPHEN);
                    self.replacement_at = start..self.words.text.len();
                }
            }
            if let Some(index_of_text) = special.filter(|_| !object.is_null()) {
                let text = &self.survey.texts[index_of_text];
                if text.replaced.is_some() {
                    self.place(self.replacement_at.clone(), index);
                    last_end = self.words.text.len();
                    continue;
                }
                if !self.is_shown(index, object, text.shown) {
                    last_end = self.words.text.len();
                    continue;
                }
            }
            self.words.has_named_letters |= is_named && is_beyond_latin_1(self.layer.unit(index));
            let start = self.words.text.len();
            self.character(index, object);
            if !object.is_null() {
                self.place(start..self.words.text.len(), index);
                last_end = self.words.text.len();
            }
            if self.words.text.len() > self.limit {
                break;
            }
        }
        self.ends.push((last, last_end));
        if !self.named.is_empty() {
            let met: HashSet<Handle> = self.ends.iter().map(|(object, _)| *object).collect();
            let is_silent = |text: &TextObject<'_>| {
                let object = text.object.handle();
                self.named.contains(&object)
                    && text.shown == Shown::All
                    && text.replaced.is_none()
                    && !met.contains(&object)
            };
            self.words.has_silent_text = self.survey.texts.iter().any(is_silent);
        }
    }

    /// Whether a character is of a word that is shown. A word that an edge cuts is read whole; of
    /// scripts without spaces each letter is looked at.
    fn is_shown(&mut self, index: i32, object: Handle, shown: Shown) -> bool {
        let Shown::Within(limit) = shown else { return true };
        let is_within = |index| {
            self.layer.bounds(index).is_none_or(|b| {
                limit.holds(f32::midpoint(b.left, b.right), f32::midpoint(b.bottom, b.top))
            })
        };
        let (end, is_word_shown) = self.word;
        if index < end {
            return is_word_shown;
        }
        let is_of_word = |index: &i32| {
            self.layer.object(*index) == object && is_spaced_letter(self.layer.unit(*index))
        };
        let end = (index..self.layer.count()).find(|index| !is_of_word(index));
        let end = end.unwrap_or(self.layer.count()).max(index + 1);
        self.word = (end, (index..end).any(is_within));
        self.word.1
    }

    fn character(&mut self, index: i32, object: Handle) {
        let unit = self.layer.unit(index);
        if unit < MAX_CODE && !object.is_null() && self.layer.is_unmapped(index) {
            if let Some(letters) = self.letters_of(object, unit) {
                letters.chars().for_each(|c| self.push(c));
                return;
            }
            // It is the code of a glyph, and not pdfium's mark for a hyphen.
            if unit == 2 {
                return self.push('\u{FFFD}');
            }
        }
        if let (Some(high), low @ 0xDC00..=0xDFFF) = (self.high.take(), unit) {
            let pair = [high, low as u16];
            char::decode_utf16(pair).flatten().for_each(|c| self.push(c));
            return;
        }
        match char::from_u32(unit) {
            Some(c) => self.push(c),
            None => self.high = (0xD800..=0xDBFF).contains(&unit).then_some(unit as u16),
        }
    }

    /// The letters of a code, by the name of its glyph.
    fn letters_of(&mut self, object: Handle, code: u32) -> Option<String> {
        let texts = &self.survey.texts;
        let by_handle = || {
            texts.iter().enumerate().map(|(index, text)| (text.object.handle(), index)).collect()
        };
        let index = *self.objects.get_or_insert_with(by_handle).get(&object)?;
        let font = texts[index].object.font()?;
        let codes = || codes_of(self.layer, font.handle(), texts);
        let glyphs =
            self.glyphs.entry(font.handle()).or_insert_with(|| self.facts.glyphs_of(&font, codes));
        glyphs.get(&code).and_then(|name| letters_of_glyph(name))
    }

    fn push(&mut self, c: char) {
        let text = &mut self.words.text;
        match c {
            // pdfium's marks for a hyphen at the end of a line.
            '\u{2}' | '\u{FFFE}' => self.joining = true,
            // A hyphen that is displayed at the end of a line alone.
            LINE_HYPHEN => {}
            '\r' | '\n' if self.joining => {}
            '\r' | '\0' => {}
            _ => {
                if std::mem::take(&mut self.joining) && c.is_alphanumeric() {
                    text.push(LINE_HYPHEN);
                }
                text.push(c);
            }
        }
    }

    fn replacement(&self, mark: Handle) -> Option<String> {
        let found = self.survey.replacements.iter().find(|r| r.mark == mark)?;
        Some(text_string(&found.text))
    }

    /// Marked content of which no object has text, such as a word that is a picture or one of
    /// glyphs that have no width.
    fn add_what_has_no_character(&mut self) {
        let missing: Vec<_> = self
            .survey
            .replacements
            .iter()
            .filter(|r| !r.hidden && !self.replaced.contains(&r.mark))
            .collect();
        if missing.is_empty() {
            return;
        }
        // `ends` says where the text of an object ends.
        let ends: HashMap<Handle, usize> = self.ends.iter().copied().collect();
        let end_of = |text: &TextObject<'_>| ends.get(&text.object.handle()).copied();
        for replacement in missing.into_iter().rev() {
            let (before, after) = self.survey.texts.split_at(replacement.at);
            let before = before.iter().rev().find_map(|text| Some((text, end_of(text)?)));
            let after = after.iter().find(|text| end_of(text).is_some());
            let (gap, at) = before
                .map_or(("", 0), |(text, end)| (gap_between(text.bounds, replacement.bounds), end));
            let text = text_string(&replacement.text);
            let follows_at_once =
                self.words.text[at..].chars().next().is_some_and(|c| !c.is_whitespace());
            let gap_after = match after {
                Some(after) if follows_at_once => gap_between(replacement.bounds, after.bounds),
                _ => "",
            };
            self.words.text.insert_str(at, &format!("{gap}{text}{gap_after}"));
        }
    }
}

/// The codes of a page's text in `font` that say no letter.
fn codes_of(layer: &TextLayer<'_>, font: Handle, texts: &[TextObject<'_>]) -> HashSet<u32> {
    let is_in_font =
        |text: &&TextObject<'_>| text.object.font().is_some_and(|other| other.handle() == font);
    let objects: HashSet<Handle> =
        texts.iter().filter(is_in_font).map(|text| text.object.handle()).collect();
    let indices = (0..layer.count()).filter(|&index| objects.contains(&layer.object(index)));
    indices.filter(|&index| layer.is_unmapped(index)).map(|index| layer.unit(index)).collect()
}

/// What stands between two pieces of text, by their places.
fn gap_between(first: Option<Box4>, second: Option<Box4>) -> &'static str {
    let (Some(first), Some(second)) = (first, second) else { return " " };
    let middle = f32::midpoint(second.bottom, second.top);
    let height = (first.top - first.bottom).max(second.top - second.bottom);
    if middle > first.top || middle < first.bottom {
        "\n"
    } else if second.left - first.right > 0.2 * height {
        " "
    } else {
        ""
    }
}

/// Whether a letter or mark is of a script that puts spaces between its words.
fn is_spaced_letter(unit: u32) -> bool {
    let is_space = matches!(unit, 0..=0x20 | 0xA0 | 0x2000..=0x200B | 0x3000);
    // Thai to Burmese, Khmer, and all from the radicals of Han to the end of Hangul; halves of
    // letters beyond the basic plane.
    !is_space
        && !matches!(unit, 0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x2E80..=0xDFFF)
}

/// A text string of a PDF: UTF-16 or UTF-8 with a byte order mark, else PDFDocEncoding, which is
/// Latin 1 but for a few marks.
fn text_string(bytes: &[u8]) -> String {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        char::decode_utf16(units).filter_map(Result::ok).filter(|c| !c.is_control()).collect()
    };
    match bytes {
        [0xFE, 0xFF, ..] => utf16(u16::from_be_bytes),
        [0xFF, 0xFE, ..] => utf16(u16::from_le_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().filter_map(|&byte| doc_encoded(byte)).collect(),
    }
}

/// A byte of PDFDocEncoding (ISO 32000, table D.2).
fn doc_encoded(byte: u8) -> Option<char> {
    const FROM_0X80: [char; 33] = [
        '•', '†', '‡', '…', '—', '–', 'ƒ', '⁄', '‹', '›', '−', '‰', '„', '“', '”', '‘', '’', '‚',
        '™', 'ﬁ', 'ﬂ', 'Ł', 'Œ', 'Š', 'Ÿ', 'Ž', 'ı', 'ł', 'œ', 'š', 'ž', '\u{FFFD}', '€',
    ];
    match byte {
        b'\t' | b'\n' | b'\r' => Some(' '),
        0x00..=0x1F | 0x7F => None,
        0x80..=0xA0 => Some(FROM_0X80[usize::from(byte - 0x80)]).filter(|c| *c != '\u{FFFD}'),
        _ => Some(char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_where_their_letters_do() {
        let at = |left: f32| Box4 { left, right: left + 1.0, bottom: 0.0, top: 2.0 };
        let text = "ab c\u{AD}d\n e";
        let letters: Vec<_> = text
            .char_indices()
            .filter(|(_, c)| c.is_alphabetic() && *c != 'e')
            .map(|(start, c)| (start..start + c.len_utf8(), at(start as f32)))
            .collect();
        let words = words_of(text, &letters);
        let found: Vec<(&str, f32, f32)> =
            words.iter().map(|w| (w.text.as_str(), w.bounds.left, w.bounds.right)).collect();
        // `e` stands nowhere, and the hyphen of a line's end parts a word.
        assert_eq!(found, [("ab", 0.0, 2.0), ("c", 3.0, 4.0), ("d", 6.0, 7.0)]);
    }

    #[test]
    fn text_strings_of_every_encoding() {
        for (bytes, expected) in [
            (&b"ff"[..], "ff"),
            (b"\xFE\xFF\x00f\x00f", "ff"),
            (b"\xFE\xFF\xD8\x42\xDF\xB7", "𠮷"),
            (b"\xFF\xFEf\x00", "f"),
            (b"\xEF\xBB\xBF\xC5\x82", "ł"),
            (b"caf\xE9 \x93\x94\x8D", "café ﬁﬂ“"),
            (b"\xFE\xFF\xD8\x42", ""),
            (b"", ""),
        ] {
            assert_eq!(text_string(bytes), expected, "{bytes:?}");
        }
    }
}
