//! The embedder: passages and questions in, vectors out.

use std::path::PathBuf;

use pagesight_core::seam::{BoxError, PassageEncoder};
use pagesight_core::{
    EmbedderRecord, EncodedPassages, ModelSource, PageVectors, PassageQuestion, QueryToken,
    QueryVectors,
};

use crate::blocks::lanes::Lanes;
use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::hub_cache::HubCache;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::weights::Weights;
use crate::embedder::basis::Basis;
use crate::embedder::bert::{Bert, KEY};
use crate::embedder::config::Config;
use crate::embedder::cut::{self, Passage};
use crate::embedder::names::NAMES;
use crate::embedder::recipe::{EmbedderRecipe, Languages, Pooling};
use crate::embedder::tokens::Tokens;
use crate::error::ModelError;
use crate::options::LoadOptions;
use crate::precision::Precision;

/// Passages that go through the model at once: enough work for all cores, and little memory.
const AT_ONCE: usize = 16;

/// Bytes of a question that are looked at.
const QUESTION_BYTES: usize = 4096;

/// How an embedder is loaded.
#[derive(Debug, Clone, Default)]
pub struct EmbedderOptions {
    /// The folder of the model that comes with the program.
    pub shipped: Option<PathBuf>,
    /// Takes the place of the model's own recipe, such as an index keeps it.
    pub recipe: Option<String>,
    /// Takes the place of the precision that the weights are stored in.
    pub precision: Option<Precision>,
    /// The hub's local cache, where models of a hub are looked up.
    pub hub: Option<HubCache>,
    /// A file that remembers the hashes of weights files.
    pub digests: Option<PathBuf>,
}

/// A model of meaning. See [`find_embedder`](crate::find_embedder) for the one that comes with the
/// program.
#[derive(Debug, Clone)]
pub struct Embedder {
    record: EmbedderRecord,
    recipe: EmbedderRecipe,
    tokens: Tokens,
    bert: Bert,
    basis: Option<Basis>,
    /// Pieces of the prefix of each passage.
    passage_prefix: Vec<u32>,
}

impl Embedder {
    /// Loads the model of `source`.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] when it is nowhere, [`ModelError::UnknownFamily`] when it is not of
    /// BERT's shape, and [`ModelError`] with file and key for whatever is missing, left over, of
    /// another shape or cut off.
    pub fn load(source: &ModelSource, options: &EmbedderOptions) -> Result<Self, ModelError> {
        let place = match (source, &options.shipped) {
            (ModelSource::MiniLm, Some(folder)) => ModelSource::Folder(folder.clone()),
            _ => source.clone(),
        };
        let loading = LoadOptions { hub: options.hub.clone(), ..LoadOptions::default() };
        let checkpoint = Checkpoint::open(&place, &loading)?;
        let config = Config::read(&checkpoint.file("config.json"))?;
        let tokens = Tokens::read(&checkpoint.file("tokenizer.json"), &config)?;
        let mut recipe = match &options.recipe {
            Some(json) => serde_json::from_str(json)
                .map_err(|source| ModelError::Config { path: "recipe".into(), source })?,
            None => EmbedderRecipe::of(&checkpoint, &config)?,
        };
        recipe.dim = recipe.dim.filter(|&dim| dim > 0 && dim < config.hidden_size);
        let weights = Weights::open(&checkpoint, &NAMES)?;
        let path = checkpoint.of_weights().shown();
        let (precision, of_the_weights) = choose_precision(options.precision, &weights, KEY, path)?;
        let basis = Basis::of(&checkpoint, config.hidden_size)?;
        let written = serde_json::to_string(&recipe).expect("plain data");
        let identity = format!(
            "{written}\0{}\0{}",
            basis.as_ref().map_or("", |basis| basis.digest.as_str()),
            if of_the_weights { String::new() } else { precision.to_string() },
        );
        let digests = Digests::new(options.digests.clone());
        let record = EmbedderRecord {
            id: model_id(&checkpoint, &identity, &digests)?,
            pooled_dim: recipe.dim.unwrap_or(config.hidden_size),
            token_dim: basis.as_ref().map_or(config.hidden_size, Basis::dim),
            source: Some(match source {
                ModelSource::Folder(_) => checkpoint.source().clone(),
                source => source.clone(),
            }),
            recipe: Some(written),
        };
        let bert = Bert::take(weights, precision, &config)?;
        let passage_prefix = tokens.pieces(&recipe.passage_prefix)?.get_ids().to_vec();
        Ok(Self { record, recipe, tokens, bert, basis, passage_prefix })
    }

