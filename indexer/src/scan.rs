//! Which pages are pictures of text, so that OCR should look at them.

use pagesight_core::PageImage;

/// Whether a page has so few letters and digits that OCR should look: a page number alone does not
/// make a scan readable.
pub(crate) fn needs_ocr(text: &str) -> bool {
    const FEW: usize = 16;
    text.chars().filter(|c| c.is_alphanumeric()).take(FEW).count() < FEW
}

/// Whether a picture shows nothing: every pixel is within a few steps of the first.
pub(crate) fn is_blank(image: &PageImage) -> bool {
    const STEPS: u8 = 8;
    let first = &image.rgb()[..3];
    image
        .rgb()
        .chunks_exact(3)
        .all(|pixel| pixel.iter().zip(first).all(|(value, first)| value.abs_diff(*first) <= STEPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_without_words_are_known() {
        for (text, expected) in
            [("", true), ("- 12 -", true), ("Chapter one begins here.", false), ("第一章", true)]
        {
            assert_eq!(needs_ocr(text), expected, "{text}");
        }
        let mut pixels = vec![250; 30];
        assert!(is_blank(&PageImage::new(5, 2, pixels.clone()).unwrap()));
        pixels[13] = 20;
        assert!(!is_blank(&PageImage::new(5, 2, pixels).unwrap()));
    }
}
