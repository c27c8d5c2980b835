//! ColQwen2 and ColQwen2.5 against colpali-engine.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device as CandleDevice, Tensor};
use pagesight_core::{ModelSource, PictureSize};
use pagesight_maxsim::maxsim_reference;
use pagesight_simd::{Filter, resize};
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{lanes, tensor};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::colqwen2::config::Budget;
use crate::families::colqwen2::model::ColQwen;
use crate::families::colqwen2::pictures::{fitted, patches};
use crate::families::colqwen2::recipe::ColQwenRecipe;
use crate::families::colqwen2::sequence::{Grid, Sequence};
use crate::families::recipe::FamilyRecipe;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{
    ParityError, StageReport, Stages, id_tensor, image_tensor, max_difference, numbers,
    page_pictures, read_image, tensor_image,
};
use crate::precision::Precision;

#[derive(Deserialize)]
struct Fixture {
    strings: Strings,
    /// Height, width, edge of a feature, fewest and most pixels; height and width that they become.
    #[serde(default)]
    resize_cases_h_w_factor_min_max_to_h_w: Vec<[u32; 7]>,
}

#[derive(Deserialize)]
struct Strings {
    queries: Vec<String>,
}

/// The largest difference inside the model.
const STAGE: f64 = 1e-4;

/// The largest difference of a vector's number.
const VECTORS: f64 = 1e-5;

/// The recipe of the expected tensors, and recipes with other questions.
const RECIPE: &str = "colqwen-engine-0.3.11";
const OTHERS: [(&str, &str); 2] =
    [("query_prefix", "colqwen-engine-0.3.4"), ("query_prefix_newline", "colqwen-transformers-5")];

/// Runs the checkpoint in `folder/engine` against `folder/expected.safetensors`: sizes, pixels,
/// ids, positions, every stage that the file has, vectors, scores; questions of other recipes;
/// then the same weights in `folder/hf` and the adapter in `folder/lora` from end to end, where
/// they are there.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    let fixture: Fixture = read_json(&folder.join("fixture.json").as_path().into())?;
    let queries = &fixture.strings.queries;
    let model = load(folder.join("engine"), RECIPE)?;
    let mut check = Check { model, stages: Stages::read(folder)? };
    check.sizes(&fixture.resize_cases_h_w_factor_min_max_to_h_w);
    let pictures = page_pictures(folder)?;
    let mut pages = Vec::new();
    for (n, path) in pictures.iter().enumerate() {
        pages.push(check.page(n, path)?);
    }
    let asked = check.queries(queries)?;
    check.scores("hf", &asked, &pages)?;
    check.long()?;
    if folder.join("hf").is_dir() {
        check.model = load(folder.join("hf"), RECIPE)?;
        let whole = (0..pictures.len()).map(|n| check.whole_page(n, "hf-native", "hf"));
        let pages = whole.collect::<Result<Vec<_>, _>>()?;
        let asked = check.whole_queries("hf-native", queries)?;
        check.scores("hf-native", &asked, &pages)?;
    }
    for (kind, recipe) in OTHERS {
        check.model = load(folder.join("engine"), recipe)?;
        for (n, query) in queries.iter().enumerate() {
            check.other_query(kind, n, query)?;
        }
    }
    if folder.join("lora").is_dir() {
        check.model = load(folder.join("lora"), RECIPE)?;
        for n in 0..pictures.len() {
            if check.stages.has(&format!("lora.page{n}.embeddings")) {
                check.whole_page(n, "lora", "lora")?;
            }
        }
        for (n, query) in queries.iter().enumerate() {
            check.other_query("lora", n, query)?;
        }
    }
    Ok(check.stages.reports)
}

