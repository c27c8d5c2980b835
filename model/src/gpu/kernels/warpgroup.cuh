// What the tensor cores of Hopper do for four warps together, whose operands lie in shared memory.
// They need code for compute capability 9.0a alone.

#pragma once

#include "tensor_core.cuh"

// Rows of 64 numbers of bf16, 128 bytes, lie one after the other; inside 8 rows, which begin at whole
// 1,024 bytes, the 16 bytes at place p of row r lie at place p xor r. More columns are further panels.
#define PANEL 64

// Where eight numbers of a row lie, in numbers from the start of their panel.
__device__ __forceinline__ int in_panel(int row, int column) {
    return row * PANEL + ((column / 8) ^ (row % 8)) * 8;
}

// How a product finds its operand: its first number, and what panels are apart, bytes, where it goes
// over several of them.
__device__ __forceinline__ unsigned long long described(const void *at, int panels_apart) {
    unsigned long long place = (in_shared(at) & 0x3ffff) >> 4;
    unsigned long long apart = static_cast<unsigned long long>(panels_apart >> 4) & 0x3fff;
    // Eight rows are 1,024 bytes; 1 is this order of 16 bytes.
    return place | apart << 16 | (1024ull >> 4) << 32 | 1ull << 62;
}

// The same operand so many numbers further on.
__device__ __forceinline__ unsigned long long further(unsigned long long operand, int numbers) {
    return operand + (numbers * sizeof(__nv_bfloat16) >> 4);
}

// Shared memory that this thread has written, also by copies that it has waited for, is seen by
// products after the next barrier.
__device__ __forceinline__ void shown_to_products() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void products_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// The products since `products_begin` go on by themselves from here, until they are waited for.
__device__ __forceinline__ void products_go_on() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#define FOUR(d, i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define SIXTEEN(d, i) FOUR(d, i), FOUR(d, i + 1), FOUR(d, i + 2), FOUR(d, i + 3)
#define ALL_32(d) SIXTEEN(d, 0), SIXTEEN(d, 4)
#define ALL_40(d) ALL_32(d), FOUR(d, 8), FOUR(d, 9)
#define ALL_64(d) ALL_32(d), SIXTEEN(d, 8), SIXTEEN(d, 12)
#define ALL_128(d)                                                                              \
    ALL_64(d), SIXTEEN(d, 16), SIXTEEN(d, 20), SIXTEEN(d, 24), SIXTEEN(d, 28)

#define PLACES_32                                                                         \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "      \
    "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PLACES_40                                                                         \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "      \
    "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "      \
    "%34, %35, %36, %37, %38, %39"
#define PLACES_64                                                                         \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "      \
    "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "      \
    "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "      \
    "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PLACES_128                                                                        \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "      \
    "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "      \
    "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "      \
    "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, "      \
    "%66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, "      \
    "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "      \
    "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "    \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "  \
    "%126, %127"

// scores += queries keys^T: [64, 64] of [64, 16] and [64, 16], each with rows of one panel.
__device__ __forceinline__ void multiply_rows(float (&scores)[8][4], unsigned long long queries,
                                              unsigned long long keys) {
    asm volatile("{ .reg .pred added; setp.ne.b32 added, 1, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" PLACES_32 "}, "
                 "%32, %33, added, 1, 1, 0, 0; }"
                 : ALL_32(scores)
                 : "l"(queries), "l"(keys));
}

// seen += weights values: [64, D] of [64, 16], which lanes hold, and [16, D].
#define MULTIPLY_COLUMNS(D, COUNT, A0, A1, A2, A3, B)                                             \
    __device__ __forceinline__ void multiply_columns(                                             \
        float (&seen)[D / 8][4], const unsigned (&weights)[4], unsigned long long values) {       \
        asm volatile("{ .reg .pred added; setp.ne.b32 added, 1, 0; "                              \
                     "wgmma.mma_async.sync.aligned.m64n" #D "k16.f32.bf16.bf16 {" PLACES_##COUNT  \
                     "}, {" A0 ", " A1 ", " A2 ", " A3 "}, " B ", added, 1, 1, 1; }"              \
                     : ALL_##COUNT(seen)                                                          \
                     : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]),        \
                       "l"(values));                                                              \
    }

MULTIPLY_COLUMNS(64, 32, "%32", "%33", "%34", "%35", "%36")
MULTIPLY_COLUMNS(80, 40, "%40", "%41", "%42", "%43", "%44")
MULTIPLY_COLUMNS(128, 64, "%64", "%65", "%66", "%67", "%68")
MULTIPLY_COLUMNS(256, 128, "%128", "%129", "%130", "%131", "%132")
