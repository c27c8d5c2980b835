//! Proof against a reference, for families that see a page in one piece: the steps that are the same
//! for all of them. What happens to a page before its tokens is the family's own.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use pagesight_core::ModelSource;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::error::ModelError;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{
    OfBatch, ParityError, Stages, Steps, Tolerances, id_tensor, max_difference, page_pictures,
};
use crate::precision::Precision;

/// A model that can be stopped between any two of its steps.
pub trait Staged {
    /// What its language model reads: ids, and what it needs to know beside them.
    type Sequence;

    /// Whether the reference pads a batch of questions before them, not after them.
    const PADDED_BEFORE: bool;

    /// Whether the reference scores by the mean over the tokens of a question, not by the sum.
    const MEAN: bool;

    /// A question with what the recipe puts around it.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    fn question(&self, text: &str) -> Result<Self::Sequence, ModelError>;

    /// The ids of a sequence.
    fn ids(sequence: &Self::Sequence) -> &[u32];

    /// What the first layer reads of a question, `[positions, width]`.
    ///
    /// # Errors
    /// [`ParityError::Model`].
    fn input(&self, question: &Self::Sequence) -> Result<Tensor, ParityError>;

    /// The vectors of questions, encoded in one batch, `[sum of positions, dim]`.
    ///
    /// # Errors
    /// [`ParityError::Model`].
    fn encode(&self, questions: &[Self::Sequence]) -> Result<Tensor, ParityError>;

    /// The vectors of page `n`, `[positions, dim]`, from the reference's own resized picture on.
    ///
    /// # Errors
    /// [`ParityError`].
    fn page(&self, stages: &Stages, n: usize) -> Result<Tensor, ParityError>;

    /// The language model, layer by layer, on a sequence.
    fn steps<'a>(&'a self, sequence: &'a Self::Sequence) -> impl Steps + 'a;
}

/// `fixture.json`: what all families have, and what is `F`, the family's own.
#[derive(Deserialize)]
pub struct Fixture<F> {
    strings: Strings,
    /// The fields that only this family has.
    #[serde(flatten)]
    pub own: F,
}

#[derive(Deserialize)]
struct Strings {
    queries: Vec<String>,
}

impl<F: DeserializeOwned> Fixture<F> {
    /// Reads that of `folder`.
    ///
    /// # Errors
    /// [`ParityError::Model`] when it cannot be read.
    pub fn read(folder: &Path) -> Result<Self, ParityError> {
        Ok(read_json(&folder.join("fixture.json").as_path().into())?)
    }
}

