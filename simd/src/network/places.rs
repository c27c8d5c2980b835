//! Places in bytes, and what becomes of their results.

/// Adding this number to one of 0 to 255 rounds it to a whole number, which is then in the low
/// byte.
pub(super) const ROUNDING: f32 = 12_582_912.0;

/// What the bytes of a place stand for: `least + size * byte`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// What a byte of 0 stands for.
    pub least: f32,
    /// What a unit stands for.
    pub size: f32,
}

impl Step {
    /// The step that has `least` and `most` at its ends.
    pub fn between(least: f32, most: f32) -> Self {
        Self { least, size: (most - least) / 255.0 }
    }

    /// Units of a 1; 0 where there is but one number.
    #[inline(always)]
    pub(super) fn units(self) -> f32 {
        if self.size > 0.0 { 1.0 / self.size } else { 0.0 }
    }

    /// The step of what is left of numbers that are rounded to this one: half a unit to both sides,
    /// with 0 at the byte 128.
    #[must_use]
    pub fn of_rest(self) -> Self {
        let size = self.size / 255.0;
        Self { least: -128.0 * size, size }
    }

    /// The step that has `least` and `most`, and 0 between them, at whole bytes; with the byte of 0.
    /// A border of that byte around a picture stands for nothing.
    ///
    /// ```
    /// use pagesight_simd::network::Step;
    /// let (step, zero) = Step::around_zero(-1.0, 2.0);
    /// assert_eq!((zero, step.least + f32::from(zero) * step.size), (85, 0.0));
    /// ```
    pub fn around_zero(least: f32, most: f32) -> (Self, u8) {
        let (least, most) = (least.min(0.0), most.max(0.0));
        // A unit more than is needed, since the ends move by half a unit.
        let size = (most - least) / 254.0;
        let zero = if size > 0.0 { (-least / size).round() } else { 0.0 };
        (Self { least: -zero * size, size }, zero as u8)
    }
}

/// Places whose numbers are bytes.
///
/// A place is `parts` runs of `part` bytes, each `part_stride` bytes after the one before it; the
/// next place begins `stride` bytes after it. A row has one part. The window of a convolution has a
/// part for each of its rows, since the channels of neighbouring places lie side by side, and
/// windows may overlap.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The bytes, from the first place on.
    pub bytes: &'a [u8],
    /// How many places there are.
    pub count: usize,
    /// Bytes from a place to the next.
    pub stride: usize,
    /// Bytes of a part, a multiple of four.
    pub part: usize,
    /// Parts of a place.
    pub parts: usize,
    /// Bytes from a part to the next.
    pub part_stride: usize,
    /// What bytes stand for, by place, or one for all.
    pub steps: &'a [Step],
}

/// What becomes of what was in the place of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The result takes its place.
    Replaced,
    /// The result is added to it.
    Added,
}

impl Places<'_> {
    /// # Panics
    /// When it reaches outside its bytes, or the steps are not one for each or one for all.
    pub(super) fn check(&self, inputs: usize) {
        assert_eq!(self.parts * self.part, inputs, "bytes of a place");
        assert!(self.part > 0 && self.part.is_multiple_of(4), "whole words");
        assert!(self.steps.len() == self.count || self.steps.len() == 1, "steps of the places");
        let last = (self.count - 1) * self.stride + (self.parts - 1) * self.part_stride;
        assert!(last + self.part <= self.bytes.len(), "places inside the bytes");
    }

    pub(super) fn step(&self, place: usize) -> Step {
        if self.steps.len() == 1 { self.steps[0] } else { self.steps[place] }
    }

    pub(super) fn part(&self, place: usize, part: usize) -> &[u8] {
        let start = place * self.stride + part * self.part_stride;
        &self.bytes[start..start + self.part]
    }
}
