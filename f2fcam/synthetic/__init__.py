"""A person who does not exist: ground truth for the trackers, the `synthetic` source, the bundled demo target.

A held-out head of the face generator (`people`) gets a look of its own (`skin`, `features`, `hair`), acts a script that is a
function of time (`acting`), and is drawn under known light (`lights`, `scene`). `clip` writes films with their truth.
"""
