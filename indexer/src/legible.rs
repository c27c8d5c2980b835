//! Whether text is language, or what a font with a wrong table of codes makes of it.
//!
//! Some PDFs draw words that a person reads and a program does not: their fonts map letters to
//! private codes, to nothing, or to other letters, often a fixed number of places further on in the
//! alphabet. The first two are counted. The last shows in which letters follow which: in each of
//! three dozen languages that are written in Latin letters it takes 2.5
//! bits or less to say which letter comes next, in letters that are moved or exchanged 3 bits or more.

use std::sync::LazyLock;

/// Latin letters as a..z, then other Latin letters (with accents) as one, then all that ends a word.
const CLASSES: usize = 28;
const ACCENTED: usize = 26;
const NO_LETTER: usize = 27;

/// Sixteenths of bits that a class (column) takes after another one (row), in the language among
/// three dozen in which it is most usual. Counted in the translations of programs of Debian 12.
#[rustfmt::skip]
const BITS: [[u8; CLASSES]; CLASSES] = [
    [41, 63, 56, 51, 57, 55, 68, 71, 43, 60, 52, 43, 62, 30, 68, 70, 80, 39, 44, 42, 51, 48, 70, 121, 58, 59, 58, 19],
    [26, 59, 109, 101, 13, 85, 100, 14, 22, 63, 107, 21, 80, 68, 25, 109, 155, 28, 72, 76, 39, 83, 74, 125, 45, 117, 8, 29],
    [31, 101, 71, 72, 32, 102, 142, 6, 18, 48, 25, 65, 95, 81, 26, 95, 170, 53, 15, 47, 51, 142, 96, 89, 35, 29, 27, 27],
    [16, 79, 82, 31, 15, 106, 83, 37, 19, 76, 72, 72, 76, 50, 27, 71, 175, 61, 62, 72, 41, 77, 97, 128, 57, 57, 10, 16],
    [22, 74, 64, 46, 59, 73, 55, 82, 45, 70, 54, 41, 59, 34, 54, 65, 113, 32, 40, 47, 72, 63, 70, 78, 65, 56, 52, 20],
    [11, 87, 102, 66, 28, 34, 83, 35, 13, 72, 82, 63, 95, 55, 27, 83, 134, 51, 61, 59, 53, 106, 106, 161, 62, 128, 24, 19],
    [24, 106, 69, 71, 11, 105, 47, 31, 27, 28, 66, 61, 75, 43, 28, 74, 175, 39, 59, 50, 27, 79, 38, 157, 30, 103, 35, 8],
    [9, 86, 104, 50, 19, 74, 161, 78, 25, 65, 61, 44, 71, 73, 28, 92, 108, 59, 98, 32, 50, 38, 47, 175, 48, 146, 12, 13],
    [48, 70, 46, 45, 20, 72, 52, 84, 70, 45, 45, 39, 52, 26, 47, 82, 83, 47, 44, 46, 69, 60, 78, 74, 81, 53, 26, 18],
    [14, 139, 144, 42, 12, 79, 81, 107, 26, 130, 44, 29, 67, 33, 22, 25, 175, 79, 48, 51, 30, 67, 110, 175, 53, 60, 27, 13],
    [23, 85, 66, 99, 24, 103, 55, 9, 40, 85, 37, 48, 106, 70, 24, 52, 175, 55, 44, 44, 44, 94, 112, 175, 63, 97, 38, 24],
    [27, 90, 102, 45, 23, 104, 63, 62, 28, 38, 81, 36, 72, 59, 36, 102, 133, 105, 62, 50, 48, 90, 55, 145, 64, 65, 9, 25],
    [22, 49, 118, 97, 26, 118, 88, 14, 25, 72, 97, 61, 52, 62, 36, 40, 175, 84, 49, 88, 54, 103, 65, 168, 51, 116, 16, 24],
    [31, 89, 68, 40, 35, 89, 21, 42, 21, 52, 64, 77, 77, 48, 39, 91, 126, 91, 55, 37, 44, 79, 83, 159, 51, 90, 23, 18],
    [48, 71, 56, 42, 49, 67, 49, 66, 47, 53, 53, 37, 34, 25, 44, 51, 132, 30, 44, 41, 42, 42, 44, 123, 93, 54, 42, 16],
    [20, 102, 49, 84, 27, 73, 85, 27, 39, 86, 89, 52, 84, 43, 26, 37, 156, 24, 69, 54, 45, 106, 88, 147, 90, 83, 28, 14],
    [77, 175, 175, 92, 36, 94, 92, 175, 45, 83, 175, 17, 175, 170, 100, 115, 175, 74, 100, 23, 1, 175, 20, 175, 87, 175, 27, 24],
    [32, 90, 81, 46, 25, 91, 65, 54, 37, 64, 57, 67, 73, 77, 32, 87, 69, 45, 64, 49, 50, 73, 85, 121, 70, 39, 19, 21],
    [43, 84, 47, 116, 34, 101, 56, 27, 32, 77, 28, 63, 94, 79, 47, 57, 115, 92, 46, 26, 55, 74, 90, 175, 55, 34, 20, 17],
    [25, 100, 105, 116, 27, 111, 99, 23, 30, 87, 76, 76, 83, 67, 37, 112, 175, 45, 58, 46, 41, 77, 78, 66, 51, 41, 31, 25],
    [41, 48, 66, 47, 34, 58, 42, 71, 29, 51, 39, 36, 37, 28, 51, 41, 175, 35, 38, 35, 56, 80, 67, 97, 51, 62, 38, 11],
    [19, 93, 82, 116, 12, 122, 134, 97, 28, 82, 102, 45, 75, 55, 27, 70, 175, 50, 71, 74, 71, 86, 137, 140, 46, 84, 6, 30],
    [15, 119, 86, 57, 16, 105, 53, 45, 15, 137, 95, 64, 93, 52, 31, 82, 175, 60, 42, 131, 65, 165, 66, 78, 38, 107, 73, 33],
    [15, 37, 67, 88, 21, 64, 99, 72, 31, 90, 60, 66, 62, 127, 60, 34, 171, 99, 98, 30, 34, 119, 137, 55, 37, 84, 23, 7],
    [7, 47, 32, 44, 35, 46, 59, 61, 72, 60, 39, 34, 39, 29, 42, 32, 175, 33, 35, 30, 81, 68, 67, 175, 61, 82, 39, 7],
    [8, 60, 72, 35, 11, 167, 37, 58, 12, 107, 69, 60, 52, 41, 37, 68, 86, 80, 68, 56, 31, 49, 48, 130, 44, 43, 22, 10],
    [40, 64, 47, 63, 13, 71, 59, 60, 29, 64, 52, 35, 51, 18, 26, 41, 104, 24, 37, 45, 53, 64, 58, 93, 52, 78, 40, 1],
    [39, 51, 47, 42, 38, 54, 56, 67, 52, 73, 49, 49, 58, 49, 56, 44, 101, 63, 49, 37, 67, 48, 55, 99, 48, 60, 53, 175],
];

