//! The gated delta rule (Yang et al., arXiv 2412.06464) over sequences that lie one after the other,
//! and the convolution before it. Both see what is before a position alone, and nothing of other
//! sequences. Sums are in f32.

use candle_core::{D, DType, Result as CandleResult, Tensor};
use candle_nn::ops::sigmoid;

use crate::blocks::decoder::sizes::DeltaSizes;
#[cfg(feature = "cuda")]
use crate::gpu::kernels;

/// What is added to the square of a length before it divides.
const EPS: f64 = 1e-6;

/// Each channel of `x`, `[n, width]` in the type of products with rows that may lie apart, mixed
/// with the `reach - 1` positions before it in its sequence, and then `y sigmoid(y)` of that:
/// `[n, width]` f32. `weight` is `[width, reach]` f32, the own position last.
pub fn convolved(x: &Tensor, weight: &Tensor, lengths: &[usize]) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if kernels::take(x.device(), x.dtype(), x.dim(1)?) {
        return kernels::convolved(x, weight, lengths);
    }
    let reach = weight.dim(1)?;
    let taps = weight.t()?.contiguous()?;
    let mut sequences = Vec::with_capacity(lengths.len());
    let mut start = 0;
    for &length in lengths.iter().filter(|&&length| length > 0) {
        let rows = x.narrow(0, start, length)?.to_dtype(DType::F32)?.contiguous()?;
        let rows = rows.pad_with_zeros(0, reach - 1, 0)?;
        let mut sum = rows.narrow(0, 0, length)?.broadcast_mul(&taps.narrow(0, 0, 1)?)?;
        for tap in 1..reach {
            let part = rows.narrow(0, tap, length)?.broadcast_mul(&taps.narrow(0, tap, 1)?)?;
            sum = (sum + part)?;
        }
        sequences.push(sum.silu()?);
        start += length;
    }
    Tensor::cat(&sequences, 0)
}

