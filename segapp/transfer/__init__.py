"""Transfer: a pretrained network brought to new bands, classes and scenes without being made worse."""
