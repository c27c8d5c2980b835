//! The parts of models on a GPU, with operations of candle.
//!
//! What the kernels in [`blocks`](crate::blocks) do on the CPU is done here to batches,
//! `[batch, n, width]`: products in the type of the precision (cuBLAS sums them in f32), everything
//! else in f32: norms, rotations, softmax, activations and what the layers add to. What lies
//! between two products is one pass over memory ([`fused`]). Inputs go up and vectors come down;
//! between the two nothing leaves the GPU. Quantized weights are widened to bf16 on the way up: a
//! GPU is chosen for its speed, and there are no integer products for it here.

pub mod fused;
#[cfg(feature = "cuda")]
pub mod kernels;
pub mod shape;

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::blocks::attention::Heads;
use crate::blocks::linear::Linear;
use crate::blocks::matmul::Format;
use crate::device::Device;
use crate::error::ModelError;
use crate::gpu::shape::Shape;
use crate::precision::Precision;

/// Opens the GPU that `device` asks for; `None` for the CPU, and for [`Device::Auto`] where no GPU
/// answers.
///
/// # Errors
/// [`ModelError::DeviceNotBuilt`] and [`ModelError::Device`] for a GPU asked for by name.
pub fn open(device: Device) -> Result<Option<CandleDevice>, ModelError> {
    let open = |device: Device| -> Result<CandleDevice, ModelError> {
        if !device.is_built_in() {
            return Err(ModelError::DeviceNotBuilt { device });
        }
        let gpu = match device {
            Device::Cuda => CandleDevice::new_cuda(0),
            _ => CandleDevice::new_metal(0),
        };
        gpu.map_err(|source| ModelError::Device { device, source: Box::new(source) })
    };
    match device {
        Device::Cpu => Ok(None),
        Device::Cuda | Device::Metal => open(device).map(Some),
        Device::Auto => Ok([Device::Cuda, Device::Metal].into_iter().find_map(|d| open(d).ok())),
    }
}

/// The [`Device`] that a device of candle is.
pub fn device_of(device: &CandleDevice) -> Device {
    match device {
        CandleDevice::Cpu => Device::Cpu,
        CandleDevice::Cuda(_) => Device::Cuda,
        CandleDevice::Metal(_) => Device::Metal,
    }
}

/// Where weights are placed, and in which type.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The GPU.
    pub device: &'a CandleDevice,
    /// The type of products.
    pub dtype: DType,
}

impl<'a> Place<'a> {
    /// A place for products in the type of `precision`.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when the GPU refuses.
    pub fn new(device: &'a CandleDevice, precision: Precision) -> Result<Self, ModelError> {
        #[cfg(feature = "cuda")]
        kernels::keep_memory(device)?;
        let dtype = if precision.is_of_sixteen_bits() { DType::BF16 } else { DType::F32 };
        Ok(Self { device, dtype })
    }

    pub fn numbers(self, values: &[f32]) -> CandleResult<Tensor> {
        Tensor::from_slice(values, values.len(), self.device)
    }

    pub fn product(self, linear: &Linear) -> CandleResult<Product> {
        let matrix = linear.weight();
        let shape = [matrix.rows(), matrix.columns()];
        let rows = 0..matrix.rows();
        let weight = match (matrix.format(), self.dtype) {
            (Format::F32, DType::F32) | (Format::Bf16, DType::BF16) => {
                let bytes = rows.flat_map(|row| matrix.row(row)).copied().collect::<Vec<u8>>();
                Tensor::from_raw_buffer(&bytes, self.dtype, &shape, self.device)?
            }
            _ => {
                let values: Vec<f32> = rows.flat_map(|row| matrix.values(row)).collect();
                Tensor::from_vec(values, &shape, &CandleDevice::Cpu)?
                    .to_dtype(self.dtype)?
                    .to_device(self.device)?
            }
        };
        let bias = match linear.bias() {
            [] => None,
            bias => Some(self.numbers(bias)?),
        };
        Ok(Product { weight, bias })
    }
}

/// A linear layer, `y = x W^T + b`.
#[derive(Debug)]
pub struct Product {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`, f32.
    pub bias: Option<Tensor>,
}

impl Product {
    /// Multiplies `[.., in]` in the type of products; gives `[rows, out]` in it, without the bias.
    pub fn multiply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.reshape((x.elem_count() / width, width))?.matmul(&self.weight.t()?)
    }

    /// Applies the layer to `[.., in]` of any type; gives `[.., out]`, f32.
    pub fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.multiply(&x.to_dtype(self.weight.dtype())?)?.to_dtype(DType::F32)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        let mut shape = x.dims().to_vec();
        *shape.last_mut().expect("matrices have axes") = self.weight.dim(0)?;
        y.reshape(shape)
    }

    /// The result as `[batch, heads, n, dim]`.
    pub fn heads(&self, x: &Tensor, shape: Shape) -> CandleResult<Tensor> {
        fused::heads(&self.multiply(x)?, self.bias.as_ref(), shape)
    }

    /// The result as `[batch, heads, n, dim]`, rotated by `angles`. The layer must have no bias.
    pub fn turned_heads(&self, x: &Tensor, angles: &Tensor, shape: Shape) -> CandleResult<Tensor> {
        debug_assert!(self.bias.is_none(), "turned heads have no bias");
        fused::turned_heads(&self.multiply(x)?, angles, shape)
    }

    /// Adds the result for `y` to `x`, f32.
    pub fn add_to(&self, x: &Tensor, y: &Tensor) -> CandleResult<Tensor> {
        fused::add(x, &self.multiply(y)?, self.bias.as_ref())
    }
}

/// Attention of `q`, `[batch, queries, n, dim]`, over `k` and `v`, `[batch, keys, n, dim]`, to
/// `[batch * n, queries * dim]`. Keys from `seen` on are masked. Query heads that share keys are
/// rows of one product, so keys are not repeated.
pub fn attend(
    heads: Heads,
    seen: usize,
    mask: Option<&Tensor>,
    [q, k, v]: [&Tensor; 3],
) -> CandleResult<Tensor> {
    let (batch, _, n, dim) = q.dims4()?;
    let shared = heads.queries / heads.keys;
    let part = |x: &Tensor, rows: usize| x.reshape((batch * heads.keys, rows, dim));
    let (q, k, v) = (part(q, shared * n)?, part(k, n)?, part(v, n)?);
    let scores = q.matmul(&k.t()?)?.reshape((batch, heads.queries, n, n))?;
    let weights = fused::softmax(&scores, seen, heads.scale, mask)?;
    let mixed = weights.reshape((batch * heads.keys, shared * n, n))?.matmul(&v)?;
    fused::joined(&mixed, Shape { batch, n, heads: heads.queries, dim })
}

#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub fn place(place: Place<'_>, weight: &[f32], bias: &[f32], eps: f32) -> CandleResult<Self> {
        Ok(Self { weight: place.numbers(weight)?, bias: place.numbers(bias)?, eps })
    }

    pub fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::layer_norm(x, [&self.weight, &self.bias], self.eps, dtype)
    }
}

#[derive(Debug)]
pub struct RootNorm {
    weight: Tensor,
    eps: f32,
}

impl RootNorm {
    pub fn place(place: Place<'_>, weight: &[f32], eps: f32) -> CandleResult<Self> {
        Ok(Self { weight: place.numbers(weight)?, eps })
    }

    pub fn apply(&self, x: &Tensor, dtype: DType) -> CandleResult<Tensor> {
        fused::root_norm(x, &self.weight, self.eps, dtype)
    }
}
