"""The models: what each is built of, how it is saved and loaded. The metric `oracle` shares the oracle."""
