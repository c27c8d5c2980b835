//! The language model of Qwen2, Qwen3.5 and Llama on a GPU, as an encoder; see
//! [`blocks::decoder`](crate::blocks::decoder).

mod attention;
mod delta;

use candle_core::{DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::blocks::decoder;
use crate::checkpoint::stored::Stored;
use crate::gpu::attention::{Attended, angles, ends};
use crate::gpu::decoder::attention::Attention;
use crate::gpu::decoder::delta::DeltaNet;
use crate::gpu::fused::{self, Activation};
use crate::gpu::norm::RootNorm;
use crate::gpu::product::{Place, Product};
use crate::gpu::reach::Reach;

/// The model.
#[derive(Debug)]
pub struct Decoder {
    device: CandleDevice,
    /// The type of products.
    dtype: DType,
    reach: Reach,
    /// Token table, `[vocabulary, hidden]`. It stays in its file, where rows are looked up.
    table: Stored,
    layers: Vec<Layer>,
    norm: RootNorm,
    /// The axis and the frequency of each pair of numbers of a head.
    pairs: Vec<(usize, f32)>,
}

#[derive(Debug)]
struct Layer {
    input_norm: RootNorm,
    mixer: Mixer,
    mlp_norm: RootNorm,
    /// Gates, and what they are for.
    gated: Product,
    down: Product,
}

// One a layer, which stays where it is.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Mixer {
    Attention(Attention),
    Delta(DeltaNet),
}

/// What all layers share for some sequences.
struct Shared<'a> {
    lengths: &'a [usize],
    angles: Tensor,
    attended: Attended,
}

impl Layer {
    fn place(place: Place<'_>, layer: &decoder::Layer) -> CandleResult<Self> {
        let mixer = match &layer.mixer {
            decoder::Mixer::Attention(attention) => {
                Mixer::Attention(Attention::place(place, attention)?)
            }
            decoder::Mixer::Delta(net) => Mixer::Delta(DeltaNet::place(place, net)?),
        };
        Ok(Self {
            input_norm: RootNorm::of(place, &layer.input_norm)?,
            mixer,
            mlp_norm: RootNorm::of(place, &layer.mlp_norm)?,
            gated: place.products(&[&layer.gate, &layer.up])?,
            down: place.product(&layer.down)?,
        })
    }

    fn forward(&self, x: &Tensor, dtype: DType, shared: &Shared<'_>) -> CandleResult<Tensor> {
        let y = self.input_norm.apply(x, dtype)?;
        let x = match &self.mixer {
            Mixer::Attention(attention) => {
                attention.add_to(x, &y, &shared.angles, &shared.attended)?
            }
            Mixer::Delta(net) => net.add_to(x, &y, shared.lengths)?,
        };
        let y = self.gated.multiply(&self.mlp_norm.apply(&x, dtype)?)?;
        self.down.add_to(&x, &fused::gated(&y, None, Activation::Silu)?)
    }
}

impl Decoder {
    /// Brings the weights of `decoder` to a GPU. Its token table stays where it lies.
    pub fn place(place: Place<'_>, decoder: &decoder::Decoder) -> CandleResult<Self> {
        let layers = decoder.layers.iter().map(|layer| Layer::place(place, layer));
        Ok(Self {
            device: place.device.clone(),
            dtype: place.dtype,
            reach: if decoder.causal { Reach::Causal } else { Reach::All },
            table: decoder.table.clone(),
            layers: layers.collect::<CandleResult<_>>()?,
            norm: RootNorm::of(place, &decoder.norm)?,
            pairs: decoder.pairs.clone(),
        })
    }

