//! ColModernVBERT and ColSmol against transformers and colpali-engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device as CandleDevice, Tensor};
use pagesight_core::{ModelSource, PageImage, PictureSize};
use pagesight_simd::{Filter, resize};
use serde::Deserialize;

use crate::blocks::lanes::Lanes;
use crate::blocks::linear::{lanes, tensor};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::error::ModelError;
use crate::families::idefics3::cpu::CpuModel;
use crate::families::idefics3::model::{self, TilesModel};
use crate::families::idefics3::recipe::TilesRecipe;
use crate::families::idefics3::sequence::Sequence;
use crate::families::idefics3::tiles::{TileGrid, fitted, tiles, whole_tiles};
use crate::families::whole_page::WholePageRecipe;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{
    OfBatch, ParityError, StageReport, Stages, Steps, Tolerances, id_tensor, image_tensor, items,
    max_difference, numbers, page_pictures, read_image, tensor_image,
};
use crate::precision::Precision;

#[derive(Deserialize)]
struct Fixture {
    strings: Strings,
    /// Height, width, longest side, edge of a tile; height and width that they become, rows and
    /// columns of tiles.
    #[serde(default)]
    resize_cases_h_w_longest_tile_to_h_w_rows_cols: Vec<[u32; 8]>,
}

#[derive(Deserialize)]
struct Strings {
    queries: Vec<String>,
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
    let fixture: Fixture = read_json(&folder.join("fixture.json").as_path().into())?;
    let queries = &fixture.strings.queries;
    let mut there = LAYOUTS.map(|name| (name, folder.join(name))).into_iter();
    let (_, first) =
        there.by_ref().find(|(_, layout)| layout.is_dir()).unwrap_or(("", folder.to_path_buf()));
    let mut check = Check { model: load(&first, None)?, stages: Stages::read(folder)? };
    check.sizes(&fixture.resize_cases_h_w_longest_tile_to_h_w_rows_cols);
    let pictures = page_pictures(folder)?;
    let mut pages = Vec::new();
    for (n, path) in pictures.iter().enumerate() {
        pages.push(check.page(n, path)?);
    }
    let asked = check.queries(queries)?;
    check.stages.scores("hf", &asked, &pages, false)?;
    check.map(&asked[0], &pages[0])?;
    for (name, layout) in there.filter(|(_, layout)| layout.is_dir()) {
        let joined = Joined::of(&layout, &first)?;
        check.model = load(&joined.0, None)?;
        let pages = (0..pictures.len()).map(|n| check.whole_page(n, name));
        let pages = pages.collect::<Result<Vec<_>, _>>()?;
        let asked = check.whole_queries(name, queries)?;
        check.stages.scores(name, &asked, &pages, false)?;
    }
    if check.stages.has("one_tile.page2.embeddings") {
        let edge = check.model.config.vision.edge as u32;
        let family = check.model.config.family;
        let recipe = TilesRecipe { longest_side: Some(edge), ..TilesRecipe::of_family(family) };
        check.model = load(&first, Some(&recipe))?;
        check.one_tile(&pictures[2])?;
    }
    Ok(check.stages.reports)
}

