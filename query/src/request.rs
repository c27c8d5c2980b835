//! What a search is asked: the question, how it is to be answered, and what it runs on.

use pagesight_core::seam::{DocumentFilter, QueryEncoder, TextIndex, VectorSource};
use pagesight_core::{Channel, Fusion, ModelId};
use pagesight_maxsim::Segments;

use crate::effort::Effort;
use crate::parts::joined::Joined;
use crate::passages::{PassageSource, PassageWeights};
use crate::question::Question;
use crate::verdict::Calibration;
use crate::visual::Backgrounds;

/// What a search runs on, all of one snapshot. [`new`](Self::new) fills in the rest:
/// `Sources { codes, ..Sources::new(vectors, text) }`.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The stored multi-vectors.
    pub vectors: &'a dyn VectorSource,
    /// The words.
    pub text: &'a dyn TextIndex,
    /// Codes of all multi-vectors. Without them the multi-vectors themselves are scanned.
    pub codes: Option<&'a Segments>,
    /// What has the codes in place of [`codes`](Self::codes), where several machines have a part of them
    /// each. It has the words then, too.
    pub parts: Option<&'a Joined>,
    /// The model, which encodes words for the patches. Without one, a question of words is asked in
    /// the words alone.
    pub encoder: Option<&'a dyn QueryEncoder>,
    /// What pages give to any question, which is taken off. Without, pages with many vectors are
    /// favoured.
    pub backgrounds: Option<&'a Backgrounds>,
    /// What the text of the pages means. Without it the passages are not asked.
    pub passages: Option<PassageSource<'a>>,
}

impl<'a> Sources<'a> {
    /// Vectors and words, without codes and without a model.
    pub fn new(vectors: &'a dyn VectorSource, text: &'a dyn TextIndex) -> Self {
        Self {
            vectors,
            text,
            codes: None,
            parts: None,
            encoder: None,
            backgrounds: None,
            passages: None,
        }
    }
}

/// A question, and how it is to be answered. [`new`](Self::new) fills in the defaults:
/// `Request { k: 3, ..Request::new(&question) }`.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is asked.
    pub question: &'a Question,
    /// The channels to ask; patches and words by default. One that cannot answer is passed over as
    /// long as another can.
    pub channels: Vec<Channel>,
    /// How many hits to return; 10 by default.
    pub k: usize,
    /// How many pages each channel finds before they are fused; 100 by default.
    pub depth: usize,
    /// Which documents may be found; `None` for all.
    pub documents: DocumentFilter<'a>,
    /// Whether to say what of each hit answers each query token.
    pub explain: bool,
    /// How much is read to rank by late interaction.
    pub effort: Effort,
    /// How far the patches are trusted beside the other channels.
    pub fusion: Fusion,
    /// What the two kinds of vectors of the passages count beside the words.
    pub passages: PassageWeights,
    /// Whether what a page gives to any question is taken off the scores of its patches; so by
    /// default, where it is known.
    pub background: bool,
    /// The model that made the patches: what its scores are worth was fitted for it, or not.
    pub model: Option<&'a ModelId>,
    /// What scores are worth.
    pub calibration: Calibration,
}

impl<'a> Request<'a> {
    /// Asks `question` with the defaults.
    pub fn new(question: &'a Question) -> Self {
        Self {
            question,
            channels: vec![Channel::Patches, Channel::Words],
            k: 10,
            depth: 100,
            documents: None,
            explain: false,
            effort: Effort::default(),
            fusion: Fusion::default(),
            passages: PassageWeights::default(),
            background: true,
            model: None,
            calibration: Calibration::default(),
        }
    }
}
