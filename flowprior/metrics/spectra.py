"""The spectra of fields: how their variance is shared among spatial frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.errors import InputError


def power_spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the radially averaged power spectral density of fields x ``[N, C, H, W]``, in float64.

    The power of a mode is the squared modulus of its Fourier coefficient Σ_r x(r) exp(−2πi f·r), over H W
    (the periodogram; Press et al. 2007, Numerical Recipes, section 13.4). Its frequency f = (f_y, f_x) is in
    cycles per pixel, also where H ≠ W. With the longer side L = max(H, W), bin k averages the modes with
    k − ½ ≤ L ‖f‖ < k + ½, up to the corners, where ‖f‖ is up to 0.71; bin 0 holds H W times the squared mean.
    White noise of variance σ² has the expected power σ² in every bin. By Parseval Σ_k n_k power_k = Σ x²,
    where n_k is the number of modes in bin k.

    Args:
        x: fields; neither the mean is removed nor the border tapered.

    Returns:
        The frequency k/L of each bin ``[K]``, in cycles per pixel, and the power ``[N, C, K]``, in squared
        units of x.

    Raises:
        InputError: another shape, or numbers that are not finite.
    """
    if x.dim() != 4 or not x.numel() or not torch.isfinite(x).all():
        raise InputError(f"power_spectrum: expected finite fields [N, C, H, W], got {list(x.shape)}")
    longer = max(x.shape[2:])
    power = torch.fft.fft2(x.double(), norm="ortho").abs().square().flatten(2)
    rows, columns = (torch.fft.fftfreq(size, dtype=torch.float64) * longer for size in x.shape[2:])
    bins = (torch.hypot(rows[:, None], columns) + 0.5).long().flatten().to(x.device)
    count = bins.bincount()
    total = power.new_zeros(*power.shape[:2], len(count)).index_add(2, bins, power)
    return torch.arange(len(count)).to(power) / longer, total / count
