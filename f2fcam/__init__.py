"""f2fcam: act another face's video, live, as a camera (Face2Face, Thies et al., CVPR 2016).

The way of a frame::

     webcam -> capture -> landmarks -> track -> transfer -> mouth + eyes -> render -> composite -> disclose -> publish
                                         |          |            |             |         |
                           source Person +          +-------- Profile (target) +---------+ <- playback picks the frame

===================================  ====================================  ==========================================
Face2Face                            module                                what it does
===================================  ====================================  ==========================================
3 synthesis of facial imagery        `f2fcam.face`                         the face model, rigid motion, camera, light
4 energy                             `f2fcam.track.energy`                 photometric, landmark and prior residuals
5 data-parallel optimisation         `f2fcam.track.solver`, `.tracker`     robust Gauss-Newton within bounds
6 non-rigid model-based bundling     `f2fcam.track.bundle`                 one person over several keyframes
7 expression transfer                `f2fcam.transfer`                     deformation transfer in expression space
8 mouth retrieval                    `f2fcam.mouth`                        the target's own mouths (and eyes)
runtime                              `f2fcam.render`, `f2fcam.reenact`     re-render on top of the target's frame
===================================  ====================================  ==========================================

Units: millimetres in model and camera space, pixels with the origin at the picture's corner (first centre at 0.5, 0.5),
nanoseconds in `timestamp_ns`, seconds elsewhere. Camera space is OpenCV's: x right, y down, z forward. Nothing is mirrored.
"""

from f2fcam.kernels import one_thread_each, prepare_later

__version__ = "0.1.0"

one_thread_each()
prepare_later()
