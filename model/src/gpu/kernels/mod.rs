//! The kernels of the `.cu` files beside this one as operations of candle: on bf16 where products
//! are, on f32 elsewhere, in widths of whole eights. What calls them asks [`take`] first.

mod attention;
mod delta;
mod launch;
mod rows;
#[cfg(test)]
mod tests;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
use candle_core::{DType, Device as CandleDevice, Result as CandleResult};

pub use attention::{Tiles, attention};
pub use delta::{convolved, delta_rule, follows, shares};
pub use rows::{
    activated, added, adds_up, excluded_gated, gated, layer_norm, mixed_norm, norm_gated, patches,
    root_norm, sigmoid_gated, turned,
};

/// Whether the kernels take products of `dtype` in parts of `width` numbers.
pub fn take(device: &CandleDevice, dtype: DType, width: usize) -> bool {
    device.is_cuda() && dtype == DType::BF16 && width.is_multiple_of(8)
}

/// Keeps what the GPU's allocator has between one batch and the next: at each wait for the GPU it
/// would give all of it back to the driver, and take gigabytes anew.
pub fn keep_memory(device: &CandleDevice) -> CandleResult<()> {
    let CandleDevice::Cuda(device) = device else { return Ok(()) };
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut most = u64::MAX;
    let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the context is alive, so is its device's pool; the attribute is of this type and is
    // read during the call.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut most).cast()).w()
    }
}
