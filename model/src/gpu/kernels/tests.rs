//! The kernels against the same operations of candle on the CPU in f32. They need a GPU of NVIDIA:
//! `make cuda-test`.

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::matmul::tests::Noise;
use crate::gpu::attention::Attended;
use crate::gpu::fused::{self, Activation, HeadNorm};
use crate::gpu::reach::Reach;

/// Numbers that bf16 has, on the CPU in f32 and on the GPU in `dtype`.
struct Pair {
    cpu: Tensor,
    gpu: Tensor,
}

struct Bench {
    gpu: CandleDevice,
    noise: Noise,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self { gpu: CandleDevice::new_cuda(0).unwrap(), noise: Noise::new(seed) }
    }

    fn pair(&mut self, shape: &[usize], dtype: DType) -> Pair {
        let values = self.noise.values(shape.iter().product(), 1.0);
        let values = Tensor::from_vec(values, shape, &CandleDevice::Cpu).unwrap();
        let rounded = values.to_dtype(DType::BF16).unwrap();
        let gpu = rounded.to_dtype(dtype).unwrap().to_device(&self.gpu).unwrap();
        Pair { cpu: rounded.to_dtype(DType::F32).unwrap(), gpu }
    }

    /// As [`pair`](Self::pair), numbers of products.
    fn rows(&mut self, shape: &[usize]) -> Pair {
        self.pair(shape, DType::BF16)
    }

    /// As [`pair`](Self::pair), f32.
    fn numbers(&mut self, shape: &[usize]) -> Pair {
        self.pair(shape, DType::F32)
    }
}

