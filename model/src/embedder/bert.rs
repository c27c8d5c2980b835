//! BERT's encoder (Devlin et al., arXiv 1810.04805) on the CPU: embeddings of pieces, positions and
//! types, then layers of attention and an MLP, each with its norm behind the sum. Source:
//! transformers 4.57.6 `models/bert/modeling_bert.py`; RoBERTa differs in its positions alone.

use crate::blocks::elementwise::{exact_gelu_rows, gelu_rows};
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::take_matrix;
use crate::blocks::matmul::{Arithmetic, Matrix, Operand};
use crate::blocks::norm::LayerNorm;
use crate::blocks::self_attention::{Mlp, SelfAttention};
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
    norm: LayerNorm,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone)]
struct Layer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    mlp: Mlp,
    norm: LayerNorm,
}

fn norm(weights: &mut Weights, key: &str, config: &Config) -> Result<LayerNorm, ModelError> {
    LayerNorm::take(weights, &format!("{key}.LayerNorm"), config.hidden_size, config.layer_norm_eps)
}

impl Layer {
    fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let activate = match config.activation() {
            Activation::Gelu => exact_gelu_rows,
            Activation::GeluTanh => gelu_rows,
        };
        let attention = [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ];
        let heads = config.num_attention_heads;
        let mlp = ["intermediate.dense", "output.dense"];
        Ok(Self {
            attention: SelfAttention::take(weights, precision, key, attention, hidden, heads)?,
            attention_norm: norm(weights, &format!("{key}.attention.output"), config)?,
            mlp: Mlp::take(weights, precision, key, mlp, [hidden, inner], activate)?,
            norm: norm(weights, &format!("{key}.output"), config)?,
        })
    }

    fn forward(&self, arithmetic: Arithmetic, mut x: Lanes) -> Lanes {
        let y = Operand::round(arithmetic, &x);
        self.attention.add_to(arithmetic, &y, &mut x);
        let mut x = self.attention_norm.over(&x);
        self.mlp.add_to(&Operand::round(arithmetic, &x), &mut x);
        self.norm.over(&x)
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
        let norm = norm(&mut weights, "embeddings", config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|n| Layer::take(&mut weights, precision, &format!("encoder.layer.{n}"), config))
            .collect::<Result<_, _>>()?;
        weights.forget(POSITION_IDS);
        let arithmetic = weights.arithmetic(precision);
        weights.finish()?;
        let positions = positions.collect();
        Ok(Self { arithmetic, words, positions, norm, layers })
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
        let x = self.norm.over(&Lanes::from_rows(&lengths, width, &rows));
        self.layers.iter().fold(x, |x, layer| layer.forward(self.arithmetic, x))
    }
}
