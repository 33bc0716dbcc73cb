"""What is measured. A new encoder is one file here and one line in one of these tables.

Edge encoders run in the decoding thread of their feed; replica encoders are batched across feeds.
"""

EDGE_ENCODERS: dict[str, str] = {
    "motion": "mmstream.encoders.motion:MotionEncoder",
    "shapes": "mmstream.encoders.shapes:ShapesEncoder",
    "place": "mmstream.encoders.place:PlaceEncoder",
    "appearance": "mmstream.encoders.appearance:AppearanceEncoder",
    "expectation": "mmstream.encoders.expectation:ExpectationEncoder",
    "sound": "mmstream.encoders.sound:SoundEncoder",
    "words": "mmstream.encoders.words:WordsEncoder",
    "activity": "mmstream.encoders.activity:ActivityEncoder",
    "still": "mmstream.encoders.still:StillEncoder",
    "stream": "mmstream.encoders.stream:StreamEncoder",
}

REPLICA_ENCODERS: dict[str, str] = {
    "filterbank": "mmstream.encoders.filterbank:FilterBankEncoder",
    "vision": "mmstream.encoders.vision:PretrainedVisionEncoder",
    "torchvision": "mmstream.encoders.vision:TorchvisionEncoder",
}
