//! Which instruction sets the kernels of this process may use.

use std::sync::LazyLock;

/// An instruction set that kernels are written for.
///
/// Extensions that only some CPUs of a set have, such as AVX-512 VNNI or the SDOT of aarch64, are
/// not sets of their own: a kernel that wants one asks for it with the macros of the standard
/// library (`is_x86_feature_detected!`), and says what runs instead.
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

    /// Whether this CPU has the set, and the operating system lets the process use it.
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
                Self::Avx512.is_available()
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bf16")
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
}
