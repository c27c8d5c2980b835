// The gated delta rule (Yang et al., arXiv 2412.06464), one position after the other, in f32. A head
// keeps a matrix, [key_dim, value_dim], whose columns do not depend on each other: a block has 16 of
// them, and 8 lanes have one column, ROWS of its rows each.

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

#define COLUMNS 16
#define LANES 8

// Each channel of x, [n, width] with rows that are `row` numbers apart, mixed with the `reach - 1`
// positions before it in its sequence, then y = v sigmoid(v) of that. `weight` is [width, reach], the
// own position last; `starts` has the first position of the sequence of each position. A thread a
// number.
extern "C" __global__ void convolved(const bf16 *x, const float *weight, const int *starts, float *y,
                                     size_t count, unsigned width, unsigned row, unsigned reach) {
    size_t at = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
    if (at >= count) return;
    unsigned channel = at % width;
    int position = at / width, before = position - starts[position];
    float sum = 0.0f;
    for (int back = min(static_cast<int>(reach) - 1, before); back >= 0; back--) {
        sum += __bfloat162float(x[static_cast<size_t>(position - back) * row + channel]) *
               weight[channel * reach + reach - 1 - back];
    }
    y[at] = sum / (1.0f + __expf(-sum));
}

// y = e^(rate * softplus(decay + bias)), [n, heads], and then sigmoid(strength), as many. A row of x has
// all strengths before its decays, and rows are `row` numbers apart. A thread a head of a position.
extern "C" __global__ void shares(const bf16 *x, const float *bias, const float *rate, float *y,
                                  size_t count, unsigned heads, unsigned row) {
    size_t at = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
    if (at >= count) return;
    unsigned head = at % heads;
    const bf16 *from = x + at / heads * row + head;
    float strength = __bfloat162float(from[0]), decay = __bfloat162float(from[heads]) + bias[head];
    float softplus = fmaxf(decay, 0.0f) + log1pf(__expf(-fabsf(decay)));
    y[at] = __expf(rate[head] * softplus);
    y[count + at] = 1.0f / (1.0f + __expf(-strength));
}

// y = x, [n, width], of which the first `parts` parts of `dim` numbers are scaled to length 1, and of
// these the first `queries` also by dim^-0.5. A warp a part of x, the last of which may be shorter.
extern "C" __global__ void unit_parts(const float *x, float *y, unsigned n, unsigned width,
                                      unsigned parts, unsigned queries, unsigned dim) {
    size_t at = (blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x) / 32;
    unsigned of_row = (width + dim - 1) / dim, lane = threadIdx.x % 32;
    if (at >= static_cast<size_t>(n) * of_row) return;
    unsigned part = at % of_row, end = min(dim, width - part * dim);
    size_t start = at / of_row * width + part * dim;
    float scale = 1.0f;
    if (part < parts) {
        float squares = 0.0f;
        for (unsigned i = lane; i < end; i += 32) squares += x[start + i] * x[start + i];
        for (unsigned step = 16; step > 0; step /= 2) {
            squares += __shfl_xor_sync(~0u, squares, step);
        }
        scale = rsqrtf(squares + 1e-6f);
        if (part < queries) scale *= rsqrtf(static_cast<float>(dim));
    }
    for (unsigned i = lane; i < end; i += 32) y[start + i] = x[start + i] * scale;
}

__device__ __forceinline__ float over_column(float value) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

struct Sizes {
    // Heads of keys and of values, widths of a key and a value, and of a row.
    unsigned keys, values, key_dim, value_dim, width;
};

// What a lane reads of a position for its part of a column.
template <int ROWS>
struct Position {
    float query[ROWS], key[ROWS], value, kept, strength;

    __device__ __forceinline__ void load(const float *rows, const float *kept_of,
                                         const float *strength_of, const Sizes &of, size_t position,
                                         unsigned head, unsigned column, unsigned lane) {
        const float *row = rows + position * of.width;
        unsigned at = head / (of.values / of.keys) * of.key_dim + lane * 4;
        const float *queries = row + at, *keys = row + of.keys * of.key_dim + at;
        // Four numbers together, then those of the other lanes.
#pragma unroll
        for (int i = 0; i < ROWS; i += 4) {
            float4 q = *reinterpret_cast<const float4 *>(queries + i * LANES);
            float4 k = *reinterpret_cast<const float4 *>(keys + i * LANES);
            query[i] = q.x, query[i + 1] = q.y, query[i + 2] = q.z, query[i + 3] = q.w;
            key[i] = k.x, key[i + 1] = k.y, key[i + 2] = k.z, key[i + 3] = k.w;
        }
        value = row[2 * of.keys * of.key_dim + head * of.value_dim + column];
        kept = kept_of[position * of.values + head];
        strength = strength_of[position * of.values + head];
    }
};

// `rows` are [n, width]: queries, keys and values of all heads, the first two as `unit_parts` leaves
// them; `kept` and `strength` [n, values]. Writes what positions read, [n, values * value_dim].
// `sequences` has the start and the end of each.
template <int ROWS>
__device__ __forceinline__ void delta(const float *rows, const float *kept, const float *strength,
                                      const int2 *sequences, float *y, const Sizes &of) {
    unsigned blocks = of.value_dim / COLUMNS;
    int2 sequence = sequences[blockIdx.x / blocks / of.values];
    unsigned head = blockIdx.x / blocks % of.values;
    unsigned column = blockIdx.x % blocks * COLUMNS + threadIdx.x / LANES;
    unsigned lane = threadIdx.x % LANES;
    float matrix[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) matrix[i] = 0.0f;
    // The next positions are on their way while one is worked on.
    Position<ROWS> ahead[2];
    auto load = [&](Position<ROWS> &to, int position) {
        to.load(rows, kept, strength, of, min(position, sequence.y - 1), head, column, lane);
    };
    load(ahead[0], sequence.x);
    load(ahead[1], sequence.x + 1);
    for (int first = sequence.x; first < sequence.y; first += 2) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
            int position = first + n;
            if (position >= sequence.y) break;
            Position<ROWS> now = ahead[n];
            load(ahead[n], position + 2);
            float said[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                matrix[i] *= now.kept;
                said[i % 4] += matrix[i] * now.key[i];
            }
            float sum = over_column((said[0] + said[1]) + (said[2] + said[3]));
            float error = now.strength * (now.value - sum);
            float read[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                matrix[i] += now.key[i] * error;
                read[i % 4] += matrix[i] * now.query[i];
            }
            sum = over_column((read[0] + read[1]) + (read[2] + read[3]));
            if (lane == 0) {
                y[(position * static_cast<size_t>(of.values) + head) * of.value_dim + column] = sum;
            }
        }
    }
}

#define DELTA(NAME, ROWS)                                                                         \
    extern "C" __global__ void __launch_bounds__(COLUMNS * LANES)                                 \
        NAME(const float *rows, const float *kept, const float *strength, const int2 *sequences,  \
             float *y, unsigned keys, unsigned values, unsigned key_dim, unsigned value_dim,      \
             unsigned width) {                                                                    \
        delta<ROWS>(rows, kept, strength, sequences, y, {keys, values, key_dim, value_dim, width}); \
    }

DELTA(delta_64, 8)
DELTA(delta_128, 16)
