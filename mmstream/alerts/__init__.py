"""From a score to an alert: threshold under the budget, state machine, sentence."""
