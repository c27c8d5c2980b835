//! A LoRA adapter (arXiv 2106.09685) as PEFT saves it. It is merged into its base while loading,
//! `W' = W + scale * B A`, in f32, or kept apart, `W x + scale * B (A x)`, so that the base stays as
//! it is. An adapter may also bring whole tensors, such as a head that its base does not have. Source: peft 0.13 to 0.19 `tuners/lora`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::matmul::{Arithmetic, Format, Matrix, Operand, product};
use crate::checkpoint::files::Files;
use crate::checkpoint::json::read_json;
use crate::checkpoint::layout::Names;
use crate::checkpoint::shard::Shard;
use crate::checkpoint::stored::Stored;
use crate::error::ModelError;

/// Names that `adapter_model.safetensors` gives to the two factors.
const FACTORS: [&str; 2] = ["lora_A", "lora_B"];

/// The wrapper that PEFT puts around every name.
const WRAPPER: &str = "base_model.model.";

/// What becomes of an adapter. Vectors of the two differ by rounding, so an index has one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterUse {
    /// It is merged into the weights, which are f32 then.
    #[default]
    Merged,
    /// Its factors are applied beside the weights, which stay in their file as they are. So a model
    /// that answers shares the memory of a retriever over the same base.
    Apart,
}

impl AdapterUse {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The factors of one weight, `[rank, in]` and `[out, rank]`, and what their product is multiplied
/// with.
#[derive(Debug)]
pub struct Factors {
    pub a: Stored,
    pub b: Stored,
    pub scale: f32,
}

/// The settings of an adapter, from `adapter_config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct AdapterConfig {
    pub base_model_name_or_path: String,
    pub revision: Option<String>,
    #[serde(default = "lora")]
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default = "none")]
    bias: String,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

fn lora() -> String {
    "LORA".into()
}
fn none() -> String {
    "none".into()
}

impl AdapterConfig {
    /// The name of the file in the folder of an adapter.
    pub const FILE: &str = "adapter_config.json";

    /// Reads it from the adapter's own `files`.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a kind of adapter that is not merged as here;
    /// [`ModelError::Io`] and [`ModelError::Config`] when the file cannot be read.
    pub fn read(files: &Files) -> Result<Self, ModelError> {
        let file = files.file(Self::FILE);
        let path = file.shown();
        let config: Self = read_json(&file)?;
        for (key, expected, got) in [
            ("peft_type", "LORA", config.peft_type.clone()),
            ("bias", "none", config.bias.clone()),
            ("use_dora", "false", config.use_dora.to_string()),
            ("fan_in_fan_out", "false", config.fan_in_fan_out.to_string()),
            ("rank_pattern", "{}", format!("{:?}", config.rank_pattern)),
            ("alpha_pattern", "{}", format!("{:?}", config.alpha_pattern)),
        ] {
            if got != expected {
                let (key, expected) = (key.into(), expected.into());
                return Err(ModelError::Setting { path, key, expected, got });
            }
        }
        if config.r == 0 {
            let (key, expected, got) = ("r".into(), "at least 1".into(), "0".into());
            return Err(ModelError::Setting { path, key, expected, got });
        }
        Ok(config)
    }

    fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// An adapter: pairs of factors, by the canonical name of the weight that they change.
#[derive(Debug, Clone)]
pub struct Adapter {
    path: PathBuf,
    rank: usize,
    scale: f64,
    pairs: BTreeMap<String, [Stored; 2]>,
    /// Tensors that take the place of the base's, or are not in it.
    whole: BTreeMap<String, Stored>,
}

/// Whether a file with tensors called `keys` is an adapter.
pub fn has_factors<'a>(mut keys: impl Iterator<Item = &'a str>) -> bool {
    keys.any(|key| FACTORS.iter().any(|factor| key.contains(&format!(".{factor}."))))
}

/// Rows of a weight that are merged at a time: their change needs 8 MB for 2048 columns.
const ROWS_TOGETHER: usize = 512;

