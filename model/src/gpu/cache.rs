//! Keys and values that one layer keeps of a sequence on a GPU, so that a position more costs one row
//! and not all of them again, and the attention of such a position.
//!
//! They are f32 in every precision: beside the weights that a position reads they are few.

use candle_core::{DType, Result as CandleResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::blocks::attention::Heads;
use crate::gpu::attention::bounded;

/// Keys and values of one layer for one sequence. Copies share them: a cache that grows is another
/// one.
#[derive(Debug, Clone)]
pub struct Cache {
    heads: Heads,
    /// `[keys, n, dim]`.
    keys: Tensor,
    /// `[keys, n, dim]`.
    values: Tensor,
    /// Number of positions.
    length: usize,
}

impl Cache {
    /// The cache of a sequence with these keys, turned, and values, `[n, keys * dim]` each.
    pub fn new(heads: Heads, k: &Tensor, v: &Tensor) -> CandleResult<Self> {
        let (keys, values) = (by_head(heads, k)?, by_head(heads, v)?);
        Ok(Self { heads, keys, values, length: k.dim(0)? })
    }

    /// Number of positions.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Adds a position, `[1, keys * dim]` each.
    pub fn push(&mut self, k: &Tensor, v: &Tensor) -> CandleResult<()> {
        self.keys = Tensor::cat(&[&self.keys, &by_head(self.heads, k)?], 1)?;
        self.values = Tensor::cat(&[&self.values, &by_head(self.heads, v)?], 1)?;
        self.length += 1;
        Ok(())
    }

    /// What a position sees, `[1, queries * dim]` of any type, in that type.
    pub fn attend(&self, q: &Tensor) -> CandleResult<Tensor> {
        let Heads { queries, keys, dim, .. } = self.heads;
        let asked = q.to_dtype(DType::F32)?.contiguous()?.reshape((keys, queries / keys, dim))?;
        let scores = bounded(self.heads, &asked.matmul(&self.keys.t()?)?)?;
        let seen = softmax_last_dim(&scores)?.matmul(&self.values)?;
        seen.reshape((1, queries * dim))?.to_dtype(q.dtype())
    }
}

/// Rows of keys or values, `[n, keys * dim]`, as `[keys, n, dim]` f32.
fn by_head(heads: Heads, rows: &Tensor) -> CandleResult<Tensor> {
    let rows = rows.to_dtype(DType::F32)?.contiguous()?;
    rows.reshape((rows.dim(0)?, heads.keys, heads.dim))?.transpose(0, 1)?.contiguous()
}

#[cfg(test)]
mod tests {
    use candle_core::Device as CandleDevice;

    use super::*;
    use crate::blocks::matmul::tests::Noise;
    use crate::gpu::attention::Attended;
    use crate::gpu::reach::Reach;

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn a_position_more_sees_what_it_sees_in_one_pass() {
        check(&CandleDevice::Cpu);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_position_more_sees_on_a_gpu_what_it_sees_in_one_pass() {
        check(&CandleDevice::new_cuda(0).unwrap());
    }

    fn check(device: &CandleDevice) {
        let (n, mut noise) = (13, Noise::new(45));
        for (queries, keys, dim, cap) in [(8, 1, 256, None), (6, 2, 12, None), (4, 4, 8, Some(1.5))]
        {
            let heads = Heads { cap, ..Heads::shared(queries, keys, dim) };
            let mut rows = |width: usize| {
                let values = noise.values(n * width, 1.0);
                Tensor::from_vec(values, (n, width), device).unwrap()
            };
            let (q, k, v) = (rows(queries * dim), rows(keys * dim), rows(keys * dim));
            let row = |x: &Tensor, at: usize| x.narrow(0, at, 1).unwrap();
            let part = |x: &Tensor| x.narrow(0, 0, 5).unwrap();
            let mut cache = Cache::new(heads, &part(&k), &part(&v)).unwrap();
            let before = cache.clone();
            let mut seen = Vec::new();
            for at in 5..n {
                cache.push(&row(&k, at), &row(&v, at)).unwrap();
                seen.push(cache.attend(&row(&q, at)).unwrap());
            }
            assert_eq!((before.length(), cache.length()), (5, n));
            let got = Tensor::cat(&seen, 0).unwrap();
            let attended = Attended::new(device, &[n], Reach::Causal).unwrap();
            let expected = attended.attend(heads, [&q, &k, &v]).unwrap().narrow(0, 5, n - 5);
            let apart = (got - expected.unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            let apart: f32 = apart.to_scalar().unwrap();
            assert!(apart < 1e-5, "{queries} {keys} {dim}: {apart}");
            // What shares the beginning does not change.
            let first = before.attend(&row(&q, 4)).unwrap();
            let expected = attended.attend(heads, [&q, &k, &v]).unwrap().narrow(0, 4, 1);
            let apart = (first - expected.unwrap()).unwrap().abs().unwrap().max_all().unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }
}
