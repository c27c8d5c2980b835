//! PaliGemma against `PaliGemmaForConditionalGeneration` of transformers 4.57.6 with its cache, eager
//! attention, f32, on the CPU.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device as CandleDevice, Tensor};
use pagesight_core::{ModelSource, PageImage};
use pagesight_simd::resize_bicubic;
use serde::Deserialize;

use crate::answerer::decoding::{Decoding, Stop};
use crate::answerer::mask::MaskDecoder;
use crate::answerer::objects::{Object, Objects};
use crate::answerer::paligemma::PaliGemma;
use crate::answerer::sampling::{Sampling, best, log_sum_exp};
use crate::answerer::sequences::{Begun, Sequences};
use crate::answerer::task::{Location, Task};
use crate::blocks::attention::Mask;
use crate::blocks::cache::Cache;
use crate::blocks::lanes::{LANES, Lanes};
use crate::checkpoint::json::read_json;
use crate::device::Device;
use crate::families::colpali::model::ColPali;
use crate::options::{LoadOptions, RecipeChoice};
use crate::parity::{ParityError, StageReport, Stages, id_tensor, max_difference, read_image};
use crate::precision::Precision;

#[derive(Deserialize)]
struct Fixture {
    checkpoints: BTreeMap<String, Taught>,
    mask: Masks,
    parse: Vec<Parsed>,
}

/// What a checkpoint was taught.
#[derive(Deserialize)]
struct Taught {
    cases: BTreeMap<String, Case>,
    /// A checkpoint over which there is a retriever.
    retriever_prompt: Option<String>,
}

#[derive(Deserialize)]
struct Case {
    /// Which of `images/imageN.png`.
    image: usize,
    prompt: String,
    text: String,
    ended: bool,
    max_new_tokens: usize,
}

#[derive(Deserialize)]
struct Masks {
    pastes: Vec<Paste>,
}

#[derive(Deserialize)]
struct Paste {
    mask: usize,
    loc: [u16; 4],
    width: u32,
    height: u32,
    pixels_x1y1x2y2: [u32; 4],
    area: usize,
}

#[derive(Deserialize)]
struct Parsed {
    text: String,
    objects: Vec<ParsedObject>,
    rest: String,
}

#[derive(Deserialize)]
struct ParsedObject {
    box_0_1: [f64; 4],
    name: String,
    codes: Option<Vec<u8>>,
}

/// The case of which every stage is in the fixture.
const WHOLE: &str = "detect_two";

/// The case that beams were searched for.
const SEARCHED: &str = "caption_page";

/// Runs every checkpoint that `folder/fixture.json` lists, `folder/NAME` against
/// `folder/NAME.expected.safetensors`: pixels, ids, towers, layers, logits, texts, sampling, beams,
/// the cache against one whole pass, the texts in bf16 and q8, and the retriever over a base with
/// its adapter merged and apart; then masks and the reading of boxes.
///
/// # Errors
/// [`ParityError`] when a comparison cannot be made; a difference is a report, not an error.
pub fn parity(folder: &Path) -> Result<Vec<StageReport>, ParityError> {
    let fixture: Fixture = read_json(&folder.join("fixture.json").as_path().into())?;
    let mut reports = Vec::new();
    for (name, taught) in &fixture.checkpoints {
        let stages = Stages::read_file(folder.join(format!("{name}.expected.safetensors")))?;
        let mut check = Check::new(folder, name, taught, stages)?;
        check.pixels_and_ids()?;
        check.stages()?;
        check.texts()?;
        check.sampling()?;
        check.beams()?;
        check.fewer_bits()?;
        check.retriever()?;
        let named = check.stages.reports.into_iter().map(|report| {
            let stage = format!("{name}.{}", report.stage);
            StageReport { stage, ..report }
        });
        reports.extend(named);
    }
    let mut stages = Stages::read_file(folder.join("mask/expected.safetensors"))?;
    masks(folder, &fixture.mask.pastes, &mut stages)?;
    stages.report("parse", 0.0, if fixture.parse.iter().all(is_read) { 0.0 } else { 1.0 });
    reports.extend(stages.reports);
    Ok(reports)
}

fn load(folder: &Path, name: &str, precision: Precision) -> Result<PaliGemma, ParityError> {
    let options =
        LoadOptions { precision: Some(precision), device: Device::Cpu, ..LoadOptions::default() };
    Ok(PaliGemma::load(&ModelSource::Folder(folder.join(name)), &options)?)
}

