//! Ids become text one by one. A letter that has no token of its own comes as several bytes, which
//! are held back until they are one.

use crate::answerer::tokens::{AnswerTokens, Piece};

/// Text that is being written.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokens: &'a AnswerTokens,
    /// The beginning of a letter.
    held: Vec<u8>,
}

impl<'a> TextStream<'a> {
    /// A text of which nothing is there.
    pub fn new(tokens: &'a AnswerTokens) -> Self {
        Self { tokens, held: Vec::new() }
    }

    /// What `id` adds to the text; nothing while a letter is not complete.
    pub fn push(&mut self, id: u32) -> String {
        match self.tokens.piece(id) {
            Piece::Byte(byte) => {
                self.held.push(byte);
                self.ready()
            }
            Piece::Text(text) => self.finish() + &text,
            Piece::Control => self.finish(),
        }
    }

    /// What is left: bytes that did not become a letter, a replacement character each.
    pub fn finish(&mut self) -> String {
        let left = self.held.drain(..);
        left.map(|_| char::REPLACEMENT_CHARACTER).collect()
    }

    /// The whole letters among the bytes that are held. Bytes that no letter begins with become
    /// replacement characters.
    fn ready(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.held.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.held[..valid]));
                    let Some(wrong) = error.error_len() else {
                        self.held.drain(..valid);
                        return text;
                    };
                    text.extend((0..wrong).map(|_| char::REPLACEMENT_CHARACTER));
                    self.held.drain(..valid + wrong);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::files::CheckpointFile;
    use crate::families::colpali::config::Config;

    fn tokens() -> (AnswerTokens, tokenizers::Tokenizer) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity-paligemma/pg2-56");
        let path = |name: &str| Path::new(folder).join(name);
        let file = |name: &str| CheckpointFile::from(path(name).as_path());
        let config = Config::read(&file("config.json")).unwrap();
        let tokens = AnswerTokens::read(&file("tokenizer.json"), &config.vlm_config).unwrap();
        (tokens, tokenizers::Tokenizer::from_file(path("tokenizer.json")).unwrap())
    }

    fn written(tokens: &AnswerTokens, ids: &[u32]) -> (String, Vec<String>) {
        let mut stream = TextStream::new(tokens);
        let mut parts: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        parts.push(stream.finish());
        (parts.concat(), parts)
    }

    /// The library's own decoder, over texts whose letters are whole.
    #[test]
    fn a_stream_gives_what_the_tokenizer_decodes() {
        let (tokens, reference) = tokens();
        for text in [
            "la clé est à la page 3",
            "日本 and 🙂🙂 éé",
            "<loc0001><loc0002><loc0003><loc0004><seg012> table ; <loc0009>",
            "Total 2024\npage 3\n\n  two",
            "",
        ] {
            let ids = reference.encode(text, false).unwrap();
            let (got, parts) = written(&tokens, ids.get_ids());
            assert_eq!(got, reference.decode(ids.get_ids(), true).unwrap());
            assert_eq!(got, text);
            assert!(parts.iter().all(|part| !part.contains(char::REPLACEMENT_CHARACTER)));
        }
    }

    #[test]
    fn bytes_are_held_until_they_are_a_letter() {
        let (tokens, reference) = tokens();
        let byte = |byte: u8| reference.token_to_id(&format!("<0x{byte:02X}>")).unwrap();
        let a = reference.token_to_id("a").unwrap();
        let (text, parts) = written(&tokens, &[byte(0xc3), byte(0xa9), a]);
        assert_eq!((text.as_str(), parts[0].as_str(), parts[1].as_str()), ("éa", "", "é"));
        // What becomes no letter is shown as that, and nothing is lost behind it.
        for (ids, expected) in [
            (vec![byte(0xc3), a], "\u{fffd}a"),
            (vec![byte(0xff), byte(0xc3), byte(0xa9)], "\u{fffd}é"),
            (vec![byte(0xe6), byte(0x97)], "\u{fffd}\u{fffd}"),
            (vec![byte(0xc3), 1, byte(0xa9)], "\u{fffd}\u{fffd}"),
            (vec![a, 1, 2, 0, a], "aa"),
            (vec![1663, a, u32::MAX], "a"),
        ] {
            assert_eq!(written(&tokens, &ids).0, expected, "{ids:?}");
        }
    }
}