impl Adapter {
    /// Pairs the factors in `shard`, whose tensors have one of `names`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] for a factor without its other half,
    /// [`ModelError::UnknownTensor`] for a name that is not of a factor or not of a layout.
    pub fn new(config: &AdapterConfig, shard: &Shard, names: &Names) -> Result<Self, ModelError> {
        let path = shard.file().shown();
        let mut halves: BTreeMap<String, [Option<Stored>; 2]> = BTreeMap::new();
        let split: Vec<(&str, Option<(String, usize)>)> =
            shard.keys().map(|key| (key, factor(key))).collect();
        let targets = split.iter().filter_map(|(_, half)| half.as_ref());
        let layout = names.detect(targets.map(|(name, _)| name.as_str()));
        let canonical = |name: &str| layout.and_then(|layout| layout.canonical(name));
        let mut unknown = Vec::new();
        let mut whole = BTreeMap::new();
        for (key, half) in &split {
            match half {
                Some((name, which)) => match canonical(name) {
                    Some(name) => halves.entry(name).or_default()[*which] = shard.get(key),
                    None => unknown.push(*key),
                },
                None => match saved(key).and_then(|name| canonical(&name)).zip(shard.get(key)) {
                    Some((name, tensor)) => drop(whole.insert(name, tensor)),
                    None => unknown.push(*key),
                },
            }
        }
        if let Some(key) = unknown.first() {
            let (key, count) = (key.to_string(), unknown.len());
            return Err(ModelError::UnknownTensor { path, key, count });
        }
        let mut pairs = BTreeMap::new();
        for (name, pair) in halves {
            match pair {
                [Some(a), Some(b)] => drop(pairs.insert(name, [a, b])),
                [a, b] => {
                    let there = a.or(b).expect("a name comes from a factor");
                    let key = if there.key().contains(FACTORS[0]) {
                        there.key().replace(FACTORS[0], FACTORS[1])
                    } else {
                        there.key().replace(FACTORS[1], FACTORS[0])
                    };
                    return Err(ModelError::MissingTensor { path, key });
                }
            }
        }
        Ok(Self { path, rank: config.r, scale: config.scale(), pairs, whole })
    }

    /// The file, for messages.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The tensors that it brings whole, by canonical name. They are given away.
    pub fn take_whole(&mut self) -> BTreeMap<String, Stored> {
        std::mem::take(&mut self.whole)
    }

    /// Canonical names of the weights that it changes, each with the name of one of its factors.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, [a, _])| (name.as_str(), a.key()))
    }

    /// Checks that the factors of `name` fit the shape of `base`.
    ///
    /// # Errors
    /// [`ModelError::Shape`] with the factor that does not fit.
    pub fn check(&self, name: &str, base: &Stored) -> Result<(), ModelError> {
        let Some([a, b]) = self.pairs.get(name) else { return Ok(()) };
        // A weight that is no matrix has no factors of a fitting shape.
        let &[output, input] = base.shape() else { return Err(self.misshapen(a, Vec::new())) };
        for (factor, expected) in [(a, [self.rank, input]), (b, [output, self.rank])] {
            if factor.shape() != expected {
                return Err(self.misshapen(factor, expected.into()));
            }
        }
        Ok(())
    }

    fn misshapen(&self, factor: &Stored, expected: Vec<usize>) -> ModelError {
        let (path, key) = (self.path.clone(), factor.key().to_string());
        ModelError::Shape { path, key, expected, got: factor.shape().into() }
    }

    /// Takes the factors of `name`, which must have been [checked](Self::check).
    pub fn take_factors(&mut self, name: &str) -> Option<Factors> {
        let [a, b] = self.pairs.remove(name)?;
        Some(Factors { a, b, scale: self.scale as f32 })
    }

    /// `base`, `[out, in]`, with the adapter merged in, f32; `base` itself where the adapter does
    /// not change it. The factors must have been [checked](Self::check).
    ///
    /// # Errors
    /// [`ModelError::Dtype`] for numbers that are not floats.
    pub fn merge(&self, name: &str, base: Stored) -> Result<Stored, ModelError> {
        let Some([a, b]) = self.pairs.get(name) else { return Ok(base) };
        let mut merged = base.values()?;
        add_product(&mut merged, &b.values()?, &a.values()?, self.rank, self.scale as f32);
        Ok(Stored::owned(base.key(), base.shape(), &merged))
    }
}