/// The task whose prompt this is.
fn task(prompt: &str) -> Task {
    let places = prompt.strip_prefix("caption <loc").map(|_| {
        let numbers = prompt.split("<loc").skip(1);
        let numbers = numbers.filter_map(|rest| rest.get(..4)?.parse().ok());
        numbers.collect::<Vec<u16>>()
    });
    match places.and_then(|numbers| numbers.try_into().ok()) {
        Some(numbers) => Task::CaptionBox { location: Location(numbers) },
        None => prompt.parse().unwrap_or_else(|_| Task::Free(prompt.into())),
    }
}

struct Check<'a> {
    folder: &'a Path,
    name: &'a str,
    taught: &'a Taught,
    model: PaliGemma,
    images: Vec<PageImage>,
    stages: Stages,
}

impl<'a> Check<'a> {
    fn new(
        folder: &'a Path,
        name: &'a str,
        taught: &'a Taught,
        stages: Stages,
    ) -> Result<Self, ParityError> {
        let model = load(folder, name, Precision::F32)?;
        let count = taught.cases.values().map(|case| case.image + 1).max().unwrap_or(0);
        let image = |n: usize| read_image(&folder.join(format!("images/image{n}.png")));
        let images = (0..count).map(image).collect::<Result<_, _>>()?;
        Ok(Self { folder, name, taught, model, images, stages })
    }

    fn ids(&self, name: &str) -> Result<Vec<u32>, ParityError> {
        let ids = self.stages.get(name)?.flatten_all()?.to_dtype(DType::U32)?;
        Ok(ids.to_vec1()?)
    }

    /// Reports the largest difference that any case has.
    fn worst(
        &mut self,
        stage: &str,
        tolerance: f64,
        of: impl Fn(&Self, &str, &Case) -> Result<f64, ParityError>,
    ) -> Result<(), ParityError> {
        let mut worst = 0.0f64;
        for (name, case) in &self.taught.cases {
            worst = worst.max(of(self, name, case)?);
        }
        self.stages.report(stage, tolerance, worst);
        Ok(())
    }

    fn pixels_and_ids(&mut self) -> Result<(), ParityError> {
        let edge = self.model.input_px();
        let resized = self.images.iter().map(|image| {
            let image = resize_bicubic(image, edge, edge);
            let edge = edge as usize;
            Ok(Tensor::from_slice(image.rgb(), (edge, edge, 3), &CandleDevice::Cpu)?)
        });
        let resized = resized.collect::<Result<Vec<_>, ParityError>>()?;
        self.stages.compare("resized_u8", 0.0, &resized, None)?;
        let side = self.model.config.vlm_config.vision_config.side();
        self.worst("input_ids", 0.0, |this, name, case| {
            let ids = this.model.tokens.prompt(side * side, &task(&case.prompt))?;
            let expected = this.stages.get(&format!("{name}.input_ids"))?;
            max_difference(&id_tensor(&ids)?, &expected)
        })
    }

    /// The stages of one case, each from what the reference gave before it.
    fn stages(&mut self) -> Result<(), ParityError> {
        let name = |stage: &str| format!("{WHOLE}.{stage}");
        let image = self.taught.cases.get(WHOLE).map_or(0, |case| case.image);
        let pixels = self.model.pixels(&self.images[image])?;
        let seen = self.model.cpu().vision.encode(std::slice::from_ref(&pixels))?;
        let (patches, width) = (seen.lengths()[0], seen.width());
        let seen = Tensor::from_vec(seen.to_rows(), (patches, width), &CandleDevice::Cpu)?;
        self.stages.compare_one(&name("vision.output"), 5e-5, &seen)?;
        let features =
            self.model.cpu().projector.forward(&self.stages.get(&name("vision.output"))?)?;
        self.stages.compare_one(&name("projector.output"), 5e-5, &features)?;
        let features = self.stages.get(&name("projector.output"))?;
        let rows = features.flatten_all()?.to_vec1::<f32>()?;
        let features = Lanes::from_rows(&[patches], features.dim(1)?, &rows);
        let ids = self.ids(&name("input_ids"))?;
        let input = self.model.cpu().language.input(&features, &ids[patches..])?;
        let shape = (ids.len(), input.width());
        let input = Tensor::from_vec(input.to_rows(), shape, &CandleDevice::Cpu)?;
        self.stages.compare_one(&name("lm.input"), 1e-4, &input)?;
        let mut x = self.stages.get(&name("lm.input"))?;
        let both = self.model.cpu().language.keys_and_values(0, &x)?;
        for (got, what) in both.into_iter().zip(["key", "value"]) {
            let what = name(&format!("lm.layer.0.{what}"));
            let (heads, n, dim) = self.stages.get(&what)?.dims3()?;
            let got = got.reshape((n, heads, dim))?.transpose(0, 1)?.contiguous()?;
            self.stages.compare_one(&what, 1e-4, &got)?;
        }
        let context = self.model.cpu().language.context(ids.len());
        for layer in 0..self.model.cpu().language.depth() {
            let got = self.model.cpu().language.layer(layer, &x, &context)?;
            let what = name(&format!("lm.layer.{layer}"));
            self.stages.compare_one(&what, 1e-4, &got)?;
            x = self.stages.get(&what)?;
        }
        let got = self.model.cpu().language.finish(&x)?;
        self.stages.compare_one(&name("lm.output"), 1e-4, &got)
    }