    /// The recipe in force.
    pub fn recipe(&self) -> &EmbedderRecipe {
        &self.recipe
    }

    #[cfg(test)]
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The last hidden states of `texts`, ids with the special pieces: a row a piece.
    #[cfg(test)]
    pub(crate) fn hidden(&self, texts: &[&[u32]]) -> Vec<f32> {
        self.bert.encode(texts).to_rows()
    }

    fn cut(&self, text: &str) -> Result<Vec<Passage>, ModelError> {
        let most = self.tokens.most.saturating_sub(self.passage_prefix.len());
        cut::passages(&self.tokens, text, most)
    }

    /// Encodes texts, framed ids with `before` pieces in front that are the text's own no more:
    /// pooled rows and token rows of each.
    fn rows(&self, texts: &[&[u32]], before: usize) -> Vec<Rows> {
        // All of it on a thread of the pool: from outside, each of its hundred steps would be handed
        // over and waited for, which takes longer than the step where the machine is busy.
        let (hidden, tokens) = rayon::scope(|_| {
            let hidden = self.bert.encode(texts);
            let tokens = self.token_rows(&hidden);
            (hidden, tokens)
        });
        let (width, dim) = (hidden.width(), self.record.token_dim);
        let hidden = hidden.to_rows();
        let mut at = 0;
        let of = |text: &&[u32]| {
            let (first, end) = (at, at + text.len());
            at = end;
            let states = &hidden[first * width..end * width];
            let mut pooled = match self.recipe.pooling {
                Pooling::Cls => states[..width].to_vec(),
                Pooling::Mean => mean(states, width),
            };
            pooled.truncate(self.record.pooled_dim);
            unit(&mut pooled);
            // Without the two special pieces and the prefix.
            let own = first + 1 + before..end - 1;
            Rows { pooled, tokens: tokens[own.start * dim..own.end * dim].to_vec() }
        };
        texts.iter().map(of).collect()
    }

    /// The vectors of tokens: hidden states of length 1, in the basis where there is one.
    fn token_rows(&self, hidden: &Lanes) -> Vec<f32> {
        let width = hidden.width();
        let states = hidden.to_rows();
        let mut rows = match &self.basis {
            Some(basis) => basis.project(hidden).to_rows(),
            None => states.clone(),
        };
        let dim = self.record.token_dim;
        for (row, state) in rows.chunks_exact_mut(dim).zip(states.chunks_exact(width)) {
            let length = length(state);
            row.iter_mut().for_each(|value| *value /= length);
        }
        rows
    }
}

/// The vectors of one text.
struct Rows {
    /// `[pooled_dim]`
    pooled: Vec<f32>,
    /// `[n, token_dim]`
    tokens: Vec<f32>,
}

impl PassageEncoder for Embedder {
    fn record(&self) -> EmbedderRecord {
        self.record.clone()
    }

