//! The matrix product `Y = W X`, where almost all time of the encoder goes.
//!
//! Positions (patches, tokens) lie in the lanes of registers ([`Lanes`]), 32 a group, and weights
//! stay as files have them, `[out, in]` row by row, in any [`Format`]. So weights are used from a
//! memory map, without a copy in another type or order, and a position never meets another one:
//! it gets the same numbers alone and in any batch, on any number of threads.
//!
//! A task is a block of the result, small enough for the second-level cache: [`ROWS`] rows of W
//! at a time are brought to a panel of the type computed with (16-bit to f32 or bf16), which
//! stays in the first-level cache while all groups of positions of the task pass by. Sums run
//! over the inner width in one order, in f32, whatever the task's size. Panels, the operand and
//! the result are made of tiles of 32 cache lines, for all kernels alike: AMX and AVX-512 BF16
//! for bf16, AVX-512 and AVX2 for f32, and a portable version of both.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod matrix;
mod operand;
pub mod panel;
mod peak;
mod portable;
mod product;
#[cfg(test)]
pub mod tests;
mod tile;

pub use kernel::{Kernel, best};
pub use matrix::{Format, Matrix, Q4_BLOCK};
pub use operand::{Filler, Operand};
pub use peak::peak;
pub use product::product;
pub use tile::{Arithmetic, ROWS, TILE};