/// Adds `scale * B A` to `merged`, `[out, in]`; `b` is `[out, rank]`, `a` is `[rank, in]`.
fn add_product(merged: &mut [f32], b: &[f32], a: &[f32], rank: usize, scale: f32) {
    let input = a.len() / rank;
    // The kernels multiply a weight, `[in, rank]`, with positions of width `rank`: here the rows
    // of B are the positions.
    let transposed = (0..input).flat_map(|i| (0..rank).map(move |r| a[r * input + i]));
    let bytes: Vec<u8> = transposed.flat_map(f32::to_le_bytes).collect();
    let weight = Matrix::owned(Format::F32, [input, rank], bytes, Vec::new());
    let blocks = merged.chunks_mut((ROWS_TOGETHER * input).max(1));
    for (merged, rows) in blocks.zip(b.chunks(ROWS_TOGETHER * rank)) {
        let lengths = [rows.len() / rank];
        let x = Operand::round(Arithmetic::F32, &Lanes::from_rows(&lengths, rank, rows));
        let mut change = Lanes::zeros(&lengths, input);
        let writer = change.writer();
        product([&weight], &x, |group, first, [products]| {
            // SAFETY: `product` gives each group and rows once.
            let rows = unsafe { writer.rows(group, first, LANES) };
            rows.copy_from_slice(&products[..rows.len()]);
        });
        for (value, change) in merged.iter_mut().zip(change.to_rows()) {
            *value += scale * change;
        }
    }
}

/// `base_model.model.X.lora_A[.default].weight` to `X.weight` and which factor it is.
fn factor(key: &str) -> Option<(String, usize)> {
    let name = key.strip_prefix(WRAPPER)?.strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let which = FACTORS.iter().position(|factor| name.ends_with(factor))?;
    let name = name.strip_suffix(FACTORS[which])?.strip_suffix('.')?;
    Some((format!("{name}.weight"), which))
}

/// `base_model.model.X`, or `X` with what PEFT calls a module that is saved as a whole, to `X`. A
/// factor, and a base's weight under PEFT's name for it, are no such thing.
fn saved(key: &str) -> Option<String> {
    let name = key.strip_prefix(WRAPPER)?;
    let is_of_peft = |part: &str| part.starts_with("lora_") || part == "base_layer";
    if name.split('.').any(is_of_peft) {
        return None;
    }
    Some(name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", "."))
}

#[cfg(test)]
mod tests {
    use super::{ROWS_TOGETHER, add_product, factor, saved};
    use crate::blocks::matmul::tests::Noise;

    #[test]
    fn what_is_added_is_the_product_of_the_factors() {
        let mut noise = Noise::new(11);
        for (output, rank, input) in [(1, 1, 1), (70, 4, 33), (ROWS_TOGETHER + 3, 32, 65)] {
            let (b, a) = (noise.values(output * rank, 1.0), noise.values(rank * input, 1.0));
            let base = noise.values(output * input, 1.0);
            let mut merged = base.clone();
            add_product(&mut merged, &b, &a, rank, 0.25);
            for (at, (got, base)) in merged.iter().zip(&base).enumerate() {
                let (row, column) = (at / input, at % input);
                let products = (0..rank)
                    .map(|r| f64::from(b[row * rank + r]) * f64::from(a[r * input + column]));
                let expected = f64::from(*base) + 0.25 * products.sum::<f64>();
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{output} {rank} {input} {at}");
            }
        }
    }

    #[test]
    fn whole_tensors_are_told_from_their_names() {
        for (key, expected) in [
            ("base_model.model.custom_text_proj.weight", Some("custom_text_proj.weight")),
            (
                "base_model.model.custom_text_proj.modules_to_save.default.bias",
                Some("custom_text_proj.bias"),
            ),
            ("base_model.model.x.modules_to_save.weight", Some("x.weight")),
            ("base_model.model.x.lora_A.bias", None),
            ("base_model.model.x.lora_magnitude_vector.weight", None),
            ("base_model.model.x.base_layer.weight", None),
            ("custom_text_proj.weight", None),
        ] {
            assert_eq!(saved(key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn factors_are_told_from_their_names() {
        let layer = "model.language_model.model.layers.3.mlp.up_proj";
        for (key, expected) in [
            (format!("base_model.model.{layer}.lora_A.weight"), Some(0)),
            (format!("base_model.model.{layer}.lora_B.default.weight"), Some(1)),
            (format!("base_model.model.{layer}.weight"), None),
            (format!("base_model.model.{layer}.lora_A.bias"), None),
            (format!("{layer}.lora_A.weight"), None),
        ] {
            assert_eq!(factor(&key), expected.map(|which| (format!("{layer}.weight"), which)));
        }
    }
}
