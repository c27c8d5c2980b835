// What the kernels of attention share: positions of all sequences lie one after the other; a block has
// up to 16 positions a warp of one part of them and one head, and goes over tiles of keys. Scores of a
// tile stay in registers, and the softmax goes along with them (Dao, arXiv 2307.08691). Of 16 positions
// a lane has rows lane / 4 and lane / 4 + 8, and two of each 8 columns.

#pragma once

#include <cuda_bf16.h>
#include <math_constants.h>

#include "tensor_core.cuh"

typedef __nv_bfloat16 bf16;

// Keys of a tile.
#define KEYS 64

#define ALL 0
#define CAUSAL 1
#define WINDOW 2

struct Operands {
    const bf16 *q, *k, *v;
    bf16 *out;
    // What rows are apart, numbers.
    unsigned q_row, k_row, v_row;
    // Query heads, and how many of them share keys.
    unsigned heads, shared;
    unsigned dim;
    // The factor of scores, times the logarithm of e to the base 2.
    float scale;
    int kind, reach;
};

// What a block does: the end of its part, its head, its first position, and the keys that any of its
// positions sees.
struct Task {
    int end, head, first, from, until;

    // A tile is the start and the end of its part, and its first position.
    __device__ __forceinline__ Task(const Operands &of, const int4 *tiles, int rows) {
        int4 tile = tiles[blockIdx.x / of.heads];
        head = blockIdx.x % of.heads;
        end = tile.y, first = tile.z;
        int last = min(first + rows, end) - 1;
        from = tile.x, until = end;
        if (of.kind == CAUSAL) until = last + 1;
        if (of.kind == WINDOW) {
            from = max(from, first - of.reach);
            until = min(until, last + of.reach + 1);
        }
    }
};

// How many threads have a row: one for each eight numbers, made a power of two, so that a thread has the
// same columns of all its rows.
constexpr __host__ __device__ int threads_of_row(int eights) {
    int threads = 1;
    while (threads < eights) threads *= 2;
    return threads;
}

// What a thread copies of the rows of a head: eight numbers of every so many rows.
template <int D, int THREADS>
struct Copier {
    static constexpr int ACROSS = threads_of_row(D / 8), DOWN = THREADS / ACROSS;
    const bf16 *from;
    unsigned row;
    int n, part, dim;

    __device__ __forceinline__ Copier(const bf16 *head, unsigned row, int dim)
        : row(row), n(threadIdx.x / ACROSS), part(threadIdx.x % ACROSS * 8), dim(dim) {
        from = head + n * static_cast<size_t>(row) + part;
    }

    // Begins to copy rows `first .. first + ROWS`, up to `end`, to where `place` says that eight numbers
    // of a row lie in shared memory; zeros where there are none.
    template <int ROWS, typename Place>
    __device__ __forceinline__ void copy(int first, int end, Place place) const {
        static_assert(ROWS % DOWN == 0, "every thread has as many rows");
        if (part >= D) return;
        const bf16 *at = from + first * static_cast<size_t>(row);
        int left = part < dim ? end - first - n : 0;
#pragma unroll
        for (int i = 0; i < ROWS / DOWN; i++) {
            copy_async(place(n + i * DOWN, part), at, i * DOWN < left);
            at += DOWN * static_cast<size_t>(row);
        }
    }
};

// What the positions of a lane have seen so far.
template <int D>
struct Seen {
    float values[D / 8][4];
    float highest[2], sums[2];

    __device__ __forceinline__ Seen() {
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            values[i][0] = values[i][1] = values[i][2] = values[i][3] = 0.0f;
        }
        highest[0] = highest[1] = -CUDART_INF_F;
        sums[0] = sums[1] = 0.0f;
    }

    // Makes weights of the scores of keys `begin ..`, in the places where a product with values takes
    // them, and scales what was seen before to the new highest score. `row` is the first position of
    // the lane, and `rows` that of its warp.
    __device__ __forceinline__ void weigh(float (&scores)[KEYS / 8][4],
                                          unsigned (&weights)[KEYS / 16][4], const Operands &of,
                                          const Task &task, int begin, int rows) {
        int lane = threadIdx.x % 32, row = rows + lane / 4;
        // A tile at an edge has keys that are not seen.
        bool is_whole = begin + KEYS <= task.until;
        if (of.kind == CAUSAL) is_whole = is_whole && begin + KEYS - 1 <= rows;
        if (of.kind == WINDOW) {
            is_whole = is_whole && begin + KEYS - 1 <= rows + of.reach &&
                       begin >= rows + 15 - of.reach;
        }
        if (!is_whole) {
#pragma unroll
            for (int i = 0; i < KEYS / 8; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    int at = begin + i * 8 + lane % 4 * 2 + j % 2, position = row + j / 2 * 8;
                    bool is_seen = at < task.until;
                    if (of.kind == CAUSAL) is_seen = is_seen && at <= position;
                    if (of.kind == WINDOW) is_seen = is_seen && abs(at - position) <= of.reach;
                    if (!is_seen) scores[i][j] = -CUDART_INF_F;
                }
            }
        }
        float kept[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = highest[half];
#pragma unroll
            for (int i = 0; i < KEYS / 8; i++) {
                most = fmaxf(most, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
            }
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            // A row that has seen nothing yet keeps 0, not a number that is none.
            float base = most == -CUDART_INF_F ? 0.0f : most * of.scale;
            kept[half] = exp_of_two(highest[half] * of.scale - base);
            highest[half] = most;
            float sum = 0.0f;
#pragma unroll
            for (int i = 0; i < KEYS / 8; i++) {
                float2 weight = {exp_of_two(scores[i][2 * half] * of.scale - base),
                                 exp_of_two(scores[i][2 * half + 1] * of.scale - base)};
                sum += weight.x + weight.y;
                __nv_bfloat162 rounded = __floats2bfloat162_rn(weight.x, weight.y);
                weights[i / 2][i % 2 * 2 + half] = *reinterpret_cast<unsigned *>(&rounded);
            }
            sums[half] = sums[half] * kept[half] + sum;
        }
        // Most tiles have no new highest score.
        if (!__any_sync(~0u, kept[0] != 1.0f || kept[1] != 1.0f)) return;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) values[i][j] *= kept[j / 2];
        }
    }

    __device__ __forceinline__ void write(const Operands &of, const Task &task, int rows) const {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = sums[half];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            int position = rows + lane / 4 + half * 8;
            if (position >= task.end) continue;
            bf16 *out = of.out + (position * static_cast<size_t>(of.heads) + task.head) * of.dim;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                int column = i * 8 + lane % 4 * 2;
                if (i * 8 >= of.dim) continue;
                *reinterpret_cast<__nv_bfloat162 *>(out + column) = __floats2bfloat162_rn(
                    values[i][2 * half] / sum, values[i][2 * half + 1] / sum);
            }
        }
    }
};

#define ATTENTION_OF(NAME, D, WARPS, BLOCKS)                                                      \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS)                              \
        NAME(const bf16 *q, const bf16 *k, const bf16 *v, const int4 *tiles, bf16 *out,           \
             unsigned q_row, unsigned k_row, unsigned v_row, unsigned heads, unsigned shared,     \
             unsigned dim, float scale, int kind, int reach) {                                    \
        Operands of = {q, k, v, out, q_row, k_row, v_row, heads, shared, dim, scale, kind, reach}; \
        attend<D, WARPS>(of, tiles);                                                              \
    }
