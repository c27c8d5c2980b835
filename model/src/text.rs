//! Words to ids: the tokenizer of a checkpoint. Special tokens are written out in prompts, so the
//! tokenizer's own additions are off. What the tokenizer calls special stays special in prompts
//! only: a question that spells such a token is read as letters.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use pagesight_core::QueryToken;
use tokenizers::{Encoding, Tokenizer};

use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;

/// A tokenizer, checked against the rows of a model's token table.
#[derive(Debug, Clone)]
pub struct TextTokens {
    tokenizer: Tokenizer,
    path: PathBuf,
    /// Rows of the model's token table.
    rows: usize,
    /// Tokens that steer the model.
    special: HashSet<u32>,
    /// Ids that say nothing of the letters they stand for: single bytes, and "unknown".
    unspelled: HashSet<u32>,
    /// Whether its pieces are written in letters that each stand for a byte.
    is_of_bytes: bool,
}

/// A question as the model reads it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Ids of prefix, question and suffix.
    pub ids: Vec<u32>,
    /// What each id stands for.
    pub tokens: Vec<QueryToken>,
}

impl TextTokens {
    /// Reads a `tokenizer.json` for a model whose token table has so many `rows`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse.
    pub fn read(file: &CheckpointFile, rows: usize) -> Result<Self, ModelError> {
        Self::parse(&file.read()?, file.shown(), rows)
    }

    /// As [`read`](Self::read), from the bytes of a `tokenizer.json` that is at `path`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when they do not parse.
    pub fn parse(bytes: &[u8], path: PathBuf, rows: usize) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| wrong(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        let added = tokenizer.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        // SentencePiece calls the piece of a byte `<0x41>`.
        let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
        let unspelled = bytes.chain(["<unk>".into()]);
        let unspelled = unspelled.filter_map(|token| tokenizer.token_to_id(&token)).collect();
        let decoder = serde_json::to_string(&tokenizer.get_decoder()).unwrap_or_default();
        let is_of_bytes = decoder.contains(r#""ByteLevel""#);
        Ok(Self { tokenizer, path, rows, special, unspelled, is_of_bytes })
    }

    /// An error about the file.
    pub fn wrong(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }

    /// The id of `token`, if there is one.
    pub fn find(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The piece of text that `id` stands for, as the tokenizer writes it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The id of a token that steers the model. It is special from now on, whatever the file says.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when there is none, or the model has no row for it.
    pub fn steering(&mut self, token: &str) -> Result<u32, ModelError> {
        let id = self.find(token).filter(|id| (*id as usize) < self.rows);
        let id =
            id.ok_or_else(|| self.wrong(format!("it has no {token}: not this model's tokenizer")))?;
        self.special.insert(id);
        Ok(id)
    }

    fn encode(&self, text: &str) -> Result<Encoding, ModelError> {
        let encoding = self.tokenizer.encode(text, false).map_err(|e| self.wrong(e.to_string()))?;
        match encoding.get_ids().iter().find(|&&id| id as usize >= self.rows) {
            Some(id) => Err(self.wrong(format!(
                "it gives id {id}, the model has {} rows: not this model's tokenizer",
                self.rows
            ))),
            None => Ok(encoding),
        }
    }

    /// The ids of `text`, a prompt, in which special tokens are what they say.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded or gives an id that the model lacks.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.encode(text)?.get_ids().to_vec())
    }

    /// As [`query`](Self::query) for `question` after `prefix`, both in `text`. Where it gives no id,
    /// since the recipe puts nothing around a question that has no letters, `pad` stands for it.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn question(
        &self,
        text: &str,
        prefix: &str,
        question: &str,
        pad: (u32, &str),
    ) -> Result<Query, ModelError> {
        let query = self.query(text, prefix.len()..prefix.len() + question.len())?;
        if !query.ids.is_empty() {
            return Ok(query);
        }
        let (id, token) = pad;
        let nothing = QueryToken { spelled: false, ..QueryToken::special(token) };
        Ok(Query { ids: vec![id], tokens: vec![nothing] })
    }

