//! A CPU with fewer instructions than the one at hand, so that the kernels of other machines can be
//! run and measured on this one.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The kind of CPU whose instructions kernels keep to. Each x86 kind has what the ones before it
/// have, but that AVX-512 of the first CPUs has no VNNI.
///
/// ```
/// use pagesight_simd::Limit;
/// assert_eq!("avx2-vnni".parse(), Ok(Limit::Avx2Vnni));
/// assert_eq!(Limit::Avx512Bf16.to_string(), "avx512-bf16");
/// assert!(Limit::Portable.is_available());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Plain loops alone.
    Portable,
    /// AVX2 and FMA: x86 CPUs of the last ten years.
    Avx2,
    /// AVX2 with products of whole numbers (AVX-VNNI): laptops since 2021.
    Avx2Vnni,
    /// AVX-512 F, BW, DQ and VL: servers since 2017.
    Avx512,
    /// AVX-512 with products of whole numbers: servers since 2019.
    Avx512Vnni,
    /// AVX-512 with products of bf16 as well.
    Avx512Bf16,
    /// AMX.
    Amx,
    /// NEON of aarch64.
    Neon,
}

/// Why a limit was not set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// The CPU at hand has less than that.
    Lacking(Limit),
    /// Another limit is set, or kernels have been chosen without one.
    TooLate,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacking(limit) => write!(f, "this CPU does not have {limit}"),
            Self::TooLate => f.write_str("kernels have been chosen for this process already"),
        }
    }
}

impl std::error::Error for LimitError {}

/// A word that is not the name of a [`Limit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLimit(String);

impl fmt::Display for UnknownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = Limit::ALL.iter().map(Limit::to_string).collect();
        write!(f, "{:?} is no instruction set: expected one of {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownLimit {}

static SET: OnceLock<Option<Limit>> = OnceLock::new();

impl Limit {
    /// Every kind, those of x86 from the oldest to the newest.
    pub const ALL: [Self; 8] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx2Vnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
        Self::Neon,
    ];

    /// Keeps this process to it; false when another is set, or kernels have been chosen.
    pub(crate) fn keep(self) -> bool {
        *SET.get_or_init(|| Some(self)) == Some(self)
    }

    /// The limit of this process, where one was set.
    pub fn get() -> Option<Self> {
        *SET.get_or_init(|| None)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx2Vnni => "avx2-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
        })
    }
}

impl FromStr for Limit {
    type Err = UnknownLimit;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|limit| limit.to_string() == name);
        found.ok_or_else(|| UnknownLimit(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for limit in Limit::ALL {
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
        let error = "sse".parse::<Limit>().unwrap_err().to_string();
        assert!(error.contains("avx2-vnni") && error.contains("\"sse\""), "{error}");
    }
}
