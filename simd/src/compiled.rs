//! Plain code compiled for the widest vectors that the CPU at hand has.

/// Compiles functions once for each instruction set, and picks the best that the CPU has when they
/// are called.
///
/// All versions give the same numbers: Rust never contracts `a * b + c` into one rounding by
/// itself. A body that wants it asks the constant `FUSED`, which is true where `mul_add` is one
/// instruction and not a call into a library.
///
/// ```
/// pagesight_simd::compiled_for_each_cpu! {
///     fn double(values: &mut [i32]) {
///         values.iter_mut().for_each(|value| *value *= 2);
///     }
/// }
/// let mut values = [1, 2, 3];
/// double(&mut values);
/// assert_eq!(values, [2, 4, 6]);
/// ```
#[macro_export]
macro_rules! compiled_for_each_cpu {
    ($($(#[$attribute:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$attribute])*
            $visible fn $name($($argument: $type),*) {
                #[inline(always)]
                fn body<const FUSED: bool>($($argument: $type),*) $body

                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                    fn avx512($($argument: $type),*) {
                        body::<true>($($argument),*);
                    }
                    #[target_feature(enable = "avx2,fma")]
                    fn avx2($($argument: $type),*) {
                        body::<true>($($argument),*);
                    }
                    if $crate::Instructions::Avx512.is_available() {
                        // SAFETY: the CPU has the features.
                        return unsafe { avx512($($argument),*) };
                    }
                    if $crate::Instructions::Avx2.is_available() {
                        // SAFETY: the CPU has the features.
                        return unsafe { avx2($($argument),*) };
                    }
                }
                // Every aarch64 CPU has fused products in its first set of vectors.
                body::<{ cfg!(target_arch = "aarch64") }>($($argument),*);
            }
        )*
    };
}
