"""The world itself: its words, its scenes, and how they are drawn. Shared with the source, benchmark and metric about it."""
