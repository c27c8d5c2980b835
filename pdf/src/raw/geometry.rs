//! Rectangles and transformations in the coordinates of a page, points.

/// A rectangle in the coordinates of a page, points; `FS_RECTF` of `fpdfview.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Box4 {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Box4 {
    /// The part that both have; its sides may be the wrong way round when they have none.
    pub fn and(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.min(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// The smallest box around both.
    pub fn joined(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.max(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Whether a point lies in it.
    pub fn holds(&self, x: f32, y: f32) -> bool {
        (self.left..=self.right).contains(&x) && (self.bottom..=self.top).contains(&y)
    }

    /// Whether all of `other` lies in it.
    pub fn holds_all(&self, other: &Self) -> bool {
        self.holds(other.left, other.bottom) && self.holds(other.right, other.top)
    }

    /// Whether they have no point in common.
    pub fn misses(&self, other: &Self) -> bool {
        let both = self.and(*other);
        !(both.left <= both.right && both.bottom <= both.top)
    }

    /// Square points.
    pub fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.top - self.bottom).max(0.0)
    }

    /// The smallest box around points.
    pub fn around(points: impl IntoIterator<Item = (f32, f32)>) -> Option<Self> {
        points.into_iter().fold(None, |around: Option<Self>, (x, y)| {
            let Some(b) = around else {
                return Some(Self { left: x, top: y, right: x, bottom: y });
            };
            Some(Self {
                left: b.left.min(x),
                top: b.top.max(y),
                right: b.right.max(x),
                bottom: b.bottom.min(y),
            })
        })
    }
}

/// A transformation; `FS_MATRIX` of `fpdfview.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
    e: f32,
    f: f32,
}

impl Matrix {
    pub const IDENTITY: Self = Self { a: 1.0, b: 0.0, c: 0.0, d: 1.0, e: 0.0, f: 0.0 };

    /// First this, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self {
            a: self.a * next.a + self.b * next.c,
            b: self.a * next.b + self.b * next.d,
            c: self.c * next.a + self.d * next.c,
            d: self.c * next.b + self.d * next.d,
            e: self.e * next.a + self.f * next.c + next.e,
            f: self.e * next.b + self.f * next.d + next.f,
        }
    }

    fn point(&self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f)
    }

    /// The box around what `inner` becomes.
    pub fn apply(&self, inner: Box4) -> Box4 {
        if *self == Self::IDENTITY {
            return inner;
        }
        let corners = [
            (inner.left, inner.bottom),
            (inner.left, inner.top),
            (inner.right, inner.bottom),
            (inner.right, inner.top),
        ];
        Box4::around(corners.map(|(x, y)| self.point(x, y))).unwrap_or(inner)
    }
}
