//! What this CPU can do, found once for all kernels, and the arithmetic of pixels and of small
//! networks that several rooms share.
//!
//! * [`Instructions`] says which instruction sets the CPU has, the best first, and [`Extension`]
//!   which products beside them;
//! * [`Limit`] keeps a process to the instructions of another kind of CPU, for measuring;
//! * [`amx`] asks the operating system for the matrix unit and sets its registers up;
//! * [`compiled_for_each_cpu!`] compiles plain code for several instruction sets and picks the
//!   widest that the CPU has when it is called;
//! * [`network`] multiplies bytes, for small convolutional networks;
//! * [`resize_bicubic`] makes pictures larger or smaller, to the bit as Pillow does.

#[cfg(target_arch = "x86_64")]
pub mod amx;
mod compiled;
mod instructions;
mod limit;
pub mod network;
mod resample;

pub use instructions::{Extension, Instructions};
pub use limit::{Limit, LimitError, UnknownLimit};
pub use pagesight_core::Filter;
pub use resample::{resize, resize_bicubic};
