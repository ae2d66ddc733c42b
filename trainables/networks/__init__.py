"""Networks: their initial weights, activations and outputs, S seeds in one stack."""