fn load(folder: PathBuf, recipe: &str) -> Result<ColQwen, ParityError> {
    let options = LoadOptions {
        recipe: Some(RecipeChoice::Named(recipe.into())),
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    debug_assert!(ColQwenRecipe::named(recipe).is_some());
    let checkpoint = Checkpoint::open(&ModelSource::Folder(folder), &options)?;
    Ok(ColQwen::of(&checkpoint, &options)?)
}

struct Check {
    model: ColQwen,
    stages: Stages,
}

impl Check {
    /// The rule by which pictures are resized, on the fixture's cases.
    fn sizes(&mut self, cases: &[[u32; 7]]) {
        if cases.is_empty() {
            return;
        }
        let wrong = cases.iter().filter(|&&[height, width, feature, least, most, to_h, to_w]| {
            let budget = Budget { least: least.into(), most: most.into() };
            let got = fitted(budget, feature, height.into(), width.into());
            got != PictureSize { width_px: to_w, height_px: to_h }
        });
        let wrong = wrong.count() as f64;
        self.stages.report("resize_cases", 0.0, wrong);
    }

    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize, path: &Path) -> Result<Tensor, ParityError> {
        let name = |what: &str| format!("page{n}.{what}");
        let image = read_image(path)?;
        let patch = self.model.config.vision.patch;
        let feature = 2 * patch as u32;
        let budget = self.model.recipe.budget(self.model.processor.budget);
        let (height, width) = (f64::from(image.height_px()), f64::from(image.width_px()));
        let size = fitted(budget, feature, height, width);
        let resized = resize(&image, size.width_px, size.height_px, Filter::Bicubic);
        self.stages.compare_one(&name("resized_u8"), 0.0, &image_tensor(&resized)?)?;

        let resized = tensor_image(&self.stages.get(&name("resized_u8"))?)?;
        let (grid, pixels) = patches(&resized, patch, &self.model.processor);
        if self.stages.has(&name("pixel_values")) {
            // The reference repeats every channel for the second moment of a film.
            let expected = self.stages.get(&name("pixel_values"))?;
            let rows = expected.dim(0)?;
            let moments = expected.reshape((rows, 3, 2, patch * patch))?;
            for moment in 0..2 {
                let one = moments.narrow(2, moment, 1)?.reshape((rows, 3 * patch * patch))?;
                let worst = max_difference(&tensor(&pixels)?, &one)?;
                self.stages.report(&name("pixel_values"), 1e-6, worst);
            }
        }
        let sides = id_tensor(&[2 * grid.rows as u32, 2 * grid.columns as u32])?;
        self.stages.compare_one(&name("grid"), 0.0, &sides)?;
        let sequence = Sequence::page(&self.model.prompt, self.model.tokens.image, grid);
        let ids = id_tensor(&sequence.ids)?;
        self.stages.compare_one(&format!("hf.page{n}.input_ids"), 0.0, &ids)?;
        let positions = sequence.positions.iter().map(|axis| id_tensor(axis));
        let positions = Tensor::stack(&positions.collect::<Result<Vec<_>, _>>()?, 0)?;
        self.stages.compare_one(&name("position_ids"), 0.0, &positions)?;

        let vision = self.model.cpu.vision()?;
        let mut x = vision.embed(&pixels);
        for stage in 0..=vision.depth() {
            let vision = self.model.cpu.vision()?;
            let name = match stage {
                0 => name("vision.embeddings"),
                n => {
                    x = vision.layer(n - 1, &x, grid);
                    name(&format!("vision.layer.{}", n - 1))
                }
            };
            if self.stages.has(&name) {
                self.stages.compare_one(&name, STAGE, &tensor(&x)?)?;
                x = lanes(&self.stages.get(&name)?)?;
            }
        }
        let features = tensor(&self.model.cpu.vision()?.merge(&x))?;
        self.stages.compare_one(&name("projector.output"), STAGE, &features)?;
        let features = numbers(&self.stages.get(&name("projector.output"))?)?;
        let input = self.model.cpu.text.input(&sequence, &features)?;
        self.stages.compare_one(&format!("hf.page{n}.lm.input"), STAGE, &tensor(&input)?)?;
        self.layers(&format!("hf.page{n}"), &sequence, None)?;
        self.whole_page(n, "hf", "hf")
    }

    /// The layers, the last norm and the head of one sequence; of a batch, which is padded at the
    /// left, the row `of_batch`.
    fn layers(
        &mut self,
        kind: &str,
        sequence: &Sequence,
        of_batch: Option<usize>,
    ) -> Result<(), ParityError> {
        let get = |stages: &Stages, what: &str| -> Result<Option<Tensor>, ParityError> {
            let name = format!("{kind}.{what}");
            if !stages.has(&name) {
                return Ok(None);
            }
            let tensor = stages.get(&name)?;
            Ok(Some(match of_batch {
                Some(row) => unpadded(&tensor.get(row)?, sequence.ids.len())?,
                None => tensor,
            }))
        };
        let Some(input) = get(&self.stages, "lm.input")? else { return Ok(()) };
        let stage = |what: String| match of_batch {
            Some(row) => format!("{kind}{row}.{what}"),
            None => format!("{kind}.{what}"),
        };
        let mut x = lanes(&input)?;
        for n in 0..self.model.cpu.text.depth() {
            x = self.model.cpu.text.layer(n, &x, sequence);
            if let Some(expected) = get(&self.stages, &format!("lm.layer.{n}"))? {
                let worst = max_difference(&tensor(&x)?, &expected)?;
                self.stages.report(&stage(format!("lm.layer.{n}")), STAGE, worst);
                x = lanes(&expected)?;
            }
        }
        x = self.model.cpu.text.finish(&x);
        if let Some(expected) = get(&self.stages, "lm.output")? {
            let worst = max_difference(&tensor(&x)?, &expected)?;
            self.stages.report(&stage("lm.output".into()), STAGE, worst);
            x = lanes(&expected)?;
        }
        if let Some(expected) = get(&self.stages, "head.output")? {
            let got = self.model.cpu.head.forward(&tensor(&x)?)?;
            self.stages.report(
                &stage("head.output".into()),
                STAGE,
                max_difference(&got, &expected)?,
            );
        }
        if let Some(expected) = get(&self.stages, "embeddings")? {
            let worst = max_difference(&self.model.cpu.rows(&x)?, &expected)?;
            self.stages.report(&stage("normalisation".into()), VECTORS, worst);
        }
        Ok(())
    }

    /// The vectors of page `n` from its resized picture on, against those called `expected`.
    fn whole_page(&mut self, n: usize, kind: &str, expected: &str) -> Result<Tensor, ParityError> {
        let resized = tensor_image(&self.stages.get(&format!("page{n}.resized_u8"))?)?;
        let patch = self.model.config.vision.patch;
        let (grid, pixels): (Grid, Lanes) = patches(&resized, patch, &self.model.processor);
        let sequence = Sequence::page(&self.model.prompt, self.model.tokens.image, grid);
        let rows = self.model.cpu.encode_page(&pixels, grid, &sequence)?;
        let expected = self.stages.get(&format!("{expected}.page{n}.embeddings"))?;
        let worst = max_difference(&rows, &expected)?;
        self.stages.report(&format!("{kind}.page{n}.embeddings"), VECTORS, worst);
        Ok(rows)
    }

    /// All stages of the queries.
    fn queries(&mut self, queries: &[String]) -> Result<Vec<Tensor>, ParityError> {
        let sequences = self.sequences(queries)?;
        let ids = self.stages.get("hf.query.input_ids")?;
        let mask = self.stages.get("hf.query.attention_mask")?;
        let width = mask.dim(1)?;
        for (row, sequence) in sequences.iter().enumerate() {
            let length = sequence.ids.len();
            let expected = unpadded(&ids.get(row)?, length)?;
            let worst = max_difference(&id_tensor(&sequence.ids)?, &expected)?;
            self.stages.report(&format!("hf.query{row}.input_ids"), 0.0, worst);
            let seen: Vec<u32> = (0..width).map(|i| u32::from(i + length >= width)).collect();
            let worst = max_difference(&id_tensor(&seen)?, &mask.get(row)?)?;
            self.stages.report(&format!("hf.query{row}.attention_mask"), 0.0, worst);
            let input = tensor(&self.model.cpu.text.inputs(std::slice::from_ref(sequence))?)?;
            let expected = unpadded(&self.stages.get("hf.query.lm.input")?.get(row)?, length)?;
            let worst = max_difference(&input, &expected)?;
            self.stages.report(&format!("hf.query{row}.lm.input"), STAGE, worst);
            self.layers("hf.query", sequence, Some(row))?;
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
        let rows = self.model.cpu.encode_texts(&sequences)?;
        let expected = self.stages.get("hf.query.embeddings")?;
        let mut start = 0;
        let mut parts = Vec::new();
        for (row, sequence) in sequences.iter().enumerate() {
            let length = sequence.ids.len();
            let part = rows.narrow(0, start, length)?.contiguous()?;
            let worst = max_difference(&part, &unpadded(&expected.get(row)?, length)?)?;
            self.stages.report(&format!("{kind}.query{row}.embeddings"), VECTORS, worst);
            parts.push(part);
            start += length;
        }
        Ok(parts)
    }

    /// Query `n` in another recipe or of another model, where its tensors are there.
    fn other_query(&mut self, kind: &str, n: usize, query: &String) -> Result<(), ParityError> {
        let name = |what: &str| format!("{kind}.query{n}.{what}");
        if !self.stages.has(&name("embeddings")) {
            return Ok(());
        }
        let sequences = self.sequences(std::slice::from_ref(query))?;
        if self.stages.has(&name("input_ids")) {
            let ids = id_tensor(&sequences[0].ids)?;
            self.stages.compare_one(&name("input_ids"), 0.0, &ids)?;
        }
        let rows = self.model.cpu.encode_texts(&sequences)?;
        self.stages.compare_one(&name("embeddings"), VECTORS, &rows)
    }

    /// More tokens than low-precision rotations can tell apart.
    fn long(&mut self) -> Result<(), ParityError> {
        if !self.stages.has("long.embeddings") {
            return Ok(());
        }
        let ids = self.stages.get("long.input_ids")?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        let rows = self.model.cpu.encode_texts(&[Sequence::text(ids)])?;
        let rows = rows.index_select(&self.stages.get("long.rows")?.to_dtype(DType::U32)?, 0)?;
        self.stages.compare_one("long.embeddings", 2e-5, &rows)
    }

    /// MaxSim of each query with each page.
    fn scores(
        &mut self,
        kind: &str,
        queries: &[Tensor],
        pages: &[Tensor],
    ) -> Result<(), ParityError> {
        let pages = pages.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let row = |query: &Tensor| -> Result<Tensor, ParityError> {
            let (dim, query) = (query.dim(1)?, numbers(query)?);
            let score = |page: &Vec<f32>| maxsim_reference(dim, &query, page) as f32;
            let scores: Vec<f32> = pages.iter().map(score).collect();
            Ok(Tensor::new(scores, &CandleDevice::Cpu)?)
        };
        let scores = queries.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("hf.scores", 1e-4, &scores, None)?;
        self.stages.reports.last_mut().expect("reported above").stage = format!("{kind}.scores");
        Ok(())
    }
}

/// The last `length` rows: batches of the reference are padded at the left.
fn unpadded(rows: &Tensor, length: usize) -> Result<Tensor, ParityError> {
    let padding = rows.dim(0)?.saturating_sub(length);
    Ok(rows.narrow(0, padding, rows.dim(0)? - padding)?.contiguous()?)
}
