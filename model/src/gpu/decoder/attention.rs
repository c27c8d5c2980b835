//! Attention of a decoder's layer on a GPU.

use candle_core::{Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::decoder::attention;
use crate::gpu::attention::Attended;
use crate::gpu::fused;
use crate::gpu::norm::RootNorm;
use crate::gpu::product::{Place, Product};

/// Attention with rotations.
#[derive(Debug)]
pub struct Attention {
    heads: Heads,
    /// Queries, keys and values; with `gated` each head's queries and then its gate.
    read: Product,
    out: Product,
    /// The norms of each head of queries and of keys, and the gate of what a head sees.
    gated: Option<[RootNorm; 2]>,
}

impl Attention {
    /// Brings its weights to a GPU.
    pub fn place(place: Place<'_>, attention: &attention::Attention) -> CandleResult<Self> {
        let gated = match &attention.gated {
            Some([queries, keys]) => {
                Some([RootNorm::of(place, queries)?, RootNorm::of(place, keys)?])
            }
            None => None,
        };
        Ok(Self {
            heads: attention.heads,
            read: place.products(&[&attention.query, &attention.key, &attention.value])?,
            out: place.product(&attention.out)?,
            gated,
        })
    }

    /// `x`, `[n, hidden]` f32, and what positions see, given `y`, what the layer reads of them.
    pub fn add_to(
        &self,
        x: &Tensor,
        y: &Tensor,
        angles: &Tensor,
        attended: &Attended,
    ) -> CandleResult<Tensor> {
        let read = self.read.multiply(y)?;
        let seen = match &self.gated {
            Some(norms) => self.gated(&read, norms, angles, attended)?,
            None => self.plain(&read, angles, attended)?,
        };
        self.out.add_to(x, &seen)
    }

    fn plain(&self, read: &Tensor, angles: &Tensor, attended: &Attended) -> CandleResult<Tensor> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let (n, turning) = (read.dim(0)?, queries + keys);
        let heads = read.reshape((n, turning + keys, dim))?;
        let bias = self.read.bias_of(0, turning * dim)?;
        let turned =
            fused::turned(&heads.narrow(1, 0, turning)?, bias.as_ref(), None, Some(angles))?;
        let q = turned.narrow(1, 0, queries * dim)?;
        let k = turned.narrow(1, queries * dim, keys * dim)?;
        let v = match self.read.bias_of(turning * dim, keys * dim)? {
            Some(bias) => fused::turned(&heads.narrow(1, turning, keys)?, Some(&bias), None, None)?,
            None => read.narrow(1, turning * dim, keys * dim)?,
        };
        attended.attend(self.heads, [&q, &k, &v])
    }

    fn gated(
        &self,
        read: &Tensor,
        [of_queries, of_keys]: &[RootNorm; 2],
        angles: &Tensor,
        attended: &Attended,
    ) -> CandleResult<Tensor> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let n = read.dim(0)?;
        // Keys and values are as wide as so many heads of queries with their gates.
        let both = read.reshape((n, queries + keys, 2 * dim))?.narrow(1, 0, queries)?;
        let (q, gates) = (both.narrow(2, 0, dim)?, both.narrow(2, dim, dim)?);
        let k = read.reshape((n, 2 * (queries + keys), dim))?.narrow(1, 2 * queries, keys)?;
        let v = read.narrow(1, (2 * queries + keys) * dim, keys * dim)?;
        let q = fused::turned(&q, None, Some(of_queries.of_heads()), Some(angles))?;
        let k = fused::turned(&k, None, Some(of_keys.of_heads()), Some(angles))?;
        let seen = attended.attend(self.heads, [&q, &k, &v])?;
        fused::sigmoid_gated(&seen, &gates, 1.0)
    }
}