    /// The rows of the token table for `ids`, `[ids.len(), hidden]` f32, on the GPU.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Tensor> {
        self.table.rows(ids)?.to_device(&self.device)
    }

    /// Runs all layers and the last norm over `x`, `[n, hidden]` f32: sequences of these lengths, one
    /// after the other, whose positions on each axis are `axes`. The result has the type of
    /// products.
    pub fn encode(
        &self,
        mut x: Tensor,
        lengths: &[usize],
        axes: &[Vec<u32>],
    ) -> CandleResult<Tensor> {
        let shared = Shared {
            lengths,
            angles: angles(&self.device, axes, &self.pairs)?,
            attended: Attended::new(&self.device, &ends(lengths), self.reach)?,
        };
        for layer in &self.layers {
            x = layer.forward(&x, self.dtype, &shared)?;
        }
        self.norm.apply(&x, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use candle_core::safetensors;
    use pagesight_core::ModelSource;

    use super::*;
    use crate::blocks::decoder::sizes::{DecoderSizes, DeltaSizes, Mix, Style};
    use crate::blocks::lanes::Lanes;
    use crate::blocks::matmul::tests::Noise;
    use crate::checkpoint::Checkpoint;
    use crate::checkpoint::inventory::Inventory;
    use crate::checkpoint::layout::{Layout, Names};
    use crate::checkpoint::weights::Weights;
    use crate::families::testing::least_cosine;
    use crate::options::LoadOptions;
    use crate::precision::Precision;

    const PREFIX: &str = "language_model";

    static NAMES: Names = Names {
        layouts: &[Layout { name: "own", prefixes: &[("language_model.", "language_model.")] }],
        unused: &[],
    };

    fn sizes(style: Style, head_dim: usize, delta: Option<DeltaSizes>) -> DecoderSizes {
        let layers = match delta {
            Some(sizes) => vec![Mix::Delta(sizes), Mix::Attention, Mix::Delta(sizes)],
            None => vec![Mix::Attention; 2],
        };
        // Qwen3.5 turns a part of each head, on axes in turn.
        let axes = match style {
            Style::Qwen3_5 => (0..head_dim / 4).map(|pair| pair % 3).collect(),
            Style::Llama | Style::Qwen2 => vec![0; head_dim / 2],
        };
        DecoderSizes {
            vocabulary: 50,
            hidden: 48,
            inner: 80,
            heads: 4,
            keys: 2,
            head_dim,
            eps: 1e-6,
            style,
            axes,
            theta: 10_000.0,
            layers,
        }
    }

    /// A decoder of these sizes whose weights are the same in each run.
    fn decoder(sizes: &DecoderSizes, causal: bool, precision: Precision) -> decoder::Decoder {
        let (folder, mut list) = (tempfile::tempdir().unwrap(), Inventory::default());
        sizes.list(PREFIX, &mut list);
        let mut noise = Noise::new(43);
        let tensors = list.entries.iter().map(|entry| {
            let count = entry.shape.iter().product();
            // Products keep the size of what they read; a convolution has few inputs.
            let inputs: usize = entry.shape.iter().skip(1).product();
            let most = (3.0 / inputs as f32).sqrt();
            let values = noise.values(count, most);
            let tensor = Tensor::from_vec(values, &entry.shape[..], &CandleDevice::Cpu).unwrap();
            (entry.name.clone(), tensor)
        });
        let tensors = tensors.collect();
        safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let source = ModelSource::Folder(folder.path().into());
        let checkpoint = Checkpoint::open(&source, &LoadOptions::default()).unwrap();
        let mut weights = Weights::open(&checkpoint, &NAMES).unwrap();
        weights.forbid_whole_numbers();
        decoder::Decoder::take(&mut weights, precision, PREFIX, sizes, causal).unwrap()
    }

    /// On candle's CPU device, so that it runs everywhere: the same operations as on a GPU.
    #[test]
    fn candles_operations_give_what_our_kernels_give() {
        check(&CandleDevice::Cpu);
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU of NVIDIA: make cuda-test"]
    fn a_gpu_of_nvidia_gives_what_our_kernels_give() {
        check(&CandleDevice::new_cuda(0).unwrap());
    }

    fn check(device: &CandleDevice) {
        // Heads that the kernels of a GPU take, and narrower ones.
        let delta = DeltaSizes { keys: 2, values: 4, key_dim: 8, value_dim: 16, reach: 4 };
        let wide = DeltaSizes { keys: 1, values: 4, key_dim: 128, value_dim: 32, reach: 4 };
        let kinds = [
            ("Llama", sizes(Style::Llama, 12, None)),
            ("wide Llama", sizes(Style::Llama, 64, None)),
            ("Qwen2", sizes(Style::Qwen2, 16, None)),
            ("wide Qwen2", sizes(Style::Qwen2, 128, None)),
            ("Qwen3.5", sizes(Style::Qwen3_5, 16, Some(delta))),
            ("wide Qwen3.5", sizes(Style::Qwen3_5, 64, Some(wide))),
        ];
        let lengths = [37, 1, 12];
        let n: usize = lengths.iter().sum();
        let ids: Vec<u32> = (0..n as u32).map(|i| i * 7 % 50).collect();
        // As of a picture: axes go apart.
        let axes: Vec<Vec<u32>> = (0..3)
            .map(|axis| lengths.iter().flat_map(|&l| 0..l as u32).map(|p| p / (axis + 1)).collect())
            .collect();
        let numbers = |x: Tensor| -> Vec<f32> {
            x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        for (name, sizes) in kinds {
            for causal in [true, false] {
                let encoded = |precision| {
                    let cpu = decoder(&sizes, causal, precision);
                    let gpu = Decoder::place(Place::new(device, precision).unwrap(), &cpu).unwrap();
                    let rows = cpu.embed(&ids).unwrap();
                    let ours = cpu.encode(Lanes::from_rows(&lengths, 48, &rows), &axes).to_rows();
                    let x = gpu.embed(&ids).unwrap();
                    let theirs = numbers(gpu.encode(x.clone(), &lengths, &axes).unwrap());
                    // A sequence gives the same alone.
                    let alone: Vec<Vec<u32>> = axes.iter().map(|axis| axis[..37].into()).collect();
                    let alone = gpu.encode(x.narrow(0, 0, 37).unwrap(), &[37], &alone).unwrap();
                    let same = least_cosine(&numbers(alone), &theirs[..37 * 48], 48);
                    assert!(same > 0.999_9, "{name} {precision}: {same}");
                    [ours, theirs]
                };
                let [exact, theirs] = encoded(Precision::F32);
                let cosine = least_cosine(&theirs, &exact, 48);
                assert!(cosine > 0.999_999, "{name}, causal: {causal}: {cosine}");
                // Random weights make much of what is rounded, so 16 bits are held to what they
                // cost on the CPU, where fewer numbers between two products are rounded to them; or,
                // where the CPU has no such products and rounds nothing, to a twentieth.
                let [ours, theirs] = encoded(Precision::Bf16).map(|x| least_cosine(&x, &exact, 48));
                println!("{name}, causal: {causal}: to f32 {cosine}, bf16 {theirs}, ours {ours}");
                let most = (10.0 * (1.0 - ours)).max(5e-2);
                assert!(1.0 - theirs < most, "{name}: {theirs}, {ours} on the CPU");
            }
        }
    }
}
