//! Text into pieces: what a language does to a word comes later, so that a question is cut in the
//! same places whatever languages it is read in.
//!
//! * Words end at spaces and marks. An apostrophe is looked into (l'entreprise, O'Brien, don't), and
//!   a colon or full stop without a space after it parts words as one with a space does.
//! * Codes are found whole and by their parts: 10-K, FY2023, SG&A, parse_config_file, userAccountId.
//! * Han, kana and Hangul, and Thai, Lao, Khmer and Burmese, have no spaces to cut at: overlapping
//!   pairs of letters keep their order, and need no dictionary that knows every name. They go on
//!   across the end of a line.
//! * A hyphen at the end of a line may be the word's or the line's: both readings are kept.

use std::collections::HashMap;
use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

use super::letters::{BREAK, GROUP_SPACE, Letter, letters};
use super::numbers::{Marked, marked};

/// What is looked up as one, before it has a stem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Lower case, with its accents.
    pub form: String,
    pub kind: Kind,
    /// Where it stands in the text, bytes.
    pub range: Range<usize>,
    /// Counts the words of the text; a code and its first part share one.
    pub position: u32,
    /// Of something that is a piece as a whole, too.
    pub is_part: bool,
    /// All of its letters are capitals: a name in a question that is not.
    pub is_capitals: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, or letters and digits.
    Word,
    /// Digits and at most one point; and what else its marks may mean.
    Number { other: Option<String> },
    /// Digits with spaces between them, which may be one number or several; and what the number may
    /// be written as, too.
    Spaced { other: Option<String> },
    /// A word with a sign that makes it another one (C++, C#, .NET, A+), and the word.
    Signed { word: String },
    /// Two letters of a script without spaces, or one that stands alone.
    Pair,
    /// The last letter of a run of pairs, so that one letter can be asked for.
    End,
}

/// Longer runs of letters are data (base64, URLs without breaks), not words.
const MAX_CHARS: usize = 64;

/// Longer runs with the marks of a code are none.
const MAX_CODE_CHARS: usize = 32;

/// Words that lose their vowel to the next one's, with an apostrophe in its place: French, Italian,
/// Catalan.
const ELIDED: [&str; 34] = [
    "l", "d", "j", "m", "t", "s", "n", "c", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu", "quelqu",
    "presqu", "un", "all", "dall", "dell", "nell", "sull", "coll", "quell", "quest", "bell",
    "sant", "gl", "v", "dov", "com", "cos", "anch", "tutt", "nient",
];

/// Ends of English words after an apostrophe that are words of their own.
const ENCLITIC: [&str; 6] = ["s", "d", "ll", "re", "ve", "m"];

/// The pieces of `text`, and how many words it has.
pub(super) fn cut(text: &str) -> (Vec<Piece>, u32) {
    let letters = letters(text);
    let (letters, spaced) = joined(&letters);
    let mut cutter = Cutter { pieces: Vec::new(), position: 0 };
    let mut at = 0;
    while at < letters.len() {
        if is_break(letters[at].c) {
            at += 1;
            continue;
        }
        if is_pictograph(letters[at].c) {
            cutter.push(&letters[at..=at], Kind::Word, false);
            cutter.position += 1;
            at += 1;
            continue;
        }
        let unspaced = is_unspaced(letters[at].c);
        let same = |letter: &Letter| {
            let marks = is_combining_mark(letter.c);
            let ends = is_break(letter.c) || is_pictograph(letter.c);
            !ends && (marks || is_unspaced(letter.c) == unspaced)
        };
        let len = letters[at..].iter().take_while(|letter| same(letter)).count().max(1);
        let run = &letters[at..at + len];
        if unspaced {
            cutter.pairs(run);
        } else {
            cutter.run(run, &spaced, at);
        }
        at += len;
    }
    (cutter.pieces, cutter.position)
}

/// Numbers that may go on across spaces: where they begin, and the number with its letters.
type Spaced = HashMap<usize, (String, Range<usize>)>;

