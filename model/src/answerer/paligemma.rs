//! A PaliGemma in memory: it reads a picture and a prompt at once, and writes a text token by token.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use candle_core::Tensor;
use pagesight_core::{ModelSource, PageImage};
use pagesight_simd::resize_bicubic;
use serde::Deserialize;

use crate::answerer::beams::{Beam, Search};
use crate::answerer::cpu::CpuModel;
use crate::answerer::decoding::{Choice, Decoding, Generated, Stop};
use crate::answerer::gpu::GpuModel;
use crate::answerer::names::NAMES;
use crate::answerer::sampling::{Chance, Sampling, best, log_sum_exp};
use crate::answerer::sequences::{Begun, Sequences};
use crate::answerer::stops::stops;
use crate::answerer::stream::TextStream;
use crate::answerer::task::Task;
use crate::answerer::tokens::AnswerTokens;
use crate::blocks::cache::Cache;
use crate::blocks::elementwise::tanh;
use crate::blocks::lanes::LANES;
use crate::blocks::matmul::MOST_OF_FEW;
use crate::blocks::quantize::choose_precision;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::digest::Digests;
use crate::checkpoint::identity::model_id;
use crate::checkpoint::json::read_json;
use crate::checkpoint::weights::Weights;
use crate::device::Device;
use crate::error::ModelError;
use crate::families::colpali::config::Config;
use crate::families::colpali::processor::normalisation;
use crate::families::engine::Engine;
use crate::families::normalisation::Normalisation;
use crate::gate;
use crate::gpu;
use crate::options::LoadOptions;
use crate::precision::Precision;

/// PaliGemma 1 or 2. All methods take `&self`, so threads can share it.
///
/// It gives the numbers of `PaliGemmaForConditionalGeneration` in transformers 4.57.6 with its cache
/// and eager attention, with two exceptions that follow the model's training: the bound of PaliGemma
/// 2's logits is in the probabilities, and PaliGemma 2 has no sliding window.
#[derive(Debug)]
pub struct PaliGemma {
    pub(crate) config: Config,
    pub(crate) normalisation: Normalisation,
    pub(crate) tokens: AnswerTokens,
    engine: Engine<CpuModel, GpuModel>,
    stops: BTreeSet<u32>,
    precision: Precision,
}

/// A text that is being written.
struct Writing<'a, C> {
    caches: C,
    logits: Vec<f32>,
    stream: TextStream<'a>,
    chance: Chance,
    written: Generated,
    is_done: bool,
}

#[derive(Deserialize)]
struct ModelType {
    model_type: Option<String>,
}

