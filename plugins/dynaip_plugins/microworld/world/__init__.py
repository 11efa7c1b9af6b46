"""The world itself: its words, its scenes, and how they are drawn. Numpy alone."""
