"""Mouth retrieval (Face2Face, section 8), and eyes the same way.

The wanted expression is shown by pixels of an enrolled frame that nearly has it, warped the small way that remains:

- `aperture`: an opening of the face with the skin around it, and its geometry for one person;
- `descriptor`: what an enrolled frame's mouth or eye looks like, in numbers whose distances mean something;
- `database`: all enrolled frames' descriptors and pixels, clustered (k-medoids) and linked (appearance graph);
- `retrieve`: which frame to show next, step by step over an explicit state;
- `interior`: where an opening's inside (teeth, tongue, eyeball) is found in the retrieved frame;
- `patch`: the retrieved pixels at their new place, with the displayed frame's light.
"""
