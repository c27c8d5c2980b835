//! NeoMME against `NeoMMEForRetrieval` of transformers.

use std::path::{Path, PathBuf};

use candle_core::{Device as CandleDevice, Tensor};
use pagesight_core::{ModelSource, PictureSize};
use pagesight_maxsim::maxsim_reference;
use pagesight_simd::{Filter, resize};
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::tensor;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::neomme::config::Limits;
use crate::families::neomme::model::NeoMme;
use crate::families::neomme::pictures::{fitted, patches};
use crate::families::neomme::sequence::{Grid, Sequence};
use crate::options::LoadOptions;
use crate::parity::{
    ParityError, StageReport, Stages, id_tensor, image_tensor, max_difference, numbers,
    page_pictures, read_image, tensor_image,
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
    let queries = check.queries("hf", &fixture.strings.queries)?;
    check.scores("hf", &queries, &pages)?;
    for other in OTHERS {
        let at = folder.join(other);
        if at.is_dir() {
            check.model = load(at)?;
            let mut pages = Vec::new();
            for n in 0..page_pictures(folder)?.len() {
                pages.push(check.whole_page(n, other, OF_WHITE_PAGES)?);
            }
            let queries = check.whole_queries(other, &fixture.strings.queries)?;
            check.scores(other, &queries, &pages)?;
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
    Ok(NeoMme::of(&checkpoint, &options)?)
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
        self.layers(&format!("hf.page{n}"), &sequence, None)?;
        let tolerance = if is_white { OF_WHITE_PAGES } else { VECTORS };
        self.whole_page(n, "hf", tolerance)
    }

    /// The layers, the last norm and the head of one sequence; of a batch the row `of_batch`.
    fn layers(
        &mut self,
        kind: &str,
        sequence: &Sequence,
        of_batch: Option<usize>,
    ) -> Result<(), ParityError> {
        let length = sequence.ids.len();
        let get = |stages: &Stages, what: &str| -> Result<Option<Tensor>, ParityError> {
            let name = format!("{kind}.{what}");
            if !stages.has(&name) {
                return Ok(None);
            }
            let tensor = stages.get(&name)?;
            Ok(Some(match of_batch {
                Some(row) => tensor.get(row)?.narrow(0, 0, length)?.contiguous()?,
                None => tensor,
            }))
        };
        let Some(input) = get(&self.stages, "lm.input")? else { return Ok(()) };
        let mut x = input.clone();
        let stage = |what: String| match of_batch {
            Some(row) => format!("{kind}{row}.{what}"),
            None => format!("{kind}.{what}"),
        };
        for n in 0..self.model.cpu.depth() {
            x = self.model.cpu.layer(n, sequence, &input, &x)?;
            if let Some(expected) = get(&self.stages, &format!("lm.layer.{n}"))? {
                let worst = max_difference(&x, &expected)?;
                self.stages.report(&stage(format!("lm.layer.{n}")), STAGE, worst);
                x = expected;
            }
        }
        x = self.model.cpu.output(&x)?;
        if let Some(expected) = get(&self.stages, "lm.output")? {
            let worst = max_difference(&x, &expected)?;
            self.stages.report(&stage("lm.output".into()), STAGE, worst);
            x = expected;
        }
        if let Some(expected) = get(&self.stages, "embeddings")? {
            let worst = max_difference(&self.model.cpu.vectors(&x)?, &expected)?;
            self.stages.report(&stage("head".into()), VECTORS, worst);
        }
        Ok(())
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
    fn queries(&mut self, kind: &str, queries: &[String]) -> Result<Vec<Tensor>, ParityError> {
        let sequences = self.sequences(queries)?;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        let ids = sequences.iter().map(|sequence| id_tensor(&sequence.ids));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&format!("{kind}.query.input_ids"), 0.0, &ids, Some(&lengths))?;
        let mask = self.stages.get(&format!("{kind}.query.attention_mask"))?;
        let width = mask.dim(1)?;
        let masks = lengths
            .iter()
            .map(|&n| id_tensor(&(0..width).map(|i| u32::from(i < n)).collect::<Vec<_>>()));
        let masks = masks.collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&format!("{kind}.query.attention_mask"), 0.0, &masks, None)?;
        let inputs = sequences.iter().map(|sequence| self.model.cpu.input(sequence, &[]));
        let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
        self.stages.compare(&format!("{kind}.query.lm.input"), STAGE, &inputs, Some(&lengths))?;
        for (row, sequence) in sequences.iter().enumerate() {
            self.layers(&format!("{kind}.query"), sequence, Some(row))?;
        }
        self.whole_queries(kind, queries)
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
        let mut start = 0;
        let mut parts = Vec::new();
        for sequence in &sequences {
            parts.push(rows.narrow(0, start, sequence.ids.len())?);
            start += sequence.ids.len();
        }
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        self.stages.compare("hf.query.embeddings", VECTORS, &parts, Some(&lengths))?;
        self.stages.reports.last_mut().expect("reported above").stage =
            format!("{kind}.query.embeddings");
        Ok(parts)
    }

    /// MaxSim of each query with each page, the mean over the query's tokens.
    fn scores(
        &mut self,
        kind: &str,
        queries: &[Tensor],
        pages: &[Tensor],
    ) -> Result<(), ParityError> {
        let pages = pages.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let row = |query: &Tensor| -> Result<Tensor, ParityError> {
            let (tokens, dim) = query.dims2()?;
            let query = numbers(query)?;
            let score = |page: &Vec<f32>| maxsim_reference(dim, &query, page) as f32;
            let scores: Vec<f32> = pages.iter().map(|page| score(page) / tokens as f32).collect();
            Ok(Tensor::new(scores, &CandleDevice::Cpu)?)
        };
        let scores = queries.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("hf.scores", 1e-4, &scores, None)?;
        self.stages.reports.last_mut().expect("reported above").stage = format!("{kind}.scores");
        Ok(())
    }
}
