"""The page that shows the live picture, and the small server for it; a process of its own, never inside the engine."""