    /// The logits of every step of a case, each after the reference's own ids.
    fn logits(&self, name: &str, case: &Case) -> Result<Vec<Vec<f32>>, ParityError> {
        let begun = self.begun(name, case)?;
        let ids = self.ids(&format!("{name}.generated_ids"))?;
        let mut caches: Vec<Cache> = begun.caches;
        let mut all = vec![begun.logits];
        for id in &ids[..ids.len() - 1] {
            all.extend(self.model.cpu().step(&mut [&mut caches], &[*id])?);
        }
        Ok(all)
    }

    fn begun(&self, name: &str, case: &Case) -> Result<Begun<Vec<Cache>>, ParityError> {
        let pixels = self.model.pixels(&self.images[case.image])?;
        Ok(self.model.cpu().begin(&pixels, &self.ids(&format!("{name}.input_ids"))?)?)
    }

    fn texts(&mut self) -> Result<(), ParityError> {
        let rows = |rows: &[Vec<f32>]| -> Result<Tensor, ParityError> {
            let shape = (rows.len(), rows[0].len());
            Ok(Tensor::from_vec(rows.concat(), shape, &CandleDevice::Cpu)?)
        };
        let all = self
            .taught
            .cases
            .iter()
            .map(|(name, case)| Ok((name.as_str(), self.logits(name, case)?)));
        let all = all.collect::<Result<BTreeMap<&str, Vec<Vec<f32>>>, ParityError>>()?;
        let whole = rows(&all[WHOLE])?;
        self.stages.compare_one(&format!("{WHOLE}.logits"), 2e-4, &whole)?;
        self.worst("top5.ids", 0.0, |this, name, _| {
            // The best is enough: the order of near equals is nobody's promise.
            let expected = this.stages.get(&format!("{name}.top5.ids"))?.narrow(1, 0, 1)?;
            let got = all[name].iter().map(|logits| best(logits).unwrap_or(u32::MAX));
            let got = id_tensor(&got.collect::<Vec<_>>())?;
            max_difference(&got, &expected.flatten_all()?)
        })?;
        self.worst("top5.logits", 2e-4, |this, name, _| {
            let ids = this.stages.get(&format!("{name}.top5.ids"))?.to_dtype(DType::U32)?;
            let ids = ids.to_vec2::<u32>()?;
            let of = |(logits, ids): (&Vec<f32>, &Vec<u32>)| -> Vec<f32> {
                ids.iter().map(|&id| logits[id as usize]).collect()
            };
            let got: Vec<Vec<f32>> = all[name].iter().zip(&ids).map(of).collect();
            max_difference(&rows(&got)?, &this.stages.get(&format!("{name}.top5.logits"))?)
        })?;
        self.worst("logsumexp", 2e-4, |this, name, _| {
            let got: Vec<f32> = all[name].iter().map(|logits| log_sum_exp(logits) as f32).collect();
            let expected = this.stages.get(&format!("{name}.logsumexp"))?;
            max_difference(&Tensor::new(got, &CandleDevice::Cpu)?, &expected)
        })?;
        self.worst("cached_as_one_pass", 1e-4, |this, name, case| {
            let one = this.one_pass(name, case)?;
            max_difference(&rows(&all[name])?, &rows(&one)?)
        })?;
        self.worst("generated_ids", 0.0, |this, name, case| this.written(&this.model, name, case))?;
        self.worst("logprobs", 2e-4, |this, name, case| {
            let written = this.model.write(
                &this.images[case.image],
                &task(&case.prompt),
                Decoding::GREEDY.with_most_tokens(case.max_new_tokens),
            )?;
            let got: Vec<f32> = written.probabilities.iter().map(|p| p.ln()).collect();
            let expected = this.stages.get(&format!("{name}.logprobs"))?;
            max_difference(&Tensor::new(got, &CandleDevice::Cpu)?, &expected)
        })
    }