/// Takes out the ends of lines and the spaces that are within a word or a number.
fn joined(letters: &[Letter]) -> (Vec<Letter>, Spaced) {
    let (mut out, mut spaced) = (Vec::with_capacity(letters.len()), HashMap::new());
    // Letters of a script without spaces since the last space, and whether it was taken out.
    let (mut run, mut loose) = (0, false);
    let (mut at, mut number_end) = (0, 0);
    while at < letters.len() {
        let letter = letters[at];
        let before = out.last().map(|letter: &Letter| letter.c);
        if letter.c.is_ascii_digit() && before.is_none_or(begins_number) {
            let group = (at >= number_end).then(|| grouped(&letters[at..])).flatten();
            if let Some(group) = group {
                if group.by == GROUP_SPACE {
                    let digits = letters[at..at + group.len].iter();
                    out.extend(digits.filter(|letter| letter.c != GROUP_SPACE));
                    at += group.len;
                    continue;
                }
                number_end = at + group.len;
                let range = Letter::range(&letters[at..number_end]);
                spaced.insert(out.len(), (group.number, range));
            }
            // All digits at once: a number does not begin within one.
            let digits = letters[at..].iter().take_while(|letter| letter.c.is_ascii_digit());
            out.extend(digits.copied());
            at += letters[at..].iter().take_while(|letter| letter.c.is_ascii_digit()).count();
            (run, loose) = (0, false);
            continue;
        }
        // Some programs write ¬ for a hyphen that is the line's.
        let hyphen = matches!(letter.c, '-' | '¬') && before.is_some_and(char::is_alphabetic);
        if hyphen || letter.c == BREAK {
            let gap = Gap::at(letters, at + 1);
            let goes_on = gap.next.is_some_and(|next| next.c.is_alphabetic());
            if goes_on && (gap.lines == 1 || (letter.c == BREAK && gap.len == 0)) {
                out.push(Letter { c: BREAK, ..letter });
                at += 1 + gap.len;
                continue;
            }
        }
        let gap = Gap::at(letters, at);
        if gap.len == 0 {
            at += 1;
            match letter.c {
                // Marks between the words of scripts that have no spaces; a joiner elsewhere.
                '\u{200B}' if before.is_some_and(is_syllabic) => continue,
                '\u{200C}' if before.is_none_or(|c| !('\u{600}'..='\u{6FF}').contains(&c)) => {
                    continue;
                }
                _ => {}
            }
            out.push(letter);
            run = if is_unspaced(letter.c) { run + 1 } else { 0 };
            loose &= run > 0;
            continue;
        }
        let after = &letters[at + gap.len..];
        if let (Some(before), Some(next)) = (before, gap.next)
            && is_unspaced(before)
            && is_unspaced(next.c)
            && goes_on(before, next.c, &gap, run, loose, after)
        {
            (run, loose) = (0, gap.lines == 0);
        } else {
            out.extend(&letters[at..at + gap.len]);
            (run, loose) = (0, false);
        }
        at += gap.len;
    }
    (out, spaced)
}

/// White space between letters.
struct Gap {
    /// Its letters.
    len: usize,
    /// Lines that end in it.
    lines: usize,
    next: Option<Letter>,
}

impl Gap {
    fn at(letters: &[Letter], at: usize) -> Self {
        let rest = letters.get(at..).unwrap_or_default();
        let len = rest.iter().take_while(|letter| letter.c.is_whitespace()).count();
        let lines = rest[..len].iter().filter(|letter| letter.c == '\n').count();
        Self { len, lines, next: rest.get(len).copied() }
    }
}

/// Whether a word of a script without spaces goes on after a gap: at the end of a line, and where
/// letters are set apart. Korean has spaces, so a line that ends with one ends a word.
fn goes_on(before: char, next: char, gap: &Gap, run: usize, loose: bool, after: &[Letter]) -> bool {
    let hangul = is_hangul(before) || is_hangul(next);
    match gap.lines {
        0 if is_syllabic(before) || is_syllabic(next) => false,
        0 => {
            let following = after.iter().take_while(|letter| is_unspaced(letter.c)).count();
            let then = Gap::at(after, following);
            let single_then = then.len > 0
                && then.next.is_some_and(|letter| is_hangul(letter.c))
                && !after.get(following + then.len + 1).is_some_and(|l| is_unspaced(l.c));
            if hangul {
                run == 1 && following == 1 && (loose || single_then)
            } else {
                run == 1 || following == 1
            }
        }
        1 => !hangul || gap.len == 1,
        _ => false,
    }
}

/// Digits in groups.
struct Group {
    number: String,
    by: char,
    len: usize,
}

