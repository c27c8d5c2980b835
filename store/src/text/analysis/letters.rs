//! The letters of a text in one form, before they are cut into words.
//!
//! Text layers write the same letter in many ways: composed or as a base with marks, half or full
//! width, as a radical that looks like the ideograph, with the apostrophe of a keyboard or of a
//! typesetter. Words that are cut before these are made equal are cut in different places, so this
//! comes first. Every letter keeps the place it has in the text.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// One letter in its common form, and the bytes of the text that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Letter {
    pub c: char,
    pub start: u32,
    pub end: u32,
}

impl Letter {
    pub fn range(letters: &[Letter]) -> Range<usize> {
        let first = letters.first().map_or(0, |letter| letter.start as usize);
        first..letters.last().map_or(first, |letter| letter.end as usize)
    }
}

/// Stands where a line ended within a word: the parts may be one word or two.
pub(super) const BREAK: char = '\u{AD}';

/// A space that groups digits: no-break and thin ones.
pub(super) const GROUP_SPACE: char = '\u{A0}';

/// The letters of `text` in compatibility form (NFKC), and beyond it: one apostrophe, one hyphen,
/// ASCII digits, ideographs for radicals, letters without the marks that writers of their script
/// leave out.
pub(super) fn letters(text: &str) -> Vec<Letter> {
    let mut letters = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // A letter and the marks that belong to it are composed together.
        let ascii = bytes[at].is_ascii() && bytes.get(at + 1).is_none_or(u8::is_ascii);
        if ascii {
            letters.push(Letter { c: char::from(bytes[at]), start: at as u32, end: at as u32 + 1 });
            at += 1;
            continue;
        }
        let rest = &text[at..];
        let end = rest.char_indices().skip(1).find(|&(_, c)| !continues(c));
        let end = at + end.map_or(rest.len(), |(offset, _)| offset);
        let mut push = |c| letters.push(Letter { c, start: at as u32, end: end as u32 });
        match rest.chars().next() {
            Some('\u{A0}' | '\u{2007}'..='\u{2009}' | '\u{202F}' | '\u{205F}') => push(GROUP_SPACE),
            Some(BREAK) => push(BREAK),
            // NFKC makes a space and a mark of it.
            Some('´') => push('\''),
            _ => text[at..end].nfkc().filter_map(common).for_each(push),
        }
        at = end;
    }
    letters
}

/// Whether `c` composes with the letter before it.
fn continues(c: char) -> bool {
    c as u32 >= 0x300
        && (canonical_combining_class(c) != 0
            || matches!(c, '\u{1161}'..='\u{1175}' | '\u{11A8}'..='\u{11C2}' | 'ﾞ' | 'ﾟ')
            || is_variation(c)
            // Signs that compose though they are letters of their own to Unicode.
            || matches!(c, '\u{9BE}' | '\u{9D7}' | '\u{B3E}' | '\u{B56}' | '\u{B57}' | '\u{BBE}'
                | '\u{BD7}' | '\u{CC2}' | '\u{CD5}' | '\u{CD6}' | '\u{D3E}' | '\u{D57}'
                | '\u{DCF}' | '\u{DDF}' | '\u{102E}'))
}

/// Marks that choose a glyph of the same letter.
fn is_variation(c: char) -> bool {
    matches!(c as u32, 0xFE00..=0xFE0F | 0xE0100..=0xE01EF | 0x180B..=0x180D)
}

/// The common form of one letter; `None` for marks that writers leave out.
fn common(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    Some(match c {
        // Apostrophes, primes and the letters that look like them.
        '‘' | '’' | '‛' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | '′' | '׳' => '\'',
        '״' => '"',
        '‐' | '−' => '-',
        // The same letter at the end of a word; capitals have one form.
        'ς' => 'σ',
        '٫' => '.',
        '٬' => ',',
        // Hebrew points, Arabic vowel signs, and the silent extender.
        '\u{591}'..='\u{5BD}'
        | '\u{5BF}'
        | '\u{5C1}'
        | '\u{5C2}'
        | '\u{5C4}'
        | '\u{5C5}'
        | '\u{5C7}'
        | '\u{610}'..='\u{61A}'
        | '\u{64B}'..='\u{65F}'
        | '\u{670}'
        | '\u{640}' => {
            return None;
        }
        // Persian and Arabic forms of the same letters, and the seats of the hamza.
        'ی' | 'ى' | 'ئ' => 'ي',
        'ک' => 'ك',
        'ة' | 'ۀ' | 'ە' => 'ه',
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ؤ' => 'و',
        // Joiners within a word; Persian's non-joiner parts words and is a space.
        '\u{200D}' | '\u{2060}' | '\u{FEFF}' => return None,
        c if is_variation(c) => return None,
        // Kangxi radicals are taken for these in Japanese texts; elsewhere they are the same letter.
        '戶' => '戸',
        '黑' => '黒',
        '黃' => '黄',
        '靑' => '青',
        c if ('\u{2E80}'..='\u{2EFF}').contains(&c) => ideograph(c),
        c => digit(c).unwrap_or(c),
    })
}

