//! The answer that needs no model: a passage of the best page.

use std::collections::HashSet;
use std::time::Instant;

use crate::ask::evidence::Evidence;
use crate::ask::said::Said;

/// Characters of a passage that is an answer, at most.
const PASSAGE: usize = 600;

impl Evidence {
    /// The answer that needs no model: what the best page says itself. It counts as answered where the
    /// page answers more likely than not; else it is the best that was found.
    pub fn passage(&self) -> Said {
        let start = Instant::now();
        // What the search found is from all words of a page, also those that it hides.
        let shows_all = |number: usize| {
            let seen = self.source(number).and_then(|source| source.seen.as_ref());
            seen.is_none_or(|words| words.hidden.is_empty())
        };
        let best = self.found.clone().filter(|(number, _)| shows_all(*number)).or_else(|| {
            let source =
                self.context.sources.iter().find(|source| !source.text.trim().is_empty())?;
            Some((source.number, nearest_lines(&source.text, &self.question)))
        });
        let cut = |text: &str| crate::context::cut(text.trim(), PASSAGE).0;
        let best = best.map(|(number, text)| (number, cut(&text)));
        let (number, text) = best.filter(|(_, text)| !text.is_empty()).unwrap_or_default();
        let sentences = if text.is_empty() {
            Vec::new()
        } else {
            // A passage is one quotation, whatever sentences it has.
            vec![self.checked(text.clone(), &[number])]
        };
        let answered = !sentences.is_empty() && self.is_likely;
        let time = start.elapsed();
        let (answerer, asked, usage) = ("passage", None, None);
        Said { text, sentences, answered, answerer, asked, usage, time }
    }
}

/// The few lines of a text that have most of the question's words.
fn nearest_lines(text: &str, question: &str) -> String {
    const LINES: usize = 4;
    let words = |text: &str| -> HashSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.filter(|word| word.chars().count() > 2).map(str::to_lowercase).collect()
    };
    let asked = words(question);
    let lines: Vec<&str> = text.lines().collect();
    // Of windows with as many, the one that begins with them: what follows a label is its value.
    let met = |first: usize| {
        let near = lines[first..lines.len().min(first + LINES)].join(" ");
        let count = |text: &str| words(text).intersection(&asked).count();
        (count(&near), count(lines[first]))
    };
    let best = (0..lines.len()).rev().max_by_key(|&first| met(first)).unwrap_or(0);
    lines[best..lines.len().min(best + LINES)].join("\n")
}

#[cfg(test)]
mod tests {
    use super::nearest_lines;

    #[test]
    fn the_lines_that_answer_are_those_with_the_words_of_the_question() {
        let text =
            "Contents\nPreface\nIntroduction\nBells\nThe price of a bell\nis 14,250 EUR\nEnd";
        assert!(nearest_lines(text, "What is the price of a bell?").contains("14,250"));
        assert_eq!(nearest_lines("", "anything"), "");
        assert_eq!(nearest_lines("one line", ""), "one line");
    }
}
