//! Citations of an answer: its sentences, and the numbers of the sources that each ends with, `[2]`. A
//! number that no source has is dropped.

/// A sentence of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Its text without the numbers of its sources.
    pub text: String,
    /// The sources that it cites, 1-based, each once, in order.
    pub cites: Vec<usize>,
}

/// The sentences of `answer`, whose sources are numbered from 1 to `sources`. Numbers in brackets
/// that no source has are left out of both text and citations.
///
/// ```
/// let found = pagesight_query::sentences("Sales rose to 4.2 million [2]. Costs fell [1][9].", 3);
/// assert_eq!(found[0].text, "Sales rose to 4.2 million.");
/// assert_eq!((found[0].cites.as_slice(), found[1].cites.as_slice()), (&[2][..], &[1][..]));
/// ```
pub fn sentences(answer: &str, sources: usize) -> Vec<Sentence> {
    let mut found = Vec::new();
    for part in parts(answer) {
        let (text, cites) = without_citations(part, sources);
        if text.is_empty() {
            // Numbers alone belong to the sentence before them.
            if let Some(Sentence { cites: before, .. }) = found.last_mut() {
                let new: Vec<usize> = cites.into_iter().filter(|n| !before.contains(n)).collect();
                before.extend(new);
            }
            continue;
        }
        found.push(Sentence { text, cites });
    }
    found
}

/// The text between ends of sentences, with the citations that follow each end.
fn parts(answer: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut letters = answer.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        let ends = match letter {
            '\n' | '。' | '！' | '？' => true,
            '.' | '!' | '?' => next.is_none_or(|next| next.is_whitespace() || next == '['),
            _ => false,
        };
        if !ends || (letter == '.' && is_short_form(&answer[start..at])) {
            continue;
        }
        // Citations behind the end belong to it.
        let rest = &answer[at + letter.len_utf8()..];
        let behind = rest.len() - after_citations(rest).len();
        let end = at + letter.len_utf8() + behind;
        while letters.peek().is_some_and(|(at, _)| *at < end) {
            letters.next();
        }
        parts.push(&answer[start..end]);
        start = end;
    }
    parts.push(&answer[start..]);
    parts
}

/// Whether a full stop behind `text` shortens a word: one letter, or one of a few that are usual.
fn is_short_form(text: &str) -> bool {
    let word = text.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let is_initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let usual = ["no", "nr", "p", "pp", "fig", "figs", "eq", "vol", "ca", "cf", "vs", "approx"];
    let titles = ["mr", "mrs", "ms", "dr", "prof", "st", "inc", "ltd", "co", "e.g", "i.e", "z.b"];
    let folded = word.to_lowercase();
    is_initial || usual.iter().chain(&titles).any(|short| *short == folded)
}

/// What is left of `text` behind citations and the space between them.
fn after_citations(text: &str) -> &str {
    let mut left = text;
    while let Some((_, rest)) = citation(left.trim_start_matches([' ', '\u{a0}'])) {
        left = rest;
    }
    left
}

/// The numbers of the brackets that `text` begins with, e.g. `[1, 2]`, and what follows them.
fn citation(text: &str) -> Option<(Vec<usize>, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    if inside.is_empty() || inside.len() > 40 {
        return None;
    }
    let numbers = inside.split([',', ';']).map(|number| {
        let number = number.trim();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        // A number too long to be one is no source.
        is_number.then(|| number.parse().unwrap_or(0))
    });
    Some((numbers.collect::<Option<Vec<usize>>>()?, rest))
}

fn without_citations(part: &str, sources: usize) -> (String, Vec<usize>) {
    let (mut text, mut cites) = (String::new(), Vec::new());
    let mut left = part;
    while let Some(at) = left.find('[') {
        text += &left[..at];
        match citation(&left[at..]) {
            Some((numbers, rest)) => {
                let known = numbers.into_iter().filter(|n| (1..=sources).contains(n));
                for number in known {
                    if !cites.contains(&number) {
                        cites.push(number);
                    }
                }
                // `million [2].` becomes `million.`, and no two spaces are left.
                let closes = ['.', ',', ';', ':', '!', '?', '[', ' '];
                if rest.starts_with(closes) || rest.is_empty() {
                    text.truncate(text.trim_end().len());
                }
                left = rest;
            }
            None => {
                text.push('[');
                left = &left[at + 1..];
            }
        }
    }
    text += left;
    (text.trim().to_string(), cites)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::odd_texts;

    fn cited(answer: &str, sources: usize) -> Vec<(String, Vec<usize>)> {
        let found = sentences(answer, sources).into_iter();
        found.map(|sentence| (sentence.text, sentence.cites)).collect()
    }

    #[test]
    fn sentences_keep_their_citations_and_lose_those_that_do_not_exist() {
        for (answer, expected) in [
            ("Sales rose [1].", vec![("Sales rose.", vec![1])]),
            (
                "Sales rose. [1] Costs fell. [2]",
                vec![("Sales rose.", vec![1]), ("Costs fell.", vec![2])],
            ),
            ("Sales rose.[1][2]", vec![("Sales rose.", vec![1, 2])]),
            ("Sales rose [1, 2; 2].", vec![("Sales rose.", vec![1, 2])]),
            ("Sales rose [7].", vec![("Sales rose.", vec![])]),
            ("Sales rose [0] [99999999999999999999].", vec![("Sales rose.", vec![])]),
            ("A [note] here [1].", vec![("A [note] here.", vec![1])]),
            (
                "It cost 4.2 million, i.e. more [1].",
                vec![("It cost 4.2 million, i.e. more.", vec![1])],
            ),
            (
                "See fig. 3 of J. Doe [1]. Done [2].",
                vec![("See fig. 3 of J. Doe.", vec![1]), ("Done.", vec![2])],
            ),
            ("One\n[2]\nTwo [1]", vec![("One", vec![2]), ("Two", vec![1])]),
            (
                "売上は増えた。[1]費用は減った。[2]",
                vec![("売上は増えた。", vec![1]), ("費用は減った。", vec![2])],
            ),
            ("[1]", vec![]),
            ("", vec![]),
            ("[[[[", vec![("[[[[", vec![])]),
        ] {
            let expected: Vec<(String, Vec<usize>)> =
                expected.into_iter().map(|(text, cites)| (text.to_string(), cites)).collect();
            assert_eq!(cited(answer, 3), expected, "{answer:?}");
        }
    }

    #[test]
    fn nothing_panics_on_any_text() {
        for (text, _) in odd_texts() {
            let _ = sentences(&text, 2);
        }
    }
}
