//! Which instruction sets the kernels of this process may use.

use std::fmt;
use std::sync::LazyLock;

use crate::limit::{Limit, LimitError};

/// An instruction set that kernels are written for.
///
/// Extensions that only some CPUs of a set have are not sets of their own: a kernel that wants one
/// asks for it, those for products by [`Extension::is_available`], smaller ones (VBMI, VPOPCNTDQ,
/// the SDOT of aarch64) with the macros of the standard library, and says what runs instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Instructions {
    /// What every CPU has: plain loops, of which the compiler makes vector instructions.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The tiles of AMX with int8 and bf16 products, beside AVX-512 with VNNI and BF16. Linux only.
    Amx,
    /// NEON of aarch64.
    Neon,
}

impl Instructions {
    /// All sets that this CPU has, the best first. Never empty: the last is always
    /// [`Portable`](Self::Portable).
    ///
    /// ```
    /// use pagesight_simd::Instructions;
    /// assert_eq!(Instructions::available().last(), Some(&Instructions::Portable));
    /// ```
    pub fn available() -> &'static [Self] {
        static AVAILABLE: LazyLock<Vec<Instructions>> = LazyLock::new(|| {
            let all = [
                Instructions::Amx,
                Instructions::Avx512,
                Instructions::Avx2,
                Instructions::Neon,
                Instructions::Portable,
            ];
            all.into_iter().filter(|set| set.is_available()).collect()
        });
        &AVAILABLE
    }

    /// The best set that this CPU has.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Whether this CPU has the set, the operating system lets the process use it, and no [`Limit`]
    /// forbids it.
    ///
    /// Only [`Amx`](Self::Amx) asks the operating system anything, the first time: see
    /// [`amx`](crate::amx).
    ///
    /// ```
    /// use pagesight_simd::Instructions;
    /// assert!(Instructions::Portable.is_available());
    /// assert!(!(Instructions::Avx2.is_available() && Instructions::Neon.is_available()));
    /// ```
    pub fn is_available(self) -> bool {
        Limit::get().is_none_or(|limit| limit.has(self)) && self.is_detected()
    }

    /// Whether the CPU and the operating system have the set.
    pub(crate) fn is_detected(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => {
                Self::Avx512.is_detected()
                    && Extension::Avx512Vnni.is_detected()
                    && Extension::Avx512Bf16.is_detected()
                    && crate::amx::is_available()
            }
            // Kernels take the lanes of a register in the order of memory.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => {
                cfg!(target_endian = "little") && std::arch::is_aarch64_feature_detected!("neon")
            }
            _ => false,
        }
    }

    /// This set where the CPU has it, [`Portable`](Self::Portable) elsewhere.
    #[must_use]
    pub fn or_portable(self) -> Self {
        if self.is_available() { self } else { Self::Portable }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Portable => "plain loops",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Amx => "AMX",
            Self::Neon => "NEON",
        })
    }
}

/// Products that only some CPUs of a set have instructions for.
///
/// ```
/// use pagesight_simd::{Extension, Instructions};
/// let has = Extension::Avx512Vnni.is_available();
/// assert!(!has || Instructions::Avx512.is_available());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extension {
    /// Whole numbers in registers of AVX2 (AVX-VNNI). CPUs with AVX-512 VNNI have the same
    /// instructions in another encoding, so they count.
    AvxVnni,
    /// Whole numbers in registers of AVX-512.
    Avx512Vnni,
    /// bf16 in registers of AVX-512.
    Avx512Bf16,
}

impl Extension {
    /// Every extension.
    pub const ALL: [Self; 3] = [Self::AvxVnni, Self::Avx512Vnni, Self::Avx512Bf16];

    /// Whether this CPU has it beside the set that it belongs to, and no [`Limit`] forbids it.
    pub fn is_available(self) -> bool {
        Limit::get().is_none_or(|limit| limit.has_extension(self)) && self.is_detected()
    }

