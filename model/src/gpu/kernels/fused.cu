// The operations of a GPU between two products, each in one pass over memory: numbers come and go as
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

// The number of this thread. No launch has more than 2^32, and whole numbers of 32 bits divide in a
// quarter of the time that those of 64 take.
__device__ __forceinline__ unsigned place() { return blockIdx.x * blockDim.x + threadIdx.x; }

// The first of the eight numbers of a thread.
__device__ __forceinline__ size_t first_of(unsigned at) { return static_cast<size_t>(at) * 8; }

// What happens to each number between the two layers of an MLP; as in `fused.rs`.
#define GELU 0
#define EXACT_GELU 1
#define QUICK_GELU 2
#define SILU 3
#define SQUARED_RELU 4

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

__device__ __forceinline__ float activate(float x, unsigned kind, float factor) {
    switch (kind) {
    case GELU: {
        // The tanh form: x / (1 + exp(-2u)) is x (1 + tanh u) / 2.
        float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
        return x / (1.0f + __expf(-2.0f * u));
    }
    case EXACT_GELU: return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case QUICK_GELU: return x / (1.0f + __expf(-1.702f * x));
    case SILU: return x / (1.0f + __expf(-x));
    default: {
        float positive = fmaxf(x, 0.0f);
        return factor * positive * positive;
    }
    }
}

__device__ __forceinline__ void add(Values &to, const Values &more) {
#pragma unroll
    for (int i = 0; i < 8; i++) to.at[i] += more.at[i];
}

// y = the activation of x + bias, [rows, width]. Here and below `bias` and `weight` may be null.
extern "C" __global__ void activated(const bf16 *x, const float *bias, bf16 *y, unsigned eights,
                                     unsigned width, unsigned kind, float factor) {
    unsigned at = place();
    if (at >= eights) return;
    Values values = load(x + first_of(at));
    if (bias) add(values, load(bias + at % (width / 8) * 8));
#pragma unroll
    for (int i = 0; i < 8; i++) values.at[i] = activate(values.at[i], kind, factor);
    store(y + first_of(at), values);
}

// y = the activation of a gate times what it is for: [rows, width] of [rows, 2 * width], to which the
// bias, [2 * width], is added first.
extern "C" __global__ void gated(const bf16 *both, const float *bias, bf16 *y, unsigned eights,
                                 unsigned width, unsigned kind, float factor) {
    unsigned at = place();
    if (at >= eights) return;
    unsigned of_row = width / 8, part = at % of_row * 8;
    const bf16 *gate = both + static_cast<size_t>(at / of_row) * 2 * width + part;
    Values values = load(gate), ups = load(gate + width);
    if (bias) {
        add(values, load(bias + part));
        add(ups, load(bias + width + part));
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        values.at[i] = activate(values.at[i], kind, factor) * ups.at[i];
    }
    store(y + first_of(at), values);
}

// y = x + more + bias, [rows, width].
extern "C" __global__ void added(const float *x, const bf16 *more, const float *bias, float *y,
                                 unsigned eights, unsigned width) {
    unsigned at = place();
    if (at >= eights) return;
    Values values = load(x + first_of(at));
    add(values, load(more + first_of(at)));
    if (bias) add(values, load(bias + at % (width / 8) * 8));
    store(y + first_of(at), values);
}

// The sum over `lanes` neighbouring lanes, a power of two.
__device__ __forceinline__ float over_lanes(float value, unsigned lanes) {
    for (unsigned step = lanes / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(~0u, value, step);
    }
    return value;
}

__device__ float over_block(float value) {
    __shared__ float parts[32];
    value = over_lanes(value, 32);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) value += parts[warp];
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
    float scale = rsqrtf(over_block(squares) / width + eps);
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at);
#pragma unroll
        for (int i = 0; i < 8; i++) values.at[i] *= scale;
        if (weight) {
            Values weights = load(weight + at);
#pragma unroll
            for (int i = 0; i < 8; i++) values.at[i] *= weights.at[i];
        }
        store(y + blockIdx.x * static_cast<size_t>(width) + at, values);
    }
}