/// More bits a step than this are no language; of 10,000 pieces of 300 characters fewer than one
/// has more.
const MOST_BITS: f32 = 2.75;

/// The same for a single line, of which there is less to go by.
const MOST_BITS_OF_LINE: f32 = 3.0;

/// Fewer letters say nothing.
const FEW_LETTERS: u32 = 40;
const FEW_LETTERS_OF_LINE: u32 = 20;

/// What it takes to say which letter comes next.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    sixteenths: u32,
    steps: u32,
    letters: u32,
    accented: u32,
    /// Those that are the same as the one before.
    repeated: u32,
    /// Letters of other scripts, which are not judged.
    foreign: u32,
    /// Marks and digits.
    others: u32,
    /// Codes without meaning.
    meaningless: u32,
}

impl Cost {
    fn of(characters: impl Iterator<Item = char>) -> Self {
        let mut cost = Self::default();
        let mut before = NO_LETTER;
        for c in characters {
            let class = class(c);
            match class {
                NO_LETTER if is_meaningless(c) => cost.meaningless += 1,
                NO_LETTER if c.is_alphabetic() => cost.foreign += 1,
                NO_LETTER if !c.is_whitespace() => cost.others += 1,
                NO_LETTER => {}
                ACCENTED => (cost.letters, cost.accented) = (cost.letters + 1, cost.accented + 1),
                _ => cost.letters += 1,
            }
            cost.repeated += u32::from(before == class && class < ACCENTED);
            if (before, class) != (NO_LETTER, NO_LETTER) {
                cost.sixteenths += u32::from(BITS[before][class]);
                cost.steps += 1;
            }
            before = class;
        }
        cost
    }

