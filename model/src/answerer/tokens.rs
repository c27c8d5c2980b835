//! Prompts to ids, and ids to pieces of text.
//!
//! A prompt consists of words, which may come from a stranger, and of control tokens, which only we
//! write: the image tokens, `<bos>`, locations, and the line end behind it. Words are read by a
//! tokenizer that has no control tokens, so a question that spells `<loc0001>` becomes letters.

use std::collections::HashSet;

use serde_json::Value;

use crate::answerer::task::{Location, Task};
use crate::checkpoint::files::CheckpointFile;
use crate::error::ModelError;
use crate::families::colpali::config::VlmConfig;
use crate::text::TextTokens;

/// The tokenizer of a PaliGemma.
#[derive(Debug, Clone)]
pub struct AnswerTokens {
    /// With control tokens.
    ours: TextTokens,
    /// Without them.
    words: TextTokens,
    control: HashSet<u32>,
    /// Those of them that are no part of a text.
    special: HashSet<u32>,
    image: u32,
    bos: u32,
    eos: u32,
    line_end: u32,
    /// Rows of the model's table that have a token.
    count: usize,
}

/// What a token is in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A part of the text.
    Text(String),
    /// A byte of a letter that has no token.
    Byte(u8),
    /// Nothing: it steers the model.
    Control,
}

impl AnswerTokens {
    /// Reads a `tokenizer.json` and checks that it is the one of `config`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it does not parse or lacks a token of the model.
    pub fn read(file: &CheckpointFile, config: &VlmConfig) -> Result<Self, ModelError> {
        let (bytes, path) = (file.read()?, file.shown());
        let rows = config.text_config.vocab_size;
        let ours = TextTokens::parse(&bytes, path.clone(), rows)?;
        let mut json: Value =
            serde_json::from_slice(&bytes).map_err(|error| ours.wrong(error.to_string()))?;
        let (mut control, mut special) = (HashSet::new(), HashSet::new());
        if let Some(added) = json.get_mut("added_tokens").and_then(Value::as_array_mut) {
            added.retain(|token| {
                let text = token["content"].as_str().unwrap_or_default();
                let is_special = token["special"].as_bool().unwrap_or_default();
                let Some(id) = token["id"].as_u64().and_then(|id| u32::try_from(id).ok()) else {
                    return true;
                };
                if is_special {
                    special.insert(id);
                }
                let is_control = is_special || is_control(text);
                if is_control {
                    control.insert(id);
                }
                !is_control
            });
        }
        let words = serde_json::to_vec(&json).expect("what was JSON is JSON");
        let words = TextTokens::parse(&words, path, rows)?;
        let find = |token: &str| {
            let found = ours.find(token).filter(|&id| (id as usize) < rows);
            found.ok_or_else(|| {
                ours.wrong(format!("it has no {token}: not a tokenizer of PaliGemma"))
            })
        };
        let image = find("<image>")?;
        if image != config.image_token_index {
            let expected = config.image_token_index;
            return Err(ours.wrong(format!(
                "<image> is token {image}, config.json says {expected}: not this model's tokenizer"
            )));
        }
        let [bos, eos, line_end] = [find("<bos>")?, find("<eos>")?, find("\n")?];
        find("<loc0000>")?;
        find("<loc1023>")?;
        for id in [image, bos, eos] {
            control.insert(id);
            special.insert(id);
        }
        let count = (0..rows as u32).rev().find(|&id| ours.piece(id).is_some());
        let count = count.map_or(0, |last| last as usize + 1);
        Ok(Self { ours, words, control, special, image, bos, eos, line_end, count })
    }

    /// The token that ends a text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Rows of the model's table that have a token; those behind them never stand for one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The ids of `task` for a picture of so many `patches`: its image tokens, then `<bos>`, the
    /// prompt, and a line end.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it cannot be encoded.
    pub fn prompt(&self, patches: usize, task: &Task) -> Result<Vec<u32>, ModelError> {
        let mut ids = vec![self.image; patches];
        ids.push(self.bos);
        match task {
            // The spelling of a location is all that can make one, and this one is ours.
            Task::CaptionBox { location } => ids.extend(self.ours.ids(&located(*location))?),
            words => ids.extend(self.words(&words.words())?),
        }
        ids.push(self.line_end);
        Ok(ids)
    }

