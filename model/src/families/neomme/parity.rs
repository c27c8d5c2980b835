//! NeoMME against `NeoMMEForRetrieval` of transformers.

use std::path::Path;

use candle_core::Tensor;
use pagesight_core::PictureSize;
use pagesight_simd::resize;
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, tensor};
use crate::families::check::{Check, Fixture, open};
use crate::families::neomme::cpu::CpuModel;
use crate::families::neomme::model::{self, NeoMme};
use crate::families::neomme::pictures::{fitted, patches};
use crate::families::neomme::processor::{Limits, Processor};
use crate::families::neomme::sequence::Sequence;
use crate::families::staged::Staged;
use crate::parity::{
    ParityError, StageReport, Stages, Tolerances, id_tensor, image_tensor, numbers, read_image,
    tensor_image,
};

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    checks: Checks,
    /// Height, width, longest side, fewest and most pixels; height and width that they become.
    #[serde(default)]
    resize_cases_h_w_side_min_max_to_h_w: Vec<[Option<u32>; 7]>,
}

#[derive(Deserialize, Default)]
struct Checks {
    /// How far the reference in f32 is from itself in f64, a page.
    #[serde(default)]
    reference_f32_vs_f64_pages: Vec<f64>,
}

const TOLERANCES: Tolerances = Tolerances { stage: 1e-4, vectors: 1e-5 };

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
    let fixture: Fixture<Own> = Fixture::read(folder)?;
    let mut check = Check::new(folder, &fixture, load(&folder.join("hf"))?, TOLERANCES)?;
    check.sizes(&fixture.own.resize_cases_h_w_side_min_max_to_h_w, |&case| {
        let [Some(height_px), Some(width_px), max_side, least, most, height, width] = case else {
            return false;
        };
        let pixels = least.zip(most).map(|(a, b)| (u64::from(a), u64::from(b)));
        let size = PictureSize { width_px, height_px };
        let got = fitted(Limits { max_side, pixels }, size);
        (Some(got.height_px), Some(got.width_px)) == (height, width)
    });
    let mut pages = Vec::new();
    for n in 0..check.pictures.len() {
        let noise = fixture.own.checks.reference_f32_vs_f64_pages.get(n).copied();
        pages.push(check.page(n, noise.unwrap_or(0.0) >= IS_WHITE)?);
    }
    check.questions(&pages)?;
    for other in OTHERS {
        let at = folder.join(other);
        if at.is_dir() {
            check.layout(other, load(&at)?, OF_WHITE_PAGES)?;
        }
    }
    Ok(check.stages.reports)
}

fn load(folder: &Path) -> Result<NeoMme, ParityError> {
    let (checkpoint, options) = open(folder, None)?;
    Ok(model::load(&checkpoint, &options)?.network)
}

impl NeoMme {
    fn cpu(&self) -> &CpuModel {
        self.engine.cpu().expect("loaded for the CPU")
    }
}

impl Check<NeoMme> {
    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize, is_white: bool) -> Result<Tensor, ParityError> {
        let Tolerances { stage, vectors } = self.tolerances;
        let name = |what: &str| format!("page{n}.{what}");
        let image = read_image(&self.pictures[n])?;
        let (width_px, height_px) = (image.width_px(), image.height_px());
        let limits = self.model.recipe.limits(self.model.processor.limits);
        let size = fitted(limits, PictureSize { width_px, height_px });
        let resized = resize(&image, size.width_px, size.height_px, Processor::FILTER);
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
        self.page_ids(n, &sequence)?;
        let positions =
            Tensor::stack(&[id_tensor(&sequence.rows)?, id_tensor(&sequence.columns)?], 0)?;
        self.stages.compare_one(&name("position_ids"), 0.0, &positions)?;

        let features = tensor(&self.model.cpu().embed_patches(&pixels)?)?;
        let sensitive = if is_white { OF_WHITE_PAGES } else { stage };
        self.stages.compare_one(&name("patch_embeddings"), sensitive, &features)?;
        let features = numbers(&self.stages.get(&name("patch_embeddings"))?)?;
        let input = tensor(&self.model.cpu().input(&sequence, &features)?)?;
        self.page_layers(n, &sequence, &input)?;
        self.whole_page(n, "hf", "hf", if is_white { OF_WHITE_PAGES } else { vectors })
    }
}

impl Staged for NeoMme {
    type Sequence = Sequence;
    const PADDED_BEFORE: bool = false;
    const MEAN: bool = true;

    fn text(ids: Vec<u32>) -> Sequence {
        Sequence::text(ids)
    }

    fn ids(sequence: &Sequence) -> &[u32] {
        &sequence.ids
    }

    fn input(&self, question: &Sequence) -> Result<Lanes, ParityError> {
        Ok(self.cpu().input(question, &[])?)
    }

    fn page(&self, stages: &Stages, n: usize) -> Result<Tensor, ParityError> {
        let resized = tensor_image(&stages.get(&format!("page{n}.resized_u8"))?)?;
        let (grid, pixels) = patches(&resized, self.config.patch, &self.processor);
        let features = self.cpu().embed_patches(&pixels)?.to_rows();
        Ok(self.cpu().encode(&[Sequence::page(&self.tokens, grid)], &features)?)
    }

    fn depth(&self) -> usize {
        self.cpu().depth()
    }

    fn layer(
        &self,
        n: usize,
        sequence: &Sequence,
        input: &Lanes,
        x: &Lanes,
    ) -> Result<Lanes, ParityError> {
        Ok(self.cpu().layer(n, sequence, input, x)?)
    }

    fn output(&self, x: &Lanes) -> Lanes {
        self.cpu().output(x)
    }

    fn head(&self) -> &Linear {
        &self.cpu().head
    }

    fn vectors(&self, x: &Lanes) -> Result<Tensor, ParityError> {
        Ok(self.cpu().rows(x)?)
    }
}
