// What a card does between two products, each in one pass over memory: numbers come and go as
// bf16, sums are f32. Residuals ("x") stay f32. Widths are multiples of 8, so a thread moves 16
// bytes at a time; `fused.rs` sends nothing else here.

#include <cuda_bf16.h>
#include <math_constants.h>

typedef __nv_bfloat16 bf16;

struct alignas(16) Eight {
    __nv_bfloat162 pairs[4];
};

struct Values {
    float at[8];
};

__device__ __forceinline__ Values load(const bf16 *from) {
    Eight eight = *reinterpret_cast<const Eight *>(from);
    Values values;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = __bfloat1622float2(eight.pairs[i]);
        values.at[2 * i] = pair.x;
        values.at[2 * i + 1] = pair.y;
    }
    return values;
}

__device__ __forceinline__ Values load(const float *from) {
    float4 low = *reinterpret_cast<const float4 *>(from);
    float4 high = *reinterpret_cast<const float4 *>(from + 4);
    return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ __forceinline__ void store(bf16 *to, const Values &values) {
    Eight eight;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        eight.pairs[i] = __floats2bfloat162_rn(values.at[2 * i], values.at[2 * i + 1]);
    }
    *reinterpret_cast<Eight *>(to) = eight;
}

__device__ __forceinline__ void store(float *to, const Values &values) {
    *reinterpret_cast<float4 *>(to) =
        make_float4(values.at[0], values.at[1], values.at[2], values.at[3]);
    *reinterpret_cast<float4 *>(to + 4) =
        make_float4(values.at[4], values.at[5], values.at[6], values.at[7]);
}

__device__ __forceinline__ size_t place() {
    return blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
}

// The tanh form: x / (1 + exp(-2u)) is x (1 + tanh u) / 2.
__device__ __forceinline__ float gelu(float x) {
    float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return x / (1.0f + __expf(-2.0f * u));
}

__device__ __forceinline__ void add(Values &to, const Values &more) {
#pragma unroll
    for (int i = 0; i < 8; i++) to.at[i] += more.at[i];
}

// y = gelu(x + bias), [rows, width].
extern "C" __global__ void biased_gelu(const bf16 *x, const float *bias, bf16 *y, size_t eights,
                                       unsigned width) {
    size_t at = place();
    if (at >= eights) return;
    Values values = load(x + at * 8);
    add(values, load(bias + at * 8 % width));
#pragma unroll
    for (int i = 0; i < 8; i++) values.at[i] = gelu(values.at[i]);
    store(y + at * 8, values);
}

// y = gelu(gate) * up.
extern "C" __global__ void gated(const bf16 *gate, const bf16 *up, bf16 *y, size_t eights) {
    size_t at = place();
    if (at >= eights) return;
    Values values = load(gate + at * 8), ups = load(up + at * 8);
#pragma unroll
    for (int i = 0; i < 8; i++) values.at[i] = gelu(values.at[i]) * ups.at[i];
    store(y + at * 8, values);
}

// y = x + more.
extern "C" __global__ void added(const float *x, const bf16 *more, float *y, size_t eights) {
    size_t at = place();
    if (at >= eights) return;
    Values values = load(x + at * 8);
    add(values, load(more + at * 8));
    store(y + at * 8, values);
}

// y = x + more + bias, [rows, width].
extern "C" __global__ void added_biased(const float *x, const bf16 *more, const float *bias,
                                        float *y, size_t eights, unsigned width) {
    size_t at = place();
    if (at >= eights) return;
    Values values = load(x + at * 8);
    add(values, load(more + at * 8));
    add(values, load(bias + at * 8 % width));
    store(y + at * 8, values);
}

__device__ __forceinline__ float over_warp(float value, bool highest) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        float other = __shfl_xor_sync(~0u, value, step);
        value = highest ? fmaxf(value, other) : value + other;
    }
    return value;
}

