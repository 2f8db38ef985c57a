// The CUDA kernels, emulated, behind a plain C interface: pointers, row strides in elements, a dtype's code.
// Every function returns null, or what went wrong.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "flow_matching_loss.cuh"
#include "gmm_log_prob_all.cuh"
#include "gmm_log_prob_backward.cuh"
#include "gmm_sample.cuh"
#include "subspace_source.cuh"
#include "subspace_view.cuh"

using namespace flowprior::cuda;

void run_fault(const std::string& name, const float* in, float* out);

namespace {

char message[512];

template <typename Function>
const char* guarded(Function function) {
  try {
    function();
    return nullptr;
  } catch (const std::exception& error) {
    std::snprintf(message, sizeof message, "%s", error.what());
    return message;
  }
}

// Codes: 0 float32, 1 float64, 2 bfloat16, 3 float16.
template <typename Function>
const char* dispatch(int64_t dtype, Function function) {
  return guarded([&] {
    if (dtype == 0) function(float{});
    if (dtype == 1) function(double{});
    if (dtype == 2) function(BFloat16{});
    if (dtype == 3) function(Half{});
  });
}

// Doubles that a launch asked for, filled with NaN, and guarded: writing outside them is an error.
class Doubles {
 public:
  explicit Doubles(int64_t count) : all_(static_cast<size_t>(count) + 2 * kGuarded, kNothing) {}
  double* data() { return all_.data() + kGuarded; }

  void check() const {
    for (size_t i = 0; i < kGuarded; ++i) {
      if (!untouched(all_[i]) || !untouched(all_[all_.size() - 1 - i])) {
        throw std::runtime_error("written beyond the memory for partial sums");
      }
    }
  }

 private:
  static constexpr size_t kGuarded = 64;
  static constexpr double kNothing = __builtin_nan("0x123");
  static bool untouched(double value) { return std::memcmp(&value, &kNothing, sizeof value) == 0; }
  std::vector<double> all_;
};

template <typename T>
Mixture<T> mixture_of(const void* logits, const void* mean, const void* scale, const int64_t* sizes) {
  return {static_cast<const T*>(logits), static_cast<const T*>(mean), static_cast<const T*>(scale),
          sizes[0], sizes[1], sizes[2], sizes[3]};
}

// Of operators in float32 and float64 alone.
template <typename Function>
const char* dispatch_computed(int64_t dtype, Function function) {
  return guarded([&] {
    if (dtype == 0) function(float{});
    if (dtype == 1) function(double{});
    if (dtype > 1) throw std::runtime_error("expected basis in float32 or float64");
  });
}

template <typename T>
Rows<const T> in(const void* data, int64_t stride) {
  return {static_cast<const T*>(data), stride};
}

template <typename T>
Rows<T> out(void* data, int64_t stride) {
  return {static_cast<T*>(data), stride};
}

// tables: basis, loc, noise, spread.
template <typename C>
Subspace<C> subspace_of(const int64_t* sizes, const void* const* tables, const int64_t* strides, const int64_t* cond) {
  return {static_cast<const C*>(tables[0]), sizes[0],
          sizes[1],                         sizes[2],
          sizes[3],                         in<C>(tables[1], strides[0]),
          in<C>(tables[2], strides[1]),     in<C>(tables[3], strides[2]),
          cond};
}

}  // namespace

extern "C" {

// Order of threads and blocks, and the limits of a grid.
void emulated_setting(int64_t order, int64_t most_x, int64_t most_yz, int64_t wanted) {
  emulation::machine().order = static_cast<emulation::Order>(order);
  kMostBlocksX = most_x, kMostBlocksYZ = most_yz, kWantedBlocks = wanted;
}

const char* emulated_fault(const char* name, const float* from, float* to) {
  return guarded([&] { run_fault(name, from, to); });
}

// The component that a height in [0, 1) chooses.
int64_t emulated_choice(const double* logits, int64_t components, double height) {
  return choose_component(logits, components, height);
}

// sizes are C, K, D, and the columns of scale.
const char* emulated_gmm_sample(int64_t dtype, const int64_t* sizes, const void* logits, const void* mean,
                                const void* scale, const int64_t* cond, const int64_t* seed, int64_t rows, void* x0,
                                int64_t stride, int64_t* component) {
  return dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    launch_gmm_sample(mixture_of<T>(logits, mean, scale, sizes), cond, seed, rows, out<T>(x0, stride), component,
                      nullptr);
  });
}

// u, or x0 and x1, may be null, as may weight and gradient; the target is in float32 where float_target is set.
const char* emulated_flow_matching_loss(int64_t dtype, bool float_target, const void* v, int64_t v_stride,
                                        const void* const* target, const int64_t* target_strides, const void* weight,
                                        int64_t rows, int64_t columns, bool mean, void* gradient,
                                        int64_t gradient_stride, void* squared_error, void* loss) {
  return dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    using C = Compute<T>;
    const auto run = [&](auto target_type) {
      using S = decltype(target_type);
      const Target<S> goal = {in<S>(target[0], target_strides[0]), in<S>(target[1], target_strides[1]),
                              in<S>(target[2], target_strides[2])};
      const double scale = static_cast<double>(columns) * (mean ? static_cast<double>(rows) : 1.0);
      Doubles partial(LossPlan::of<T>(rows, columns).partial_size(rows));
      launch_flow_matching_loss(
          LossInputs<T, S>{in<T>(v, v_stride), goal, static_cast<const C*>(weight), rows, columns,
                           out<T>(gradient, gradient_stride), 2.0 / scale},
          mean, partial.data(), static_cast<C*>(squared_error), static_cast<C*>(loss), nullptr);
      partial.check();
    };
    if (float_target) {
      run(float{});
    } else {
      run(type);
    }
  });
}

