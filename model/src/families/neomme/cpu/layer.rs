//! A layer: attention over everything or over a window, then an MLP.

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::elementwise::{
    add_rows, mix_rows, plain_rms_norm, sigmoid_gate, squared_relu_rows, take_along,
};
use crate::blocks::lanes::Lanes;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::rotation::Angles;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::families::neomme::config::{Config, LayerConfig};
use crate::families::neomme::names::attention;
use crate::precision::Precision;

/// A layer.
#[derive(Debug, Clone)]
pub struct Layer {
    arithmetic: Arithmetic,
    pub heads: Heads,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
    pub kind: LayerConfig,
    pub eps: f32,
    /// What both branches are multiplied with.
    pub residual: f32,
    /// Shares of the layer's input and of the first layer's in what attention reads.
    pub shares: [f32; 2],
    /// How much of what lies along a position's own value is taken away, by head.
    pub excluded: Vec<f32>,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub gate: Linear,
    pub out: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// What all layers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The input of the first layer.
    pub input: Lanes,
    /// What tokens add to values.
    pub values: Lanes,
    /// Angles of layers of full attention.
    pub full: Angles,
    /// Angles of layers of sliding attention.
    pub sliding: Angles,
}

impl Layer {
    /// Takes the tensors below `key`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        config: &Config,
        heads: Heads,
        kind: LayerConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden, config.inner);
        let (q, kv) = (heads.queries * heads.dim, heads.keys * heads.dim);
        let shares: Vec<f32> = weights.take(&format!("{key}.lambdas"), &[2])?.to_vec1()?;
        let alpha = attention(weights, key, "exclusive_self_attention.alpha");
        let alpha: Vec<f32> = weights.take(&alpha, &[heads.queries])?.to_vec1()?;
        let mut linear = |name: String, input, output| {
            Linear::take(weights, precision, &name, input, output, false)
        };
        let query = linear(format!("{key}.self_attn.q_proj"), hidden, q)?;
        let value = linear(format!("{key}.self_attn.v_proj"), hidden, kv)?;
        let k = linear(format!("{key}.self_attn.k_proj"), hidden, kv)?;
        let up = linear(format!("{key}.mlp.up_proj"), hidden, inner)?;
        let down = linear(format!("{key}.mlp.down_proj"), inner, hidden)?;
        let gate = attention(weights, key, "output_projection.gate_proj");
        let gate = Linear::take(weights, precision, &gate, hidden, q, false)?;
        let out = attention(weights, key, "output_projection.o_proj");
        let out = Linear::take(weights, precision, &out, q, hidden, false)?;
        Ok(Self {
            arithmetic: weights.arithmetic(precision),
            heads,
            attending: weights.attending(precision),
            kind,
            eps: config.eps,
            residual: config.residual,
            shares: [shares[0], shares[1]],
            excluded: alpha.into_iter().map(f32::tanh).collect(),
            query,
            key: k,
            value,
            gate,
            out,
            up,
            down,
        })
    }

    /// `x` through the layer.
    pub fn forward(&self, x: &mut Lanes, shared: &Shared) {
        let y = Operand::made(self.arithmetic, x, |group, x, y| {
            mix_rows(x, self.shares[0], shared.input.group(group), self.shares[1], y);
            plain_rms_norm(y, self.eps);
        });
        let read = [&self.query, &self.key, &self.value, &self.gate];
        let [mut q, mut k, mut v, gate] = Linear::apply_each(read, &y, x.lengths());
        let (dim, shared_by) = (self.heads.dim, self.heads.queries / self.heads.keys);
        let angles = if self.kind.full { &shared.full } else { &shared.sliding };
        for x in [&mut q, &mut k] {
            x.each_group(|group, rows| {
                for head in rows.chunks_exact_mut(dim) {
                    plain_rms_norm(head, self.eps);
                    angles.turn(group, head);
                }
            });
        }
        if self.kind.value_embedding {
            v.each_group(|group, rows| add_rows(rows, shared.values.group(group), &[]));
        }
        let mask = self.kind.window.map_or(Mask::All, Mask::Window);
        let seen = attend(self.attending, self.heads, mask, &q, &k, &v);
        let y = Operand::made(self.arithmetic, &seen, |group, seen, y| {
            y.copy_from_slice(seen);
            let values = v.group(group);
            for (n, (head, share)) in y.chunks_exact_mut(dim).zip(&self.excluded).enumerate() {
                let at = n / shared_by * dim;
                take_along(head, &values[at..at + dim], *share);
            }
            sigmoid_gate(y, gate.group(group), self.residual);
        });
        self.out.add_to(&y, x);
        let y = Operand::made(self.arithmetic, x, |_, x, y| {
            y.copy_from_slice(x);
            plain_rms_norm(y, self.eps);
        });
        let y = self.up.apply_activated(&y, |rows| squared_relu_rows(rows, self.residual));
        self.down.add_to(&y, x);
    }
}
