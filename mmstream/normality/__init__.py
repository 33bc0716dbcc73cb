"""What is normal for one feed. A new model is one file here and one line in `NORMALITY`."""

NORMALITY: dict[str, str] = {
    "bank": "mmstream.normality.bank:Bank",
    "value": "mmstream.normality.value:Value",
}
