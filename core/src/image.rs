//! The picture of a page: 8-bit RGB, rows from the top.

/// A picture, `[height_px, width_px, 3]`, u8, RGB, row-major.
///
/// ```
/// use pagesight_core::PageImage;
/// let white = PageImage::new(2, 1, vec![255; 6]).unwrap();
/// assert_eq!((white.width_px(), white.height_px()), (2, 1));
/// assert!(PageImage::new(2, 2, vec![255; 6]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageImage {
    width_px: u32,
    height_px: u32,
    rgb: Vec<u8>,
}

/// A picture whose bytes do not fit its size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {width_px} x {height_px} px RGB image takes {expected} bytes, got {got}")]
pub struct ImageError {
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
    /// `width_px * height_px * 3`.
    pub expected: usize,
    /// Bytes given.
    pub got: usize,
}

impl PageImage {
    /// Takes `rgb`, `[height_px, width_px, 3]`.
    ///
    /// # Errors
    /// [`ImageError`] when the length is not `width_px * height_px * 3` or a side is 0.
    pub fn new(width_px: u32, height_px: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        let expected = width_px as usize * height_px as usize * 3;
        if rgb.len() != expected || expected == 0 {
            let got = rgb.len();
            return Err(ImageError { width_px, height_px, expected, got });
        }
        Ok(Self { width_px, height_px, rgb })
    }

    /// Width, px.
    pub fn width_px(&self) -> u32 {
        self.width_px
    }

    /// Height, px.
    pub fn height_px(&self) -> u32 {
        self.height_px
    }

    /// `[height_px, width_px, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Gives the bytes away.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// Cuts out a rectangle.
    ///
    /// # Panics
    /// When the rectangle is empty or reaches outside the picture.
    pub fn crop(&self, x: u32, y: u32, width_px: u32, height_px: u32) -> PageImage {
        assert!(width_px > 0 && height_px > 0, "an empty crop");
        assert!(x + width_px <= self.width_px && y + height_px <= self.height_px, "crop outside");
        let row = |line: u32| (line as usize * self.width_px as usize + x as usize) * 3;
        let rgb = (y..y + height_px)
            .flat_map(|line| &self.rgb[row(line)..row(line) + width_px as usize * 3])
            .copied()
            .collect();
        PageImage { width_px, height_px, rgb }
    }
}