    /// Bits a step from one letter, or end of a word, to the next.
    fn bits(&self) -> f32 {
        self.sixteenths as f32 / 16.0 / self.steps.max(1) as f32
    }

    fn characters(&self) -> u32 {
        self.letters + self.foreign + self.others + self.meaningless
    }

    fn is_no_language(&self, few: u32, most_bits: f32) -> bool {
        let is_latin = self.letters >= few && self.letters > self.foreign;
        is_latin
            && (self.bits() > most_bits
                || self.accented * 5 > self.letters * 3
                || self.repeated * 2 > self.letters)
    }

    fn is_meaningless(&self) -> bool {
        const FEW: u32 = 8;
        // A bullet may stand alone on a slide.
        const HARDLY_ANY: u32 = 3;
        (self.meaningless >= FEW && self.meaningless * 5 >= self.characters())
            || (self.meaningless >= HARDLY_ANY && self.meaningless * 2 > self.characters())
    }
}

fn class(c: char) -> usize {
    match c {
        'a'..='z' => c as usize - 'a' as usize,
        'A'..='Z' => c as usize - 'A' as usize,
        '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' if c.is_alphabetic() => ACCENTED,
        _ => NO_LETTER,
    }
}

/// Codes that no font draws alike: private ones, the mark for what could not be read, controls.
fn is_meaningless(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'.. | '\u{FFFD}' | '\u{80}'..='\u{9F}')
        || (c.is_control() && !c.is_whitespace())
}

/// Whether a good part of a page's text is codes without meaning.
pub(crate) fn is_meaningless_text(text: &str) -> bool {
    Cost::of(text.chars()).is_meaningless()
}

/// Whether many words of scripts other than Latin have a small letter before a capital: tables that
/// are wrong do not keep them apart.
fn mixes_cases(text: &str) -> bool {
    const FEW: usize = 8;
    let is_foreign = |word: &&str| word.chars().any(|c| c.is_alphabetic() && c as u32 >= 0x370);
    let is_mixed = |word: &&str| {
        let letters = word.chars().zip(word.chars().skip(1));
        letters.into_iter().any(|(before, c)| before.is_lowercase() && c.is_uppercase())
    };
    let words = text.split(|c: char| !c.is_alphabetic()).filter(is_foreign);
    let (mut all, mut mixed) = (0, 0);
    for word in words {
        all += 1;
        mixed += usize::from(is_mixed(&word));
    }
    mixed >= FEW && mixed * 3 > all
}

/// Whether a good part of a page's text is no language, so that its picture says more.
pub(crate) fn is_garbled(text: &str) -> bool {
    let whole = Cost::of(text.chars());
    if whole.is_meaningless() || mixes_cases(text) {
        return true;
    }
    if whole.is_no_language(FEW_LETTERS, MOST_BITS) {
        return true;
    }
    // Often one font of several is to blame: the body, while headings are fine.
    let lines = text.lines().map(|line| Cost::of(line.chars()));
    let no_language: u32 = lines
        .filter(|line| line.is_no_language(FEW_LETTERS_OF_LINE, MOST_BITS_OF_LINE))
        .map(|line| line.letters)
        .sum();
    no_language >= FEW_LETTERS && no_language * 3 > whole.letters
}

