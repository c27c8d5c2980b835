//! The two halves of a layer in which every position attends to all others and nothing turns:
//! SigLIP's and BERT's, which differ in where their norms stand.

use crate::blocks::attention::{Heads, Mask, attend};
use crate::blocks::lanes::{LANES, Lanes};
use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Arithmetic, Operand};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::precision::Precision;

/// Attention of every position to all others of its sequence.
#[derive(Debug, Clone)]
pub struct SelfAttention {
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub out: Linear,
    pub heads: Heads,
    /// What queries, keys and values are multiplied as.
    attending: Arithmetic,
}

impl SelfAttention {
    /// Takes the four linear layers below `key`, whose names are those of queries, keys, values and
    /// the output.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        names: [&str; 4],
        width: usize,
        heads: usize,
    ) -> Result<Self, ModelError> {
        let mut linear = |name: &str| {
            Linear::take(weights, precision, &format!("{key}.{name}"), width, width, true)
        };
        let [query, key, value, out] = names;
        Ok(Self {
            query: linear(query)?,
            key: linear(key)?,
            value: linear(value)?,
            out: linear(out)?,
            heads: Heads::alike(heads, width / heads),
            attending: weights.attending(precision),
        })
    }

    /// Adds what positions see to `x`, given what the layer reads of them.
    pub fn add_to(&self, arithmetic: Arithmetic, y: &Operand, x: &mut Lanes) {
        let read = [&self.query, &self.key, &self.value];
        let [q, k, v] = Linear::apply_each(read, y, x.lengths());
        let seen = attend(self.attending, self.heads, Mask::All, &q, &k, &v);
        self.out.add_to(&Operand::round(arithmetic, &seen), x);
    }
}

/// Two linear layers with an activation between them.
#[derive(Debug, Clone)]
pub struct Mlp {
    pub up: Linear,
    pub down: Linear,
    activate: fn(&mut [[f32; LANES]]),
}

impl Mlp {
    /// Takes the two layers below `key`; `inner` is the width between them.
    pub fn take(
        weights: &mut Weights,
        precision: Precision,
        key: &str,
        names: [&str; 2],
        [width, inner]: [usize; 2],
        activate: fn(&mut [[f32; LANES]]),
    ) -> Result<Self, ModelError> {
        let mut linear = |name: &str, input, output| {
            Linear::take(weights, precision, &format!("{key}.{name}"), input, output, true)
        };
        let [up, down] = names;
        Ok(Self { up: linear(up, width, inner)?, down: linear(down, inner, width)?, activate })
    }

    /// Adds its result to `x`, given what the layer reads of it.
    pub fn add_to(&self, y: &Operand, x: &mut Lanes) {
        self.down.add_to(&self.up.apply_activated(y, self.activate), x);
    }
}
