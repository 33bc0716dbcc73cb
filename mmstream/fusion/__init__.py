"""From many modalities to one number. A new rule is one file here and one line in `FUSERS`."""

FUSERS: dict[str, str] = {
    "harmonic": "mmstream.fusion.evidence:HarmonicMean",
    "mean": "mmstream.fusion.rules:Mean",
    "linear": "mmstream.fusion.rules:LinearWeighted",
    "fisher": "mmstream.fusion.rules:Fisher",
    "max": "mmstream.fusion.rules:Maximum",
    "trained": "mmstream.fusion.trained:TrainedFuser",
}