__device__ float over_block(float value, bool highest) {
    __shared__ float parts[32];
    value = over_warp(value, highest);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) {
        value = highest ? fmaxf(value, parts[warp]) : value + parts[warp];
    }
    __syncthreads();
    return value;
}

// A block a row: y = x / sqrt(mean(x^2) + eps) * weight.
extern "C" __global__ void root_norm(const float *x, const float *weight, bf16 *y, unsigned width,
                                     float eps) {
    const float *row = x + blockIdx.x * static_cast<size_t>(width);
    float squares = 0.0f;
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values.at[i] * values.at[i];
    }
    float scale = rsqrtf(over_block(squares, false) / width + eps);
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at), weights = load(weight + at);
#pragma unroll
        for (int i = 0; i < 8; i++) values.at[i] *= scale * weights.at[i];
        store(y + blockIdx.x * static_cast<size_t>(width) + at, values);
    }
}

// A block a row: y = (x - mean) / sqrt(variance + eps) * weight + bias.
extern "C" __global__ void layer_norm(const float *x, const float *weight, const float *bias,
                                      bf16 *y, unsigned width, float eps) {
    const float *row = x + blockIdx.x * static_cast<size_t>(width);
    float sum = 0.0f;
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at);
#pragma unroll
        for (int i = 0; i < 8; i++) sum += values.at[i];
    }
    float mean = over_block(sum, false) / width, squares = 0.0f;
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += (values.at[i] - mean) * (values.at[i] - mean);
    }
    float scale = rsqrtf(over_block(squares, false) / width + eps);
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at), weights = load(weight + at), biases = load(bias + at);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            values.at[i] = (values.at[i] - mean) * scale * weights.at[i] + biases.at[i];
        }
        store(y + blockIdx.x * static_cast<size_t>(width) + at, values);
    }
}

// [batch, n, heads, dim] to [batch, heads, n, dim]; with n and heads swapped, back.
extern "C" __global__ void swapped(const bf16 *x, bf16 *y, size_t eights, unsigned n,
                                   unsigned heads, unsigned dim) {
    size_t at = place();
    if (at >= eights) return;
    unsigned of_head = dim / 8, part = at % of_head;
    size_t row = at / of_head;
    unsigned head = row % heads, position = row / heads % n;
    size_t batch = row / heads / n;
    Eight values = reinterpret_cast<const Eight *>(x)[at];
    reinterpret_cast<Eight *>(y)[((batch * heads + head) * n + position) * of_head + part] = values;
}

// The same, with bias, [heads * dim], added.
extern "C" __global__ void swapped_biased(const bf16 *x, const float *bias, bf16 *y, size_t eights,
                                          unsigned n, unsigned heads, unsigned dim) {
    size_t at = place();
    if (at >= eights) return;
    unsigned of_head = dim / 8, part = at % of_head;
    size_t row = at / of_head;
    unsigned head = row % heads, position = row / heads % n;
    size_t batch = row / heads / n;
    Values values = load(x + at * 8);
    add(values, load(bias + head * dim + part * 8));
    store(y + (((batch * heads + head) * n + position) * of_head + part) * 8, values);
}

// The same, with components i and dim / 2 + i turned by the angle of the position; angles are
// [n, dim / 2] cosines, then as many sines. A thread has 8 of each half.
extern "C" __global__ void swapped_turned(const bf16 *x, const float *angles, bf16 *y,
                                          size_t sixteens, unsigned n, unsigned heads,
                                          unsigned dim) {
    size_t at = place();
    if (at >= sixteens) return;
    unsigned half = dim / 2, part = at % (half / 8);
    size_t row = at / (half / 8);
    unsigned head = row % heads, position = row / heads % n;
    size_t batch = row / heads / n;
    const bf16 *from = x + row * dim + part * 8;
    Values low = load(from), high = load(from + half);
    const float *turn = angles + position * half + part * 8;
    Values cosines = load(turn), sines = load(turn + n * half);
    Values first, second;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        first.at[i] = low.at[i] * cosines.at[i] - high.at[i] * sines.at[i];
        second.at[i] = high.at[i] * cosines.at[i] + low.at[i] * sines.at[i];
    }
    bf16 *to = y + ((batch * heads + head) * n + position) * dim + part * 8;
    store(to, first);
    store(to + half, second);
}

