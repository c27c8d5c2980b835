// What tensor cores do, and what feeds them, as functions. From compute capability 8.0 on.

#pragma once

#include <cuda_bf16.h>

__device__ __forceinline__ unsigned in_shared(const void *at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

// Begins to copy 16 bytes to shared memory, or zeros.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(in_shared(to)), "l"(from),
                 "r"(is_there ? 16 : 0));
}

// The copies that were begun since the last call belong together.
__device__ __forceinline__ void copies_begun() { asm volatile("cp.async.commit_group;"); }

// Waits for all but the last N groups of copies of this thread.
template <int N>
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N));
}

// Loads four 8 x 8 matrices of bf16: lanes 0 to 7 have the places of the first one's rows, and so on.
// A lane gets two numbers of each: of row lane / 4, from column lane % 4 * 2 on.
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const __nv_bfloat16 *at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(in_shared(at)));
}

// The same, each matrix with rows and columns swapped.
__device__ __forceinline__ void load_turned_matrices(unsigned (&to)[4], const __nv_bfloat16 *at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(in_shared(at)));
}

// sums += a b: [16, 8], of a [16, 16] and b [16, 8].
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                         unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x.
__device__ __forceinline__ float exp_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
