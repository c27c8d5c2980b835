//! The part of a page that shows why it was found.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::analysis::{Analyser, Asked, Language, Languages, Question};
use super::bm25::terms_of;

/// A word on more than one page in this many does not show why a page was found, when there are
/// enough pages to say so.
const MOST_PAGES: u64 = 3;
const ENOUGH_PAGES: u64 = 20;

/// Characters of a snippet, about two lines of a terminal.
const CHARS: usize = 160;

/// A piece of a page's text, spaces joined, with the words of the query in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Snippet {
    /// One line.
    pub text: String,
    /// Byte ranges of matching words in `text`, in order, apart.
    pub marks: Vec<Range<usize>>,
}

/// The part of `text` that answers `question` best: by the words that tell pages apart, else by all.
/// `with` says on how many of `pages` each term of the question is, in their order.
pub(super) fn snippet_of(question: &Question, text: &str, pages: u64, with: &[u64]) -> Snippet {
    let language = Language::of(text);
    let by_rare_words = snippet(&telling(question, pages, with), text, language);
    if by_rare_words.marks.is_empty() {
        snippet(&question.words.iter().collect::<Vec<_>>(), text, language)
    } else {
        by_rare_words
    }
}

/// The words of a question that tell pages apart: words on most pages say nothing, unless the question
/// has no others.
fn telling<'a>(question: &'a Question, pages: u64, with: &[u64]) -> Vec<&'a Asked> {
    let pages = pages.max(ENOUGH_PAGES);
    let mut with = with.iter();
    let rare = |word: &&Asked| {
        // All of its terms, so that the next word begins at its own.
        let most = terms_of(word).map(|_| with.next().copied().unwrap_or(0)).max();
        most.unwrap_or(0) * MOST_PAGES <= pages
    };
    let telling: Vec<_> = question.words.iter().filter(rare).collect();
    if telling.is_empty() { question.words.iter().collect() } else { telling }
}

/// The window of `text` with the most different words of a question, and of those the most words.
/// What carries no matter in `language`, that of the text, is not looked for, unless nothing else is.
pub(super) fn snippet(words: &[&Asked], text: &str, language: Option<Language>) -> Snippet {
    let of_page = Languages::of(language);
    let telling = |word: &&&Asked| !word.idle.meets(of_page);
    let mut wanted: Vec<&Asked> = words.iter().filter(telling).copied().collect();
    if wanted.is_empty() {
        wanted = words.to_vec();
    }
    let mut terms: HashMap<&str, usize> = HashMap::new();
    for (which, word) in wanted.iter().enumerate() {
        for term in word.form(of_page).into_iter().flat_map(|form| form.terms()) {
            terms.entry(term).or_insert(which);
        }
    }
    let letters: Vec<usize> = (0..wanted.len()).filter(|&which| wanted[which].is_letter).collect();
    let mut matches: Vec<(Range<usize>, usize)> = Analyser
        .words(text, language)
        .into_iter()
        .filter_map(|word| {
            let begins = |&&which: &&usize| wanted[which].is(&word.term, of_page);
            let which = terms.get(word.term.as_str()).or_else(|| letters.iter().find(begins))?;
            Some((word.range, *which))
        })
        .collect();
    matches.sort_by_key(|(range, _)| (range.start, range.end));
    let (start, end) = window(text, &matches);
    let mut snippet = Snippet::default();
    let mut at = start;
    let mut marks: Vec<Range<usize>> = Vec::new();
    for (range, _) in matches.iter().filter(|(r, _)| r.start >= start && r.end <= end) {
        match marks.last_mut() {
            // A code and its parts, or neighbouring pairs of CJK, are one mark.
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => marks.push(range.clone()),
        }
    }
    for mark in marks {
        push_joined(&mut snippet.text, &text[at..mark.start]);
        let from = snippet.text.len();
        push_joined(&mut snippet.text, &text[mark.clone()]);
        snippet.marks.push(from..snippet.text.len());
        at = mark.end;
    }
    push_joined(&mut snippet.text, &text[at..end]);
    let kept = snippet.text.trim_end().len();
    snippet.text.truncate(kept);
    snippet
}

/// Adds `piece`, runs of white space and control characters as one space.
fn push_joined(text: &mut String, piece: &str) {
    for c in piece.chars() {
        if c == '\u{AD}' {
            // A line ended here within a word.
        } else if !c.is_whitespace() && !c.is_control() {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with(' ') {
            text.push(' ');
        }
    }
}

fn window(text: &str, matches: &[(Range<usize>, usize)]) -> (usize, usize) {
    // Bytes before the first match of a window, so that it reads as part of a sentence.
    let lead = CHARS / 4;
    let mut best = (0, 0, 0);
    for (index, (first, _)) in matches.iter().enumerate() {
        let end = first.start + CHARS - lead;
        let inside = matches[index..].iter().take_while(|(r, _)| r.end <= end);
        let which: Vec<usize> = inside.map(|(_, which)| *which).collect();
        let different = which.iter().collect::<HashSet<_>>().len();
        if (different, which.len()) > (best.0, best.1) {
            best = (different, which.len(), first.start);
        }
    }
    let start = word_start(text, best.2.saturating_sub(lead));
    let end = text[start..].char_indices().nth(CHARS).map_or(text.len(), |(at, _)| start + at);
    (start, word_end(text, end, best.2))
}

/// The first word boundary at or after `at`.
fn word_start(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    if at == 0 {
        return 0;
    }
    let next = text[at..].char_indices().find(|(_, c)| c.is_whitespace());
    // Without spaces nearby (CJK) the boundary is anywhere.
    next.filter(|(offset, _)| *offset <= 20).map_or(at, |(offset, c)| at + offset + c.len_utf8())
}

fn word_end(text: &str, end: usize, not_before: usize) -> usize {
    if end == text.len() {
        return end;
    }
    let last = text[..end].rfind(char::is_whitespace);
    last.filter(|&at| at > not_before && end - at <= 20).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::analysis::Question;

    fn ask(query: &str, text: &str) -> Snippet {
        let languages: Vec<Language> = Language::all().collect();
        let question = Question::new(query, &languages, None);
        snippet(&question.words.iter().collect::<Vec<_>>(), text, Language::of(text))
    }

    #[test]
    fn the_densest_window_is_shown_and_marked() {
        let text = format!(
            "{} Net sales of the segment\n  grew by 4%. {}",
            "filler sales text ".repeat(40),
            "more words ".repeat(40)
        );
        let snippet = ask("segment net sale", &text);
        let marked: Vec<&str> = snippet.marks.iter().map(|r| &snippet.text[r.clone()]).collect();
        assert!(marked.ends_with(&["Net", "sales", "segment"]), "{snippet:?}");
        assert!(snippet.text.contains("segment grew by 4%."));
        assert!(snippet.text.chars().count() <= CHARS);
    }

    #[test]
    fn any_text_gives_a_snippet() {
        assert_eq!(ask("x", ""), Snippet::default());
        assert_eq!(ask("", "short text").text, "short text");
        let cjk = "第一章 東京都の人口について".repeat(30);
        let snippet = ask("人口", &cjk);
        assert_eq!(&snippet.text[snippet.marks[0].clone()], "人口");
    }
}
