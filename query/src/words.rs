//! The words of a question, and which query tokens stand for each.

use std::ops::Range;

use pagesight_core::QueryVectors;

/// A word of a question, as split at white space.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuestionWord {
    /// The word.
    pub text: String,
    /// Its bytes in the question.
    pub range: Range<usize>,
    /// The query tokens that stand for letters of it, in their order.
    pub tokens: Vec<usize>,
}

/// The words of `question`, with the tokens of `query` that hold their letters. A token that holds
/// letters of several words is the first one's; one of the prompt, of padding and the like is no
/// word's.
///
/// ```
/// use pagesight_core::{QueryToken, QueryVectors};
/// let tokens = vec![
///     QueryToken::special("<bos>"),
///     QueryToken::of("net", 0..3),
///     QueryToken::of(" sal", 3..7),
///     QueryToken::of("es", 7..9),
/// ];
/// let query = QueryVectors::new(1, vec![1.0; 4], tokens)?;
/// let words = pagesight_query::question_words("net sales", &query);
/// assert_eq!((words[1].text.as_str(), &words[1].tokens[..]), ("sales", &[2, 3][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn question_words(question: &str, query: &QueryVectors) -> Vec<QuestionWord> {
    let start_of = |word: &str| word.as_ptr() as usize - question.as_ptr() as usize;
    let mut words: Vec<QuestionWord> = question
        .split_whitespace()
        .map(|word| {
            let start = start_of(word);
            let range = start..start + word.len();
            QuestionWord { text: word.into(), range, tokens: Vec::new() }
        })
        .collect();
    for (index, token) in query.tokens().iter().enumerate() {
        let Some(span) = &token.span else { continue };
        let meets = |word: &&mut QuestionWord| {
            span.start.max(word.range.start) < span.end.min(word.range.end)
        };
        if let Some(word) = words.iter_mut().find(meets) {
            word.tokens.push(index);
        }
    }
    words
}

/// The word of each of `tokens` tokens, where it has one.
pub fn words_of_tokens(words: &[QuestionWord], tokens: usize) -> Vec<Option<usize>> {
    let mut of = vec![None; tokens];
    for (index, word) in words.iter().enumerate() {
        for &token in &word.tokens {
            of[token] = Some(index);
        }
    }
    of
}

#[cfg(test)]
mod tests {
    use pagesight_core::QueryToken;

    use super::*;

    #[test]
    fn every_token_with_letters_has_one_word() {
        let question = "Umsätze  im\tJahr";
        let spans = [0..3, 3..8, 8..12, 12..17, 9..10];
        let mut tokens: Vec<QueryToken> =
            spans.iter().map(|span| QueryToken::of("", span.clone())).collect();
        tokens.push(QueryToken::special("pad"));
        let query = QueryVectors::new(1, vec![1.0; tokens.len()], tokens).unwrap();
        let words = question_words(question, &query);
        let found: Vec<(&str, &[usize])> =
            words.iter().map(|word| (word.text.as_str(), &word.tokens[..])).collect();
        // The token of a space alone has no word.
        assert_eq!(found, [("Umsätze", &[0, 1][..]), ("im", &[2]), ("Jahr", &[3])]);
        let of = words_of_tokens(&words, query.len());
        assert_eq!(of, [Some(0), Some(0), Some(1), Some(2), None, None]);
        assert!(words.iter().all(|word| question[word.range.clone()] == word.text));
    }
}
