"""What is normal for one feed. A new model is one file here and one line in `NORMALITY`."""

NORMALITY: dict[str, str] = {
    "bank": "mmstream.normality.bank:Bank",
    "joint": "mmstream.normality.joint:Joint",
    "value": "mmstream.normality.value:Value",
    "parts": "mmstream.normality.parts:Parts",
    "scales": "mmstream.normality.scales:Scales",
    "rarity": "mmstream.normality.rarity:Rarity",
}
