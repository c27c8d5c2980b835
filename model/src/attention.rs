//! Scaled dot-product attention and the linear layer, shared by both towers.

use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::ModelError;
use crate::weights::Weights;

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[in, out]`, a view of the stored `[out, in]`.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn take(
        weights: &mut Weights,
        key: &str,
        input: usize,
        output: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{key}.weight"), &[output, input])?.t()?;
        let bias = match bias {
            true => Some(weights.take(&format!("{key}.bias"), &[output])?),
            false => None,
        };
        Ok(Self { weight, bias })
    }

    /// A layer whose stored weight has another shape, e.g. a convolution.
    pub fn new(weight: &Tensor, bias: Tensor) -> CandleResult<Self> {
        Ok(Self { weight: weight.t()?, bias: Some(bias) })
    }

    /// `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// `[n, heads * dim]` to `[heads, n, dim]`.
pub fn split_heads(x: &Tensor, heads: usize) -> CandleResult<Tensor> {
    let (n, width) = x.dims2()?;
    x.reshape((n, heads, width / heads))?.transpose(0, 1)?.contiguous()
}

/// Attention of `q`, `[heads, n, dim]`, over `k` and `v`, `[kv_heads, n, dim]`: query heads share
/// key heads in groups. `mask`, `[n, n]`, is added to the scores. Gives `[n, heads * dim]`.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    scale: f64,
) -> CandleResult<Tensor> {
    let (heads, n, dim) = q.dims3()?;
    let groups = k.dim(0)?;
    let shared = heads / groups;
    // The heads of a group stand one below the other: one matrix product a group.
    let q = (q.reshape((groups, shared * n, dim))? * scale)?;
    let scores = q.matmul(&k.transpose(1, 2)?)?;
    let scores = match mask {
        Some(mask) => scores.reshape((groups * shared, n, n))?.broadcast_add(mask)?.reshape((
            groups,
            shared * n,
            n,
        ))?,
        None => scores,
    };
    let mixed = softmax_last_dim(&scores)?.matmul(v)?;
    mixed.reshape((heads, n, dim))?.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)
}