/// The ASCII digit that a decimal digit of another script stands for.
fn digit(c: char) -> Option<char> {
    const ZEROS: [u32; 17] = [
        0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0,
        0xF20, 0x1040, 0x17E0, 0x1810,
    ];
    let value = |zero: &u32| (c as u32).checked_sub(*zero).filter(|value| *value < 10);
    ZEROS.iter().find_map(value).and_then(|value| char::from_digit(value, 10))
}

/// The ideograph that a radical looks like (EquivalentUnifiedIdeograph of Unicode 14); NFKC knows
/// Kangxi radicals, and two of these.
fn ideograph(radical: char) -> char {
    let mut pairs = RADICALS.chars();
    while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
        if from == radical {
            return to;
        }
    }
    radical
}

/// Radicals, each before its ideograph.
const RADICALS: &str = "\
    ⺁厂⺂乛⺃乚⺄乙⺅亻⺆冂⺇𠘨⺈刀⺉刂⺊卜⺋㔾⺌小⺍小⺎兀⺏尣⺐尢⺑𡯂⺒巳⺓幺⺔彑\
    ⺕彐⺖忄⺗心⺘扌⺙攵⺛旡⺜日⺝月⺞歺⺟母⺠民⺡氵⺢氺⺣灬⺤爫⺥爫⺦丬⺧牛⺨犭⺩王\
    ⺪𤴔⺫目⺬示⺭礻⺮𥫗⺯糹⺰纟⺱罓⺲罒⺳㓁⺴冗⺵𦉫⺶羊⺷𦍌⺸𦍋⺹耂⺺肀⺻聿⺼肉⺽𦥑\
    ⺾艹⺿艹⻀艹⻁虎⻂衤⻃覀⻄西⻅见⻆角⻇𧢲⻈讠⻉贝⻊𧾷⻋车⻌辶⻍辶⻎辶⻏邑⻐钅⻑長\
    ⻒镸⻓长⻔门⻕𨸏⻖阝⻗雨⻘青⻙韦⻚页⻛风⻜飞⻝食⻞𩙿⻟飠⻠饣⻡𩠐⻢马⻣骨⻤鬼⻥鱼\
    ⻦鸟⻧卤⻨麦⻩黄⻪黾⻫斉⻬齐⻭歯⻮齿⻯竜⻰龙⻱龜⻲亀⻳龟\
";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &str) -> String {
        letters(of).into_iter().map(|letter| letter.c).collect()
    }

    #[test]
    fn one_form_for_what_looks_alike() {
        for (written, common) in [
            ("ｶﾞｽ ﾎﾟﾝﾌﾟ", "ガス ポンプ"),
            ("⽇本の⼈⼝", "日本の人口"),
            ("⻑⻄⻩", "長西黄"),
            ("神⼾市⽬⿊区", "神戸市目黒区"),
            ("\u{1109}\u{1165}\u{110B}\u{116E}\u{11AF}", "서울"),
            ("re\u{301}sume\u{301}", "résumé"),
            ("O’Brien ʼn Oʻahu", "O'Brien 'n O'ahu"),
            ("𝐡𝐞𝐚𝐝𝐢𝐧𝐠 ﬁne Ⅳ", "heading fine IV"),
            ("٣٫٥ ۱۲۳ १२", "3.5 123 12"),
            ("שָׁלוֹם", "שלום"),
            ("كِتَابـــ", "كتاب"),
            ("1\u{202F}234", "1\u{A0}234"),
            ("葛\u{E0100}飾", "葛飾"),
            ("οδός", "οδόσ"),
        ] {
            assert_eq!(text(written), common, "{written}");
        }
    }

    #[test]
    fn letters_know_where_they_stand() {
        let source = "aé ｶﾞe\u{301}";
        let letters = letters(source);
        let from: Vec<&str> =
            letters.iter().map(|l| &source[l.start as usize..l.end as usize]).collect();
        assert_eq!(from, ["a", "é", " ", "ｶﾞ", "e\u{301}"]);
    }
}