    /// The ids of `text`, of which the bytes `question` are the question, and which bytes of the
    /// question each stands for. A special token that the question spells is cut into two texts, so
    /// that it becomes letters; around it, ids are those that the tokenizer gives the two parts.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    pub fn query(&self, text: &str, question: Range<usize>) -> Result<Query, ModelError> {
        let mut query = Query::default();
        self.read_part(text, &question, 0..text.len(), &mut query)?;
        Ok(query)
    }

    fn read_part(
        &self,
        text: &str,
        question: &Range<usize>,
        part: Range<usize>,
        query: &mut Query,
    ) -> Result<(), ModelError> {
        let encoding = self.encode(&text[part.clone()])?;
        let places = encoding.get_offsets().iter();
        let places = places.map(|(start, end)| part.start + start..part.start + end);
        let tokens: Vec<(u32, Range<usize>)> =
            encoding.get_ids().iter().copied().zip(places).collect();
        let is_asked = |(id, at): &&(u32, Range<usize>)| {
            let inside = question.start <= at.start && at.end <= question.end && !at.is_empty();
            inside && self.special.contains(id)
        };
        let cuts = tokens.iter().filter(is_asked);
        let cuts = cuts.map(|(_, at)| text.ceil_char_boundary(at.start + 1));
        let mut cuts: Vec<usize> = cuts.filter(|&at| at < part.end).collect();
        if cuts.is_empty() {
            // What cannot be cut, a special token of one letter, is left out.
            let kept = tokens.iter().filter(|token| !is_asked(token));
            for (id, at) in kept {
                query.ids.push(*id);
                query.tokens.push(self.token(*id, text, question, at.clone()));
            }
            return Ok(());
        }
        cuts.push(part.end);
        let mut start = part.start;
        for end in cuts {
            self.read_part(text, question, start..end, query)?;
            start = end;
        }
        Ok(())
    }

    fn token(&self, id: u32, text: &str, question: &Range<usize>, at: Range<usize>) -> QueryToken {
        let name = self.tokenizer.id_to_token(id).unwrap_or_default();
        let span = part_of(text, question.clone(), at);
        let is_known = !self.unspelled.contains(&id);
        if !self.is_of_bytes || self.special.contains(&id) {
            return QueryToken { text: name.replace('▁', " "), span, spelled: is_known };
        }
        let bytes: Option<Vec<u8>> = name.chars().map(byte_of).collect();
        match bytes.map(String::from_utf8) {
            Some(Ok(text)) => QueryToken { text, span, spelled: is_known },
            // A part of a letter.
            _ => QueryToken { text: name, span, spelled: false },
        }
    }
}

/// The byte that a letter of a piece stands for, in the alphabet that GPT-2 began with: bytes that
/// print are themselves, the others are counted from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    let prints = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let code = u32::from(letter);
    match u8::try_from(code) {
        Ok(byte) => prints(byte).then_some(byte),
        Err(_) => {
            let nth = code.checked_sub(256)? as usize;
            (0..=u8::MAX).filter(|&byte| !prints(byte)).nth(nth)
        }
    }
}

/// The bytes of the question that `token`, a range of `text`, stands for: without white space
/// around them, whole characters, counted from the start of the question.
fn part_of(text: &str, question: Range<usize>, token: Range<usize>) -> Option<Range<usize>> {
    let start = text.floor_char_boundary(token.start.max(question.start));
    let end = text.ceil_char_boundary(token.end.min(question.end));
    let part = text.get(start..end).filter(|part| !part.is_empty())?;
    let leading = part.len() - part.trim_start().len();
    let trimmed = part.trim();
    let first = start + leading - question.start;
    // A token of spaces alone stands for them.
    let (first, length) = if trimmed.is_empty() {
        (start - question.start, part.len())
    } else {
        (first, trimmed.len())
    };
    Some(first..first + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_its_part_of_the_question_alone() {
        let text = "<bos>Question: où est 日本?<pad>\n";
        let question = 15..text.len() - 6;
        for (token, expected) in [
            (0..5, None),          // <bos>
            (5..15, None),         // the prefix
            (14..18, Some("où")),  // with the space of the prefix before it
            (18..22, Some("est")), // with its own
            (18..19, Some(" ")),   // a space alone
            (23..24, Some("日")),  // one byte of three
            (23..29, Some("日本")),
            (29..30, Some("?")),
            (29..35, Some("?")), // and the padding behind it
            (30..35, None),      // padding
            (20..20, None),      // nothing
        ] {
            let got = part_of(text, question.clone(), token.clone());
            let got = got.map(|span| &text[question.clone()][span]);
            assert_eq!(got, expected, "{token:?}");
        }
    }

    #[test]
    fn letters_of_pieces_stand_for_all_bytes() {
        let mut bytes: Vec<u8> =
            (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        assert_eq!(
            ['Ġ', 'a', 'Ċ', '\u{ad}', '日'].map(byte_of),
            [Some(32), Some(97), Some(10), None, None]
        );
    }
}
