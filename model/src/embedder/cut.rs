//! A page's text, cut into passages: whole lines, as many as the model reads at once.
//!
//! Lines are what a page offers: sentences run over headings and cells of tables there, and a line
//! that is cut in two is found by neither half. A line that is too long by itself is cut between
//! words, and a word that is, between its pieces. Whatever the text, work and results are bounded.

use std::ops::Range;

use crate::embedder::tokens::Tokens;
use crate::error::ModelError;

/// Passages of a page: 32,000 pieces, the print of some thirty pages. What follows is found by its
/// words alone.
const MOST_PASSAGES: usize = 256;

/// Bytes that are cut into pieces at a time: a longer line is taken in parts.
const MOST_BYTES: usize = 4096;

/// A passage: where it stands in the text, and its pieces, without special ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub range: Range<usize>,
    pub ids: Vec<u32>,
    /// Where each of the pieces stands in the text, bytes.
    pub pieces: Vec<Range<usize>>,
}

/// Cuts `text`.
///
/// # Errors
/// [`ModelError::Tokenizer`].
pub fn passages(tokens: &Tokens, text: &str, most: usize) -> Result<Vec<Passage>, ModelError> {
    let mut cut = Cut { most: most.max(1), done: Vec::new(), open: None };
    for line in lines(text) {
        if cut.done.len() >= MOST_PASSAGES {
            break;
        }
        let pieces = tokens.pieces(&text[line.clone()])?;
        let ids = pieces.get_ids();
        let offsets = pieces.get_offsets().iter();
        let offsets: Vec<_> =
            offsets.map(|&(start, end)| line.start + start..line.start + end).collect();
        if ids.len() <= cut.most {
            cut.add(line, ids, &offsets);
            continue;
        }
        // The start of each word, so that none is cut that fits.
        let starts_word: Vec<bool> = (0..ids.len())
            .map(|at| at == 0 || pieces.get_word_ids()[at] != pieces.get_word_ids()[at - 1])
            .collect();
        let mut start = 0;
        while start < ids.len() {
            let full = (start + cut.most).min(ids.len());
            let word = (start + 1..full).rev().find(|&at| starts_word[at]);
            let end = if full == ids.len() { full } else { word.unwrap_or(full) };
            let offsets = &offsets[start..end];
            let first = offsets.first().map_or(line.start, |part| part.start);
            let last = offsets.last().map_or(line.start, |part| part.end);
            // Bytes of one character may be pieces of their own.
            let (first, last) = (text.floor_char_boundary(first), text.ceil_char_boundary(last));
            cut.add(first..last.max(first), &ids[start..end], offsets);
            start = end;
        }
    }
    Ok(cut.finish(text))
}

struct Cut {
    most: usize,
    done: Vec<Passage>,
    open: Option<Passage>,
}

impl Cut {
    fn add(&mut self, range: Range<usize>, ids: &[u32], pieces: &[Range<usize>]) {
        if ids.is_empty() {
            return;
        }
        match &mut self.open {
            Some(open) if open.ids.len() + ids.len() <= self.most => {
                open.range.end = range.end.max(open.range.end);
                open.ids.extend_from_slice(ids);
                open.pieces.extend_from_slice(pieces);
            }
            open => {
                self.done.extend(open.take());
                // Pieces of one character may share its bytes; passages do not.
                let start = self.done.last().map_or(0, |last| last.range.end).max(range.start);
                let range = start..range.end.max(start);
                *open = Some(Passage { range, ids: ids.into(), pieces: pieces.into() });
            }
        }
    }

    fn finish(mut self, text: &str) -> Vec<Passage> {
        self.done.extend(self.open);
        self.done.truncate(MOST_PASSAGES);
        for Passage { range, .. } in &mut self.done {
            let part = &text[range.clone()];
            range.start += part.len() - part.trim_start().len();
            range.end = range.start + part.trim().len();
        }
        self.done
    }
}

/// The lines of `text`, without their ends; longer ones than [`MOST_BYTES`] in parts, between words
/// where there are any.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let length = if line <= MOST_BYTES {
            line
        } else {
            let part = &rest[..rest.floor_char_boundary(MOST_BYTES)];
            part.rfind(char::is_whitespace).filter(|&end| end > 0).unwrap_or(part.len())
        };
        let start = at;
        at += length;
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedder::parity::tiny;

    #[test]
    fn passages_are_whole_lines_that_fit() {
        let (_folder, embedder) = tiny("bert");
        let tokens = embedder.tokens();
        let text = "the cat sat\n\non a mat and the dog\nran\nthe end of the page\n";
        let cut = passages(tokens, text, 8).unwrap();
        let said: Vec<&str> = cut.iter().map(|passage| &text[passage.range.clone()]).collect();
        assert_eq!(said, ["the cat sat", "on a mat and the dog\nran", "the end of the page"]);
        let ids: Vec<u32> = cut.iter().flat_map(|passage| passage.ids.clone()).collect();
        assert_eq!(ids, tokens.pieces(text).unwrap().get_ids());
    }

    #[test]
    fn whatever_the_text_passages_are_bounded_and_lose_no_piece() {
        let (_folder, embedder) = tiny("bert");
        let tokens = embedder.tokens();
        let endless = "x".repeat(300_000);
        let crowded = "the cat sat on a mat ".repeat(20_000);
        let lines = "dog\n".repeat(1000);
        let mixed = "猫が座る the кот ran\u{AD}ning ".repeat(50);
        let cases: [&str; 8] =
            ["", " \n\n ", &endless, &crowded, &lines, &mixed, "\u{0}\u{1}", "ﬀ\u{301}é́́"];
        for text in cases {
            let cut = passages(tokens, text, 8).unwrap();
            assert!(cut.len() <= MOST_PASSAGES);
            let mut before = 0;
            for passage in &cut {
                assert!((1..=8).contains(&passage.ids.len()));
                assert_eq!(passage.pieces.len(), passage.ids.len());
                let Range { start, end } = passage.range;
                assert!(before <= start && start <= end, "{before} {start} {end}");
                assert!(text.get(start..end).is_some());
                before = end;
            }
            if cut.len() < MOST_PASSAGES && text.len() <= MOST_BYTES {
                let ids: Vec<u32> = cut.iter().flat_map(|passage| passage.ids.clone()).collect();
                assert_eq!(ids, tokens.pieces(text).unwrap().get_ids(), "{text:?}");
            }
        }
        assert_eq!(passages(tokens, &crowded, 8).unwrap().len(), MOST_PASSAGES);
        assert!(passages(tokens, " \n\n ", 8).unwrap().is_empty());
    }
}
