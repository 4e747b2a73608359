"""The ruler: what `evaluate` measures, over plain clips, so that any renderer can be held against it.

clip -> shape (head pose removed) -> signals, errors; clip -> aligned pictures -> similarity, flicker, seam, sharpness.
"""
