// Runs CUDA kernels on the host, for tests: blocks in turn, the threads of a block as fibers that switch only at
// barriers and shuffles. Takes the place of nvcc under csrc/cuda/launch.h. What it catches and a device would
// not always show:
//
// - barriers that some threads miss, and shuffles of an incomplete warp (reported);
// - a missing barrier: a thread runs to its next one undisturbed, so that in ascending order a reader of what
//   later threads write, and in descending order of what earlier ones write, sees NaN or old numbers. In these two
//   orders a warp runs on alone through its shuffles; in the shuffled one all threads take turns;
// - shared memory read before it is written (NaN), or written beyond its end (reported);
// - launches and accesses that a device refuses: sizes out of range, misaligned vectors (reported).
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __launch_bounds__(...)
#define FLOWPRIOR_DEVICE inline
#define FLOWPRIOR_SHARED(type, name) type* const name = reinterpret_cast<type*>(emulation::machine().shared())
#define FLOWPRIOR_LAUNCH(kernel, grid, block, bytes, stream, ...)                              \
  do {                                                                                         \
    static_cast<void>(stream);                                                                 \
    emulation::machine().launch(grid, block, bytes, [&] { (kernel)(__VA_ARGS__); });           \
  } while (0)
#define FLOWPRIOR_EXPECT_ALIGNED(address, bytes) emulation::expect_aligned(address, bytes)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
typedef void* cudaStream_t;

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace flowprior::cuda {
// Tests lower these, so that small tensors reach the loops that take what a grid cannot hold.
inline int64_t kMostBlocksX = 0x7FFFFFFF, kMostBlocksYZ = 65535, kWantedBlocks = 1024;
}  // namespace flowprior::cuda

namespace emulation {

enum class Order { kAscending, kDescending, kShuffled };
enum class Wait { kNothing, kBlock, kWarp, kDone };

constexpr unsigned kWarpSize = 32, kMostShared = 48 * 1024;
constexpr size_t kStack = 128 * 1024, kGuard = 1024;
constexpr unsigned char kPoison = 0xFF;  // NaN in every floating-point type

// A context starts a fiber; jumps, which need no system call, go on with it.
struct Fiber {
  ucontext_t context;
  jmp_buf here;
  bool started = false;
  dim3 index;
  Wait wait = Wait::kNothing;
  uint64_t offered[2] = {};  // to the warp's shuffles, in turn
  unsigned shuffles = 0;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
};

class Machine;
Machine& machine();

class Machine {
 public:
  Order order = Order::kAscending;

  unsigned char* shared() { return memory_.data() + kGuard; }

