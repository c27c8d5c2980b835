//! NeoMME against `NeoMMEForRetrieval` of transformers.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use pagesight_core::{ModelSource, PictureSize};
use pagesight_simd::{Filter, resize};
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::tensor;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::neomme::config::Limits;
use crate::families::neomme::cpu::CpuModel;
use crate::families::neomme::model::{self, NeoMme};
use crate::families::neomme::pictures::{fitted, patches};
use crate::families::neomme::sequence::{Grid, Sequence};
use crate::options::LoadOptions;
use crate::parity::{
    OfBatch, ParityError, StageReport, Stages, Steps, Tolerances, id_tensor, image_tensor,
    max_difference, numbers, page_pictures, read_image, tensor_image,
};
use crate::precision::Precision;

#[derive(Deserialize)]
struct Fixture {
    strings: Strings,
    #[serde(default)]
    checks: Checks,
    /// Height, width, longest side, fewest and most pixels; height and width that they become.
    #[serde(default)]
    resize_cases_h_w_side_min_max_to_h_w: Vec<[Option<u32>; 7]>,
}

#[derive(Deserialize)]
struct Strings {
    queries: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Checks {
    /// How far the reference in f32 is from itself in f64, a page.
    #[serde(default)]
    reference_f32_vs_f64_pages: Vec<f64>,
}

/// The largest difference inside the model.
const STAGE: f64 = 1e-4;

/// The largest difference of a vector's number.
const VECTORS: f64 = 1e-5;

const TOLERANCES: Tolerances = Tolerances { stage: STAGE, vectors: VECTORS };

/// The same for a page that is nearly white, whose first norm makes rounding large: the reference
/// itself differs from f64 by more than a tenth of this there.
const OF_WHITE_PAGES: f64 = 2e-4;

/// From this difference of the reference from f64 on a page counts as nearly white.
const IS_WHITE: f64 = 5e-6;

/// Checkpoints beside `hf/` that give the same tensors.
const OTHERS: [&str; 2] = ["engine", "older"];

/// Runs the checkpoint in `folder/hf` against `folder/expected.safetensors`: sizes, pixels, ids,
/// positions, every stage that the file has, vectors, scores; then other layouts of the same
/// weights from end to end.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    let fixture: Fixture = read_json(&folder.join("fixture.json").as_path().into())?;
    let model = load(folder.join("hf"))?;
    let mut check = Check { model, stages: Stages::read(folder)? };
    check.sizes(&fixture.resize_cases_h_w_side_min_max_to_h_w);
    let mut pages = Vec::new();
    for (n, path) in page_pictures(folder)?.iter().enumerate() {
        let noise = fixture.checks.reference_f32_vs_f64_pages.get(n).copied().unwrap_or(0.0);
        pages.push(check.page(n, path, noise >= IS_WHITE)?);
    }
    let queries = check.queries(&fixture.strings.queries)?;
    check.stages.scores("hf", &queries, &pages, true)?;
    for other in OTHERS {
        let at = folder.join(other);
        if at.is_dir() {
            check.model = load(at)?;
            let mut pages = Vec::new();
            for n in 0..page_pictures(folder)?.len() {
                pages.push(check.whole_page(n, other, OF_WHITE_PAGES)?);
            }
            let queries = check.whole_queries(other, &fixture.strings.queries)?;
            check.stages.scores(other, &queries, &pages, true)?;
        }
    }
    Ok(check.stages.reports)
}