fn load(folder: &Path, recipe: Option<&TilesRecipe>) -> Result<TilesModel, ParityError> {
    let options = LoadOptions {
        recipe: recipe.map(|recipe| RecipeChoice::Json(recipe.to_json())),
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    let checkpoint = Checkpoint::open(&ModelSource::Folder(folder.into()), &options)?;
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

struct Check {
    model: TilesModel,
    stages: Stages,
}

impl Check {
    /// The rule by which pictures are stretched, on the fixture's cases.
    fn sizes(&mut self, cases: &[[u32; 8]]) {
        if cases.is_empty() {
            return;
        }
        let wrong =
            cases.iter().filter(|&&[height, width, longest, edge, to_h, to_w, rows, cols]| {
                let size = fitted(longest, height.into(), width.into());
                let to = whole_tiles(size, edge);
                let grid = TileGrid::of(size, edge);
                // One tile is not cut.
                let [rows, columns] = if (rows, cols) == (1, 1) { [0, 0] } else { [rows, cols] };
                let expected = TileGrid { rows: rows as usize, columns: columns as usize };
                (to, grid) != (PictureSize { width_px: to_w, height_px: to_h }, expected)
            });
        let wrong = wrong.count() as f64;
        self.stages.report("resize_cases", 0.0, wrong);
    }

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
            resize(image, size.width_px, size.height_px, Filter::Lanczos)
        };
        tiles(&fitted, self.edge())
    }

    /// All stages of page `n`, each fed with the reference's own input where that is there.
    fn page(&mut self, n: usize, path: &Path) -> Result<Tensor, ParityError> {
        let name = |what: &str| format!("page{n}.{what}");
        let (grid, cut) = self.tiles_of(&read_image(path)?);
        let cut = cut.iter().map(image_tensor).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&name("tiles_u8"), 0.0, &cut, None)?;
        let sides = id_tensor(&[grid.rows as u32, grid.columns as u32])?;
        self.stages.compare_one(&name("grid"), 0.0, &sides)?;
        let pixels = self.pixels(&name("tiles_u8"))?;
        if self.stages.has(&name("pixel_values.tile0")) {
            self.stages.compare_one(&name("pixel_values.tile0"), 1e-6, &pixels[0])?;
        }
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        let ids = id_tensor(&sequence.ids)?;
        self.stages.compare_one(&format!("hf.page{n}.input_ids"), 0.0, &ids)?;
        let seen = self.vision(n, &pixels)?;
        let stacked = Tensor::cat(&seen, 0)?;
        let lengths = vec![seen[0].dim(0)?; seen.len()];
        let rows = numbers(&stacked)?;
        let seen = Lanes::from_rows(&lengths, stacked.dim(1)?, &rows);
        let features = tensor(&self.model.cpu.connect(&seen)?)?;
        let expected = self.stages.get(&name("projector.output"))?;
        let worst = max_difference(&features, &expected.flatten(0, 1)?)?;
        self.stages.report(&name("projector.output"), TOLERANCES.stage, worst);
        let features = numbers(&expected)?;
        let input = tensor(&self.model.cpu.input(std::slice::from_ref(&sequence), &features)?)?;
        self.stages.compare_one(&format!("hf.page{n}.lm.input"), TOLERANCES.stage, &input)?;
        let steps = OfSequence { cpu: &self.model.cpu };
        self.stages.layers(&format!("hf.page{n}"), &steps, None, TOLERANCES)?;
        self.whole_page(n, "hf")
    }

    /// The pixels of the reference's own tiles.
    fn pixels(&self, name: &str) -> Result<Vec<Tensor>, ParityError> {
        let tiles = items(&self.stages.get(name)?)?;
        let tiles = tiles.iter().map(tensor_image).collect::<Result<Vec<_>, _>>()?;
        Ok(self.model.pixels(&tiles)?)
    }

    /// The stages of the tower on the tiles of page `n`, whose output is returned.
    fn vision(&mut self, n: usize, pixels: &[Tensor]) -> Result<Vec<Tensor>, ParityError> {
        let mut x = pixels.to_vec();
        let depth = self.model.cpu.vision()?.0.depth();
        for stage in 0..depth + 2 {
            let (tower, _) = self.model.cpu.vision()?;
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

    /// The vectors of page `n` from its tiles on.
    fn whole_page(&mut self, n: usize, kind: &str) -> Result<Tensor, ParityError> {
        let pixels = self.pixels(&format!("page{n}.tiles_u8"))?;
        let sides = numbers(&self.stages.get(&format!("page{n}.grid"))?)?;
        let grid = TileGrid { rows: sides[0] as usize, columns: sides[1] as usize };
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        let rows = self.model.cpu.encode_page(&pixels, &sequence)?;
        let expected = self.stages.get(&format!("hf.page{n}.embeddings"))?;
        let worst = max_difference(&rows, &expected)?;
        self.stages.report(&format!("{kind}.page{n}.embeddings"), TOLERANCES.vectors, worst);
        Ok(rows)
    }

    /// A page that is small enough to be one tile.
    fn one_tile(&mut self, path: &Path) -> Result<(), ParityError> {
        let name = |what: &str| format!("one_tile.page2.{what}");
        let (grid, cut) = self.tiles_of(&read_image(path)?);
        let cut = cut.iter().map(image_tensor).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&name("tiles_u8"), 0.0, &cut, None)?;
        let sequence = self.model.tokens.page(&self.model.recipe, grid)?;
        self.stages.compare_one(&name("input_ids"), 0.0, &id_tensor(&sequence.ids)?)?;
        let pixels = self.pixels(&name("tiles_u8"))?;
        let rows = self.model.cpu.encode_page(&pixels, &sequence)?;
        self.stages.compare_one(&name("embeddings"), TOLERANCES.vectors, &rows)
    }

    /// The products of a question's vectors with those of the first page's tiles, put where the
    /// layout of the page says: `[tokens, columns, rows]`.
    fn map(&mut self, question: &Tensor, page: &Tensor) -> Result<(), ParityError> {
        const NAME: &str = "simmap.query0.page0";
        if !self.stages.has(NAME) {
            return Ok(());
        }
        let sides = numbers(&self.stages.get("page0.grid")?)?;
        let grid = TileGrid { rows: sides[0] as usize, columns: sides[1] as usize };
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

    /// All stages of the queries.
    fn queries(&mut self, queries: &[String]) -> Result<Vec<Tensor>, ParityError> {
        for (row, sequence) in self.sequences(queries)?.iter().enumerate() {
            let of_batch = OfBatch { row, length: sequence.ids.len(), padded_before: true };
            let cpu = &self.model.cpu;
            let input = tensor(&cpu.input(std::slice::from_ref(sequence), &[])?)?;
            self.stages.query_input(&sequence.ids, &input, of_batch, TOLERANCES.stage)?;
            let steps = OfSequence { cpu };
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
        let rows = self.model.cpu.encode_texts(&sequences)?;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
        self.stages.queries(kind, &rows, &lengths, true, TOLERANCES.vectors)
    }
}

/// The language model; positions are counted, so that it needs nothing of a sequence.
struct OfSequence<'a> {
    cpu: &'a CpuModel,
}

impl Steps for OfSequence<'_> {
    fn depth(&self) -> usize {
        self.cpu.depth()
    }

    fn layer(&self, n: usize, _: &Tensor, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(tensor(&self.cpu.layer(n, &lanes(x)?))?)
    }

    fn output(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(tensor(&self.cpu.finish(&lanes(x)?))?)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.head.forward(x)?)
    }

    fn vectors(&self, x: &Tensor) -> Result<Tensor, ParityError> {
        Ok(self.cpu.rows(&lanes(x)?)?)
    }
}