/// Whether a text may be what a font with a wrong table makes of words, and may be a table of
/// numbers, a list of codes or the name of a place as well. Only the picture of the page tells.
pub(crate) fn is_doubtful(text: &str) -> bool {
    let whole = Cost::of(text.chars());
    is_short_and_no_language(&whole) || is_of_unusual_letters(text) || is_of_marks(text, &whole)
}

/// Whether some lines of a text are no language, as those in one font of several are, too few to
/// distrust the rest. Of 751 pages of real documents four have as many.
pub(crate) fn has_doubtful_lines(text: &str) -> bool {
    const FEW: u32 = 16;
    let whole = Cost::of(text.chars());
    let in_doubt: u32 = text
        .lines()
        .map(|line| {
            let cost = Cost::of(line.chars());
            let is_in_doubt = cost.is_no_language(FEW, MOST_BITS_OF_LINE)
                || cost.is_meaningless()
                || is_of_unusual_letters(line)
                || has_odd_marks(line, &cost);
            if is_in_doubt { cost.characters() } else { 0 }
        })
        .sum();
    in_doubt > 0 && in_doubt * 8 > whole.characters()
}

/// Too few letters for [`is_garbled`], that follow each other as no language has them. Of short
/// pieces of language one in thirty does.
fn is_short_and_no_language(whole: &Cost) -> bool {
    const FEW: u32 = 8;
    (FEW..FEW_LETTERS).contains(&whole.letters)
        && whole.letters > whole.foreign
        && whole.is_no_language(FEW, MOST_BITS_OF_LINE)
}

/// Han or Hangul, a good part of which hardly anybody writes: of those that are chosen at random two
/// thirds are of that kind, of a page in any language one in thirty.
fn is_of_unusual_letters(text: &str) -> bool {
    const FEW: usize = 6;
    let is_ideograph = |c: &char| matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}');
    let (mut all, mut unusual) = (0, 0);
    for c in text.chars().filter(is_ideograph) {
        all += 1;
        unusual += usize::from(USUAL_LETTERS.binary_search(&c).is_err());
    }
    all >= FEW && unusual * 5 > all * 2
}

/// Hardly a letter: digits alone, or marks.
fn is_of_marks(text: &str, whole: &Cost) -> bool {
    const FEW_DIGITS: usize = 16;
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let letters = (whole.letters + whole.foreign) as usize;
    (digits >= FEW_DIGITS && letters * 10 < digits) || has_odd_marks(text, whole)
}

/// Whether a good part of a text is marks that stand neither in numbers nor at the ends of words.
fn has_odd_marks(text: &str, whole: &Cost) -> bool {
    const FEW: usize = 6;
    let is_odd = |c: char| "!\"#$&'*+;<=>?@[\\]^_`{|}~".contains(c);
    // A line of equal marks is a line.
    let before = std::iter::once(' ').chain(text.chars());
    let odd = before.zip(text.chars()).filter(|&(before, c)| is_odd(c) && before != c).count();
    odd >= FEW && odd * 3 > whole.characters() as usize
}

/// The letters of the first levels of GB 2312, Big 5 and JIS X 0208, and those of KS X 1001.
static USUAL_LETTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
    include_str!("usual_letters.txt").chars().filter(|c| !c.is_whitespace()).collect()
});

