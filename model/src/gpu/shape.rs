//! How the numbers of attention lie.

/// How the heads of a product lie: `[batch, n, heads * dim]`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub n: usize,
    pub heads: usize,
    pub dim: usize,
}