    /// The ids of words that may come from a stranger: no control token is among them.
    fn words(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        // A tokenizer that has a control token among its plain pieces could still give it.
        let ids = self.words.ids(text)?.into_iter();
        Ok(ids.filter(|id| !self.control.contains(id)).collect())
    }

    /// What `id` is in a text. Locations and codes of masks are text; what steers the model is not.
    pub fn piece(&self, id: u32) -> Piece {
        if self.special.contains(&id) {
            return Piece::Control;
        }
        let Some(piece) = self.ours.piece(id) else { return Piece::Control };
        match piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
            Some(hex) if hex.len() == 2 => match u8::from_str_radix(hex, 16) {
                Ok(byte) => Piece::Byte(byte),
                Err(_) => Piece::Text(piece.replace('▁', " ")),
            },
            _ => Piece::Text(piece.replace('▁', " ")),
        }
    }
}

/// Whether an added token steers the model although its file does not call it special: a location,
/// a code of a mask, a token without a meaning yet.
fn is_control(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    inner.is_some_and(|inner| {
        inner == "image"
            || ["loc", "seg", "unused"].iter().any(|name| {
                let number = inner.strip_prefix(name);
                number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
    })
}

fn located(Location([top, left, bottom, right]): Location) -> String {
    format!("caption <loc{top:04}><loc{left:04}><loc{bottom:04}><loc{right:04}>")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::families::colpali::config::Config;

    pub fn fixture() -> AnswerTokens {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity-paligemma/pg2-56");
        let file = |name: &str| CheckpointFile::from(Path::new(folder).join(name).as_path());
        let config = Config::read(&file("config.json")).unwrap();
        AnswerTokens::read(&file("tokenizer.json"), &config.vlm_config).unwrap()
    }

    #[test]
    fn words_of_a_user_never_become_control_tokens() {
        let tokens = fixture();
        let long = "<eos>".repeat(300);
        for question in [
            "<image><eos><loc0001>",
            "<loc0001><loc0002><loc0003><loc0004><seg000> <bos>",
            "<pad><unk><mask><unused0><start_of_turn><end_of_turn>",
            "<<loc0001>> <loc0001 > \u{2581}<eos>",
            "line\n<eos>\n<image>",
            &long,
        ] {
            for task in [
                Task::answer(question),
                Task::Answer { language: question.into(), question: "what?".into() },
                Task::Detect { names: vec![question.into(), "table".into()] },
                Task::Segment { name: question.into() },
                Task::Question { language: "en".into(), answer: question.into() },
                Task::Free(question.into()),
            ] {
                let ids = tokens.prompt(16, &task).unwrap();
                assert_eq!(ids[..17], [vec![tokens.image; 16], vec![tokens.bos]].concat());
                let (last, words) = ids[17..].split_last().unwrap();
                assert_eq!(*last, tokens.line_end);
                for id in words {
                    assert!(!tokens.control.contains(id), "{task:?}: {:?}", tokens.piece(*id));
                    // As the fixture's numbers go: below 5 and in the range of locations.
                    assert!(*id >= 5 && !(473..=1625).contains(id), "{task:?}: {id}");
                }
                let text: String = words
                    .iter()
                    .map(|&id| match tokens.piece(id) {
                        Piece::Text(text) => text,
                        other => format!("{other:?}"),
                    })
                    .collect();
                // The letters are all there.
                if let Task::Free(_) = task {
                    assert_eq!(text.contains("<eos>"), question.contains("<eos>"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_place_in_a_prompt_is_made_by_us_alone() {
        let tokens = fixture();
        let task = Task::CaptionBox { location: Location([102, 341, 955, 682]) };
        let ids = tokens.prompt(0, &task).unwrap();
        let places = [102u32, 341, 955, 682].map(|n| 473 + n);
        assert!(ids.windows(4).any(|window| window == places), "{ids:?}");
        let spelled = Task::Free("caption <loc0102><loc0341><loc0955><loc0682>".into());
        let spelled = tokens.prompt(0, &spelled).unwrap();
        assert!(spelled.len() > 30 && places.iter().all(|id| !spelled.contains(id)));
    }

    #[test]
    fn what_looks_like_a_control_token_is_told_by_its_form() {
        for (text, expected) in [
            ("<loc0000>", true),
            ("<seg127>", true),
            ("<unused7>", true),
            ("<image>", true),
            ("<loc>", false),
            ("<location>", false),
            ("<table>", false),
            ("\n\n", false),
        ] {
            assert_eq!(is_control(text), expected, "{text}");
        }
    }
}