/// The weights of a checkpoint, not taken yet, and what it runs in.
fn weights_of(
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<(Weights, Precision), ModelError> {
    let weights = Weights::open(checkpoint, &NAMES)?;
    let path = checkpoint.of_weights().shown();
    let key = "language_model.layers.0.mlp.gate_proj.weight";
    let (precision, _) = choose_precision(options.precision, &weights, key, path)?;
    Ok((weights, precision))
}

impl PaliGemma {
    /// Loads the checkpoint of `source`: a published PaliGemma 1 or 2 (`google/paligemma-*`,
    /// `google/paligemma2-*` and what was made of them), or the base of a ColPali. Of an adapter the
    /// base is taken, without the adapter: that is what answers.
    ///
    /// It runs in the precision of its weights unless `options` say another. On the CPU weights that
    /// are not converted stay in their files, so a retriever over the same base shares their memory.
    ///
    /// # Errors
    /// [`ModelError`] with file and key for whatever is missing, left over, of another shape, cut
    /// off, or not this model's; [`ModelError::Setting`] for a retriever into which its adapter was
    /// merged, which holds no base; [`ModelError::Device`] and [`ModelError::DeviceNotBuilt`] for a
    /// GPU asked for by name.
    ///
    /// ```
    /// use pagesight_core::{ModelSource, PageImage};
    /// use pagesight_model::{Decoding, LoadOptions, PaliGemma, Task};
    ///
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/parity-paligemma/pg2-56");
    /// let source = ModelSource::Folder(folder.into());
    /// let model = PaliGemma::load(&source, &LoadOptions::default())?;
    /// let page = PageImage::new(56, 56, vec![255; 56 * 56 * 3]).unwrap();
    /// let task = Task::answer("What is the total revenue in 2024?");
    /// let answer = model.write(&page, &task, Decoding::GREEDY.with_most_tokens(8))?;
    /// assert!((1..=8).contains(&answer.ids.len()));
    /// # Ok::<(), pagesight_model::ModelError>(())
    /// ```
    pub fn load(source: &ModelSource, options: &LoadOptions) -> Result<Self, ModelError> {
        let mut checkpoint = Checkpoint::open(source, options)?.without_adapter();
        let about = |checkpoint: &Checkpoint| {
            let id = model_id(checkpoint, "answerer", &Digests::new(options.digests.clone()))?;
            Ok((id.to_string(), weights_of(checkpoint, options)?.1))
        };
        let encode = |checkpoint: &Checkpoint| Self::of(checkpoint, options)?.of_the_gate();
        gate::decide(&mut checkpoint, options, about, encode)?;
        Self::of(&checkpoint, options)
    }

    /// What the last layer keeps of a page and a question, and what it ends with; `None` on a GPU.
    fn of_the_gate(&self) -> Result<Option<gate::Vectors>, ModelError> {
        let Engine::Cpu(cpu) = &self.engine else { return Ok(None) };
        let (edge, side) = (self.input_px(), self.config.vlm_config.vision_config.side());
        let page = gate::printed_page(edge, edge).expect("a whole picture");
        let ids = self.tokens.prompt(side * side, &Task::answer(gate::QUESTIONS[0]))?;
        let (_, caches) = cpu.language.prefill(cpu.input(&self.pixels(&page)?, &ids)?);
        Ok(caches.last().map(Cache::prefix_values))
    }

    fn of(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let device = gpu::open(options.device)?;
        let file = checkpoint.file("config.json");
        let said: ModelType = read_json(&file)?;
        if let Some(got) = said.model_type.filter(|said| said != "paligemma") {
            return Err(ModelError::Setting {
                path: file.shown(),
                key: "model_type".into(),
                expected: "paligemma, since a retriever that was merged holds no model that \
                           answers: load the base that it was made from"
                    .into(),
                got,
            });
        }
        let config = Config::read(&file)?;
        let normalisation = normalisation(checkpoint, &config)?;
        let tokens = AnswerTokens::read(&checkpoint.file("tokenizer.json"), &config.vlm_config)?;
        let stops = stops(checkpoint, tokens.eos())?;
        let (weights, precision) = weights_of(checkpoint, options)?;
        let engine = Engine::take(device, checkpoint, precision, weights, |weights| {
            CpuModel::take(weights, precision, &config)
        })?;
        Ok(Self { config, normalisation, tokens, engine, stops, precision })
    }

    /// The device that it runs on; never [`Device::Auto`].
    pub fn device(&self) -> Device {
        self.engine.device()
    }

    /// The precision that it runs in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Edge of its square input, px. A picture of any other size is squeezed into it, as the
    /// reference does.
    pub fn input_px(&self) -> u32 {
        self.config.vlm_config.vision_config.image_size as u32
    }

    /// Writes the text that `task` asks for about `page`, a picture of any size.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] for a prompt that cannot be encoded, [`ModelError::Compute`] when
    /// the arithmetic fails.
    pub fn write(
        &self,
        page: &PageImage,
        task: &Task,
        decoding: Decoding,
    ) -> Result<Generated, ModelError> {
        self.write_to(page, task, decoding, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`write`](Self::write), and gives each piece of the text to `reader` as soon as its letters
    /// are whole. The reader may end it. With [`Choice::Beams`] there is one piece.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_to(
        &self,
        page: &PageImage,
        task: &Task,
        decoding: Decoding,
        reader: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated, ModelError> {
        let mut reader = |_: usize, text: &str| reader(text);
        let mut all = self.write_together(&[page], task, decoding, &mut reader)?;
        Ok(all.pop().expect("a text a page"))
    }

    /// Writes a text about each of `pages`, all at once: the weights are read once for a token of
    /// each, and the texts are the same as one by one.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_all(
        &self,
        pages: &[&PageImage],
        task: &Task,
        decoding: Decoding,
    ) -> Result<Vec<Generated>, ModelError> {
        self.write_together(pages, task, decoding, &mut |_, _| ControlFlow::Continue(()))
    }

    fn write_together(
        &self,
        pages: &[&PageImage],
        task: &Task,
        decoding: Decoding,
        reader: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        match &self.engine {
            Engine::Cpu(cpu) => self.write_with(&**cpu, pages, task, decoding, reader),
            Engine::Gpu(gpu) => self.write_with(&**gpu, pages, task, decoding, reader),
        }
    }

    fn write_with<S: Sequences>(
        &self,
        sequences: &S,
        pages: &[&PageImage],
        task: &Task,
        decoding: Decoding,
        reader: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        let side = self.config.vlm_config.vision_config.side();
        let ids = self.tokens.prompt(side * side, task)?;
        let most = decoding.most_tokens.unwrap_or(task.most_tokens());
        let begin = |page: &&PageImage| sequences.begin(&self.pixels(page)?, &ids);
        if let Choice::Beams(width) = decoding.choice {
            let search = |(at, page)| {
                let written = self.search(sequences, begin(page)?, width, most)?;
                let _ = reader(at, &written.text);
                Ok(written)
            };
            return pages.iter().enumerate().map(search).collect();
        }
        let sampling = match decoding.choice {
            Choice::Sampling(sampling) => Some(sampling),
            _ => None,
        };
        let writing = |page| {
            let Begun { caches, logits } = begin(page)?;
            let chance = Chance::new(sampling.map_or(0, |sampling| sampling.seed));
            let written = Generated {
                text: String::new(),
                ids: Vec::new(),
                probabilities: Vec::new(),
                stop: Stop::Length,
            };
            let stream = TextStream::new(&self.tokens);
            Ok(Writing { caches, logits, stream, chance, written, is_done: most == 0 })
        };
        let mut all: Vec<Writing<'_, S::Caches>> =
            pages.iter().map(writing).collect::<Result<_, ModelError>>()?;
        while all.iter().any(|writing| !writing.is_done) {
            for (at, writing) in all.iter_mut().enumerate().filter(|(_, w)| !w.is_done) {
                self.choose(writing, sampling, most, &mut |text| reader(at, text));
            }
            let mut going: Vec<&mut Writing<'_, S::Caches>> =
                all.iter_mut().filter(|writing| !writing.is_done).collect();
            // In lots whose products are the same as those of one text alone.
            for going in going.chunks_mut(MOST_OF_FEW) {
                let last = |writing: &&mut Writing<'_, S::Caches>| {
                    writing.written.ids.last().copied().expect("a token was chosen")
                };
                let ids: Vec<u32> = going.iter().map(last).collect();
                let mut caches: Vec<&mut S::Caches> =
                    going.iter_mut().map(|writing| &mut writing.caches).collect();
                let logits = sequences.step(&mut caches, &ids)?;
                going.iter_mut().zip(logits).for_each(|(writing, logits)| writing.logits = logits);
            }
        }
        Ok(all.into_iter().map(|writing| writing.written).collect())
    }

    /// Adds a token to a text, and ends the text where it is to end.
    fn choose<C>(
        &self,
        writing: &mut Writing<'_, C>,
        sampling: Option<Sampling>,
        most: usize,
        reader: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) {
        let capped = self.capped(&writing.logits);
        let chosen = match sampling {
            Some(sampling) => {
                let mut possible = capped.clone();
                // Rows behind the last token stand for none.
                possible[self.tokens.count()..].fill(f32::NEG_INFINITY);
                sampling.draw(&possible, &mut writing.chance)
            }
            // The bound keeps the order, but brings what is far above it together.
            None => best(&writing.logits[..self.tokens.count()]),
        };
        let written = &mut writing.written;
        // Without a number among them there is nothing to go on with.
        let id = chosen.unwrap_or(self.tokens.eos());
        let probability = (f64::from(capped[id as usize]) - log_sum_exp(&capped)).exp();
        written.ids.push(id);
        written.probabilities.push(probability as f32);
        let mut text = writing.stream.push(id);
        let stop = if self.stops.contains(&id) {
            Some(Stop::End)
        } else if written.ids.len() >= most {
            Some(Stop::Length)
        } else {
            None
        };
        if stop.is_some() {
            text += &writing.stream.finish();
        }
        written.text += &text;
        let wants_more = text.is_empty() || reader(&text).is_continue();
        if let Some(stop) = stop.or((!wants_more).then_some(Stop::Reader)) {
            (written.stop, writing.is_done) = (stop, true);
        }
    }

    /// The best text by beam search.
    fn search<S: Sequences>(
        &self,
        sequences: &S,
        begun: Begun<S::Caches>,
        width: usize,
        most: usize,
    ) -> Result<Generated, ModelError> {
        let beams = self.beams(sequences, begun, width, most, true)?;
        let Some(best) = beams.into_iter().next() else {
            let (text, ids, probabilities) = Default::default();
            return Ok(Generated { text, ids, probabilities, stop: Stop::Length });
        };
        let mut stream = TextStream::new(&self.tokens);
        let mut text: String = best.ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        let is_ended = best.ids.last().is_some_and(|id| self.stops.contains(id));
        let stop = if is_ended { Stop::End } else { Stop::Length };
        // The search knows the mean of the logarithms alone, so each token has their mean.
        let probabilities = vec![best.score.exp(); best.ids.len()];
        Ok(Generated { text, ids: best.ids, probabilities, stop })
    }

    /// The finished texts of a beam search. `capped` is false only to compare with a reference that
    /// forgets the bound.
    pub(crate) fn beams<S: Sequences>(
        &self,
        sequences: &S,
        begun: Begun<S::Caches>,
        width: usize,
        most: usize,
        capped: bool,
    ) -> Result<Vec<Beam>, ModelError> {
        // All beams are one product, which takes a group of positions.
        let width = width.min(LANES);
        let scores = |logits: Vec<f32>| if capped { self.capped(&logits) } else { logits };
        let search = Search { width, most, stops: &self.stops };
        search.run(begun.caches, scores(begun.logits), |states, ids| {
            let mut caches: Vec<&mut S::Caches> = states.iter_mut().collect();
            let logits = sequences.step(&mut caches, ids)?;
            Ok(logits.into_iter().map(scores).collect())
        })
    }

    /// The input of the vision tower for a picture.
    pub(crate) fn pixels(&self, page: &PageImage) -> Result<Tensor, ModelError> {
        let edge = self.input_px();
        let page = resize_bicubic(page, edge, edge);
        Ok(self.normalisation.pixel_values(&page)?)
    }

    /// Logits as the model means them: bounded, for PaliGemma 2.
    pub(crate) fn capped(&self, logits: &[f32]) -> Vec<f32> {
        match self.config.vlm_config.text_config.logit_cap() {
            Some(cap) => logits.iter().map(|logit| cap * tanh(logit / cap)).collect(),
            None => logits.to_vec(),
        }
    }
}

/// For the comparison with the reference.
#[cfg(any(test, feature = "parity"))]
impl PaliGemma {
    /// The model on the CPU.
    pub(crate) fn cpu(&self) -> &CpuModel {
        self.engine.cpu().expect("loaded for the CPU")
    }
}

#[cfg(test)]
impl PaliGemma {
    /// The same model on `device`, of one on the CPU.
    pub(crate) fn placed(&self, device: &candle_core::Device) -> Self {
        let gpu = crate::families::engine::OnGpu::place(device, self.precision, self.cpu());
        Self {
            config: self.config.clone(),
            normalisation: self.normalisation,
            tokens: self.tokens.clone(),
            engine: Engine::Gpu(Box::new(gpu.unwrap())),
            stops: self.stops.clone(),
            precision: self.precision,
        }
    }
}
