//! ColModernVBERT and ColSmol against transformers and colpali-engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device as CandleDevice, Tensor};
use pagesight_core::{PageImage, PictureSize};
use pagesight_simd::resize;
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{Linear, tensor};
use crate::error::ModelError;
use crate::families::check::{Check, Fixture, open};
use crate::families::idefics3::cpu::CpuModel;
use crate::families::idefics3::model::{self, TilesModel};
use crate::families::idefics3::processor::Processor;
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::idefics3::sequence::Sequence;
use crate::families::idefics3::tiles::{TileGrid, fitted, tiles, whole_tiles};
use crate::families::staged::Staged;
use crate::families::whole_page::WholePageRecipe;
use crate::options::RecipeChoice;
use crate::parity::{
    ParityError, StageReport, Stages, Tolerances, id_tensor, image_tensor, items, max_difference,
    numbers, read_image, tensor_image,
};

#[derive(Deserialize)]
struct Own {
    /// Height, width, longest side, edge of a tile; height and width that they become, rows and
    /// columns of tiles.
    #[serde(default)]
    resize_cases_h_w_longest_tile_to_h_w_rows_cols: Vec<[u32; 8]>,
}

const TOLERANCES: Tolerances = Tolerances { stage: 1e-4, vectors: 1e-5 };

/// Layouts of the same weights.
const LAYOUTS: [&str; 3] = ["hf", "engine", "old"];

/// Runs the first layout in `folder` (`hf`, `engine`, `old`) against `folder/expected.safetensors`:
/// sizes, tiles, ids, every stage that the file has, vectors, scores, the map of a question on a
/// page, a page of one tile; then the other layouts from end to end. A layout that has no tokenizer
/// takes the small files of the first.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    let fixture: Fixture<Own> = Fixture::read(folder)?;
    let mut there = LAYOUTS.map(|name| (name, folder.join(name))).into_iter();
    let (_, first) =
        there.by_ref().find(|(_, layout)| layout.is_dir()).unwrap_or(("", folder.to_path_buf()));
    let mut check = Check::new(folder, &fixture, load(&first, None)?, TOLERANCES)?;
    check.sizes(
        &fixture.own.resize_cases_h_w_longest_tile_to_h_w_rows_cols,
        |&[height, width, longest, edge, to_h, to_w, rows, cols]| {
            let size = fitted(longest, height.into(), width.into());
            let to = whole_tiles(size, edge);
            let grid = TileGrid::of(size, edge);
            // One tile is not cut.
            let [rows, columns] = if (rows, cols) == (1, 1) { [0, 0] } else { [rows, cols] };
            let expected = TileGrid { rows: rows as usize, columns: columns as usize };
            (to, grid) == (PictureSize { width_px: to_w, height_px: to_h }, expected)
        },
    );
    let pages = (0..check.pictures.len()).map(|n| check.page(n));
    let pages = pages.collect::<Result<Vec<_>, _>>()?;
    let asked = check.questions(&pages)?;
    check.map(&asked[0], &pages[0])?;
    for (name, layout) in there.filter(|(_, layout)| layout.is_dir()) {
        let joined = Joined::of(&layout, &first)?;
        check.layout(name, load(&joined.0, None)?, TOLERANCES.vectors)?;
    }
    if check.stages.has("one_tile.page2.embeddings") {
        let edge = check.model.config.vision.edge as u32;
        let family = check.model.config.family;
        let recipe = TilesRecipe { longest_side: Some(edge), ..TilesRecipe::of_family(family) };
        check.model = load(&first, Some(&recipe))?;
        check.one_tile()?;
    }
    Ok(check.stages.reports)
}

fn load(folder: &Path, recipe: Option<&TilesRecipe>) -> Result<TilesModel, ParityError> {
    let recipe = recipe.map(|recipe| RecipeChoice::Json(recipe.to_json()));
    let (checkpoint, options) = open(folder, recipe)?;
    Ok(model::load(&checkpoint, &options)?.network)
}

/// A folder with the files of a layout, and with those of another one that it has not. It goes when
/// this is dropped.
struct Joined(PathBuf);