/// The shares of a head's matrix that are kept, and of an error that are corrected, 0 to 1, each
/// `[n, heads]` f32: `e^(rate * softplus(decay + bias))` and `sigmoid(strength)`. `read`, `[n, 2 *
/// heads]` in the type of products with rows that may lie apart, has all strengths of a position
/// before its decays; `bias` and `rate` are `[heads]` f32.
pub fn shares(read: &Tensor, bias: &Tensor, rate: &Tensor) -> CandleResult<[Tensor; 2]> {
    let heads = bias.elem_count();
    #[cfg(feature = "cuda")]
    if kernels::take(read.device(), read.dtype(), 2 * heads) {
        let both = kernels::shares(read, bias, rate)?;
        return Ok([both.get(0)?, both.get(1)?]);
    }
    let part = |start: usize| read.narrow(1, start, heads)?.to_dtype(DType::F32)?.contiguous();
    let (strength, decay) = (part(0)?, part(heads)?.broadcast_add(bias)?);
    // Of the absolute value, so that nothing overflows.
    let softplus = (decay.relu()? + (decay.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    Ok([softplus.broadcast_mul(rate)?.exp()?, sigmoid(&strength)?])
}

/// What positions read from the matrices of heads, `[n, values * value_dim]` f32. `rows`, `[n,
/// width]` f32, has the queries of all heads, then their keys, then values; `kept` and `strength`
/// are `[n, values]` f32, as [`shares`] gives them.
pub fn delta_rule(
    rows: &Tensor,
    [kept, strength]: [&Tensor; 2],
    lengths: &[usize],
    sizes: DeltaSizes,
) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if kernels::follows(rows.device(), sizes) {
        return kernels::delta_rule(rows, [kept, strength], lengths, sizes);
    }
    let DeltaSizes { keys, values, key_dim, value_dim, .. } = sizes;
    let ([all_keys, all_values], n) = (sizes.widths(), rows.dim(0)?);
    // Each head of values has its query and its key, of length 1.
    let directions = |start: usize| -> CandleResult<Tensor> {
        let rows = rows.narrow(1, start, all_keys)?.contiguous()?.reshape((n, keys, 1, key_dim))?;
        let lengths = (rows.sqr()?.sum_keepdim(D::Minus1)? + EPS)?.sqrt()?;
        let shared = (n, keys, values / keys, key_dim);
        rows.broadcast_div(&lengths)?
            .broadcast_as(shared)?
            .contiguous()?
            .reshape((n, values, 1, key_dim))
    };
    let query = (directions(0)? * (key_dim as f64).powf(-0.5))?;
    let key = directions(all_keys)?;
    let turned_key = key.transpose(2, 3)?.contiguous()?;
    let value = rows.narrow(1, 2 * all_keys, all_values)?.contiguous()?;
    let value = value.reshape((n, values, 1, value_dim))?;
    let [kept, strength] = [kept, strength].map(|shares| shares.reshape((n, values, 1, 1)));
    let (kept, strength) = (kept?, strength?);
    let mut read = Vec::with_capacity(n);
    let mut start = 0;
    for &length in lengths {
        let mut matrix = Tensor::zeros((values, key_dim, value_dim), DType::F32, rows.device())?;
        for at in start..start + length {
            matrix = matrix.broadcast_mul(&kept.get(at)?)?;
            let said = key.get(at)?.matmul(&matrix)?;
            let error = (value.get(at)? - said)?.broadcast_mul(&strength.get(at)?)?;
            matrix = (matrix + turned_key.get(at)?.matmul(&error)?)?;
            read.push(query.get(at)?.matmul(&matrix)?.reshape((1, all_values))?);
        }
        start += length;
    }
    Tensor::cat(&read, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device as CandleDevice;

    use super::*;
    use crate::blocks::delta_rule::{Head, convolve, read_and_correct, softplus};
    use crate::blocks::matmul::tests::Noise;

    const LENGTHS: [usize; 3] = [9, 1, 20];

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn a_batch_is_convolved_as_each_sequence_alone_is() {
        check_convolution(&CandleDevice::Cpu, 2e-6);
    }

    #[test]
    fn shares_are_those_of_the_cpu() {
        check_shares(&CandleDevice::Cpu, 1e-6);
    }

    #[test]
    fn heads_of_a_batch_read_what_the_cpu_reads_for_each_sequence() {
        check_rule(&CandleDevice::Cpu, 5e-6);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_convolves_and_reads_as_the_cpu_does() {
        let device = CandleDevice::new_cuda(0).unwrap();
        // Its exponentials are those of the hardware.
        check_convolution(&device, 1e-5);
        check_shares(&device, 1e-5);
        check_rule(&device, 2e-5);
    }

    fn tensor(values: &[f32], width: usize, device: &CandleDevice) -> Tensor {
        Tensor::from_slice(values, (values.len() / width, width), device).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn are_near(got: &[f32], expected: &[f32], apart: f32) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < apart, "{got} {expected}");
        }
    }

    fn check_convolution(device: &CandleDevice, apart: f32) {
        let (n, mut noise) = (LENGTHS.iter().sum::<usize>(), Noise::new(41));
        // Widths as a kernel takes them and others; there is more in a row than is convolved.
        for (width, beside, reach) in [(5, 0, 4), (24, 8, 4), (64, 16, 2), (8, 8, 1)] {
            let stride = width + beside;
            let all = noise.values(n * stride, 1.0);
            let weight = noise.values(width * reach, 1.0);
            for dtype in [DType::F32, DType::BF16] {
                let x = tensor(&all, stride, device).to_dtype(dtype).unwrap();
                let x = x.narrow(1, 0, width).unwrap();
                let got = convolved(&x, &tensor(&weight, reach, device), &LENGTHS).unwrap();
                assert_eq!((got.dtype(), got.dims()), (DType::F32, [n, width].as_slice()));
                let mut rows = numbers(&x).into_iter();
                let expected = LENGTHS.iter().flat_map(|&length| {
                    let rows: Vec<f32> = rows.by_ref().take(length * width).collect();
                    convolve(&rows, width, &weight, reach)
                });
                are_near(&numbers(&got), &expected.collect::<Vec<_>>(), apart);
            }
        }
    }

    /// Strengths and decays, small and large, biases and rates. What is beyond 88 has no exponential
    /// in f32.
    fn of_shares(noise: &mut Noise, n: usize, heads: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let read = noise.values(n * 2 * heads, 3.0).iter().map(|v| v * v * v * 4.0).collect();
        let bias = noise.values(heads, 1.0);
        (read, bias, noise.values(heads, 1.0).iter().map(|rate| -rate.abs()).collect())
    }

    fn expected_shares(strength: f32, decay: f32, bias: f32, rate: f32) -> [f32; 2] {
        [(rate * softplus(decay + bias)).exp(), 1.0 / (1.0 + (-strength).exp())]
    }

    fn vector(values: &[f32], device: &CandleDevice) -> Tensor {
        Tensor::from_slice(values, values.len(), device).unwrap()
    }

    fn check_shares(device: &CandleDevice, apart: f32) {
        let (n, mut noise) = (LENGTHS.iter().sum::<usize>(), Noise::new(44));
        // They are the last numbers of a row.
        for (heads, before) in [(3, 0), (4, 16), (16, 64)] {
            let (read, bias, rate) = of_shares(&mut noise, n, heads);
            let read = tensor(&read, 2 * heads, device);
            let read = read.pad_with_zeros(1, before, 0).unwrap();
            for dtype in [DType::F32, DType::BF16] {
                let read = read.to_dtype(dtype).unwrap().narrow(1, before, 2 * heads).unwrap();
                let got = shares(&read, &vector(&bias, device), &vector(&rate, device)).unwrap();
                let read = numbers(&read);
                let expected = read.chunks(2 * heads).flat_map(|row| {
                    (0..heads).map(|head| {
                        expected_shares(row[head], row[heads + head], bias[head], rate[head])
                    })
                });
                let (kept, strength): (Vec<f32>, Vec<f32>) = expected.map(|[k, s]| (k, s)).unzip();
                are_near(&numbers(&got[0]), &kept, apart);
                are_near(&numbers(&got[1]), &strength, apart);
            }
        }
    }

    fn check_rule(device: &CandleDevice, apart: f32) {
        let (n, mut noise) = (LENGTHS.iter().sum::<usize>(), Noise::new(42));
        for (keys, values, key_dim, value_dim) in
            [(1, 1, 3, 5), (2, 4, 8, 16), (2, 2, 64, 64), (1, 3, 128, 128)]
        {
            let sizes = DeltaSizes { keys, values, key_dim, value_dim, reach: 4 };
            let [all_keys, all_values] = sizes.widths();
            let width = 2 * all_keys + all_values;
            let rows = noise.values(n * width, 1.0);
            let (read, bias, rate) = of_shares(&mut noise, n, values);
            let [of_bias, of_rate] = [&bias, &rate].map(|values| vector(values, device));
            let shares = shares(&tensor(&read, 2 * values, device), &of_bias, &of_rate).unwrap();
            let [kept, strength] = [&shares[0], &shares[1]];
            let got = delta_rule(&tensor(&rows, width, device), [kept, strength], &LENGTHS, sizes);
            let got = got.unwrap();
            assert_eq!((got.dtype(), got.dims()), (DType::F32, [n, all_values].as_slice()));
            let mut expected = vec![0.0; n * all_values];
            for head in 0..values {
                let key = head / (values / keys) * key_dim;
                let mut first = 0;
                for length in LENGTHS {
                    let mut matrix = vec![0.0; key_dim * value_dim];
                    for at in first..first + length {
                        let (row, read) = (&rows[at * width..], &read[at * 2 * values..]);
                        let [kept, strength] = expected_shares(
                            read[head],
                            read[values + head],
                            bias[head],
                            rate[head],
                        );
                        let head_of = Head {
                            query: &row[key..][..key_dim],
                            key: &row[all_keys + key..][..key_dim],
                            value: &row[2 * all_keys + head * value_dim..][..value_dim],
                            kept,
                            strength,
                        };
                        let out = &mut expected[at * all_values + head * value_dim..][..value_dim];
                        read_and_correct(&mut matrix, &head_of, out);
                    }
                    first += length;
                }
            }
            are_near(&numbers(&got), &expected, apart);
        }
    }
}
