//! A LoRA adapter (arXiv 2106.09685) as PEFT saves it, merged into its base while loading:
//! `W' = W + scale * B A`, in f32. Source: peft 0.13 to 0.19 `tuners/lora`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Result as CandleResult;
use serde::Deserialize;

use crate::ModelError;
use crate::config::read_json;
use crate::layout::Layout;
use crate::shard::Shard;
use crate::stored::Stored;

/// Names that `adapter_model.safetensors` gives to the two factors.
const FACTORS: [&str; 2] = ["lora_A", "lora_B"];

/// The wrapper that PEFT puts around every name.
const WRAPPER: &str = "base_model.model.";

/// What `adapter_config.json` says.
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
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
}

fn lora() -> String {
    "LORA".into()
}
fn none() -> String {
    "none".into()
}

impl AdapterConfig {
    /// Where it lies in an adapter's folder.
    pub const FILE: &str = "adapter_config.json";

    /// Reads it and refuses what would be merged otherwise.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(Self::FILE);
        let config: Self = read_json(&path)?;
        let modules = config.modules_to_save.as_deref().unwrap_or_default();
        for (key, expected, got) in [
            ("peft_type", "LORA", config.peft_type.clone()),
            ("bias", "none", config.bias.clone()),
            ("use_dora", "false", config.use_dora.to_string()),
            ("fan_in_fan_out", "false", config.fan_in_fan_out.to_string()),
            ("rank_pattern", "{}", format!("{:?}", config.rank_pattern)),
            ("alpha_pattern", "{}", format!("{:?}", config.alpha_pattern)),
            ("modules_to_save", "[]", format!("{modules:?}")),
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

/// Factors by the canonical name of the weight that they change.
#[derive(Debug, Clone)]
pub struct Adapter {
    path: PathBuf,
    rank: usize,
    scale: f64,
    pairs: BTreeMap<String, [Stored; 2]>,
}

impl Adapter {
    /// Whether a file with `keys` is an adapter.
    pub fn has<'a>(mut keys: impl Iterator<Item = &'a str>) -> bool {
        keys.any(|key| FACTORS.iter().any(|factor| key.contains(&format!(".{factor}."))))
    }

    /// Pairs the factors in `shard`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] for a factor without its other half,
    /// [`ModelError::UnknownTensor`] for a name that is not of a factor or not of a layout.
    pub fn new(config: &AdapterConfig, shard: &Shard) -> Result<Self, ModelError> {
        let path = shard.path().to_path_buf();
        let mut halves: BTreeMap<String, [Option<Stored>; 2]> = BTreeMap::new();
        let split: Vec<(&str, Option<(String, usize)>)> =
            shard.keys().map(|key| (key, factor(key))).collect();
        let names = split.iter().filter_map(|(_, half)| half.as_ref());
        let layout = Layout::detect(names.map(|(name, _)| name.as_str()));
        let mut unknown = Vec::new();
        for (key, half) in &split {
            let known = half
                .as_ref()
                .zip(layout)
                .and_then(|((name, which), layout)| Some((layout.canonical(name)?, *which)));
            match known {
                Some((name, which)) => {
                    halves.entry(name).or_default()[which] = shard.get(key);
                }
                None => unknown.push(*key),
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
                    let key = match there.key().contains(FACTORS[0]) {
                        true => there.key().replace(FACTORS[0], FACTORS[1]),
                        false => there.key().replace(FACTORS[1], FACTORS[0]),
                    };
                    return Err(ModelError::MissingTensor { path, key });
                }
            }
        }
        Ok(Self { path, rank: config.r, scale: config.scale(), pairs })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Canonical names of the weights that it changes, each with a name in its file.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, [a, _])| (name.as_str(), a.key()))
    }

    /// Whether the factors of `name` fit `base`.
    ///
    /// # Errors
    /// [`ModelError::Shape`] with the factor that does not.
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

    /// `base` with the adapter merged in, f32; as it is where the adapter does not change it.
    pub fn merge(&self, name: &str, base: Stored) -> CandleResult<Stored> {
        let Some([a, b]) = self.pairs.get(name) else { return Ok(base) };
        let change = (b.to_f32()?.matmul(&a.to_f32()?)? * self.scale)?;
        let merged = (base.to_f32()? + change)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(Stored::owned(base.key(), base.shape(), &merged))
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

#[cfg(test)]
mod tests {
    use super::factor;

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
