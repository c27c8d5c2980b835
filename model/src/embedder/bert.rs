//! BERT's encoder (Devlin et al., arXiv 1810.04805) on the CPU: embeddings of pieces, positions and
//! types, then layers of attention and an MLP, each with its norm behind the sum. Source:
//! transformers 4.57.6 `models/bert/modeling_bert.py`; RoBERTa differs in its positions alone.

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{exact_gelu_rows, gelu_rows, layer_norm};
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::{Linear, take_matrix};
use crate::blocks::matmul::{Arithmetic, Matrix, Operand};
use crate::checkpoint::weights::Weights;
use crate::embedder::config::{Activation, Config};
use crate::embedder::names::POSITION_IDS;
use crate::error::ModelError;
use crate::precision::Precision;

/// Its tensor type says which precision a checkpoint has.
pub const KEY: &str = "encoder.layer.0.intermediate.dense.weight";

/// The encoder.
#[derive(Debug, Clone)]
pub struct Bert {
    arithmetic: Arithmetic,
    words: Matrix,
    /// `[n_positions, hidden]`, the first row for the first token, with the embedding of the one
    /// type that a text has added.
    positions: Vec<Vec<f32>>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    fn take(weights: &mut Weights, key: &str, config: &Config) -> Result<Self, ModelError> {
        let shape = [config.hidden_size];
        Ok(Self {
            weight: weights.take(&format!("{key}.LayerNorm.weight"), &shape)?.to_vec1()?,
            bias: weights.take(&format!("{key}.LayerNorm.bias"), &shape)?.to_vec1()?,
            eps: config.layer_norm_eps as f32,
        })
    }

    fn apply(&self, x: &Lanes) -> Lanes {
        x.map_groups(x.width(), |x, y| layer_norm(x, &self.weight, &self.bias, self.eps, y))
    }
}

#[derive(Debug, Clone)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    attention_norm: Norm,
    inner: Linear,
    outer: Linear,
    norm: Norm,
    heads: Heads,
    activate: fn(&mut [[f32; LANES]]),
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.num_attention_heads;
        let dim = hidden / heads;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, true)
        };
        Ok(Self {
            query: linear("attention.self.query", hidden, hidden)?,
            key: linear("attention.self.key", hidden, hidden)?,
            value: linear("attention.self.value", hidden, hidden)?,
            out: linear("attention.output.dense", hidden, hidden)?,
            inner: linear("intermediate.dense", hidden, inner)?,
            outer: linear("output.dense", inner, hidden)?,
            attention_norm: Norm::take(weights, &format!("{key}.attention.output"), config)?,
            norm: Norm::take(weights, &format!("{key}.output"), config)?,
            heads: Heads {
                queries: heads,
                keys: heads,
                dim,
                scale: (dim as f64).powf(-0.5) as f32,
                cap: None,
            },
            activate: match config.activation() {
                Activation::Gelu => exact_gelu_rows,
                Activation::GeluTanh => gelu_rows,
            },
        })
    }

    fn forward(&self, arithmetic: Arithmetic, mut x: Lanes) -> Lanes {
        let y = Operand::round(arithmetic, &x);
        let [q, k, v] =
            [&self.query, &self.key, &self.value].map(|linear| linear.apply(&y, x.lengths()));
        let seen = attend(arithmetic, self.heads, Mask::All, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), &mut x);
        let mut x = self.attention_norm.apply(&x);
        let y = self.inner.apply_activated(&Operand::round(arithmetic, &x), self.activate);
        self.outer.add_to(&y, &mut x);
        self.norm.apply(&x)
    }
}

impl Bert {
    /// Takes all tensors of `weights`.
    ///
    /// # Errors
    /// [`ModelError`] with the name of a tensor that is missing, left over or misshapen.
    pub fn take(
        mut weights: Weights,
        precision: Precision,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let words = take_matrix(
            &mut weights,
            precision,
            "embeddings.word_embeddings.weight",
            &[config.vocab_size, hidden],
        )?;
        // They are few, and added before the first norm.
        let rows = |weights: &mut Weights, name: &str, rows: usize| {
            let tensor = weights.take(&format!("embeddings.{name}.weight"), &[rows, hidden])?;
            Ok::<Vec<Vec<f32>>, ModelError>(tensor.to_vec2()?)
        };
        let types = rows(&mut weights, "token_type_embeddings", config.type_vocab_size)?;
        let positions = rows(&mut weights, "position_embeddings", config.max_position_embeddings)?;
        let first_type = types.first().cloned().unwrap_or_else(|| vec![0.0; hidden]);
        let positions = positions.into_iter().skip(config.first_position()).map(|mut row| {
            row.iter_mut().zip(&first_type).for_each(|(value, of_type)| *value += of_type);
            row
        });
        let norm = Norm::take(&mut weights, "embeddings", config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|n| Layer::take(&mut weights, precision, &format!("encoder.layer.{n}"), config))
            .collect::<Result<_, _>>()?;
        weights.forget(POSITION_IDS);
        weights.finish()?;
        let positions = positions.collect();
        Ok(Self { arithmetic: precision.arithmetic(), words, positions, norm, layers })
    }

    /// The last hidden states of `texts`, ids of pieces with the special ones, `[sum of lengths,
    /// hidden]`.
    ///
    /// # Panics
    /// When a text is longer than there are positions, or has an id that the model lacks.
    pub fn encode(&self, texts: &[&[u32]]) -> Lanes {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let width = self.words.columns();
        let mut rows = Vec::with_capacity(lengths.iter().sum::<usize>() * width);
        for text in texts {
            for (&id, position) in text.iter().zip(&self.positions) {
                let word = self.words.values(id as usize);
                rows.extend(word.iter().zip(position).map(|(word, position)| word + position));
            }
        }
        let x = self.norm.apply(&Lanes::from_rows(&lengths, width, &rows));
        self.layers.iter().fold(x, |x, layer| layer.forward(self.arithmetic, x))
    }
}
