// Philox-4x32-10, the counter-based generator of Salmon, Moraes, Dror & Shaw (SC 2011).
//
// Every random number of flowprior is a function of (seed, stream, row, column) and of nothing else, so
// that threads, launch shapes and devices cannot change it.
#pragma once

#include "host_device.h"

namespace flowprior {

struct Words {
  uint32_t w0, w1, w2, w3;
};

// What a number is for: the last word of the counter.
enum Stream : uint32_t { kNoise = 0, kComponent = 1 };

FLOWPRIOR_HD Words philox(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t even = uint64_t{0xD2511F53u} * counter.w0;
    const uint64_t odd = uint64_t{0xCD9E8D57u} * counter.w2;
    counter = {static_cast<uint32_t>(odd >> 32) ^ counter.w1 ^ key0, static_cast<uint32_t>(odd),
               static_cast<uint32_t>(even >> 32) ^ counter.w3 ^ key1, static_cast<uint32_t>(even)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// The four words of columns 4·group … 4·group + 3 of a row.
FLOWPRIOR_HD Words random_words(uint64_t seed, uint32_t stream, uint64_t row, uint32_t group) {
  const Words counter = {group, static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), stream};
  return philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// A number in [0, 1) with 53 random bits.
FLOWPRIOR_HD double uniform(Words words) {
  const uint64_t bits = (static_cast<uint64_t>(words.w0) << 21) | (words.w1 >> 11);
  return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace flowprior
