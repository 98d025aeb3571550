// The arithmetic of the preprocessor, one value of its output at a time: what a thread of the GPU
// does, and what any C++ compiler can check against the CPU's path. Whole numbers up to the last
// step, so that both agree bit for bit.
#pragma once

#ifdef __CUDACC__
#define ONENIPD_DEVICE __device__ __forceinline__
#else
#include <cstring>
#define ONENIPD_DEVICE inline
#endif

namespace onenipd {

// As part::ColourConversion.
struct ColourConversion {
    int luma_offset, luma, red_v, green_u, green_v, blue_u;
};

enum Format { RGB8 = 0, GRAY8 = 1, BGRX8 = 2, NV12 = 3, I420 = 4 };

// A camera's picture and the region of it that is inspected.
struct Picture {
    const unsigned char* planes[3];
    int stride_bytes;
    int chroma_stride_bytes;
    int format;
    int region_x;
    int region_y;
    ColourConversion colour;
};

// Which source pixels make each pixel of the output along one axis, and with which weights
// (22 fractional bits); `taps` of them each.
struct Axis {
    const int* starts;
    const unsigned* weights;
    int taps;
};

struct Rgb {
    int red, green, blue;
};

ONENIPD_DEVICE int clamp_byte(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

ONENIPD_DEVICE Rgb convert(const ColourConversion& colour, int y, int u, int v) {
    const int luma = (y - colour.luma_offset) * colour.luma + (1 << 15);
    u -= 128;
    v -= 128;
    return {clamp_byte((luma + colour.red_v * v) >> 16),
            clamp_byte((luma + colour.green_u * u + colour.green_v * v) >> 16),
            clamp_byte((luma + colour.blue_u * u) >> 16)};
}

// A pixel of the region.
ONENIPD_DEVICE Rgb pixel(const Picture& picture, int x, int y) {
    x += picture.region_x;
    y += picture.region_y;
    const unsigned char* row = picture.planes[0] + (long long)y * picture.stride_bytes;
    const long long chroma_row = (long long)(y / 2) * picture.chroma_stride_bytes;
    switch (picture.format) {
        case RGB8:
            return {row[3 * x], row[3 * x + 1], row[3 * x + 2]};
        case BGRX8:
            return {row[4 * x + 2], row[4 * x + 1], row[4 * x]};
        case NV12: {
            const unsigned char* chroma = picture.planes[1] + chroma_row + x / 2 * 2;
            return convert(picture.colour, row[x], chroma[0], chroma[1]);
        }
        case I420:
            return convert(picture.colour, row[x], picture.planes[1][chroma_row + x / 2],
                           picture.planes[2][chroma_row + x / 2]);
        default:
            return {row[x], row[x], row[x]};
    }
}

// One pixel of the output: the horizontal pass rounded to bytes, then the vertical one
// (specification 2.1). The few rows that two output pixels share are worked out twice: cheaper
// than a second launch and a picture between.
ONENIPD_DEVICE Rgb resized(const Picture& picture, const Axis& across, const Axis& down, int x,
                           int y) {
    const unsigned half = 1u << 21;
    unsigned red = half, green = half, blue = half;
    for (int row = 0; row < down.taps; ++row) {
        unsigned r = half, g = half, b = half;
        for (int column = 0; column < across.taps; ++column) {
            const unsigned weight = across.weights[x * across.taps + column];
            const Rgb source = pixel(picture, across.starts[x] + column, down.starts[y] + row);
            r += weight * source.red;
            g += weight * source.green;
            b += weight * source.blue;
        }
        const unsigned weight = down.weights[y * down.taps + row];
        red += weight * clamp_byte(r >> 22);
        green += weight * clamp_byte(g >> 22);
        blue += weight * clamp_byte(b >> 22);
    }
    return {clamp_byte(red >> 22), clamp_byte(green >> 22), clamp_byte(blue >> 22)};
}

ONENIPD_DEVICE unsigned bits_of(float value) {
#ifdef __CUDACC__
    return __float_as_uint(value);
#else
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

ONENIPD_DEVICE float float_of(unsigned bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

// IEEE 754 binary16, rounded to nearest even.
ONENIPD_DEVICE unsigned short half_of(float value) {
    const unsigned bits = bits_of(value);
    const unsigned sign = bits >> 16 & 0x8000u;
    unsigned magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return (unsigned short)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    }
    if (magnitude >= 0x477FF000u) {
        return (unsigned short)(sign | 0x7C00u);
    }
    if (magnitude < 0x38800000u) {
        // Below the normal numbers: adding one half lets the FPU round at the right place.
        return (unsigned short)(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u));
    }
    magnitude += 0xC8000FFFu + (magnitude >> 13 & 1u);
    return (unsigned short)(sign | magnitude >> 13);
}

// Writes the planes of one output pixel; `normalised` holds 256 values for each of red, green and
// blue.
template <typename Value, typename Convert>
ONENIPD_DEVICE void write_pixel(const Picture& picture, const Axis& across, const Axis& down,
                                const float* normalised, int side, int x, int y, Value* out,
                                Convert as_value) {
    const Rgb colour = resized(picture, across, down, x, y);
    const long long plane = (long long)side * side;
    Value* target = out + (long long)y * side + x;
    target[0] = as_value(normalised[colour.red]);
    target[plane] = as_value(normalised[256 + colour.green]);
    target[2 * plane] = as_value(normalised[512 + colour.blue]);
}

// 32 pixels of the mask from `first` on, the first in the lowest bit: those at or above
// the threshold, and those that are not a number (fail closed).
ONENIPD_DEVICE unsigned mask_word(const float* map, long long first, long long pixels,
                                  float threshold) {
    unsigned word = 0;
    for (int bit = 0; bit < 32 && first + bit < pixels; ++bit) {
        word |= (map[first + bit] < threshold ? 0u : 1u) << bit;
    }
    return word;
}

// The largest value of a block of the map; what is not a number wins.
ONENIPD_DEVICE float block_peak(const float* map, int side, int block, int block_x, int block_y) {
    float peak = map[(long long)block_y * block * side + block_x * block];
    for (int y = block_y * block; y < (block_y + 1) * block && y < side; ++y) {
        for (int x = block_x * block; x < (block_x + 1) * block && x < side; ++x) {
            const float value = map[(long long)y * side + x];
            peak = value <= peak || peak != peak ? peak : value;
        }
    }
    return peak;
}

}  // namespace onenipd
