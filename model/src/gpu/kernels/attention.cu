// Attention in one pass, from compute capability 8.0 on: a warp multiplies 16 positions by itself.
// Widths of heads are multiples of 8, and rows begin at whole 16 bytes.

#include "attention.cuh"

// What rows are apart in shared memory beyond their width: 8 rows from one place then lie in
// different banks.
#define APART 8

template <int D, int WARPS>
__device__ __forceinline__ void attend(const Operands &of, const int4 *tiles) {
    constexpr int ROWS = 16 * WARPS, THREADS = 32 * WARPS, STRIDE = D + APART, STEPS = D / 16;
    extern __shared__ __align__(16) unsigned char shared[];
    bf16 *queries = reinterpret_cast<bf16 *>(shared);
    bf16 *keys = queries + ROWS * STRIDE;     // two tiles
    bf16 *values = keys + 2 * KEYS * STRIDE;  // two tiles

    Task task(of, tiles, ROWS);
    const bf16 *q = of.q + task.head * of.dim;
    const bf16 *k = of.k + task.head / of.shared * of.dim;
    const bf16 *v = of.v + task.head / of.shared * of.dim;
    Copier<D, THREADS> copy_k(k, of.k_row, of.dim), copy_v(v, of.v_row, of.dim);
    auto rows_of = [](bf16 *tile) {
        return [=](int row, int column) { return tile + row * STRIDE + column; };
    };
    Copier<D, THREADS>(q, of.q_row, of.dim)
        .template copy<ROWS>(task.first, task.end, rows_of(queries));
    copy_k.template copy<KEYS>(task.from, task.until, rows_of(keys));
    copies_begun();
    copy_v.template copy<KEYS>(task.from, task.until, rows_of(values));
    copies_begun();

    Seen<D> seen;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // Where a lane reads the rows of 16 x 16 numbers.
    int of_row = lane % 16, of_column = lane / 16 * 8;
    int tile_count = (task.until - task.from + KEYS - 1) / KEYS;
    for (int n = 0; n < tile_count; n++) {
        int begin = task.from + n * KEYS;
        const bf16 *key = keys + (n % 2) * KEYS * STRIDE, *value = values + (n % 2) * KEYS * STRIDE;
        // The keys are there; the values of this tile may still be on their way.
        wait_for_copies<1>();
        __syncthreads();
        // Where the next keys go, no warp reads any more: it has passed the barrier.
        if (n + 1 < tile_count) {
            copy_k.template copy<KEYS>(begin + KEYS, task.until,
                                       rows_of(keys + (n + 1) % 2 * KEYS * STRIDE));
        }
        copies_begun();
        float scores[KEYS / 8][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            unsigned queried[4];
            load_matrices(queried, queries + (warp * 16 + of_row) * STRIDE + step * 16 + of_column);
#pragma unroll
            for (int i = 0; i < KEYS / 16; i++) {
                unsigned pair[4];
                load_matrices(pair, key + (i * 16 + of_row) * STRIDE + step * 16 + of_column);
                multiply(scores[2 * i], queried, pair[0], pair[2]);
                multiply(scores[2 * i + 1], queried, pair[1], pair[3]);
            }
        }

        unsigned weights[KEYS / 16][4];
        seen.weigh(scores, weights, of, task, begin, task.first + warp * 16);

        // The values are there; the next keys may still be on their way.
        wait_for_copies<1>();
        __syncthreads();
        if (n + 1 < tile_count) {
            copy_v.template copy<KEYS>(begin + KEYS, task.until,
                                       rows_of(values + (n + 1) % 2 * KEYS * STRIDE));
        }
        copies_begun();
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
#pragma unroll
            for (int i = 0; i < STEPS; i++) {
                unsigned pair[4];
                load_turned_matrices(pair,
                                     value + (step * 16 + of_row) * STRIDE + i * 16 + of_column);
                multiply(seen.values[2 * i], weights[step], pair[0], pair[1]);
                multiply(seen.values[2 * i + 1], weights[step], pair[2], pair[3]);
            }
        }
    }
    seen.write(of, task, task.first + warp * 16);
}

// Kernels for heads of up to D numbers: for parts of any length, and of at most 64 positions.
#define ATTENTION(D)                                                                              \
    ATTENTION_OF(attention_##D, D, 8, D >= 128 ? 1 : 2)                                           \
    ATTENTION_OF(attention_short_##D, D, 4, 1)

ATTENTION(32)
ATTENTION(64)
ATTENTION(80)
ATTENTION(128)
ATTENTION(256)
