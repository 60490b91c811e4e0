"""dataset.toml, the scenes it names, what they hold: inspection, leakage, statistics, fingerprints."""