// Loads of scores that a thread holds at most: a warp takes rows of 1,280, a block of 256 of 10,240.
#define HELD 5

// y = softmax(scale * x) over the first `seen` of a row of n scores, 0 for the others, by THREADS
// threads of which this is one.
template <int THREADS>
__device__ __forceinline__ void softmax_row(const bf16 *x, bf16 *y, unsigned thread, unsigned n,
                                            unsigned seen, float scale) {
    auto over_all = [](float value, bool highest) {
        return THREADS == 32 ? over_warp(value, highest) : over_block(value, highest);
    };
    Values held[HELD];
    float highest = -CUDART_INF_F, sum = 0.0f;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        unsigned at = (k * THREADS + thread) * 8;
        if (at >= n) continue;
        held[k] = load(x + at);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            held[k].at[i] = at + i < seen ? held[k].at[i] * scale : -CUDART_INF_F;
            highest = fmaxf(highest, held[k].at[i]);
        }
    }
    highest = over_all(highest, true);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        if ((k * THREADS + thread) * 8 >= n) continue;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            held[k].at[i] = __expf(held[k].at[i] - highest);
            sum += held[k].at[i];
        }
    }
    float factor = 1.0f / over_all(sum, false);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        unsigned at = (k * THREADS + thread) * 8;
        if (at >= n) continue;
#pragma unroll
        for (int i = 0; i < 8; i++) held[k].at[i] *= factor;
        store(y + at, held[k]);
    }
}

// A warp a row.
extern "C" __global__ void softmax_short(const bf16 *x, bf16 *y, size_t rows, unsigned n,
                                         unsigned seen, float scale) {
    size_t row = place() / 32;
    if (row < rows) softmax_row<32>(x + row * n, y + row * n, threadIdx.x % 32, n, seen, scale);
}

// A block of 256 a row.
extern "C" __global__ void softmax_long(const bf16 *x, bf16 *y, size_t rows, unsigned n,
                                        unsigned seen, float scale) {
    size_t start = blockIdx.x * static_cast<size_t>(n);
    softmax_row<256>(x + start, y + start, threadIdx.x, n, seen, scale);
}

// Pictures, [batch, edge, edge, 3] bytes, to patches, [batch, n_patches, 3 * patch * patch], by
// what each byte is worth in each channel, [3, 256]. A thread a number.
template <typename T>
__device__ __forceinline__ void patches(const unsigned char *pixels, const float *worth, T *y,
                                        size_t count, unsigned edge, unsigned patch) {
    size_t at = place();
    if (at >= count) return;
    unsigned side = edge / patch, inside = patch * patch;
    unsigned right = at % patch, down = at / patch % patch, channel = at / inside % 3;
    size_t of_patch = at / (3 * inside);
    unsigned across = of_patch % side, row = of_patch / side % side;
    size_t picture = of_patch / (side * side);
    size_t pixel = (picture * edge + row * patch + down) * edge + across * patch + right;
    y[at] = static_cast<T>(worth[channel * 256 + pixels[pixel * 3 + channel]]);
}

extern "C" __global__ void patches_bf16(const unsigned char *pixels, const float *worth, bf16 *y,
                                        size_t count, unsigned edge, unsigned patch) {
    patches<bf16>(pixels, worth, y, count, edge, patch);
}

extern "C" __global__ void patches_f32(const unsigned char *pixels, const float *worth, float *y,
                                       size_t count, unsigned edge, unsigned patch) {
    patches<float>(pixels, worth, y, count, edge, patch);
}
