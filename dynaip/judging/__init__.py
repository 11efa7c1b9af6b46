"""Judging pictures by a vision-language model: rubrics, questions, answers that are kept, and how a judge is asked."""