/// How far the GPU's numbers are from the CPU's, in parts of these.
fn apart(gpu: CandleResult<Tensor>, cpu: CandleResult<Tensor>) -> f32 {
    let read = |x: CandleResult<Tensor>| {
        let x = x.unwrap().to_dtype(DType::F32).unwrap().to_device(&CandleDevice::Cpu).unwrap();
        (x.dims().to_vec(), x.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let ((gpu_shape, gpu), (cpu_shape, cpu)) = (read(gpu), read(cpu));
    assert_eq!(gpu_shape, cpu_shape);
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
    let difference = squares(&mut gpu.iter().zip(&cpu).map(|(a, b)| a - b));
    (difference / squares(&mut cpu.iter().copied())).sqrt()
}

/// Rounding to bf16 alone gives 0.0017.
fn near(what: &str, gpu: CandleResult<Tensor>, cpu: CandleResult<Tensor>) {
    let apart = apart(gpu, cpu);
    println!("{what}: {apart:.5}");
    assert!(apart < 0.004, "{what}: {apart}");
}

/// A part of each row, as of a product.
fn part(x: &Tensor, start: usize, count: usize) -> Tensor {
    x.narrow(1, start, count).unwrap()
}

#[test]
#[ignore = "needs a GPU of NVIDIA: make cuda-test"]
fn what_lies_between_two_products_is_what_candle_computes() {
    let mut bench = Bench::new(41);
    let (n, width) = (37, 1152);
    let (x, bias) = (bench.rows(&[n, width]), bench.numbers(&[width]));
    let (both, residual) = (bench.rows(&[n, 2 * width]), bench.numbers(&[n, width]));
    let kinds = [
        Activation::Gelu,
        Activation::ExactGelu,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::SquaredRelu(0.7),
    ];
    for kind in kinds {
        for with_bias in [true, false] {
            let [a, b] = [&bias.gpu, &bias.cpu].map(|bias| with_bias.then_some(bias));
            near(
                &format!("{kind:?}, bias {with_bias}"),
                fused::activated(&x.gpu, a, kind),
                fused::activated(&x.cpu, b, kind),
            );
        }
        let more = bench.numbers(&[2 * width]);
        for with_bias in [true, false] {
            let [a, b] = [&more.gpu, &more.cpu].map(|bias| with_bias.then_some(bias));
            near(
                &format!("gated, {kind:?}, bias {with_bias}"),
                fused::gated(&both.gpu, a, kind),
                fused::gated(&both.cpu, b, kind),
            );
        }
    }
    near(
        "added",
        fused::add(&residual.gpu, &x.gpu, Some(&bias.gpu)),
        fused::add(&residual.cpu, &x.cpu, Some(&bias.cpu)),
    );
    near(
        "added without bias",
        fused::add(&residual.gpu, &x.gpu, None),
        fused::add(&residual.cpu, &x.cpu, None),
    );
    let other = bench.numbers(&[n, width]);
    for weight in [Some(&bias), None] {
        near(
            "root norm",
            fused::root_norm(&residual.gpu, weight.map(|w| &w.gpu), 1e-6, DType::BF16),
            fused::root_norm(&residual.cpu, weight.map(|w| &w.cpu), 1e-6, DType::F32),
        );
    }
    near(
        "mixed norm",
        fused::mixed_norm([&residual.gpu, &other.gpu], [0.3, 1.2], 1e-5, DType::BF16),
        fused::mixed_norm([&residual.cpu, &other.cpu], [0.3, 1.2], 1e-5, DType::F32),
    );
    let weight = bench.numbers(&[width]);
    near(
        "layer norm",
        fused::layer_norm(&residual.gpu, [&weight.gpu, &bias.gpu], 1e-6, DType::BF16),
        fused::layer_norm(&residual.cpu, [&weight.cpu, &bias.cpu], 1e-6, DType::F32),
    );
}

#[test]
#[ignore = "needs a GPU of NVIDIA: make cuda-test"]
fn heads_are_turned_and_gated_as_candle_does_it() {
    let mut bench = Bench::new(42);
    let n = 19;
    for (heads, dim, pairs) in
        [(3, 72, 0), (3, 72, 36), (4, 80, 40), (5, 128, 64), (2, 256, 32), (6, 64, 8)]
    {
        // As in a product whose rows have gates between the heads, and values after them.
        let x = bench.rows(&[n, heads + 1, 2 * dim]);
        let heads_of = |x: &Tensor| part(x, 0, heads).narrow(D::Minus1, 0, dim).unwrap();
        let gates_of = |x: &Tensor| part(x, 0, heads).narrow(D::Minus1, dim, dim).unwrap();
        let (bias, weight) = (bench.numbers(&[heads * dim]), bench.numbers(&[dim]));
        let angles = bench.numbers(&[2, n, pairs.max(1)]);
        let run = |x: &Tensor, bias: &Tensor, weight: &Tensor, angles: &Tensor, kind: usize| {
            let norm = HeadNorm { weight: (kind == 1).then_some(weight), eps: 1e-6 };
            let norm = (kind > 0).then_some(norm);
            let bias = (kind == 0).then_some(bias);
            fused::turned(&heads_of(x), bias, norm, (pairs > 0).then_some(angles))
        };
        for kind in 0..3 {
            near(
                &format!("turned, {heads} heads of {dim}, {pairs} pairs, kind {kind}"),
                run(&x.gpu, &bias.gpu, &weight.gpu, &angles.gpu, kind),
                run(&x.cpu, &bias.cpu, &weight.cpu, &angles.cpu, kind),
            );
        }
        let y = bench.rows(&[n, heads * dim]);
        near(
            "gated by a sigmoid",
            fused::sigmoid_gated(&y.gpu, &gates_of(&x.gpu), 0.9),
            fused::sigmoid_gated(&y.cpu, &gates_of(&x.cpu), 0.9),
        );
    }
    let (heads, keys, dim) = (6, 2, 64);
    let (x, all) = (bench.rows(&[n, heads * dim]), bench.rows(&[n, (heads + keys) * dim]));
    let (weight, seen) = (bench.numbers(&[dim]), bench.numbers(&[n, heads * dim]));
    let run = |seen: &Tensor, weight: &Tensor, all: &Tensor| {
        let norm = HeadNorm { weight: Some(weight), eps: 1e-6 };
        fused::norm_gated(seen, norm, &part(all, 0, heads * dim), dim)
    };
    near(
        "gated by a norm",
        run(&seen.gpu, &weight.gpu, &all.gpu),
        run(&seen.cpu, &weight.cpu, &all.cpu),
    );
    let shares = bench.numbers(&[heads]);
    let run = |x: &Tensor, all: &Tensor, shares: &Tensor| {
        let values = part(all, heads * dim, keys * dim);
        fused::excluded_gated(x, &values, shares, &part(all, 0, heads * dim), dim, 0.6)
    };
    near("excluded", run(&x.gpu, &all.gpu, &shares.gpu), run(&x.cpu, &all.cpu, &shares.cpu));
}

#[test]
#[ignore = "needs a GPU of NVIDIA: make cuda-test"]
fn attention_in_one_pass_is_attention() {
    let mut bench = Bench::new(43);
    let cases: [(usize, &[usize], Reach); 9] = [
        (72, &[200, 337], Reach::All),
        (64, &[130], Reach::Causal),
        (128, &[300], Reach::Window(40)),
        (256, &[150, 151, 1181], Reach::All),
        (80, &[64, 128, 140], Reach::All),
        (32, &[65, 66], Reach::Causal),
        (256, &[30, 61], Reach::Causal),
        (64, &[700], Reach::Window(64)),
        (24, &[20], Reach::Window(3)),
    ];
    for (dim, ends, reach) in cases {
        for (queries, keys) in [(4, 4), (4, 1)] {
            let heads = Heads::shared(queries, keys, dim);
            let n = ends[ends.len() - 1];
            let all = bench.rows(&[n, (queries + 2 * keys) * dim]);
            let run = |all: &Tensor| {
                let q = part(all, 0, queries * dim);
                let k = part(all, queries * dim, keys * dim);
                let v = part(all, (queries + keys) * dim, keys * dim);
                Attended::new(all.device(), ends, reach)?.attend(heads, [&q, &k, &v])
            };
            near(
                &format!("{queries} over {keys} heads of {dim}, {ends:?}, {reach:?}"),
                run(&all.gpu),
                run(&all.cpu),
            );
        }
    }
}