impl Joined {
    fn of(layout: &Path, other: &Path) -> Result<Self, ParityError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "pagesight-parity-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let this = Self(std::env::temp_dir().join(name));
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ParityError::Model(ModelError::Io { path, source })
        };
        fs::create_dir_all(&this.0).map_err(io(&this.0))?;
        for (folder, with_weights) in [(other, false), (layout, true)] {
            for entry in fs::read_dir(folder).map_err(io(folder))? {
                let path = entry.map_err(io(folder))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if with_weights || !name.contains(".safetensors") {
                    fs::copy(&path, this.0.join(name)).map_err(io(&path))?;
                }
            }
        }
        Ok(this)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Check<TilesModel> {
    fn edge(&self) -> u32 {
        self.model.config.vision.edge as u32
    }

    /// The tiles of a picture of any size.
    fn tiles_of(&self, image: &PageImage) -> (TileGrid, Vec<PageImage>) {
        let (height, width) = (image.height_px().into(), image.width_px().into());
        let size = fitted(self.model.longest, height, width);
        let is_fitted = (size.width_px, size.height_px) == (image.width_px(), image.height_px());
        let fitted = if is_fitted {
            image.clone()
        } else {
            resize(image, size.width_px, size.height_px, Processor::FILTER)
        };
        tiles(&fitted, self.edge())
    }

    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize) -> Result<Tensor, ParityError> {
        let name = |what: &str| format!("page{n}.{what}");
        let (grid, cut) = self.tiles_of(&read_image(&self.pictures[n])?);
        let cut = cut.iter().map(image_tensor).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&name("tiles_u8"), 0.0, &cut, None)?;
        let sides = id_tensor(&[grid.rows as u32, grid.columns as u32])?;
        self.stages.compare_one(&name("grid"), 0.0, &sides)?;
        let pixels = self.model.expected_pixels(&self.stages, &name("tiles_u8"))?;
        if self.stages.has(&name("pixel_values.tile0")) {
            self.stages.compare_one(&name("pixel_values.tile0"), 1e-6, &pixels[0])?;
        }
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        self.page_ids(n, &sequence)?;
        let seen = self.vision(n, &pixels)?;
        let stacked = Tensor::cat(&seen, 0)?;
        let lengths = vec![seen[0].dim(0)?; seen.len()];
        let rows = numbers(&stacked)?;
        let seen = Lanes::from_rows(&lengths, stacked.dim(1)?, &rows);
        let features = tensor(&self.model.cpu().connect(&seen)?)?;
        let expected = self.stages.get(&name("projector.output"))?;
        let worst = max_difference(&features, &expected.flatten(0, 1)?)?;
        self.stages.report(&name("projector.output"), TOLERANCES.stage, worst);
        let features = numbers(&expected)?;
        let input = tensor(&self.model.cpu().input(std::slice::from_ref(&sequence), &features)?)?;
        self.page_layers(n, &sequence, &input)?;
        self.whole_page(n, "hf", "hf", self.tolerances.vectors)
    }

    /// The stages of the tower on the tiles of page `n`, whose output is returned.
    fn vision(&mut self, n: usize, pixels: &[Tensor]) -> Result<Vec<Tensor>, ParityError> {
        let mut x = pixels.to_vec();
        let depth = self.model.cpu().vision()?.0.depth();
        for stage in 0..depth + 2 {
            let (tower, _) = self.model.cpu().vision()?;
            let (made, name) = match stage {
                0 => (x.iter().map(|x| tower.embed(x)).collect(), "embeddings".to_string()),
                n if n <= depth => {
                    let made = x.iter().map(|x| tower.layer(n - 1, x));
                    (made.collect::<candle_core::Result<Vec<_>>>(), format!("layer.{}", n - 1))
                }
                _ => (x.iter().map(|x| tower.finish(x)).collect(), "output".to_string()),
            };
            x = made?;
            let name = format!("page{n}.vision.{name}");
            if self.stages.has(&name) {
                self.stages.compare(&name, TOLERANCES.stage, &x, None)?;
                x = items(&self.stages.get(&name)?)?;
            }
        }
        Ok(x)
    }

    /// A page that is small enough to be one tile.
    fn one_tile(&mut self) -> Result<(), ParityError> {
        let name = |what: &str| format!("one_tile.page2.{what}");
        let (grid, cut) = self.tiles_of(&read_image(&self.pictures[2])?);
        let cut = cut.iter().map(image_tensor).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&name("tiles_u8"), 0.0, &cut, None)?;
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        self.stages.compare_one(&name("input_ids"), 0.0, &id_tensor(&sequence.ids)?)?;
        let pixels = self.model.expected_pixels(&self.stages, &name("tiles_u8"))?;
        let rows = self.model.cpu().encode_page(&pixels, &sequence)?;
        self.stages.compare_one(&name("embeddings"), TOLERANCES.vectors, &rows)
    }

    /// The products of a question's vectors with those of the first page's tiles, put where the
    /// layout of the page says: `[tokens, columns, rows]`.
    fn map(&mut self, question: &Tensor, page: &Tensor) -> Result<(), ParityError> {
        const NAME: &str = "simmap.query0.page0";
        if !self.stages.has(NAME) {
            return Ok(());
        }
        let grid = expected_grid(&self.stages, 0)?;
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        let layout = sequence.layout(grid);
        let side = self.model.config.side();
        let (rows, columns) = (grid.rows * side, grid.columns * side);
        let products = question.matmul(&page.t()?)?.to_vec2::<f32>()?;
        let mut map = vec![f32::NAN; products.len() * columns * rows];
        // The last tile, of the whole page, has a map of its own.
        let cut = sequence.features().take(grid.cut() * side * side);
        for place in cut {
            let Some(area) = layout.area(place) else { continue };
            let at = |part: f32, of: usize| (part * of as f32).round() as usize;
            let (column, row) = (at(area.x0, columns), at(area.y0, rows));
            for (token, products) in products.iter().enumerate() {
                map[(token * columns + column) * rows + row] = products[place];
            }
        }
        let shape = (products.len(), columns, rows);
        let map = Tensor::from_vec(map, shape, &CandleDevice::Cpu)?;
        self.stages.compare_one(NAME, TOLERANCES.vectors, &map)
    }
}