    /// The logits of the positions that were generated, from one pass over the whole sequence.
    fn one_pass(&self, name: &str, case: &Case) -> Result<Vec<Vec<f32>>, ParityError> {
        let prompt = self.ids(&format!("{name}.input_ids"))?;
        let ids = [&prompt[..], &self.ids(&format!("{name}.generated_ids"))?].concat();
        let pixels = self.model.pixels(&self.images[case.image])?;
        let x = self.model.cpu().input(&pixels, &ids)?;
        let x = self.model.cpu().language.encode_masked(x, Mask::Prefix(prompt.len()));
        let places: Vec<usize> = (prompt.len() - 1..ids.len() - 1).collect();
        let all =
            places.chunks(LANES).flat_map(|places| self.model.cpu().logits(&x.keep(&[places])));
        Ok(all.collect())
    }

    /// How far what is written about a case is from the reference's ids, text and end.
    fn written(&self, model: &PaliGemma, name: &str, case: &Case) -> Result<f64, ParityError> {
        let decoding = Decoding::GREEDY.with_most_tokens(case.max_new_tokens);
        let page = &self.images[case.image];
        let mut streamed = String::new();
        let mut reader = |text: &str| {
            streamed += text;
            std::ops::ControlFlow::Continue(())
        };
        let written = model.write_to(page, &task(&case.prompt), decoding, &mut reader)?;
        let ended = written.stop == Stop::End;
        if written.text != case.text || streamed != case.text || ended != case.ended {
            return Ok(f64::INFINITY);
        }
        let expected = self.stages.get(&format!("{name}.generated_ids"))?;
        max_difference(&id_tensor(&written.ids)?, &expected)
    }

    fn sampling(&mut self) -> Result<(), ParityError> {
        let logits = self.stages.get(&format!("{WHOLE}.logits"))?.get(1)?.to_vec1::<f32>()?;
        let sampling = Sampling { temperature: 3.0, top_k: Some(20), top_p: Some(0.9), seed: 0 };
        let kept = sampling.kept(&self.model.capped(&logits));
        let (ids, probabilities): (Vec<u32>, Vec<f32>) = kept.into_iter().unzip();
        self.stages.compare_one(&format!("{WHOLE}.sample.kept_ids"), 0.0, &id_tensor(&ids)?)?;
        let probabilities = Tensor::new(probabilities, &CandleDevice::Cpu)?;
        self.stages.compare_one(&format!("{WHOLE}.sample.probs"), 1e-4, &probabilities)
    }

    /// Beams. The reference forgets the bound of PaliGemma 2's logits here, so they are compared
    /// without it.
    fn beams(&mut self) -> Result<(), ParityError> {
        let case = &self.taught.cases[SEARCHED];
        let begun = self.begun(SEARCHED, case)?;
        let sequences = format!("{SEARCHED}.beam3.sequences");
        let (count, longest) = self.stages.get(&sequences)?.dims2()?;
        let found = self.model.beams(self.model.cpu(), begun, count, case.max_new_tokens, false)?;
        let padded = found.iter().map(|beam| {
            let mut ids = beam.ids.clone();
            // The reference fills shorter ones up with the token that ended them.
            ids.resize(longest.max(ids.len()), self.model.tokens.eos());
            id_tensor(&ids)
        });
        let padded = padded.collect::<Result<Vec<_>, _>>()?;
        self.stages.compare(&sequences, 0.0, &padded, None)?;
        let scores: Vec<f32> = found.iter().map(|beam| beam.score).collect();
        let scores = Tensor::new(scores, &CandleDevice::Cpu)?;
        self.stages.compare_one(&format!("{SEARCHED}.beam3.scores"), 2e-4, &scores)
    }

