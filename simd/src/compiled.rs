//! Plain code for the widest vectors that the CPU at hand has.

/// Compiles functions once for each set of instructions and picks at run time. Rust contracts no
/// `a * b + c`, so all versions give the same numbers, unless a body asks `FUSED`: whether
/// `mul_add` is surely an instruction in this version, and no call.
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
                body::<false>($($argument),*);
            }
        )*
    };
}
