//! A fake model of meaning, and what every one keeps.

use std::ops::Range;

use crate::seam::{BoxError, PassageEncoder};
use crate::{
    EmbedderRecord, EncodedPassages, ModelId, PageVectors, PassageQuestion, QueryToken,
    QueryVectors,
};

/// Row length of both kinds of vectors.
const DIM: usize = 16;

/// A model of meaning that knows no meaning: a word's vector follows from its letters, a passage is
/// a line, and its vector the mean of its words'. It understands whatever has a letter of ASCII.
#[derive(Debug, Clone)]
pub struct FakePassageEncoder {
    id: ModelId,
}

impl Default for FakePassageEncoder {
    fn default() -> Self {
        Self::named("fake-meaning")
    }
}

impl FakePassageEncoder {
    /// One whose vectors are not those of one of another name.
    pub fn named(id: &str) -> Self {
        Self { id: ModelId(id.into()) }
    }

    fn vector(&self, word: &str) -> Vec<f32> {
        let hash = blake3::hash(format!("{}{word}", self.id).as_bytes());
        let row = hash.as_bytes()[..DIM].iter().map(|&byte| f32::from(byte) - 127.5);
        unit(row.collect())
    }

    fn rows(&self, text: &str) -> (Vec<f32>, Vec<f32>) {
        let words: Vec<Vec<f32>> = text.split_whitespace().map(|word| self.vector(word)).collect();
        let sum = |at: usize| words.iter().map(|row| row[at]).sum::<f32>();
        (unit((0..DIM).map(sum).collect()), words.concat())
    }
}

fn unit(row: Vec<f32>) -> Vec<f32> {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    let length = if length > 0.0 { length } else { 1.0 };
    row.into_iter().map(|x| x / length).collect()
}

impl PassageEncoder for FakePassageEncoder {
    fn record(&self) -> EmbedderRecord {
        EmbedderRecord::new(self.id.clone(), DIM, DIM)
    }

    fn passages(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError> {
        let start = |line: &str| line.as_ptr() as usize - text.as_ptr() as usize;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(|line| start(line)..start(line) + line.len()).collect())
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Option<EncodedPassages>>, BoxError> {
        let page = |text: &&str| -> Result<Option<EncodedPassages>, BoxError> {
            let (mut pooled, mut tokens) = (Vec::new(), Vec::new());
            for range in self.passages(text)? {
                let rows = self.rows(&text[range]);
                pooled.extend(rows.0);
                tokens.extend(rows.1);
            }
            if pooled.is_empty() {
                return Ok(None);
            }
            let pooled = PageVectors::from_f32(DIM, &pooled)?;
            Ok(Some(EncodedPassages { pooled, tokens: PageVectors::from_f32(DIM, &tokens)? }))
        };
        texts.iter().map(page).collect()
    }

    fn tokens(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError> {
        let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let words = text.lines().flat_map(str::split_whitespace);
        Ok(words.map(|word| start(word)..start(word) + word.len()).collect())
    }

    fn understands(&self, question: &str) -> bool {
        question.contains(|c: char| c.is_ascii_alphabetic())
    }

    fn encode_question(&self, question: &str) -> Result<PassageQuestion, BoxError> {
        let (pooled, mut tokens) = self.rows(question);
        let of = |word: &str| {
            let start = word.as_ptr() as usize - question.as_ptr() as usize;
            QueryToken::of(word, start..start + word.len())
        };
        let mut names: Vec<QueryToken> = question.split_whitespace().map(of).collect();
        if names.is_empty() {
            names.push(QueryToken::special(""));
            tokens = vec![0.0; DIM];
        }
        let whole = vec![QueryToken::of(question, 0..question.len())];
        Ok(PassageQuestion {
            pooled: QueryVectors::new(DIM, pooled, whole)?,
            tokens: QueryVectors::new(DIM, tokens, names)?,
        })
    }
}

/// What every [`PassageEncoder`] keeps. Panics where it does not.
pub fn passage_encoder_contract(encoder: &dyn PassageEncoder) {
    let record = encoder.record();
    let long = "a line of words that is read again and again\n".repeat(3000);
    let endless = "x".repeat(50_000);
    let texts = ["the first line\nthe second line", "", " \n\t", "one", &long, &endless, "日本語"];
    let pages = encoder.encode_texts(&texts).expect("texts");
    assert_eq!(pages.len(), texts.len());
    for (text, page) in texts.iter().zip(&pages) {
        let ranges = encoder.passages(text).expect("a text");
        assert!(ranges.len() <= 4096, "bounded");
        let mut end = 0;
        for range in &ranges {
            assert!(end <= range.start && range.start <= range.end, "in order");
            assert!(text.get(range.clone()).is_some(), "whole characters");
            end = range.end;
        }
        let tokens = encoder.tokens(text).expect("a text");
        assert!(tokens.iter().all(|range| range.start <= range.end && range.end <= text.len()));
        assert!(tokens.windows(2).all(|two| two[0].start <= two[1].start), "in order");
        let Some(page) = page else {
            assert!(ranges.is_empty(), "passages without vectors");
            assert!(tokens.is_empty(), "tokens without vectors");
            continue;
        };
        assert_eq!(page.tokens.len(), tokens.len(), "a row a token");
        assert_eq!(page.pooled.len(), ranges.len(), "a row a passage");
        assert_eq!(page.pooled.dim(), record.pooled_dim);
        assert_eq!(page.tokens.dim(), record.token_dim);
        page.pooled.check_unit().expect("rows of length 1");
        let alone = encoder.encode_texts(&[text]).expect("a text").remove(0);
        assert_eq!(alone.as_ref(), Some(page), "the same alone and in a batch");
    }
    assert!(pages[1].is_none() && pages[2].is_none(), "no words, no vectors");
    for question in ["what is it?", "", &long] {
        let asked = encoder.encode_question(question).expect("any question");
        assert_eq!((asked.pooled.len(), asked.pooled.dim()), (1, record.pooled_dim));
        assert_eq!(asked.tokens.dim(), record.token_dim);
    }
    assert!(!encoder.understands(""), "nothing is understood of nothing");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fake_keeps_the_contract() {
        passage_encoder_contract(&FakePassageEncoder::default());
    }
}
