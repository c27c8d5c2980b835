//! What this CPU can do, found once for all kernels, and the pixel arithmetic that several rooms
//! share.
//!
//! * [`compiled_for_each_cpu!`] compiles plain code for several instruction sets and picks the
//!   widest that the CPU has when it is called;
//! * [`resize_bicubic`] makes pictures larger or smaller, to the bit as Pillow does.

mod compiled;
mod resample;

pub use resample::resize_bicubic;