  void launch(dim3 grid, dim3 block, unsigned bytes, const std::function<void()>& body) {
    const uint64_t count = uint64_t{block.x} * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535 ||
        count == 0 || count > 1024 || block.z > 64 || bytes > kMostShared) {
      throw std::runtime_error("a launch that a device refuses");
    }
    body_ = &body, gridDim = grid, blockDim = block, shared_bytes_ = bytes;
    while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
    const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks; ++i) {
      const uint64_t b = at(i, blocks);
      blockIdx = dim3(b % grid.x, b / grid.x % grid.y, b / (uint64_t{grid.x} * grid.y));
      run_block(count);
    }
  }

  // Called by a fiber: goes on when its whole block, or warp, has come here.
  void wait(Wait kind) {
    current_->wait = kind;
    if (_setjmp(current_->here) == 0) _longjmp(scheduler_, 1);
  }

  template <typename T>
  T exchange(T value, unsigned source_lane) {
    static_assert(sizeof(T) <= 8);
    const unsigned turn = current_->shuffles++ % 2, warp = current_number_ / kWarpSize;
    std::memcpy(&current_->offered[turn], &value, sizeof value);
    wait(Wait::kWarp);
    std::memcpy(&value, &fibers_[warp * kWarpSize + source_lane]->offered[turn], sizeof value);
    return value;
  }

  unsigned lane() const { return current_number_ % kWarpSize; }

  // Called by a fiber: ends the launch.
  void fail(const std::string& message) {
    error_ = message;
    wait(Wait::kDone);
  }

 private:
  // The i-th of n in the order of this run.
  uint64_t at(uint64_t i, uint64_t n) const {
    if (order == Order::kDescending) return n - 1 - i;
    if (order == Order::kShuffled) return n % 7919 ? (i * 7919 + n / 3) % n : i;
    return i;
  }

  // A fiber runs one thread of every block.
  static void enter() {
    for (;;) {
      (*machine().body_)();
      machine().wait(Wait::kDone);
    }
  }

  void run_block(unsigned count) {
    memory_.assign(shared_bytes_ + 2 * kGuard, kPoison);
    for (unsigned t = 0; t < count; ++t) {
      Fiber& fiber = *fibers_[t];
      fiber.index = dim3(t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y));
      fiber.wait = Wait::kNothing, fiber.shuffles = 0;
    }
    do {
      if (order == Order::kShuffled) {
        for (unsigned i = 0; i < count; ++i) step(at(i, count));
      } else {
        const unsigned warps = (count + kWarpSize - 1) / kWarpSize;
        for (unsigned i = 0; i < warps; ++i) run_warp(at(i, warps) * kWarpSize, count);
      }
    } while (release(count));
    for (size_t i = 0; i < kGuard; ++i) {
      if (memory_[i] != kPoison || memory_[memory_.size() - 1 - i] != kPoison) {
        stop("written beyond shared memory");
      }
    }
  }

  // Runs a warp as far as its own shuffles lead it.
  void run_warp(unsigned begin, unsigned count) {
    const unsigned lanes = std::min(kWarpSize, count - begin);
    do {
      for (unsigned i = 0; i < lanes; ++i) step(begin + at(i, lanes));
    } while (release_warp(begin, count));
  }

  void step(unsigned number) {
    Fiber& fiber = *fibers_[number];
    if (fiber.wait != Wait::kNothing) return;
    current_ = &fiber, current_number_ = number, threadIdx = fiber.index;
    if (_setjmp(scheduler_) == 0) {
      if (fiber.started) _longjmp(fiber.here, 1);
      fiber.started = true;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &Machine::enter, 0);
      setcontext(&fiber.context);
    }
    if (!error_.empty()) stop(std::exchange(error_, ""));
  }

  // Threads that wait in the middle of a kernel are given up with their stacks.
  [[noreturn]] void stop(const std::string& message) {
    fibers_.clear();
    throw std::runtime_error(message);
  }

  unsigned waiting(Wait kind, unsigned begin, unsigned end) const {
    unsigned sum = 0;
    for (unsigned t = begin; t < end; ++t) sum += fibers_[t]->wait == kind;
    return sum;
  }

  void resume(unsigned begin, unsigned end) {
    for (unsigned t = begin; t < end; ++t) fibers_[t]->wait = Wait::kNothing;
  }

  bool release_warp(unsigned begin, unsigned count) {
    if (begin + kWarpSize > count || waiting(Wait::kWarp, begin, begin + kWarpSize) != kWarpSize) return false;
    return resume(begin, begin + kWarpSize), true;
  }

  // Opens the barriers that all have reached; false when every thread is done.
  bool release(unsigned count) {
    if (waiting(Wait::kDone, 0, count) == count) return false;
    if (waiting(Wait::kBlock, 0, count) == count) return resume(0, count), true;
    bool any = false;
    for (unsigned begin = 0; begin < count; begin += kWarpSize) any |= release_warp(begin, count);
    if (!any) stop("threads wait at a barrier that others do not reach");
    return true;
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<unsigned char> memory_;
  unsigned shared_bytes_ = 0, current_number_ = 0;
  const std::function<void()>* body_ = nullptr;
  Fiber* current_ = nullptr;
  jmp_buf scheduler_ = {};
  std::string error_;
};

inline Machine& machine() {
  static Machine one;
  return one;
}

inline void expect_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) machine().fail("an address that is not aligned");
}

}  // namespace emulation

inline void __syncthreads() { emulation::machine().wait(emulation::Wait::kBlock); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, unsigned lanes) {
  if (mask != 0xFFFFFFFFu) emulation::machine().fail("a shuffle of part of a warp");
  return emulation::machine().exchange(value, (emulation::machine().lane() ^ lanes) % emulation::kWarpSize);
}
