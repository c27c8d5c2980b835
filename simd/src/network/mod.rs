//! The arithmetic of small convolutional networks whose channels come last: `[rows, columns,
//! channels]`, so that the channels of a place lie side by side in the lanes of a register.
//!
//! Almost all time of such a network goes into products of weights with places. Here they are
//! products of bytes with sums of 32 bits, which AVX-512 VNNI does four times as fast as the same
//! products in f32:
//!
//! * [`ByteWeights`] has a signed byte for each weight, and a scale for each output;
//! * [`ByteRows`] has an unsigned byte for each number of a place, and a scale for each place, taken
//!   from its least and its greatest number;
//! * [`ByteWeights::apply`] multiplies them, for places ([`Places`]) that are a row of their own or
//!   windows of a picture, so that a convolution needs no copy of its windows.
//!
//! The sums are whole numbers, so every CPU has the same ones: those without VNNI multiply pairs of
//! 16 bits. What is not a product stays in f32.

mod activation;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod depthwise;
mod places;
mod product;
mod rows;
#[cfg(target_arch = "x86_64")]
mod vnni;
mod weights;

pub use activation::{Activation, exponentials, largest};
pub use attention::attention;
pub use depthwise::Depthwise;
pub use places::{Filled, Places, Step};
pub use rows::{ByteRows, round_rest, round_to};
pub use weights::{ByteWeights, Rounding};
