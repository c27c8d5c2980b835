//! What a decoder is built of, and the tensors that it then has.

use crate::blocks::norm::RootNorm;
use crate::checkpoint::inventory::Inventory;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// What it is built of.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSizes {
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Width of a position.
    pub hidden: usize,
    /// Width inside the MLPs.
    pub inner: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub keys: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What norms add to the mean square.
    pub eps: f32,
    /// The kind of attention that it has.
    pub style: Style,
    /// The axis that each pair of rows of a head turns by, in order; what is beyond them stays.
    pub axes: Vec<usize>,
    /// The base of the frequencies.
    pub theta: f64,
    /// How each layer mixes positions.
    pub layers: Vec<Mix>,
}

/// What differs between models in all of their layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Nothing more.
    Llama,
    /// Queries, keys and values have a bias.
    Qwen2,
    /// The heads of queries and keys have norms, what a head sees goes through a gate, and the
    /// weights of norms are what they are more than 1.
    Qwen3_5,
}

/// How a layer mixes positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// By attention.
    Attention,
    /// By a gated delta net.
    Delta(DeltaSizes),
}

impl DecoderSizes {
    /// Adds its tensors below `prefix` to `list`.
    pub fn list(&self, prefix: &str, list: &mut Inventory) {
        let (hidden, inner) = (self.hidden, self.inner);
        list.add(format!("{prefix}.embed_tokens.weight"), &[self.vocabulary, hidden]);
        for (n, mix) in self.layers.iter().enumerate() {
            let layer = format!("{prefix}.layers.{n}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                list.add(format!("{layer}.{norm}.weight"), &[hidden]);
            }
            match mix {
                Mix::Attention => self.list_attention(&layer, list),
                Mix::Delta(sizes) => sizes.list(hidden, &layer, list),
            }
            list.linear(&format!("{layer}.mlp.gate_proj"), hidden, inner, false);
            list.linear(&format!("{layer}.mlp.up_proj"), hidden, inner, false);
            list.linear(&format!("{layer}.mlp.down_proj"), inner, hidden, false);
        }
        list.add(format!("{prefix}.norm.weight"), &[hidden]);
    }

    /// Multiplications and additions for a sequence of so many positions, each of which sees those
    /// before it.
    pub fn operations(&self, positions: usize) -> usize {
        let mixes = self.layers.iter().map(|mix| match mix {
            Mix::Attention => self.attention_products(positions),
            Mix::Delta(sizes) => positions * sizes.products(self.hidden),
        });
        let mlps = self.layers.len() * positions * 3 * self.hidden * self.inner;
        2 * (mixes.sum::<usize>() + mlps)
    }

    fn list_attention(&self, layer: &str, list: &mut Inventory) {
        let ([q, kv, seen], bias) = (self.widths(), self.style == Style::Qwen2);
        for (name, input, output, bias) in [
            ("q_proj", self.hidden, q, bias),
            ("k_proj", self.hidden, kv, bias),
            ("v_proj", self.hidden, kv, bias),
            ("o_proj", seen, self.hidden, false),
        ] {
            list.linear(&format!("{layer}.self_attn.{name}"), input, output, bias);
        }
        if self.style == Style::Qwen3_5 {
            for name in ["q_norm", "k_norm"] {
                list.add(format!("{layer}.self_attn.{name}.weight"), &[self.head_dim]);
            }
        }
    }

    fn attention_products(&self, positions: usize) -> usize {
        let [q, kv, seen] = self.widths();
        positions * (self.hidden * (q + 2 * kv + seen) + seen * (positions + 1))
    }

    /// Widths of queries with what is beside them, of keys and of values, and of what heads see.
    pub fn widths(&self) -> [usize; 3] {
        let seen = self.heads * self.head_dim;
        let asked = if self.style == Style::Qwen3_5 { 2 * seen } else { seen };
        [asked, self.keys * self.head_dim, seen]
    }

    /// Takes a norm.
    pub fn norm(
        &self,
        weights: &mut Weights,
        key: &str,
        width: usize,
    ) -> Result<RootNorm, ModelError> {
        match self.style {
            Style::Qwen3_5 => RootNorm::more_than_one(weights, key, width, self.eps),
            Style::Llama | Style::Qwen2 => RootNorm::take(weights, key, width, self.eps),
        }
    }
}

/// The sizes of a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaSizes {
    /// Heads of queries and keys.
    pub keys: usize,
    /// Heads of values, a multiple of those of keys.
    pub values: usize,
    /// Width of a key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Positions that the convolution sees: its own and those before it.
    pub reach: usize,
}

impl DeltaSizes {
    /// Widths of all keys, and of all values.
    pub fn widths(&self) -> [usize; 2] {
        [self.keys * self.key_dim, self.values * self.value_dim]
    }

    /// Adds its tensors below `layer` to `list`.
    fn list(&self, hidden: usize, layer: &str, list: &mut Inventory) {
        let [keys, values] = self.widths();
        let mixed = 2 * keys + values;
        let key = format!("{layer}.linear_attn");
        for (name, output) in [
            ("in_proj_qkv", mixed),
            ("in_proj_z", values),
            ("in_proj_b", self.values),
            ("in_proj_a", self.values),
        ] {
            list.linear(&format!("{key}.{name}"), hidden, output, false);
        }
        list.add(format!("{key}.conv1d.weight"), &[mixed, 1, self.reach]);
        list.add(format!("{key}.dt_bias"), &[self.values]);
        list.add(format!("{key}.A_log"), &[self.values]);
        list.add(format!("{key}.norm.weight"), &[self.value_dim]);
        list.linear(&format!("{key}.out_proj"), values, hidden, false);
    }

    /// Products for a position.
    fn products(&self, hidden: usize) -> usize {
        let [keys, values] = self.widths();
        let linear = hidden * (2 * keys + 3 * values + 2 * self.values);
        linear + (2 * keys + values) * self.reach + 3 * self.key_dim * values
    }
}