// A block a row: the same without weight, of a x + b z.
extern "C" __global__ void mixed_norm(const float *x, const float *z, bf16 *y, unsigned width,
                                      float a, float b, float eps) {
    size_t start = blockIdx.x * static_cast<size_t>(width);
    auto mixed = [&](unsigned at) {
        Values values = load(x + start + at), others = load(z + start + at);
#pragma unroll
        for (int i = 0; i < 8; i++) values.at[i] = a * values.at[i] + b * others.at[i];
        return values;
    };
    float squares = 0.0f;
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = mixed(at);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values.at[i] * values.at[i];
    }
    float scale = rsqrtf(over_block(squares) / width + eps);
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = mixed(at);
#pragma unroll
        for (int i = 0; i < 8; i++) values.at[i] *= scale;
        store(y + start + at, values);
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
    float mean = over_block(sum) / width, squares = 0.0f;
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += (values.at[i] - mean) * (values.at[i] - mean);
    }
    float scale = rsqrtf(over_block(squares) / width + eps);
    for (unsigned at = threadIdx.x * 8; at < width; at += blockDim.x * 8) {
        Values values = load(row + at), weights = load(weight + at), biases = load(bias + at);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            values.at[i] = (values.at[i] - mean) * scale * weights.at[i] + biases.at[i];
        }
        store(y + blockIdx.x * static_cast<size_t>(width) + at, values);
    }
}

// y = x + bias, normed and rotated, a head of `dim` numbers after the other: [n, heads, dim]. Rows of
// x are `row` numbers apart, and its heads `head` numbers. `angles` are [n, pairs] cosines, then as
// many sines: number i turns with number i + pairs. With `is_normed` dim / 8 must be a power of two up
// to 32, since the threads of a head add up their squares.
extern "C" __global__ void turned(const bf16 *x, const float *bias, const float *weight,
                                  const float *angles, bf16 *y, unsigned eights, unsigned n,
                                  unsigned heads, unsigned dim, unsigned row, unsigned head,
                                  unsigned pairs, unsigned is_normed, float eps) {
    unsigned at = place();
    bool is_there = at < eights;
    // Threads past the end take part in the sums of their warp.
    if (!is_there) at = eights - 1;
    unsigned of_head = dim / 8, part = at % of_head * 8, of = at / of_head % heads;
    size_t position = at / of_head / heads;
    const bf16 *from = x + position * row + of * head;
    const float *biases = bias ? bias + of * dim : nullptr;
    Values values = load(from + part);
    if (biases) add(values, load(biases + part));
    float scale = 1.0f;
    if (is_normed) {
        float squares = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values.at[i] * values.at[i];
        scale = rsqrtf(over_lanes(squares, of_head) / dim + eps);
    }
    auto normed = [&](float value, unsigned i) {
        return !is_normed ? value : weight ? value * scale * weight[i] : value * scale;
    };
    auto partner_of = [&](unsigned i) {
        return i < pairs ? i + pairs : i < 2 * pairs ? i - pairs : i;
    };
    const float *turn = angles + position * pairs;
    size_t to_sines = static_cast<size_t>(n) * pairs;
    // Eight numbers have eight partners side by side unless the pairs end among them.
    Values others = values, cosines, sines;
    if (pairs % 8 == 0) {
        unsigned partner = partner_of(part);
        if (partner != part) {
            others = load(from + partner);
            if (biases) add(others, load(biases + partner));
            unsigned pair = min(part, partner);
            cosines = load(turn + pair), sines = load(turn + to_sines + pair);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            unsigned partner = partner_of(part + i), pair = min(part + i, partner);
            if (partner == part + i) continue;
            others.at[i] = __bfloat162float(from[partner]) + (biases ? biases[partner] : 0.0f);
            cosines.at[i] = turn[pair], sines.at[i] = turn[to_sines + pair];
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        unsigned at = part + i, partner = partner_of(at);
        values.at[i] = normed(values.at[i], at);
        if (partner == at) continue;
        float other = normed(others.at[i], partner) * sines.at[i];
        values.at[i] = values.at[i] * cosines.at[i] + (at < partner ? -other : other);
    }
    if (is_there) store(y + first_of(at), values);
}

// y = factor * x * sigmoid(gate), [n, heads, dim]; rows of gates are `row` numbers apart, heads `head`.
extern "C" __global__ void sigmoid_gated(const bf16 *x, const bf16 *gate, bf16 *y, unsigned eights,
                                         unsigned heads, unsigned dim, unsigned row, unsigned head,
                                         float factor) {
    unsigned at = place();
    if (at >= eights) return;
    unsigned of_head = dim / 8, part = at % of_head * 8, of = at / of_head % heads;
    size_t position = at / of_head / heads;
    Values values = load(x + first_of(at)), gates = load(gate + position * row + of * head + part);
#pragma unroll
    for (int i = 0; i < 8; i++) values.at[i] *= factor * sigmoid(gates.at[i]);
    store(y + first_of(at), values);
}

// y = factor * sigmoid(gate) * (x - share * what of x lies along value), [n, heads, dim], of which
// dim / 8 is a power of two up to 32. `shared` heads have the same value; rows of values and of gates
// are so many numbers apart.
extern "C" __global__ void excluded_gated(const bf16 *x, const bf16 *value, const float *shares,
                                          const bf16 *gate, bf16 *y, unsigned eights, unsigned heads,
                                          unsigned dim, unsigned shared, unsigned value_row,
                                          unsigned gate_row, float factor) {
    unsigned at = place();
    bool is_there = at < eights;
    if (!is_there) at = eights - 1;
    unsigned of_head = dim / 8, part = at % of_head * 8, of = at / of_head % heads;
    size_t position = at / of_head / heads;
    Values values = load(x + first_of(at));
    Values along = load(value + position * value_row + of / shared * dim + part);
    Values gates = load(gate + position * gate_row + of * dim + part);
    float product = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        product += values.at[i] * along.at[i];
        squares += along.at[i] * along.at[i];
    }
    product = over_lanes(product, of_head);
    squares = fmaxf(over_lanes(squares, of_head), 1e-24f);
    float taken = shares[of] * product / squares;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        values.at[i] = factor * sigmoid(gates.at[i]) * (values.at[i] - taken * along.at[i]);
    }
    if (is_there) store(y + first_of(at), values);
}

