"""Networks. Every axis is named where it first appears: B batch, T frames, F features, n samples, C channels."""
