// The unnormalised weight of a mixture's component, for every logit that a number can be: exp(logit − greatest),
// and so 1 for the greatest. NaN excludes a component as −∞ does; components at +∞ share the draws evenly. Where
// no component is left all weights are 0, and component 0 is drawn.
#pragma once

#include <cmath>

#include "host_device.h"

namespace flowprior {

// The greater of two logits; NaN counts as −∞ in the second.
FLOWPRIOR_HD double greater_logit(double greatest, double logit) { return logit > greatest ? logit : greatest; }

FLOWPRIOR_HD double weight_of(double logit, double greatest) {
  if (!(logit > -INFINITY)) return 0.0;
  return logit == greatest ? 1.0 : exp(logit - greatest);
}

}  // namespace flowprior
