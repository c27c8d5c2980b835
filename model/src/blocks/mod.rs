//! What models are made of on the CPU: our own kernels over weights where they lie in their files.
//! The same parts on a GPU are in [`gpu`](crate::gpu).

pub mod attention;
pub mod cache;
pub mod decoder;
pub mod delta_rule;
pub mod elementwise;
pub mod lanes;
pub mod linear;
pub mod matmul;
pub mod norm;
pub mod quantize;
pub mod rotation;
pub mod rows;
pub mod self_attention;
pub mod shared_keys;
pub mod siglip;
pub mod softmax;
pub mod zeros;