    /// Whether the CPU has it.
    pub(crate) fn is_detected(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::AvxVnni => {
                Instructions::Avx2.is_detected()
                    && (is_x86_feature_detected!("avxvnni") || Self::Avx512Vnni.is_detected())
            }
            Self::Avx512Vnni => {
                Instructions::Avx512.is_detected() && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx512Bf16 => {
                Instructions::Avx512.is_detected() && is_x86_feature_detected!("avx512bf16")
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

impl Limit {
    /// Keeps all kernels of this process to the instructions of such a CPU. It is for measuring and
    /// for tests, and must be called before anything is computed.
    ///
    /// # Errors
    /// [`LimitError`] when the CPU has less than that, or when it is too late.
    pub fn set(self) -> Result<(), LimitError> {
        if !self.is_available() {
            return Err(LimitError::Lacking(self));
        }
        if self.keep() { Ok(()) } else { Err(LimitError::TooLate) }
    }

    /// Whether the CPU at hand has all that this kind has.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => Instructions::Avx2.is_detected(),
            Self::Avx2Vnni => Self::Avx2.is_available() && Extension::AvxVnni.is_detected(),
            Self::Avx512 => Instructions::Avx512.is_detected(),
            Self::Avx512Vnni => Self::Avx512.is_available() && Extension::Avx512Vnni.is_detected(),
            Self::Avx512Bf16 => {
                Self::Avx512Vnni.is_available() && Extension::Avx512Bf16.is_detected()
            }
            Self::Amx => Instructions::Amx.is_detected(),
            Self::Neon => Instructions::Neon.is_detected(),
        }
    }

    /// Whether such a CPU has `instructions`.
    pub(crate) fn has(self, instructions: Instructions) -> bool {
        match instructions {
            Instructions::Portable => true,
            Instructions::Avx2 => !matches!(self, Self::Portable | Self::Neon),
            Instructions::Avx512 => {
                matches!(self, Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx)
            }
            Instructions::Amx => self == Self::Amx,
            Instructions::Neon => self == Self::Neon,
        }
    }

    /// Whether such a CPU has `extension`.
    pub(crate) fn has_extension(self, extension: Extension) -> bool {
        match extension {
            Extension::AvxVnni => {
                !matches!(self, Self::Portable | Self::Neon | Self::Avx2 | Self::Avx512)
            }
            Extension::Avx512Vnni => {
                matches!(self, Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx)
            }
            Extension::Avx512Bf16 => matches!(self, Self::Avx512Bf16 | Self::Amx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_available_and_the_rest_falls_back() {
        use Instructions::{Amx, Avx2, Avx512, Neon, Portable};
        let available = Instructions::available();
        assert_eq!(Instructions::best(), available[0]);
        for set in [Portable, Avx2, Avx512, Amx, Neon] {
            assert_eq!(available.contains(&set), set.is_available(), "{set:?}");
            let falls_back = if set.is_available() { set } else { Portable };
            assert_eq!(set.or_portable(), falls_back);
        }
        // AMX kernels fall back to AVX-512 ones where rows are not whole tiles.
        assert!(!Amx.is_available() || Avx512.is_available());
    }

    #[test]
    fn a_newer_cpu_has_what_an_older_one_has() {
        use Limit::{Amx, Avx2, Avx2Vnni, Avx512, Avx512Bf16, Avx512Vnni, Neon, Portable};
        let rises = [
            [Portable, Avx2, Avx2Vnni, Avx512Vnni, Avx512Bf16, Amx].as_slice(),
            &[Portable, Avx2, Avx512, Avx512Vnni, Avx512Bf16, Amx],
            &[Portable, Neon],
        ];
        let all = [
            Instructions::Portable,
            Instructions::Avx2,
            Instructions::Avx512,
            Instructions::Amx,
            Instructions::Neon,
        ];
        for rise in rises {
            for pair in rise.windows(2) {
                let more = |of: Limit| all.map(|set| of.has(set));
                let extensions = |of: Limit| Extension::ALL.map(|set| of.has_extension(set));
                assert!(more(pair[0]).iter().zip(more(pair[1])).all(|(old, new)| new || !old));
                let both = extensions(pair[0]).into_iter().zip(extensions(pair[1]));
                assert!(both.clone().all(|(old, new)| new || !old), "{pair:?}");
                assert!(pair[0].is_available() || !pair[1].is_available(), "{pair:?}");
                assert!(
                    more(pair[0]) != more(pair[1]) || both.into_iter().any(|(old, new)| old != new)
                );
            }
        }
        assert!(!Avx512.has_extension(Extension::AvxVnni));
    }

    #[test]
    fn a_limit_that_the_cpu_lacks_is_refused() {
        let lacking = if cfg!(target_arch = "aarch64") { Limit::Avx2 } else { Limit::Neon };
        assert_eq!(lacking.set(), Err(LimitError::Lacking(lacking)));
    }
}
