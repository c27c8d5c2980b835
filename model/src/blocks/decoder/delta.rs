//! A gated delta net (Yang et al., arXiv 2412.06464) in the place of attention: each head keeps a
//! matrix that maps keys to values, and every position corrects it by what it gets wrong.

use rayon::prelude::*;

use crate::blocks::decoder::sizes::{DecoderSizes, DeltaSizes};
use crate::blocks::delta_rule::{Head, convolve, read_and_correct, softplus};
use crate::blocks::elementwise::silu_gated_rows;
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::blocks::norm::RootNorm;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// The net.
#[derive(Debug)]
pub struct DeltaNet {
    pub sizes: DeltaSizes,
    pub mixed: Linear,
    pub gate: Linear,
    /// How much of an error is corrected, by head of values.
    pub strength: Linear,
    /// How much of the matrix is forgotten, by head of values.
    pub decay: Linear,
    /// `[channels, reach]`, the own position last.
    pub convolution: Vec<f32>,
    pub decay_bias: Vec<f32>,
    /// What the decay is multiplied with: never above 0.
    pub rate: Vec<f32>,
    pub norm: RootNorm,
    pub out: Linear,
}

impl DeltaNet {
    /// Takes the tensors below `key`.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        decoder: &DecoderSizes,
        sizes: DeltaSizes,
    ) -> Result<Self, ModelError> {
        let [keys, values] = sizes.widths();
        let (hidden, mixed, key) =
            (decoder.hidden, 2 * keys + values, format!("{key}.linear_attn"));
        let mut numbers = |name: &str, shape: &[usize]| -> Result<Vec<f32>, ModelError> {
            Ok(weights.take(&format!("{key}.{name}"), shape)?.flatten_all()?.to_vec1()?)
        };
        let convolution = numbers("conv1d.weight", &[mixed, 1, sizes.reach])?;
        let decay_bias = numbers("dt_bias", &[sizes.values])?;
        let rate = numbers("A_log", &[sizes.values])?.into_iter().map(|log| -log.exp()).collect();
        // Unlike the other norms, its weight is the weight itself.
        let norm = RootNorm::take(weights, &format!("{key}.norm"), sizes.value_dim, decoder.eps)?;
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, false)
        };
        Ok(Self {
            sizes,
            mixed: linear("in_proj_qkv", hidden, mixed)?,
            gate: linear("in_proj_z", hidden, values)?,
            strength: linear("in_proj_b", hidden, sizes.values)?,
            decay: linear("in_proj_a", hidden, sizes.values)?,
            convolution,
            decay_bias,
            rate,
            norm,
            out: linear("out_proj", values, hidden)?,
        })
    }

    /// Adds what positions read from the matrices to `x`, given what the layer reads of them.
    pub fn add_to(&self, arithmetic: Arithmetic, y: &Operand, x: &mut Lanes) {
        let read = [&self.mixed, &self.gate, &self.strength, &self.decay];
        let [mixed, mut gate, strength, decay] = Linear::apply_each(read, y, x.lengths());
        let read = self.read(&mixed, &strength.to_rows(), &decay.to_rows());
        let width = self.sizes.value_dim;
        gate.each_group(|group, gate| {
            let mut normed = vec![[0.0; LANES]; width];
            let heads = read.group(group).chunks_exact(width).zip(gate.chunks_exact_mut(width));
            for (read, gate) in heads {
                self.norm.apply(read, &mut normed);
                silu_gated_rows(gate, &normed);
            }
        });
        self.out.add_to(&Operand::round(arithmetic, &gate), x);
    }

    /// What each position reads, by head of values; `strength` and `decay` are `[positions, heads of
    /// values]`.
    fn read(&self, mixed: &Lanes, strength: &[f32], decay: &[f32]) -> Lanes {
        let DeltaSizes { keys, values, key_dim, value_dim, reach } = self.sizes;
        let [all_keys, all_values] = self.sizes.widths();
        let width = mixed.width();
        let rows = mixed.to_rows();
        let mut read = Lanes::zeros(mixed.lengths(), all_values);
        let writer = read.writer();
        let (mut first, mut first_group) = (0, 0);
        for &length in mixed.lengths() {
            let rows = &rows[first * width..(first + length) * width];
            let rows = convolve(rows, width, &self.convolution, reach);
            let groups = length.div_ceil(LANES);
            (0..values).into_par_iter().with_max_len(1).for_each(|head| {
                let key = head / (values / keys) * key_dim;
                let of = |n: usize| (first + n) * values + head;
                let head_of = |n: usize| Head {
                    query: &rows[n * width + key..][..key_dim],
                    key: &rows[n * width + all_keys + key..][..key_dim],
                    value: &rows[n * width + 2 * all_keys + head * value_dim..][..value_dim],
                    kept: (self.rate[head] * softplus(decay[of(n)] + self.decay_bias[head])).exp(),
                    strength: 1.0 / (1.0 + (-strength[of(n)]).exp()),
                };
                let mut matrix = vec![0.0; key_dim * value_dim];
                let mut out = vec![0.0; value_dim];
                for group in 0..groups {
                    // SAFETY: a task has these rows of all groups for itself.
                    let to =
                        unsafe { writer.rows(first_group + group, head * value_dim, value_dim) };
                    for lane in 0..LANES.min(length - group * LANES) {
                        let head = head_of(group * LANES + lane);
                        read_and_correct(&mut matrix, &head, &mut out);
                        to.iter_mut().zip(&out).for_each(|(to, value)| to[lane] = *value);
                    }
                }
            });
            first += length;
            first_group += groups;
        }
        read
    }
}
