//! Where on a page a query token finds what it looks for. Source: colpali-engine 0.3.13
//! `interpretability/similarity_maps.py`.

/// The dot products of one query token with the patches of one model input, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityMap {
    side: usize,
    values: Vec<f32>,
}

impl SimilarityMap {
    /// Compares `token`, `[dim]`, with `patches`, `[side * side, dim]` in row-major order.
    ///
    /// # Panics
    /// When `patches` is not a square of rows as long as `token`.
    ///
    /// ```
    /// use pagesight_maxsim::SimilarityMap;
    /// let map = SimilarityMap::new(&[1.0], &[0.0, 1.0, 0.25, 0.5]);
    /// assert_eq!(map.at(1, 0), 1.0); // the second patch of the first row
    /// assert_eq!(map.scaled().at(0, 1), 0.25);
    /// ```
    pub fn new(token: &[f32], patches: &[f32]) -> Self {
        let count = patches.len() / token.len().max(1);
        let side = count.isqrt();
        assert!(side > 0 && side * side * token.len() == patches.len(), "not a square of patches");
        let dot = |patch: &[f32]| -> f32 { token.iter().zip(patch).map(|(a, b)| a * b).sum() };
        Self { side, values: patches.chunks_exact(token.len()).map(dot).collect() }
    }

    /// Patches along an edge.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The value in column `x` and row `y`, each from 0.
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.side + x]
    }

    /// The same between 0 and 1: less the smallest, over the range.
    pub fn scaled(&self) -> Self {
        let min = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // The reference's floor under the range; a flat map is all 0.
        let range = max - min + 1e-10;
        let values = self.values.iter().map(|value| (value - min) / range).collect();
        Self { side: self.side, values }
    }
}