/// A number whose digits stand in threes with spaces between: 1 234 567,89.
fn grouped(letters: &[Letter]) -> Option<Group> {
    let digits = |at: usize| {
        let rest = letters.get(at..).unwrap_or_default();
        rest.iter().take_while(|letter| letter.c.is_ascii_digit()).count()
    };
    let c = |at: usize| letters.get(at).map(|letter: &Letter| letter.c);
    let mut len = digits(0);
    if !(1..=3).contains(&len) || c(0) == Some('0') {
        return None;
    }
    let by = c(len).filter(|&c| c == GROUP_SPACE || c == ' ')?;
    let mut number: String = letters[..len].iter().map(|letter| letter.c).collect();
    let first = len;
    while c(len) == Some(by) && digits(len + 1) == 3 {
        number.extend(letters[len + 1..len + 4].iter().map(|letter| letter.c));
        len += 4;
    }
    if len == first || c(len).is_some_and(char::is_alphabetic) {
        return None;
    }
    if matches!(c(len), Some('.' | ',')) && digits(len + 1) > 0 && by != GROUP_SPACE {
        let fraction = digits(len + 1);
        number.push('.');
        number.extend(letters[len + 1..len + 1 + fraction].iter().map(|letter| letter.c));
        len += 1 + fraction;
    }
    Some(Group { number, by, len })
}

/// Whether a number may begin after `c`.
fn begins_number(c: char) -> bool {
    !c.is_alphanumeric() && !matches!(c, '.' | ',' | '\'' | GROUP_SPACE)
}

/// Pictures among letters, each of which is a word: 🚀.
fn is_pictograph(c: char) -> bool {
    matches!(c as u32, 0x1F300..=0x1F3FA | 0x1F400..=0x1FAFF)
}

