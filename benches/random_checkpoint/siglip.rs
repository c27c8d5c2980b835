//! SigLIP's tower: the tensors that it has in every family that uses one.

use crate::written::{Tensor, add, biased, keep, layer_norm};

/// The sizes of a tower.
pub struct Siglip {
    /// Width of a position.
    pub hidden: usize,
    /// Width inside the MLPs.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Edge of a picture, px.
    pub edge: usize,
    /// Edge of a patch, px.
    pub patch: usize,
}

/// Adds the tensors of a tower, whose names begin with `tower`.
pub fn siglip(all: &mut Vec<Tensor>, tower: &str, sizes: &Siglip) {
    let &Siglip { hidden, inner, layers, edge, patch } = sizes;
    let embeddings = format!("{tower}.embeddings");
    let pixels = 3 * patch * patch;
    let name = format!("{embeddings}.patch_embedding");
    add(all, format!("{name}.weight"), &[hidden, 3, patch, patch], 0.0, keep(pixels));
    add(all, format!("{name}.bias"), &[hidden], 0.0, 0.05);
    let positions = (edge / patch) * (edge / patch);
    add(all, format!("{embeddings}.position_embedding.weight"), &[positions, hidden], 0.0, 0.3);
    for n in 0..layers {
        let layer = format!("{tower}.encoder.layers.{n}");
        for norm in ["layer_norm1", "layer_norm2"] {
            layer_norm(all, &format!("{layer}.{norm}"), hidden);
        }
        for (name, sizes, gain) in [
            ("self_attn.q_proj", [hidden, hidden], 1.5),
            ("self_attn.k_proj", [hidden, hidden], 1.5),
            ("self_attn.v_proj", [hidden, hidden], 1.0),
            ("self_attn.out_proj", [hidden, hidden], 0.4),
            ("mlp.fc1", [hidden, inner], 1.0),
            ("mlp.fc2", [inner, hidden], 0.4),
        ] {
            biased(all, &format!("{layer}.{name}"), sizes, gain);
        }
    }
    layer_norm(all, &format!("{tower}.post_layernorm"), hidden);
}