const char* emulated_gmm_log_prob(int64_t dtype, const int64_t* sizes, const void* logits, const void* mean,
                                  const void* scale, const int64_t* cond, const void* x, int64_t stride, int64_t rows,
                                  void* log_prob, void* responsibilities) {
  return dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    using C = Compute<T>;
    const auto mixture = mixture_of<T>(logits, mean, scale, sizes);
    const LogProbPlan plan = LogProbPlan::of(rows, mixture);
    Doubles constant(plan.constants_size(sizes[1])), squares(plan.squares_size(rows, sizes[1]));
    launch_gmm_log_prob(mixture, in<T>(x, stride), cond, rows, constant.data(), squares.data(),
                        static_cast<C*>(log_prob), static_cast<C*>(responsibilities), nullptr);
    constant.check(), squares.check();
  });
}

const char* emulated_gmm_log_prob_all(int64_t dtype, const int64_t* sizes, const void* logits, const void* mean,
                                      const void* scale, const void* x, int64_t stride, int64_t rows, void* log_prob,
                                      void* responsibilities) {
  return dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    using C = Compute<T>;
    const auto mixture = mixture_of<T>(logits, mean, scale, sizes);
    Doubles constant(sizes[0] * sizes[1]);
    Doubles squares(LogProbAllPlan::of(rows, mixture).squares_size(rows, sizes[0] * sizes[1]));
    launch_gmm_log_prob_all(mixture, in<T>(x, stride), rows, constant.data(), squares.data(),
                            static_cast<C*>(log_prob), static_cast<C*>(responsibilities), nullptr);
    constant.check(), squares.check();
  });
}

// cond, and the sorted labels with the rows they came from, are null for every row with every component.
const char* emulated_gmm_log_prob_backward(int64_t dtype, const int64_t* sizes, const void* grad, const void* mean,
                                           const void* scale, const int64_t* cond, const int64_t* sorted,
                                           const int64_t* order, const void* x, int64_t stride, int64_t rows,
                                           void* grad_x, int64_t grad_stride, void* grad_mean, void* grad_scale) {
  return dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    using C = Compute<T>;
    const auto mixture = mixture_of<T>(nullptr, mean, scale, sizes);
    const int64_t width = cond ? sizes[1] : sizes[0] * sizes[1];
    const LogProbGradient<T> inputs = {mixture, in<T>(x, stride), static_cast<const C*>(grad), rows, width};
    Doubles partial(GradTablePlan::of(rows, mixture).partial_size(mixture));
    launch_gmm_log_prob_backward(inputs, cond, RowOrder{sorted, order}, partial.data(), out<T>(grad_x, grad_stride),
                                 static_cast<T*>(grad_mean), static_cast<T*>(grad_scale), nullptr);
    partial.check();
  });
}

// sizes are C, r, W and D; strides those of loc, noise and spread.
const char* emulated_subspace_source(int64_t dtype, const int64_t* sizes, const void* const* tables,
                                     const int64_t* strides, const int64_t* cond, const void* const* inputs,
                                     const int64_t* input_strides, int64_t rows, void* x0, int64_t stride) {
  return dispatch_computed(dtype, [&](auto type) {
    using C = decltype(type);
    const SourceInputs<C> given = {in<C>(inputs[0], input_strides[0]), in<C>(inputs[1], input_strides[1]),
                                   in<C>(inputs[2], input_strides[2])};
    launch_subspace_source(subspace_of<C>(sizes, tables, strides, cond), given, rows, out<C>(x0, stride), nullptr);
  });
}

const char* emulated_subspace_view(int64_t dtype, const int64_t* sizes, const void* const* tables,
                                   const int64_t* strides, const int64_t* cond, const void* const* inputs,
                                   const int64_t* input_strides, const void* lengths, double floor, double least,
                                   int64_t rows, void* standard, void* velocity, void* scale, int64_t stride) {
  return dispatch_computed(dtype, [&](auto type) {
    using C = decltype(type);
    const ViewInputs<C> given = {in<C>(inputs[0], input_strides[0]), in<C>(inputs[1], input_strides[1]),
                                 in<C>(inputs[2], input_strides[2]), static_cast<const C*>(lengths),
                                 static_cast<C>(floor),              static_cast<C>(least)};
    const ViewOutputs<C> made = {out<C>(standard, stride), out<C>(velocity, stride), out<C>(scale, stride)};
    launch_subspace_view(subspace_of<C>(sizes, tables, strides, cond), given, rows, made, nullptr);
  });
}

}  // extern "C"