/// The tiles of page `n`, as the reference has them.
fn expected_grid(stages: &Stages, n: usize) -> Result<TileGrid, ParityError> {
    let sides = numbers(&stages.get(&format!("page{n}.grid"))?)?;
    Ok(TileGrid { rows: sides[0] as usize, columns: sides[1] as usize })
}

impl TilesModel {
    /// The pixels of the reference's own tiles.
    fn expected_pixels(&self, stages: &Stages, name: &str) -> Result<Vec<Tensor>, ParityError> {
        let tiles = items(&stages.get(name)?)?;
        let tiles = tiles.iter().map(tensor_image).collect::<Result<Vec<_>, _>>()?;
        Ok(self.pixels(&tiles)?)
    }
}

impl TilesModel {
    fn cpu(&self) -> &CpuModel {
        self.engine.cpu().expect("loaded for the CPU")
    }
}

impl Staged for TilesModel {
    type Sequence = Sequence;

    fn text(ids: Vec<u32>) -> Sequence {
        Sequence::text(ids)
    }

    fn ids(sequence: &Sequence) -> &[u32] {
        &sequence.ids
    }

    fn input(&self, question: &Sequence) -> Result<Lanes, ParityError> {
        Ok(self.cpu().input(std::slice::from_ref(question), &[])?)
    }

    fn page(&self, stages: &Stages, n: usize) -> Result<Tensor, ParityError> {
        let pixels = self.expected_pixels(stages, &format!("page{n}.tiles_u8"))?;
        let sequence = self.tokens.page(&self.recipe, expected_grid(stages, n)?)?;
        Ok(self.cpu().encode_page(&pixels, &sequence)?)
    }

    fn depth(&self) -> usize {
        self.cpu().depth()
    }

    fn layer(&self, n: usize, _: &Sequence, _: &Lanes, x: &Lanes) -> Result<Lanes, ParityError> {
        Ok(self.cpu().layer(n, x))
    }

    fn output(&self, x: &Lanes) -> Lanes {
        self.cpu().finish(x)
    }

    fn head(&self) -> &Linear {
        &self.cpu().head
    }

    fn vectors(&self, x: &Lanes) -> Result<Tensor, ParityError> {
        Ok(self.cpu().rows(x)?)
    }
}
