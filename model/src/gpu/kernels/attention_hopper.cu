// Attention in one pass on Hopper, compute capability 9.0a: four warps multiply 64 positions together,
// and read keys and values from shared memory without passing them through registers.

#include "attention.cuh"
#include "warpgroup.cuh"

template <int D, int WARPS>
__device__ __forceinline__ void attend(const Operands &of, const int4 *tiles) {
    constexpr int ROWS = 16 * WARPS, THREADS = 32 * WARPS;
    // Width of a row in whole panels, and numbers of a tile.
    constexpr int WIDTH = (D + PANEL - 1) / PANEL * PANEL, TILE = KEYS * WIDTH;
    extern __shared__ __align__(1024) unsigned char shared[];
    bf16 *queries = reinterpret_cast<bf16 *>(shared);
    bf16 *keys = queries + ROWS * WIDTH;  // two tiles
    bf16 *values = keys + 2 * TILE;       // two tiles

    Task task(of, tiles, ROWS);
    const bf16 *q = of.q + task.head * of.dim;
    const bf16 *k = of.k + task.head / of.shared * of.dim;
    const bf16 *v = of.v + task.head / of.shared * of.dim;
    Copier<D, THREADS> copy_k(k, of.k_row, of.dim), copy_v(v, of.v_row, of.dim);
    auto panels_of = [](bf16 *tile, int rows) {
        return [=](int row, int column) {
            return tile + column / PANEL * PANEL * rows + in_panel(row, column % PANEL);
        };
    };
    Copier<D, THREADS>(q, of.q_row, of.dim)
        .template copy<ROWS>(task.first, task.end, panels_of(queries, ROWS));
    copy_k.template copy<KEYS>(task.from, task.until, panels_of(keys, KEYS));
    copies_begun();
    copy_v.template copy<KEYS>(task.from, task.until, panels_of(values, KEYS));
    copies_begun();

    Seen<D> seen;
    int warp = threadIdx.x / 32;
    // The 64 positions of these four warps.
    auto queried = described(queries + warp / 4 * 64 * PANEL, 16);
    auto of_keys = described(keys, 16), of_values = described(values, KEYS * PANEL * sizeof(bf16));
    int tile_count = (task.until - task.from + KEYS - 1) / KEYS;
    for (int n = 0; n < tile_count; n++) {
        int begin = task.from + n * KEYS;
        auto key = further(of_keys, n % 2 * TILE), value = further(of_values, n % 2 * TILE);
        // The keys are there; the values of this tile may still be on their way.
        wait_for_copies<1>();
        shown_to_products();
        __syncthreads();
        float scores[KEYS / 8][4] = {};
        products_begin();
#pragma unroll
        for (int step = 0; step < D / 16; step++) {
            int panel = step / 4, column = step % 4 * 16;
            multiply_rows(scores, further(queried, panel * ROWS * PANEL + column),
                          further(key, panel * KEYS * PANEL + column));
        }
        products_go_on();
        // Where the next keys go, no warp reads any more: it has passed the barrier.
        if (n + 1 < tile_count) {
            copy_k.template copy<KEYS>(begin + KEYS, task.until,
                                       panels_of(keys + (n + 1) % 2 * TILE, KEYS));
        }
        copies_begun();
        wait_for_products();

        unsigned weights[KEYS / 16][4];
        seen.weigh(scores, weights, of, task, begin, task.first + warp * 16);

        // The values are there; the next keys may still be on their way.
        wait_for_copies<1>();
        shown_to_products();
        __syncthreads();
        products_begin();
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            multiply_columns(seen.values, weights[step], further(value, step * 16 * PANEL));
        }
        products_go_on();
        if (n + 1 < tile_count) {
            copy_v.template copy<KEYS>(begin + KEYS, task.until,
                                       panels_of(values + (n + 1) % 2 * TILE, KEYS));
        }
        copies_begun();
        wait_for_products();
    }
    seen.write(of, task, task.first + warp * 16);
}

// Kernels for heads of up to D numbers: for parts of any length, and of at most 64 positions.
#define ATTENTION(D)                                                                              \
    ATTENTION_OF(attention_hopper_##D, D, 8, D >= 128 ? 1 : 2)                                    \
    ATTENTION_OF(attention_hopper_short_##D, D, 4, 1)

ATTENTION(64)
ATTENTION(80)
ATTENTION(128)
ATTENTION(256)
