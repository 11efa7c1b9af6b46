"""A plugin of DynaIP: a fusion strategy, an encoder and a decoupling policy."""