/// The text that garbled text was before all its codes were moved by one number; `None` when no
/// number makes language of it.
pub(crate) fn moved_back(text: &str) -> Option<String> {
    /// So much is looked at for each number.
    const SAMPLE: usize = 1_500;
    /// The farthest that tables are off: numbers of glyphs begin some thirty before the letters.
    const FAR: i32 = 96;
    let moved = |by: i32| {
        move |c: char| match c {
            '\n' | '\r' => c,
            c if (c as u32) < 0x250 => {
                u32::try_from(c as i32 + by).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}')
            }
            c => c,
        }
    };
    let best = (-FAR..=FAR).filter(|by| *by != 0).map(|by| {
        let cost = Cost::of(text.chars().take(SAMPLE).map(moved(by)));
        (cost, by)
    });
    // Less than what passes for language elsewhere: each of the numbers has its chance.
    const MOST_BITS_MOVED: f32 = 2.55;
    let is_language = |cost: &Cost| {
        cost.letters >= FEW_LETTERS
            && !cost.is_no_language(FEW_LETTERS, MOST_BITS_MOVED)
            && cost.meaningless == 0
            // Other numbers make marks of most letters.
            && cost.letters * 10 >= cost.characters() * 7
    };
    let best = best.filter(|(cost, _)| is_language(cost));
    let (_, by) = best.min_by(|(one, _), (other, _)| one.bits().total_cmp(&other.bits()))?;
    Some(text.chars().map(moved(by)).collect())
}