/// Spaces, controls, and the invisible marks around words (reading directions).
fn is_break(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn is_hangul(c: char) -> bool {
    matches!(c as u32, 0xAC00..=0xD7AF | 0x1100..=0x11FF | 0x3131..=0x318E)
}

/// Thai, Lao, Burmese, Khmer.
fn is_syllabic(c: char) -> bool {
    matches!(c as u32, 0xE00..=0xEFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F)
        && (c.is_alphanumeric() || is_combining_mark(c))
        && !c.is_ascii_digit()
}

/// Letters of scripts that have no spaces between words, or none to rely on.
fn is_unspaced(c: char) -> bool {
    is_syllabic(c)
        || is_hangul(c)
        || matches!(c as u32,
            0x3041..=0x3096 | 0x3099 | 0x309A | 0x309D..=0x309F | 0x30A1..=0x30FA | 0x30FC..=0x30FF
            | 0x31F0..=0x31FF | 0x3105..=0x312F | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF
            | 0x20000..=0x3134F | 0x3005..=0x3007)
}

struct Cutter {
    pieces: Vec<Piece>,
    position: u32,
}

impl Cutter {
    fn push(&mut self, letters: &[Letter], kind: Kind, is_part: bool) {
        let form: String = letters.iter().flat_map(|letter| letter.c.to_lowercase()).collect();
        self.push_form(form, letters, kind, is_part);
    }

    fn push_form(&mut self, form: String, letters: &[Letter], kind: Kind, is_part: bool) {
        if form.is_empty() || form.chars().count() > MAX_CHARS {
            return;
        }
        let is_capitals = letters.len() > 1 && letters.iter().all(|letter| letter.c.is_uppercase());
        let (range, position) = (Letter::range(letters), self.position);
        self.pieces.push(Piece { form, kind, range, position, is_part, is_capitals });
    }

    /// Overlapping pairs; a letter alone where there is one.
    fn pairs(&mut self, run: &[Letter]) {
        let begins = |&i: &usize| i == 0 || !is_combining_mark(run[i].c);
        let mut units: Vec<usize> = (0..run.len()).filter(begins).collect();
        units.push(run.len());
        let count = units.len() - 1;
        for i in 0..count.max(2) - 1 {
            self.push(&run[units[i]..units[(i + 2).min(count)]], Kind::Pair, false);
            self.position += 1;
        }
        if count > 1 {
            self.position -= 1;
            self.push(&run[units[count - 1]..], Kind::End, false);
            self.position += 1;
        }
    }

    /// Letters without a space between them, `at` of all.
    fn run(&mut self, run: &[Letter], spaced: &Spaced, at: usize) {
        let items = items(run);
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return };
        #[expect(clippy::single_range_in_vec_init, reason = "ranges of letters, here one")]
        let mut wholes = vec![first.start..last.end];
        if run[first.start..last.end].iter().any(|letter| letter.c == '/') {
            wholes.extend(
                items
                    .chunk_by(|a, b| !run[a.end..b.start].iter().any(|letter| letter.c == '/'))
                    .map(|part| part[0].start..part[part.len() - 1].end),
            );
            wholes.dedup();
        }
        for item in &items {
            let whole = |whole: &&Range<usize>| {
                whole.start == item.start && whole.end > item.end && is_code(&run[(*whole).clone()])
            };
            for whole in wholes.iter().filter(whole) {
                let whole = &run[whole.clone()];
                let letters = whole.iter().filter(|letter| letter.c.is_alphanumeric());
                let form = letters.flat_map(|letter| letter.c.to_lowercase()).collect();
                self.push_form(form, whole, Kind::Word, false);
            }
            let is_part = wholes.iter().any(|whole| {
                whole.start <= item.start
                    && item.end <= whole.end
                    && whole.len() > item.len()
                    && is_code(&run[whole.clone()])
            });
            if let Some((number, range)) = spaced.get(&(at + item.start)) {
                let piece = Piece {
                    form: number.clone(),
                    kind: Kind::Spaced { other: other_form(number) },
                    range: range.clone(),
                    position: self.position,
                    is_part: false,
                    is_capitals: false,
                };
                self.pieces.push(piece);
            }
            if let Some(version) = version(&run[item.start..]) {
                let position = self.position;
                self.number(version, true);
                self.position = position;
            }
            let letters = &run[item.clone()];
            let pointed = pointed(run, item);
            if let Some(number) = &pointed {
                let other = without_noughts(number);
                let letters = &run[item.start - 1..item.end];
                self.push_form(number.clone(), letters, Kind::Number { other }, false);
            }
            let is_part = is_part || pointed.is_some();
            if letters[0].c.is_ascii_digit() && letters.iter().any(|l| ",.'".contains(l.c)) {
                self.number(letters, is_part);
            } else {
                let sign = run[item.end..].iter().take_while(|l| "+#♯".contains(l.c)).count();
                let after = run.get(item.end + sign).map(|letter| letter.c);
                // C++11 is C++ of a year.
                let ends = after.is_none_or(|c| !c.is_alphabetic());
                let is_short_name = letters.len() <= 3
                    && letters.iter().all(|letter| letter.c.is_ascii_uppercase());
                match (sign, run.get(item.end).map(|letter| letter.c)) {
                    _ if is_dot_net(run, item) => self.dot_net(letters),
                    (2, Some('+')) if ends && letters.len() <= 12 => self.signed(letters, "++"),
                    (1, Some('#' | '♯')) if ends && letters.len() <= 2 => {
                        self.signed(letters, "#")
                    }
                    (1, Some('+'))
                        if is_short_name && after.is_none_or(|c| !c.is_alphanumeric()) =>
                    {
                        self.signed(letters, "+")
                    }
                    _ => self.word(letters, is_part),
                }
            }
        }
    }

    fn signed(&mut self, letters: &[Letter], sign: &str) {
        let word: String = letters.iter().flat_map(|letter| letter.c.to_lowercase()).collect();
        self.push_form(format!("{word}{sign}"), letters, Kind::Signed { word }, false);
        self.position += 1;
    }

    fn dot_net(&mut self, letters: &[Letter]) {
        self.push_form(".net".into(), letters, Kind::Signed { word: "net".into() }, false);
        self.position += 1;
    }

    /// Digits with marks between them.
    fn number(&mut self, letters: &[Letter], is_part: bool) {
        let text: String = letters.iter().map(|letter| letter.c).collect();
        let marks: Vec<char> = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let groups: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).collect();
        // ASCII: a byte a letter.
        let place = |group: &str| {
            let start = group.as_ptr() as usize - text.as_ptr() as usize;
            start..start + group.len()
        };
        match marked(&groups, &marks) {
            Marked::Number { number, other } => {
                let other = other.or_else(|| without_noughts(&number));
                self.push_form(number, letters, Kind::Number { other }, is_part);
            }
            Marked::Dotted(form) => {
                self.push_form(form, letters, Kind::Word, is_part);
                // The year of a date.
                for group in groups.iter().filter(|group| group.len() >= 4) {
                    self.push(&letters[place(group)], Kind::Word, true);
                }
            }
            Marked::List => {
                for group in &groups {
                    self.push(&letters[place(group)], Kind::Number { other: None }, is_part);
                    self.position += 1;
                }
                return;
            }
        }
        self.position += 1;
    }

    /// Letters and digits with apostrophes and ends of lines within.
    fn word(&mut self, letters: &[Letter], is_part: bool) {
        let start = self.position;
        if !letters.iter().any(|letter| letter.c == BREAK) {
            return self.apostrophes(letters, is_part);
        }
        let whole: Vec<Letter> = letters.iter().filter(|l| l.c != BREAK).copied().collect();
        self.apostrophes(&whole, is_part);
        let end = self.position;
        for part in letters.split(|letter| letter.c == BREAK).filter(|part| !part.is_empty()) {
            self.position = start;
            self.apostrophes(part, true);
        }
        self.position = end;
    }

    fn apostrophes(&mut self, letters: &[Letter], is_part: bool) {
        let lower = |part: &[Letter]| -> String {
            part.iter().flat_map(|letter| letter.c.to_lowercase()).collect()
        };
        let mut parts: Vec<&[Letter]> = letters.split(|letter| is_inner(letter.c)).collect();
        if parts.len() == 1 {
            return self.cases(letters, is_part);
        }
        let solid = matches!(letters[0].c as u32, 0x400..=0x52F | 0x590..=0x5FF);
        let without: Vec<Letter> = letters.iter().filter(|l| !is_inner(l.c)).copied().collect();
        if solid || lower(parts[parts.len() - 1]) == "t" {
            return self.cases(&without, is_part);
        }
        if ENCLITIC.contains(&lower(parts[parts.len() - 1]).as_str()) {
            let last = parts.pop().expect("there are two");
            let rest = &letters[..letters.len() - last.len() - 1];
            return self.apostrophes(rest, is_part);
        }
        let (first, second) = (parts[0], parts[1]);
        let all_capitals = letters.iter().all(|l| l.c.is_uppercase() || is_inner(l.c));
        let name = first[0].c.is_uppercase() && second[0].c.is_uppercase() && !all_capitals;
        if ELIDED.contains(&lower(first).as_str()) && !name {
            return self.apostrophes(&letters[first.len() + 1..], is_part);
        }
        let start = self.position;
        self.push(&without, Kind::Word, is_part);
        for part in parts.into_iter().filter(|part| part.len() > 1) {
            self.cases(part, true);
        }
        self.position = self.position.max(start + 1);
    }

    /// A word, and its parts where its letters change case or to digits.
    fn cases(&mut self, letters: &[Letter], is_part: bool) {
        self.push(letters, Kind::Word, is_part);
        let parts = case_runs(letters);
        if parts.len() > 1 {
            for part in parts {
                let part = &letters[part];
                if part.len() > 1 || part[0].c.is_ascii_digit() || part[0].c.is_uppercase() {
                    self.push(part, Kind::Word, true);
                    self.position += 1;
                }
            }
        } else {
            self.position += 1;
        }
    }
}

