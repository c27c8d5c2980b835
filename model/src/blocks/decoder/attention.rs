//! Attention of a decoder's layer.

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::decoder::sizes::{DecoderSizes, Style};
use crate::blocks::elementwise::sigmoid_gate;
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::RootNorm;
use crate::blocks::rotation::Angles;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// Attention with rotations.
#[derive(Debug)]
pub struct Attention {
    pub heads: Heads,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
    /// Queries; with `gated` each head's queries and then its gate.
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    /// The norms of each head of queries and of keys, and the gate of what a head sees.
    pub gated: Option<[RootNorm; 2]>,
}

impl Attention {
    /// Takes the tensors below `key`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        sizes: &DecoderSizes,
    ) -> Result<Self, ModelError> {
        let ([q, kv, seen], bias) = (sizes.widths(), sizes.style == Style::Qwen2);
        let gated = if sizes.style == Style::Qwen3_5 {
            let mut norm =
                |name| sizes.norm(weights, &format!("{key}.self_attn.{name}"), sizes.head_dim);
            Some([norm("q_norm")?, norm("k_norm")?])
        } else {
            None
        };
        let attending = weights.attending(precision);
        let mut linear = |name: &str, input, output, bias| {
            let key = format!("{key}.self_attn.{name}");
            Linear::take(weights, precision, &key, input, output, bias)
        };
        Ok(Self {
            heads: Heads::shared(sizes.heads, sizes.keys, sizes.head_dim),
            attending,
            query: linear("q_proj", sizes.hidden, q, bias)?,
            key: linear("k_proj", sizes.hidden, kv, bias)?,
            value: linear("v_proj", sizes.hidden, kv, bias)?,
            out: linear("o_proj", seen, sizes.hidden, false)?,
            gated,
        })
    }

    /// Adds what positions see to `x`, given what the layer reads of them.
    pub fn add_to(
        &self,
        arithmetic: Arithmetic,
        mask: Mask<'_>,
        angles: &Angles,
        y: &Operand,
        x: &mut Lanes,
    ) {
        let dim = self.heads.dim;
        let read = [&self.query, &self.key, &self.value];
        let [mut q, mut k, v] = Linear::apply_each(read, y, x.lengths());
        let mut gates = None;
        if let Some([of_queries, of_keys]) = &self.gated {
            let both = q;
            q = both.map_groups(self.heads.queries * dim, |both, q| {
                for (both, q) in both.chunks_exact(2 * dim).zip(q.chunks_exact_mut(dim)) {
                    of_queries.apply(&both[..dim], q);
                }
            });
            k = k.map_groups(k.width(), |from, to| {
                for (from, to) in from.chunks_exact(dim).zip(to.chunks_exact_mut(dim)) {
                    of_keys.apply(from, to);
                }
            });
            gates = Some(both);
        }
        let turn = |group: usize, rows: &mut [[f32; LANES]]| {
            rows.chunks_exact_mut(dim).for_each(|head| angles.turn(group, head));
        };
        q.each_group(turn);
        k.each_group(turn);
        let seen = attend(self.attending, self.heads, mask, &q, &k, &v);
        let y = match gates {
            Some(gates) => Operand::made(arithmetic, &seen, |group, seen, y| {
                y.copy_from_slice(seen);
                let gates = gates.group(group).chunks_exact(2 * dim);
                for (head, gates) in y.chunks_exact_mut(dim).zip(gates) {
                    sigmoid_gate(head, &gates[dim..], 1.0);
                }
            }),
            None => Operand::round(arithmetic, &seen),
        };
        self.out.add_to(&y, x);
    }
}