fn load(folder: PathBuf) -> Result<NeoMme, ParityError> {
    let options = LoadOptions {
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    let checkpoint = Checkpoint::open(&ModelSource::Folder(folder), &options)?;
    Ok(model::load(&checkpoint, &options)?.network)
}

struct Check {
    model: NeoMme,
    stages: Stages,
}

impl Check {
    /// The rule by which pictures are resized, on the fixture's cases.
    fn sizes(&mut self, cases: &[[Option<u32>; 7]]) {
        if cases.is_empty() {
            return;
        }
        let wrong = cases.iter().filter(|case| {
            let [Some(height_px), Some(width_px), max_side, least, most, height, width] = **case
            else {
                return true;
            };
            let pixels = least.zip(most).map(|(a, b)| (u64::from(a), u64::from(b)));
            let size = PictureSize { width_px, height_px };
            let got = fitted(Limits { max_side, pixels }, size);
            (Some(got.height_px), Some(got.width_px)) != (height, width)
        });
        let wrong = wrong.count() as f64;
        self.stages.report("resize_cases", 0.0, wrong);
    }

    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize, path: &Path, is_white: bool) -> Result<Tensor, ParityError> {
        let sensitive = if is_white { OF_WHITE_PAGES } else { STAGE };
        let name = |what: &str| format!("page{n}.{what}");
        let image = read_image(path)?;
        let (width_px, height_px) = (image.width_px(), image.height_px());
        let limits = self.model.recipe.limits(self.model.processor.limits);
        let size = fitted(limits, PictureSize { width_px, height_px });
        let resized = resize(&image, size.width_px, size.height_px, Filter::Bilinear);
        self.stages.compare_one(&name("resized_u8"), 0.0, &image_tensor(&resized)?)?;

        let resized = tensor_image(&self.stages.get(&name("resized_u8"))?)?;
        let patch = self.model.config.patch;
        let (grid, mut pixels) = patches(&resized, patch, &self.model.processor);
        if self.stages.has(&name("pixel_values")) {
            self.stages.compare_one(&name("pixel_values"), 1e-6, &tensor(&pixels)?)?;
            let rows = numbers(&self.stages.get(&name("pixel_values"))?)?;
            pixels = Lanes::from_rows(&[grid.patches()], pixels.width(), &rows);
        }
        let sides = id_tensor(&[grid.rows as u32, grid.columns as u32])?;
        self.stages.compare_one(&name("grid"), 0.0, &sides)?;
        let sequence = Sequence::page(&self.model.tokens, grid);
        let ids = id_tensor(&sequence.ids)?;
        self.stages.compare_one(&format!("hf.page{n}.input_ids"), 0.0, &ids)?;
        let positions =
            Tensor::stack(&[id_tensor(&sequence.rows)?, id_tensor(&sequence.columns)?], 0)?;
        self.stages.compare_one(&name("position_ids"), 0.0, &positions)?;

        let features = tensor(&self.model.cpu.embed_patches(&pixels)?)?;
        self.stages.compare_one(&name("patch_embeddings"), sensitive, &features)?;
        let features = numbers(&self.stages.get(&name("patch_embeddings"))?)?;
        let input = self.model.cpu.input(&sequence, &features)?;
        self.stages.compare_one(&format!("hf.page{n}.lm.input"), STAGE, &input)?;
        let steps = OfSequence { cpu: &self.model.cpu, sequence: &sequence };
        self.stages.layers(&format!("hf.page{n}"), &steps, None, TOLERANCES)?;
        let tolerance = if is_white { OF_WHITE_PAGES } else { VECTORS };
        self.whole_page(n, "hf", tolerance)
    }

    /// The vectors of page `n` from its resized picture on.
    fn whole_page(&mut self, n: usize, kind: &str, tolerance: f64) -> Result<Tensor, ParityError> {
        let resized = tensor_image(&self.stages.get(&format!("page{n}.resized_u8"))?)?;
        let patch = self.model.config.patch;
        let (grid, pixels): (Grid, Lanes) = patches(&resized, patch, &self.model.processor);
        let features = self.model.cpu.embed_patches(&pixels)?.to_rows();
        let sequence = Sequence::page(&self.model.tokens, grid);
        let rows = self.model.cpu.encode(&[sequence], &features)?;
        let worst = max_difference(&rows, &self.stages.get(&format!("hf.page{n}.embeddings"))?)?;
        self.stages.report(&format!("{kind}.page{n}.embeddings"), tolerance, worst);
        Ok(rows)
    }

    /// All stages of the queries.
    fn queries(&mut self, queries: &[String]) -> Result<Vec<Tensor>, ParityError> {
        for (row, sequence) in self.sequences(queries)?.iter().enumerate() {
            let of_batch = OfBatch { row, length: sequence.ids.len(), padded_before: false };
            let cpu = &self.model.cpu;
            let input = cpu.input(sequence, &[])?;
            self.stages.query_input(&sequence.ids, &input, of_batch, STAGE)?;
            let steps = OfSequence { cpu, sequence };
            self.stages.layers("hf.query", &steps, Some(of_batch), TOLERANCES)?;
        }
        self.whole_queries("hf", queries)
    }

    fn sequences(&self, queries: &[String]) -> Result<Vec<Sequence>, ParityError> {
        let sequence = |query: &String| {
            Ok(Sequence::text(self.model.tokens.query(&self.model.recipe, query)?.ids))
        };
        queries.iter().map(sequence).collect()
    }

    /// The vectors of the queries, encoded in one batch.
    fn whole_queries(
        &mut self,
        kind: &str,
        queries: &[String],
    ) -> Result<Vec<Tensor>, ParityError> {
        let sequences = self.sequences(queries)?;
        let rows = self.model.cpu.encode(&sequences, &[])?;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        self.stages.queries(kind, &rows, &lengths, false, VECTORS)
    }
}

/// The model, given a sequence.
struct OfSequence<'a> {
    cpu: &'a CpuModel,
    sequence: &'a Sequence,
}

impl Steps for OfSequence<'_> {
    fn depth(&self) -> usize {
        self.cpu.depth()
    }

    fn layer(&self, n: usize, input: &Tensor, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.layer(n, self.sequence, input, x)?)
    }

    fn output(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.output(x)?)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.head.forward(x)?)
    }

    fn vectors(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.vectors(x)?)
    }
}
