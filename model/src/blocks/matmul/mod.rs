//! The matrix product `Y = W X`, in which an encoder spends almost all of its time.
//!
//! Positions (patches, tokens) lie in the lanes of registers, 32 in a group
//! ([`Lanes`](crate::blocks::lanes::Lanes)). Weights stay as files have them, `[out, in]` row by
//! row, in any [`Format`], so they are used from a memory map without a copy in another type or
//! order. Positions never mix: each gets the same numbers alone and in any batch, on any number of
//! threads.
//!
//! A task is a block of the result that is small enough for the second-level cache. [`ROWS`] rows
//! of W at a time are converted into a panel of the type that is multiplied (f32 or bf16). The
//! panel stays in the first-level cache while it is multiplied with all groups of positions of the
//! task. Sums are f32 and run over the inner width in the same order, whatever the size of the
//! task. Panels, operands and results consist of tiles of 32 cache lines. This is the same for all
//! kernels: AMX and AVX-512 BF16 for bf16, AVX-512 for f32, AVX-512 VNNI and AVX-VNNI for whole
//! numbers of 16 bits, AVX2 and a portable version for all three. A few positions, as when a text is
//! written, go another way ([`few`]).
//! [`Arithmetic::of_sixteen_bits`] says which type a precision of 16 bits takes where.

pub mod activations;
mod ahead;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod factor;
mod few;
mod int16;
mod kernel;
mod matrix;
mod numbers;
mod operand;
mod panel;
mod peak;
mod portable;
mod product;
#[cfg(test)]
pub mod tests;
mod tile;
pub mod whole;

pub use ahead::Ahead;
pub use factor::Factor;
pub use few::product_of_few;
pub use kernel::{Kernel, best};
pub use matrix::{Format, Matrix, Q4_BLOCK};
pub use operand::Operand;
pub use peak::peak;
pub use product::{product, products};
pub use tile::{Arithmetic, MOST_OF_ACTIVATIONS, MOST_OF_FEW, MOST_OF_WEIGHTS, ROWS, RUN, TILE};
