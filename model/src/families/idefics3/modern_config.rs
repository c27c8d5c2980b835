//! The settings of ModernBERT.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::checkpoint::inventory::Inventory;
use crate::checkpoint::settings::{MOST_LAYERS, Settings, WIDEST};
use crate::error::ModelError;

/// What it is built of.
#[derive(Debug, Clone, PartialEq)]
pub struct ModernSizes {
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Rows of a table beside it, where added tokens are kept apart.
    pub added: usize,
    /// Width of a position.
    pub hidden: usize,
    /// Width inside the MLPs.
    pub inner: usize,
    /// Heads.
    pub heads: usize,
    /// What norms add to the variance.
    pub eps: f64,
    /// How far a layer sees to each side that does not see all.
    pub reach: usize,
    /// The base of the rotations of layers that see all, and of the others.
    pub thetas: [f64; 2],
    /// Whether each layer sees all.
    pub layers: Vec<bool>,
}

/// They as the file has them, with the defaults of `ModernBertConfig`.
#[derive(Deserialize)]
#[serde(default)]
pub struct ModernFile {
    vocab_size: Option<usize>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_activation: String,
    norm_eps: Option<f64>,
    /// What it was called before; published files have both.
    layer_norm_eps: Option<f64>,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    local_attention: usize,
    global_attn_every_n_layers: usize,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<BTreeMap<String, RopeParameters>>,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

impl Default for ModernFile {
    fn default() -> Self {
        Self {
            vocab_size: None,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: "gelu".into(),
            norm_eps: None,
            layer_norm_eps: None,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            local_attention: 128,
            global_attn_every_n_layers: 3,
            global_rope_theta: None,
            local_rope_theta: None,
            layer_types: None,
            rope_parameters: None,
        }
    }
}

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

impl ModernFile {
    /// The sizes of the model; `vocabulary` is what the file says of the whole model, `added` the
    /// rows of a table beside its own.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for a value that it cannot be built with.
    pub fn sizes(
        self,
        settings: &Settings,
        vocabulary: Option<usize>,
        added: usize,
    ) -> Result<ModernSizes, ModelError> {
        let vocabulary = self.vocab_size.or(vocabulary).unwrap_or(50_368);
        for (key, most, got) in [
            ("vocab_size", WIDEST, vocabulary),
            ("hidden_size", WIDEST, self.hidden_size),
            ("intermediate_size", WIDEST, self.intermediate_size),
            ("num_hidden_layers", MOST_LAYERS, self.num_hidden_layers),
            ("num_attention_heads", WIDEST, self.num_attention_heads),
            ("local_attention", WIDEST, self.local_attention),
            ("global_attn_every_n_layers", MOST_LAYERS, self.global_attn_every_n_layers),
        ] {
            settings.within(&format!("text_config.{key}"), most, got)?;
        }
        settings.within("additional_vocab_size", WIDEST, added.max(1))?;
        let heads = self.num_attention_heads;
        // Rows of a head turn in pairs.
        if !self.hidden_size.is_multiple_of(2 * heads) {
            let got = format!("{} for {heads} heads", self.hidden_size);
            let expected = "a multiple of 2 times the heads";
            return settings.wrong("text_config.hidden_size", expected, got);
        }
        settings.is("text_config.hidden_activation", "gelu", Some(self.hidden_activation))?;
        for (key, got) in [
            ("norm_bias", self.norm_bias),
            ("attention_bias", self.attention_bias),
            ("mlp_bias", self.mlp_bias),
        ] {
            settings.is(&format!("text_config.{key}"), "false", Some(got))?;
        }
        let eps = self.norm_eps.or(self.layer_norm_eps).unwrap_or(1e-5);
        settings.positive("text_config.norm_eps", eps)?;
        let theta = |kind: &str, older: Option<f64>, own: f64| {
            let said = self.rope_parameters.as_ref().and_then(|kinds| kinds.get(kind));
            let key = format!("text_config.rope_parameters.{kind}");
            let rope_type = said.and_then(|said| said.rope_type.clone());
            settings.is(&format!("{key}.rope_type"), "default", rope_type)?;
            let theta = said.and_then(|said| said.rope_theta).or(older).unwrap_or(own);
            settings.positive(&format!("{key}.rope_theta"), theta)?;
            Ok::<f64, ModelError>(theta)
        };
        let thetas = [
            theta(FULL, self.global_rope_theta, 160_000.0)?,
            theta(SLIDING, self.local_rope_theta, 10_000.0)?,
        ];
        let (count, every) = (self.num_hidden_layers, self.global_attn_every_n_layers);
        let layers = match &self.layer_types {
            None => (0..count).map(|n| n.is_multiple_of(every)).collect(),
            Some(types) if types.len() == count => {
                if let Some(other) = types.iter().find(|kind| *kind != FULL && *kind != SLIDING) {
                    let expected = format!("{FULL} and {SLIDING}");
                    return settings.wrong("text_config.layer_types", &expected, other.clone());
                }
                types.iter().map(|kind| kind == FULL).collect()
            }
            Some(types) => {
                let expected = format!("as many as layers, {count}");
                let got = format!("{} of them", types.len());
                return settings.wrong("text_config.layer_types", &expected, got);
            }
        };
        Ok(ModernSizes {
            vocabulary,
            added,
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            heads,
            eps,
            reach: self.local_attention / 2,
            thetas,
            layers,
        })
    }
}

impl ModernSizes {
    /// Adds its tensors below `prefix` to `list`.
    pub fn list(&self, prefix: &str, list: &mut Inventory) {
        let (hidden, inner) = (self.hidden, self.inner);
        let table = format!("{prefix}.embeddings.tok_embeddings");
        list.add(format!("{table}.weight"), &[self.vocabulary, hidden]);
        if self.added > 0 {
            list.add(format!("{table}.additional_embedding.weight"), &[self.added, hidden]);
        }
        list.add(format!("{prefix}.embeddings.norm.weight"), &[hidden]);
        for n in 0..self.layers.len() {
            let layer = format!("{prefix}.layers.{n}");
            if n > 0 {
                list.add(format!("{layer}.attn_norm.weight"), &[hidden]);
            }
            list.linear(&format!("{layer}.attn.Wqkv"), hidden, 3 * hidden, false);
            list.linear(&format!("{layer}.attn.Wo"), hidden, hidden, false);
            list.add(format!("{layer}.mlp_norm.weight"), &[hidden]);
            list.linear(&format!("{layer}.mlp.Wi"), hidden, 2 * inner, false);
            list.linear(&format!("{layer}.mlp.Wo"), inner, hidden, false);
        }
        list.add(format!("{prefix}.final_norm.weight"), &[hidden]);
    }

    /// Multiplications and additions for a sequence of so many positions.
    pub fn operations(&self, positions: usize) -> usize {
        let seen = |all: &bool| if *all { positions } else { positions.min(2 * self.reach + 1) };
        let attention: usize = self.layers.iter().map(|all| 2 * self.hidden * seen(all)).sum();
        let linear = self.layers.len() * self.hidden * (4 * self.hidden + 3 * self.inner);
        2 * positions * (linear + attention)
    }
}
