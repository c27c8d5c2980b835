//! ColQwen2, ColQwen2.5 and ColQwen3.5 against colpali-engine.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use pagesight_core::{ModelSource, PictureSize};
use pagesight_simd::{Filter, resize};
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{lanes, tensor};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::colqwen::cpu::CpuModel;
use crate::families::colqwen::model::{self, ColQwen};
use crate::families::colqwen::names::FAMILY_3_5;
use crate::families::colqwen::pictures::{fitted, patches};
use crate::families::colqwen::processor::Budget;
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::sequence::{Grid, Sequence};
use crate::families::recipe::FamilyRecipe;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{
    OfBatch, ParityError, StageReport, Stages, Steps, Tolerances, id_tensor, image_tensor,
    max_difference, numbers, page_pictures, read_image, tensor_image,
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

const TOLERANCES: Tolerances = Tolerances { stage: 1e-4, vectors: 1e-5 };

/// Those of ColQwen3.5: its delta nets make rounding larger where a key and a query nearly cancel.
const OF_DELTA_NETS: Tolerances = Tolerances { stage: 2e-4, vectors: 2e-5 };

/// The recipe of the expected tensors, and recipes with other questions.
const RECIPE: &str = "colqwen-engine-0.3.11";
const OTHERS: [(&str, &str); 2] =
    [("query_prefix", "colqwen-engine-0.3.4"), ("query_prefix_newline", "colqwen-transformers-5")];

/// A recipe with other pages as well.
const BIDIRECTIONAL: (&str, &str) = ("bidirectional", "evie");

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
    let is_hybrid = model.config.family == FAMILY_3_5;
    let tolerances = if is_hybrid { OF_DELTA_NETS } else { TOLERANCES };
    let mut check = Check { model, stages: Stages::read(folder)?, tolerances };
    check.sizes(&fixture.resize_cases_h_w_factor_min_max_to_h_w);
    let pictures = page_pictures(folder)?;
    let mut pages = Vec::new();
    for (n, path) in pictures.iter().enumerate() {
        pages.push(check.page(n, path)?);
    }
    let asked = check.queries(queries)?;
    check.stages.scores("hf", &asked, &pages, false)?;
    check.long()?;
    if folder.join("hf").is_dir() {
        check.model = load(folder.join("hf"), RECIPE)?;
        let whole = (0..pictures.len()).map(|n| check.whole_page(n, "hf-native", "hf"));
        let pages = whole.collect::<Result<Vec<_>, _>>()?;
        let asked = check.whole_queries("hf-native", queries)?;
        check.stages.scores("hf-native", &asked, &pages, false)?;
    }
    for (kind, recipe) in OTHERS {
        check.model = load(folder.join("engine"), recipe)?;
        for (n, query) in queries.iter().enumerate() {
            check.other_query(kind, n, query)?;
        }
    }
    let others = [("engine", BIDIRECTIONAL), ("lora", ("lora", RECIPE))];
    for (layout, (kind, recipe)) in others {
        if !folder.join(layout).is_dir() || !check.stages.has(&format!("{kind}.page1.embeddings")) {
            continue;
        }
        check.model = load(folder.join(layout), recipe)?;
        for n in 0..pictures.len() {
            if check.stages.has(&format!("{kind}.page{n}.embeddings")) {
                check.whole_page(n, kind, kind)?;
            }
        }
        for (n, query) in queries.iter().enumerate() {
            check.other_query(kind, n, query)?;
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
    Ok(model::load(&checkpoint, &options)?.network)
}

struct Check {
    model: ColQwen,
    stages: Stages,
    tolerances: Tolerances,
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
        let mut x = vision.embed(&pixels, grid);
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
                self.stages.compare_one(&name, self.tolerances.stage, &tensor(&x)?)?;
                x = lanes(&self.stages.get(&name)?)?;
            }
        }
        let features = tensor(&self.model.cpu.vision()?.merge(&x))?;
        self.stages.compare_one(&name("projector.output"), self.tolerances.stage, &features)?;
        let features = numbers(&self.stages.get(&name("projector.output"))?)?;
        let input = self.model.cpu.input(&sequence, &features)?;
        let input = tensor(&input)?;
        let name = format!("hf.page{n}.lm.input");
        self.stages.compare_one(&name, self.tolerances.stage, &input)?;
        let steps = OfSequence { cpu: &self.model.cpu, sequence: &sequence };
        self.stages.layers(&format!("hf.page{n}"), &steps, None, self.tolerances)?;
        self.whole_page(n, "hf", "hf")
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
        let name = format!("{kind}.page{n}.embeddings");
        self.stages.report(&name, self.tolerances.vectors, worst);
        Ok(rows)
    }

    /// All stages of the queries.
    fn queries(&mut self, queries: &[String]) -> Result<Vec<Tensor>, ParityError> {
        for (row, sequence) in self.sequences(queries)?.iter().enumerate() {
            let of_batch = OfBatch { row, length: sequence.ids.len(), padded_before: true };
            let cpu = &self.model.cpu;
            let input = tensor(&cpu.inputs(std::slice::from_ref(sequence))?)?;
            let tolerances = self.tolerances;
            self.stages.query_input(&sequence.ids, &input, of_batch, tolerances.stage)?;
            let steps = OfSequence { cpu, sequence };
            self.stages.layers("hf.query", &steps, Some(of_batch), tolerances)?;
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
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        self.stages.queries(kind, &rows, &lengths, true, self.tolerances.vectors)
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
        self.stages.compare_one(&name("embeddings"), self.tolerances.vectors, &rows)
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
}

/// The model, given a sequence.
struct OfSequence<'a> {
    cpu: &'a CpuModel,
    sequence: &'a Sequence,
}

impl Steps for OfSequence<'_> {
    fn depth(&self) -> usize {
        self.cpu.text.depth()
    }

    fn layer(&self, n: usize, _: &Tensor, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(tensor(&self.cpu.text.layer(n, &lanes(x)?, &self.sequence.positions))?)
    }

    fn output(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(tensor(&self.cpu.text.finish(&lanes(x)?))?)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.head.forward(x)?)
    }

    fn vectors(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.rows(&lanes(x)?)?)
    }
}
