//! ColPali against `ColPaliForRetrieval` of transformers and `ColPali` of colpali-engine.

mod trained;

use std::path::Path;

use candle_core::{DType, Device as CandleDevice, Tensor};
use pagesight_core::ModelSource;
use pagesight_maxsim::{SimilarityMap, hierarchical_clusters, maxsim_reference, pool_hierarchical};
use pagesight_simd::resize_bicubic;
use serde::Deserialize;

use crate::blocks::linear::unit_rows;
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::colpali::cpu::CpuModel;
use crate::families::colpali::model::ColPali;
use crate::families::colpali::recipe::Recipe;
use crate::options::LoadOptions;
use crate::parity::{
    ParityError, StageReport, Stages, id_tensor, image_tensor, items, max_difference, numbers,
    page_pictures, read_image, tensor_image,
};
use crate::picture::cmyk_to_rgb;
use crate::precision::Precision;

#[derive(Deserialize)]
struct Fixture {
    /// A trained model, of which the folder has a few rows of each stage.
    model: Option<String>,
    strings: Strings,
}

#[derive(Deserialize)]
struct Strings {
    queries: Vec<String>,
}

/// Names of expected tensors and the recipes that give them.
const PROFILES: [(&str, &str); 4] = [
    ("hf", "transformers"),
    ("engine_0.3.4_0.3.10", "colpali-engine-0.3.4"),
    ("engine_0.3.11_0.3.12", "colpali-engine-0.3.11"),
    ("engine_0.3.13_on", "colpali-engine-0.3.13"),
];

/// Checkpoints in other layouts beside `hf/`, and the profile whose tensors they give.
const OTHER_CHECKPOINTS: [(&str, &str); 2] = [("orig", "hf"), ("lora", "lora")];

/// Runs the checkpoint in `folder/hf` against `folder/expected.safetensors`: preprocessing, ids,
/// every layer of both towers, head, embeddings, scores, pooling and similarity maps; then the
/// same weights in `folder/orig` (colpali-engine's layout) and the adapter in `folder/lora` from
/// end to end, where they are there. Depth, sizes, pictures (`images/page*.png`, by name) and
/// queries (`fixture.json`) are the folder's.
///
/// A folder whose `fixture.json` names a `model` (`nano`, or a folder relative to it) has a few
/// rows of each stage of that trained model instead.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    let fixture: Fixture = read_json(&folder.join("fixture.json").as_path().into())?;
    let stages = Stages::read(folder)?;
    if let Some(model) = &fixture.model {
        return trained::trained(folder, model, &fixture.strings.queries, stages);
    }
    let model = ColPali::load(&ModelSource::Folder(folder.join("hf")), &options())?;
    let mut check = Check { model, stages, folder };
    check.images()?;
    check.vision()?;
    check.pages()?;
    for (profile, recipe) in PROFILES {
        let recipe = Recipe::named(recipe).expect("a recipe of ours");
        check.queries(profile, &recipe, &fixture.strings.queries)?;
    }
    check.causal(&fixture.strings.queries)?;
    check.double_bos()?;
    check.long()?;
    check.pooling()?;
    check.similarity()?;
    for (profile, expected) in OTHER_CHECKPOINTS {
        check.checkpoint(profile, expected, &fixture.strings.queries)?;
    }
    Ok(check.stages.reports)
}

fn options() -> LoadOptions {
    LoadOptions {
        recipe: Some(Recipe::default().into()),
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    }
}

struct Check<'a> {
    model: ColPali,
    stages: Stages,
    folder: &'a Path,
}