/// Opens the checkpoint in `folder`, to be run on the CPU in f32.
///
/// # Errors
/// [`ParityError::Model`].
pub fn open(
    folder: &Path,
    recipe: Option<RecipeChoice>,
) -> Result<(Checkpoint, LoadOptions), ParityError> {
    let options = LoadOptions {
        recipe,
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    Ok((Checkpoint::open(&ModelSource::Folder(folder.into()), &options)?, options))
}

/// A model beside the tensors of its reference.
pub struct Check<M> {
    /// The model; other layouts of the same weights take its place.
    pub model: M,
    /// The tensors, and what comparing has found so far.
    pub stages: Stages,
    /// How far stages may be off.
    pub tolerances: Tolerances,
    /// The pictures of pages, in order.
    pub pictures: Vec<PathBuf>,
    queries: Vec<String>,
}

impl<M: Staged> Check<M> {
    /// Takes what is to be compared from `folder`.
    ///
    /// # Errors
    /// [`ParityError`] for tensors and pictures that cannot be read.
    pub fn new<F>(
        folder: &Path,
        fixture: &Fixture<F>,
        model: M,
        tolerances: Tolerances,
    ) -> Result<Self, ParityError> {
        let (stages, pictures) = (Stages::read(folder)?, page_pictures(folder)?);
        Ok(Self { model, stages, tolerances, pictures, queries: fixture.strings.queries.clone() })
    }

    /// The rule by which pictures are resized, on the fixture's cases: how many `is_right` refuses.
    pub fn sizes<C>(&mut self, cases: &[C], is_right: impl Fn(&C) -> bool) {
        if cases.is_empty() {
            return;
        }
        let wrong = cases.iter().filter(|case| !is_right(case)).count();
        self.stages.report("resize_cases", 0.0, wrong as f64);
    }

    /// The ids of page `n`.
    ///
    /// # Errors
    /// [`ParityError::Missing`].
    pub fn page_ids(&mut self, n: usize, sequence: &M::Sequence) -> Result<(), ParityError> {
        let ids = id_tensor(M::ids(sequence))?;
        self.stages.compare_one(&format!("hf.page{n}.input_ids"), 0.0, &ids)
    }

    /// The language model on page `n`, whose first layer reads `input`: every layer, each fed with
    /// the reference's own input.
    ///
    /// # Errors
    /// [`ParityError`].
    pub fn page_layers(
        &mut self,
        n: usize,
        sequence: &M::Sequence,
        input: &Tensor,
    ) -> Result<(), ParityError> {
        let kind = format!("hf.page{n}");
        self.stages.compare_one(&format!("{kind}.lm.input"), self.tolerances.stage, input)?;
        self.stages.layers(&kind, &self.model.steps(sequence), None, self.tolerances)
    }

    /// The vectors of page `n` from end to end, against those called `expected`.
    ///
    /// # Errors
    /// [`ParityError`].
    pub fn whole_page(
        &mut self,
        n: usize,
        kind: &str,
        expected: &str,
        tolerance: f64,
    ) -> Result<Tensor, ParityError> {
        let rows = self.model.page(&self.stages, n)?;
        let expected = self.stages.get(&format!("{expected}.page{n}.embeddings"))?;
        let worst = max_difference(&rows, &expected)?;
        self.stages.report(&format!("{kind}.page{n}.embeddings"), tolerance, worst);
        Ok(rows)
    }

    /// All stages of the questions, their vectors, and their scores on `pages`, the vectors of all
    /// pages.
    ///
    /// # Errors
    /// [`ParityError`].
    pub fn questions(&mut self, pages: &[Tensor]) -> Result<Vec<Tensor>, ParityError> {
        for (row, sequence) in self.sequences()?.iter().enumerate() {
            let length = M::ids(sequence).len();
            let of_batch = OfBatch { row, length, padded_before: M::PADDED_BEFORE };
            let input = self.model.input(sequence)?;
            let stage = self.tolerances.stage;
            self.stages.query_input(M::ids(sequence), &input, of_batch, stage)?;
            let steps = self.model.steps(sequence);
            self.stages.layers("hf.query", &steps, Some(of_batch), self.tolerances)?;
        }
        self.whole_questions("hf", pages)
    }

    /// The vectors of the questions from end to end, encoded in one batch, and their scores.
    fn whole_questions(
        &mut self,
        kind: &str,
        pages: &[Tensor],
    ) -> Result<Vec<Tensor>, ParityError> {
        let sequences = self.sequences()?;
        let rows = self.model.encode(&sequences)?;
        let lengths: Vec<usize> = sequences.iter().map(|s| M::ids(s).len()).collect();
        let tolerance = self.tolerances.vectors;
        let asked = self.stages.queries(kind, &rows, &lengths, M::PADDED_BEFORE, tolerance)?;
        self.stages.scores(kind, &asked, pages, M::MEAN)?;
        Ok(asked)
    }

    fn sequences(&self) -> Result<Vec<M::Sequence>, ParityError> {
        let sequences = self.queries.iter().map(|text| self.model.question(text));
        Ok(sequences.collect::<Result<_, _>>()?)
    }

    /// Another layout of the same weights from end to end: pages, questions and scores.
    ///
    /// # Errors
    /// [`ParityError`].
    pub fn layout(&mut self, kind: &str, model: M, of_pages: f64) -> Result<(), ParityError> {
        self.model = model;
        let pages = (0..self.pictures.len()).map(|n| self.whole_page(n, kind, "hf", of_pages));
        let pages = pages.collect::<Result<Vec<_>, _>>()?;
        self.whole_questions(kind, &pages)?;
        Ok(())
    }

    /// Pages and questions with another recipe or with other weights, where the tensors of `kind`
    /// are there.
    ///
    /// # Errors
    /// [`ParityError`].
    pub fn variant(&mut self, kind: &str, model: M) -> Result<(), ParityError> {
        self.model = model;
        for n in 0..self.pictures.len() {
            if self.stages.has(&format!("{kind}.page{n}.embeddings")) {
                self.whole_page(n, kind, kind, self.tolerances.vectors)?;
            }
        }
        for (n, sequence) in self.sequences()?.into_iter().enumerate() {
            let name = |what: &str| format!("{kind}.query{n}.{what}");
            if !self.stages.has(&name("embeddings")) {
                continue;
            }
            if self.stages.has(&name("input_ids")) {
                let ids = id_tensor(M::ids(&sequence))?;
                self.stages.compare_one(&name("input_ids"), 0.0, &ids)?;
            }
            let rows = self.model.encode(&[sequence])?;
            self.stages.compare_one(&name("embeddings"), self.tolerances.vectors, &rows)?;
        }
        Ok(())
    }
}
