//! Questions as a model sees them: encoded once, and used for searches, heat maps and regions.

use std::ops::Range;
use std::sync::Arc;

use pagesight_core::seam::{BoxError, PassageEncoder, QueryEncoder};
use pagesight_core::{
    Channel, EmbedderRecord, EncodedPassages, ModelId, PassageQuestion, QueryVectors,
};
use pagesight_query::{QuestionWord, question_words, words_of_tokens};

use crate::recent::Recent;

/// Questions that an index keeps encoded.
pub(crate) const KEPT: usize = 256;

/// A question with its vectors and its words. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EncodedQuestion {
    channel: Channel,
    text: String,
    vectors: Arc<QueryVectors>,
    words: Vec<QuestionWord>,
    model: Option<ModelId>,
}

impl EncodedQuestion {
    /// Vectors that were made elsewhere, rows of length 1, and the words of the question if they
    /// are known; no token of them has a word.
    pub fn of_vectors(vectors: QueryVectors, text: impl Into<String>) -> Self {
        Self::new(Channel::Patches, text.into(), Arc::new(vectors), None)
    }

    pub(crate) fn new(
        channel: Channel,
        text: String,
        vectors: Arc<QueryVectors>,
        model: Option<ModelId>,
    ) -> Self {
        let words = question_words(&text, &vectors);
        Self { channel, text, vectors, words, model }
    }

    /// Whose vectors it is compared with: those of patches, or those of the tokens of passages.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The question; empty for vectors alone.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// One vector a query token.
    pub fn vectors(&self) -> &QueryVectors {
        &self.vectors
    }

    /// The words as split at white space, each with its tokens.
    pub fn words(&self) -> &[QuestionWord] {
        &self.words
    }

    /// The word of each token, where it has one.
    pub fn words_of_tokens(&self) -> Vec<Option<usize>> {
        words_of_tokens(&self.words, self.vectors.len())
    }

    /// The model that encoded it; `None` for vectors that were made elsewhere.
    pub fn model(&self) -> Option<&ModelId> {
        self.model.as_ref()
    }
}

/// Encodes questions with a model, and those that were asked lately not again.
pub(crate) struct Remembering<'a> {
    pub encoder: &'a dyn QueryEncoder,
    pub model: &'a ModelId,
    pub kept: &'a Recent<(ModelId, String), Arc<QueryVectors>>,
}

impl Remembering<'_> {
    /// The vectors of `question`.
    pub fn encode(&self, question: &str) -> Result<Arc<QueryVectors>, BoxError> {
        let key = (self.model.clone(), question.to_string());
        if let Some(vectors) = self.kept.get(&key) {
            return Ok(vectors);
        }
        let vectors = self.encoder.encode_queries(&[question])?.pop();
        let vectors = Arc::new(vectors.ok_or("the encoder gave nothing back")?);
        self.kept.keep(key, Arc::clone(&vectors));
        Ok(vectors)
    }
}

impl QueryEncoder for Remembering<'_> {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        queries.iter().map(|query| Ok((*self.encode(query)?).clone())).collect()
    }
}

/// Encodes questions for passages, and those that were asked lately not again.
pub(crate) struct RememberingPassages<'a> {
    pub encoder: &'a dyn PassageEncoder,
    pub model: ModelId,
    pub kept: &'a Recent<(ModelId, String), PassageQuestion>,
}

impl PassageEncoder for RememberingPassages<'_> {
    fn record(&self) -> EmbedderRecord {
        self.encoder.record()
    }

    fn passages(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError> {
        self.encoder.passages(text)
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Option<EncodedPassages>>, BoxError> {
        self.encoder.encode_texts(texts)
    }

    fn tokens(&self, text: &str) -> Result<Vec<Range<usize>>, BoxError> {
        self.encoder.tokens(text)
    }

    fn understands(&self, question: &str) -> bool {
        self.encoder.understands(question)
    }

    fn encode_question(&self, question: &str) -> Result<PassageQuestion, BoxError> {
        let key = (self.model.clone(), question.to_string());
        if let Some(known) = self.kept.get(&key) {
            return Ok(known);
        }
        let encoded = self.encoder.encode_question(question)?;
        self.kept.keep(key, encoded.clone());
        Ok(encoded)
    }
}
