"""f2fcam: act another face's video, live, as a camera (Face2Face, Thies et al., CVPR 2016)."""

__version__ = "0.1.0"