// y = norm(x) * weight * gate * sigmoid(gate), [n, heads, dim], of which dim / 8 is a power of two up to
// 32; rows of gates are `row` numbers apart.
extern "C" __global__ void norm_gated(const float *x, const bf16 *gate, const float *weight, bf16 *y,
                                      unsigned eights, unsigned heads, unsigned dim, unsigned row,
                                      float eps) {
    unsigned at = place();
    bool is_there = at < eights;
    if (!is_there) at = eights - 1;
    unsigned of_head = dim / 8, part = at % of_head * 8, of_row = of_head * heads;
    Values values = load(x + first_of(at)), gates = load(gate + static_cast<size_t>(at / of_row) * row + at % of_row * 8);
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) squares += values.at[i] * values.at[i];
    float scale = rsqrtf(over_lanes(squares, of_head) / dim + eps);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float factor = weight ? scale * weight[part + i] : scale;
        values.at[i] *= factor * gates.at[i] * sigmoid(gates.at[i]);
    }
    if (is_there) store(y + first_of(at), values);
}

// Patches of pictures, [patches, 3 * patch * patch], by what each byte is worth in each channel, [3,
// 256]. `places` has the first byte of each patch, the bytes of a line of its picture, and how many
// pixels across and down are on the picture: others are black. In a patch lie row, column and channel,
// or channel, row and column. A thread a number.
template <typename T>
__device__ __forceinline__ void patches(const unsigned char *bytes, const float *worth,
                                        const uint4 *places, T *y, unsigned count, unsigned patch,
                                        unsigned by_pixel) {
    unsigned at = place();
    if (at >= count) return;
    unsigned n = at % (3 * patch * patch), channel, row, column;
    if (by_pixel) {
        channel = n % 3, row = n / (3 * patch), column = n / 3 % patch;
    } else {
        channel = n / (patch * patch), row = n / patch % patch, column = n % patch;
    }
    uint4 of = places[at / (3 * patch * patch)];
    unsigned char byte = 0;
    if (row < of.w && column < of.z) {
        byte = bytes[static_cast<size_t>(of.x) + row * of.y + 3 * column + channel];
    }
    y[at] = static_cast<T>(worth[channel * 256 + byte]);
}

extern "C" __global__ void patches_bf16(const unsigned char *bytes, const float *worth,
                                        const uint4 *places, bf16 *y, unsigned count, unsigned patch,
                                        unsigned by_pixel) {
    patches<bf16>(bytes, worth, places, y, count, patch, by_pixel);
}

extern "C" __global__ void patches_f32(const unsigned char *bytes, const float *worth,
                                       const uint4 *places, float *y, unsigned count, unsigned patch,
                                       unsigned by_pixel) {
    patches<float>(bytes, worth, places, y, count, patch, by_pixel);
}