    /// The same texts with fewer bits.
    fn fewer_bits(&mut self) -> Result<(), ParityError> {
        for precision in [Precision::Bf16, Precision::Q8] {
            let model = load(self.folder, self.name, precision)?;
            let stage = format!("generated_ids.{precision}");
            self.worst(&stage, 0.0, |this, name, case| this.written(&model, name, case))?;
        }
        Ok(())
    }

    /// The retriever over this base: with its adapter it finds pages, without it the base answers.
    fn retriever(&mut self) -> Result<(), ParityError> {
        let Some(prompt) = &self.taught.retriever_prompt else { return Ok(()) };
        let folder = self.folder.join(format!("{}-retriever", self.name));
        let source = ModelSource::Folder(folder);
        // `<image>*N<bos>words\n`, the line end spelled out.
        let prompt = prompt.find("<bos>").map_or(prompt.as_str(), |at| &prompt[at..]);
        let prompt = prompt.replace("\\n", "\n");
        for adapter in ["merged", "apart"] {
            let recipe = serde_json::json!({ "page_prompt": prompt, "adapter": adapter });
            let options = LoadOptions {
                precision: Some(Precision::F32),
                device: Device::Cpu,
                recipe: Some(RecipeChoice::Json(recipe.to_string())),
                ..LoadOptions::default()
            };
            let model = ColPali::load(&source, &options)?;
            if adapter == "merged" {
                let ids = id_tensor(model.page_ids())?;
                self.stages.compare_one("retriever.page.input_ids", 0.0, &ids)?;
            }
            let pixels = self.model.pixels(&self.images[0])?;
            let got = model.encode_slice(&pixels, model.page_ids())?;
            let expected = self.stages.get("retriever.page.embeddings")?;
            let worst = max_difference(&got, &expected)?;
            self.stages.report(&format!("retriever.page.embeddings.{adapter}"), 1e-5, worst);
        }
        // What answers is the same whether the base is named or the adapter.
        let model = load(self.folder, &format!("{}-retriever", self.name), Precision::F32)?;
        self.worst("generated_ids.of_the_retriever", 0.0, |this, name, case| {
            this.written(&model, name, case)
        })
    }
}

fn masks(folder: &Path, pastes: &[Paste], stages: &mut Stages) -> Result<(), ParityError> {
    let decoder = MaskDecoder::load(&folder.join("mask/vae.npz"))?;
    let codes = stages.get("codes")?.to_dtype(DType::U8)?.to_vec2::<u8>()?;
    let codes: Vec<[u8; 16]> = codes.into_iter().filter_map(|row| row.try_into().ok()).collect();
    let decoded = codes
        .iter()
        .map(|codes| Ok(Tensor::from_vec(decoder.decode(codes)?, (64, 64), &CandleDevice::Cpu)?));
    let decoded = decoded.collect::<Result<Vec<_>, ParityError>>()?;
    stages.compare("masks", 1e-5, &decoded, None)?;
    for (n, paste) in pastes.iter().enumerate() {
        let object = Object::new(Location(paste.loc), String::new(), Some(codes[paste.mask]));
        let Some(mask) = decoder.mask(&object, paste.width, paste.height)? else { continue };
        let (width, height) = (paste.width, paste.height);
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels: Vec<u8> = pixels.map(|(x, y)| u8::from(mask.has(x, y))).collect();
        let shape = (height as usize, width as usize);
        let pixels = Tensor::from_vec(pixels, shape, &CandleDevice::Cpu)?;
        let stage = format!("paste.{n}");
        stages.compare_one(&stage, 0.0, &pixels)?;
        // A box of nothing has no place.
        let is_placed = paste.area == 0 || mask.box_px == paste.pixels_x1y1x2y2;
        if mask.area() != paste.area || !is_placed {
            stages.report(&format!("{stage}.box"), 0.0, 1.0);
        }
    }
    Ok(())
}

fn is_read(expected: &Parsed) -> bool {
    let found = Objects::read(&expected.text);
    let same = |(got, expected): (&Object, &ParsedObject)| {
        let mut places = got.location.parts().into_iter().zip(expected.box_0_1);
        places.all(|(got, expected)| (got - expected).abs() < 1e-12)
            && got.name == expected.name
            && got.codes.map(|codes| codes.to_vec()) == expected.codes
    };
    found.rest == expected.rest
        && found.objects.len() == expected.objects.len()
        && found.objects.iter().zip(&expected.objects).all(same)
}