    fn passages(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>, BoxError> {
        Ok(self.cut(text)?.into_iter().map(|passage| passage.range).collect())
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Option<EncodedPassages>>, BoxError> {
        let cut: Vec<Vec<Passage>> =
            texts.iter().map(|text| self.cut(text)).collect::<Result<_, _>>()?;
        let framed: Vec<Vec<u32>> = cut
            .iter()
            .flatten()
            .map(|passage| {
                let prefix = self.passage_prefix.iter().copied();
                self.tokens.framed(prefix.chain(passage.ids.iter().copied()))
            })
            .collect();
        let mut rows = Vec::with_capacity(framed.len());
        for some in framed.chunks(AT_ONCE) {
            let some: Vec<&[u32]> = some.iter().map(Vec::as_slice).collect();
            rows.extend(self.rows(&some, self.passage_prefix.len()));
        }
        let mut rows = rows.into_iter();
        let page = |passages: Vec<Passage>| -> Result<Option<EncodedPassages>, BoxError> {
            if passages.is_empty() {
                return Ok(None);
            }
            let (mut pooled, mut tokens) = (Vec::new(), Vec::new());
            for rows in rows.by_ref().take(passages.len()) {
                pooled.extend(rows.pooled);
                tokens.extend(rows.tokens);
            }
            Ok(Some(EncodedPassages {
                pooled: PageVectors::from_f32(self.record.pooled_dim, &pooled)?,
                tokens: PageVectors::from_f32(self.record.token_dim, &tokens)?,
            }))
        };
        cut.into_iter().map(page).collect()
    }

    fn tokens(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>, BoxError> {
        Ok(self.cut(text)?.into_iter().flat_map(|passage| passage.pieces).collect())
    }

    fn understands(&self, question: &str) -> bool {
        if self.recipe.languages == Languages::Many {
            return question.chars().any(char::is_alphanumeric);
        }
        let question = &question[..question.floor_char_boundary(QUESTION_BYTES)];
        let letters = || question.chars().filter(|c| c.is_alphabetic());
        let latin = letters().filter(|&c| is_latin(c)).count();
        if latin == 0 || latin as f64 <= MOSTLY * letters().count() as f64 {
            return false;
        }
        let words = question.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
        let Ok(pieces) = self.tokens.pieces(question) else { return false };
        let of_words = pieces.get_offsets().iter().filter(|&&(start, end)| {
            question.get(start..end).is_none_or(|part| part.contains(char::is_alphanumeric))
        });
        of_words.count() as f64 <= PIECES_A_WORD * words.count() as f64
    }

    fn encode_question(&self, question: &str) -> Result<PassageQuestion, BoxError> {
        let question = &question[..question.floor_char_boundary(QUESTION_BYTES)];
        let prefix = &self.recipe.query_prefix;
        let text = format!("{prefix}{question}");
        let pieces = self.tokens.pieces(&text)?;
        let offsets = pieces.get_offsets();
        let before = offsets.iter().take_while(|(_, end)| *end <= prefix.len()).count();
        let end = pieces.get_ids().len().min(self.tokens.most);
        let ids = self.tokens.framed(pieces.get_ids()[..end].iter().copied());
        let before = before.min(end);
        let rows = self.rows(&[&ids], before).pop().expect("one text, one answer");
        let of = |(&id, &(start, end)): (&u32, &(usize, usize))| {
            let span = start.saturating_sub(prefix.len())..end.saturating_sub(prefix.len());
            let spelled = !self.tokens.is_unknown(id);
            QueryToken { spelled, ..QueryToken::of(self.tokens.name(id), span) }
        };
        let own = before..end;
        let mut tokens: Vec<QueryToken> =
            pieces.get_ids()[own.clone()].iter().zip(&offsets[own]).map(of).collect();
        let mut values = rows.tokens;
        if tokens.is_empty() {
            // Nothing was asked: a row of zeros scores 0 everywhere.
            tokens.push(QueryToken { spelled: false, ..QueryToken::special("") });
            values = vec![0.0; self.record.token_dim];
        }
        let whole = vec![QueryToken::of(question, 0..question.len())];
        Ok(PassageQuestion {
            pooled: QueryVectors::new(self.record.pooled_dim, rows.pooled, whole)?,
            tokens: QueryVectors::new(self.record.token_dim, values, tokens)?,
        })
    }
}

/// The share of letters that must be Latin in a question for a model of English.
const MOSTLY: f64 = 0.9;

/// Pieces that a word of such a question may have on average: English words are mostly one piece,
/// those of other languages, and made-up names, several.
const PIECES_A_WORD: f64 = 1.5;

fn is_latin(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | 'ª' | 'º' | 'À'..='ɏ' | 'Ḁ'..='ỿ' | 'ﬀ'..='ﬆ' | 'Ａ'..='ｚ')
}

/// The mean of rows.
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let n = (rows.len() / width) as f64;
    sum.into_iter().map(|sum| (sum / n) as f32).collect()
}

fn unit(row: &mut [f32]) {
    let length = length(row);
    row.iter_mut().for_each(|value| *value /= length);
}

/// Of a row of zeros 1, so that it stays one.
fn length(row: &[f32]) -> f32 {
    let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
    if squares > 0.0 { squares.sqrt() as f32 } else { 1.0 }
}
