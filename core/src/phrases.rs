//! What a question has in quotation marks.

use std::ops::Range;

/// Quotation marks that open and close, as keyboards and typesetters of several countries have them.
const PAIRS: [(char, char); 17] = [
    ('"', '"'),
    ('“', '”'),
    ('„', '“'),
    ('„', '”'),
    ('”', '”'),
    ('«', '»'),
    ('»', '«'),
    ('“', '“'),
    ('＂', '＂'),
    ('‘', '’'),
    ('‚', '‘'),
    ('‹', '›'),
    ('›', '‹'),
    ('〝', '〟'),
    ('‟', '”'),
    ('「', '」'),
    ('『', '』'),
];

/// The parts of `question` that stand in quotation marks, without the marks, in bytes. A mark opens
/// at the beginning or after a space or a bracket, and closes before a space or a mark, so that inches
/// (12" pipes) are no quotation; brackets of East Asia quote anywhere.
///
/// ```
/// use pagesight_core::phrases;
/// let quoted = |question: &'static str| -> Vec<&'static str> {
///     phrases(question).into_iter().map(|range| &question[range]).collect()
/// };
/// assert_eq!(quoted("who sold the \"white house\" on the hill?"), ["white house"]);
/// assert_eq!(quoted("„Haus am See“ und «Garten»"), ["Haus am See", "Garten"]);
/// assert_eq!(quoted("12\" pipes and 15\" pipes"), Vec::<&str>::new());
/// assert_eq!(quoted("an \"open end"), Vec::<&str>::new());
/// ```
#[must_use]
pub fn phrases(question: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some((at, open)) =
        question[from..].char_indices().find(|&(_, c)| PAIRS.iter().any(|pair| pair.0 == c))
    {
        let at = from + at;
        let start = at + open.len_utf8();
        from = start;
        let anywhere = matches!(open, '「' | '『');
        let opens = question[..at]
            .chars()
            .next_back()
            .is_none_or(|c| anywhere || c.is_whitespace() || "([{".contains(c));
        if !opens {
            continue;
        }
        let closing = |c: char| PAIRS.contains(&(open, c));
        let end = question[start..].char_indices().find(|&(offset, c)| {
            let after = question[start + offset + c.len_utf8()..].chars().next();
            closing(c) && (anywhere || after.is_none_or(|c| !c.is_alphanumeric()))
        });
        if let Some((offset, close)) = end {
            if !question[start..start + offset].trim().is_empty() {
                found.push(start..start + offset);
            }
            from = start + offset + close.len_utf8();
        }
    }
    found
}