/// The words of a text in small letters, of two letters or digits and more.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().nth(1).is_some())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "Annual maintenance of hydraulic turbines\nThe Kaplan's rotor stands in \
        Bay 4\nand the spillway gates were repaired last autumn by the owner";
    const OTHERS: [&str; 8] = [
        "Der Hochwasserschutz wurde im Frühjahr überprüft, die Schützen öffnen wieder störungsfrei",
        "L'entreprise a vérifié les vannes du barrage et réparé la turbine avant l'été, sans délai",
        "Żółta łódź płynęła po jeziorze, a żeglarze śpiewali pieśni o dawnych przygodach i burzach",
        "Příliš žluťoučký kůň úpěl ďábelské ódy a všichni sousedé si mysleli, že je to docela krásné",
        "Árvíztűrő tükörfúrógép: a magyar nyelv minden ékezetes betűje benne van ebben a mondatban",
        "Việt Nam đất nước ta ơi, mênh mông biển lúa đâu trời đẹp hơn, cánh cò bay lả rập rờn",
        "Türkiye'nin güneydoğusunda yağışlar başladı; çiftçiler şimdiden ekim için hazırlık yapıyor",
        "Высота плотины составляет двести метров, а длина водохранилища около ста километров",
    ];

    fn moved(text: &str, by: i32) -> String {
        let moved = |c: char| char::from_u32((c as i32 + by) as u32).unwrap();
        text.chars().map(|c| if c == '\n' { c } else { moved(c) }).collect()
    }

    #[test]
    fn language_is_language() {
        assert!(!is_garbled(ENGLISH));
        for text in OTHERS {
            assert!(!is_garbled(text), "{text} {:?}", Cost::of(text.chars()));
        }
        for text in ["", "4711", "12.50 13.75 99.00 1,000.00", "日本語の文書を検索する。", "- 3 -"]
        {
            assert!(!is_garbled(text), "{text}");
        }
    }

    #[test]
    fn moved_letters_are_none_and_are_moved_back() {
        // Without the apostrophe, which would be a line break 29 codes before.
        let english = ENGLISH.replace('\'', "");
        for by in [1, 2, 3, 4, 5, -1, -3, 29, -29] {
            let text = moved(&english, by);
            if by.abs() < 20 || by < 0 {
                assert!(is_garbled(&text), "{by}: {text} {:?}", Cost::of(text.chars()));
            }
            assert_eq!(moved_back(&text).as_ref(), Some(&english), "{by}");
        }
        assert_eq!(moved_back("xq zvk 17 jj qqq wvx zzxq jqx kkq vvz xjq zqj qwv xzj qvq"), None);
    }

    #[test]
    fn codes_without_meaning_are_none() {
        let private: String =
            ENGLISH.chars().map(|c| if c.is_alphabetic() { '\u{E012}' } else { c }).collect();
        assert!(is_garbled(&private));
        assert!(is_garbled(&"\u{FFFD}\u{FFFD}\u{FFFD} ".repeat(5)));
        assert!(!is_garbled(&format!("{ENGLISH} \u{FFFD}\u{E000}")));
        // All letters are one, and Cyrillic ones are any.
        assert!(is_garbled(&"AAA AAAAA AAAAAAA AAAAAA AAAA AA AAAAA AAAA ".repeat(2)));
        assert!(is_garbled(
            "дИщ еккщЭ ЧНДпИщж ящъОщф ющжжщЬ ялЙр лж юеяД феЭя ежф кълДИщъ ЕкщжеДИЭ"
        ));
        assert!(!is_garbled("Отчёт компании ЛукОйл и ГазПром о РосНефти для налогового органа РФ"));
        // Bytes of Cyrillic read as Latin 1.
        assert!(is_garbled("Âûñîòà ïëîòèíû ñîñòàâëÿåò äâåñòè ìåòðîâ, à äëèíà âîäîõðàíèëèùà"));
    }

    #[test]
    fn little_text_may_be_anything() {
        let short =
            ["Annual Report 2023", "The spillway gates", "Überprüfung der Schützen", "Contents"];
        for text in short {
            assert!(!is_doubtful(text), "{text} {:?}", Cost::of(text.chars()));
            let moved = moved(text, 3);
            assert!(text == "Contents" || is_doubtful(&moved), "{moved}");
        }
        for text in OTHERS.into_iter().chain([
            ENGLISH,
            "",
            "- 3 -",
            "日本語の文書を検索する。株式会社山田製作所",
            "财务报表附注及审计意见",
            "財務報表附註及審計意見",
            "서울특별시 지하철 노선도 안내",
            "Name: ____________________ Date: ________ [x] yes [ ] no",
            "Revenue 12.50 13.75 99.00 1,000.00 14.25",
            "4711",
        ]) {
            assert!(!is_doubtful(text), "{text}");
        }
        for text in [
            // Han and Hangul from anywhere.
            "乤乥乧乪乮乯乲乴乷",
            "갂갃갅갌갎갏갢갣",
            // Capitals that are moved down, and letters that are digits.
            "+\"<)%$8'/*& *&%(#$*[]",
            "1842 9300 17 4429 8163 0277",
        ] {
            assert!(is_doubtful(text), "{text}");
        }
        assert!(is_garbled("\u{E012}\u{E013} \u{E014}"));
        assert!(!is_garbled("\u{F0B7} Agenda"));
    }

    #[test]
    fn a_line_in_another_font_may_be_in_doubt() {
        let body = "The members discussed the pruning of hedges and the purchase of a wheelbarrow \
            for the lower terrace, and promised to bring seedlings of cabbage on Friday";
        for line in [
            moved("Annual maintenance of turbines", 3),
            "\u{E012}".repeat(24),
            "乤乥乧乪 乮乯乲乴 乷乺乻乼 乽乿亀亁 亄亅乤乥 乧乪乮乯".into(),
            "$<<^%: ;%-<])<%<') =* ,}(@%^:-' ]^@&-<)[".into(),
        ] {
            let text = format!("{line}\n{body}");
            assert!(!is_garbled(&text) && has_doubtful_lines(&text), "{text}");
        }
        for text in [ENGLISH, "", "Agenda\n\u{F0B7} first\n\u{F0B7} second\n\u{F0B7} third"] {
            assert!(!has_doubtful_lines(text), "{text}");
        }
    }

    #[test]
    fn one_font_of_two_is_enough() {
        let body = moved(&ENGLISH.replace('\n', " "), 3);
        assert!(is_garbled(&format!("Report of the year\n{body}")));
        let heading = moved("Report of the year for all owners", 3);
        let text = format!("{heading}\n{ENGLISH}\n{ENGLISH}");
        assert!(!is_garbled(&text), "{:?}", Cost::of(text.chars()));
    }
}
