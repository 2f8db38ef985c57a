// Every operator's schema, once. Kernels register themselves: cpu/<op>.cpp and cuda/<op>.cu; fakes and gradients are
// in flowprior/ops.
//
// Rows are flat: x [B, D]. A mixture is logits [C, K], mean [C, K, D], scale [C, K, D] or [C, K, 1] (standard
// deviations); cond [B] is int64, seed [1] is int64 and on the tensors' device.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(flowprior, library) {
  library.def(
      "gmm_sample(Tensor logits, Tensor mean, Tensor scale, Tensor cond, Tensor seed)"
      " -> (Tensor x0, Tensor component)");
  library.def(
      "gmm_log_prob(Tensor x, Tensor logits, Tensor mean, Tensor scale, Tensor cond)"
      " -> (Tensor log_prob, Tensor responsibilities)");
  library.def(
      "gmm_log_prob_backward(Tensor grad_joint, Tensor x, Tensor mean, Tensor scale, Tensor cond)"
      " -> (Tensor grad_x, Tensor grad_mean, Tensor grad_scale)");
  library.def(
      "gmm_log_prob_all(Tensor x, Tensor logits, Tensor mean, Tensor scale)"
      " -> (Tensor log_prob, Tensor responsibilities)");
  library.def(
      "gmm_log_prob_all_backward(Tensor grad_joint, Tensor x, Tensor mean, Tensor scale)"
      " -> (Tensor grad_x, Tensor grad_mean, Tensor grad_scale)");
  library.def(
      "flow_matching_loss(Tensor v, Tensor? u, Tensor? x0, Tensor? x1, Tensor? weight, bool mean,"
      " bool with_gradient) -> (Tensor loss, Tensor squared_error, Tensor gradient)");
  // Without x1, `latent` are the latents themselves. A subspace prior's rows: loc, noise [B, D], spread [B, r]; bases, transposed and filled up with 0, [C, r, W].
  library.def(
      "subspace_source(Tensor? x1, Tensor latent, Tensor epsilon, Tensor loc, Tensor noise, Tensor spread,"
      " Tensor basis, Tensor cond) -> Tensor");
  library.def(
      "subspace_view(Tensor x, Tensor times, Tensor loc, Tensor noise, Tensor spread, Tensor slope, Tensor basis,"
      " Tensor lengths, Tensor cond, float floor, float least) -> (Tensor standard, Tensor velocity, Tensor scale)");
}
