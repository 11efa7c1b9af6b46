"""A page on which people compare pictures of arms, and what their answers say."""
