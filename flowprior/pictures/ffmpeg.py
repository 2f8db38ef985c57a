"""The ffmpeg that writes .mp4: what matplotlib finds, else that of imageio-ffmpeg (extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SETTING = "animation.ffmpeg_path"


@contextmanager
def with_ffmpeg() -> Iterator[bool]:
    """Matplotlib's writers find an ffmpeg within, where this machine has one; whether it has."""
    import matplotlib
    from matplotlib.animation import FFMpegWriter

    if FFMpegWriter.isAvailable():
        yield True
        return
    with matplotlib.rc_context({SETTING: _bundled() or matplotlib.rcParams[SETTING]}):
        yield FFMpegWriter.isAvailable()


def _bundled() -> str | None:
    """The program that the package imageio-ffmpeg brings; None where it is not installed, or brings none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ModuleNotFoundError, RuntimeError):
        return None
