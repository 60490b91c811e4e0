"""Areas and accuracies of a class map, with confidence intervals, from a sample of reference points."""
