//! Linear layers on a GPU.

use candle_core::{D, DType, Device as CandleDevice, Result as CandleResult, Tensor};

use crate::blocks::linear::Linear;
use crate::blocks::matmul::{Format, Matrix};
use crate::error::ModelError;
use crate::gpu::fused;
#[cfg(feature = "cuda")]
use crate::gpu::kernels;
use crate::precision::Precision;

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

    /// `values` as `[values.len()]`, f32.
    pub fn numbers(self, values: &[f32]) -> CandleResult<Tensor> {
        Tensor::from_slice(values, values.len(), self.device)
    }

    /// A linear layer.
    pub fn product(self, linear: &Linear) -> CandleResult<Product> {
        self.products(&[linear])
    }

    /// Several linear layers that read the same as one, whose outputs lie one after the other. All
    /// of them have a bias, or none has.
    pub fn products(self, linears: &[&Linear]) -> CandleResult<Product> {
        let weights = linears.iter().map(|linear| self.weight(linear.weight()));
        let weights = weights.collect::<CandleResult<Vec<_>>>()?;
        let weight = match weights.as_slice() {
            [weight] => weight.clone(),
            weights => Tensor::cat(weights, 0)?,
        };
        let bias: Vec<f32> = linears.iter().flat_map(|l| l.bias()).copied().collect();
        let bias = if bias.is_empty() { None } else { Some(self.numbers(&bias)?) };
        debug_assert!(bias.as_ref().is_none_or(|bias| bias.elem_count() == weight.dims()[0]));
        Ok(Product { weight, bias })
    }

    fn weight(self, matrix: &Matrix) -> CandleResult<Tensor> {
        let shape = [matrix.rows(), matrix.columns()];
        let rows = 0..matrix.rows();
        match (matrix.format(), self.dtype) {
            (Format::F32, DType::F32) | (Format::Bf16, DType::BF16) => {
                let mut bytes =
                    Vec::with_capacity(shape[0] * shape[1] * self.dtype.size_in_bytes());
                rows.for_each(|row| bytes.extend_from_slice(matrix.row(row)));
                Tensor::from_raw_buffer(&bytes, self.dtype, &shape, self.device)
            }
            _ => {
                let values: Vec<f32> = rows.flat_map(|row| matrix.values(row)).collect();
                Tensor::from_vec(values, &shape, &CandleDevice::Cpu)?
                    .to_dtype(self.dtype)?
                    .to_device(self.device)
            }
        }
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
    /// Several layers of the type of products that read the same as one, whose outputs lie one after
    /// the other. All of them have a bias, or none has.
    pub fn joined(products: &[Self]) -> CandleResult<Self> {
        let weights: Vec<&Tensor> = products.iter().map(|product| &product.weight).collect();
        let biases: Vec<&Tensor> = products.iter().flat_map(|product| &product.bias).collect();
        debug_assert!(biases.is_empty() || biases.len() == weights.len());
        let bias = if biases.is_empty() { None } else { Some(Tensor::cat(&biases, 0)?) };
        Ok(Self { weight: Tensor::cat(&weights, 0)?, bias })
    }

    /// The layer with `outputs` outputs, of which the new ones are 0.
    pub fn with_outputs(self, outputs: usize) -> CandleResult<Self> {
        let more = outputs.saturating_sub(self.weight.dim(0)?);
        let longer = |x: &Tensor| x.pad_with_zeros(0, 0, more)?.contiguous();
        let bias = self.bias.as_ref().map(longer).transpose()?;
        Ok(Self { weight: longer(&self.weight)?, bias })
    }

    /// The layer with `inputs` inputs, of which the new ones change nothing.
    pub fn with_inputs(self, inputs: usize) -> CandleResult<Self> {
        let more = inputs.saturating_sub(self.weight.dim(1)?);
        let weight = self.weight.pad_with_zeros(1, 0, more)?.contiguous()?;
        Ok(Self { weight, bias: self.bias })
    }

    /// Multiplies `[n, in]` in the type of products; gives `[n, out]` in it, without the bias.
    pub fn multiply(&self, x: &Tensor) -> CandleResult<Tensor> {
        x.matmul(&self.weight.t()?)
    }

    /// Applies the layer to `[n, in]` of any type; gives `[n, out]`, f32.
    pub fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let y = self.multiply(&x.to_dtype(self.weight.dtype())?)?.to_dtype(DType::F32)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// Adds the result for `y`, in the type of products, to `x`, f32.
    pub fn add_to(&self, x: &Tensor, y: &Tensor) -> CandleResult<Tensor> {
        fused::add(x, &self.multiply(y)?, self.bias.as_ref())
    }

    /// The part of the bias that belongs to outputs from `start` on.
    pub fn bias_of(&self, start: usize, count: usize) -> CandleResult<Option<Tensor>> {
        self.bias.as_ref().map(|bias| bias.narrow(D::Minus1, start, count)).transpose()
    }
}
