//! ColQwen2, ColQwen2.5 and ColQwen3.5 against colpali-engine.

use std::path::Path;

use candle_core::{DType, Tensor};
use pagesight_core::PictureSize;
use pagesight_simd::resize;
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, lanes, tensor};
use crate::families::check::{Check, Fixture, open};
use crate::families::colqwen::cpu::CpuModel;
use crate::families::colqwen::model::{self, ColQwen};
use crate::families::colqwen::names::FAMILY_3_5;
use crate::families::colqwen::pictures::{fitted, patches};
use crate::families::colqwen::processor::{Budget, Processor};
use crate::families::colqwen::recipe::ColQwenRecipe;
use crate::families::colqwen::sequence::Sequence;
use crate::families::recipe::FamilyRecipe;
use crate::families::staged::Staged;
use crate::options::RecipeChoice;
use crate::parity::{
    ParityError, StageReport, Stages, Tolerances, id_tensor, image_tensor, max_difference, numbers,
    read_image, tensor_image,
};

#[derive(Deserialize)]
struct Own {
    /// Height, width, edge of a feature, fewest and most pixels; height and width that they become.
    #[serde(default)]
    resize_cases_h_w_factor_min_max_to_h_w: Vec<[u32; 7]>,
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
    let fixture: Fixture<Own> = Fixture::read(folder)?;
    let engine = folder.join("engine");
    let model = load(&engine, RECIPE)?;
    let is_hybrid = model.config.family == FAMILY_3_5;
    let tolerances = if is_hybrid { OF_DELTA_NETS } else { TOLERANCES };
    let mut check = Check::new(folder, &fixture, model, tolerances)?;
    check.sizes(
        &fixture.own.resize_cases_h_w_factor_min_max_to_h_w,
        |&[height, width, feature, least, most, to_h, to_w]| {
            let budget = Budget { least: least.into(), most: most.into() };
            let got = fitted(budget, feature, height.into(), width.into());
            got == PictureSize { width_px: to_w, height_px: to_h }
        },
    );
    let pages = (0..check.pictures.len()).map(|n| check.page(n));
    let pages = pages.collect::<Result<Vec<_>, _>>()?;
    check.questions(&pages)?;
    check.long()?;
    let hf = folder.join("hf");
    if hf.is_dir() {
        check.layout("hf-native", load(&hf, RECIPE)?, tolerances.vectors)?;
    }
    for (kind, recipe) in OTHERS {
        check.variant(kind, load(&engine, recipe)?)?;
    }
    let lora = folder.join("lora");
    for (layout, (kind, recipe)) in [(&engine, BIDIRECTIONAL), (&lora, ("lora", RECIPE))] {
        if layout.is_dir() && check.stages.has(&format!("{kind}.page1.embeddings")) {
            check.variant(kind, load(layout, recipe)?)?;
        }
    }
    Ok(check.stages.reports)
}

fn load(folder: &Path, recipe: &str) -> Result<ColQwen, ParityError> {
    debug_assert!(ColQwenRecipe::named(recipe).is_some());
    let (checkpoint, options) = open(folder, Some(RecipeChoice::Named(recipe.into())))?;
    Ok(model::load(&checkpoint, &options)?.network)
}

impl ColQwen {
    fn cpu(&self) -> &CpuModel {
        self.engine.cpu().expect("loaded for the CPU")
    }
}

impl Check<ColQwen> {
    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize) -> Result<Tensor, ParityError> {
        let name = |what: &str| format!("page{n}.{what}");
        let image = read_image(&self.pictures[n])?;
        let patch = self.model.config.vision.patch;
        let feature = 2 * patch as u32;
        let budget = self.model.recipe.budget(self.model.processor.budget);
        let (height, width) = (f64::from(image.height_px()), f64::from(image.width_px()));
        let size = fitted(budget, feature, height, width);
        let resized = resize(&image, size.width_px, size.height_px, Processor::FILTER);
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
        self.page_ids(n, &sequence)?;
        let positions = sequence.positions.iter().map(|axis| id_tensor(axis));
        let positions = Tensor::stack(&positions.collect::<Result<Vec<_>, _>>()?, 0)?;
        self.stages.compare_one(&name("position_ids"), 0.0, &positions)?;

        let vision = self.model.cpu().vision()?;
        let mut x = vision.embed(&pixels, grid);
        for stage in 0..=vision.depth() {
            let vision = self.model.cpu().vision()?;
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
        let features = tensor(&self.model.cpu().vision()?.merge(&x))?;
        self.stages.compare_one(&name("projector.output"), self.tolerances.stage, &features)?;
        let features = numbers(&self.stages.get(&name("projector.output"))?)?;
        let input = tensor(&self.model.cpu().input(&sequence, &features)?)?;
        self.page_layers(n, &sequence, &input)?;
        self.whole_page(n, "hf", "hf", self.tolerances.vectors)
    }

    /// More tokens than low-precision rotations can tell apart.
    fn long(&mut self) -> Result<(), ParityError> {
        if !self.stages.has("long.embeddings") {
            return Ok(());
        }
        let ids = self.stages.get("long.input_ids")?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        let rows = self.model.cpu().encode_texts(&[Sequence::text(ids)])?;
        let rows = rows.index_select(&self.stages.get("long.rows")?.to_dtype(DType::U32)?, 0)?;
        self.stages.compare_one("long.embeddings", 2e-5, &rows)
    }
}

impl Staged for ColQwen {
    type Sequence = Sequence;

    fn text(ids: Vec<u32>) -> Sequence {
        Sequence::text(ids)
    }

    fn ids(sequence: &Sequence) -> &[u32] {
        &sequence.ids
    }

    fn input(&self, question: &Sequence) -> Result<Lanes, ParityError> {
        Ok(self.cpu().inputs(std::slice::from_ref(question))?)
    }

    fn page(&self, stages: &Stages, n: usize) -> Result<Tensor, ParityError> {
        let resized = tensor_image(&stages.get(&format!("page{n}.resized_u8"))?)?;
        let (grid, pixels) = patches(&resized, self.config.vision.patch, &self.processor);
        let sequence = Sequence::page(&self.prompt, self.tokens.image, grid);
        Ok(self.cpu().encode_page(&pixels, grid, &sequence)?)
    }

    fn depth(&self) -> usize {
        self.cpu().text.depth()
    }

    fn layer(
        &self,
        n: usize,
        sequence: &Sequence,
        _: &Lanes,
        x: &Lanes,
    ) -> Result<Lanes, ParityError> {
        Ok(self.cpu().text.layer(n, x, &sequence.positions))
    }

    fn output(&self, x: &Lanes) -> Lanes {
        self.cpu().text.finish(x)
    }

    fn head(&self) -> &Linear {
        &self.cpu().head
    }

    fn vectors(&self, x: &Lanes) -> Result<Tensor, ParityError> {
        Ok(self.cpu().rows(x)?)
    }
}
