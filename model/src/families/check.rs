//! Proof against a reference, for families that see a page in one piece: the steps that are the same
//! for all of them. What happens to a page before its tokens is the family's own.

use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor};
use pagesight_core::ModelSource;
use pagesight_maxsim::maxsim_reference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::blocks::linear::{lanes, tensor};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::staged::Staged;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{
    ParityError, Stages, Tolerances, id_tensor, max_difference, numbers, page_pictures,
};
use crate::precision::Precision;

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

/// Where the rows of a sequence are in a batch of the reference.
#[derive(Debug, Clone, Copy)]
struct OfBatch {
    /// Its number.
    row: usize,
    /// Its positions.
    length: usize,
    /// Whether the batch is padded before it, not after it.
    padded_before: bool,
}

impl OfBatch {
    /// The rows of the sequence in the tensor of a batch.
    fn rows(self, batch: &Tensor) -> Result<Tensor, ParityError> {
        let rows = batch.get(self.row)?;
        let padding = rows.dim(0)?.saturating_sub(self.length);
        let (start, count) = (if self.padded_before { padding } else { 0 }, rows.dim(0)? - padding);
        Ok(rows.narrow(0, start, count)?.contiguous()?)
    }
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
        self.layers(&kind, sequence, None)
    }

    /// The layers, the last norm and the head of one sequence, each fed with the reference's own
    /// input; of a batch the row `of_batch`.
    fn layers(
        &mut self,
        kind: &str,
        sequence: &M::Sequence,
        of_batch: Option<OfBatch>,
    ) -> Result<(), ParityError> {
        let (model, tolerances) = (&self.model, self.tolerances);
        let get = |stages: &Stages, what: &str| -> Result<Option<Tensor>, ParityError> {
            let name = format!("{kind}.{what}");
            if !stages.has(&name) {
                return Ok(None);
            }
            let tensor = stages.get(&name)?;
            Ok(Some(match of_batch {
                Some(of_batch) => of_batch.rows(&tensor)?,
                None => tensor,
            }))
        };
        let Some(input) = get(&self.stages, "lm.input")? else { return Ok(()) };
        let name = |what: &str| match of_batch {
            Some(of_batch) => format!("{kind}{}.{what}", of_batch.row),
            None => format!("{kind}.{what}"),
        };
        let input = lanes(&input)?;
        let mut x = input.clone();
        for n in 0..=model.depth() {
            let what;
            if n < model.depth() {
                x = model.layer(n, sequence, &input, &x)?;
                what = format!("lm.layer.{n}");
            } else {
                x = model.output(&x);
                what = "lm.output".into();
            }
            if let Some(expected) = get(&self.stages, &what)? {
                let worst = max_difference(&tensor(&x)?, &expected)?;
                self.stages.report(&name(&what), tolerances.stage, worst);
                x = lanes(&expected)?;
            }
        }
        if let Some(expected) = get(&self.stages, "head.output")? {
            let worst = max_difference(&model.head().forward(&tensor(&x)?)?, &expected)?;
            self.stages.report(&name("head.output"), tolerances.stage, worst);
        }
        if let Some(expected) = get(&self.stages, "embeddings")? {
            let worst = max_difference(&model.vectors(&x)?, &expected)?;
            self.stages.report(&name("normalisation"), tolerances.vectors, worst);
        }
        Ok(())
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
            self.question_input(sequence, of_batch)?;
            self.layers("hf.query", sequence, Some(of_batch))?;
        }
        self.whole_questions("hf", pages)
    }

    /// The ids, the mask and the model's input of a question.
    fn question_input(
        &mut self,
        sequence: &M::Sequence,
        of_batch: OfBatch,
    ) -> Result<(), ParityError> {
        let OfBatch { row, length, padded_before } = of_batch;
        let stages = &mut self.stages;
        let expected = of_batch.rows(&stages.get("hf.query.input_ids")?)?;
        let worst = max_difference(&id_tensor(M::ids(sequence))?, &expected)?;
        stages.report(&format!("hf.query{row}.input_ids"), 0.0, worst);
        let mask = stages.get("hf.query.attention_mask")?.get(row)?;
        let width = mask.dim(0)?;
        let is_seen = |i: usize| if padded_before { i + length >= width } else { i < length };
        let seen: Vec<u32> = (0..width).map(|i| u32::from(is_seen(i))).collect();
        let worst = max_difference(&id_tensor(&seen)?, &mask)?;
        stages.report(&format!("hf.query{row}.attention_mask"), 0.0, worst);
        let expected = of_batch.rows(&stages.get("hf.query.lm.input")?)?;
        let worst = max_difference(&tensor(&self.model.input(sequence)?)?, &expected)?;
        stages.report(&format!("hf.query{row}.lm.input"), self.tolerances.stage, worst);
        Ok(())
    }

    /// The vectors of the questions from end to end, encoded in one batch, and their scores.
    fn whole_questions(
        &mut self,
        kind: &str,
        pages: &[Tensor],
    ) -> Result<Vec<Tensor>, ParityError> {
        let sequences = self.sequences()?;
        let expected = self.stages.get("hf.query.embeddings")?;
        let mut asked = Vec::new();
        for (row, part) in self.encoded(&sequences)?.into_iter().enumerate() {
            let length = M::ids(&sequences[row]).len();
            let of_batch = OfBatch { row, length, padded_before: M::PADDED_BEFORE };
            let worst = max_difference(&part, &of_batch.rows(&expected)?)?;
            let name = format!("{kind}.query{row}.embeddings");
            self.stages.report(&name, self.tolerances.vectors, worst);
            asked.push(part);
        }
        self.scores(kind, &asked, pages)?;
        Ok(asked)
    }

    /// The vectors of questions that are encoded in one batch, `[positions, dim]` of each.
    fn encoded(&self, questions: &[M::Sequence]) -> Result<Vec<Tensor>, ParityError> {
        let ids: Vec<&[u32]> = questions.iter().map(M::ids).collect();
        let rows = self.model.encode_texts(&ids)?;
        let dim = rows.len() / ids.iter().map(|ids| ids.len()).sum::<usize>().max(1);
        let mut rest = rows.as_slice();
        let parts = ids.iter().map(|ids| {
            let (part, after) = rest.split_at(ids.len() * dim);
            rest = after;
            Ok(Tensor::from_slice(part, (ids.len(), dim), &CandleDevice::Cpu)?)
        });
        parts.collect()
    }

    /// MaxSim of each question with each page, or its mean over the tokens of the question.
    fn scores(
        &mut self,
        kind: &str,
        questions: &[Tensor],
        pages: &[Tensor],
    ) -> Result<(), ParityError> {
        let pages = pages.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let row = |question: &Tensor| -> Result<Tensor, ParityError> {
            let (tokens, dim) = question.dims2()?;
            let (question, parts) = (numbers(question)?, if M::MEAN { tokens as f32 } else { 1.0 });
            let score = |page: &Vec<f32>| maxsim_reference(dim, &question, page) as f32 / parts;
            let scores: Vec<f32> = pages.iter().map(score).collect();
            Ok(Tensor::new(scores, &CandleDevice::Cpu)?)
        };
        let scores = questions.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("hf.scores", 1e-4, &scores, None)?;
        if let Some(report) = self.stages.reports.last_mut() {
            report.stage = format!("{kind}.scores");
        }
        Ok(())
    }

    fn sequences(&self) -> Result<Vec<M::Sequence>, ParityError> {
        let sequences = self.queries.iter().map(|text| Ok(M::text(self.model.query(text)?.ids)));
        sequences.collect()
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
            let rows = self.encoded(&[sequence])?.remove(0);
            self.stages.compare_one(&name("embeddings"), self.tolerances.vectors, &rows)?;
        }
        Ok(())
    }
}
