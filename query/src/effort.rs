//! How much a search reads to rank by late interaction.

/// int8 codes that [`Effort::Auto`] still scans as a whole, bytes: those of 16,000 pages of 1,030
/// vectors, a tenth of a second on two cores with AMX (see benches/results).
pub const AUTO_EXACT_BYTES: usize = 2 << 30;

/// How much a search reads to rank pages by late interaction, and what its ranking is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Reads the full-precision vectors of all pages. Every rank is exact; this is what the others
    /// are measured against.
    Exact,
    /// Reads the codes of all pages, and full-precision vectors where the error of the codes may
    /// matter. The first `k` ranks and scores are exact, to the last bit; what follows them is
    /// ordered by code.
    ///
    /// Where an index has no full-precision vectors its residual codes rank, and no rank is
    /// certain.
    Certified,
    /// [`Certified`](Self::Certified) where the codes of all pages have at most
    /// [`AUTO_EXACT_BYTES`] (residual codes half of that); beyond, as [`Best`](Self::Best) with a
    /// 128th of the pages, at least 1,024 and at most 8,192.
    ///
    /// Where the patches are asked beside other channels and weigh nothing, and neither a page
    /// without words nor a tie is left to them, their order cannot change the answer: then no rank
    /// of theirs is made certain, and their scores are those of the codes.
    #[default]
    Auto,
    /// Reads the sketches of all pages, and the codes of as many pages as this, those that look
    /// best. An approximation, at a cost that hardly grows with the number of pages.
    Best(usize),
}

impl Effort {
    /// How many of `pages` to compare when they have `bytes` of codes; `None` for all.
    pub(crate) fn compared(self, pages: usize, bytes: usize) -> Option<usize> {
        let count = match self {
            Self::Exact | Self::Certified => None,
            Self::Auto if bytes <= AUTO_EXACT_BYTES => None,
            Self::Auto => Some((pages / 128).clamp(1024, 8192)),
            Self::Best(count) => Some(count),
        };
        count.filter(|&count| count < pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_pages_are_compared_where_a_scan_would_take_long() {
        let auto = |pages, bytes| Effort::Auto.compared(pages, bytes);
        assert_eq!(auto(20_000, AUTO_EXACT_BYTES), None);
        assert_eq!(auto(20_000, AUTO_EXACT_BYTES + 1), Some(1024));
        assert_eq!(auto(100_000, 100_000 * 138_000), Some(1024));
        assert_eq!(auto(1_000_000, 1_000_000 * 16_000), Some(7812));
        assert_eq!(auto(10_000_000, usize::MAX), Some(8192));
        assert_eq!(auto(1000, AUTO_EXACT_BYTES + 1), None);
        assert_eq!(Effort::Certified.compared(9, usize::MAX), None);
        assert_eq!(Effort::Exact.compared(9, usize::MAX), None);
        assert_eq!(Effort::Best(8).compared(9, 0), Some(8));
        assert_eq!(Effort::Best(9).compared(9, 0), None);
    }
}
