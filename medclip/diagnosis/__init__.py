"""From neighbours to an answer: vote and linear probe, combined, calibrated, free to abstain."""
