//! A causal language model: the tensors that its layers have in every family that uses one.

use crate::written::{Tensor, biased, linear, norm};

/// The sizes of a language model.
pub struct Decoder {
    /// Width of a position.
    pub hidden: usize,
    /// Width inside the MLPs.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries, and of keys and values.
    pub heads: [usize; 2],
}

impl Decoder {
    /// Adds the attention of `layer`, with heads of width `head`; `with_bias` gives queries, keys
    /// and values one.
    pub fn attention(&self, all: &mut Vec<Tensor>, layer: &str, head: usize, with_bias: bool) {
        let &Self { hidden, heads: [heads, keys], .. } = self;
        let seeing = if with_bias { biased } else { linear };
        seeing(all, &format!("{layer}.self_attn.q_proj"), [hidden, heads * head], 1.2);
        seeing(all, &format!("{layer}.self_attn.k_proj"), [hidden, keys * head], 1.2);
        seeing(all, &format!("{layer}.self_attn.v_proj"), [hidden, keys * head], 1.0);
        linear(all, &format!("{layer}.self_attn.o_proj"), [heads * head, hidden], 0.4);
    }

    /// Adds the MLP of `layer`, and its two norms, whose weights are around `mean`.
    pub fn mlp_and_norms(&self, all: &mut Vec<Tensor>, layer: &str, mean: f32) {
        let &Self { hidden, inner, .. } = self;
        linear(all, &format!("{layer}.mlp.gate_proj"), [hidden, inner], 1.0);
        linear(all, &format!("{layer}.mlp.up_proj"), [hidden, inner], 1.0);
        linear(all, &format!("{layer}.mlp.down_proj"), [inner, hidden], 0.6);
        norm(all, &format!("{layer}.input_layernorm"), hidden, mean);
        norm(all, &format!("{layer}.post_attention_layernorm"), hidden, mean);
    }
}
