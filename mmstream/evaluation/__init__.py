"""How good the models are: public benchmarks, their scorers, and the controls that keep them honest."""