impl Check<'_> {
    fn cpu(&self) -> &CpuModel {
        self.model.cpu().expect("loaded for the CPU")
    }

    /// Decoding as PIL's `convert("RGB")` does, and the exact bicubic.
    fn images(&mut self) -> Result<(), ParityError> {
        for mode in ["gray", "gray_alpha", "rgba", "palette", "bilevel", "gray16"] {
            let name = format!("modes.{mode}.rgb");
            if self.stages.has(&name) {
                let image = read_image(&self.folder.join(format!("images/mode_{mode}.png")))?;
                let worst = max_difference(&image_tensor(&image)?, &self.stages.get(&name)?)?;
                self.stages.report(&name, 0.0, worst);
            }
        }
        if self.stages.has("modes.cmyk.rgb") {
            let input = self.stages.get("modes.cmyk.input")?;
            let rgb = cmyk_to_rgb(&input.flatten_all()?.to_vec1::<u8>()?);
            let expected = self.stages.get("modes.cmyk.rgb")?;
            let rgb = Tensor::from_vec(rgb, expected.dims(), &CandleDevice::Cpu)?;
            self.stages.report("modes.cmyk.rgb", 0.0, max_difference(&rgb, &expected)?);
        }
        let pages = page_pictures(self.folder)?;
        let edge = self.model.config.vlm_config.vision_config.image_size as u32;
        let resized = pages
            .iter()
            .map(|path| image_tensor(&resize_bicubic(&read_image(path)?, edge, edge)))
            .collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("resized_u8", 0.0, &resized, None)?;
        let pixels = items(&self.stages.get("resized_u8")?)?
            .iter()
            .map(|image| Ok(self.model.normalisation.pixel_values(&tensor_image(image)?)?))
            .collect::<Result<Vec<_>, ParityError>>()?;
        self.stages.compare("pixel_values", 1e-6, &pixels, None)
    }

    fn vision(&mut self) -> Result<(), ParityError> {
        const TOLERANCE: f64 = 5e-5;
        let mut name = "pixel_values".to_string();
        for stage in 0..self.cpu().vision()?.0.depth() + 3 {
            let (vision, projector) = self.cpu().vision()?;
            let depth = vision.depth();
            let inputs = items(&self.stages.get(&name)?)?;
            let run = |x: &Tensor| match stage {
                0 => vision.embed(x),
                n if n <= depth => vision.layer(n - 1, x),
                n if n == depth + 1 => vision.finish(x),
                _ => projector.forward(x),
            };
            let got = inputs.iter().map(run).collect::<candle_core::Result<Vec<_>>>()?;
            name = match stage {
                0 => "vision.embeddings".into(),
                n if n <= depth => format!("vision.layer.{}", n - 1),
                n if n == depth + 1 => "vision.output".into(),
                _ => "projector.output".into(),
            };
            self.stages.compare(&name, TOLERANCE, &got, None)?;
        }
        Ok(())
    }

    fn pages(&mut self) -> Result<(), ParityError> {
        let features = items(&self.stages.get("projector.output")?)?;
        let ids = self.page_ids("hf.page.input_ids", None)?;
        let inputs = features
            .iter()
            .map(|features| self.cpu().page_input(features, &ids))
            .collect::<candle_core::Result<Vec<_>>>()?;
        self.stages.compare("hf.page.lm.input", 1e-4, &inputs, None)?;
        self.language("hf.page", None)?;
        let pixels = items(&self.stages.get("pixel_values")?)?;
        let rows = pixels
            .iter()
            .map(|pixels| self.model.encode_slice(pixels, &ids))
            .collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("hf.page.embeddings", 1e-5, &rows, None)
    }

    /// Our ids for a page, compared with the expected ones.
    fn page_ids(&mut self, name: &str, prompt: Option<&str>) -> Result<Vec<u32>, ParityError> {
        let side = self.model.config.vlm_config.vision_config.side();
        let prompt = prompt.unwrap_or(&self.model.recipe.page_prompt);
        let ids = self.model.tokens.page_ids(side * side, prompt)?;
        let pages = self.stages.get(name)?.dim(0)?;
        self.stages.compare(name, 0.0, &vec![id_tensor(&ids)?; pages], None)?;
        Ok(ids)
    }

    /// The language model's layers, last norm, head and normalisation.
    fn language(&mut self, kind: &str, lengths: Option<&[usize]>) -> Result<(), ParityError> {
        let mut name = format!("{kind}.lm.input");
        for stage in 0..self.cpu().language().depth() + 3 {
            let (cpu, language) = (self.cpu(), self.cpu().language());
            let depth = language.depth();
            let mut inputs = items(&self.stages.get(&name)?)?;
            for (input, &length) in inputs.iter_mut().zip(lengths.unwrap_or_default()) {
                *input = input.narrow(0, 0, length)?.contiguous()?;
            }
            let run = |x: &Tensor| match stage {
                n if n < depth => language.layer(n, x, &language.context(x.dim(0)?)),
                n if n == depth => language.finish(x),
                n if n == depth + 1 => cpu.head().forward(x),
                _ => unit_rows(x, 0.0),
            };
            let got = inputs.iter().map(run).collect::<candle_core::Result<Vec<_>>>()?;
            let (next, tolerance) = match stage {
                n if n < depth => (format!("{kind}.lm.layer.{n}"), 1e-4),
                n if n == depth => (format!("{kind}.lm.output"), 1e-4),
                n if n == depth + 1 => (format!("{kind}.head.output"), 1e-4),
                _ => (format!("{kind}.embeddings"), 1e-5),
            };
            name = next;
            self.stages.compare(&name, tolerance, &got, lengths)?;
            if stage > depth + 1 {
                // The same tensor is compared once more from pixels or ids; this one is the
                // normalisation alone.
                let last = self.stages.reports.last_mut().expect("reported above");
                last.stage = format!("{kind}.normalisation");
            }
        }
        Ok(())
    }

    fn queries(
        &mut self,
        profile: &str,
        recipe: &Recipe,
        queries: &[String],
    ) -> Result<(), ParityError> {
        if !self.stages.has(&format!("{profile}.query.embeddings")) {
            return Ok(());
        }
        let ids = self.query_ids(recipe, queries)?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let tensors = ids.iter().map(|ids| id_tensor(ids)).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(
            &format!("{profile}.query.input_ids"),
            0.0,
            &tensors,
            Some(&lengths),
        )?;
        let mask = self.stages.get(&format!("{profile}.query.attention_mask"))?;
        let width = mask.dim(1)?;
        let masks = lengths
            .iter()
            .map(|&n| id_tensor(&(0..width).map(|i| u32::from(i < n)).collect::<Vec<_>>()))
            .collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&format!("{profile}.query.attention_mask"), 0.0, &masks, None)?;
        if self.stages.has(&format!("{profile}.query.lm.input")) {
            let inputs = ids
                .iter()
                .map(|ids| self.cpu().language().embed(ids))
                .collect::<candle_core::Result<Vec<_>>>()?;
            self.stages.compare(
                &format!("{profile}.query.lm.input"),
                1e-4,
                &inputs,
                Some(&lengths),
            )?;
            self.language(&format!("{profile}.query"), Some(&lengths))?;
        }
        self.embeddings(profile, &ids, recipe)
    }

    fn causal(&mut self, queries: &[String]) -> Result<(), ParityError> {
        if !self.stages.has("causal.query.embeddings") {
            return Ok(());
        }
        let recipe = Recipe { causal_queries: true, ..Recipe::default() };
        let ids = self.query_ids(&recipe, queries)?;
        self.embeddings("causal", &ids, &recipe)
    }

    fn query_ids(&self, recipe: &Recipe, queries: &[String]) -> Result<Vec<Vec<u32>>, ParityError> {
        let ids = |query: &String| Ok(self.model.tokens.ids(&recipe.query_text(query))?);
        queries.iter().map(ids).collect()
    }

    /// Query vectors from ids, and their MaxSim with our own page vectors.
    fn embeddings(
        &mut self,
        profile: &str,
        ids: &[Vec<u32>],
        recipe: &Recipe,
    ) -> Result<(), ParityError> {
        let rows = ids
            .iter()
            .map(|ids| self.model.encode_ids(ids, recipe.causal_queries))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        self.stages.compare(&format!("{profile}.query.embeddings"), 1e-5, &rows, Some(&lengths))?;
        let name = format!("{profile}.scores");
        if !self.stages.has(&name) {
            return Ok(());
        }
        let side = self.model.config.vlm_config.vision_config.side();
        let page_ids = self.model.tokens.page_ids(side * side, &recipe.page_prompt)?;
        let pages = items(&self.stages.get("pixel_values")?)?
            .iter()
            .map(|pixels| self.model.encode_slice(pixels, &page_ids))
            .collect::<Result<Vec<_>, _>>()?;
        let scores = scores(&rows, &pages)?;
        self.stages.compare(&name, 1e-4, &scores, None)
    }

    /// Pages as colpali-engine makes them on transformers 4.47 and later.
    fn double_bos(&mut self) -> Result<(), ParityError> {
        if !self.stages.has("double_bos.page.embeddings") {
            return Ok(());
        }
        let prompt = format!("<bos>{}", self.model.recipe.page_prompt);
        let ids = self.page_ids("double_bos.page.input_ids", Some(&prompt))?;
        let rows = items(&self.stages.get("pixel_values")?)?
            .iter()
            .map(|pixels| self.model.encode_slice(pixels, &ids))
            .collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("double_bos.page.embeddings", 1e-5, &rows, None)
    }

    /// More tokens than low-precision rotations can tell apart.
    fn long(&mut self) -> Result<(), ParityError> {
        if !self.stages.has("long.embeddings") {
            return Ok(());
        }
        let ids =
            self.stages.get("long.input_ids")?.get(0)?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        let rows = self.model.encode_ids(&ids, false)?;
        let rows = rows.index_select(&self.stages.get("long.rows")?.to_dtype(DType::U32)?, 0)?;
        let worst = max_difference(&rows, &self.stages.get("long.embeddings")?)?;
        self.stages.report("long.embeddings", 2e-5, worst);
        Ok(())
    }

    /// colpali-engine's pooling of the reference's own page vectors.
    fn pooling(&mut self) -> Result<(), ParityError> {
        for (factor, page) in [(2, 0), (3, 0)] {
            let name = |what| format!("pool.factor{factor}.page{page}.{what}");
            if !self.stages.has(&name("labels")) {
                continue;
            }
            let rows = self.stages.get("hf.page.embeddings")?.get(page)?;
            let (n, dim) = rows.dims2()?;
            let rows = numbers(&rows)?;
            let labels = hierarchical_clusters(dim, &rows, (n / factor).max(1));
            let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
            let worst = max_difference(&id_tensor(&labels)?, &self.stages.get(&name("labels"))?)?;
            self.stages.report(&name("labels"), 0.0, worst);
            let pooled = pool_hierarchical(dim, &rows, factor).vectors;
            let pooled =
                Tensor::from_slice(&pooled, (pooled.len() / dim, dim), &CandleDevice::Cpu)?;
            let worst = max_difference(&pooled, &self.stages.get(&name("embeddings"))?)?;
            self.stages.report(&name("embeddings"), 1e-5, worst);
        }
        Ok(())
    }

    /// Maps of the first query over the first page, from the reference's vectors.
    fn similarity(&mut self) -> Result<(), ParityError> {
        const NAME: &str = "simmap.query0.page0";
        if !self.stages.has(NAME) {
            return Ok(());
        }
        let expected = self.stages.get(NAME)?;
        let (tokens, side, _) = expected.dims3()?;
        let query = self.stages.get("hf.query.embeddings")?.get(0)?.narrow(0, 0, tokens)?;
        let dim = query.dim(1)?;
        let page = self.stages.get("hf.page.embeddings")?.get(0)?.narrow(0, 0, side * side)?;
        let (query, page) = (numbers(&query)?, numbers(&page)?);
        let maps: Vec<SimilarityMap> =
            query.chunks_exact(dim).map(|token| SimilarityMap::new(token, &page)).collect();
        let by_column = |map: &SimilarityMap| -> Result<Tensor, ParityError> {
            let places = (0..side).flat_map(|x| (0..side).map(move |y| (x, y)));
            let values: Vec<f32> = places.map(|(x, y)| map.at(x, y)).collect();
            Ok(Tensor::from_vec(values, (side, side), &CandleDevice::Cpu)?)
        };
        let plain = maps.iter().map(by_column).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(NAME, 1e-5, &plain, None)?;
        let scaled = maps.iter().map(|map| by_column(&map.scaled()));
        let scaled = scaled.collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&format!("{NAME}.normalized"), 1e-5, &scaled, None)
    }

    /// Another checkpoint of the folder, from pixels and words to scores.
    fn checkpoint(
        &mut self,
        profile: &str,
        expected: &str,
        queries: &[String],
    ) -> Result<(), ParityError> {
        let folder = self.folder.join(profile);
        if !folder.is_dir() {
            return Ok(());
        }
        let model = ColPali::load(&ModelSource::Folder(folder), &options())?;
        let pages = items(&self.stages.get("pixel_values")?)?
            .iter()
            .map(|pixels| model.encode_slice(pixels, model.page_ids()))
            .collect::<Result<Vec<_>, _>>()?;
        let ids = queries.iter().map(|query| Ok(model.query(query)?.ids));
        let ids = ids.collect::<Result<Vec<_>, ParityError>>()?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let rows = ids.iter().map(|ids| model.encode_ids(ids, false));
        let rows = rows.collect::<candle_core::Result<Vec<_>>>()?;
        let scores = scores(&rows, &pages)?;
        for (what, tolerance, got, lengths) in [
            ("page.embeddings", 1e-5, &pages, None),
            ("query.embeddings", 1e-5, &rows, Some(lengths.as_slice())),
            ("scores", 1e-4, &scores, None),
        ] {
            self.stages.compare(&format!("{expected}.{what}"), tolerance, got, lengths)?;
            let last = self.stages.reports.last_mut().expect("reported above");
            last.stage = format!("{profile}.{what}");
        }
        Ok(())
    }
}

/// MaxSim of each query with each page, a row a query.
fn scores(queries: &[Tensor], pages: &[Tensor]) -> Result<Vec<Tensor>, ParityError> {
    let pages = pages.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
    let row = |query: &Tensor| -> Result<Tensor, ParityError> {
        let (dim, query) = (query.dim(1)?, numbers(query)?);
        let score = |page: &Vec<f32>| maxsim_reference(dim, &query, page) as f32;
        Ok(Tensor::new(pages.iter().map(score).collect::<Vec<_>>(), &CandleDevice::Cpu)?)
    };
    queries.iter().map(row).collect()
}
