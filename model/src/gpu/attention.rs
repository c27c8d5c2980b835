//! Attention in a batch of sequences that lie one after the other.

use std::ops::Range;

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::blocks::attention::Heads;
#[cfg(feature = "cuda")]
use crate::gpu::kernels;
use crate::gpu::reach::Reach;

/// Which positions attend to which: those of a part to each other, as far as they reach. A part is
/// a sequence, or a window of a picture.
#[derive(Debug)]
pub struct Attended {
    parts: Vec<Range<usize>>,
    reach: Reach,
    /// The tasks of the kernel, where it is taken.
    #[cfg(feature = "cuda")]
    tiles: kernels::Tiles,
}

impl Attended {
    /// `ends` are the ends of all parts, in order.
    pub fn new(device: &CandleDevice, ends: &[usize], reach: Reach) -> CandleResult<Self> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let parts: Vec<Range<usize>> =
            starts.zip(ends).map(|(start, &end)| start..end).filter(|p| !p.is_empty()).collect();
        #[cfg(feature = "cuda")]
        let tiles = kernels::Tiles::new(device, &parts)?;
        #[cfg(not(feature = "cuda"))]
        let _ = device;
        Ok(Self {
            parts,
            reach,
            #[cfg(feature = "cuda")]
            tiles,
        })
    }

    /// What positions see: `q`, `[n, queries * dim]`, over `k` and `v`, `[n, keys * dim]`, to
    /// `[n, queries * dim]`, all in the type of products. Rows may lie apart, e.g. where the three
    /// are parts of one product; the numbers of a row lie together.
    pub fn attend(&self, heads: Heads, [q, k, v]: [&Tensor; 3]) -> CandleResult<Tensor> {
        #[cfg(feature = "cuda")]
        if q.device().is_cuda() && q.dtype() == DType::BF16 && self.tiles.take(heads) {
            return kernels::attention(heads, self.reach, &self.tiles, [q, k, v]);
        }
        let parts = self.parts.iter().map(|part| self.attend_part(heads, part, [q, k, v]));
        let parts = parts.collect::<CandleResult<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    /// With operations of candle: all scores of a part exist at once.
    fn attend_part(
        &self,
        heads: Heads,
        part: &Range<usize>,
        [q, k, v]: [&Tensor; 3],
    ) -> CandleResult<Tensor> {
        let (n, shared) = (part.len(), heads.queries / heads.keys);
        // Query heads that share keys are rows of one product, so keys are not repeated.
        let split = |x: &Tensor, of: usize, rows: usize| {
            x.narrow(0, part.start, n)?
                .contiguous()?
                .reshape((n, of, heads.dim))?
                .transpose(0, 1)?
                .contiguous()?
                .reshape((heads.keys, rows, heads.dim))
        };
        let (mut q, mut k) = (split(q, heads.queries, shared * n)?, split(k, heads.keys, n)?);
        let v = split(v, heads.keys, n)?;
        if heads.cap.is_some() {
            // Scores that need a bound are so large that 16 bits would round them too much.
            (q, k) = (q.to_dtype(DType::F32)?, k.to_dtype(DType::F32)?);
        }
        let scores = q.matmul(&k.t()?)?.reshape((heads.queries, n, n))?;
        let mut scores = bounded(heads, &scores.to_dtype(DType::F32)?)?;
        if let Some(mask) = self.mask(n, q.device())? {
            scores = scores.broadcast_add(&mask)?;
        }
        let weights = softmax_last_dim(&scores)?.to_dtype(v.dtype())?;
        let mixed = weights.reshape((heads.keys, shared * n, n))?.matmul(&v)?;
        mixed
            .reshape((heads.queries, n, heads.dim))?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((n, heads.queries * heads.dim))
    }

    /// What is added to the scores of a part, `[n, n]`: 0 for a key that a position attends to,
    /// else negative infinity. `None` where it attends to all.
    fn mask(&self, n: usize, device: &CandleDevice) -> CandleResult<Option<Tensor>> {
        let sees = |position: usize, key: usize| match self.reach {
            Reach::All => true,
            Reach::Causal => key <= position,
            Reach::Window(reach) => key.abs_diff(position) <= reach,
        };
        if self.reach == Reach::All {
            return Ok(None);
        }
        let numbers = (0..n).flat_map(|position| {
            (0..n).map(move |key| if sees(position, key) { 0.0f32 } else { f32::NEG_INFINITY })
        });
        Tensor::from_vec(numbers.collect(), (n, n), device).map(Some)
    }
}

/// Scores, f32, times their factor, and inside their bound where they have one.
pub fn bounded(heads: Heads, scores: &Tensor) -> CandleResult<Tensor> {
    let scores = (scores * f64::from(heads.scale))?;
    match heads.cap.map(f64::from) {
        Some(cap) => (scores / cap)?.tanh()? * cap,
        None => Ok(scores),
    }
}

/// Where sequences of these lengths end that lie one after the other.
pub fn ends(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    ends.collect()
}

/// The cosines and sines of angles, `[2, n, pairs]`, of positions `[n]` on some axes: `pairs` has
/// the axis and the frequency of each pair of numbers of a head, as in
/// [`Angles`](crate::blocks::rotation::Angles). They are computed on the GPU, so that only
/// positions are sent there.
pub fn angles(
    device: &CandleDevice,
    axes: &[Vec<u32>],
    pairs: &[(usize, f32)],
) -> CandleResult<Tensor> {
    let n = axes.first().map_or(0, Vec::len);
    let positions: Vec<f32> = axes.iter().flatten().map(|&position| position as f32).collect();
    let positions = Tensor::from_vec(positions, (axes.len(), n), device)?;
    let of_pairs: Vec<u32> = pairs.iter().map(|(axis, _)| *axis as u32).collect();
    let of_pairs = Tensor::from_vec(of_pairs, pairs.len(), device)?;
    let frequencies: Vec<f32> = pairs.iter().map(|(_, frequency)| *frequency).collect();
    let frequencies = Tensor::from_vec(frequencies, (pairs.len(), 1), device)?;
    // The product is rounded to f32, as in the references.
    let angles = positions.index_select(&of_pairs, 0)?.broadcast_mul(&frequencies)?;
    let angles = angles.t()?.contiguous()?;
    Tensor::stack(&[angles.cos()?, angles.sin()?], 0)
}

/// `rows`, `[n, dim]` f32, scaled to length 1. No length is taken to be below `least`.
pub fn unit_rows(rows: &Tensor, least: f64) -> CandleResult<Tensor> {
    let lengths = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(least)?;
    rows.broadcast_div(&lengths)
}