/// The name of a platform that begins with a full stop, and is not the end of a host's.
fn is_dot_net(run: &[Letter], item: &Range<usize>) -> bool {
    let c = |at: usize| run[at].c.to_ascii_lowercase();
    let is_net = item.len() == 3 && item.clone().map(c).eq("net".chars());
    is_net
        && item.start > 0
        && c(item.start - 1) == '.'
        && (item.start == 1 || !c(item.start - 2).is_alphanumeric())
}

/// The number of a version at the beginning of `run`, which has a v before it: v2.10.3.
fn version(run: &[Letter]) -> Option<&[Letter]> {
    let (_, rest) = run.split_first().filter(|(first, _)| "vV".contains(first.c))?;
    let is_digit = |at: usize| rest.get(at).is_some_and(|letter| letter.c.is_ascii_digit());
    let is_mark =
        |at: usize| rest.get(at).is_some_and(|letter| letter.c == '.') && is_digit(at + 1);
    let len = (0..rest.len()).take_while(|&at| is_digit(at) || (at > 0 && is_mark(at))).count();
    rest[..len].iter().any(|letter| letter.c == '.').then_some(&rest[..len])
}

/// A number without the noughts at its end: 12.50 is also asked for as 12.5, and an amount as 1250000
/// that is 1250000.00. Of 2.0 the nought is kept: it is a version or a chapter more often.
fn without_noughts(number: &str) -> Option<String> {
    let (whole, fraction) = number.split_once('.')?;
    let short = fraction.trim_end_matches('0');
    if short.len() == fraction.len() || fraction.contains('.') {
        None
    } else if !short.is_empty() {
        Some(format!("{whole}.{short}"))
    } else {
        (fraction.len() == 2 && !whole.starts_with('0')).then(|| whole.to_string())
    }
}

/// A number that begins with its point, as .80 does, which is written 0.80, too. The points before a
/// number in a table of contents are many.
fn pointed(run: &[Letter], item: &Range<usize>) -> Option<String> {
    let c = |at: usize| run[at].c;
    let is_number = run[item.clone()].iter().all(|letter| letter.c.is_ascii_digit());
    let is_pointed = is_number
        && item.start > 0
        && c(item.start - 1) == '.'
        && (item.start == 1 || !(c(item.start - 2).is_alphanumeric() || c(item.start - 2) == '.'));
    is_pointed.then(|| {
        std::iter::once("0.".to_string())
            .chain(run[item.clone()].iter().map(|l| l.c.into()))
            .collect()
    })
}

/// What a number with spaces between its digits is, too: 98 765 is written 98.765 where a full stop
/// groups, and 250 000,00 without its noughts.
fn other_form(number: &str) -> Option<String> {
    if number.contains('.') {
        return without_noughts(number);
    }
    let (first, last) = number.split_at(number.len().checked_sub(3)?);
    (first.len() <= 3).then(|| format!("{first}.{last}"))
}

/// An apostrophe or, in Hebrew, a quotation mark.
fn is_inner(c: char) -> bool {
    matches!(c, '\'' | '`' | '"')
}

/// Words and numbers of a run without spaces, by their place in it.
fn items(run: &[Letter]) -> Vec<Range<usize>> {
    let is_word = |at: usize| {
        run.get(at).is_some_and(|letter: &Letter| {
            letter.c.is_alphanumeric() || (at > 0 && is_combining_mark(letter.c))
        })
    };
    let is_digit = |at: usize| run.get(at).is_some_and(|letter: &Letter| letter.c.is_ascii_digit());
    let is_letter = |at: usize| is_word(at) && !is_digit(at);
    let mut items = Vec::new();
    let mut at = 0;
    while at < run.len() {
        let start = at;
        if is_digit(at) {
            let mut end = at;
            loop {
                while is_digit(end) {
                    end += 1;
                }
                let mark = run.get(end).is_some_and(|letter| ",.'".contains(letter.c));
                if !(mark && is_digit(end + 1)) {
                    break;
                }
                end += 1;
            }
            if run[at..end].iter().any(|letter| !letter.c.is_ascii_digit()) {
                items.push(start..end);
                at = end;
                continue;
            }
        }
        while is_word(at)
            || (at > start
                && run.get(at).is_some_and(|l| joins(l.c, run[at - 1].c))
                && is_letter(at + 1)
                && is_letter(at - 1))
        {
            at += 1;
        }
        if at > start {
            items.push(start..at);
        } else {
            at += 1;
        }
    }
    items
}

/// Whether `c` may stand within a word, after `before`.
fn joins(c: char, before: char) -> bool {
    match c {
        '\'' | '`' | BREAK => true,
        '"' => ('\u{5D0}'..='\u{5EA}').contains(&before),
        _ => false,
    }
}

/// Joined by the marks that codes use, short enough to be one, and not the end of one sentence and
/// the beginning of the next.
fn is_code(run: &[Letter]) -> bool {
    let code = |c: char| c.is_ascii_alphanumeric() || "-_/.&+".contains(c);
    let signed = |two: &[Letter]| two[0].c == '+' && two[1].c == '+';
    let sentence = |four: &[Letter]| {
        four[0].c.is_lowercase()
            && four[1].c == '.'
            && four[2].c.is_uppercase()
            && four[3].c.is_lowercase()
    };
    run.len() <= MAX_CODE_CHARS
        && run.iter().all(|letter| code(letter.c))
        && !run.windows(2).any(signed)
        && !run.windows(4).any(sentence)
}

/// FY2023 is FY and 2023; userAccountId is user, Account, Id; HTTPServer is HTTP and Server.
fn case_runs(letters: &[Letter]) -> Vec<Range<usize>> {
    let ascii = letters.iter().all(|letter| letter.c.is_ascii());
    let mut runs = Vec::new();
    let mut start = 0;
    for at in 1..letters.len() {
        let (before, c) = (letters[at - 1].c, letters[at].c);
        let digits = ascii && before.is_ascii_digit() != c.is_ascii_digit();
        let hump = before.is_lowercase() && c.is_uppercase();
        let lower =
            |at: usize| letters.get(at).is_some_and(|letter: &Letter| letter.c.is_lowercase());
        let acronym = before.is_uppercase() && c.is_uppercase() && lower(at + 1) && lower(at + 2);
        if digits || hump || acronym {
            runs.push(start..at);
            start = at;
        }
    }
    runs.push(start..letters.len());
    runs
}
